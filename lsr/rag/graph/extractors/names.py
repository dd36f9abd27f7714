"""Capitalised names, without any model: what a graph can have in the base install.

A name is a run of capitalised words, which small words (of, the, de, ...) may join, or a word of capitals and digits; one
that begins a sentence counts only where it stands elsewhere in the passage too, or has a second word. Numbers of four
digits are years.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from lsr.corpus.passages import sentence_places
from lsr.corpus.stop_words import STOP_WORDS
from lsr.rag.graph.types import Extracted, Text

__all__ = ["NameExtractor", "names_in"]

_SMALL = "of|the|de|la|le|van|von|der|and|for|in|di|da|du|del"
_MARKS = "\u0300-\u036f"  # accents that stand for themselves


@cache
def _pattern() -> re.Pattern[str]:
    """Names and years. Made when it is first needed: all capitals of Unicode take a moment to find."""
    every = map(chr, range(sys.maxunicode + 1))
    capital = "".join(letter for letter in every if letter.isupper() or letter.istitle())
    word = rf"(?<!\w)[{capital}](?:[\w{_MARKS}'’.-]*[\w{_MARKS}])?"
    return re.compile(rf"{word}(?:\s+(?:(?:{_SMALL})\s+){{0,2}}{word})*|\b[12]\d{{3}}\b")


class NameExtractor:
    """See the module."""

    name = "names"

    def identity(self) -> Mapping[str, Any]:
        return {"extractor": "names", "version": 3}

    def extract(self, texts: Sequence[Text]) -> Iterator[Extracted]:
        for text in texts:
            found = dict.fromkeys(names_in(text.text))
            title = (text.title,) if text.title else ()
            yield Extracted(text.id, tuple(dict.fromkeys((*title, *found))))


def names_in(text: str) -> list[str]:
    """The names of a text, in its order."""
    starts = {start for start, _ in sentence_places(text)}
    matches = list(_pattern().finditer(text))
    elsewhere = {match[0] for match in matches if match.start() not in starts}
    found = []
    for match in matches:
        words, first = match[0].split(), match.start() in starts
        while first and words and words[0].casefold() in STOP_WORDS:
            words = words[1:]
        name = " ".join(words)
        if not name or name.casefold() in STOP_WORDS:
            continue
        # A capital after such a word is no longer that of the sentence: "In Paris".
        if first and words == match[0].split() and len(words) == 1 and name not in elsewhere:
            continue
        found.append(name)
    return found
