"""Exact scores of single documents, read in the forward index; shared by the search kernels (see `hits` on Numba's cache).

Cost: six or seven cache lines a document, about 240 ns where they come from memory, though several documents are prefetched;
and 10 ns a term of the query.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from lsr.index.kernels.hits import make_key, replace_worst
from lsr.index.kernels.vector import ROW, equal, first_bit, prefetch

Array = npt.NDArray[Any]
U, U32, F32 = np.uint64, np.uint32, np.float32

AHEAD_DOCUMENTS = 6  # prefetched
MANY = 1024  # terms of a document from which a binary search is faster


@njit(nogil=True, cache=True)
def _prefetch_document(place, forward):  # type: ignore[no-untyped-def]
    indptr, terms, codes = forward
    start, end = U(indptr[place]), U(indptr[place + 1])
    line = U(64 // terms.itemsize)
    while start < end:
        prefetch(terms, start)
        start += line
    start, line = U(indptr[place]), U(64 // codes.itemsize)
    while start < end:
        prefetch(codes, start)
        start += line


@njit(nogil=True, cache=True)
def _find_code(terms, codes, start, end, term):  # type: ignore[no-untyped-def]
    """The code of a term in a document of a few terms or very many: a branchless binary search. 0 where it is not."""
    at, length = start, end - start
    while length > U(1):
        half = length >> U(1)
        at += half * U(terms[at + half] <= term)
        length -= half
    return U(codes[at]) * U(terms[at] == term)


@njit(nogil=True, cache=True)
def _find_code_by_vectors(terms, codes, start, end, term):  # type: ignore[no-untyped-def]
    """The same where there are 32 terms or more: the piece of 32 that can hold it is compared at once.

    A sixth of the time of a binary search, whose steps wait for one another. The last piece ends with the document, so
    nothing is read that is not the document's.
    """
    at = start
    edge = start + U(ROW - 1)
    while edge < end:
        at += U(ROW) * U(terms[edge] < term)
        edge += U(ROW)
    at = min(at, end - U(ROW))
    bits = equal(terms, at, U32(term))
    return U(codes[at + first_bit(bits | U(1 << (ROW - 1)))]) * U(bits != U(0))


@njit(nogil=True, cache=True)
def _score(place, forward, query_terms, weights):  # type: ignore[no-untyped-def]
    """The exact score of a document."""
    indptr, terms, codes = forward
    start, end = U(indptr[place]), U(indptr[place + 1])
    score = F32(0)
    if U(ROW) <= end - start <= U(MANY):
        for j in range(U(len(query_terms))):
            score += weights[j] * F32(_find_code_by_vectors(terms, codes, start, end, query_terms[j]))
    elif end > start:
        for j in range(U(len(query_terms))):
            score += weights[j] * F32(_find_code(terms, codes, start, end, query_terms[j]))
    return score


@njit(nogil=True, cache=True)
def rank(candidates, count, forward, query_terms, weights, rows_of, keys):  # type: ignore[no-untyped-def]
    """Exact scores of the first `count` candidates, the best into the heap.

    candidates: where documents are stored; forward: indptr, terms, codes; weights: query weight * scale; rows_of: the row of
    each stored document, empty where that is its place.
    """
    indptr = forward[0]
    for i in range(count):
        prefetch(indptr, U(candidates[i]))
    for i in range(min(count, AHEAD_DOCUMENTS)):
        _prefetch_document(np.int64(candidates[i]), forward)
    for i in range(count):
        if i + AHEAD_DOCUMENTS < count:
            _prefetch_document(np.int64(candidates[i + AHEAD_DOCUMENTS]), forward)
        place = np.int64(candidates[i])
        score = _score(place, forward, query_terms, weights)
        bits = F32(score).view(np.int32)
        if bits > 0 and bits >= np.int32(keys[0] >> U(32)):
            key = make_key(bits, np.int64(rows_of[place]) if len(rows_of) else place)
            if key > keys[0]:
                replace_worst(keys, len(keys), key)
