"""From posting lists to the blocks of the blocked engine; `kernels.blocked` describes the layout.

A list is read from the exact engine's postings, so the documents come in the order in which blocks are cut. Cost: one pass
over the postings to count, one to fill.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from lsr.index.kernels.summaries import REACH, summary_code

Array = npt.NDArray[Any]
STRIP = 32  # documents of a strip: 16 bytes of 4-bit codes


@njit(nogil=True, cache=True)
def floors(indptr: Array, codes: Array, least: int, keep: int, out: Array) -> None:
    """out[i] = the smallest code of document i that survives pruning: `least`, or less where fewer than `keep` would.

    A document that has no heavy terms is found through its heaviest ones.
    """
    largest = np.empty(keep, np.int64)
    for i in range(len(indptr) - 1):
        size = 0
        for p in range(indptr[i], indptr[i + 1]):
            code = np.int64(codes[p])
            if size == keep and code <= largest[keep - 1]:
                continue
            at = size if size < keep else keep - 1
            size = at + 1
            while at > 0 and largest[at - 1] < code:
                largest[at] = largest[at - 1]
                at -= 1
            largest[at] = code
        out[i] = min(least, largest[keep - 1]) if size == keep else 1


@njit(nogil=True, cache=True)
def _survivors(source, postings, floor, narrow, docs_out, codes_out):  # type: ignore[no-untyped-def]
    """The postings of a term that survive pruning, as documents and 8-bit codes. Returns how many.

    source: a row of the posting lists, or -1 - row for a row of dense codes.
    """
    documents, window, offsets, docs, codes, dense_codes = postings
    windows = max(1, (documents + window - 1) // window)
    size = 0
    if source < 0:
        row = dense_codes[(-1 - source) * documents : (-source) * documents]
        for doc in range(documents):
            if row[doc] > 0 and row[doc] >= floor[doc]:
                docs_out[size], codes_out[size] = doc, narrow[row[doc]]
                size += 1
        return size
    for w in range(windows):
        for p in range(offsets[source * windows + w], offsets[source * windows + w + 1]):
            doc = w * window + np.int64(docs[p])
            if codes[p] >= floor[doc]:
                docs_out[size], codes_out[size] = doc, narrow[codes[p]]
                size += 1
    return size


@njit(nogil=True, cache=True)
def count_cells(
    sources: Array, postings: Any, floor: Array, narrow: Array, block_size: int, entries: Array, strips: Array
) -> None:
    """entries[i], strips[i]: blocks, and strips of blocks, that term i has surviving postings in. sources [n]: the terms.

    postings: documents, window, offsets, docs, codes, dense_codes as `storage.segment` has them.
    """
    docs, codes = np.empty(postings[0], np.uint32), np.empty(postings[0], np.uint8)
    for i in range(len(sources)):
        size = _survivors(sources[i], postings, floor, narrow, docs, codes)
        block = strip = np.int64(-1)
        for p in range(size):
            doc = np.int64(docs[p])
            entries[i] += doc // block_size != block
            strips[i] += doc // STRIP != strip
            block, strip = doc // block_size, doc // STRIP


@njit(nogil=True, cache=True)
def _fill_block(docs, codes, start, end, first, reach, cells, strip):  # type: ignore[no-untyped-def]
    """Writes the strips of one block. Returns which strips there are, as bits. first: the block's first document."""
    mask = 0
    for p in range(start, end):
        inside = np.int64(docs[p]) - first
        bit = 1 << (inside // STRIP)
        if not mask & bit:
            strip += mask != 0
            mask |= bit
        code = min(15, (np.int64(codes[p]) * 15 + reach // 2) // reach)
        lane = inside % STRIP
        cells[strip * 16 + lane % 16] |= np.uint8(code << (lane // 16 * 4))
    return mask


@njit(nogil=True, cache=True)
def _cut(docs, codes, size, block_size, starts, summaries):  # type: ignore[no-untyped-def]
    """starts, summaries: where each block begins among the postings of a term, and its summary. Returns how many."""
    entries = start = 0
    while start < size:
        block, end = np.int64(docs[start]) // block_size, start
        while end < size and np.int64(docs[end]) // block_size == block:
            end += 1
        starts[entries], summaries[entries] = start, summary_code(codes, start, end)
        entries += 1
        start = end
    starts[entries] = size
    return entries


@njit(nogil=True, cache=True)
def fill(
    sources: Array,
    postings: Any,
    floor: Array,
    narrow: Array,
    block_size: int,
    blocks: Array,
    codes_out: Array,
    largest_out: Array,
    padded: int,
    before: Array,
    first_strip: int,
    strip_offsets: Array,
    strip_masks: Array,
    cells: Array,
) -> None:
    """Writes the entries of the terms `sources`, one after another.

    As lists (padded == 0): blocks [entries], codes_out [entries]: the summary of each. As rows: codes_out
    [n * padded / 2]: a 4-bit code for each block, relative to largest_out [n] and rounded up, 64 in 32 bytes, byte i those
    of blocks i and 32 + i; before [n * padded / 64]: entries of the row before each of these. Both: cells [strips * 16];
    with more than one strip a block also strip_offsets [entries], counted from first_strip, and strip_masks [entries].
    """
    docs, codes = np.empty(postings[0], np.uint32), np.empty(postings[0], np.uint8)
    most = (postings[0] + block_size - 1) // block_size
    starts, summaries = np.empty(most + 1, np.int64), np.empty(most, np.int64)
    entry = strip = 0
    for i in range(len(sources)):
        size = _survivors(sources[i], postings, floor, narrow, docs, codes)
        entries = _cut(docs, codes, size, block_size, starts, summaries)
        top = summaries[:entries].max() if entries else np.int64(1)
        if padded:
            largest_out[i] = top
        for e in range(entries):
            block, summary = np.int64(docs[starts[e]]) // block_size, summaries[e]
            if padded:
                code = (summary * 15 + top - 1) // top
                summary = (top * code + 14) // 15  # what the reader makes of it, so that cells are relative to that
                codes_out[i * padded // 2 + block // 64 * 32 + block % 32] |= np.uint8(code << (block % 64 // 32 * 4))
                before[(i * padded + block) // 64] += 1
            else:
                blocks[entry], codes_out[entry] = block, summary
            reach = np.int64(REACH[summary])
            mask = _fill_block(docs, codes, starts[e], starts[e + 1], block * block_size, reach, cells, strip)
            if len(strip_masks):
                strip_offsets[entry], strip_masks[entry] = first_strip + strip, mask
            entry += 1
            while mask:
                strip += mask & 1
                mask >>= 1
        if padded:
            total = 0
            for g in range(i * padded // 64, (i + 1) * padded // 64):  # from how many there are to how many before
                there = before[g]
                before[g] = total
                total += there
