"""How near the hits of an index are to those of brute force over its stored vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.eval.datasets import Dataset
from lsr.eval.measures import Measure, evaluate, mean
from lsr.eval.timing import time_stages
from lsr.index import Index
from lsr.sparse import SparseVectors

__all__ = ["audit"]

K = 100
QUERIES = 200  # audited at most: each costs a product with the whole collection
_SCORES = 1 << 26  # held at a time, 8 bytes each: fewer queries are audited on a large collection
_ROWS = 1 << 15  # documents multiplied at a time
# Relative. Engine and brute force add the same products in another order: documents that differ by less are level.
_ROUNDING = 1e-5


def audit(index: Index, queries: SparseVectors, dataset: Dataset) -> dict[str, Any]:
    """The part "approximation" of a report: one point for each setting of `recall` that makes a difference.

    queries: those of the dataset, in its order. overlap@k: the share of the k best documents by brute force (scipy, float64)
    that were found, a document level with the k-th being as good as it. max_score_error: the largest difference of a score
    that was given from the true one. ndcg_change: of nDCG@10 over the audited queries, against brute force.
    """
    asked = queries[: max(1, min(QUERIES, len(queries), _SCORES // len(index)))]
    auditing = _Audit(index, asked, dataset)
    settings = [None] if index.manifest.engine == "exact" else [0.8, 0.9, 0.95, 0.98, 0.99, 1.0]
    return {"k": 10, "queries": len(asked), "points": [auditing.point(setting) for setting in settings]}


class _Audit:
    """Brute force, once, for comparison with each setting: true scores [queries, documents]."""

    def __init__(self, index: Index, queries: SparseVectors, dataset: Dataset) -> None:
        self._index, self._queries = index, queries
        self._k = min(K, len(index))
        judged = [query.id for query in dataset.queries[: len(queries)]]
        self._qrels = {query: dataset.qrels[query] for query in judged}
        self._scores = np.zeros((len(queries), len(index)))
        asked = queries.to_scipy().astype(np.float64)
        for first in range(0, len(index), _ROWS):
            rows = range(first, min(first + _ROWS, len(index)))
            part = index.vectors(rows).to_scipy().astype(np.float64)
            self._scores[:, rows.start : rows.stop] = (asked @ part.T).toarray()
        # Equal scores stand in document order, as in every engine.
        self._best = [self._order(line)[: self._k] for line in self._scores]
        self._ndcg = self._ndcg_of([rows[:10] for rows in self._best])

    def _order(self, line: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        least = np.partition(line, len(line) - self._k)[len(line) - self._k]
        rows = np.flatnonzero((line >= least) & (line > 0))
        return rows[np.argsort(-line[rows], kind="stable")]

    def _ndcg_of(self, found: Sequence[npt.NDArray[np.int64]]) -> float:
        ids = [[self._index.id_of(row) for row in rows.tolist()] for rows in found]
        measure = Measure.parse("nDCG@10")
        return mean(evaluate([measure], self._qrels, dict(zip(self._qrels, ids, strict=True)))[str(measure)])

    def point(self, recall: float | None) -> dict[str, Any]:
        error, found = 0.0, []
        overlaps: dict[int, list[float]] = {10: [], 100: []}
        for line, best, hits in zip(
            self._scores, self._best, self._index.search(self._queries, k=self._k, recall=recall), strict=True
        ):
            scores = line[hits.rows]
            error = max(error, float(np.abs(scores - hits.scores).max(initial=0.0)))
            found.append(hits.rows[:10])
            for cutoff, shares in overlaps.items():
                if len(top := best[:cutoff]):
                    least = line[top[-1]] * (1 - _ROUNDING)
                    shares.append(min(1.0, float(np.count_nonzero(scores[:cutoff] >= least)) / len(top)))
        return {
            "recall_setting": recall,
            **{f"overlap@{cutoff}": float(np.mean(shares)) if shares else 1.0 for cutoff, shares in overlaps.items()},
            "ndcg_change": self._ndcg_of(found) - self._ndcg,
            "max_score_error": error,
            "p50_ms": self._p50(recall),
        }

    def _p50(self, recall: float | None) -> float:
        def search(query: SparseVectors) -> list[str]:
            return self._index.search(query, k=10, recall=recall, threads=1)[0].ids

        queries = [self._queries[i : i + 1] for i in range(len(self._queries))]
        p50: float = time_stages([("search", search)], queries).latency()["p50"]
        return p50
