"""The truth that recall is measured against: scores by brute force, in float64, over the vectors as they were given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.eval.bench.peers.peer import Rows
from lsr.sparse import SparseVectors

__all__ = ["Answers", "Truth"]

# Relative. Engines add the same products in float32 and in another order: documents that differ by less are level.
_ROUNDING = 1e-5


@dataclass(frozen=True, slots=True)
class Answers:
    """What belongs in the top k of each query: `good` rising row numbers, more than k where others are level with the last.

    Documents that share no term with a query belong nowhere, so `wanted` may be below k, even 0.
    """

    k: int
    good: Sequence[npt.NDArray[np.int64]]
    wanted: Sequence[int]

    def recall(self, found: Sequence[Rows], queries: Sequence[int] | None = None) -> float:
        """Mean share of the top k that was found; `found` are the rows of each query, or of those named."""
        asked = range(len(self.good)) if queries is None else queries
        shares = []
        for query, rows in zip(asked, found, strict=True):
            if self.wanted[query]:
                hits = int(np.isin(np.unique(rows[: self.k]), self.good[query], assume_unique=True).sum())
                shares.append(min(hits, self.wanted[query]) / self.wanted[query])
        return float(np.mean(shares)) if shares else 1.0


class Truth:
    """Float64 scores of all documents, by scipy."""

    def __init__(self, vectors: SparseVectors) -> None:
        from scipy.sparse import csc_array

        self._matrix = csc_array(vectors.to_scipy())

    def scores(self, terms: npt.NDArray[Any], weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """The score of each document [documents] for one query."""
        wanted = self._matrix[:, terms.astype(np.int64)].astype(np.float64)
        return np.asarray(wanted @ weights.astype(np.float64))

    def answers(self, queries: SparseVectors, ks: Sequence[int]) -> dict[int, Answers]:
        """What belongs in the top k, for each k."""
        good: dict[int, list[npt.NDArray[np.int64]]] = {k: [] for k in ks}
        wanted: dict[int, list[int]] = {k: [] for k in ks}
        for terms, weights in queries:
            scores = self.scores(terms, weights)
            matching = int((scores > 0).sum())
            for k in ks:
                size = min(k, matching)
                wanted[k].append(size)
                if size == 0:
                    good[k].append(np.zeros(0, np.int64))
                    continue
                last = np.partition(scores, len(scores) - size)[len(scores) - size]
                good[k].append(np.flatnonzero(scores >= last * (1 - _ROUNDING)))
        return {k: Answers(k, good[k], wanted[k]) for k in ks}
