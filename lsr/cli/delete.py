"""`lsr delete`: documents out of an index."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lsr.cli.graph_upkeep import bring_graph_up
from lsr.cli.options import IndexPath
from lsr.cli.run import note, note_to_compact
from lsr.cli.tokens import bring_up

__all__ = ["delete"]


def delete(
    index: IndexPath,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of the documents.", show_default=False)],
    missing_ok: Annotated[
        bool, typer.Option("--missing-ok", help="Pass over ids that the index has not; without it nothing is deleted.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Delete documents from an index: all of them or, when something is wrong, none. `lsr compact` gives their space back."""
    from lsr.index import Index

    opened = Index.open(index)
    count = opened.delete(ids, missing_ok=missing_ok)
    bring_up(opened, f"the documents are deleted from {index}", encode=False)
    bring_graph_up(opened, f"the documents are deleted from {index}")
    if as_json:
        typer.echo(json.dumps({"deleted": count, "documents": len(opened), "generation": opened.generation}))
        return
    note(f"{count:,} documents deleted: {len(opened):,} in {index}")
    note_to_compact(opened)
