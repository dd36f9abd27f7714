"""The exact engine: the k documents with the highest scores, no approximation. The truth that others are compared with."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from lsr.index.kernels import compile_once
from lsr.index.storage.segment import WINDOW, Segment
from lsr.sparse import SparseVectors

__all__ = ["ExactEngine", "TopK"]

# scores [queries, k] float32, rows [queries, k] int64, counts [queries] int64: hits of a query fill the front of its line
TopK = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int64]]


class ExactEngine:
    """Exact top-k over a segment. Safe from several threads: each search borrows working memory of its own."""

    def __init__(self, segment: Segment) -> None:
        self._documents = segment.documents
        self._arrays = (
            np.float32(segment.entry.scale),
            segment.postings_terms,
            segment.postings_offsets,
            segment.postings_docs,
            segment.postings_codes,
            segment.dense_terms,
            segment.dense_codes,
            segment.documents,
        )
        self._idle: list[npt.NDArray[np.float32]] = []  # score buffers, all zero; append and pop are atomic
        self._search: Callable[..., None] | None = None

    def search(self, queries: SparseVectors, k: int, threads: int = 1) -> TopK:
        """Top-k of each query, one query a thread at a time; the result does not depend on the number of threads."""
        n = len(queries)
        k = min(k, self._documents)
        scores, rows, counts = np.empty((n, k), np.float32), np.empty((n, k), np.int64), np.zeros(n, np.int64)
        if n == 0 or k == 0:
            return scores, rows, counts
        kernel = self._search or self._load()
        # One type each, so that one compiled form serves all callers: Numba tells read-only arrays apart.
        indptr = queries.indptr if queries.indptr.flags.writeable else queries.indptr.copy()
        weights = queries.values if queries.values.flags.writeable else queries.values.copy()
        terms = queries.indices.astype(np.uint32)

        def run(first: int, last: int) -> None:
            try:
                buffer = self._idle.pop()
            except IndexError:
                buffer = np.zeros(WINDOW, np.float32)
            part = slice(first, last)
            out = (scores[part], rows[part], counts[part])
            kernel(indptr[first : last + 1], terms, weights, last - first, *self._arrays, buffer, *out)
            self._idle.append(buffer)  # not after a failure: it may not be clean

        workers = min(threads, n)
        if workers == 1:
            run(0, n)
            return scores, rows, counts
        # Several pieces a worker: queries differ in cost.
        edges = np.linspace(0, n, min(n, workers * 8) + 1).astype(int).tolist()
        with ThreadPoolExecutor(workers) as pool:
            for job in [pool.submit(run, first, last) for first, last in pairwise(edges)]:
                job.result()
        return scores, rows, counts

    def _load(self) -> Callable[..., None]:
        """The kernel, compiled for the arrays of this segment."""
        from lsr.index.kernels.exact import search

        query = (np.zeros(1, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.float32), 0)
        out = (np.zeros(WINDOW, np.float32), np.zeros((0, 1), np.float32), np.zeros((0, 1), np.int64), query[0])
        compile_once(f"exact-{self._arrays[4].dtype}", lambda: search(*query, *self._arrays, *out))
        self._search = search
        return search  # type: ignore[no-any-return]
