"""The normal form of phrases: two ways to write a name are one node."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["normal_form"]

_ENDS = re.compile(r"^[^\w]+|[^\w]+$")
_ARTICLES = re.compile(r"^(?:the|a|an)\s+(?=\S)")
_SPACE = re.compile(r"\s+")
_POSSESSIVE = re.compile(r"['’]s$")


def normal_form(phrase: str) -> str:
    """A phrase in compatibility form (NFKC), case folded, white space joined, without punctuation at its ends, a leading
    article, and 's at its end. "" where nothing is left."""
    text = _SPACE.sub(" ", unicodedata.normalize("NFKC", phrase).casefold()).strip()
    text = _POSSESSIVE.sub("", _ENDS.sub("", text))
    return _ARTICLES.sub("", text)
