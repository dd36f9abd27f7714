"""TREC run files: `query Q0 document rank score tag`, one hit a line.

trec_eval reads no rank: it sorts the documents of a query by score, which it keeps as a C float, and breaks ties by
document id, descending (form_res_rels.c, `comp_sim_docno`). Tools built on it do the same, others break ties in their own
way. Here is that order, once, for everything that is measured, and a writer whose files every tool ranks alike.
"""

from __future__ import annotations

import gzip
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from lsr.disk import atomic_write
from lsr.errors import EvaluationError, InvalidInput, one_line

__all__ = ["Ranking", "read_run", "trec_order", "write_run"]

COLUMNS = 6
CHUNK = 1 << 20  # bytes read at a time
LONGEST_LINE = 1 << 16  # bytes; a file without line ends must not be collected whole
BOM = b"\xef\xbb\xbf"

Floats: TypeAlias = npt.NDArray[np.float32]
# (query id, document ids best first, their scores)
Ranked: TypeAlias = tuple[str, Sequence[str], Sequence[float] | npt.NDArray[Any]]


class Ranking(NamedTuple):
    """The documents of one query, best first. `scores` never rise, and each is exactly a float32."""

    ids: tuple[str, ...]
    scores: tuple[float, ...]


def trec_order(scores: Mapping[str, float]) -> Ranking:
    """Documents in trec_eval's order: float32 score falling, ties by document id descending in code-point order.

    Code-point order of text is byte order of its UTF-8, which trec_eval compares. Raises `InvalidInput` for a score that is
    no finite float32.
    """
    ids = list(scores)
    return _ranking(ids, _float32([scores[identifier] for identifier in ids]))


def write_run(path: str | Path, ranked: Iterable[Ranked], tag: str = "lsr") -> int:
    """Writes ranked documents of queries as a TREC run; returns the number of queries.

    ranked: (query id, document ids best first, scores) for each query. The order of the ids is what is written: equal
    scores would be ranked otherwise by other tools, so scores are made to fall strictly, by the smallest steps of a
    float32 (smaller ones are lost on trec_eval). Each is printed so that it is that float32 for a reader of doubles too.
    Raises `InvalidInput` for a score that is no finite float32, for a query or a document of a query given twice, and for
    an id with white space, which the format cannot hold. The file appears when it is complete.
    """
    seen: set[str] = set()
    _plain(tag, "tag")
    with atomic_write(Path(path)) as file:
        for query_id, ids, scores in ranked:
            if query_id in seen:
                raise InvalidInput(f"the query {query_id!r} comes twice: a TREC run would mix the hits of both")
            seen.add(query_id)
            file.writelines(_lines(query_id, ids, scores, tag))
    return len(seen)


def read_run(path: str | Path) -> dict[str, Ranking]:
    """The rankings of a TREC run (six columns; also .gz), by query in the order of the file, each in `trec_order`.

    Ranks and the order of lines are ignored, as trec_eval does. Raises `EvaluationError` that names file and line for a
    file that cannot be read, is empty or not UTF-8, for another number of columns, a score that is no finite float32, and
    a document that a query has twice.

    About 80 bytes of memory a hit, and ids; 7 million lines take about 10 seconds.
    """
    path = Path(path)
    queries: dict[bytes, _Pending] = {}
    last, pending = b"", _Pending()
    for number, line in _read_lines(path):
        cells = line.split()
        if len(cells) != COLUMNS:
            if not cells:
                continue
            raise EvaluationError(
                f"{path}:{number}: {len(cells)} columns; a TREC run has {COLUMNS}: query Q0 document rank score tag"
            )
        query, _, document, _, score, _ = cells
        if query != last:
            last, pending = query, queries.setdefault(query, _Pending())
        try:
            if not line.isascii():
                line.decode()
            pending.ids.append(document.decode())
            pending.scores.append(float(score))
        except UnicodeDecodeError:
            raise EvaluationError(f"{path}:{number}: not valid UTF-8; save the run as UTF-8") from None
        except ValueError:
            raise _no_score(path, number, score) from None
        if b"_" in score:  # Python reads 1_000 as a number, C does not
            raise _no_score(path, number, score)
        pending.lines.append(number)
    if not queries:
        raise EvaluationError(f"{path}: empty: no hits in it; is it the right file?")
    found = {}
    for query in list(queries):  # what was read is freed query by query
        found[query.decode()] = queries.pop(query).ranking(path)
    return found


