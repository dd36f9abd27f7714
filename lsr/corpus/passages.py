"""Blocks to passages of 100 to 200 words, each under its trail of headings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lsr.corpus.blocks import Block

__all__ = ["Passage", "passages", "sentence_places"]

# In words. A passage takes paragraphs up to FULL; code may fill it up to MOST, because code belongs to the text before
# it; a last piece under SMALL joins the passage before it.
FULL = 200
MOST = 400
SMALL = 40
# Scripts without spaces, and tables, would otherwise make one word of a page.
LETTERS_PER_WORD = 8

SEPARATOR = " › "

# Where a sentence ends, or an item of a list begins: places to cut, best first.
_SENTENCES = re.compile(
    r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[`*_]*[^\Wa-z_])|(?<=[。！？])|\n(?=[ \t]*(?:[-*+]|\d+[.)])\s)"
)
_SENTENCES_AND_PARAGRAPHS = re.compile(rf"{_SENTENCES.pattern}|\n[ \t]*\n\s*")
_LINES = re.compile(r"\n")
_WORDS = re.compile(r"(?<=\S)\s+")


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a page: its trail of headings ("Logging › Rotating files"), text, and the line where it starts."""

    title: str
    text: str
    line: int


def passages(blocks: Iterable[Block]) -> Iterator[Passage]:
    """Passages in the order of the page. A page of headings alone gives one passage with their text.

    A passage ends where a heading begins. Paragraphs are cut only when longer than 200 words: after a sentence, else at
    a line end, else between words.
    """
    trail: list[Block] = []
    headings: list[str] = []
    section = _Section()
    empty = True
    for block in blocks:
        if block.kind == "heading":
            for passage in section.close(_title(trail)):
                empty = False
                yield passage
            trail = [above for above in trail if above.level < block.level] + [block]
            if empty and len(headings) < FULL:
                headings.append(block.text)
        else:
            for passage in section.add(block, _title(trail)):
                empty = False
                yield passage
    for passage in section.close(_title(trail)):
        empty = False
        yield passage
    if empty and headings:
        yield Passage("", "\n".join(headings), 1)


def _title(trail: list[Block]) -> str:
    """The headings of a trail; one that repeats the one above it (a title and its heading) is said once."""
    said: list[str] = []
    for block in trail:
        if not said or block.text.casefold() != said[-1].casefold():
            said.append(block.text)
    return SEPARATOR.join(said)


class _Section:
    """The passages under one heading, in the making. One finished passage is held back, for a small rest to join it."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = self._line = 0
        self._held: Passage | None = None

    def add(self, block: Block, title: str) -> Iterator[Passage]:
        """Takes a block; gives the passages that are finished."""
        code = block.kind == "code"
        most = MOST if code else FULL
        line, at = block.line, 0
        for piece in _pieces(block.text, most, code=code):
            size, start = _size(piece), block.text.index(piece, at)
            line += block.text.count("\n", at, start)
            if self._parts and self._size + size > most:
                yield from self._finish(title)
            if not self._parts:
                self._line = line
            self._parts.append(piece)
            self._size += size
            line += piece.count("\n")
            at = start + len(piece)

    def close(self, title: str) -> Iterator[Passage]:
        """The passages that are left."""
        if self._held is not None and self._parts and self._size < SMALL:
            text = "\n\n".join([self._held.text, *self._parts])
            self._held, self._parts, self._size = Passage(title, text, self._held.line), [], 0
        yield from self._finish(title)
        if self._held is not None:
            yield self._held
        self._held = None

    def _finish(self, title: str) -> Iterator[Passage]:
        if not self._parts:
            return
        if self._held is not None:
            yield self._held
        self._held = Passage(title, "\n\n".join(self._parts), self._line)
        self._parts, self._size = [], 0


def _size(text: str) -> int:
    return max(len(text.split()), len(text) // LETTERS_PER_WORD)


def _pieces(text: str, most: int, *, code: bool) -> Iterator[str]:
    """The text whole when it is at most `most` words long, else in pieces that are."""
    if _size(text) <= most:
        yield text
        return
    yield from _cut(text, most, (_LINES, _WORDS) if code else (_SENTENCES, _LINES, _WORDS))


def _cut(text: str, most: int, borders: tuple[re.Pattern[str], ...]) -> Iterator[str]:
    if not borders:  # one endless word
        width = most * LETTERS_PER_WORD
        yield from (text[i : i + width] for i in range(0, len(text), width))
        return
    start = end = size = 0
    for part_start, part_end in _parts(text, borders[0]):
        part = _size(text[part_start:part_end])
        if size and size + part > most:
            yield text[start:end].lstrip("\n").rstrip()
            start, size = part_start, 0
        if part > most:
            yield from _cut(text[part_start:part_end], most, borders[1:])
            start, size = part_end, 0
        else:
            size += part
        end = part_end
    if size:
        yield text[start:end].lstrip("\n").rstrip()


def sentence_places(text: str) -> list[tuple[int, int]]:
    """[start, end) of each sentence, heading and item of a list, without the white space around it."""
    places = []
    for start, end in _parts(text, _SENTENCES_AND_PARAGRAPHS):
        piece = text[start:end]
        start += len(piece) - len(piece.lstrip())
        end = start + len(piece.strip())
        if end > start:
            places.append((start, end))
    return places


def _parts(text: str, border: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """(start, end) of the parts between borders; white space at a border belongs to the part before it."""
    start = 0
    for found in border.finditer(text):
        if found.end() > start:
            yield start, found.end()
            start = found.end()
    if start < len(text):
        yield start, len(text)
