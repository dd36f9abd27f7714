"""Several segments, or one of which much was deleted, to one new segment, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.corpus import Document
from lsr.corpus.fields import check_json, check_name
from lsr.errors import CorpusError, CorruptIndex, InvalidVectors
from lsr.index.blocked.parameters import BlockOptions
from lsr.index.filters.collect import FieldsWriter
from lsr.index.filters.columns import Column, Fields
from lsr.index.segment_writer import Progress, Quantize, Spool, write_arrays
from lsr.index.segments import Left
from lsr.index.storage.checkpoint import Stages
from lsr.index.storage.folder import Workplace
from lsr.index.storage.manifest import FileEntry, SegmentEntry
from lsr.index.storage.records import IdsWriter, Record, TextsWriter
from lsr.sparse import SparseVectors

__all__ = ["merge", "stored_documents"]

_ROWS = 1 << 12  # documents in memory

Rows = npt.NDArray[np.int64]


def merge(
    parts: Sequence[Left],
    place: Workplace,
    name: str,
    *,
    dim: int,
    blocks: BlockOptions | None,
    quantize: Quantize,
    progress: Progress,
    stages: Stages | None = None,
) -> SegmentEntry:
    """Writes the documents of some parts that were not deleted, in their order, as a segment below `place.target`.

    All parts keep texts, or none does. The bytes are those of a segment that was built of the stored vectors and records.
    stages: where an interrupted run notes how far it came.
    """
    spool = Spool(place.scratch, dim)

    def copied() -> tuple[list[FileEntry], dict[str, Any]]:
        files = _copy(parts, spool, place, name, progress)
        return files, {"documents": spool.documents, "nnz": spool.nnz, "digests": spool.digests}

    try:
        records, _ = (stages or Stages()).run(f"{name}: copied", copied, lambda facts: spool.reopen(**facts))
        files, scale, nnz = write_arrays(spool, place.target, name, blocks, progress, quantize, stages)
    finally:
        spool.close()
    block_size = 0 if blocks is None else blocks.block_size
    return SegmentEntry(name, spool.documents, nnz, scale, block_size, (*files, *records))


def _copy(parts: Sequence[Left], spool: Spool, place: Workplace, name: str, progress: Progress) -> list[FileEntry]:
    """Spools the vectors of the documents, and writes their ids, texts and fields. Returns the files of these."""
    work, scratch = place
    total = sum(part.live for part in parts)
    ids = texts = None
    fields = FieldsWriter(work, name, scratch)
    try:
        spool.open()
        ids = IdsWriter(work, name, first=0)
        texts = TextsWriter(work, name) if parts[0].segment.texts is not None else None
        for part in parts:
            if texts is None:
                fields.carry(part.segment.fields.table)
            for rows in _pieces(part):
                progress("copying documents", spool.documents, total)
                indptr, terms, weights = part.segment.gather(rows)
                documents = _documents(part, rows)
                names = [document.id for document in documents]
                ids.append(names)
                if texts is not None:
                    texts.append(documents)
                fields.append(documents)
                spool.append(_vectors(indptr, terms, weights, spool.dim), names)
        spool.sync()
        progress("copying documents", total, total)
        return [*ids.finish(), *(texts.finish() if texts else []), *fields.finish()]
    finally:
        for writer in (ids, texts):
            if writer is not None:
                writer.close()


def stored_documents(part: Left) -> Iterator[list[Document]]:
    """The documents of a part that were not deleted, some at a time: what is stored of them."""
    for rows in _pieces(part):
        yield _documents(part, rows)


def _vectors(indptr: Rows, terms: Any, weights: npt.NDArray[np.float32], dim: int) -> SparseVectors:
    try:
        return SparseVectors(indptr=indptr, indices=terms, values=weights, dim=dim)
    except InvalidVectors as error:
        raise CorruptIndex(f"stored vectors are none ({error}); run `lsr check --full`") from None


def _pieces(part: Left) -> Iterator[Rows]:
    for first in range(0, part.live, _ROWS):
        yield part.left(np.arange(first, min(first + _ROWS, part.live)))


def _documents(part: Left, rows: Rows) -> list[Document]:
    """The documents in some rows, rising. Without texts their metadata are what their columns hold."""
    names, texts = part.segment.ids, part.segment.texts
    if texts is None:
        metadata = _metadata(part.segment.fields, rows)
        return [Document(id=names[row], text="", metadata=metadata.get(row, {})) for row in rows.tolist()]
    return [_document(names[row], texts[row]) for row in rows.tolist()]


def _document(name: str, record: Record) -> Document:
    """A document of what is stored of it, if that is what could be stored again."""
    try:
        for field, value in (("title", record.title), ("text", record.text), *record.metadata.items()):
            check_name(field, field, name)
            check_json(value, field, name)
    except CorpusError as error:
        raise CorruptIndex(f"the record of a document is damaged: {error}; run `lsr check --full`") from None
    return Document(id=name, text=record.text, title=record.title, metadata=record.metadata)


def _metadata(fields: Fields, rows: Rows) -> dict[int, dict[str, list[Any]]]:
    """The values of all fields of some rows, rising; fields of objects by their joined names."""
    found: dict[int, dict[str, list[Any]]] = {}
    wanted = set(rows.tolist())
    for field in fields:
        for column in field.columns:
            for row, value in _values(column, int(rows[0]), int(rows[-1]) + 1):
                if row in wanted:
                    found.setdefault(row, {}).setdefault(field.entry.name, []).append(value)
    return found


def _values(column: Column, first: int, last: int) -> Iterator[tuple[int, Any]]:
    """(row, value) of a column, for the rows [first, last)."""
    if column.rows is None:
        part, rows = slice(first, last), list(range(first, last))
    else:
        part = slice(*np.searchsorted(column.rows, [first, last]).tolist())
        rows = column.rows[part].tolist()
    values = column.values[part].tolist()
    strings = column.strings
    if strings is not None:
        try:
            values = [strings[code].decode() for code in values]
        except ValueError:  # no such string, or no UTF-8
            raise CorruptIndex("the strings of a metadata column are damaged; run `lsr check --full`") from None
    elif column.kind == "bool":
        values = [bool(value) for value in values]
    yield from zip(rows, values, strict=True)
