"""report.json, report.md and report.html of a benchmark, in the form of those of `lsr eval`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lsr.eval.bench.report.plots import TIMES, recall_plot
from lsr.eval.bench.report.tables import engines_table, indexes_table, levels_table, method_table, points_table
from lsr.eval.bench.report.view import BenchmarkView
from lsr.eval.report import formats as f
from lsr.eval.report.elements import sentences, tables
from lsr.eval.report.html import failed, origin, page
from lsr.eval.report.markdown import (
    escape,
    failed_lines,
    list_lines,
    origin_lines,
    rich_text,
    table_lines,
    tables_lines,
)
from lsr.eval.report.markup import Markup, element, joined
from lsr.eval.report.write import json_text, write_files

__all__ = ["PAGES", "write_benchmark"]

PAGES = ("report.json", "report.md", "report.html")


def write_benchmark(report: Mapping[str, Any], folder: str | Path) -> list[Path]:
    """Writes the pages into a folder, from the JSON text, read again; their paths. Raises `StorageError`."""
    text = json_text(report)
    view = BenchmarkView(json.loads(text))
    texts = (text, "\n".join(_markdown(view)), _html(view))
    return write_files(dict(zip(PAGES, texts, strict=True)), Path(folder))


def _markdown(view: BenchmarkView) -> Iterator[str]:
    yield from (f"# {escape(view.title)}", "")
    yield from (" ".join(map(rich_text, view.verdict())), "")
    yield from failed_lines(view.report["failed"])
    yield from _skipped_lines(view)
    yield from ("## Time at equal recall", "")
    for queries, k in _pairs(view):
        yield from table_lines(levels_table(view, queries, k))
    yield from ("## Indexes", "", *table_lines(indexes_table(view), caption=False))
    yield from ("## Read with care", "", *list_lines(view.cautions()))
    yield from ("## Settings", "")
    yield from tables_lines(*(points_table(view, queries, k) for queries, k in _pairs(view)))
    yield from ("## Engines", "", *table_lines(engines_table(view), caption=False))
    yield from ("## Method", "", *table_lines(method_table(view), caption=False))
    yield from origin_lines(view.report)


def _skipped_lines(view: BenchmarkView) -> Iterator[str]:
    if view.report["skipped"]:
        yield from ("**Skipped**", "")
        yield from list_lines([f"{one['name']}: {one['reason']}" for one in view.report["skipped"]])


def _html(view: BenchmarkView) -> str:
    sections = [
        ("recall", "Recall against time", _plots(view)),
        ("levels", "Time at equal recall", tables(view, *(levels_table(view, *pair) for pair in _pairs(view)))),
        ("indexes", "Indexes", tables(view, indexes_table(view), captions=False)),
        ("settings", "Settings", tables(view, *(points_table(view, *pair) for pair in _pairs(view)))),
        ("engines", "Engines", tables(view, engines_table(view), captions=False)),
        ("method", "Method", tables(view, method_table(view), captions=False)),
        ("provenance", "Provenance", origin(view.report, view)),
    ]
    return page(view.title, _head(view), sections)


def _head(view: BenchmarkView) -> Markup:
    report, cautions = view.report, view.cautions()
    counted = f"{f.counted(report['collection']['documents'], 'document')} · " + " · ".join(
        f"{f.counted(queries['queries'], 'query', 'queries')} ({queries['name']})" for queries in report["query_sets"]
    )
    skipped = "; ".join(f"{one['name']} ({one['reason']})" for one in report["skipped"])
    return joined(
        element("p", "Benchmark", class_="eyebrow"),
        element("h1", view.title),
        element("p", sentences(view.verdict()), class_="verdict"),
        failed(report["failed"]),
        element("p", f"Skipped: {skipped}.", class_="note") if skipped else "",
        element(
            "p", f"{counted} · {f.day(report['created'])} · lsr {report['provenance']['lsr_version']}", class_="meta"
        ),
        element(
            "details",
            element("summary", f"{f.counted(len(cautions), 'thing')} to know before believing a number"),
            element("ul", joined(*(element("li", caution) for caution in cautions))),
            class_="cautions",
        ),
    )


def _plots(view: BenchmarkView) -> Markup:
    """By set and k, a plot for each of the times; the fronts of all engines, rest on a mark to see its setting."""
    drawn = [
        element("figure", element("figcaption", f"{queries}, top {k}: {said}", class_="plot-title"), plot)
        for queries, k in _pairs(view)
        for time, said in TIMES.items()
        if (plot := recall_plot(view, queries, k, time)) is not None
    ]
    note = "Right and low is good. Rest on a mark to see its setting; what finds less than 80 % is not drawn."
    return joined(element("p", note, class_="note"), element("div", joined(*drawn), class_="plots"))


def _pairs(view: BenchmarkView) -> list[tuple[str, int]]:
    return [(queries, k) for queries in view.queries for k in view.ks]
