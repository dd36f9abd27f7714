"""JSON: one object a line, or one array of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NoReturn

from lsr.corpus.fields import Record
from lsr.corpus.streams import Source
from lsr.errors import CorpusError
from lsr.limits import raising

__all__ = ["UNCHECKED_FLOATS", "array_records", "json_records", "line_records"]


def line_records(source: Source) -> Iterator[Record]:
    """The object of each line; blank lines are skipped. Raises `CorpusError` for a line that is no JSON object."""
    return parsed_lines(source.lines(), source.name)


def parsed_lines(
    lines: Iterator[tuple[int, str]], name: str, decoder: json.JSONDecoder | None = None
) -> Iterator[Record]:
    """The object of each of the given lines of `name`."""
    decoder = decoder or _DECODER
    for number, line in lines:
        if not line or line.isspace():
            continue
        where = f"{name}:{number}"
        try:
            record = decoder.decode(line)
        except json.JSONDecodeError as error:
            raise CorpusError(
                f"{where}: malformed JSON at character {error.pos + 1} ({error.msg}); each line is one whole object"
            ) from None
        except (ValueError, RecursionError) as error:
            raise _refused(error, where) from None
        if not isinstance(record, dict):
            remedy = "each line must be one object" + ("; name a file with one array .json" if line[0] == "[" else "")
            raise CorpusError(f"{where}: a JSON {type(record).__name__}, not an object; {remedy}")
        yield record, where


def json_records(source: Source, decoder: json.JSONDecoder | None = None) -> Iterator[Record]:
    """A .json file: an array of objects, or one object a line. Told apart by the first character.

    decoder: `UNCHECKED_FLOATS` reads the lines of a file of many numbers in half the time."""
    for chunk in source.chunks():
        if start := chunk.lstrip(" \t\r\n")[:1]:
            return array_records(source) if start == "[" else parsed_lines(source.lines(), source.name, decoder)
    return iter(())


def array_records(source: Source) -> Iterator[Record]:
    """The objects of one top-level array, held one at a time. Raises `CorpusError` for anything else in the file."""
    text = _Text(source)
    text.take("[")
    if text.peek() == "]":
        text.take("]")
    else:
        while True:
            if text.peek() != "{":
                text.fail("an object must stand here: the file is an array of objects")
            yield text.object()
            if text.peek() == "]":
                text.take("]")
                break
            text.take(",")
    if text.peek():
        text.fail("there is more after the end of the array; a file holds one array")


class _Text:
    """A window on the text of a source that moves forward, and knows its line."""

    def __init__(self, source: Source) -> None:
        self._name, self._limit = source.name, source.limits.line
        self._chunks = source.chunks()
        self._window, self._at, self._line = "", 0, 1

    def peek(self) -> str:
        """The next character that is no white space, or "" at the end."""
        while True:
            while self._at < len(self._window):
                character = self._window[self._at]
                if character not in " \t\r\n":
                    return character
                self._line += character == "\n"
                self._at += 1
            if not self._more():
                return ""

    def take(self, character: str) -> None:
        """Steps over a character that must come next."""
        if self.peek() != character:
            self.fail(f"{character!r} must stand here")
        self._at += 1

    def object(self) -> Record:
        """The object that starts here, and its place. More text is read until it is whole; each time twice as much."""
        where, size = f"{self._name}:{self._line}", 0
        while True:
            try:
                record, end = _DECODER.raw_decode(self._window, self._at)
            except json.JSONDecodeError as error:
                size = max(len(self._window) - self._at, 1)
                if size > self._limit:
                    raise CorpusError(
                        f"{where}: an object longer than {self._limit:,} bytes, or malformed ({error.msg}); "
                        f"{raising('line')} raises the limit"
                    ) from None
                if not self._more(size):
                    line = self._line + self._window.count("\n", self._at, error.pos)
                    raise CorpusError(f"{self._name}:{line}: malformed JSON ({error.msg}); repair it there") from None
            except (ValueError, RecursionError) as error:
                raise _refused(error, where) from None
            else:
                self._line += self._window.count("\n", self._at, end)
                self._at = end
                return record, where

    def fail(self, message: str) -> NoReturn:
        """Raises a `CorpusError` at the current line."""
        found = self._window[self._at : self._at + 20]
        raise CorpusError(f"{self._name}:{self._line}: malformed JSON: {message}, not {found or 'the end'!r}")

    def _more(self, wanted: int = 1) -> bool:
        parts, size = [self._window[self._at :]], 0
        while size < wanted:
            chunk = next(self._chunks, "")
            if not chunk:
                break
            parts.append(chunk)
            size += len(chunk)
        self._window, self._at = "".join(parts), 0
        return size > 0


class _NotJson(ValueError):
    """A constant that Python's parser takes and JSON does not know."""


def _no_constant(name: str) -> Any:
    raise _NotJson(f"{name} is no JSON; write null")


def _finite(number: str) -> float:
    value = float(number)
    if value in (float("inf"), float("-inf")):
        raise _NotJson(f"the number {number[:20]} is out of range; write it as a string")
    return value


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
# Gives infinity for a number out of range: for those who look at every number themselves.
UNCHECKED_FLOATS = json.JSONDecoder(parse_constant=_no_constant)


def _refused(error: ValueError | RecursionError, where: str) -> CorpusError:
    if isinstance(error, _NotJson):
        return CorpusError(f"{where}: {error}")
    if isinstance(error, RecursionError):
        return CorpusError(f"{where}: the JSON is nested too deeply; flatten it")
    return CorpusError(f"{where}: a whole number has too many digits; write it as a string")
