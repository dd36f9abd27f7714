"""From posting lists to the blocks of the blocked engine; `kernels.blocked` describes the layout.

A list is read from the exact engine's postings, so the documents come in the order in which blocks are cut. Cost: one pass
over the postings to count, one to fill.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

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
def _fill_block(docs, codes, start, end, first, largest, cells, strip):  # type: ignore[no-untyped-def]
    """Writes the strips of one block. Returns which strips there are, as bits. first: the block's first document."""
    mask = 0
    for p in range(start, end):
        inside = np.int64(docs[p]) - first
        bit = 1 << (inside // STRIP)
        if not mask & bit:
            strip += mask != 0
            mask |= bit
        code = (np.int64(codes[p]) * 15 + largest // 2) // largest
        lane = inside % STRIP
        cells[strip * 16 + lane % 16] |= np.uint8(code << (lane // 16 * 4))
    return mask


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
    bits: Array,
    first_strip: int,
    strip_offsets: Array,
    strip_masks: Array,
    cells: Array,
) -> None:
    """Writes the entries of the terms `sources`, one after another.

    As lists (padded == 0): blocks [entries], codes_out [entries]: the largest code of each. As rows: codes_out
    [n * padded / 2]: a 4-bit code for each block, 32 in 16 bytes as in cells, relative to largest_out [n] and rounded up;
    bits [n * padded / 64]. Both: cells [strips * 16]; with more than one strip a block also strip_offsets [entries], counted
    from first_strip, and strip_masks [entries].
    """
    docs, codes = np.empty(postings[0], np.uint32), np.empty(postings[0], np.uint8)
    entry = strip = 0
    for i in range(len(sources)):
        size = _survivors(sources[i], postings, floor, narrow, docs, codes)
        top = np.int64(codes[:size].max()) if size else np.int64(1)
        if padded:
            largest_out[i] = top
        start = 0
        while start < size:
            block = np.int64(docs[start]) // block_size
            end, largest = start, np.int64(0)
            while end < size and np.int64(docs[end]) // block_size == block:
                largest = max(largest, np.int64(codes[end]))
                end += 1
            if padded:
                code = (largest * 15 + top - 1) // top
                largest = (top * code + 14) // 15  # what the reader makes of it, so that cells are relative to that
            mask = _fill_block(docs, codes, start, end, block * block_size, largest, cells, strip)
            if len(strip_masks):
                strip_offsets[entry], strip_masks[entry] = first_strip + strip, mask
            if padded:
                at = i * padded // 2 + block // STRIP * 16 + block % 16
                codes_out[at] |= np.uint8(code << (block % STRIP // 16 * 4))
                bits[(i * padded + block) // 64] |= np.uint64(1) << np.uint64(block % 64)
            else:
                blocks[entry], codes_out[entry] = block, largest
            entry += 1
            while mask:
                strip += mask & 1
                mask >>= 1
            start = end
