"""Exhaustive term-at-a-time search over windows of documents.

Layout: the postings of a term lie together, sorted by document, cut into windows of 65,536 documents, each posting a
16-bit document number within its window and an 8- or 16-bit weight code. A window's scores fit the second-level cache
(256 KiB). Terms that more than a third of the documents have are kept as rows of codes instead, one for every document:
less space than postings, and added by vector instructions.

Cost: one add a posting of the query's terms (about 0.3 ns), or a byte a document for terms kept as rows; plus one pass
over the touched window's scores, which looks for hits and clears them (about 3 us a window), or, where a window has few
postings, over the touched scores only.

Once k hits are known, lists that cannot lift a document into them are not read (MaxScore, Turtle and Flood 1995): terms with
long lists and small largest weights, as far as their largest weights in the window come to `SLACK` of the k-th score. A
document whose sum without them could still reach it is scored in the forward index. That is exact, and saves half of the
postings of inference-free queries and a third of expanded ones. Where too many documents could reach it, the window is
read in full after all.

Scores are float32 sums over the query's terms in rising term order, `(query weight * scale) * code` each. Every engine
adds in this order, so scores are the same to the last bit whatever the window, the thread or the engine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from lsr.index.kernels.forward import rank
from lsr.index.kernels.hits import find_term, make_key, replace_worst, write_hits

Array = npt.NDArray[Any]
U, U32, F32 = np.uint64, np.uint32, np.float32

GROUP = 64  # scores looked at together
SPARSE = 16  # a window with fewer than documents / SPARSE postings is read through its postings again
WINDOW = 1 << 16  # documents
SLACK = F32(0.2)
LEAST_SAVED = 4_096  # postings in a window from which sparing them pays
ROW_POSTING = 7  # documents of a row that take as long as a posting
WORTH = 350  # postings that take as long as scoring a document in the forward index
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
def _plan(query_terms, scaled, listed, dense, places, weights):  # type: ignore[no-untyped-def]
    """Where each query term that occurs is kept, and its weight. Returns how many occur.

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
        weights[found] = scaled[i]
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
        # Postings of a damaged file may point past the last document.
        if docs[p] >= len(allowed) or not allowed[docs[p]]:
            bits[docs[p]] = 0


@njit(nogil=True, cache=True)
def _offer(score, doc, rows_of, keys):  # type: ignore[no-untyped-def]
    """Puts a document into the heap if it belongs there; of equal scores the earlier row does."""
    key = make_key(score, np.int64(rows_of[doc]) if len(rows_of) else doc)
    if key > keys[0]:
        replace_worst(keys, len(keys), key)


@njit(nogil=True, cache=True)
def _clear_rest(groups, documents):  # type: ignore[no-untyped-def]
    """Clears what follows the last document in its group: postings of a damaged file may point there."""
    last = (documents - 1) // GROUP
    for j in range(documents - last * GROUP, GROUP):
        groups[last, j] = 0


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
    _clear_rest(groups, documents)
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
def _take_sparse(bits, docs, start, end, base, inside, rows_of, keys):  # type: ignore[no-untyped-def]
    """The same for the documents of one posting list: for windows, of `inside` documents, where few were touched."""
    for p in range(U(start), U(end)):
        local = docs[p]
        score = bits[local]
        if score > 0:  # not yet taken through the list of another term
            bits[local] = 0
            if np.int64(local) < inside:  # always, but in a damaged file
                _offer(score, base + np.int64(local), rows_of, keys)


@njit(nogil=True, cache=True)
def _add_window(found, places, weights, spared, window, inside, documents, lists, rows, scores):  # type: ignore[no-untyped-def]
    """Adds the postings in a window of the terms that are not spared. Returns how many those are."""
    _, offsets, docs, codes, _ = lists
    _, row_codes, _ = rows
    windows = (documents + WINDOW - 1) // WINDOW
    added = 0
    for j in range(found):
        if spared[j]:
            continue
        if places[j] < 0:
            at = (-1 - places[j]) * documents + window * WINDOW
            _add_row(scores, row_codes[at : at + inside], weights[j])
            added += inside
        else:
            at = places[j] * windows + window
            _add_list(scores, docs, codes, offsets[at], offsets[at + 1], weights[j])
            added += offsets[at + 1] - offsets[at]
    return added


@njit(nogil=True, cache=True)
def _spare(found, places, weights, window, inside, documents, lists, rows, budget, spared):  # type: ignore[no-untyped-def]
    """Chooses terms whose postings in a window need not be read: those that save most for what they can add, up to a budget.

    spared[j] says so of term j. Returns what they can add to a score at most, and the postings that are saved.
    """
    offsets, largest = lists[1], lists[4]
    row_largest = rows[2]
    windows = (documents + WINDOW - 1) // WINDOW
    bound, saved = F32(0), 0
    spared[:found] = False
    while True:
        best, best_top, best_size = -1, F32(1), 0
        for j in range(found):
            if spared[j]:
                continue
            if places[j] < 0:
                top = weights[j] * F32(row_largest[(-1 - places[j]) * windows + window])
                size = inside // ROW_POSTING
            else:
                at = places[j] * windows + window
                top = weights[j] * F32(largest[at])
                size = offsets[at + 1] - offsets[at]
            if bound + top <= budget and F32(size) * best_top > F32(best_size) * top:
                best, best_top, best_size = j, top, size
        if best < 0:
            return bound, saved
        spared[best] = True
        bound += best_top
        saved += best_size


