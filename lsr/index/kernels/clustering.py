"""Bringing similar documents together: one round of assignment to random centroids, then one within each cluster.

Documents are compared by their heaviest terms alone, through an inverted index over the centroids, as Seismic assigns the
documents of a list (Bruch et al. 2024, section 5.2: "shallow" k-means); here it is done once for the whole collection.

Cost: for each document one add for each centroid that shares a heavy term, twice. The inverted index is a linked list for
each term: building it touches only the terms that the centroids have, so vocabularies may be large.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]
U = np.uint64


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
def _index_centroids(centroids, top_terms, top_codes, counts, heads, following, owner, weight):  # type: ignore[no-untyped-def]
    """Linked lists of the centroids that have each term; `heads` is -1 everywhere before. Centroids are of unit length."""
    at = 0
    for c in range(len(centroids)):
        doc = centroids[c]
        square = np.float32(0)
        for j in range(counts[doc]):
            square += np.float32(top_codes[doc, j]) * np.float32(top_codes[doc, j])
        for j in range(counts[doc]):
            term = top_terms[doc, j]
            owner[at], weight[at] = c, np.float32(top_codes[doc, j]) / np.sqrt(square)
            following[at], heads[term] = heads[term], at
            at += 1


@njit(nogil=True, cache=True)
def _nearest(doc, top_terms, top_codes, counts, heads, following, owner, weight, scores):  # type: ignore[no-untyped-def]
    """The centroid with the largest dot product, the first of equal ones; scores [centroids] is working memory."""
    scores[:] = 0
    for j in range(counts[doc]):
        code = np.float32(top_codes[doc, j])
        at = heads[top_terms[doc, j]]
        while at >= 0:
            scores[owner[at]] += code * weight[at]
            at = following[at]
    return np.argmax(scores)


@njit(nogil=True, cache=True)
def assign(
    first: int, last: int, centroids: Array, top_terms: Array, top_codes: Array, counts: Array, dim: int, out: Array
) -> None:
    """out[i] = the nearest centroid of document i, for documents [first, last). centroids int64: document numbers."""
    size = len(centroids) * top_terms.shape[1]
    heads = np.full(dim, -1, np.int32)
    following, owner, weight = np.empty(size, np.int32), np.empty(size, np.int32), np.empty(size, np.float32)
    _index_centroids(centroids, top_terms, top_codes, counts, heads, following, owner, weight)
    scores = np.empty(len(centroids), np.float32)
    for doc in range(first, last):
        out[doc] = _nearest(doc, top_terms, top_codes, counts, heads, following, owner, weight, scores)


@njit(nogil=True, cache=True)
def order_within(
    first: int,
    last: int,
    bounds: Array,
    members: Array,
    size: int,
    top_terms: Array,
    top_codes: Array,
    counts: Array,
    dim: int,
) -> None:
    """Orders the documents of each cluster in [first, last) so that those with the same inner centroid lie together.

    bounds [clusters + 1]: start of each cluster in `members`, which is reordered in place. Inner centroids are documents
    of the cluster, one for `size` documents, evenly spaced.
    """
    heads = np.full(dim, -1, np.int32)
    for cluster in range(first, last):
        part = members[bounds[cluster] : bounds[cluster + 1]]
        inner = len(part) // size
        if inner < 2:
            continue
        centroids = np.empty(inner, np.int64)
        for c in range(inner):
            centroids[c] = part[c * len(part) // inner]
        total = inner * top_terms.shape[1]
        following, owner, weight = np.empty(total, np.int32), np.empty(total, np.int32), np.empty(total, np.float32)
        _index_centroids(centroids, top_terms, top_codes, counts, heads, following, owner, weight)
        scores = np.empty(inner, np.float32)
        nearest = np.empty(len(part), np.int64)
        sizes = np.zeros(inner + 1, np.int64)
        for i in range(len(part)):
            nearest[i] = _nearest(part[i], top_terms, top_codes, counts, heads, following, owner, weight, scores)
            sizes[nearest[i] + 1] += 1
        for c in range(inner):
            sizes[c + 1] += sizes[c]
        old = part.copy()
        for i in range(len(old)):
            part[sizes[nearest[i]]] = old[i]
            sizes[nearest[i]] += 1
        for c in range(inner):
            doc = centroids[c]
            for j in range(counts[doc]):
                heads[top_terms[doc, j]] = -1
