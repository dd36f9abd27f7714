"""Metadata to typed columns, while the documents of a build stream by.

Names: fields of objects are joined with dots ("author.name"); lists are taken apart, also lists of objects, and the document
then has several values. null is no value. A field has a column for each type of value that it holds, so that 7 and "7" stay
apart.

Memory: values are buffered, and appended to a file of their column when the buffers are full. Of strings see `strings`.
"""

from __future__ import annotations

import logging
import shutil
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsr.corpus import Document
from lsr.index.filters.columns import MAX_FIELDS, MAX_NAME, TABLE, TYPES, FieldEntry, FieldTable, prefix
from lsr.index.filters.expression import CONNECTIVES, ID
from lsr.index.filters.strings import StringsWriter
from lsr.index.storage.arrays import AppendFile, write_array
from lsr.index.storage.manifest import FileEntry

__all__ = ["MAX_STRING", "FieldsWriter"]

logger = logging.getLogger(__name__)

MAX_STRING = 1024  # bytes; longer ones are texts, not values
_BUFFERED = 1 << 20  # values in memory, of all columns
_CHARACTERS = 1 << 24  # of different strings in memory
_CHUNK = 4 << 20  # bytes copied at a time
_INT64 = np.iinfo(np.int64)


class FieldsWriter:
    """Appends the metadata of documents; `finish` writes their columns. Works in a folder below `scratch`."""

    def __init__(self, folder: Path, segment: str, scratch: Path) -> None:
        self._folder, self._segment = folder, segment
        self._scratch = scratch / "fields"
        # What an interrupted run left is of no use: documents are read again from the first.
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir()
        self._fields: dict[str, _Field] = {}
        self._refused: dict[str, str] = {}  # fields that cannot be filtered on, and why
        self._left_out = ""  # the first of the fields that are not kept
        self._documents = 0

    def append(self, documents: Sequence[Document]) -> None:
        for document in documents:
            for name, value in document.metadata.items():
                for field, one in _values(name, value):
                    self._add(field, one)
            self._documents += 1
        columns = [column for field in self._fields.values() for column in field.columns.values()]
        buffered = sum(len(column.rows) for column in columns)
        if buffered > _BUFFERED or sum(column.characters for column in columns) > _CHARACTERS:
            for column in columns:
                column.spill()

    def carry(self, table: FieldTable) -> None:
        """Takes over which fields cannot be filtered on, where the values that say so are no longer there."""
        for name, problem in table.refused.items():
            self._refused[name] = problem
            self._fields.pop(name, None)
        self._left_out = self._left_out or table.left_out

    def finish(self) -> list[FileEntry]:
        """Writes what `columns.Fields` opens; nothing where no document has metadata."""
        self._log()
        if not (self._fields or self._refused):
            return []
        files: list[FileEntry] = []
        entries = []
        for number, (name, field) in enumerate(sorted(self._fields.items())):
            columns = {}
            for kind, column in sorted(field.columns.items()):
                columns[kind] = whole = column.whole and column.count == self._documents
                files += column.finish(self._folder, f"{self._segment}/{prefix(number, kind)}", whole)
            entries.append(FieldEntry(name, field.documents, field.lists, columns))
        table = np.frombuffer(FieldTable(entries, self._refused, self._left_out).to_bytes(), np.uint8)
        return [*files, write_array(self._folder, f"{self._segment}/{TABLE}", table)]

    def _add(self, name: str, value: Any) -> None:
        field = self._fields.get(name)
        if field is None:
            if name in self._refused:
                return
            if len(self._fields) + len(self._refused) >= MAX_FIELDS or len(name) > MAX_NAME:
                self._left_out = self._left_out or name[:MAX_NAME]
                return
            field = self._fields[name] = _Field(self._scratch / str(len(self._fields) + len(self._refused)))
        problem = _problem(name, value)
        if problem is None:
            field.add(self._documents, value)
        else:
            self._refused[name] = problem
            del self._fields[name]

    def _log(self) -> None:
        for name, problem in self._refused.items():
            logger.warning("the field %r cannot be used in filters: %s", name, problem)
        if self._left_out:
            logger.warning(
                "filters know the first %d fields, with names of up to %d characters; left out: %r and those like it",
                MAX_FIELDS,
                MAX_NAME,
                self._left_out,
            )


