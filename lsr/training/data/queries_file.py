"""Files of training queries: each line a query, with or without the texts that answer it."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from lsr.corpus.fields import checked_text
from lsr.corpus.jsonlines import parsed_lines
from lsr.corpus.streams import COMPRESSED, Source, file_source, shown
from lsr.errors import CorpusError, InvalidInput
from lsr.limits import Limits
from lsr.training.data.words import cleaned

__all__ = ["LONGEST_QUERY", "TrainingQuery", "read_training_queries"]

LONGEST_QUERY = 1000  # characters: a longer one is a document
TEXT_FIELDS = ("query", "text", "question")
# Lines of a .tsv that decide what its columns are.
LOOKED_AT = 1000


@dataclass(frozen=True, slots=True)
class TrainingQuery:
    """A query of a file, with what the file says of documents: their texts, or their ids."""

    text: str
    positives: tuple[str, ...] = ()
    positive_ids: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    negative_ids: tuple[str, ...] = ()
    where: str = ""


def read_training_queries(
    path: str | os.PathLike[str],
    *,
    skipped: Callable[[str], None] | None = None,
    skip_bad: bool = False,
    limits: Limits | None = None,
) -> Iterator[TrainingQuery]:
    """The queries of a file, one after the other, white space joined.

    - .jsonl, .ndjson: an object a line with "query" (or "text", "question"); optional "positive" or "positives" (a text or
      a list of texts), "positive_ids", "negative" or "negatives", and "negative_ids" (ids of documents);
    - .tsv: with the names of these fields in the first line, or without: id, query and positive; or two columns, id and
      query when no cell of the first column has a space (a topics file), else query and positive;
    - .txt: a query a line.

    All may be compressed (.gz, .xz, .bz2). Empty queries and those longer than `LONGEST_QUERY` characters are left out and
    `skipped` is called with the place of each; with `skip_bad` so are lines that cannot be read.

    Raises `CorpusError` naming file and line, and `InvalidInput` for a file of another kind.
    """
    path = Path(path)
    read = _READERS.get(_kind(path))
    if read is None:
        raise InvalidInput(f"{shown(path)}: training queries are read from .jsonl, .ndjson, .tsv and .txt (also .gz)")
    if not path.is_file():
        raise CorpusError(f"{shown(path)}: no such file; check the path")
    return _fit(read(file_source(path, limits or Limits.default())), skipped or (lambda where: None), skip_bad)


# A line that was read, or the error that says why it was not.
_Line = TrainingQuery | CorpusError


def _fit(lines: Iterable[_Line], skipped: Callable[[str], None], skip_bad: bool) -> Iterator[TrainingQuery]:
    for line in lines:
        if isinstance(line, CorpusError):
            if not skip_bad:
                raise line
            skipped(str(line))
        elif line.text and len(line.text) <= LONGEST_QUERY:
            yield line
        else:
            skipped(line.where)


def _kind(path: Path) -> str:
    endings = [ending.lower() for ending in path.suffixes]
    return "".join(endings[-2:-1] if endings and endings[-1] in COMPRESSED else endings[-1:])


def _of_json(source: Source) -> Iterator[_Line]:
    for numbered in source.lines():
        try:
            # One line at a time: a reader that has raised cannot go on with the next.
            for record, where in parsed_lines(iter((numbered,)), source.name):
                yield _query(record, where, source.limits)
        except CorpusError as error:
            yield error


def _of_text(source: Source) -> Iterator[_Line]:
    for number, line in source.lines():
        yield from _checked({"query": line}, f"{source.name}:{number}", source.limits)


def _of_table(source: Source) -> Iterator[_Line]:
    lines = ((number, line) for number, line in source.lines() if line)
    head = list(islice(lines, LOOKED_AT))
    header = _named(head[0][1]) if head else ()
    names = header or _columns([line.split("\t") for _, line in head])
    head = head[1:] if header else head
    for number, line in chain(head, lines):
        where = f"{source.name}:{number}"
        cells = next(csv.reader([line], delimiter="\t"), []) if header and '"' in line else line.split("\t")
        if len(cells) != len(names):
            message = f"{where}: {len(cells)} columns, not {len(names)} ({', '.join(names)}); does a text hold a tab?"
            yield CorpusError(message)
        else:
            yield from _checked(dict(zip(names, cells, strict=True)), where, source.limits)


def _named(line: str) -> tuple[str, ...]:
    """The names in the first line, when one of them is that of the query."""
    names = tuple(cell.strip().strip('"').casefold() for cell in line.split("\t"))
    return names if any(name in TEXT_FIELDS for name in names) else ()


def _columns(rows: list[list[str]]) -> tuple[str, ...]:
    """What the columns of a table without names are."""
    width = len(rows[0]) if rows else 1
    if width == 2:
        return ("_id", "query") if all(" " not in row[0].strip() for row in rows) else ("query", "positive")
    return ("query",) if width == 1 else ("_id", "query", "positive")


_READERS: Mapping[str, Callable[[Source], Iterator[_Line]]] = {
    ".jsonl": _of_json,
    ".ndjson": _of_json,
    ".tsv": _of_table,
    ".txt": _of_text,
}


def _checked(record: Mapping[str, Any], where: str, limits: Limits) -> Iterator[_Line]:
    try:
        yield _query(record, where, limits)
    except CorpusError as error:
        yield error


def _query(record: Mapping[str, Any], where: str, limits: Limits) -> TrainingQuery:
    field = next((name for name in TEXT_FIELDS if name in record), None)
    if field is None:
        raise CorpusError(f"{where}: no query in it; name the field 'query'")
    return TrainingQuery(
        text=cleaned(checked_text(record[field], field, where, limits)),
        positives=_texts(record, ("positive", "positives"), where, limits),
        positive_ids=_ids(record, "positive_ids", where),
        negatives=_texts(record, ("negative", "negatives"), where, limits),
        negative_ids=_ids(record, "negative_ids", where),
        where=where,
    )


def _texts(record: Mapping[str, Any], names: tuple[str, ...], where: str, limits: Limits) -> tuple[str, ...]:
    found: list[str] = []
    for name in names:
        value = record.get(name)
        if value is None:
            continue
        for text in value if isinstance(value, list) else [value]:
            if not (text := checked_text(text, name, where, limits).strip()):
                raise CorpusError(f"{where}: the field {name!r} holds an empty text; leave it out")
            found.append(text)
    return tuple(found)


def _ids(record: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    value = record.get(name)
    if value is None:
        return ()
    found = [str(one) if type(one) is int else one for one in (value if isinstance(value, list) else [value])]
    if not all(isinstance(one, str) for one in found):
        raise CorpusError(f"{where}: the field {name!r} must be an id or a list of ids: strings or whole numbers")
    return tuple(found)
