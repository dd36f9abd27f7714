"""Parquet files: rows in batches, so that one batch is in memory at a time."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lsr.corpus.fields import KNOWN_FIELDS, Record
from lsr.corpus.streams import reason, shown
from lsr.errors import CorpusError, MissingExtra

__all__ = ["parquet_records"]

BATCH_ROWS = 512


def parquet_records(path: Path, wanted: Sequence[str] = ()) -> Iterator[Record]:
    """A record for each row. The place is "file.parquet: row 12", rows counted from 0.

    Dates and times become ISO strings, decimals strings, NaN null. Columns of bytes are left out, unless the caller wants
    them or they have a name that lsr knows: then they are read as UTF-8.

    Raises `MissingExtra` without pyarrow, `CorpusError` for a file that is damaged, has two columns of one name, or holds
    invalid UTF-8.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtra("pyarrow", "parquet", "reading parquet files") from None
    return _records(path, set(wanted) | KNOWN_FIELDS, pa, pq)


def _records(path: Path, wanted: set[str] | frozenset[str], pa: Any, pq: Any) -> Iterator[Record]:
    name, row = shown(path), 0
    # Hostile bytes reach many corners of pyarrow; these are what they raise.
    failures = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, IndexError, OverflowError, MemoryError)
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            columns = _columns(file.schema_arrow, name, wanted, pa)
            for batch in file.iter_batches(BATCH_ROWS, columns=columns):
                values = {
                    column: _values(batch.column(i), name, row, column) for i, column in enumerate(batch.schema.names)
                }
                for i in range(batch.num_rows):
                    yield {column: cells[i] for column, cells in values.items()}, f"{name}: row {row + i}"
                row += batch.num_rows
    except failures as error:
        raise CorpusError(
            f"{name}: row {row}: cannot be read ({reason(error)}); is it a whole parquet file? Write it again"
        ) from None


def _columns(schema: Any, name: str, wanted: set[str] | frozenset[str], pa: Any) -> list[str]:
    for column, times in Counter(schema.names).items():
        if times > 1:
            raise CorpusError(f"{name}: {times} columns are named {column[:40]!r}; rename all but one")
    columns = []
    for field in schema:
        is_bytes = any(
            test(field.type) for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
        )
        if not is_bytes or field.name in wanted:
            columns.append(field.name)
    return columns


def _values(column: Any, name: str, row: int, field: str) -> list[Any]:
    """The cells of one column of a batch as JSON values."""
    try:
        return [_plain(value) for value in column.to_pylist()]
    except UnicodeDecodeError:
        for i, cell in enumerate(column):  # once more, one by one, to name the row
            try:
                _plain(cell.as_py())
            except UnicodeDecodeError:
                row += i
                break
        raise CorpusError(f"{name}: row {row}: the field {field!r} is not valid UTF-8; write the file again") from None


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    return str(value)
