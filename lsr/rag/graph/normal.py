"""The normal form of phrases: two ways to write a name are one node."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

__all__ = ["normal_form"]

_ARTICLES = re.compile(r"^(?:(?:the|a|an)\s+)+(?=\S)")
_POSSESSIVE = ("'s", "’s")
_LONG = 200  # characters of what is no name, and not remembered


def normal_form(phrase: str) -> str:
    """A phrase in compatibility form (NFKC), case folded, white space joined, without punctuation and signs at its ends,
    leading articles (English ones), and 's at its end. "" where nothing is left. The normal form of a normal form is
    itself."""
    return _remembered(phrase) if len(phrase) <= _LONG else _normal_form(phrase)


def _normal_form(phrase: str) -> str:
    form = phrase
    # What one step uncovers the next may take away: "the the cat", "(the cat's)".
    while (after := _folded(form)) != form:
        form = after
    return form


_remembered = lru_cache(maxsize=1 << 16)(_normal_form)  # a corpus says most of its phrases several times


def _folded(phrase: str) -> str:
    text = _bare(" ".join(unicodedata.normalize("NFKC", phrase).casefold().split()))
    end = len(text)
    while text.endswith(_POSSESSIVE, 0, end):
        end -= 2
    return _ARTICLES.sub("", text[:end])


def _bare(text: str) -> str:
    start, end = 0, len(text)
    while start < end and not _tells(text[start]):
        start += 1
    while start < end and not _tells(text[end - 1]):
        end -= 1
    return text[start:end]


def _tells(sign: str) -> bool:
    """Marks are parts of letters: words of Hindi end in them."""
    return sign.isalnum() or sign == "_" or unicodedata.category(sign)[0] == "M"
