"""Top-k among few documents, for filters that leave few: each is scored in the forward index, no postings are read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lsr.index.engines import TopK, in_pieces, query_arrays
from lsr.index.kernels import compile_once
from lsr.index.storage.segment import VectorSegment
from lsr.sparse import SparseVectors

__all__ = ["SurvivorsEngine"]

Places = npt.NDArray[np.int64]

_ROW = np.uint64((1 << 32) - 1)
# Nanoseconds a document and a term of it, fitted to 1,000 to 10,000 documents of 124 terms that lie far apart in an index of
# 391,934 (2026-11-25, AMD EPYC family 25 model 1, shared). Documents that lie together take half of it.
_NS_DOCUMENT, _NS_TERM = 100.0, 2.4


class SurvivorsEngine:
    """Exact top-k among given documents of a segment: the scores and the order of `ExactEngine`, to the last bit.

    Safe from several threads: each search borrows working memory of its own.
    """

    def __init__(self, segment: VectorSegment, dim: int) -> None:
        self._dim = dim
        self._arrays = (segment.forward_indptr, segment.forward_terms, segment.forward_codes, segment.rows_of)
        self._scale = np.float32(segment.entry.scale)
        terms = len(segment.forward_terms) / max(1, segment.documents)
        self._ns = _NS_DOCUMENT + _NS_TERM * terms
        # The last mask, how many documents it allows, and which, if that was asked.
        self._last: tuple[npt.NDArray[np.uint8] | None, int, Places | None] = (None, 0, None)
        self._idle: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]] = []  # append and pop are atomic
        self._score: Callable[..., int] | None = None

    def places(self, allowed: npt.NDArray[np.uint8], queries: int, ns: float) -> Places | None:
        """Where the documents that a mask allows are, if scoring them for so many queries takes less than `ns` nanoseconds.

        allowed: uint8 [documents], 0 or 1, read-only: the last one is remembered, for counting takes a tenth of a search.
        """
        mask, count, places = self._last
        if mask is not allowed:
            count, places = int(np.count_nonzero(allowed.view(np.bool_))), None
        few = count * queries * self._ns < ns
        if few and places is None:
            places = np.flatnonzero(allowed.view(np.bool_))
        self._last = allowed, count, places
        return places if few else None

    def search(self, queries: SparseVectors, k: int, places: Places, threads: int = 1) -> TopK:
        """Top-k of each query among the documents at `places`, rising."""
        n, k = len(queries), min(k, len(places))
        scores, found, counts = np.empty((n, k), np.float32), np.empty((n, k), np.int64), np.zeros(n, np.int64)
        if n == 0 or k == 0:
            return scores, found, counts
        kernel = self._score or self._load()
        asked = query_arrays(queries)
        ends = asked.indptr.tolist()

        def run(first: int, last: int) -> None:
            try:
                memory = self._idle.pop()
            except IndexError:
                memory = np.zeros(self._dim, np.uint8), np.empty(self._dim, np.float32)
            keys = np.empty(len(places), np.uint64)
            for query in range(first, last):
                part = slice(ends[query], ends[query + 1])
                terms, weights = asked.terms[part], asked.weights[part]
                hits = kernel(terms, weights, self._scale, *self._arrays, places, *memory, keys)
                best = _largest(keys[:hits], k)
                counts[query] = len(best)
                scores[query, : len(best)] = (best >> np.uint64(32)).astype(np.uint32).view(np.float32)
                found[query, : len(best)] = _ROW - (best & _ROW)
            self._idle.append(memory)  # not after a failure: it may not be clean

        in_pieces(n, threads, run)
        return scores, found, counts

    def _load(self) -> Callable[..., int]:
        """The kernel, compiled for the arrays of this segment."""
        from lsr.index.kernels.survivors import score_rows

        query = (np.zeros(0, np.uint32), np.zeros(0, np.float32), self._scale)
        memory = (np.zeros(0, np.uint8), np.zeros(0, np.float32), np.zeros(0, np.uint64))
        kinds = "-".join(str(array.dtype) for array in self._arrays[1:])
        compile_once(f"survivors-{kinds}", lambda: score_rows(*query, *self._arrays, np.zeros(0, np.int64), *memory))
        self._score = score_rows
        return score_rows  # type: ignore[no-any-return]


def _largest(keys: npt.NDArray[np.uint64], k: int) -> npt.NDArray[np.uint64]:
    """The k largest, falling."""
    if len(keys) > k:
        keys = np.partition(keys, len(keys) - k)[len(keys) - k :]
    return np.sort(keys)[::-1]
