"""A segment: the arrays of one write-once group of documents, and the checks before a kernel may see them.

The documents of a segment with blocks are stored in another order than that of their rows; `order_*` translates. Ids and
texts are always in the order of rows.

forward_indptr    <i8 [documents + 1]        start of each document in the two forward arrays
forward_terms     <u2 or <u4 [nnz]           term ids, rising within a document
forward_codes     |u1 or <u2 [nnz]           weight = code * scale
postings_terms    <u4 [present]              the terms that occur, rising
postings_offsets  <i8 [present * windows + 1]  start of each (term, window) in the two postings arrays
postings_docs     <u2 [nnz]                  document number within its window of 65,536, rising within (term, window)
postings_codes    |u1 or <u2 [nnz]
postings_largest  |u1 or <u2 [present * windows]  the largest code of each (term, window), 0 where it has no postings
dense_terms       <u4 [dense]                the terms that more than a third of the documents have, rising; not in postings_*
dense_codes       |u1 or <u2 [dense * documents]  a row for each: the code of each document, 0 where it has not the term
dense_largest     |u1 or <u2 [dense * windows]
blocks_*, order_* see `blocks`
ids_*, text_*     see `records`
field_*           see `lsr.index.filters.columns`

A segment never changes. Which of its documents were deleted since is told by a file beside it, written anew when more are: a
bit for each row, the lowest of a byte first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.errors import CorruptIndex
from lsr.index.filters.columns import TABLE, TYPES, Column, Fields, FieldTable, prefix
from lsr.index.filters.strings import Strings
from lsr.index.storage.arrays import map_array
from lsr.index.storage.blocks import BlockArrays, open_blocks
from lsr.index.storage.manifest import SegmentEntry
from lsr.index.storage.records import BLOCK, Ids, Texts
from lsr.limits import MAX_DOCUMENTS
from lsr.sparse import term_type

__all__ = [
    "WINDOW",
    "Lists",
    "Rows",
    "Segment",
    "deletion_bits",
    "largest_codes",
    "open_deletions",
    "window_count",
]

WINDOW = 1 << 16  # documents a window: what a 16-bit number tells apart

Array = npt.NDArray[Any]

_NO_ORDER = np.zeros(0, np.uint32)
_NO_ORDER.flags.writeable = False


def window_count(documents: int) -> int:
    return max(1, -(-documents // WINDOW))


def largest_codes(row: Array) -> Array:
    """The largest code in each window of a row of codes [documents]."""
    return np.maximum.reduceat(row, np.arange(0, len(row), WINDOW)) if len(row) else np.zeros(1, row.dtype)


def deletion_bits(rows: npt.NDArray[np.int64], documents: int) -> npt.NDArray[np.uint8]:
    """The bits of deleted rows: uint8 [documents / 8, rounded up]."""
    bits = np.zeros(documents, np.uint8)
    bits[rows] = 1
    return np.packbits(bits, bitorder="little")


def open_deletions(folder: Path, entry: SegmentEntry) -> npt.NDArray[np.int64]:
    """The rows of a segment that were deleted, rising. Raises `CorruptIndex` when the file does not fit the manifest."""
    if entry.deletions is None:
        if entry.deleted:
            raise CorruptIndex(f"{folder}: no file says which of {entry.name} are deleted; restore a copy")
        return np.zeros(0, np.int64)
    bits = map_array(folder, entry.deletions)
    if bits.dtype != np.uint8 or bits.shape != (-(-entry.documents // 8),):
        raise CorruptIndex(
            f"{folder / entry.deletions.name}: {bits.shape} of {bits.dtype} for {entry.documents:,} rows"
        )
    rows = np.flatnonzero(np.unpackbits(bits, bitorder="little"))
    if len(rows) != entry.deleted or (len(rows) and rows[-1] >= entry.documents):
        raise CorruptIndex(f"{folder / entry.deletions.name}: not the {entry.deleted:,} documents of the manifest")
    return rows


class Lists(NamedTuple):
    """The postings_* arrays."""

    terms: Array
    offsets: Array
    docs: Array
    codes: Array
    largest: Array


class Rows(NamedTuple):
    """The dense_* arrays."""

    terms: Array
    codes: Array
    largest: Array


class Segment:
    """The mapped arrays of a segment.

    Opening checks everything that memory safety of the kernels rests on, at a cost that does not grow with the number
    of postings: types, sizes, and that every offset stays inside its array. Contents are checked by `lsr check --full`.
    """

    def __init__(self, folder: Path, entry: SegmentEntry, dim: int, texts: bool) -> None:
        self.entry = entry
        self._where = folder / entry.name
        self._arrays = {file.name.rpartition("/")[2]: map_array(folder, file) for file in entry.files}
        self.documents = n = entry.documents
        nnz = entry.nnz
        if n > MAX_DOCUMENTS:
            raise self._corrupt("manifest", f"{n:,} documents, more than an index holds")
        self.forward_indptr = self._take("forward_indptr", (n + 1,), np.int64)
        self.forward_terms = self._take("forward_terms", (nnz,), term_type(dim))
        self.forward_codes = self._take("forward_codes", (nnz,), np.uint8, np.uint16)
        code_type = self.forward_codes.dtype.type
        self._check_offsets("forward_indptr", self.forward_indptr, nnz)
        self.lists = self._open_lists(n, code_type)
        self.rows = self._open_rows(n, code_type)
        for name, terms in (("postings_terms", self.lists.terms), ("dense_terms", self.rows.terms)):
            if len(terms) and (np.any(terms[1:] <= terms[:-1]) or int(terms[-1]) >= dim):
                raise self._corrupt(name, "terms do not rise or lie outside the vocabulary")
        self.blocks: BlockArrays | None = None
        self.rows_of = self.places_of = _NO_ORDER  # empty where documents are stored in the order of rows
        if entry.block_size:
            self.rows_of = self._take("order_rows", (n,), np.uint32)
            self.places_of = self._take("order_places", (n,), np.uint32)
            # As these are positions too: a permutation and its inverse.
            if n and (int(self.rows_of.max()) >= n or np.any(self.places_of[self.rows_of] != np.arange(n))):
                raise self._corrupt("order_rows", "not an order of the documents")
            self.blocks = open_blocks(self._take, self._check_offsets, self._corrupt, n, dim, entry.block_size)
        self.ids = self._open_ids(n)
        self.texts = self._open_texts(n) if texts else None
        self.fields = self._open_fields(n)

    def document(self, row: int) -> tuple[Array, npt.NDArray[np.float32]]:
        """Term ids and stored weights of the document in a row."""
        terms, codes = self.document_codes(row)
        return terms, codes.astype(np.float32) * np.float32(self.entry.scale)

    def document_codes(self, row: int) -> tuple[Array, Array]:
        """Term ids and weight codes of the document in a row."""
        place = int(self.places_of[row]) if len(self.places_of) else row
        start, end = self.forward_indptr[place : place + 2].tolist()
        return self.forward_terms[start:end], self.forward_codes[start:end]

    def gather(self, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Array, npt.NDArray[np.float32]]:
        """The documents in some rows as a CSR batch: indptr [rows + 1], term ids and stored weights."""
        places = self.places_of[rows].astype(np.int64) if len(self.places_of) else rows
        starts = self.forward_indptr[places]
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.forward_indptr[places + 1] - starts)])
        at = np.repeat(starts - indptr[:-1], np.diff(indptr)) + np.arange(indptr[-1])
        return indptr, self.forward_terms[at], self.forward_codes[at].astype(np.float32) * np.float32(self.entry.scale)

    def lengths(self) -> npt.NDArray[np.int64]:
        """Terms of each document [documents], by row."""
        lengths = np.diff(self.forward_indptr)
        return lengths[self.places_of] if len(self.places_of) else lengths

    def _open_lists(self, n: int, code_type: type[np.generic]) -> Lists:
        terms = self._take("postings_terms", None, np.uint32)
        docs = self._take("postings_docs", None, np.uint16)
        codes = self._take("postings_codes", (len(docs),), code_type)
        pieces = len(terms) * window_count(n)
        offsets = self._take("postings_offsets", (pieces + 1,), np.int64)
        self._check_offsets("postings_offsets", offsets, len(docs))
        return Lists(terms, offsets, docs, codes, self._take("postings_largest", (pieces,), code_type))

    def _open_rows(self, n: int, code_type: type[np.generic]) -> Rows:
        terms = self._take("dense_terms", None, np.uint32)
        codes = self._take("dense_codes", (len(terms) * n,), code_type)
        return Rows(terms, codes, self._take("dense_largest", (len(terms) * window_count(n),), code_type))

    def _open_ids(self, n: int) -> Ids:
        data = self._take("ids_bytes", None, np.uint8)
        offsets = self._take("ids_offsets", (n + 1,), np.int64)
        self._check_offsets("ids_offsets", offsets, len(data))
        return Ids(data, offsets, self._take("ids_hashes", (n,), np.uint64), self._take("ids_rows", (n,), np.uint32))

    def _open_texts(self, n: int) -> Texts:
        blocks = self._take("text_blocks", None, np.uint8)
        offsets = self._take("text_offsets", (-(-n // BLOCK) + 1,), np.int64)
        self._check_offsets("text_offsets", offsets, len(blocks))
        return Texts(blocks, offsets, n)

    def _open_fields(self, n: int) -> Fields:
        """The columns of metadata; none in an index of vectors, or of documents without any."""
        if TABLE not in self._arrays:
            return Fields()
        try:
            table = FieldTable.from_bytes(self._take(TABLE, None, np.uint8).tobytes())
        except ValueError as error:
            raise self._corrupt(TABLE, f"cannot be read ({error})") from None
        columns = [
            [self._open_column(prefix(number, kind), kind, whole, n) for kind, whole in entry.columns.items()]
            for number, entry in enumerate(table.fields)
        ]
        return Fields(table, columns)

    def _open_column(self, name: str, kind: str, whole: bool, n: int) -> Column:
        strings = None
        types = [np.dtype(TYPES[kind]).type]
        if kind == "string":
            types = [np.uint8, np.uint16, np.uint32]
            data = self._take(f"{name}_strings", None, np.uint8)
            offsets = self._take(f"{name}_offsets", None, np.int64)
            self._check_offsets(f"{name}_offsets", offsets, len(data))
            strings = Strings(data, offsets)
        values = self._take(f"{name}_values", (n,) if whole else None, *types)
        if strings is not None and len(strings) > np.iinfo(values.dtype).max + 1:  # its places are compared with them
            raise self._corrupt(f"{name}_values", f"holds {values.dtype} for {len(strings):,} strings")
        rows = None if whole else self._take(f"{name}_rows", values.shape, np.uint32)
        return Column(kind, values, rows, strings)

    def _take(self, name: str, shape: tuple[int, ...] | None, *types: type[np.generic]) -> Array:
        array = self._arrays.get(name)
        if array is None:
            raise self._corrupt(name, "not in the manifest")
        if array.dtype.type not in types:
            raise self._corrupt(name, f"holds {array.dtype}")
        if array.ndim != 1 or (shape is not None and array.shape != shape):
            raise self._corrupt(name, f"has shape {array.shape} where {shape} fits the manifest")
        return array

    def _check_offsets(self, name: str, offsets: npt.NDArray[np.int64], end: int) -> None:
        if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != end or np.any(offsets[1:] < offsets[:-1]):
            raise self._corrupt(name, f"does not rise from 0 to {end}")

    def _corrupt(self, name: str, what: str) -> CorruptIndex:
        return CorruptIndex(f"{self._where / name}: {what}; `lsr repair` it, build it again or restore a copy")