def _values(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """(field, value) of all that a value holds."""
    if isinstance(value, Mapping) and len(name) <= MAX_NAME:  # names that only grow longer are not followed
        for inner, part in value.items():
            yield from _values(f"{name}.{inner}", part)
    elif isinstance(value, list):
        for part in value:
            yield from _values(name, part)
    elif value is not None:
        yield name, value


def _problem(name: str, value: Any) -> str | None:
    """Why a field with this value cannot be filtered on."""
    if name == ID or name in CONNECTIVES:
        return f"{name!r} means something else there"
    if isinstance(value, str) and len(value) * 4 > MAX_STRING and len(value.encode()) > MAX_STRING:
        return f"it holds a text of more than {MAX_STRING:,} bytes"
    if isinstance(value, int) and not _INT64.min <= value <= _INT64.max:
        return "it holds a whole number of more than 64 bits; write such numbers as strings"
    return None


class _Field:
    """The columns of a field, by type. `documents` have a value in it; `lists` when one of them has several."""

    def __init__(self, path: Path) -> None:
        self.columns: dict[str, _Column] = {}
        self.documents = 0
        self.lists = False
        self._path = path
        self._last = -1

    def add(self, row: int, value: Any) -> None:
        kind = "string"
        if not isinstance(value, str):
            kind = "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "float"
        column = self.columns.get(kind)
        if column is None:
            column = self.columns[kind] = _Column(kind, self._path.with_name(f"{self._path.name}-{kind}"))
        column.add(row, value)
        self.lists = self.lists or row == self._last
        self.documents += row != self._last
        self._last = row


class _Column:
    """Values of one type and the rows of their documents, in files beside `path` and in memory."""

    def __init__(self, kind: str, path: Path) -> None:
        self.rows = array("I")
        self.count = 0
        self.whole = True  # so far value i is that of document i
        self._kind, self._path = kind, path
        self._strings = StringsWriter(path) if kind == "string" else None
        self._numbers = array({"bool": "B", "int": "q", "float": "d"}.get(kind, "B"))

    @property
    def characters(self) -> int:
        return self._strings.characters if self._strings else 0

    def add(self, row: int, value: Any) -> None:
        self.whole = self.whole and row == self.count
        self.count += 1
        self.rows.append(row)
        if self._strings:
            self._strings.add(value)
        else:
            self._numbers.append(value)

    def spill(self) -> None:
        """Appends to the files what is in memory."""
        if not self.rows:
            return
        with self._file("rows").open("ab") as file:
            file.write(np.array(self.rows, "<u4").tobytes())
        self.rows = array("I")
        if self._strings:
            self._strings.spill()
            return
        with self._file("values").open("ab") as file:
            file.write(np.array(self._numbers, TYPES[self._kind]).tobytes())
        self._numbers = array(self._numbers.typecode)

    def finish(self, folder: Path, name: str, whole: bool) -> list[FileEntry]:
        self.spill()
        if self._strings:
            files = self._strings.finish(folder, name)
        else:
            files = [_copy(self._file("values"), folder, f"{name}_values", TYPES[self._kind], self.count)]
        if not whole:
            files.append(_copy(self._file("rows"), folder, f"{name}_rows", "<u4", self.count))
        return files

    def _file(self, what: str) -> Path:
        return self._path.with_name(f"{self._path.name}-{what}")


def _copy(source: Path, folder: Path, name: str, dtype: str, count: int) -> FileEntry:
    target = AppendFile(folder, name)
    with source.open("rb") as file:
        while chunk := file.read(_CHUNK):
            target.append(chunk)
    return target.finish(dtype, (count,))
