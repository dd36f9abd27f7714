"""What the engines have in common: the form of queries and answers, and how a batch is spread over threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.sparse import SparseVectors

__all__ = ["QueryArrays", "TopK", "in_pieces", "query_arrays"]

# scores [queries, k] float32, rows [queries, k] int64, counts [queries] int64: hits of a query fill the front of its line
TopK = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int64]]


class QueryArrays(NamedTuple):
    """A CSR batch: indptr [queries + 1], terms and weights [nnz]."""

    indptr: npt.NDArray[np.int64]
    terms: npt.NDArray[np.uint32]
    weights: npt.NDArray[np.float32]


def query_arrays(queries: SparseVectors) -> QueryArrays:
    """One type each, so that one compiled form of a kernel serves all callers: Numba tells read-only arrays apart."""
    indptr, values = queries.indptr, queries.values
    return QueryArrays(
        indptr if indptr.flags.writeable else indptr.copy(),
        queries.indices.astype(np.uint32),
        values if values.flags.writeable else values.copy(),
    )


def in_pieces(size: int, threads: int, run: Callable[[int, int], None]) -> None:
    """Calls run(first, last) for pieces of [0, size), queries or documents, one piece a thread at a time."""
    workers = min(threads, size)
    if workers <= 1:
        run(0, size)
        return
    # Several pieces a worker: they differ in cost.
    edges = np.linspace(0, size, min(size, workers * 8) + 1).astype(int).tolist()
    with ThreadPoolExecutor(workers) as pool:
        for job in [pool.submit(run, first, last) for first, last in pairwise(edges)]:
            job.result()
