"""Exhaustive term-at-a-time search over windows of documents.

Layout: the postings of a term lie together, sorted by document, cut into windows of 65,536 documents, each posting a
16-bit document number within its window and an 8- or 16-bit weight code. A window's scores fit the second-level cache
(256 KiB). Terms that more than a third of the documents have are kept as rows of codes instead, one for every document:
less space than postings, and added by vector instructions.

Cost: one add a posting of the query's terms (about 0.3 ns), or a byte a document for terms kept as rows; plus one pass
over the touched window's scores, which looks for hits and clears them (about 3 us a window), or, where a window has few
postings, over the touched scores only.

Scores are float32 sums over the query's terms in rising term order, `(query weight * scale) * code` each. Every engine
adds in this order, so scores are the same to the last bit whatever the window, the thread or the engine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]

GROUP = 64  # scores looked at together
SPARSE = 16  # a window with fewer than documents / SPARSE postings is read through its postings again
NOBODY = np.int64(1 << 62)  # document number of a free place in the heap: worse than any hit


@njit(nogil=True, cache=True, inline="always")
def _worse(score_a, doc_a, score_b, doc_b):  # type: ignore[no-untyped-def]
    """Whether hit a ranks below hit b: a lower score, or the same score and a later document."""
    return score_a < score_b or (score_a == score_b and doc_a > doc_b)


@njit(nogil=True, cache=True)
def _replace_worst(scores, docs, size, score, doc):  # type: ignore[no-untyped-def]
    """Puts (score, doc) in place of the root of a heap of `size` hits, whose root is its worst."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and _worse(scores[child + 1], docs[child + 1], scores[child], docs[child]):
            child += 1
        if not _worse(scores[child], docs[child], score, doc):
            break
        scores[at], docs[at] = scores[child], docs[child]
        at = child
    scores[at], docs[at] = score, doc


@njit(nogil=True, cache=True)
def _find(terms, term):  # type: ignore[no-untyped-def]
    """Place of a term in a rising array, -1 where it is not."""
    low, high = 0, len(terms)
    while low < high:
        middle = (low + high) >> 1
        if terms[middle] < term:
            low = middle + 1
        else:
            high = middle
    return low if low < len(terms) and terms[low] == term else -1


@njit(nogil=True, cache=True)
def _plan(query_terms, query_weights, scale, listed, dense, places, weights):  # type: ignore[no-untyped-def]
    """Where each query term that occurs is kept, and its scaled weight. Returns how many occur.

    places[j] is a row of the posting lists, or -1 - row for a row of dense codes.
    """
    found = 0
    for i in range(len(query_terms)):
        place = _find(listed, query_terms[i])
        if place < 0:
            row = _find(dense, query_terms[i])
            if row < 0:
                continue
            place = -1 - row
        places[found] = place
        weights[found] = query_weights[i] * scale
        found += 1
    return found


@njit(nogil=True, cache=True)
def _add_list(scores, docs, codes, start, end, weight):  # type: ignore[no-untyped-def]
    # Unsigned positions: with signed ones Numba tests each access for a negative index, which doubles the time.
    for p in range(np.uint64(start), np.uint64(end)):
        scores[docs[p]] += weight * np.float32(codes[p])


@njit(nogil=True, cache=True)
def _add_row(scores, row, weight):  # type: ignore[no-untyped-def]
    for i in range(len(row)):
        scores[i] += weight * np.float32(row[i])


