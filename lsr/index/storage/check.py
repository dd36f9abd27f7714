"""Verifying an index: structure always, checksums and contents on request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lsr.errors import CorruptIndex
from lsr.index.filters.columns import Column
from lsr.index.storage.arrays import checksum
from lsr.index.storage.blocks import find_fault
from lsr.index.storage.deletions import open_deletions
from lsr.index.storage.generations import is_as_written, manifest_name
from lsr.index.storage.locks import open_newest
from lsr.index.storage.manifest import Manifest
from lsr.index.storage.records import text_hash
from lsr.index.storage.remaining import Remaining, check_distinct
from lsr.index.storage.segment import WINDOW, Segment, VectorSegment, largest_codes, window_count
from lsr.index.storage.vocabulary import StoredVocabulary

__all__ = ["check_generation", "check_index", "check_postings", "check_vectors"]

_ROWS = 1 << 15


def check_index(path: Path, full: bool) -> Iterator[str]:
    """Yields a line for each thing checked, and raises the error of the first that is wrong.

    Without `full`: manifest, sizes and offsets, what `Index.open` checks. With it also the checksum of every file, and
    that contents hold the rules: terms rise and lie in the vocabulary, values of fields belong to documents, ids are
    distinct and readable, every text opens.
    """
    manifest, _pin = open_newest(path, Manifest)  # held to the end: its files are not collected meanwhile
    yield from check_generation(path, manifest, full)


def check_generation(path: Path, manifest: Manifest, full: bool) -> Iterator[str]:
    """The same for the generation of a manifest, which the caller holds, and which need not be the newest."""
    yield f"manifest: generation {manifest.generation}, checksum matches"
    segments = [Segment(path, entry, manifest.dim, manifest.texts) for entry in manifest.segments]
    deletions = [open_deletions(path, entry) for entry in manifest.segments]
    words = StoredVocabulary(path, manifest.vocabulary, manifest.dim) if manifest.vocabulary else None
    yield f"structure: {len(manifest.files())} files of the right type, size and shape; offsets in range"
    if not full:
        return
    if not is_as_written(path / manifest_name(manifest.generation)):
        raise CorruptIndex(f"{path}: its manifest is not as it was written; restore a copy")
    for file in manifest.files():
        if checksum(path, file) != file.xxh3_128:
            raise CorruptIndex(
                f"{path / file.name}: altered since it was written; `lsr repair` it, build it again or restore a copy"
            )
    yield f"checksums: {sum(file.bytes for file in manifest.files()):,} bytes match"
    if words is not None:
        for term in range(len(words)):
            words.token(term)
        yield f"vocabulary: {len(words):,} tokens can be read"
    for segment in segments:
        check_vectors(path, segment, manifest.dim)
        yield f"vectors: {segment.documents:,} documents, terms rise and lie in the vocabulary"
        check_postings(path, segment)
        yield f"postings: {segment.entry.nnz:,} point to documents"
        if segment.blocks is not None:
            fault = find_fault(segment.blocks, segment.documents)
            if fault is not None:
                raise CorruptIndex(f"{path}: {fault}; `lsr repair` it, build it again or restore a copy")
            yield f"blocks: {segment.blocks.entries:,} entries lie in their blocks"
        _check_records(segment)
        if len(segment.fields):
            _check_fields(path, segment)
            yield f"fields: {len(segment.fields)}, whose values belong to documents"
        yield "records: ids are distinct" + (", texts open" if segment.texts is not None else "")
    if len(segments) > 1:
        check_distinct(path, [Remaining(s.entry, s, rows) for s, rows in zip(segments, deletions, strict=True)])
        yield f"segments: no document is in two of {len(segments)}"


def check_vectors(path: Path, segment: VectorSegment, dim: int) -> None:
    """Raises `CorruptIndex` where the terms of a document do not rise, or lie outside the vocabulary."""
    for first in range(0, segment.documents, _ROWS):
        indptr = segment.forward_indptr[first : first + _ROWS + 1]
        terms = segment.forward_terms[indptr[0] : indptr[-1]].astype(np.int64)
        if len(terms) == 0:
            continue
        falls = terms[1:] <= terms[:-1]
        starts = indptr[1:-1] - indptr[0]
        falls[starts[(starts > 0) & (starts < len(terms))] - 1] = False
        if falls.any() or terms.max() >= dim:
            raise CorruptIndex(f"{path}: terms of a document among {first}–{first + _ROWS} are out of order or range")


def check_postings(path: Path, segment: VectorSegment) -> None:
    """Raises `CorruptIndex` where postings are out of order, point to no document, or are larger than they are said to be."""
    windows = window_count(segment.documents)
    inside = segment.documents - (windows - 1) * WINDOW
    offsets, docs, codes, largest = (
        segment.lists.offsets,
        segment.lists.docs,
        segment.lists.codes,
        segment.lists.largest,
    )
    for at in range(0, len(offsets) - 1):
        documents = docs[offsets[at] : offsets[at + 1]]
        last = at % windows == windows - 1
        if len(documents) and (np.any(documents[1:] <= documents[:-1]) or (last and documents[-1] >= inside)):
            raise CorruptIndex(f"{path}: postings of a term are out of order or point past the last document")
        if largest[at] != codes[offsets[at] : offsets[at + 1]].max(initial=0):
            raise CorruptIndex(f"{path}: the largest weight of a term is not that of its postings")
    for row in range(len(segment.rows.terms)):
        line = segment.rows.codes[row * segment.documents : (row + 1) * segment.documents]
        if not np.array_equal(segment.rows.largest[row * windows : (row + 1) * windows], largest_codes(line)):
            raise CorruptIndex(f"{path}: the largest weight of a term is not that of its row")


def _check_fields(path: Path, segment: Segment) -> None:
    n = segment.documents
    for field in segment.fields:
        problems = [problem for column in field.columns if (problem := _column_problem(column, n))]
        if not problems:
            having = int(np.count_nonzero(field.having(n)))
            lists = sum(len(column.values) for column in field.columns) > having
            if (having, lists) != (field.entry.documents, field.entry.lists):
                problems.append("counts contradict its values")
        if problems:
            raise CorruptIndex(
                f"{path}: the field {field.entry.name!r} is damaged: {problems[0]}; build the index again"
            )


def _column_problem(column: Column, documents: int) -> str | None:
    values, rows, strings = column.values, column.rows, column.strings
    if rows is not None and len(rows) and (np.any(rows[1:] < rows[:-1]) or rows[-1] >= documents):
        return "rows are out of order or point past the last document"
    if column.kind == "bool" and np.any(values > 1):
        return "a value is neither true nor false"
    if column.kind == "float" and not np.isfinite(values).all():
        return "a value is no number"
    if strings is not None:
        if np.any(values >= len(strings)):
            return "values point past the last string"
        last: bytes | None = None
        for code in range(len(strings)):
            string = strings[code]
            if last is not None and string <= last:
                return "strings are out of order"
            try:
                string.decode()
            except UnicodeDecodeError:
                return "a string is no UTF-8"
            last = string
    return None


def _check_records(segment: Segment) -> None:
    segment.ids.check()
    if segment.texts is not None:
        hashes = segment.text_hashes()
        for row in range(segment.documents):
            if text_hash(segment.texts[row].content) != int(hashes[row]):
                raise CorruptIndex(f"the text of document {row} is not what its hash says; restore a copy")