@njit(nogil=True, cache=True)
def _collect(groups, documents, base, below, limit, candidates):  # type: ignore[no-untyped-def]
    """The documents of a window with a score above `below` (as bits). Returns how many, -1 for more than `limit`.

    All scores are cleared.
    """
    count = 0
    _clear_rest(groups, documents)
    for g in range((documents + GROUP - 1) // GROUP):
        hot = 0
        for j in range(GROUP):
            hot |= groups[g, j] > below
        if hot:
            for j in range(GROUP):
                if groups[g, j] > below:
                    if 0 <= count < limit:
                        candidates[count] = U32(base + g * GROUP + j)
                        count += 1
                    else:
                        count = -1
        for j in range(GROUP):
            groups[g, j] = 0
    return count


@njit(nogil=True, cache=True)
def search(
    query_indptr: Array,
    query_terms: Array,
    query_weights: Array,
    queries: int,
    scale: np.float32,
    documents: int,
    lists: Any,
    rows: Any,
    forward: Any,
    rows_of: Array,
    allowed: Array,
    scores: Array,
    candidates: Array,
    top_scores: Array,
    top_rows: Array,
    counts: Array,
) -> None:
    """Top-k of the first `queries` queries of a batch.

    query_* a CSR batch, terms rising; documents < 2^32; lists: terms [n], offsets [n * windows + 1], docs, codes
    [postings], largest [n * windows]; rows, terms of dense codes: terms [d], codes [d * documents], largest [d * windows];
    forward: indptr, terms, codes; all as `storage.segment` has them; rows_of uint32 [documents]: the row of each document,
    empty where that is its number; allowed uint8 [documents]: 1 for documents that may be hits, 0 for others, empty when
    all may; scores float32 [WINDOW], all 0, and all 0 again afterwards; candidates uint32 [WINDOW]: working memory; k >= 1;
    top_scores float32 [queries, k], top_rows int64 [queries, k], counts int64 [queries]: the output, best first.
    """
    k = top_scores.shape[1]
    offsets, docs = lists[1], lists[2]
    windows = (documents + WINDOW - 1) // WINDOW
    filtered = len(allowed) > 0
    bits = scores.view(np.int32)
    groups = bits.reshape(WINDOW // GROUP, GROUP)
    longest = 1
    for q in range(queries):
        longest = max(longest, query_indptr[q + 1] - query_indptr[q])
    places, weights = np.empty(longest, np.int64), np.empty(longest, np.float32)
    scaled, spared = np.empty(longest, np.float32), np.zeros(longest, np.bool_)
    keys = np.empty(k, np.uint64)
    lanes = 256
    while lanes < 2 * k and k <= WINDOW:
        lanes *= 2
    maxima = np.empty(lanes, np.int32)
    for q in range(queries):
        first, last = query_indptr[q], query_indptr[q + 1]
        terms = query_terms[first:last]
        for j in range(last - first):
            scaled[j] = query_weights[first + j] * scale
        found = _plan(terms, scaled, lists[0], rows[0], places, weights)
        keys[:] = 0
        pruning = True
        for window in range(windows):
            base = window * WINDOW
            inside = min(WINDOW, documents - base)
            mask = allowed[base : base + inside] if filtered else allowed
            if filtered and not _any(mask):
                continue
            where = (window, inside, documents, lists, rows)
            kth = U32(keys[0] >> U(32)).view(np.float32)
            if pruning and kth > 0:
                bound, saved = _spare(found, places, weights, *where, SLACK * kth, spared)
                if saved >= LEAST_SAVED:
                    _add_window(found, places, weights, spared, *where, scores)
                    if filtered:
                        _drop_row(bits, mask)
                    reach = kth * F32(1 - 1e-5) - bound * F32(1 + 1e-5)  # with room for rounding
                    count = _collect(groups, inside, base, F32(reach).view(np.int32), saved // WORTH, candidates)
                    if count >= 0:
                        rank(candidates, count, forward, terms, scaled, rows_of, keys)
                        continue
                    pruning = False
            spared[:found] = False
            touched = _add_window(found, places, weights, spared, *where, scores)
            if touched * SPARSE >= inside:
                if filtered:
                    _drop_row(bits, mask)
                seed = np.int32(0)
                if SEED_FROM <= k <= WINDOW and keys[0] == 0:
                    seed = _first_threshold(bits, inside, k, maxima)
                _take_dense(groups, inside, base, rows_of, keys, seed)
            else:
                for j in range(found if filtered else 0):
                    at = places[j] * windows + window
                    _drop_list(bits, docs, offsets[at], offsets[at + 1], mask)
                for j in range(found):
                    at = places[j] * windows + window
                    _take_sparse(bits, docs, offsets[at], offsets[at + 1], base, inside, rows_of, keys)
        counts[q] = write_hits(keys, top_scores[q].view(np.int32), top_rows[q])