@njit(nogil=True, cache=True)
def _take_dense(groups, documents, base, top_scores, top_docs):  # type: ignore[no-untyped-def]
    """Moves the hits of a window into the heap, looking at and clearing all its scores.

    groups float32 [window / GROUP, GROUP]. Comparisons joined by OR in an int become vector code; a running maximum of
    floats does not (NaN), and one of integers takes twice as long.
    """
    threshold = top_scores[0]
    for g in range((documents + GROUP - 1) // GROUP):
        hot = 0
        for j in range(GROUP):
            hot |= groups[g, j] > threshold
        if hot:
            for j in range(GROUP):
                score = groups[g, j]
                if score > threshold:  # an equal score loses: its document is later than all in the heap
                    _replace_worst(top_scores, top_docs, len(top_scores), score, base + g * GROUP + j)
                    threshold = top_scores[0]
        for j in range(GROUP):
            groups[g, j] = np.float32(0)


@njit(nogil=True, cache=True)
def _take_sparse(scores, docs, start, end, base, top_scores, top_docs):  # type: ignore[no-untyped-def]
    """The same for the documents of one posting list: for windows where few documents were touched."""
    for p in range(np.uint64(start), np.uint64(end)):
        local = docs[p]
        score = scores[local]
        if score > 0:  # not yet taken through the list of another term
            scores[local] = np.float32(0)
            doc = base + np.int64(local)
            if _worse(top_scores[0], top_docs[0], score, doc):  # documents come in no order here
                _replace_worst(top_scores, top_docs, len(top_scores), score, doc)


@njit(nogil=True, cache=True)
def _sort(scores, docs):  # type: ignore[no-untyped-def]
    """Heap to list, best first. Returns the number of hits: places that stayed free come last."""
    for last in range(len(scores) - 1, 0, -1):
        score, doc = scores[last], docs[last]
        scores[last], docs[last] = scores[0], docs[0]
        _replace_worst(scores, docs, last, score, doc)
    size = len(scores)
    while size > 0 and docs[size - 1] == NOBODY:
        size -= 1
    return size


@njit(nogil=True, cache=True)
def search(
    query_indptr: Array,
    query_terms: Array,
    query_weights: Array,
    queries: int,
    scale: np.float32,
    listed: Array,
    offsets: Array,
    docs: Array,
    codes: Array,
    dense: Array,
    dense_codes: Array,
    documents: int,
    scores: Array,
    top_scores: Array,
    top_docs: Array,
    counts: Array,
) -> None:
    """Top-k of the first `queries` queries of a batch.

    query_* a CSR batch, terms rising; listed [lists], offsets [lists * windows + 1], docs, codes [postings]: the
    postings; dense [d], dense_codes [d * documents]: the terms kept as rows; all as `storage.segment` has them;
    scores float32 [window], all 0, and all 0 again afterwards; k >= 1;
    top_scores float32 [queries, k], top_docs int64 [queries, k], counts int64 [queries]: the output, best first.
    """
    window_size = len(scores)
    windows = max(1, (documents + window_size - 1) // window_size)
    groups = scores.reshape(window_size // GROUP, GROUP)
    longest = 0
    for q in range(queries):
        longest = max(longest, query_indptr[q + 1] - query_indptr[q])
    places = np.empty(longest, np.int64)
    weights = np.empty(longest, np.float32)
    for q in range(queries):
        first, last = query_indptr[q], query_indptr[q + 1]
        found = _plan(query_terms[first:last], query_weights[first:last], scale, listed, dense, places, weights)
        best_scores, best_docs = top_scores[q], top_docs[q]
        best_scores[:] = 0
        best_docs[:] = NOBODY
        for window in range(windows):
            base = window * window_size
            inside = min(window_size, documents - base)
            touched = 0
            for j in range(found):
                if places[j] < 0:
                    at = (-1 - places[j]) * documents + base
                    _add_row(scores, dense_codes[at : at + inside], weights[j])
                    touched += inside
                else:
                    at = places[j] * windows + window
                    start, end = offsets[at], offsets[at + 1]
                    _add_list(scores, docs, codes, start, end, weights[j])
                    touched += end - start
            if touched * SPARSE >= inside:
                _take_dense(groups, inside, base, best_scores, best_docs)
            else:
                for j in range(found):
                    at = places[j] * windows + window
                    _take_sparse(scores, docs, offsets[at], offsets[at + 1], base, best_scores, best_docs)
        counts[q] = _sort(best_scores, best_docs)
