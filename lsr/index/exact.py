"""The exact engine: the k documents with the highest scores, no approximation. The truth that others are compared with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lsr.index.engines import TopK, in_pieces, query_arrays
from lsr.index.kernels import compile_once, compiled_form
from lsr.index.storage.segment import WINDOW, VectorSegment, window_count
from lsr.index.survivors import SurvivorsEngine
from lsr.sparse import SparseVectors

__all__ = ["ExactEngine"]

# Nanoseconds a posting, a document of a row, and one that is looked at for hits: fitted to 600 queries on 391,934 documents
# (2026-11-25, AMD EPYC family 25 model 1, shared). Only their relation to those of `survivors` and `blocked.engine` counts.
_NS_POSTING, _NS_DENSE, _NS_SCAN = 0.85, 0.12, 0.27
_ALL = np.zeros(0, np.uint8)  # the mask that stands for no filter
_ALL.flags.writeable = False  # as masks are: Numba tells them apart


class ExactEngine:
    """Exact top-k over a segment. Safe from several threads: each search borrows working memory of its own."""

    def __init__(self, segment: VectorSegment, dim: int) -> None:
        self._documents, self._dim = segment.documents, dim
        self._survivors = SurvivorsEngine(segment, dim)
        self._arrays = (
            np.float32(segment.entry.scale),
            segment.documents,
            segment.lists,
            segment.rows,
            (segment.forward_indptr, segment.forward_terms, segment.forward_codes),
            segment.rows_of,
        )
        self._idle: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.uint32]]] = []  # append and pop are atomic
        self._costs: npt.NDArray[np.float32] | None = None  # of the postings of each term, in nanoseconds [dim]
        self._search: Callable[..., None] | None = None

    def search(
        self, queries: SparseVectors, k: int, threads: int = 1, allowed: npt.NDArray[np.uint8] | None = None
    ) -> TopK:
        """Top-k of each query, one query a thread at a time; the result does not depend on the number of threads.

        allowed: 1 for documents that may be hits, 0 for the others, uint8 [documents], read-only; None: all may. Where they
          are few, they are scored one by one; scores and order are the same.
        """
        if allowed is not None:
            self._check(allowed)
            places = self._survivors.places(allowed, len(queries), self.nanoseconds(queries))
            if places is not None:
                return self._survivors.search(queries, k, places, threads)
        n = len(queries)
        k = min(k, self._documents)
        scores, rows, counts = np.empty((n, k), np.float32), np.empty((n, k), np.int64), np.zeros(n, np.int64)
        if n == 0 or k == 0:
            return scores, rows, counts
        kernel = self._search or self._load()
        indptr, terms, weights = query_arrays(queries)
        mask = _ALL if allowed is None else allowed

        def run(first: int, last: int) -> None:
            try:
                memory = self._idle.pop()
            except IndexError:
                memory = np.zeros(WINDOW, np.float32), np.empty(WINDOW, np.uint32)
            part = slice(first, last)
            out = (scores[part], rows[part], counts[part])
            kernel(indptr[first : last + 1], terms, weights, last - first, *self._arrays, mask, *memory, *out)
            self._idle.append(memory)  # not after a failure: it may not be clean

        in_pieces(n, threads, run)
        return scores, rows, counts

    def _check(self, allowed: npt.NDArray[np.uint8]) -> None:
        right = allowed.dtype == np.uint8 and allowed.shape == (self._documents,) and allowed.flags.c_contiguous
        if not right or allowed.flags.writeable:
            raise ValueError(
                f"a mask of {allowed.dtype} {allowed.shape}: it must be uint8 [{self._documents}], read-only"
            )

    def nanoseconds(self, queries: SparseVectors) -> float:
        """What reading the postings of a batch takes, about."""
        if self._costs is None:
            lists, rows = self._arrays[2:4]
            costs = np.zeros(self._dim, np.float32)
            costs[lists.terms] = _NS_POSTING * np.diff(lists.offsets[:: window_count(self._documents)])
            costs[rows.terms] = _NS_DENSE * self._documents
            self._costs = costs
        return float(self._costs[queries.indices].sum()) + _NS_SCAN * self._documents * len(queries)

    def _load(self) -> Callable[..., None]:
        """The kernel, compiled for the arrays of this segment."""
        from lsr.index.kernels.exact import search

        query = (np.zeros(1, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.float32), 0)
        memory = (np.zeros(WINDOW, np.float32), np.zeros(0, np.uint32))
        out = (np.zeros((0, 1), np.float32), np.zeros((0, 1), np.int64), query[0])
        kinds = "-".join(str(array.dtype) for array in self._arrays[4])
        arguments = (*query, *self._arrays, _ALL, *memory, *out)
        compile_once(f"exact-{kinds}", lambda: search(*arguments))
        form = self._search = compiled_form(search, arguments)
        return form
