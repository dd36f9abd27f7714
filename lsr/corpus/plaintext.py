"""A text file by line or by paragraph."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from lsr.corpus.records import Document, Query
from lsr.corpus.streams import Source
from lsr.errors import CorpusError
from lsr.limits import Limits, raising

__all__ = ["line_queries", "no_nul", "text_documents"]

# How much of a file is looked at to tell lines from paragraphs.
HEAD = 1 << 20

NumberedLines = Iterator[tuple[int, str]]


def text_documents(source: Source) -> Iterator[Document]:
    """A document for each paragraph when blank lines part the text (within the first MiB), else one for each line.

    Ids are running numbers from 0. Lines and paragraphs lose the white space around them; blank lines are no documents.
    Raises `CorpusError` for NUL characters and for a paragraph above `limits.text`.
    """
    lines, head, size = no_nul(source.lines(), source.name), [], 0
    for line in lines:
        head.append(line)
        size += len(line[1]) + 1
        if size >= HEAD:
            break
    lines = chain(head, lines)
    units = _paragraphs(lines, source.name, source.limits) if _has_paragraphs(head) else _nonblank(lines)
    return documents_of(units, source.name, source.limits)


def line_documents(lines: NumberedLines, name: str, limits: Limits) -> Iterator[Document]:
    """A document for each line that is not blank; ids are running numbers from 0."""
    return documents_of(_nonblank(no_nul(lines, name)), name, limits)


def line_queries(lines: NumberedLines, name: str, limits: Limits) -> Iterator[Query]:
    """A query for each line that is not blank; ids are running numbers from 1."""
    for row, (number, text) in enumerate(_nonblank(no_nul(lines, name)), start=1):
        _check_length(text, f"{name}:{number}", limits)
        yield Query(id=str(row), text=text, where=f"{name}:{number}")


def documents_of(units: NumberedLines, name: str, limits: Limits) -> Iterator[Document]:
    """A document for each (line number, text)."""
    for row, (number, text) in enumerate(units):
        where = f"{name}:{number}"
        _check_length(text, where, limits)
        yield Document(id=str(row), text=text, where=where, numbered=True)


def no_nul(lines: NumberedLines, name: str) -> NumberedLines:
    """The lines, with a `CorpusError` for one that holds a NUL character: it is no text file."""
    for number, line in lines:
        if "\0" in line:
            raise CorpusError(
                f"{name}:{number}: character {line.index(chr(0)) + 1} is NUL; is this a text file? tr -d '\\0' removes NULs"
            )
        yield number, line


def _has_paragraphs(lines: list[tuple[int, str]]) -> bool:
    blank = text = False
    for _, line in lines:
        if not line.strip():
            blank = text
        elif blank:
            return True
        else:
            text = True
    return False


def _nonblank(lines: NumberedLines) -> NumberedLines:
    for number, line in lines:
        if text := line.strip():
            yield number, text


def _paragraphs(lines: NumberedLines, name: str, limits: Limits) -> NumberedLines:
    start, size, parts = 0, 0, list[str]()
    for number, line in lines:
        if text := line.rstrip():
            if not parts:
                start, text = number, text.lstrip()
            parts.append(text)
            size += len(text)
            if size > limits.text:  # more of it need not be collected
                raise _too_long(f"{name}:{start}", limits)
        elif parts:
            yield start, "\n".join(parts)
            size, parts = 0, []
    if parts:
        yield start, "\n".join(parts)


def _check_length(text: str, where: str, limits: Limits) -> None:
    if len(text) > limits.text or (not text.isascii() and len(text.encode()) > limits.text):
        raise _too_long(where, limits)


def _too_long(where: str, limits: Limits) -> CorpusError:
    return CorpusError(
        f"{where}: the text that starts here is longer than {limits.text:,} bytes; part it with blank lines, "
        f"or raise {raising('text')}"
    )
