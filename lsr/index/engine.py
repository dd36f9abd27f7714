"""What the engines share: the form of their answers, and batches over several threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.sparse import SparseVectors

__all__ = ["TopK", "search_in_parts"]

# scores [queries, k] float32, rows [queries, k] int64, counts [queries] int64: hits of a query fill the front of its line
TopK = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int64]]
Part = tuple[Any, ...]


def search_in_parts(queries: SparseVectors, k: int, threads: int, run: Callable[[Part, Part], None]) -> TopK:
    """Calls run((indptr, terms, weights, number of queries), (scores, rows, counts)) for parts of a batch, in threads."""
    n = len(queries)
    scores, rows, counts = np.empty((n, k), np.float32), np.empty((n, k), np.int64), np.zeros(n, np.int64)
    if n == 0 or k == 0:
        return scores, rows, counts
    # One type each, so that one compiled form serves all callers: Numba tells read-only arrays apart.
    indptr = queries.indptr if queries.indptr.flags.writeable else queries.indptr.copy()
    weights = queries.values if queries.values.flags.writeable else queries.values.copy()
    terms = queries.indices.astype(np.uint32)

    def run_part(first: int, last: int) -> None:
        part = slice(first, last)
        run((indptr[first : last + 1], terms, weights, last - first), (scores[part], rows[part], counts[part]))

    workers = min(threads, n)
    if workers == 1:
        run_part(0, n)
        return scores, rows, counts
    # Several pieces a worker: queries differ in cost.
    edges = np.linspace(0, n, min(n, workers * 8) + 1).astype(int).tolist()
    with ThreadPoolExecutor(workers) as pool:
        for job in [pool.submit(run_part, first, last) for first, last in pairwise(edges)]:
            job.result()
    return scores, rows, counts
