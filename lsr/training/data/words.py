"""Words of a text, and what is fit to be a query."""

from __future__ import annotations

import re

from lsr.corpus.stop_words import STOP_WORDS

__all__ = [
    "MARKUP",
    "STOP_WORDS",
    "WORD",
    "cleaned",
    "content_words",
    "is_content",
    "is_prose",
    "is_query",
    "normalised",
]

# A word with what binds its parts: "don't", "X-linked".
WORD = re.compile(r"\w+(?:[-'’]\w+)*")
# Signs that prose lacks and code, markup, tables and paths are made of.
MARKUP = re.compile(r"[{}<>=|\\^~@#$`_\[\]*]|;\S|;$|::|:\w+:|(?:^|\s):\w|\(\)|//|--|â|\w\.[a-z]{2}")
# More than this and it is an identifier, an address, or a language without spaces.
LONGEST_WORD = 24
LETTERS, PROSE = 0.85, 0.75  # least share of letters among the signs that are no spaces: of a query, of a text

_SPACE = re.compile(r"\s+")
_NOT_ALNUM = re.compile(r"[\W_]+")


def cleaned(text: str) -> str:
    """The text with runs of white space as one space, and none at its ends."""
    return " ".join(text.split())


def normalised(text: str) -> str:
    """Letters and digits alone, case folded: equal for texts that differ in spaces, punctuation or case."""
    return _NOT_ALNUM.sub("", text.casefold())


def content_words(text: str) -> list[str]:
    """The words that carry meaning, case folded, in order: of letters, at least three, no stop words."""
    return [word for word in WORD.findall(text.casefold()) if is_content(word)]


def is_content(word: str) -> bool:
    """Whether a case-folded word is made of letters, at least three, and is no stop word."""
    return len(word) > 2 and word not in STOP_WORDS and word.replace("-", "").replace("'", "").isalpha()


def is_prose(text: str) -> bool:
    """Whether most signs of a text are letters: code and tables of numbers are none."""
    letters = sum(map(str.isalpha, text))
    return letters > PROSE * (len(text) - text.count(" "))


def is_query(text: str, least: int = 2) -> bool:
    """Whether a piece of text can stand for a question: `least` different content words, mostly letters, no code."""
    signs = text.replace(" ", "")
    if not signs or MARKUP.search(text) is not None:
        return False
    if sum(map(str.isalpha, signs)) < LETTERS * len(signs) or max(map(len, text.split())) > LONGEST_WORD:
        return False
    return len(set(content_words(text))) >= least
