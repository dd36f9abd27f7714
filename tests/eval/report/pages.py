"""Reading pages back: what a browser and GitHub would show of them."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from markdown_it import MarkdownIt

from lsr.eval.report import write_report

__all__ = ["Page", "pages", "render"]

_VOID = {"meta", "link", "br", "hr", "img", "input", "col", "wbr"}


class Page(HTMLParser):
    """Collects what a browser would see, and checks that tags are closed in order.

    tables: rows of the texts of cells. ids: of elements, as they come.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.tables: list[list[list[str]]] = []
        self._in_cell = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif self.open.count("td") + self.open.count("th"):
            self.tables[-1][-1][-1] += " "  # what stands in an element of its own is a word of its own

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data

    @property
    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}


def pages(report: dict[str, Any], folder: Any) -> dict[str, str]:
    """All forms of a report, by the name of their file."""
    return {path.name: path.read_text(encoding="utf-8") for path in write_report(report, folder, latex=True)}


def render(markdown: str) -> Page:
    """The page that GitHub makes of Markdown: CommonMark, tables, strikethrough, and HTML where it stands."""
    return Page(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown))