class _Pending:
    """The hits of one query as they were read. Compact: a run may have millions."""

    __slots__ = ("ids", "lines", "scores")

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.scores = array("d")
        self.lines = array("Q")

    def ranking(self, path: Path) -> Ranking:
        with np.errstate(over="ignore"):
            scores = np.frombuffer(self.scores).astype(np.float32)
        finite = np.isfinite(scores)
        if not finite.all():
            at = int(np.argmin(finite))
            raise _no_score(path, self.lines[at], repr(self.scores[at]).encode())
        if len(set(self.ids)) < len(self.ids):
            first: dict[str, int] = {}
            for identifier, number in zip(self.ids, self.lines, strict=True):
                if identifier in first:
                    raise EvaluationError(
                        f"{path}:{number}: the document {identifier!r} is at line {first[identifier]} already, for the same "
                        "query; a run has each document once: keep the better line"
                    )
                first[identifier] = number
        return _ranking(self.ids, scores)


def _no_score(path: Path, number: int, score: bytes) -> EvaluationError:
    shown = score[:40].decode(errors="backslashreplace")
    return EvaluationError(f"{path}:{number}: the score {shown!r} (fifth column) is not a finite number of 32 bits")


def _read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line) of a file. By large chunks: readline with a bound takes twice as long."""
    number, rest = 0, b""
    try:
        with _opened(path) as file:
            while chunk := file.read(CHUNK):
                if number == 0 and not rest:
                    chunk = chunk.removeprefix(BOM)
                lines = (rest + chunk).split(b"\n")
                rest = lines.pop()
                for number, line in enumerate(lines, start=number + 1):  # noqa: B020
                    yield number, line
                if len(rest) > LONGEST_LINE:
                    raise EvaluationError(
                        f"{path}:{number + 1}: a line of more than {LONGEST_LINE:,} bytes; is it a run?"
                    )
    except (OSError, EOFError, zlib.error, ValueError) as error:  # ValueError: a path that none can be
        said = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
        where = f"{path}:{number + 1}" if number else path
        raise EvaluationError(f"{where}: cannot be read ({said}); check the path and that the file is whole") from None
    if rest:
        yield number + 1, rest


def _opened(path: Path) -> IO[bytes]:
    if path.suffix.lower() == ".gz":
        return gzip.open(path)  # type: ignore[return-value]
    return path.open("rb")


def _ranking(ids: Sequence[str], scores: Floats) -> Ranking:
    order = np.argsort(-scores, kind="stable").tolist()
    ordered = scores[order]
    # Python sorts only the ids that share a score: few, and far slower than numpy sorts numbers.
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) + 1 if order else ()
    start = 0
    for end in map(int, ends):
        if end - start > 1:
            order[start:end] = sorted(order[start:end], key=ids.__getitem__, reverse=True)
        start = end
    return Ranking(tuple([ids[at] for at in order]), tuple(scores[order].tolist()))


def _float32(scores: Sequence[float] | npt.NDArray[Any]) -> Floats:
    try:
        with np.errstate(over="ignore"):
            found = np.asarray(scores, dtype=np.float64).astype(np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"scores must be numbers ({one_line(error)})") from None
    finite = np.isfinite(found)
    if not finite.all():
        raise InvalidInput(f"the score {scores[int(np.argmin(finite))]!r} is not a finite number of 32 bits")
    return found


LARGEST = int(np.finfo(np.float32).max.view(np.int32))


def _falling(scores: Floats) -> Floats:
    """Scores (n) that fall strictly, each as near to the given one as the ones around it allow; all finite.

    Floats of one sign are ordered as their bits are. With the bits of negative ones mirrored, the floats are the whole
    numbers -LARGEST to LARGEST, a step is 1, and 0.0 and -0.0 are one number, as they are for who compares them.
    """
    bits = scores.view(np.int32).astype(np.int64)
    keys = np.where(bits < 0, -(bits & 0x7FFF_FFFF), bits)
    steps = np.arange(len(keys))
    keys = np.minimum.accumulate(keys + steps) - steps
    # Below the lowest float is only -inf: the last of many near there are pushed up instead.
    keys = np.maximum(keys, steps[::-1] - LARGEST)
    bits = np.where(keys < 0, -keys | 0x8000_0000, keys)
    return bits.astype(np.uint32).view(np.float32)


def _lines(query_id: str, ids: Sequence[str], scores: Sequence[float] | npt.NDArray[Any], tag: str) -> Iterator[bytes]:
    if len(ids) != len(scores):
        raise InvalidInput(f"the query {query_id!r} has {len(ids)} ids and {len(scores)} scores; give one for each")
    if len(set(ids)) < len(ids):
        raise InvalidInput(f"the query {query_id!r} has a document twice; a TREC run has each once")
    _plain(query_id, "query id")
    falling = _falling(_float32(scores)).tolist()  # float32 as doubles, whose repr is exact
    for rank, (identifier, score) in enumerate(zip(ids, falling, strict=True), start=1):
        yield f"{query_id} Q0 {_plain(identifier, 'document id')} {rank} {score!r} {tag}\n".encode()


def _plain(word: str, kind: str) -> str:
    if word.split() != [word]:
        raise InvalidInput(f"the {kind} {word!r} has white space in it: a TREC run cannot hold it; use --json")
    return word
