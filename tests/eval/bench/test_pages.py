"""The pages of a benchmark: all that was measured, the same in each form, and nothing hostile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lsr.eval.bench.report import write_benchmark
from lsr.eval.bench.report.plots import TIMES
from tests.eval.bench.conftest import HOSTILE, Run
from tests.eval.report.pages import Page, render


def pages(run: Run) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in run.outcome.pages}


def test_pages_are_made_again_from_the_json_to_the_byte(run: Run, tmp_path: Path) -> None:
    found = pages(run)
    again = write_benchmark(json.loads(found["report.json"]), tmp_path)
    assert {path.name: path.read_text(encoding="utf-8") for path in again} == found
    assert json.loads(found["report.json"]) == json.loads(json.dumps(run.report))


def test_html_and_markdown_hold_the_same_tables(run: Run) -> None:
    html, markdown = Page(pages(run)["report.html"]), render(pages(run)["report.md"])

    def words(page: Page) -> list[list[list[list[str]]]]:
        cleaned = [
            [[cell.replace("(", " ").replace(")", " ").split() for cell in row] for row in t] for t in page.tables
        ]
        return sorted(([row for row in table if row != [["fact"], ["value"]]] for table in cleaned), key=str)

    assert words(html) == words(markdown)


def test_the_page_is_whole_and_runs_nothing(run: Run) -> None:
    page = Page(pages(run)["report.html"])
    assert page.open == []
    assert "script" not in page.names
    assert HOSTILE in page.text
    assert HOSTILE in render(pages(run)["report.md"]).text


def test_there_is_a_plot_for_each_set_k_and_time_with_all_engines(run: Run) -> None:
    text = pages(run)["report.html"]
    page = Page(text)
    drawn = [attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("class") == "plot"]
    assert len(drawn) == 2 * 2 * len(TIMES)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert text.count("partial: recall 1.0000") >= len(drawn)


def test_skipped_and_failed_engines_are_named(run: Run) -> None:
    for name, page in {"html": Page(pages(run)["report.html"]), "md": render(pages(run)["report.md"])}.items():
        assert "bmp" in page.text, name
        assert "not here" in page.text
        assert "its process ended with status 7" in page.text


def test_several_threads_are_warned_about(run: Run, tmp_path: Path) -> None:
    report: dict[str, Any] = json.loads(json.dumps(run.report))
    warning = "More than one processor was at work while these were timed: partial."
    assert all(warning not in page for page in pages(run).values())
    for series in report["series"]:
        series["several_threads"] = series["name"] == "partial"
    for path in write_benchmark(report, tmp_path)[1:]:
        assert warning in path.read_text(encoding="utf-8")


def test_a_report_of_lsr_alone_has_its_pages(run: Run, tmp_path: Path) -> None:
    report: dict[str, Any] = json.loads(json.dumps(run.report))
    report["series"] = [series for series in report["series"] if series["ours"]]
    report["curves"] = [curve for curve in report["curves"] if curve["series"].startswith("lsr")]
    for level in report["levels"]:
        level["engines"] = {name: None for name in level["engines"] if name.startswith("lsr")}
    for path in write_benchmark(report, tmp_path):
        assert path.stat().st_size > 0
