"""What the readers yield, and the limits they hold to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lsr.errors import InvalidInput

__all__ = ["Document", "Limits", "Query"]

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Document:
    """One text to be found.

    `metadata` holds the other fields of the record: values that JSON can say. `where` is the place that the document
    was read from ("corpus.jsonl:12"), for error messages; `numbered` says that the record has no id, and `id` is its number.
    Both do not count when documents are compared.
    """

    id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    where: str = field(default="", compare=False)
    numbered: bool = field(default=False, compare=False, repr=False)

    @property
    def content(self) -> str:
        """Title and text joined by a space: what is encoded (the convention of BEIR)."""
        if not self.title:
            return self.text
        return f"{self.title} {self.text}" if self.text else self.title


@dataclass(frozen=True, slots=True)
class Query:
    """One question. `where` is the place that it was read from, and does not count when queries are compared."""

    id: str
    text: str
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a source may not exceed. All but `archive_ratio` are in bytes of UTF-8.

    `line` bounds a physical line and one record (of several lines in csv and json), `text` the text or title of a
    document, `id` an id; `archive_ratio` is how many bytes one compressed byte may become (in .zip, .gz, .xz and .bz2;
    not asked of the first 10 MB, where a high ratio does no harm).

    Raises `InvalidInput` when a limit is below 1.
    """

    line: int = 16 * MIB
    text: int = MIB
    id: int = 512
    archive_ratio: int = 200

    def __post_init__(self) -> None:
        for name in ("line", "text", "id", "archive_ratio"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"Limits: {name} is {getattr(self, name)}: it must be at least 1")
