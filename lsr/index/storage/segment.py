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

A segment never changes. Which of its documents were deleted since is told by a file beside it, written anew when more are
(`deletions`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.index.filters.columns import TABLE, TYPES, Column, Fields, FieldTable, prefix
from lsr.index.filters.strings import Strings
from lsr.index.storage.blocks import BlockArrays, open_blocks
from lsr.index.storage.manifest import SegmentEntry
from lsr.index.storage.records import BLOCK, Texts, text_hash
from lsr.index.storage.regular import REMEDY
from lsr.index.storage.segment_arrays import SegmentArrays
from lsr.limits import MAX_DOCUMENTS
from lsr.sparse import term_type

__all__ = [
    "WINDOW",
    "Lists",
    "Rows",
    "Segment",
    "VectorSegment",
    "largest_codes",
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


class VectorSegment(SegmentArrays):
    """The mapped arrays of the vectors of a segment: all but ids, texts and fields.

    Opening checks everything that memory safety of the kernels rests on, at a cost that does not grow with the number
    of postings: types, sizes, and that every offset stays inside its array. Contents are checked by `lsr check --full`.
    """

    def __init__(self, folder: Path, entry: SegmentEntry, dim: int, remedy: str = REMEDY) -> None:
        super().__init__(folder, entry.name, entry.files, remedy)
        self.entry = entry
        self.documents = n = entry.documents
        nnz = entry.nnz
        if n > MAX_DOCUMENTS:
            raise self.corrupt("manifest", f"{n:,} documents, more than an index holds")
        self.forward_indptr = self.take("forward_indptr", (n + 1,), np.int64)
        self.forward_terms = self.take("forward_terms", (nnz,), term_type(dim))
        self.forward_codes = self.take("forward_codes", (nnz,), np.uint8, np.uint16)
        code_type = self.forward_codes.dtype.type
        self.check_offsets("forward_indptr", self.forward_indptr, nnz)
        self.lists = self._open_lists(n, code_type)
        self.rows = self._open_rows(n, code_type)
        for name, terms in (("postings_terms", self.lists.terms), ("dense_terms", self.rows.terms)):
            if len(terms) and (np.any(terms[1:] <= terms[:-1]) or int(terms[-1]) >= dim):
                raise self.corrupt(name, "terms do not rise or lie outside the vocabulary")
        self.blocks: BlockArrays | None = None
        self.rows_of = self.places_of = _NO_ORDER  # empty where documents are stored in the order of rows
        if entry.block_size:
            self.rows_of = self.take("order_rows", (n,), np.uint32)
            self.places_of = self.take("order_places", (n,), np.uint32)
            # As these are positions too: a permutation and its inverse.
            if n and (int(self.rows_of.max()) >= n or np.any(self.places_of[self.rows_of] != np.arange(n))):
                raise self.corrupt("order_rows", "not an order of the documents")
            self.blocks = open_blocks(self.take, self.check_offsets, self.corrupt, n, dim, entry.block_size)

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
        terms = self.take("postings_terms", None, np.uint32)
        docs = self.take("postings_docs", None, np.uint16)
        codes = self.take("postings_codes", (len(docs),), code_type)
        pieces = len(terms) * window_count(n)
        offsets = self.take("postings_offsets", (pieces + 1,), np.int64)
        self.check_offsets("postings_offsets", offsets, len(docs))
        return Lists(terms, offsets, docs, codes, self.take("postings_largest", (pieces,), code_type))

    def _open_rows(self, n: int, code_type: type[np.generic]) -> Rows:
        terms = self.take("dense_terms", None, np.uint32)
        codes = self.take("dense_codes", (len(terms) * n,), code_type)
        return Rows(terms, codes, self.take("dense_largest", (len(terms) * window_count(n),), code_type))


class Segment(VectorSegment):
    """The mapped arrays of a segment, opened and checked as `VectorSegment` is."""

    def __init__(self, folder: Path, entry: SegmentEntry, dim: int, texts: bool) -> None:
        super().__init__(folder, entry, dim)
        n = self.documents
        self.ids = self.open_ids(n)
        self.texts = self._open_texts(n) if texts else None
        self._text_hashes: Array | None = None  # format 4.0 had none
        if texts and "text_hashes" in self.arrays:
            self._text_hashes = self.take("text_hashes", (n,), np.uint64)
        self.fields = self._open_fields(n)

    def text_hashes(self, rows: npt.NDArray[np.int64] | slice = slice(None)) -> npt.NDArray[np.uint64]:
        """The hash of the content of each document, or of those in some rows (`records.text_hash`); 0 without texts."""
        if self._text_hashes is not None:
            return self._text_hashes[rows]
        wanted = np.arange(self.documents)[rows].tolist()
        texts = self.texts
        return np.array([0 if texts is None else text_hash(texts[row].content) for row in wanted], np.uint64)

    def _open_texts(self, n: int) -> Texts:
        blocks = self.take("text_blocks", None, np.uint8)
        offsets = self.take("text_offsets", (-(-n // BLOCK) + 1,), np.int64)
        self.check_offsets("text_offsets", offsets, len(blocks))
        return Texts(blocks, offsets, n)

    def _open_fields(self, n: int) -> Fields:
        """The columns of metadata; none in an index of vectors, or of documents without any."""
        if TABLE not in self.arrays:
            return Fields()
        try:
            table = FieldTable.from_bytes(self.take(TABLE, None, np.uint8).tobytes())
        except ValueError as error:
            raise self.corrupt(TABLE, f"cannot be read ({error})") from None
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
            data = self.take(f"{name}_strings", None, np.uint8)
            offsets = self.take(f"{name}_offsets", None, np.int64)
            self.check_offsets(f"{name}_offsets", offsets, len(data))
            strings = Strings(data, offsets)
        values = self.take(f"{name}_values", (n,) if whole else None, *types)
        if strings is not None and len(strings) > np.iinfo(values.dtype).max + 1:  # its places are compared with them
            raise self.corrupt(f"{name}_values", f"holds {values.dtype} for {len(strings):,} strings")
        rows = None if whole else self.take(f"{name}_rows", values.shape, np.uint32)
        return Column(kind, values, rows, strings)
