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

from lsr.index.kernels.hits import find_term, make_key, replace_worst, write_hits

Array = npt.NDArray[Any]
U = np.uint64

GROUP = 64  # scores looked at together
SPARSE = 16  # a window with fewer than documents / SPARSE postings is read through its postings again
SEED_FROM = 20  # k from which looking for a first threshold pays


@njit(nogil=True, cache=True)
def _kth_largest(values, k):  # type: ignore[no-untyped-def]
    """Hoare's selection, in place."""
    low, high = 0, len(values) - 1
    while low < high:
        a, b, c = values[low], values[(low + high) >> 1], values[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k - 1 <= j:
            high = j
        elif k - 1 >= i:
            low = i
        else:
            break
    return values[k - 1]


@njit(nogil=True, cache=True)
def _first_threshold(bits, inside, k, maxima):  # type: ignore[no-untyped-def]
    """A score (as bits) that at least k documents of a window exceed; 0 when it holds fewer hits than that.

    The window's scores seen as a table with len(maxima) >= k columns: the maxima of the columns belong to different
    documents, so k documents reach the k-th largest of them. Column maxima are vector code. Without this, a large k
    sends most documents of the first window through the heap.
    """
    lanes = len(maxima)
    maxima[:] = 0
    for row in range(inside // lanes):
        line = bits[row * lanes : (row + 1) * lanes]
        for j in range(lanes):
            maxima[j] = max(maxima[j], line[j])
    rest = bits[inside // lanes * lanes : inside]
    for j in range(len(rest)):
        maxima[j] = max(maxima[j], rest[j])
    return max(np.int32(0), _kth_largest(maxima, k) - np.int32(1))


@njit(nogil=True, cache=True)
def _plan(query_terms, query_weights, scale, listed, dense, places, weights):  # type: ignore[no-untyped-def]
    """Where each query term that occurs is kept, and its scaled weight. Returns how many occur.

    places[j] is a row of the posting lists, or -1 - row for a row of dense codes.
    """
    found = 0
    for i in range(len(query_terms)):
        place = find_term(listed, query_terms[i])
        if place < 0:
            row = find_term(dense, query_terms[i])
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
    for p in range(U(start), U(end)):
        scores[docs[p]] += weight * np.float32(codes[p])


@njit(nogil=True, cache=True)
def _add_row(scores, row, weight):  # type: ignore[no-untyped-def]
    for i in range(len(row)):
        scores[i] += weight * np.float32(row[i])


@njit(nogil=True, cache=True)
def _any(allowed):  # type: ignore[no-untyped-def]
    """Whether a mask allows any document; looked at in pieces, for most have one soon."""
    step = 4096
    for first in range(0, len(allowed), step):
        piece = allowed[first : first + step]
        found = np.uint8(0)
        for i in range(len(piece)):
            found |= piece[i]
        if found:
            return True
    return False


@njit(nogil=True, cache=True)
def _drop_row(bits, allowed):  # type: ignore[no-untyped-def]
    """Clears the scores of documents that a mask does not allow."""
    for i in range(len(allowed)):
        bits[i] = bits[i] if allowed[i] else np.int32(0)


@njit(nogil=True, cache=True)
def _drop_list(bits, docs, start, end, allowed):  # type: ignore[no-untyped-def]
    """The same for the documents of one posting list."""
    for p in range(U(start), U(end)):
        if not allowed[docs[p]]:
            bits[docs[p]] = 0


@njit(nogil=True, cache=True)
def _offer(score, doc, rows_of, keys):  # type: ignore[no-untyped-def]
    """Puts a document into the heap if it belongs there; of equal scores the earlier row does."""
    key = make_key(score, np.int64(rows_of[doc]) if len(rows_of) else doc)
    if key > keys[0]:
        replace_worst(keys, len(keys), key)


@njit(nogil=True, cache=True)
def _take_dense(groups, documents, base, rows_of, keys, seed):  # type: ignore[no-untyped-def]
    """Moves the hits of a window into the heap, looking at and clearing all its scores.

    groups int32 [window / GROUP, GROUP]: the scores as bits; seed: a threshold that the k best exceed (or 0).
    Comparisons joined by OR in an int become vector code; a running maximum takes twice as long.
    """
    below = max(
        np.int32(keys[0] >> U(32)) - np.int32(1), seed
    )  # a score equal to the worst hit's may belong to an earlier row
    below = max(below, np.int32(0))
    for g in range((documents + GROUP - 1) // GROUP):
        hot = 0
        for j in range(GROUP):
            hot |= groups[g, j] > below
        if hot:
            for j in range(GROUP):
                score = groups[g, j]
                if score > below:
                    _offer(score, base + g * GROUP + j, rows_of, keys)
                    below = max(np.int32(keys[0] >> U(32)) - np.int32(1), below)
        for j in range(GROUP):
            groups[g, j] = 0


@njit(nogil=True, cache=True)
def _take_sparse(bits, docs, start, end, base, rows_of, keys):  # type: ignore[no-untyped-def]
    """The same for the documents of one posting list: for windows where few documents were touched."""
    for p in range(U(start), U(end)):
        local = docs[p]
        score = bits[local]
        if score > 0:  # not yet taken through the list of another term
            bits[local] = 0
            _offer(score, base + np.int64(local), rows_of, keys)


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
    rows_of: Array,
    allowed: Array,
    scores: Array,
    top_scores: Array,
    top_rows: Array,
    counts: Array,
) -> None:
    """Top-k of the first `queries` queries of a batch.

    query_* a CSR batch, terms rising; listed [lists], offsets [lists * windows + 1], docs, codes [postings]: the
    postings; dense [d], dense_codes [d * documents]: the terms kept as rows; all as `storage.segment` has them;
    documents < 2^32; rows_of uint32 [documents]: the row of each document, empty where that is its number; allowed uint8
    [documents]: 1 for documents that may be hits, 0 for others, empty when all may;
    scores float32 [window], all 0, and all 0 again afterwards; k >= 1;
    top_scores float32 [queries, k], top_rows int64 [queries, k], counts int64 [queries]: the output, best first.
    """
    k = top_scores.shape[1]
    window_size = len(scores)
    windows = max(1, (documents + window_size - 1) // window_size)
    filtered = len(allowed) > 0
    bits = scores.view(np.int32)
    groups = bits.reshape(window_size // GROUP, GROUP)
    longest = 0
    for q in range(queries):
        longest = max(longest, query_indptr[q + 1] - query_indptr[q])
    places = np.empty(longest, np.int64)
    weights = np.empty(longest, np.float32)
    keys = np.empty(k, np.uint64)
    lanes = 256
    while lanes < 2 * k:
        lanes *= 2
    maxima = np.empty(lanes, np.int32)
    for q in range(queries):
        first, last = query_indptr[q], query_indptr[q + 1]
        found = _plan(query_terms[first:last], query_weights[first:last], scale, listed, dense, places, weights)
        keys[:] = 0
        for window in range(windows):
            base = window * window_size
            inside = min(window_size, documents - base)
            if filtered and not _any(allowed[base : base + inside]):
                continue
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
                if filtered:
                    _drop_row(bits, allowed[base : base + inside])
                seed = np.int32(0)
                if k >= SEED_FROM and keys[0] == 0:
                    seed = _first_threshold(bits, inside, k, maxima)
                _take_dense(groups, inside, base, rows_of, keys, seed)
            else:
                for j in range(found if filtered else 0):
                    at = places[j] * windows + window
                    _drop_list(bits, docs, offsets[at], offsets[at + 1], allowed[base : base + inside])
                for j in range(found):
                    at = places[j] * windows + window
                    _take_sparse(bits, docs, offsets[at], offsets[at + 1], base, rows_of, keys)
        counts[q] = write_hits(keys, top_scores[q].view(np.int32), top_rows[q])
