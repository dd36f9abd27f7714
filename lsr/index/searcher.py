"""Which engine answers a query, and with which settings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt

from lsr.index.blocked.curves import MOST_TERMS, SHORT, Curve, choose
from lsr.index.blocked.engine import BlockedEngine
from lsr.index.blocked.parameters import SearchSettings
from lsr.index.engines import TopK
from lsr.index.exact import ExactEngine
from lsr.index.storage.segment import Segment
from lsr.sparse import SparseVectors

__all__ = ["Searcher", "take"]


Mask = npt.NDArray[np.uint8]


class Searcher:
    """The engines of a segment, and the choice between them: by the curves that were measured at build time."""

    def __init__(self, segment: Segment, dim: int, curves: Sequence[Curve]) -> None:
        self.curves = curves
        # (terms, k, recall) -> settings: the same few again and again
        self._choose = lru_cache(maxsize=256)(partial(choose, curves))
        self.exact = ExactEngine(segment, dim)
        self.blocked = BlockedEngine(segment) if segment.blocks is not None else None

    def search(
        self,
        queries: SparseVectors,
        k: int,
        recall: float,
        threads: int,
        settings: SearchSettings | None = None,
        allowed: Mask | None = None,
    ) -> TopK:
        """Top-k of each query.

        settings: for the blocked engine, in place of those chosen for the recall. allowed: see `ExactEngine.search`.
        """
        if self.blocked is None or (recall >= 1 and settings is None):
            return self.exact.search(queries, k, threads, allowed)
        depth = k
        if allowed is not None:
            # The k best of those allowed are spread among so many, were all of them.
            depth = int(k * len(allowed) / max(1, int(np.count_nonzero(allowed.view(np.bool_)))))
        if len(queries) == 1:
            chosen = settings or self._choose(queries.nnz, depth, recall)
            return self._with(chosen, queries, k, threads, allowed)
        kinds = np.searchsorted((SHORT, MOST_TERMS), np.diff(queries.indptr))
        present = np.flatnonzero(np.bincount(kinds)).tolist()
        by_kind = [
            settings or self._choose((SHORT, SHORT + 1, MOST_TERMS + 1)[kind], depth, recall) for kind in present
        ]
        if len(set(by_kind)) <= 1:
            return self._with(by_kind[0] if by_kind else None, queries, k, threads, allowed)
        parts = [np.flatnonzero(kinds == kind) for kind in present]
        answers = [
            self._with(chosen, take(queries, part), k, threads, allowed)
            for chosen, part in zip(by_kind, parts, strict=True)
        ]
        return _joined(parts, answers, len(queries))

    def _with(
        self, settings: SearchSettings | None, queries: SparseVectors, k: int, threads: int, allowed: Mask | None
    ) -> TopK:
        if settings is None:
            return self.exact.search(queries, k, threads, allowed)
        assert self.blocked is not None
        scores, rows, counts = self.blocked.search(queries, k, settings, threads, allowed)
        # What was read may hold fewer hits than there are: rare terms, a large k. There the exact engine is quick.
        if min(counts.tolist()) < scores.shape[1]:
            few = np.flatnonzero((counts < scores.shape[1]) & (np.diff(queries.indptr) > 0))
            some = self.exact.search(take(queries, few), k, threads, allowed)
            width = some[0].shape[1]  # the documents that a filter allows may be fewer than k
            scores[few, :width], rows[few, :width], counts[few] = some
        return scores, rows, counts


def take(queries: SparseVectors, rows: npt.NDArray[np.int64]) -> SparseVectors:
    """Some queries of a batch."""
    return SparseVectors.from_scipy(queries.to_scipy()[rows])


def _joined(parts: Sequence[npt.NDArray[np.int64]], answers: Sequence[TopK], queries: int) -> TopK:
    k = max(answer[0].shape[1] for answer in answers)
    scores, rows = np.empty((queries, k), np.float32), np.empty((queries, k), np.int64)
    counts = np.zeros(queries, np.int64)
    for part, answer in zip(parts, answers, strict=True):
        width = answer[0].shape[1]
        scores[part, :width], rows[part, :width], counts[part] = answer
    return scores, rows, counts
