"""Documents to passages: as they are, by paragraphs, by sentences, by words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from lsr.corpus import Document
from lsr.corpus.passages import sentence_places
from lsr.errors import InvalidInput
from lsr.rag.resources import Resources
from lsr.rag.stages.base import Chunking, stage
from lsr.rag.types import Passage, Span
from lsr.schema import between

__all__ = ["Documents", "Paragraphs", "Sentences", "Words", "passages_at"]

Place = tuple[int, int]

_WORD = re.compile(r"\S+")
_BLANK_LINE = re.compile(r"\n[ \t]*\n\s*")


@stage("chunk", "documents")
@dataclass(frozen=True)
class Documents(Chunking):
    """Each document is a passage."""

    def chunk(self, document: Document, resources: Resources) -> list[Passage]:
        span = Span(document.id, 0, len(document.text))
        return [Passage(document.id, document.text, document.title, (span,))]


@stage("chunk", "paragraphs")
@dataclass(frozen=True)
class Paragraphs(Chunking):
    """What blank lines part; a paragraph of more words is cut after sentences, those of fewer are joined while they fit."""

    words: int = field(default=200, metadata=between(10, 100_000))

    def chunk(self, document: Document, resources: Resources) -> list[Passage]:
        pieces: list[Place] = []
        for start, end in _parts(document.text, _BLANK_LINE):
            if _size(document.text[start:end]) <= self.words:
                pieces.append((start, end))
            else:
                pieces += _filled(
                    document.text, _moved(sentence_places(document.text[start:end]), start), self.words, 0
                )
        return passages_at(document, _filled(document.text, pieces, self.words, 0))


@stage("chunk", "sentences")
@dataclass(frozen=True)
class Sentences(Chunking):
    """As many sentences as have so many words together, each passage beginning with the last `overlap` ones of the one
    before."""

    words: int = field(default=150, metadata=between(5, 100_000))
    overlap: int = field(default=0, metadata=between(0, 20))

    def chunk(self, document: Document, resources: Resources) -> list[Passage]:
        return passages_at(document, _filled(document.text, sentence_places(document.text), self.words, self.overlap))


@stage("chunk", "words")
@dataclass(frozen=True)
class Words(Chunking):
    """Windows of so many words, the next beginning `overlap` words before the end of one."""

    words: int = field(default=150, metadata=between(5, 100_000))
    overlap: int = field(default=30, metadata=between(0, 50_000))

    def __post_init__(self) -> None:
        if self.overlap >= self.words:
            raise InvalidInput(f"overlap is {self.overlap}: it must be less than words, {self.words}")

    def chunk(self, document: Document, resources: Resources) -> list[Passage]:
        return passages_at(document, windows(document.text, self.words, self.overlap))


def windows(text: str, words: int, overlap: int) -> list[Place]:
    """Places of windows of so many words; the last may be shorter, and none lies within another."""
    found = [match.span() for match in _WORD.finditer(text)]
    places = []
    for first in range(0, len(found), words - overlap):
        last = min(first + words, len(found)) - 1
        places.append((found[first][0], found[last][1]))
        if last == len(found) - 1:
            break
    return places


def passages_at(document: Document, places: Iterable[Place]) -> list[Passage]:
    """Passages ID#0, ID#1, ... of a document; one without text is a passage of its title."""
    made = [
        Passage(f"{document.id}#{at}", document.text[start:end], document.title, (Span(document.id, start, end),))
        for at, (start, end) in enumerate(places)
    ]
    if not made and document.title:
        made = [Passage(f"{document.id}#0", "", document.title, (Span(document.id, 0, 0),))]
    return made


def _size(text: str) -> int:
    return len(_WORD.findall(text))


def _moved(places: Iterable[Place], by: int) -> list[Place]:
    return [(start + by, end + by) for start, end in places]


def _parts(text: str, border: re.Pattern[str]) -> list[Place]:
    """What lies between borders, without the white space around it."""
    places, start = [], 0
    for end, after in [*(match.span() for match in border.finditer(text)), (len(text), len(text))]:
        piece = text[start:end]
        if piece.strip():
            first = start + len(piece) - len(piece.lstrip())
            places.append((first, first + len(piece.strip())))
        start = after
    return places


def _filled(text: str, pieces: list[Place], words: int, overlap: int) -> list[Place]:
    """Neighbouring pieces together, as many as have `words` words; a larger piece alone."""
    places: list[Place] = []
    held: list[tuple[Place, int]] = []
    fresh = 0  # of those held, how many no passage has yet
    for piece in pieces:
        size = _size(text[slice(*piece)])
        if fresh and sum(each for _, each in held) + size > words:
            places.append((held[0][0][0], held[-1][0][1]))
            held, fresh = held[len(held) - overlap :] if overlap else [], 0
            while held and sum(each for _, each in held) + size > words:
                held.pop(0)
        held.append((piece, size))
        fresh += 1
    if fresh:
        places.append((held[0][0][0], held[-1][0][1]))
    return places
