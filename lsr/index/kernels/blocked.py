"""Approximate search over blocks of similar documents.

Layout. Documents are stored so that similar ones are neighbours (`blocked.ordering`); a block is `block_size` (a multiple of
32) of them in a row. Of each term the heavy postings are kept. A term has an entry for each block where it has one: a code
that sums up the codes there (`kernels.summaries`; the entries of a block are its summary vector), and the 4-bit codes of
its documents relative to what that code reaches, 16 bytes for a strip of 32 documents (`cells`). Entries of rare terms are
lists of (block, code). Those of terms with entries in many blocks are rows: a 4-bit code for every block, relative to the
row's largest and rounded up, 0 where there is none; and for every 64 blocks how many entries the row has before (`before`).

A query is answered in four steps, with less precision and more documents first:

1. Blocks are scored by their summaries: the query's heaviest terms (`query_cut`, a share of its weight), 16-bit sums. A row
   costs half a byte and a sixteenth of a vector instruction a block, a list entry about 1 ns.
2. The `n_blocks` best blocks are read: each (term, block) costs one cache line, which is most of the time a query takes.
   The entry of a block in a row is a count of the codes above 0 that come before: no search, no branch to mispredict.
3. The `candidates` documents with the best of these sums are scored exactly in the forward index, all terms of the query:
   six cache lines a document, prefetched.
4. The k best are kept. Scores are float32 sums over the query's terms in rising order, as in `kernels.exact`.

"The n best" are those above a threshold that is found by folding the sums into columns, taking the largest of each column,
and bisecting for the value that n columns exceed: all vector code. It lets some more through than n.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit, types
from numba.experimental import structref

from lsr.index.kernels.forward import rank
from lsr.index.kernels.hits import find_term, write_hits
from lsr.index.kernels.summaries import REACH
from lsr.index.kernels.vector import above, add_nibbles, count_bits, first_bit, nibbles_above_0, prefetch

Array = npt.NDArray[Any]
U = np.uint64
U16, U32, I16, F32 = np.uint16, np.uint32, np.int16, np.float32

FULL = 32_000  # what a 16-bit sum comes to where every term has its largest code: below 2^15 with all roundings
AHEAD = 12  # cells prefetched
STEPS = 12  # of bisection
TIES = 8  # as many times `candidates` are scored at most, where sums are equal


class _Struct(types.StructRef):  # type: ignore[misc]
    """Arrays bound together once, so that a call of a kernel hands over one pointer and not forty arrays: 0.4 us for 3."""

    def preprocess_fields(self, fields: Any) -> Any:
        return tuple((name, types.unliteral(kind)) for name, kind in fields)


@structref.register
class _BlocksType(_Struct):
    pass


@structref.register
class _MemoryType(_Struct):
    pass


class Blocks(structref.StructRefProxy):  # type: ignore[misc]
    """What is searched; see `bind`."""


class Memory(structref.StructRefProxy):  # type: ignore[misc]
    """Working memory of one search at a time; see `allocate`."""


_BLOCKS = ("scale", "block_size", "documents", "lists", "rows", "strips", "cells", "forward", "rows_of")
_MEMORY = ("block_scores", "document_scores", "columns", "slots", "bits", "chosen", "hits", "candidates", "multipliers")
structref.define_proxy(Blocks, _BlocksType, _BLOCKS)
structref.define_proxy(Memory, _MemoryType, _MEMORY)


@njit(cache=True)
def bind(
    scale: np.float32,
    block_size: int,
    documents: int,
    lists: Any,
    rows: Any,
    strips: Any,
    cells: Array,
    forward: Any,
    rows_of: Array,
) -> Any:
    """A segment, as `storage.segment` has it, for `search`.

    lists: terms, offsets, blocks, codes; rows: terms, codes, largest, before, offsets; strips: offsets, masks, whether a
    block has several, the last strip; cells; forward: indptr, terms, codes; rows_of [documents].
    """
    return Blocks(scale, block_size, documents, lists, rows, strips, cells, forward, rows_of)


@njit(cache=True)
def allocate(padded: int, block_size: int, columns: int) -> Any:
    """Working memory for `padded` blocks: their number as a multiple of 64. columns: a multiple of 64.

    slots [padded]: where a chosen block is in `chosen`; bits [padded / 64]: which are chosen, all 0 between queries; hits:
    the entries that are read: entry, slot, multiplier [padded].
    """
    # Block numbers of 16 bits may be damaged, but do not lead out of this.
    blocks = max(padded, 1 << 16) + 64
    documents = padded * block_size + 64
    hits = (np.zeros(blocks, np.uint32), np.zeros(blocks, np.uint32), np.zeros(blocks, np.uint16))
    return Memory(
        np.zeros(blocks, np.int16),
        np.zeros(documents, np.int16),
        np.zeros(columns, np.int16),
        np.zeros(blocks, np.uint32),
        np.zeros(blocks // 64 + 1, np.uint64),
        np.zeros(blocks, np.uint32),
        hits,
        np.zeros(documents, np.uint32),
        np.zeros(16, np.uint16),
    )


@njit(nogil=True, cache=True)
def _plan(terms, weights, query_cut, lists_terms, rows_terms, places, heavy):  # type: ignore[no-untyped-def]
    """The heaviest terms of a query that come to the share `query_cut` of its weight. Returns how many.

    places[j]: the list of a term, or -1 - its row; heavy uint32[j]: its weight, such that all come to FULL.
    Terms that the index does not have are no part of the query.
    """
    size = 0
    total = F32(0)
    sorted_weights = np.empty(len(terms), np.float32)
    for i in range(len(terms)):
        place = find_term(lists_terms, terms[i])
        if place < 0:
            row = find_term(rows_terms, terms[i])
            if row < 0:
                continue
            place = -1 - row
        total += weights[i]
        at = size
        while at > 0 and sorted_weights[at - 1] < weights[i]:
            sorted_weights[at], places[at] = sorted_weights[at - 1], places[at - 1]
            at -= 1
        sorted_weights[at], places[at] = weights[i], place
        size += 1
    kept = 0
    reached = F32(0)
    while kept < size and (kept == 0 or reached < query_cut * total):
        reached += sorted_weights[kept]
        kept += 1
    for j in range(kept):
        heavy[j] = U32(sorted_weights[j] / reached * F32(FULL))
    return kept


@njit(nogil=True, cache=True)
def _fold(values, size, columns):  # type: ignore[no-untyped-def]
    """columns[j] = the largest of values[j], values[j + len(columns)], ... or 0."""
    columns[:] = 0
    width = len(columns)
    start = 0
    while start + width <= size:
        line = values[start : start + width]
        for j in range(width):
            columns[j] = max(columns[j], line[j])
        start += width
    rest = values[start:size]
    for j in range(len(rest)):
        columns[j] = max(columns[j], rest[j])


@njit(nogil=True, cache=True)
def _threshold(values, size, wanted, columns):  # type: ignore[no-untyped-def]
    """A value that at least `wanted` of the first `size` (a multiple of 64) values exceed, or 0. values are >= 0.

    columns: working memory. With twice as many as `wanted`, about as many values exceed it as are wanted; with fewer than
    `wanted`, it is 0.
    """
    width = min((4 * wanted + 319) // 64 * 64, len(columns) // 64 * 64)
    if width < size:
        _fold(values, size, columns[:width])
        values = columns
        size = width
    highest = I16(0)
    for i in range(size):
        highest = max(highest, values[i])
    low, high = np.int64(0), np.int64(highest)
    for _ in range(STEPS):
        if high - low <= 1:
            break
        middle = (low + high) >> 1
        count = U(0)
        for g in range(U(size) >> U(6)):
            count += count_bits(above(values, g << U(6), I16(middle)))
        if count >= U(wanted):
            low = middle
        else:
            high = middle
    return I16(low)


@njit(nogil=True, cache=True)
def _collect(values, size, threshold, out, limit):  # type: ignore[no-untyped-def]
    """out = the places of the values above the threshold, rising, up to `limit`. Returns how many. size: see `_threshold`."""
    found = U(0)
    for g in range(U(size) >> U(6)):
        bits = above(values, g << U(6), threshold)
        while bits and found < U(limit):
            out[found] = U32((g << U(6)) + first_bit(bits))
            found += U(1)
            bits &= bits - U(1)
    return np.int64(found)


@njit(nogil=True, cache=True)
def _score_blocks(scores, size, terms, places, heavy, lists, rows, starts, weights):  # type: ignore[no-untyped-def]
    """Step 1: sums of weight * code. Returns how many codes were added. size: blocks, a multiple of 64.

    starts uint64, weights uint16 [terms]: working memory.
    """
    _, offsets, blocks, codes = lists
    _, row_codes, row_largest, _, _ = rows
    added, in_rows = 0, U(0)
    scores[:size] = 0
    for j in range(terms):
        if places[j] < 0:
            row = U(-1 - places[j])
            starts[in_rows] = row * (U(size) >> U(1))
            weights[in_rows] = U16((heavy[j] * U32(row_largest[row])) >> U32(12))
            in_rows += U(1)
            added += size >> 4  # a vector of 16 takes as long as an entry of a list
        else:
            for e in range(U(offsets[places[j]]), U(offsets[places[j] + 1])):
                scores[blocks[e]] += I16((heavy[j] * U32(codes[e])) >> U32(8))
            added += offsets[places[j] + 1] - offsets[places[j]]
    # All rows side by side: with millions of documents neither rows nor scores stay in the cache from one row to the next.
    for g in range(U(size) >> U(6)):
        place = g << U(6)
        for r in range(in_rows):
            at = starts[r] + (g << U(5))
            add_nibbles(scores, place, U(32), row_codes, at, weights[r])
            add_nibbles(scores, place + U(16), U(32), row_codes, at + U(16), weights[r])
    return added


@njit(nogil=True, cache=True)
def _entries_of_list(place, heavy, lists, slots, bits, hits):  # type: ignore[no-untyped-def]
    """Step 2: the entries of a list whose block is chosen, into `hits`. Returns how many."""
    _, offsets, blocks, codes = lists
    entries, hit_slots, multipliers = hits
    found = U(0)
    for e in range(U(offsets[place]), U(offsets[place + 1])):
        block = U(blocks[e])
        entries[found] = U32(e)  # in any case, kept if the block is chosen: no branch to mispredict
        found += (bits[block >> U(6)] >> (block & U(63))) & U(1)
    for i in range(found):
        entry = entries[i]
        hit_slots[i], multipliers[i] = slots[blocks[entry]], U16((heavy * U32(REACH[codes[entry]])) >> U32(12))
    return found


@njit(nogil=True, cache=True)
def _entries_of_row(row, heavy, rows, size, last, chosen, count, by_code, hits):  # type: ignore[no-untyped-def]
    """The same for a row. by_code uint16 [16]: working memory."""
    _, codes, largest, before, offsets = rows
    entries, hit_slots, multipliers = hits
    top = U(largest[row])
    for c in range(U(16)):
        by_code[c] = U16((heavy * U32(REACH[(top * c + U(14)) // U(15)])) >> U32(12))
    first_code, first_group, entry = U(row) * (U(size) >> U(1)), U(row) * (U(size) >> U(6)), U(offsets[row])
    found = U(0)
    for i in range(U(count)):
        block = U(chosen[i])
        group, inside = block >> U(6), block & U(63)
        codes_at = first_code + (group << U(5))
        there = nibbles_above_0(codes, codes_at)
        # The counts of a damaged file may come to more entries than there are.
        ahead = U(before[first_group + group]) + count_bits(there & ((U(1) << inside) - U(1)))
        entries[found] = U32(min(last, entry + ahead))
        pair = U(codes[codes_at + (inside & U(31))])
        hit_slots[found], multipliers[found] = U32(i), by_code[(pair >> ((inside >> U(5)) << U(2))) & U(15)]
        found += (there >> inside) & U(1)
    return found


@njit(nogil=True, cache=True)
def _read_cells(found, block_size, cells, strips, hits, scores):  # type: ignore[no-untyped-def]
    """Step 2, one term: adds the codes of the documents of its chosen entries."""
    offsets, masks, several, last = strips
    entries, hit_slots, multipliers = hits
    every = (U(1) << U(block_size // 32)) - U(1)
    for i in range(found):
        ahead = U(entries[i + U(AHEAD)])
        prefetch(cells, (U(offsets[ahead]) if several else ahead) << U(4))
        entry = U(entries[i])
        base = U(hit_slots[i]) * U(block_size)
        if several:
            mask = U(masks[entry]) & every
            strip = U(offsets[entry])
            while mask:
                add_nibbles(
                    scores, base + (first_bit(mask) << U(5)), U(16), cells, min(strip, last) << U(4), multipliers[i]
                )
                strip += U(1)
                mask &= mask - U(1)
        else:
            add_nibbles(scores, base, U(16), cells, entry << U(4), multipliers[i])


@njit(nogil=True, cache=True)
def _keep_allowed(chosen, count, block_size, documents, allowed, scores):  # type: ignore[no-untyped-def]
    """Sets the sums of documents that the filter does not allow to 0. allowed uint8 [documents], in stored order."""
    for i in range(count):
        first = np.int64(chosen[i]) * block_size
        for j in range(min(block_size, documents - first)):
            scores[i * block_size + j] *= I16(allowed[first + j])


@njit(nogil=True, cache=True)
def search(
    query_indptr: Array,
    query_terms: Array,
    query_weights: Array,
    queries: int,
    query_cut: float,
    n_blocks: int,
    wanted: int,
    segment: Any,
    memory: Any,
    allowed: Array,
    allowed_blocks: Array,
    top_scores: Array,
    top_rows: Array,
    counts: Array,
    work: Array,
) -> None:
    """Top-k of the first `queries` queries of a batch.

    query_* a CSR batch, terms rising; query_cut, n_blocks, wanted (candidates): the settings; segment: of `bind`; memory: of
    `allocate`; allowed [documents], allowed_blocks [padded] uint8: a filter, empty where there is none.
    Output: top_scores float32, top_rows int64 [queries, k], counts int64 [queries], best first; work int64 [4]: what was
    read, summed over the queries: blocks, entries, documents, codes of summaries (16 of a row count as one).
    """
    lists, rows, strips, cells, forward = segment.lists, segment.rows, segment.strips, segment.cells, segment.forward
    documents, block_size, rows_of = segment.documents, segment.block_size, segment.rows_of
    block_scores, document_scores, columns = memory.block_scores, memory.document_scores, memory.columns
    slots, bits, chosen, hits, candidates = memory.slots, memory.bits, memory.chosen, memory.hits, memory.candidates
    k = top_scores.shape[1]
    size = ((documents + block_size - 1) // block_size + 63) // 64 * 64
    keys = np.empty(k, np.uint64)
    longest = 1
    for q in range(queries):
        longest = max(longest, query_indptr[q + 1] - query_indptr[q])
    places, heavy, weights = np.empty(longest, np.int64), np.empty(longest, np.uint32), np.empty(longest, np.float32)
    starts, row_weights = np.empty(longest, np.uint64), np.empty(longest, np.uint16)
    last = U(max(len(strips[1]) if strips[2] else len(cells) // 16, 1) - 1)
    for q in range(queries):
        first, end = query_indptr[q], query_indptr[q + 1]
        terms = query_terms[first:end]
        for j in range(end - first):
            weights[j] = query_weights[first + j] * segment.scale
        planned = _plan(terms, query_weights[first:end], query_cut, lists[0], rows[0], places, heavy)
        work[3] += _score_blocks(block_scores, size, planned, places, heavy, lists, rows, starts, row_weights)
        if len(allowed_blocks):
            for b in range(size):
                block_scores[b] *= I16(allowed_blocks[b])
        threshold = _threshold(block_scores, size, n_blocks, columns)
        count = _collect(block_scores, size, threshold, chosen, size)
        for i in range(count):
            slots[chosen[i]] = U32(i)
            bits[U(chosen[i]) >> U(6)] |= U(1) << (U(chosen[i]) & U(63))
        scored = (count * block_size + 63) // 64 * 64
        document_scores[:scored] = 0
        for j in range(planned):
            if places[j] < 0:
                read = _entries_of_row(
                    -1 - places[j], heavy[j], rows, size, last, chosen, count, memory.multipliers, hits
                )
            else:
                read = _entries_of_list(places[j], heavy[j], lists, slots, bits, hits)
            _read_cells(read, block_size, cells, strips, hits, document_scores)
            work[1] += read
        for i in range(count):
            bits[U(chosen[i]) >> U(6)] = 0
        if len(allowed):
            _keep_allowed(chosen, count, block_size, documents, allowed, document_scores)
        threshold = _threshold(document_scores, scored, wanted, columns)
        found = _collect(document_scores, scored, threshold, candidates, max(TIES * wanted, k))
        ranked = 0
        for i in range(found):
            block, inside = U32(chosen[candidates[i] // U32(block_size)]), candidates[i] % U32(block_size)
            place = block * U32(block_size) + inside
            candidates[ranked] = place
            ranked += place < U32(documents)  # always, but in a damaged file: the last block is not full
        keys[:] = 0
        rank(candidates, ranked, forward, terms, weights, rows_of, keys)
        counts[q] = write_hits(keys, top_scores[q].view(np.int32), top_rows[q])
        work[0] += count
        work[2] += ranked
