"""Judgments (qrels): which document has which grade for which query, in the forms that people have them.

- BEIR: `query-id TAB corpus-id TAB score` with a header; also without one, and with the columns named in another order.
- TREC: `query 0 document grade`, separated by blanks or tabs.
- jsonl: an object a judgment.

All may be compressed (.gz, .xz, .bz2), start with a byte order mark, and end lines with CRLF.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from lsr.corpus.jsonlines import parsed_lines
from lsr.corpus.streams import Source, file_source, shown
from lsr.disk import exists
from lsr.errors import CorpusError, EvaluationError
from lsr.limits import Limits

__all__ = ["Judgment", "Qrels", "collected", "parsed_qrels", "read_qrels"]

# Grade of document of query. Zero and negative grades are judgments too: judged not relevant.
Qrels: TypeAlias = dict[str, dict[str, int]]

QUERY_FIELDS = ("query-id", "query_id", "qid", "query", "topic")
DOCUMENT_FIELDS = ("corpus-id", "corpus_id", "doc-id", "doc_id", "docid", "docno", "document-id", "document_id", "pid")
GRADE_FIELDS = ("score", "relevance", "grade", "rel", "label")
# Columns without a header: number of columns to the places of query, document and grade.
PLACES = {3: (0, 1, 2), 4: (0, 2, 3)}
FORMS = "query-id, corpus-id, score (with tabs), or query 0 document grade"

_WHOLE = re.compile(r"[+-]?[0-9]{1,9}(\.0*)?", re.ASCII)


class Judgment(NamedTuple):
    """One judgment, and where it was read."""

    query: str
    document: str
    grade: int
    where: str


def read_qrels(path: str | Path) -> Qrels:
    """The judgments of a file, queries and documents in its order; see the module for the forms.

    The form is told by the content: a first character "{" means jsonl, and a first line whose third cell (fourth of four)
    is no number is a header. Raises `EvaluationError` that names file and line for a file that cannot be read or is empty,
    another number of columns, a grade that is no whole number, and a pair judged twice with different grades.
    """
    path = Path(path)
    if not exists(path) or not (path.is_file() or path.is_fifo()):
        raise EvaluationError(f"{shown(path)}: no such file of judgments; check the path")
    return parsed_qrels(file_source(path, Limits.default()))


def parsed_qrels(source: Source) -> Qrels:
    """As `read_qrels`, from lines that come from elsewhere, such as an archive."""
    try:
        return collected(_judgments(source), source.name)
    except CorpusError as error:  # the readers' own: not UTF-8, damaged compression, malformed JSON
        raise EvaluationError(str(error)) from None


def collected(judgments: Iterable[Judgment], name: str) -> Qrels:
    """Judgments as a mapping. Raises `EvaluationError` for contradictions, and when there are none."""
    qrels: Qrels = {}
    for query, document, grade, where in judgments:
        grades = qrels.setdefault(query, {})
        if grades.setdefault(document, grade) != grade:
            raise EvaluationError(
                f"{where}: the document {document!r} has grade {grade} for the query {query!r}, and "
                f"{grades[document]} before; keep one of them"
            )
    if not qrels:
        raise EvaluationError(f"{name}: no judgments in it; is it the right file?")
    return qrels


def _judgments(source: Source) -> Iterator[Judgment]:
    lines = source.lines()
    for number, line in lines:
        if line.isspace() or not line:
            continue
        lines = chain([(number, line)], lines)
        if line.lstrip().startswith("{"):
            return _of_objects(parsed_lines(lines, source.name))
        return _of_cells(lines, source.name)
    return iter(())


def _of_objects(records: Iterable[tuple[Mapping[str, Any], str]]) -> Iterator[Judgment]:
    for record, where in records:
        query, document, grade = (
            _field(record, names, where) for names in (QUERY_FIELDS, DOCUMENT_FIELDS, GRADE_FIELDS)
        )
        yield Judgment(_identifier(query, where), _identifier(document, where), _grade(grade, where), where)


def _field(record: Mapping[str, Any], names: Sequence[str], where: str) -> Any:
    for name in names:
        if name in record:
            return record[name]
    found = ", ".join(repr(name[:40]) for name in list(record)[:8]) or "no fields"
    raise EvaluationError(f"{where}: no field {' or '.join(map(repr, names[:3]))}; the object has {found}")


def _of_cells(lines: Iterator[tuple[int, str]], name: str) -> Iterator[Judgment]:
    width, places = 0, (0, 0, 0)
    for number, line in lines:
        cells = _cells(line)
        if not cells:
            continue
        where = f"{name}:{number}"
        if not width:
            width = len(cells)
            header = _header(cells, where)
            places = header or PLACES[width]
            if header:
                continue
        if len(cells) != width:
            raise EvaluationError(f"{where}: {len(cells)} columns, the first line has {width}; judgments are {FORMS}")
        query, document, grade = (cells[place] for place in places)
        yield Judgment(_identifier(query, where), _identifier(document, where), _grade(grade, where), where)


def _cells(line: str) -> list[str]:
    """Cut at tabs; at blanks where that gives no judgment (TREC's files mix both)."""
    cells = [cell.strip() for cell in line.split("\t")]
    if len(cells) < 3:
        return line.split()
    return cells


def _header(cells: Sequence[str], where: str) -> tuple[int, int, int] | None:
    """The places of query, document and grade when the first line is a header, None when it is a judgment.

    A judgment has a number as grade; a header has none there, and a name that is known. A first line that is neither is
    refused: to take it for a header would lose a judgment, and to guess the order of columns could swap them.
    """
    usual = PLACES.get(len(cells))
    if usual and _is_number(cells[usual[2]]):
        return None
    names = [cell.strip('"').casefold() for cell in cells]
    named = [
        next((names.index(field) for field in fields if field in names), None)
        for fields in (QUERY_FIELDS, DOCUMENT_FIELDS, GRADE_FIELDS)
    ]
    query, document, grade = named
    if query is not None and document is not None and grade is not None:
        return query, document, grade
    if usual is None:
        raise EvaluationError(f"{where}: {len(cells)} columns; judgments are {FORMS}")
    if named == [None, None, None]:
        raise EvaluationError(
            f"{where}: the grade {cells[usual[2]][:40]!r} is no whole number; if the line is a header, name the columns "
            "query-id, corpus-id and score"
        )
    if any(place not in (None, at) for place, at in zip(named, usual, strict=True)):
        raise EvaluationError(
            f"{where}: the order of the columns is not clear; name them query-id, corpus-id and score"
        )
    return usual


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _identifier(value: Any, where: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise EvaluationError(f"{where}: an id is {value!r}; ids are strings that are not empty")
    return value


def _grade(value: Any, where: str) -> int:
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value.partition(".")[0])
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
        return int(value)
    raise EvaluationError(f"{where}: the grade {str(value)[:40]!r} is no whole number; write 0, 1, 2 ...")
