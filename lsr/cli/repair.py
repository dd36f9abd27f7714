"""`lsr repair`: back to an earlier generation of an index."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lsr.cli.options import IndexPath
from lsr.cli.run import note

__all__ = ["repair"]


def repair(
    index: IndexPath,
    to: Annotated[
        int | None,
        typer.Option(
            "--to-generation",
            metavar="N",
            min=1,
            help="Make this generation the newest. (default: only check those that are there)",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Go back to an earlier generation, when the newest one is damaged, or was a mistake.

    An index keeps its newest two generations. Each is checked to the last byte; exit status 1 when the newest is damaged.
    """
    from lsr.index.storage.repair import generations
    from lsr.index.storage.repair import repair as go_back

    if to is not None:
        made = go_back(index, to)
        if as_json:
            typer.echo(json.dumps({"documents": made.documents, "from": to, "generation": made.generation}))
        else:
            note(f"generation {made.generation} is generation {to} again: {made.documents:,} documents in {index}")
        return
    found = generations(index)
    if as_json:
        facts = [{"generation": one.number, "documents": one.documents, "fault": one.fault} for one in found]
        typer.echo(json.dumps({"generations": facts}))
    for one in () if as_json else found:
        documents = "" if one.documents is None else f", {one.documents:,} documents"
        typer.echo(f"generation {one.number}{documents}: {one.fault or 'sound'}")
    if found[0].fault is None:
        return
    sound = next((one for one in found if one.fault is None), None)
    if sound is None:
        note("none is sound: build the index again, or restore a copy")
    else:
        note(f"Next: lsr repair {index} --to-generation {sound.number}")
    raise typer.Exit(1)
