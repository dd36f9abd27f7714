"""Parts of the HTML pages: sentences, tables, the figures of the first screen."""

from __future__ import annotations

from collections.abc import Sequence

from lsr.eval.report import formats as f
from lsr.eval.report import svg, words
from lsr.eval.report.markup import Markup, element, joined
from lsr.eval.report.table import Cell, Rich, Standing, Strong, Table
from lsr.eval.report.texts import short
from lsr.eval.report.view import Styled, View

__all__ = ["figures", "mark", "paragraph", "sentences", "table_of", "tables"]

_MARKS = {"better": "▲", "worse": "▼"}
_LONG = 24  # characters of a name that does not fit beside numbers on a phone
_TIGHT = 16  # characters of one that is never broken
_MANY = 8  # columns that stand closer together


def paragraph(text: str, class_: str) -> Markup:
    """A paragraph, nothing for no text."""
    return element("p", _unbroken(text), class_=class_) if text else Markup()


def _unbroken(text: str) -> str:
    """No line ends within "95 %" and "p = 0.05"."""
    return text.replace(" %", "\u00a0%").replace("p = ", "p\u00a0=\u00a0").replace("p < ", "p\u00a0<\u00a0")


def sentences(parts: Sequence[Rich]) -> Markup:
    """Sentences in one paragraph."""
    return joined(*(joined(*map(_part, sentence)) for sentence in parts), by=" ")


def _part(part: str) -> str:
    return element("strong", part) if isinstance(part, Strong) else _unbroken(part)


def mark(standing: Standing | None) -> Markup:
    """▲ or ▼ with a word for screen readers."""
    if standing is None:
        return Markup()
    return element("span", _MARKS[standing], class_=standing, role="img", aria_label=f"significantly {standing}")


def tables(view: Styled | None, *several: Table | None, captions: bool = True) -> Markup:
    """Those that are there, one below the other."""
    return joined(*(table_of(table, view, caption=captions) for table in several if table is not None))


def table_of(table: Table, view: Styled | None = None, *, caption: bool = True) -> Markup:
    """A table that scrolls by itself where the screen is narrow, its notes below.

    The caption that is seen stands outside, where it wraps at the width of the screen, not of the table; it is left out
    with caption=False, where the heading above says the same. Screen readers have the table's own in any case.
    """
    facts = [column.name for column in table.columns] == ["fact", "value"]
    head = element(
        "thead",
        element(
            "tr",
            joined(*(element("th", c.name, scope="col", class_="n" if c.number else None) for c in table.columns)),
        ),
    )
    body = element("tbody", joined(*(_row(table, row, view) for row in table.rows)))
    drawn = element(
        "table",
        element("caption", element("span", table.caption, class_="unseen")),
        Markup() if facts else head,
        body,
        class_="facts" if facts else "many" if len(table.columns) >= _MANY else None,
    )
    return joined(
        element("p", table.caption, class_="caption", aria_hidden="true") if caption else "",
        element("div", drawn, class_="scroll", role="region", aria_label=table.caption, tabindex="0"),
        paragraph(" ".join(table.notes), "note"),
    )


def _row(table: Table, row: Sequence[Cell], view: Styled | None) -> Markup:
    cells = []
    for at, (column, cell) in enumerate(zip(table.columns, row, strict=True)):
        class_ = "n" if column.number else None
        if at == 0 and cell.text:
            width = "long" if len(cell.text) > _LONG else "tight" if len(cell.text) <= _TIGHT else None
            cells.append(element("th", _cell(cell, view), scope="row", class_=width))
        else:
            cells.append(element("td", _cell(cell, view), class_=class_))
    first = "first" if row[0].text else None
    return element("tr", joined(*cells), class_=first)


def _cell(cell: Cell, view: Styled | None) -> Markup:
    text: str = cell.text
    if cell.link is not None:
        text = element("a", text, href=cell.link)
    if cell.strong:
        text = element("b", text)
    return joined(
        svg.key(view.style(cell.system)) if view is not None and cell.system is not None else "",
        # The marks stand before a number: the digits then stay below one another.
        mark(cell.standing),
        Markup(" ") if cell.standing else "",
        element("span", text, dir="auto") if cell.system is not None else text,
        element("small", cell.detail) if cell.detail else "",
    )


def figures(view: View) -> Markup:
    """The numbers of the first screen: score, difference, time of a query, size of the index."""
    leader = view.leader()
    if leader is None:
        return Markup()
    system = view.systems[view.names.index(leader)]
    interval = view.interval(leader, view.headline)
    shown = [
        _figure(
            view.headline,
            f.score(view.score(leader, view.headline)),
            f"95 %: {f.interval(interval)}" if interval else "",
        )
    ]
    comparison, badge = view.comparison(leader, view.headline), words.badge(view, leader)
    if comparison is not None and badge is not None:
        shown.append(
            _figure(
                f"difference from {short(view.baseline or '', _LONG)}",
                joined(mark(badge[0]), Markup(" ") if badge[0] else "", f.signed(comparison["difference"])),
                f"95 %: {f.interval(comparison['interval'], sign=True)}",
                f.p_phrase(comparison["p_holm"]) + (", Holm-corrected" if view.corrects else ""),
            )
        )
    latency = system.get("latency_ms")
    if latency:
        shown.append(
            _figure(
                "median time of a query",
                f.milliseconds(latency["p50"]),
                f"99 % within {f.milliseconds(latency['p99'])}",
            )
        )
    index = system.get("index") or {}
    total = (index.get("bytes") or {}).get("total")
    if total is not None:
        each = index.get("bytes_per_document")
        shown.append(
            _figure("index", f.bytes_of(total), f"{f.bytes_of(each)} per document, texts apart" if each else "")
        )
    return element("dl", joined(*shown), class_="figures")


def _figure(name: str, value: str, *details: str) -> Markup:
    small = (element("dd", detail, class_="small") for detail in details if detail)
    return element("div", element("dt", name), element("dd", value, class_="big"), joined(*small))
