"""splade-index: exact, term at a time, in Numba.

Its `retrieve` takes texts alone and runs the model: timed is what it calls with the encoded query.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsr.eval.bench.peers.columns import load_columns, save_columns
from lsr.eval.bench.peers.peer import Opened, Peer, Rows, Search, Settings
from lsr.sparse import SparseVectors

__all__ = ["SpladeIndex"]


class SpladeIndex(Peer):
    name = "splade-index"
    package = "splade-index"
    module = "splade_index"
    measured = (
        "The retrieval function of its numba backend with an encoded query, on a score matrix set to our vectors; its "
        "retrieve() takes texts alone. Exact"
    )

    def searches(self, build: Settings, k: int) -> Sequence[Search]:
        return [Search(self.name)]

    def build(self, source: Any, folder: Path, settings: Settings) -> None:
        save_columns(source, folder)

    def open(self, folder: Path, settings: Settings) -> Opened:
        return _Opened(load_columns(folder))


class _Opened(Opened):
    def __init__(self, scores: dict[str, Any]) -> None:
        self._scores = scores

    def prepare(self, queries: SparseVectors) -> list[Any]:
        return [([terms.astype(np.int32)], [weights.copy()]) for terms, weights in queries]

    def searcher(self, search: Search, k: int) -> Callable[[Any], Any]:
        from splade_index.numba.retrieve_utils import _retrieve_numba_functional

        scores = self._scores
        best = min(k, scores["num_docs"])
        return lambda query: _retrieve_numba_functional(query[0], query[1], scores, k=best, show_progress=False)

    def rows(self, answer: Any) -> Rows:
        return np.asarray(answer[0][0])
