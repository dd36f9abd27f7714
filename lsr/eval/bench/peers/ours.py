"""lsr itself, each of its engines, through `Index.search` and without the layer of Python above the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsr.eval.bench.peers.peer import Opened, Peer, Rows, Search, Settings
from lsr.index import Index
from lsr.index.blocked.parameters import ENGINES
from lsr.sparse import SparseVectors

__all__ = ["Lsr"]

RECALLS = (
    0.8,
    0.85,
    0.9,
    0.92,
    0.94,
    0.95,
    0.96,
    0.97,
    0.98,
    0.985,
    0.99,
    0.995,
    1.0,
)  # that an approximate engine is asked for
_FOLDER = "vectors.idx"
_STEP = 1 << 16


class Lsr(Peer):
    name = "lsr"
    package = None
    module = "lsr"
    measured = (
        "Index.search with a query vector of one row and threads=1; “bare” is the engine below it, which gives arrays and "
        "no Hits. Built by Index.build"
    )

    def builds(self, documents: int) -> Sequence[Settings]:
        return [{"engine": engine} for engine in ENGINES if engine != "auto"]

    def searches(self, build: Settings, k: int) -> Sequence[Search]:
        series = f"lsr {build['engine']}"
        # The exact engine gives all of what is asked, whatever the recall.
        wanted: Sequence[Settings] = [{}] if build["engine"] == "exact" else [{"recall": recall} for recall in RECALLS]
        return [
            *(Search(series, settings) for settings in wanted),
            *(Search(f"{series} bare", settings, bare=True) for settings in wanted),
        ]

    def build(self, source: Any, folder: Path, settings: Settings) -> None:
        Index.build(source, folder / _FOLDER, engine=str(settings["engine"]))

    def open(self, folder: Path, settings: Settings) -> Opened:
        return _Opened(Index.open(folder / _FOLDER))

    def stored(self, folder: Path) -> SparseVectors | None:
        index = Index.open(folder / _FOLDER)
        edges = range(0, len(index), _STEP)
        return SparseVectors.concat([index.vectors(range(at, min(at + _STEP, len(index)))) for at in edges])


class _Opened(Opened):
    def __init__(self, index: Index) -> None:
        self._index = index

    def prepare(self, queries: SparseVectors) -> list[Any]:
        return [queries[i : i + 1] for i in range(len(queries))]

    def searcher(self, search: Search, k: int) -> Callable[[Any], Any]:
        find, recall = self._index.search, float(search.settings.get("recall") or 1.0)
        if search.bare:
            engine = self._index._snapshot.parts[0].searcher.search
            return lambda query: engine(query, k, recall, 1)
        return lambda query: find(query, k, recall=recall, threads=1)

    def rows(self, answer: Any) -> Rows:
        if isinstance(answer, list):
            return np.asarray(answer[0].rows)
        _scores, rows, counts, *_ = answer
        found: Rows = rows[0, : counts[0]]
        return found
