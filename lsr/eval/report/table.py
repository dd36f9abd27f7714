"""A table as data: what it says is decided once, and each form of the report (Markdown, HTML) draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lsr.eval.report.formats import NONE

__all__ = ["Cell", "Column", "Rich", "Standing", "Strong", "Table", "without_empty_columns"]

Standing = Literal["better", "worse"]  # than the baseline, and significantly


class Strong(str):
    """A part of a sentence that stands out."""

    __slots__ = ()


# A sentence in parts.
Rich = Sequence[str]


@dataclass(frozen=True, slots=True)
class Cell:
    """`detail` is smaller and follows the text; `link` is a file beside the report; `system` draws its colour."""

    text: str
    detail: str = ""
    strong: bool = False
    standing: Standing | None = None
    link: str | None = None
    system: int | None = None


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    number: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """The first column names the row. `notes` stand below."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()


def without_empty_columns(table: Table) -> Table:
    """The table without columns in which nothing was measured; the first one stays."""
    kept = [i for i in range(len(table.columns)) if i == 0 or any(row[i].text not in ("", NONE) for row in table.rows)]
    return Table(
        table.caption,
        [table.columns[i] for i in kept],
        [[row[i] for i in kept] for row in table.rows],
        table.notes,
    )
