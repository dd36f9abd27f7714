"""Limits: what a source, a document, a query and an answer may not exceed, settable in one place.

They stand between a reader and a file that nobody has seen: with them a line without end, a compressed file that grows
without end or a query that takes minutes is an error of one line. docs/limits.md has the table, with the error of each.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from functools import lru_cache
from types import MappingProxyType

from lsr.errors import InvalidInput

__all__ = ["Limits", "raising"]

VARIABLE = "LSR_LIMITS"
MIB = 1 << 20
# What an index can hold, whatever is set: no limits that can be raised.
MAX_DOCUMENT_TERMS = (1 << 16) - 1  # terms of a document
MAX_DOCUMENTS = (1 << 32) - 1
MAX_DIM = 1 << 24  # terms of a vocabulary

# Limit -> how far it can be raised, and why no further.
_SIZE = (1 << 62, "sizes are 64-bit numbers")
_CEILINGS = MappingProxyType(
    {
        "line": _SIZE,
        "text": _SIZE,
        "id": _SIZE,
        "document_terms": (MAX_DOCUMENT_TERMS, "an index holds no more of a document"),
        "query_terms": (MAX_DOCUMENT_TERMS, "no document has more"),
        "k": (MAX_DOCUMENTS, "an index holds no more documents"),
        "archive_ratio": _SIZE,
    }
)
_IN_BYTES = ("line", "text", "id")
_UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_AMOUNT = re.compile(r"([0-9][0-9_]*)\s*([a-zA-Z]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may not be exceeded. The first three are in bytes of UTF-8.

    line: a physical line, and one record (of several lines in csv and json).
    text: the text or title of a document.
    id: an id.
    document_terms: terms of a document that is indexed; 65,535 at most.
    query_terms: terms of a query; 65,535 at most.
    k: hits that a search may be asked for.
    archive_ratio: bytes that one compressed byte may become (in .zip, .gz, .xz and .bz2; not asked of the first 10 MB, where
      a high ratio does no harm).

    `Limits()` are the defaults of lsr, `Limits.default()` those with what the environment variable LSR_LIMITS says
    ("line=64MiB, k=50000"), which hold wherever no others are given.

    Raises `InvalidInput` for a limit that is no whole number, below 1, or above what is possible.
    """

    line: int = 16 * MIB
    text: int = MIB
    id: int = 512
    document_terms: int = MAX_DOCUMENT_TERMS
    query_terms: int = 4_096
    k: int = 10_000
    archive_ratio: int = 200

    def __post_init__(self) -> None:
        for name, (most, why) in _CEILINGS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise InvalidInput(f"Limits: {name} is {value!r}: it must be a whole number")
            if value < 1:
                raise InvalidInput(f"Limits: {name} is {value}: it must be at least 1")
            if value > most:
                raise InvalidInput(f"Limits: {name} is {value:,}: it must be at most {most:,}, for {why}")

    @classmethod
    def default(cls) -> Limits:
        """The limits that hold where none are given: the defaults, and what LSR_LIMITS says instead.

        Raises `InvalidInput` that names the variable when it cannot be understood.
        """
        return _parsed(os.environ.get(VARIABLE, ""))


def raising(name: str) -> str:
    """How a limit is raised, for the end of a message."""
    return f"Limits({name}=...) or {VARIABLE}"


@lru_cache(maxsize=8)
def _parsed(text: str) -> Limits:
    known = [field.name for field in fields(Limits)]
    given: dict[str, int] = {}
    for part in text.split(","):
        if not part.strip():
            continue
        name, equals, amount = (piece.strip() for piece in part.partition("="))
        found = _AMOUNT.fullmatch(amount)
        if not equals or name not in known:
            raise InvalidInput(
                f"{VARIABLE}: {part.strip()[:60]!r} sets no limit; write NAME=NUMBER, with commas between, of"
                f" {', '.join(known)}"
            )
        factor = _UNITS.get(found[2].upper()) if found else None
        if found is None or factor is None or (found[2] and name not in _IN_BYTES) or len(found[1]) > 30:
            units = ", KiB, MiB or GiB after it if need be" if name in _IN_BYTES else ""
            raise InvalidInput(f"{VARIABLE}: {name} is {amount[:60]!r}; write a whole number{units}")
        if name in given:
            raise InvalidInput(f"{VARIABLE}: {name} is set twice; set it once")
        given[name] = int(found[1]) * factor
    try:
        return Limits(**given)
    except InvalidInput as error:
        raise InvalidInput(f"{VARIABLE}: {error}") from None
