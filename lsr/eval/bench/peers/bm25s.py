"""bm25s: exact, term at a time, in Numba. A score is the sum of precomputed weights, which are set from our document weights.

It has no query weights. Where the queries weigh each term the same in all of them, as inference-free ones do, those weights
are multiplied into the index; other queries it answers as if all weights were 1, with as many additions, and its recall
shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.eval.bench.peers.columns import load_columns, save_columns
from lsr.eval.bench.peers.peer import Opened, Peer, Rows, Search, Settings
from lsr.sparse import SparseVectors

__all__ = ["Bm25s", "fixed_weights"]


class Bm25s(Peer):
    name = "bm25s"
    package = "bm25s"
    module = "bm25s"
    measured = (
        "BM25.retrieve with token ids and the numba backend, on scores set to our vectors. It has no query weights: those "
        "that a term has in all queries alike are multiplied into the index, others count as 1. Exact otherwise"
    )

    def searches(self, build: Settings, k: int) -> Sequence[Search]:
        return [Search(self.name)]

    def build(self, source: Any, folder: Path, settings: Settings) -> None:
        save_columns(source, folder)

    def open(self, folder: Path, settings: Settings) -> Opened:
        return _Opened(folder)


class _Opened(Opened):
    def __init__(self, folder: Path) -> None:
        import bm25s

        self._folder, self._weighted = folder, False
        scores = load_columns(folder)
        self._documents, indptr = scores["num_docs"], scores["indptr"]
        # One more column, empty: the token that stands for a query of unknown tokens.
        empty = len(indptr) - 1
        self._model: Any = bm25s.BM25(backend="numba")
        self._model.scores = {**scores, "indptr": np.append(indptr, indptr[-1])}
        self._model.vocab_dict = {"": empty}
        self._model.unique_token_ids_set = set(np.flatnonzero(np.diff(indptr)).tolist())
        self._model.nonoccurrence_array = None

    def prepare(self, queries: SparseVectors) -> list[Any]:
        fixed, scores = fixed_weights(queries), self._model.scores
        if self._weighted:  # for other queries
            scores["data"] = load_columns(self._folder)["data"]
        if fixed is not None:
            scores["data"] *= np.repeat(fixed, np.diff(scores["indptr"])[: len(fixed)])
        self._weighted = fixed is not None
        return [[terms.tolist()] for terms, _ in queries]

    def searcher(self, search: Search, k: int) -> Callable[[Any], Any]:
        find, best = self._model.retrieve, min(k, self._documents)
        return lambda query: find(query, k=best, show_progress=False)

    def rows(self, answer: Any) -> Rows:
        return np.asarray(answer.documents[0])


def fixed_weights(queries: SparseVectors) -> npt.NDArray[np.float32] | None:
    """The weight of each term [dim] where it has the same in all queries (1 for other terms), None where it has not."""
    fixed = np.ones(queries.dim, np.float32)
    fixed[queries.indices] = queries.values  # of several writes to a place, any one stays
    return fixed if np.array_equal(fixed[queries.indices], queries.values) else None
