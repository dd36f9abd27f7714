"""Scores that another program wrote, as a teacher."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from lsr.corpus.jsonlines import parsed_lines
from lsr.corpus.streams import file_source
from lsr.errors import CorpusError, InvalidInput
from lsr.limits import Limits
from lsr.training.teachers.teacher import Floats, PairTeacher, Rows

__all__ = ["ScoreFile"]

QUERY, DOCUMENT = ("query_id", "query"), ("document_id", "doc_id")
# Columns of a line: query, document, score; or those of a TREC run.
COLUMNS = {3: (0, 1, 2), 6: (0, 2, 4)}
FORMS = (
    "JSON lines with query_id, document_id and score, three columns (query, document, score), or the six of a TREC run"
)

LARGEST = float(np.finfo(np.float32).max)

Pair = tuple[str, str, str, float]  # place, query, document, score


class ScoreFile(PairTeacher):
    """The scores of a file: of pairs that are not in it nothing is known.

    path: JSON lines {"query_id" or "query", "document_id" or "doc_id", "score"}, lines of query id, document id and score
    with tabs between them, or a TREC run; compressed ones too.
    queries, documents: the row of each id. Lines with another id are passed over (`skipped` counts them).

    Raises `CorpusError` with file and line for what is no such line, a score that is no finite number, or a pair that has two
    scores; `InvalidInput` when no line is about the given ids.
    """

    def __init__(self, path: str | Path, queries: Mapping[str, int], documents: Mapping[str, int]) -> None:
        self.name, self.skipped = Path(path).name, 0
        self._stride = max(documents.values(), default=0) + 1
        pairs, scores, places = array("q"), array("d"), array("q")
        for place, query, document, score in _pairs(Path(path)):
            row, column = queries.get(query), documents.get(document)
            if row is None or column is None:
                self.skipped += 1
                continue
            pairs.append(row * self._stride + column)
            scores.append(score)
            places.append(int(place.rpartition(":")[2]))
        if not pairs:
            raise InvalidInput(f"{path}: none of its pairs is of the training set; are its ids those of the texts?")
        found = np.frombuffer(pairs, np.int64)
        order = np.argsort(found, kind="stable")
        self._pairs, self._scores = found[order], np.frombuffer(scores)[order].astype(np.float32)
        twice = (self._pairs[1:] == self._pairs[:-1]) & (self._scores[1:] != self._scores[:-1])
        if twice.any():
            first, second = (places[order[int(np.argmax(twice)) + at]] for at in (0, 1))
            raise CorpusError(f"{path}:{second}: another score for the pair of line {first}; keep one of them")
        digest = xxhash.xxh3_128(self._pairs.tobytes())
        digest.update(self._scores.tobytes())
        self.key = {"what": "scores of a file", "pairs": digest.hexdigest()}

    def prepare(self, queries: Sequence[str], documents: Sequence[str]) -> None:
        """There is nothing to do."""

    def pairs(self, queries: Rows, documents: Rows) -> Floats:
        wanted = queries * self._stride + documents
        at = np.searchsorted(self._pairs, wanted).clip(max=len(self._pairs) - 1)
        known = (self._pairs[at] == wanted) & (documents < self._stride)
        return np.where(known, self._scores[at], np.float32(np.nan))


def _pairs(path: Path) -> Iterator[Pair]:
    lines = file_source(path, Limits.default()).lines()
    for number, line in lines:
        if line and not line.isspace():
            rest = _again((number, line), lines)
            yield from _json_pairs(rest, path) if line.lstrip()[0] == "{" else _column_pairs(rest, path)


def _again(first: tuple[int, str], rest: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield first
    yield from rest


def _json_pairs(lines: Iterator[tuple[int, str]], path: Path) -> Iterator[Pair]:
    for record, place in parsed_lines(lines, str(path)):
        query, document = (_id(record, names, place) for names in (QUERY, DOCUMENT))
        yield place, query, document, _number(record.get("score"), place)


def _column_pairs(lines: Iterable[tuple[int, str]], path: Path) -> Iterator[Pair]:
    for number, line in lines:
        if not line or line.isspace():
            continue
        place = f"{path}:{number}"
        cells = line.split("\t") if line.count("\t") == 2 else line.split()
        if len(cells) not in COLUMNS:
            raise CorpusError(f"{place}: {len(cells)} columns; a file of scores has {FORMS}")
        query, document, score = (cells[at].strip() for at in COLUMNS[len(cells)])
        yield place, query, document, _number(score, place)


def _id(record: Mapping[str, Any], names: tuple[str, ...], place: str) -> str:
    for name in names:
        value = record.get(name)
        if isinstance(value, str) or type(value) is int:
            return str(value)
    raise CorpusError(
        f"{place}: no {' or '.join(names)} that is a text or a whole number; a file of scores has {FORMS}"
    )


def _number(value: Any, place: str) -> float:
    try:
        if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
            raise ValueError
        score = float(value)
        if not math.isfinite(score) or abs(score) > LARGEST:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise CorpusError(f"{place}: the score {str(value)[:40]!r} is not a finite number of 32 bits") from None
    return score
