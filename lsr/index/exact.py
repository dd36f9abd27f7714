"""The exact engine: the k documents with the highest scores, no approximation. The truth that others are compared with."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from lsr.index.kernels import compile_once
from lsr.index.storage.segment import WINDOW, Segment
from lsr.sparse import SparseVectors

__all__ = ["ExactEngine", "TopK", "cores"]

# scores [queries, k] float32, rows [queries, k] int64, counts [queries] int64: hits of a query fill the front of its line
TopK = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int64]]


class ExactEngine:
    """Exact top-k over a segment. Safe from several threads: each search borrows working memory of its own."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._scale = np.float32(segment.entry.scale)
        self._idle: list[npt.NDArray[np.float32]] = []  # score buffers, all zero; append and pop are atomic

    def search(self, queries: SparseVectors, k: int, threads: int = 1) -> TopK:
        """Top-k of each query, one query a thread at a time; the result does not depend on the number of threads."""
        n = len(queries)
        k = min(k, self._segment.documents)
        scores = np.empty((n, k), np.float32)
        rows = np.empty((n, k), np.int64)
        counts = np.zeros(n, np.int64)
        if n == 0 or k == 0:
            return scores, rows, counts
        workers = max(1, min(threads, n))
        if workers == 1:
            self._run(queries, 0, n, scores, rows, counts)
            return scores, rows, counts
        # Several pieces a worker: queries differ in cost.
        edges = np.linspace(0, n, min(n, workers * 8) + 1).astype(int).tolist()
        with ThreadPoolExecutor(workers) as pool:
            jobs = [
                pool.submit(self._run, queries, first, last, scores, rows, counts) for first, last in pairwise(edges)
            ]
            for job in jobs:
                job.result()
        return scores, rows, counts

    def _run(
        self,
        queries: SparseVectors,
        first: int,
        last: int,
        scores: npt.NDArray[np.float32],
        rows: npt.NDArray[np.int64],
        counts: npt.NDArray[np.int64],
    ) -> None:
        from lsr.index.kernels.exact import search

        segment = self._segment
        try:
            buffer = self._idle.pop()
        except IndexError:
            buffer = np.zeros(WINDOW, np.float32)
        # One type each, so that one compiled form serves all callers (Numba tells read-only arrays apart).
        indptr = queries.indptr[first : last + 1].copy()
        start, end = indptr[0], indptr[-1]
        indptr -= start
        terms = queries.indices[start:end].astype(np.uint32)
        weights = queries.values[start:end].copy()
        postings = (segment.postings_terms, segment.postings_offsets, segment.postings_docs, segment.postings_codes)
        dense = (segment.dense_terms, segment.dense_codes)
        out = (scores[first:last], rows[first:last], counts[first:last])

        def call(n: int) -> None:
            search(indptr, terms, weights, n, self._scale, *postings, *dense, segment.documents, buffer, *out)

        compile_once(f"exact-{segment.postings_codes.dtype}", lambda: call(0))
        call(last - first)
        self._idle.append(buffer)  # not after a failure: it may not be clean


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
