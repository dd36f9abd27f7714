"""Every kind of change to the graph of an index, to be interrupted; and what its folder then holds.

A change is done to the index `my.idx` in some other folder, as those of `tests.reliability.changes` are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any
from unittest import mock

import lsr
from lsr.errors import StoreMismatch
from lsr.index.storage.graph_files import GRAPH, has_graph
from lsr.rag.graph.store import Graph, check_graph, syncing
from tests.rag.graph.graph_index import Words, built, content, indexed, made_anew, source, synced
from tests.reliability.changes import NAME

__all__ = ["CHANGES", "MAKING", "make", "state", "works"]

MAKING = ("make_graph", "go_on")  # before them there is no graph

# What the graph holds; None where there is none, "behind" where it is not of the texts of the index.
State = dict[str, Any] | str | None


def make(folder: Path, change: str) -> Path:
    """An index with a graph of several generations and a deletion, which is behind where it is to be brought up."""
    index = indexed(folder / NAME)
    if change in MAKING:
        return folder / NAME
    built(index)
    index.add(source({"g": "Georg met Ada", "h": "Hedy met Georg"}))
    _sync(index)
    index.delete(["b"])  # noted beside the segment: there is something to compact
    _sync(index)
    if change == "bring_up":
        index.upsert(source({"a": "Ada left London", "i": "Ines saw London", "j": "Jan saw Ines"}))
        index.delete(["c"])
    return folder / NAME


def make_graph(path: Path, _: str) -> None:
    built(lsr.Index.open(path))


def go_on(path: Path, _: str) -> None:
    built(lsr.Index.open(path), resume=True)


def replace(path: Path, _: str) -> None:
    built(lsr.Index.open(path), Words(2), overwrite=True)


def bring_up(path: Path, _: str) -> None:
    _sync(lsr.Index.open(path))


def compact(path: Path, _: str) -> None:
    Graph.compact(lsr.Index.open(path))


def _sync(index: lsr.Index, version: int = 1) -> None:
    synced(index, Words(version))


def _in_rounds(change: Callable[[Path, str], None]) -> Callable[[Path, str], None]:
    """The change in several commits, for a few passages."""

    @wraps(change)
    def run(path: Path, engine: str) -> None:
        with mock.patch.object(syncing, "ROUND", 2):
            change(path, engine)

    return run


CHANGES: dict[str, Callable[[Path, str], None]] = {
    change.__name__: _in_rounds(change) for change in (make_graph, go_on, replace, bring_up, compact)
}


def state(path: Path) -> State:
    """What the graph holds. Raises whatever opening it raises, but for `StoreMismatch`."""
    index = lsr.Index.open(path)
    if not has_graph(path):
        return None
    try:
        return content(Graph.open(index))
    except StoreMismatch:
        return "behind"


def works(path: Path) -> None:
    """What was interrupted is in nobody's way: it is gone on with, all of it checks, and nothing is left lying about."""
    index = lsr.Index.open(path)
    version = Graph.facts(index)["extractor"]["identity"]["version"] if has_graph(path) else 1
    graph = built(index, Words(version), resume=True)
    assert content(graph) == made_anew(index, version)
    index.add(source({"later": "Later came Ada"}))
    _sync(index, version)
    assert content(Graph.open(index)) == made_anew(index, version)
    list(check_graph(index, full=True))
    left = [one.name for one in (path / GRAPH).iterdir() if one.name.startswith(("tmp-", "unfinished-"))]
    assert left == []
    assert content(built(index, Words(3), overwrite=True)) == made_anew(index, 3)
    assert [one.name for one in path.iterdir() if one.name.startswith(f".{GRAPH}")] == []
