"""Bringing similar documents together: each goes to the nearest of many centroids, and within their clusters again.

Documents are compared by their heaviest terms alone, through an inverted index over the centroids, as Seismic assigns the
documents of a list (Bruch et al. 2024, section 5.2: "shallow" k-means); here it is done once for the whole collection. The
centroids are documents. Clusters, and the groups within them, are chained: each is followed by the one most like it, so
that a block that begins in one and ends in the next is of a piece.

Cost: for each document one add for each centroid that shares a heavy term: 10 to 30 thousand, at 0.5 ns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]
U, U32 = np.uint64, np.uint32
_UNIT = 4095  # weights of centroids: sums of 255 terms of documents' codes, at most 255, stay below 2^32


@njit(nogil=True, cache=True)
def heaviest(indptr: Array, terms: Array, values: Array, top_terms: Array, top_codes: Array, counts: Array) -> None:
    """The heaviest terms of each document of a CSR batch, with 8-bit weights relative to the heaviest.

    indptr [n + 1] offsets into terms and values; top_terms, top_codes [n, k]; counts [n]: how many there are, up to k.
    Of equal weights the earlier term counts as heavier.
    """
    k = top_terms.shape[1]
    best = np.empty(k, np.float32)
    where = np.empty(k, np.int64)
    for i in range(len(indptr) - 1):
        size = 0
        for p in range(indptr[i], indptr[i + 1]):
            value = values[p]
            if size == k and value <= best[k - 1]:
                continue
            at = size if size < k else k - 1
            size = at + 1
            while at > 0 and best[at - 1] < value:
                best[at], where[at] = best[at - 1], where[at - 1]
                at -= 1
            best[at], where[at] = value, p
        counts[i] = size
        for j in range(size):
            top_terms[i, j] = terms[where[j]]
            top_codes[i, j] = max(1, int(best[j] / best[0] * np.float32(255)))


@njit(nogil=True, cache=True)
def index_centroids(
    centroids: Array, top_terms: Array, top_codes: Array, counts: Array, offsets: Array, owners: Array, weights: Array
) -> None:
    """The inverted index of centroids, which become of unit length. centroids int64: document numbers.

    offsets int64 [dim + 1], all 0 before: start of each term in owners uint16, the number of a centroid, and weights uint16
    [terms of all centroids].
    """
    for doc in centroids:
        for j in range(counts[doc]):
            offsets[np.int64(top_terms[doc, j]) + 1] += 1
    for term in range(len(offsets) - 1):
        offsets[term + 1] += offsets[term]
    at = offsets[:-1].copy()
    for c in range(len(centroids)):
        doc = centroids[c]
        square = 0.0
        for j in range(counts[doc]):
            square += float(top_codes[doc, j]) * float(top_codes[doc, j])
        for j in range(counts[doc]):
            term = top_terms[doc, j]
            owners[at[term]], weights[at[term]] = c, max(1, round(float(top_codes[doc, j]) / np.sqrt(square) * _UNIT))
            at[term] += 1


@njit(nogil=True, cache=True)
def _score(doc, top_terms, top_codes, counts, index, scores):  # type: ignore[no-untyped-def]
    """scores uint32 [centroids] = the dot product of a document with each."""
    offsets, owners, weights = index
    scores[:] = 0
    for j in range(U(counts[doc])):
        code, term = U32(top_codes[doc, j]), U(top_terms[doc, j])
        for e in range(U(offsets[term]), U(offsets[term + U(1)])):
            scores[owners[e]] += code * U32(weights[e])


@njit(nogil=True, cache=True)
def assign(
    first: int, last: int, clusters: int, top_terms: Array, top_codes: Array, counts: Array, index: Any, out: Array
) -> None:
    """out[i] = the nearest centroid of document i, the first of equals, for documents [first, last). index: see above."""
    scores = np.empty(clusters, np.uint32)
    for doc in range(first, last):
        _score(doc, top_terms, top_codes, counts, index, scores)
        out[doc] = np.argmax(scores)


@njit(nogil=True, cache=True)
def chain(centroids: Array, top_terms: Array, top_codes: Array, counts: Array, index: Any, places: Array) -> None:
    """places int64 [clusters]: an order in which each centroid is followed by the one most like it of those left."""
    scores, left = np.empty(len(centroids), np.uint32), np.ones(len(centroids), np.uint32)
    current = first_left = 0
    for place in range(len(centroids)):
        places[current], left[current] = place, 0
        _score(centroids[current], top_terms, top_codes, counts, index, scores)
        scores *= left
        current = int(np.argmax(scores))
        if scores[current] == 0:  # nothing in common with any
            while first_left < len(left) and left[first_left] == 0:
                first_left += 1
            current = first_left


@njit(nogil=True, cache=True)
def _nearest(doc, groups, skip, top_terms, top_codes, counts, columns, weights):  # type: ignore[no-untyped-def]
    """Of the centroids [groups] that are not skipped, the one with the largest dot product, the first of equals."""
    nearest, largest = -1, np.float32(-1)
    for c in range(groups):
        if skip[c]:
            continue
        score = np.float32(0)
        for j in range(counts[doc]):
            score += weights[c, columns[top_terms[doc, j]]] * np.float32(top_codes[doc, j])
        if score > largest:
            nearest, largest = c, score
    return nearest


@njit(nogil=True, cache=True)
def order_within(
    first: int,
    last: int,
    bounds: Array,
    members: Array,
    size: int,
    most: int,
    top_terms: Array,
    top_codes: Array,
    counts: Array,
    columns: Array,
) -> None:
    """Orders the documents of each cluster in [first, last) in groups of about `size`, each around one of them.

    bounds [clusters + 1]: start of each cluster in `members`, which is reordered in place. most: groups of a cluster, at
    most. columns uint16 [dim], all 0: working memory.
    """
    skip = np.zeros(most, np.uint8)
    weights = np.zeros((most, most * top_terms.shape[1] + 1), np.float32)  # column 0: terms that no centroid has
    for cluster in range(first, last):
        part = members[bounds[cluster] : bounds[cluster + 1]]
        groups = min(len(part) // size, most)
        if groups < 2:
            continue
        centroids = np.empty(groups, np.int64)
        used = 0
        for c in range(groups):  # evenly spaced
            doc = centroids[c] = part[c * len(part) // groups]
            square = 0.0
            for j in range(counts[doc]):
                square += float(top_codes[doc, j]) * float(top_codes[doc, j])
            for j in range(counts[doc]):
                term = top_terms[doc, j]
                if columns[term] == 0:
                    used += 1
                    columns[term] = used
                    weights[:groups, used] = 0
                weights[c, columns[term]] = float(top_codes[doc, j]) / np.sqrt(square)
        places = np.empty(groups, np.int64)
        current = 0
        for place in range(groups):  # as in `chain`
            places[current], skip[current] = place, 1
            current = _nearest(centroids[current], groups, skip, top_terms, top_codes, counts, columns, weights)
        skip[:groups] = 0
        nearest = np.empty(len(part), np.int64)
        for i in range(len(part)):
            nearest[i] = places[_nearest(part[i], groups, skip, top_terms, top_codes, counts, columns, weights)]
        part[:] = part[np.argsort(nearest, kind="mergesort")]
        for c in range(groups):
            for j in range(counts[centroids[c]]):
                columns[top_terms[centroids[c], j]] = 0
