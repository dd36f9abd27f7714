"""The exact engine: the k documents with the highest scores, no approximation. The truth that others are compared with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lsr.index.engines import TopK, in_pieces, query_arrays
from lsr.index.kernels import compile_once
from lsr.index.storage.segment import WINDOW, Segment, window_count
from lsr.sparse import SparseVectors

__all__ = ["ExactEngine"]

# Nanoseconds a posting, a document of a row, and one that is looked at for hits: fitted to 600 queries on 391,934 documents (2026-11-25, AMD EPYC
# family 25 model 1, shared). Only their relation to those of `survivors` and of `blocked.calibration` counts.
_NS_POSTING, _NS_DENSE, _NS_SCAN = 0.85, 0.12, 0.27


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
            segment.rows_of,
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
        indptr, terms, weights = query_arrays(queries)

        def run(first: int, last: int) -> None:
            try:
                buffer = self._idle.pop()
            except IndexError:
                buffer = np.zeros(WINDOW, np.float32)
            part = slice(first, last)
            out = (scores[part], rows[part], counts[part])
            kernel(indptr[first : last + 1], terms, weights, last - first, *self._arrays, buffer, *out)
            self._idle.append(buffer)  # not after a failure: it may not be clean

        in_pieces(n, threads, run)
        return scores, rows, counts

    def nanoseconds(self, queries: SparseVectors) -> float:
        """What reading the postings of a batch takes, about."""
        listed, offsets = self._arrays[1:3]
        windows = window_count(self._documents)
        terms = queries.indices.astype(np.uint32)
        places = np.searchsorted(listed, terms)
        places = places[listed[np.minimum(places, len(listed) - 1)] == terms] if len(listed) else places[:0]
        postings = int((offsets[(places + 1) * windows] - offsets[places * windows]).sum())
        dense = int(np.isin(terms, self._arrays[5]).sum()) * self._documents
        return _NS_POSTING * postings + _NS_DENSE * dense + _NS_SCAN * self._documents * len(queries)

    def _load(self) -> Callable[..., None]:
        """The kernel, compiled for the arrays of this segment."""
        from lsr.index.kernels.exact import search

        query = (np.zeros(1, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.float32), 0)
        out = (np.zeros(WINDOW, np.float32), np.zeros((0, 1), np.float32), np.zeros((0, 1), np.int64), query[0])
        compile_once(f"exact-{self._arrays[4].dtype}", lambda: search(*query, *self._arrays, *out))
        self._search = search
        return search  # type: ignore[no-any-return]
