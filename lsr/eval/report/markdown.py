"""report.md and summary.md: for a person who reads a repository. Tables are GitHub's, the rest is CommonMark."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lsr.eval.report import costs, facts, overview, quality, words
from lsr.eval.report.overview import Overview
from lsr.eval.report.table import Cell, Rich, Strong, Table
from lsr.eval.report.texts import command_line, line
from lsr.eval.report.view import View

__all__ = [
    "escape",
    "failed_lines",
    "list_lines",
    "origin_lines",
    "report_markdown",
    "rich_text",
    "summary_markdown",
    "table_lines",
    "tables_lines",
]

MARKS = {"better": "▲", "worse": "▼"}

_SPECIAL = re.compile(
    r"""[\\`*\[\]|~$]                           # code, emphasis, links, cells of a table, GitHub's formulas
      | <(?=[A-Za-z/!?])                      # HTML
      | (?<![A-Za-z0-9])_ | _(?![A-Za-z0-9])  # within a word an underscore is only itself
      | &(?=[#A-Za-z])                        # a character reference
    """,
    re.VERBOSE,
)
# What makes a list, a heading, a quotation or a rule of a line that it begins.
_FIRST = re.compile(r"[-+=>#]|\d{1,9}(?=[.)])")


def escape(text: str) -> str:
    """The text, in one line, such that Markdown shows it as it is: within a line, or in a cell of a table."""
    return _SPECIAL.sub(lambda found: "\\" + found[0], line(text))


def _block(text: str) -> str:
    """As `escape`, for a text that begins a line."""
    escaped = escape(text)
    first = _FIRST.match(escaped)
    if first is None:
        return escaped
    at = first.end() if first[0][0].isdigit() else 0
    return f"{escaped[:at]}\\{escaped[at:]}"


def report_markdown(report: Mapping[str, Any]) -> str:
    """The whole page."""
    view = View(report)
    return "\n".join(_report(view))


def summary_markdown(summary: Mapping[str, Any]) -> str:
    """The whole page of a summary."""
    return "\n".join(_summary(Overview(summary)))


def _report(view: View) -> Iterator[str]:
    yield from (f"# {escape(f'Evaluation on {view.title}')}", "")
    yield from (" ".join(rich_text(sentence) for sentence in words.verdict(view)), "")
    if (resolution := words.resolution(view)) is not None:
        yield from (_block(resolution), "")
    yield from failed_lines(view.report["failed"])

    if view.systems:
        yield from ("## Quality", "", *table_lines(quality.quality_table(view)))
        if view.baseline is not None and view.comparisons:
            legend = " ".join(MARKS.values())
            yield from (f"{legend}: {escape(words.significance(view))}. Bold: the best of a column.", "")
        yield from tables_lines(quality.comparisons_table(view))

    if cautions := words.cautions(view):
        yield from ("## Read with care", "", *list_lines(cautions))

    if speed := [*tables_lines(costs.latency_table(view)), *tables_lines(costs.start_table(view))]:
        yield from ("## Speed", "", *speed)
    approximation = costs.approximation_table(view)
    if approximation is not None:
        yield from ("## Beside exact search", "", *table_lines(approximation, caption=False))
    cost = (costs.cost_table(view), costs.bytes_table(view), costs.sparsity_table(view))
    if any(cost):
        yield from ("## Cost", "", *tables_lines(*cost))

    if view.failures:
        yield from (f"## {words.worst(view)}", "")
        for system, losses in view.losses():
            yield from table_lines(quality.losses_table(view, system, losses))

    yield from ("## Collection", "", *table_lines(facts.collection_table(view), caption=False))
    if view.systems:
        yield from ("## Systems", "", *table_lines(facts.systems_table(view), caption=False))
    yield from origin_lines(view.report)


def _summary(over: Overview) -> Iterator[str]:
    yield from (f"# {escape(over.title)}", "")
    yield from (" ".join(rich_text(sentence) for sentence in overview.verdict(over)), "")
    yield from failed_lines(over.summary["failed"])
    if over.datasets:
        yield from ("## Quality by collection", "", *table_lines(overview.datasets_table(over, page=".md")))
        if over.comparisons:
            legend = " ".join(MARKS.values())
            yield from (f"{legend}: {escape(overview.significance(over))}. Bold: the best of a row.", "")
    if (macro := overview.macro_table(over)) is not None:
        yield from ("## Mean over collections", "", *table_lines(macro, caption=False))
    if (compared := overview.comparisons_table(over)) is not None:
        yield from ("## Wins and losses", "", *table_lines(compared, caption=False))
    yield from origin_lines(over.summary)


def failed_lines(failed: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """What could not be measured and why; nothing when all could."""
    if failed:
        yield from ("**Failed**", "")
        yield from list_lines([f"{one['name']}: {one['error']}" for one in failed])


def origin_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Where the numbers come from, and the command that gives them."""
    yield from ("## Provenance", "", *table_lines(facts.provenance_table(document), caption=False))
    yield from ("## Make it again", "", *_code(command_line(document["command"])))


def list_lines(items: Sequence[str]) -> Iterator[str]:
    """A list, a line an item."""
    yield from (f"- {_block(item)}" for item in items)
    yield ""


def _code(text: str) -> Iterator[str]:
    """A fenced block, its fence longer than any row of backticks within."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (f"{fence}sh", text, fence, "")


def tables_lines(*tables: Table | None) -> Iterator[str]:
    """Those that are there, one below the other."""
    for table in tables:
        if table is not None:
            yield from table_lines(table)


def table_lines(table: Table, *, caption: bool = True) -> Iterator[str]:
    """A table of GitHub's. caption=False: the heading above says the same."""
    if caption:
        yield from (f"**{escape(table.caption)}**", "")
    yield _row([escape(column.name) for column in table.columns])
    yield _row(["---:" if column.number else "---" for column in table.columns])
    yield from (_row([_cell(cell) for cell in row]) for row in table.rows)
    yield ""
    if table.notes:
        yield from (_block(" ".join(table.notes)), "")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    if cell.link is not None:
        text = f"[{text}]({cell.link})"
    if cell.strong and text:
        text = f"**{text}**"
    mark = f" {MARKS[cell.standing]}" if cell.standing else ""
    return f"{text}{mark} ({escape(cell.detail)})" if cell.detail else text + mark


def rich_text(parts: Rich) -> str:
    """A sentence, its strong parts in bold."""
    return "".join(_strong(part) if isinstance(part, Strong) else _inner(part) for part in parts)


def _strong(part: str) -> str:
    return f"**{escape(part)}**" if line(part) else ""


def _inner(part: str) -> str:
    """A part within a sentence: the spaces at its ends stay, which `escape` would strip."""
    left = " " if part[:1].isspace() else ""
    right = " " if part[-1:].isspace() else ""
    return f"{left}{escape(part)}{right}"
