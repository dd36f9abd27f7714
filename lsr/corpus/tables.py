"""Tables in text: comma-separated and tab-separated values.

The rules, which are those of the tools that write such files:

- .csv: cells may be quoted, quoted cells may hold line ends; the first row is the header.
- .tsv with a header: as .csv, with tabs. What spreadsheets, pandas and Python's csv module write.
- .tsv without a header: a line is cut at its tabs and a quotation mark is a character like any other. The columns are
  id and text, or id, text and title; one column is the text. What MS MARCO and the tools of TREC write.

The first row of a .tsv is a header when one of its cells is a name that lsr knows (id, _id, docid, text, title, query ...)
and none is a number, and always when the caller names the fields.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

from lsr.corpus.fields import KNOWN_FIELDS, Record
from lsr.corpus.streams import Source, reason
from lsr.errors import CorpusError
from lsr.limits import raising

__all__ = ["csv_records", "tsv_records"]

# (number of the first line, cells)
Row = tuple[int, list[str]]

PLAIN_COLUMNS = {1: ("text",), 2: ("id", "text"), 3: ("id", "text", "title")}


def csv_records(source: Source) -> Iterator[Record]:
    """A record for each row after the header. Blank rows are skipped.

    Raises `CorpusError` for a header with repeated names, a row with more or fewer cells than the header, and a quote
    that stands wrong or is never closed.
    """
    return _with_header(_quoted_rows(source, ","), source.name, "quote cells that hold a comma")


def tsv_records(source: Source, *, header: bool | None = None) -> Iterator[Record]:
    """A record for each row. `header` None: decided by the first row, see above. Raises as `csv_records` does."""
    if header is None:
        first = next((line for _, line in source.lines() if line), "")
        header = _is_header(first.split("\t"))
    if header:
        return _with_header(_quoted_rows(source, "\t"), source.name, "does a cell hold a tab?")
    return _without_header(source)


def _is_header(cells: Sequence[str]) -> bool:
    names = [cell.strip().strip('"').casefold() for cell in cells]
    return any(name in KNOWN_FIELDS for name in names) and not any(name.isdigit() for name in names)


def _with_header(rows: Iterator[Row], name: str, remedy: str) -> Iterator[Record]:
    number, header = next(rows, (1, []))
    named = [cell.strip() for cell in header]
    if len(named) == 1 and ";" in named[0]:
        raise CorpusError(f"{name}:{number}: the columns are separated by ';'; save the file with ',' or as .tsv")
    for column, times in Counter(named).items():
        if column and times > 1:
            raise CorpusError(f"{name}:{number}: {times} columns are named {column[:40]!r}; rename all but one")
    for number, cells in rows:
        if len(cells) != len(named):
            raise CorpusError(f"{name}:{number}: {len(cells)} columns, the header has {len(named)}; {remedy}")
        # A column without a name is the row number that pandas writes.
        yield {column: cell for column, cell in zip(named, cells, strict=True) if column}, f"{name}:{number}"


def _without_header(source: Source) -> Iterator[Record]:
    columns: tuple[str, ...] = ()
    for number, line in source.lines():
        if not line:
            continue
        cells = line.split("\t")
        where = f"{source.name}:{number}"
        if not columns:
            if len(cells) not in PLAIN_COLUMNS:
                raise CorpusError(f"{where}: {len(cells)} columns without a header; put their names in the first line")
            columns = PLAIN_COLUMNS[len(cells)]
        if len(cells) != len(columns):
            raise CorpusError(
                f"{where}: {len(cells)} columns, the first line has {len(columns)}; does the text hold a tab?"
            )
        yield dict(zip(columns, cells, strict=True)), where


def _quoted_rows(source: Source, delimiter: str) -> Iterator[Row]:
    feed = _Feed(source)
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        feed.start_row()
        try:
            with _large_fields(source.limits.line):
                cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise CorpusError(
                f"{source.name}:{feed.first}: the row that starts here is malformed ({reason(error)}); is a quote missing? "
                'A quote inside a quoted cell is written ""'
            ) from None
        if cells:
            yield feed.first, cells


class _Feed:
    """Hands lines to csv.reader, and bounds the row: a quote that is never closed would collect the whole file."""

    def __init__(self, source: Source) -> None:
        self._source, self._lines = source, source.lines(ends=True)
        self.first, self._size, self._fresh = 0, 0, True

    def start_row(self) -> None:
        """Says that the next line begins a row."""
        self._size, self._fresh = 0, True

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        try:
            number, line = next(self._lines)
        except StopIteration:
            if not self._fresh:  # csv.reader reports it only when the cell holds something
                raise csv.Error("the file ends inside a quoted cell") from None
            raise
        if self._fresh:
            self.first, self._fresh = number, False
        self._size += len(line)
        if self._size > self._source.limits.line:
            raise CorpusError(
                f"{self._source.name}:{self.first}: the row that starts here is longer than "
                f"{self._source.limits.line:,} characters; is a quote missing? {raising('line')} raises the limit"
            )
        return line


_readers = 0
_limit_before = 0
_limit_lock = Lock()


@contextmanager
def _large_fields(limit: int) -> Iterator[None]:
    """Lifts the csv module's limit of 131,072 characters a cell while one of our rows is parsed.

    The limit is one number for the whole process, so that threads count themselves in: the last one puts it back.
    """
    global _readers, _limit_before
    with _limit_lock:
        if _readers == 0:
            _limit_before = csv.field_size_limit()
        _readers += 1
        csv.field_size_limit(max(limit, csv.field_size_limit()))
    try:
        yield
    finally:
        with _limit_lock:
            _readers -= 1
            if _readers == 0:
                csv.field_size_limit(_limit_before)
