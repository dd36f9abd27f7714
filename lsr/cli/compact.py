"""`lsr compact`: an index written anew, without what was deleted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from lsr.cli.graph_upkeep import bring_graph_up, compact_graph
from lsr.cli.options import IndexPath
from lsr.cli.run import note
from lsr.cli.tokens import bring_up

if TYPE_CHECKING:
    from lsr.index import Index

__all__ = ["compact"]


def compact(
    index: IndexPath,
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh",
            help="Also adapt the term weights of queries, and the step of stored weights, to the documents there are now.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Write an index anew as one segment: searches are as fast as after `lsr index`, and deleted documents take no space."""
    from lsr.cli.progress import showing_progress
    from lsr.cli.show import size
    from lsr.index import Index

    opened = Index.open(index)
    before = opened.info()["bytes"]["total"]
    try:
        with showing_progress() as progress:
            report = opened.compact(refresh=refresh, progress=progress)
    except KeyboardInterrupt:
        note(f"{index} is as it was; what is done is kept until it changes, and the same command goes on from there")
        raise
    tokens = _compact_tokens(opened)
    graph = _compact_graph(opened)
    after = opened.info()["bytes"]["total"]
    if as_json:
        facts = {"documents": report.documents, "compacted": report.done, "bytes": {"before": before, "after": after}}
        typer.echo(json.dumps({**facts, "generation": opened.generation}))
    elif report.done:
        change = f"{size(before)} before, {size(after)} now"
        note(f"{report.documents:,} documents in {report.seconds:.1f} s, {change}: {index}")
    elif tokens or graph:
        what = "token vectors and graph were" if tokens and graph else "token vectors were" if tokens else "graph was"
        note(f"{index} is one segment, of which nothing was deleted; its {what} compacted")
    else:
        note(f"nothing to do: {index} is one segment, of which nothing was deleted")


def _compact_tokens(index: Index) -> bool:
    """Whether there was anything to do."""
    from lsr.cli.progress import showing_progress

    if bring_up(index, f"{index.path} is compacted", encode=False) is None:
        return False
    from lsr.rerank.living import open_tokens

    with showing_progress() as progress:
        return open_tokens(index).compact(progress=progress)


def _compact_graph(index: Index) -> bool:
    """Whether there was anything to do."""
    bring_graph_up(index, f"{index.path} is compacted")
    return compact_graph(index)
