"""Scores of single documents, read in the forward index: for filters that leave few.

Cost: about a nanosecond a term of the documents, and as much again to fetch them from memory where they lie far apart. It
does not depend on how many documents the index holds.

A score is the float32 sum over the query's terms in rising term order, `(query weight * scale) * code` each, to the last bit
that of `kernels.exact`: the terms of a document rise, too, and the same two roundings are made.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from lsr.index.kernels.hits import make_key

Array = npt.NDArray[Any]
U = np.uint64

AHEAD = 32  # documents fetched together
LINE = U(64)  # bytes of a cache line
TERMS_A_LINE = U(32)  # of 16 bits; of larger ones, processors fetch the line beside, too


@njit(nogil=True, cache=True)
def _touch(rows, indptr, terms, codes):  # type: ignore[no-untyped-def]
    """Reads something of each cache line of some documents, so that memory fetches them all at once.

    Scoring waits for one document after the other: the processor looks ahead some hundred instructions, of which a document
    takes more there, and few here. 560 ns a document became 390, where they lie far apart (150 became 190 where they lie
    together). The sum is of no use, but compilers leave out what is not used.
    """
    total = U(0)
    for row in rows:
        start, end = U(indptr[row]), U(indptr[row + 1])
        for p in range(start, end, TERMS_A_LINE):
            total += terms[p]
        for p in range(start, end, LINE):
            total += codes[p]
    return total


@njit(nogil=True, cache=True)
def score_rows(
    query_terms: Array,
    query_weights: Array,
    scale: np.float32,
    indptr: Array,
    terms: Array,
    codes: Array,
    rows_of: Array,
    places: Array,
    wanted: Array,
    weights: Array,
    keys: Array,
) -> int:
    """Scores the documents at `places` for one query, and returns how many have a score above 0.

    query_terms uint32 [t] rising, below dim; query_weights float32 [t]; indptr [documents + 1], terms, codes: the forward
    index; rows_of uint32 [documents]: the row of each, empty where that is its place; places int64 [n] below documents;
    wanted uint8 [dim] and weights float32 [dim]: working memory, `wanted` all 0, and all 0 again afterwards;
    keys uint64 [n]: the output, one key a hit (`kernels.hits`).
    """
    dim = len(wanted)
    for i in range(len(query_terms)):
        wanted[query_terms[i]] = 1
        weights[query_terms[i]] = query_weights[i] * scale
    score = np.zeros(1, np.float32)
    bits = score.view(np.uint32)
    found = 0
    ahead = np.empty(1, np.uint64)
    for first in range(0, len(places), AHEAD):
        part = places[first : first + AHEAD]
        ahead[0] = _touch(part, indptr, terms, codes)
        for place in part:
            total = np.float32(0)
            for p in range(U(indptr[place]), U(indptr[place + 1])):
                term = terms[p]
                # Most terms of a document are in no query: a table of bytes, which the nearest cache holds, tells them apart.
                if term < dim and wanted[term]:
                    total += weights[term] * np.float32(codes[p])
            if total > 0:
                score[0] = total
                keys[found] = make_key(bits[0], np.int64(rows_of[place]) if len(rows_of) else place)
                found += 1
    for i in range(len(query_terms)):
        wanted[query_terms[i]] = 0
    return found
