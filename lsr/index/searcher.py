"""Which engine answers a query, and with which settings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lsr.index.blocked.curves import SHORT, Curve, choose
from lsr.index.blocked.engine import BlockedEngine
from lsr.index.blocked.parameters import SearchSettings
from lsr.index.engines import TopK
from lsr.index.exact import ExactEngine
from lsr.index.storage.segment import Segment
from lsr.sparse import SparseVectors

__all__ = ["Searcher"]


class Searcher:
    """The engines of a segment, and the choice between them: by the curves that were measured at build time."""

    def __init__(self, segment: Segment, curves: Sequence[Curve]) -> None:
        self._curves = curves
        self.exact = ExactEngine(segment)
        self.blocked = BlockedEngine(segment) if segment.blocks is not None else None

    def search(
        self, queries: SparseVectors, k: int, recall: float, threads: int, settings: SearchSettings | None = None
    ) -> TopK:
        """Top-k of each query. settings: for the blocked engine, in place of those chosen for the recall."""
        if self.blocked is None or (recall >= 1 and settings is None):
            return self.exact.search(queries, k, threads)
        if len(queries) == 1:
            chosen = settings or choose(self._curves, queries.nnz, k, recall)
            return self._with(chosen, queries, k, threads)
        short = np.diff(queries.indptr) <= SHORT
        by_kind = [settings or choose(self._curves, terms, k, recall) for terms in (SHORT, SHORT + 1)]
        if by_kind[0] == by_kind[1] or short.all() or not short.any():
            return self._with(by_kind[0] if short.all() else by_kind[1], queries, k, threads)
        parts = [np.flatnonzero(short), np.flatnonzero(~short)]
        answers = [
            self._with(chosen, _take(queries, part), k, threads) for chosen, part in zip(by_kind, parts, strict=True)
        ]
        return _joined(parts, answers, len(queries))

    def _with(self, settings: SearchSettings | None, queries: SparseVectors, k: int, threads: int) -> TopK:
        if settings is None:
            return self.exact.search(queries, k, threads)
        assert self.blocked is not None
        (scores, rows, counts), _ = self.blocked.search(queries, k, settings, threads)
        # What was read may hold fewer hits than there are: rare terms, a large k. There the exact engine is quick.
        few = np.flatnonzero((counts < scores.shape[1]) & (np.diff(queries.indptr) > 0))
        if len(few):
            some = self.exact.search(_take(queries, few) if len(few) < len(queries) else queries, k, threads)
            scores[few], rows[few], counts[few] = some
        return scores, rows, counts


def _take(queries: SparseVectors, rows: npt.NDArray[np.int64]) -> SparseVectors:
    return SparseVectors.from_scipy(queries.to_scipy()[rows])


def _joined(parts: Sequence[npt.NDArray[np.int64]], answers: Sequence[TopK], queries: int) -> TopK:
    k = answers[0][0].shape[1]
    scores, rows, counts = (
        np.empty((queries, k), np.float32),
        np.empty((queries, k), np.int64),
        np.zeros(queries, np.int64),
    )
    for part, answer in zip(parts, answers, strict=True):
        scores[part], rows[part], counts[part] = answer
    return scores, rows, counts
