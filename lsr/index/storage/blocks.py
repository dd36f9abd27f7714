"""The arrays of the blocked engine in a segment, and the checks before its kernel may see them.

blocks_lists_terms    <u4 [lists]              the terms kept as lists, rising
blocks_lists_offsets  <i8 [lists + 1]          start of each in the next two
blocks_lists_blocks   <u2 or <u4 [in_lists]    blocks, rising within a list
blocks_lists_codes    |u1 [in_lists]           the summary of the codes there (`kernels.summaries`)
blocks_rows_terms     <u4 [rows]               the terms kept as rows, rising
blocks_rows_codes     |u1 [rows * padded / 2]  the summary of each block, 0 where there is none: 4 bits, relative to the
                      row's largest and rounded up; 32 bytes hold 64, byte i those of blocks i and i + 32
blocks_rows_largest   |u1 [rows]               the largest summary of each row
blocks_rows_before    <u4 [rows * padded / 64] how many entries the row has before each 64 blocks
blocks_rows_offsets   <i8 [rows + 1]           number of the first entry of each row: entries of lists come first
blocks_cells          |u1 [strips * 16]        4-bit codes of 32 documents, relative to what the entry's summary reaches
blocks_strip_offsets  <u4 [entries or 0]       first strip of each entry; none where a block is one strip
blocks_strip_masks    |u1 [entries or 0]       which strips of the block there are
order_rows            <u4 [documents]          the row of each stored document
order_places          <u4 [documents]          where the document of each row is stored

`padded` is the number of blocks, rounded up to a multiple of 64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["BLOCK_SIZES", "CELL", "STRIP", "BlockArrays", "block_type", "find_fault", "open_blocks", "padded_blocks"]

STRIP = 32  # documents of a strip
CELL = 16  # bytes of a strip
BLOCK_SIZES = (32, 64, 128, 256)
Array = npt.NDArray[Any]


def block_type(padded: int) -> type[np.uint16] | type[np.uint32]:
    """The type of block numbers."""
    return np.uint16 if padded <= 1 << 16 else np.uint32


def padded_blocks(documents: int, block_size: int) -> int:
    return math.ceil(math.ceil(documents / block_size) / 64) * 64


@dataclass(frozen=True, slots=True)
class BlockArrays:
    """See the module."""

    block_size: int
    padded: int
    lists: tuple[Array, Array, Array, Array]  # terms, offsets, blocks, codes
    rows: tuple[Array, Array, Array, Array, Array]  # terms, codes, largest, before, offsets
    cells: Array
    strip_offsets: Array
    strip_masks: Array

    @property
    def entries(self) -> int:
        return len(self.lists[2]) + int(self.rows[4][-1] - self.rows[4][0])


def find_fault(arrays: BlockArrays, documents: int) -> str | None:
    """What is wrong with the contents, None for nothing. A fault gives wrong answers; none leads out of memory."""
    _, offsets, blocks, codes = arrays.lists
    _, row_codes, _, before, row_offsets = arrays.rows
    falls = blocks[1:] <= blocks[:-1]
    starts = offsets[1:-1]
    falls[starts[(starts > 0) & (starts < len(blocks))] - 1] = False
    if falls.any() or (len(blocks) and int(blocks.max()) * arrays.block_size >= documents):
        return "blocks of a list are out of order or past the last"
    if len(codes) and int(codes.min()) == 0:
        return "an entry without a document"
    for row in range(len(row_offsets) - 1):
        codes = row_codes[row * arrays.padded // 2 : (row + 1) * arrays.padded // 2].reshape(-1, 32)
        there = np.count_nonzero(np.concatenate([codes & 15, codes >> 4], axis=1), axis=1).astype(np.int64)
        told = before[row * arrays.padded // 64 : (row + 1) * arrays.padded // 64]
        if not np.array_equal(told, np.cumsum(there) - there) or there.sum() != row_offsets[row + 1] - row_offsets[row]:
            return "the counts of a row are not those of its codes"
    if arrays.block_size == STRIP:
        return None if len(arrays.cells) == CELL * arrays.entries else "more cells than entries"
    strips = np.bitwise_count(arrays.strip_masks).astype(np.int64)
    if len(strips) and (int(arrays.strip_masks.max()) >> (arrays.block_size // STRIP) or int(strips.min()) == 0):
        return "strips that the blocks do not have"
    if not np.array_equal(arrays.strip_offsets, np.cumsum(strips) - strips) or CELL * strips.sum() != len(arrays.cells):
        return "strips are not where their entries say"
    return None


class Take(Protocol):
    """Takes an array of a segment by its name, of that shape (any, for None) and one of those types."""

    def __call__(self, name: str, shape: tuple[int, ...] | None, *types: type[np.generic]) -> Array: ...


def open_blocks(
    take: Take,
    check_offsets: Callable[[str, Array, int], None],
    corrupt: Callable[[str, str], Exception],
    documents: int,
    dim: int,
    block_size: int,
) -> BlockArrays:
    """Takes the arrays through the checks of a segment."""
    if block_size not in BLOCK_SIZES:
        raise corrupt("manifest", f"a block of {block_size} documents")
    padded = padded_blocks(documents, block_size)
    lists_terms = take("blocks_lists_terms", None, np.uint32)
    offsets = take("blocks_lists_offsets", (len(lists_terms) + 1,), np.int64)
    blocks = take("blocks_lists_blocks", None, block_type(padded))
    codes = take("blocks_lists_codes", (len(blocks),), np.uint8)
    check_offsets("blocks_lists_offsets", offsets, len(blocks))
    if len(lists_terms) and int(np.diff(offsets).max()) > padded:  # more than the engine's working memory holds
        raise corrupt("blocks_lists_offsets", "a list with more entries than there are blocks")
    # 16-bit numbers cannot lead out of the engine's working memory; others are looked at.
    if blocks.dtype == np.uint32 and len(blocks) and int(blocks.max()) >= padded:
        raise corrupt("blocks_lists_blocks", "a block past the last")
    rows_terms = take("blocks_rows_terms", None, np.uint32)
    rows = len(rows_terms)
    rows_codes = take("blocks_rows_codes", (rows * padded // 2,), np.uint8)
    rows_largest = take("blocks_rows_largest", (rows,), np.uint8)
    before = take("blocks_rows_before", (rows * padded // 64,), np.uint32)
    rows_offsets = take("blocks_rows_offsets", (rows + 1,), np.int64)
    # A row without an entry would have the engine read one where there may be none.
    if rows_offsets[0] != len(blocks) or np.any(rows_offsets[1:] <= rows_offsets[:-1]):
        raise corrupt("blocks_rows_offsets", "does not rise from the number of list entries")
    for name, terms in (("blocks_lists_terms", lists_terms), ("blocks_rows_terms", rows_terms)):
        if len(terms) and (np.any(terms[1:] <= terms[:-1]) or int(terms[-1]) >= dim):
            raise corrupt(name, "terms do not rise or lie outside the vocabulary")
    entries = int(rows_offsets[-1])
    several = entries if block_size > STRIP else 0
    cells = take("blocks_cells", None, np.uint8)
    if len(cells) % CELL or len(cells) < entries * CELL:
        raise corrupt("blocks_cells", f"{len(cells)} bytes for {entries} entries")
    return BlockArrays(
        block_size,
        padded,
        (lists_terms, offsets, blocks, codes),
        (rows_terms, rows_codes, rows_largest, before, rows_offsets),
        cells,
        take("blocks_strip_offsets", (several,), np.uint32),
        take("blocks_strip_masks", (several,), np.uint8),
    )
