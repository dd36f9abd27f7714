"""What the readers yield."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Document", "Query"]


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
