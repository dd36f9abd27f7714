"""kANNolo: a graph of near documents (HNSW), walked towards the query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsr.eval.bench.peers.peer import Opened, Peer, Rows, Search, Settings
from lsr.sparse import SparseVectors

__all__ = ["Kannolo"]

# Candidates kept on the way; the walk may end earlier, when the next one is farther than the worst by that share.
EF_SEARCH = (10, 15, 20, 30, 40, 60, 80, 120, 200, 400, 800, 1600)
EARLY_EXITS = (None, 0.05, 0.1, 0.2)
_INDEX = "index.kannolo"


class Kannolo(Peer):
    name = "kannolo"
    package = "kannolo"
    module = "kannolo"
    measured = (
        "SparseDotPacking8HNSW.search (packed 8-bit weights, documents reordered for locality), with the best ef_search and "
        "early_exit_threshold at each recall. Built from arrays"
    )

    def builds(self, documents: int) -> Sequence[Settings]:
        return [{"m": 32, "ef_construction": 200, "graph_type": "permuted"}]

    def searches(self, build: Settings, k: int) -> Sequence[Search]:
        return [
            Search(self.name, {"ef_search": ef, "early_exit_threshold": threshold})
            for ef in EF_SEARCH
            for threshold in EARLY_EXITS
            if ef >= k
        ]

    def convert(self, vectors: SparseVectors, folder: Path) -> Any:
        return vectors.indices.astype(np.int32), vectors.values, vectors.indptr

    def build(self, source: Any, folder: Path, settings: Settings) -> None:
        import kannolo

        index = kannolo.SparseDotPacking8HNSW.build_from_arrays(*source, **settings)
        index.save(str(folder / _INDEX))

    def open(self, folder: Path, settings: Settings) -> Opened:
        import kannolo

        graph = settings["graph_type"]
        return _Opened(kannolo.SparseDotPacking8HNSW.load(str(folder / _INDEX), graph_type=graph))


class _Opened(Opened):
    def __init__(self, index: Any) -> None:
        self._index = index

    def prepare(self, queries: SparseVectors) -> list[Any]:
        return [(terms.astype(np.int32), weights.copy()) for terms, weights in queries]

    def searcher(self, search: Search, k: int) -> Callable[[Any], Any]:
        find = self._index.search
        ef, threshold = search.settings["ef_search"], search.settings["early_exit_threshold"]
        return lambda query: find(query[0], query[1], k, ef, threshold)

    def rows(self, answer: Any) -> Rows:
        return np.asarray(answer[1]).astype(np.int64)
