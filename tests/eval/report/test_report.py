"""The report: what its schema refuses, and that its pages show all, say the same, and let nothing hostile through."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.errors import InvalidInput, UnsupportedVersion
from lsr.eval.report import (
    load_report,
    load_summary,
    schema,
    validate_report,
    validate_summary,
    write_report,
    write_summary,
)
from tests.eval.report.examples import NAMES, example_report, example_summary, gallery

GALLERY = gallery()
VOID = {"meta", "link", "br", "hr", "img", "input", "col", "wbr"}


class Page(HTMLParser):
    """Collects what a browser would see, and checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


def pages(report: dict[str, Any], folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in write_report(report, folder, latex=True)}


# -- the schema --------------------------------------------------------------------------------------------------------


def test_the_schema_is_itself_valid() -> None:
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("name", GALLERY)
def test_reports_of_every_kind_are_valid_and_come_back_as_written(name: str, tmp_path: Path) -> None:
    write_report(GALLERY[name], tmp_path)
    assert load_report(tmp_path / "report.json") == json.loads(json.dumps(GALLERY[name]))


def _drop(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(report: Any) -> None:
        for step in path[:-1]:
            report = report[step]
        del report[path[-1]]

    return change


def _put(value: Any, *path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(report: Any) -> None:
        for step in path[:-1]:
            report = report[step]
        report[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (_drop("dataset"), "dataset"),
        (_drop("systems", 0, "metrics"), "systems[0]"),
        (_put("many", "dataset", "documents"), "dataset.documents"),
        (_put(-1, "dataset", "queries"), "dataset.queries"),
        (_put(float("nan"), "systems", 1, "metrics", "nDCG@10"), "systems[1].metrics"),
        (_put(float("inf"), "systems", 1, "latency_ms", "p50"), "latency_ms.p50"),
        (_put([0.1] * 7, "systems", 0, "latency_ms", "quantiles"), "quantiles"),
        (_put(1.5, "comparisons", 0, "p"), "comparisons[0].p"),
        (_put("yesterday", "created"), "created"),
        (_put("/home/me/data", "dataset", "source"), "dataset.source"),
        (_put([0.5], "per_query", "scores", "bm25"), "per_query"),
        (_put("MRR", "headline"), "headline"),
    ],
)
def test_what_is_wrong_is_named_by_its_path_in_one_line(change: Callable[[Any], None], where: str) -> None:
    report = example_report()
    change(report)
    with pytest.raises(InvalidInput) as caught:
        validate_report(report, where="my.json")
    message = str(caught.value)
    assert message.startswith("my.json: ")
    assert where in message
    assert "\n" not in message
    assert len(message) < 500


def test_another_major_version_is_refused_and_a_minor_one_read() -> None:
    report = example_report()
    validate_report({**report, "schema_version": "1.7", "something_new": {"x": 1}})
    with pytest.raises(UnsupportedVersion, match="pip install -U"):
        validate_report({**report, "schema_version": "2.0"})


@pytest.mark.parametrize(
    ("content", "says"),
    [("", "not JSON"), ("{", "not JSON"), ("[1]", ""), ("null", ""), ('{"kind": "summary"}', "a summary")],
)
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(content)
    with pytest.raises(InvalidInput) as caught:
        load_report(path)
    assert says in str(caught.value)
    assert "report.json" in str(caught.value)
    with pytest.raises(InvalidInput, match="no such file"):
        load_report(tmp_path / "none.json")


def test_nothing_is_written_of_a_report_that_is_wrong(tmp_path: Path) -> None:
    report = example_report()
    report["systems"][0]["metrics"]["nDCG@10"] = float("nan")
    with pytest.raises(InvalidInput):
        write_report(report, tmp_path / "report")
    assert not (tmp_path / "report").exists()


# -- the pages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GALLERY)
def test_the_html_stands_alone_and_is_well_formed(name: str, tmp_path: Path) -> None:
    page = Page(pages(GALLERY[name], tmp_path)["report.html"])
    assert page.open == []
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "object", "embed", "base", "form")
        for attribute, value in attributes.items():
            assert not attribute.startswith("on"), f"{tag} has {attribute}"
            if attribute in ("src", "href", "xlink:href", "action", "data"):
                assert (value or "").startswith(("#", "report.json", "runs/")), f"{tag} {attribute}={value}"


@pytest.mark.parametrize("name", GALLERY)
def test_every_score_is_on_every_page(name: str, tmp_path: Path) -> None:
    report = GALLERY[name]
    made = pages(report, tmp_path)
    shown = {
        "report.html": Page(made["report.html"]).text,
        "report.md": made["report.md"],
        "report.tex": made["report.tex"],
    }
    for system in report["systems"]:
        for measure, score in system["metrics"].items():
            for page, text in shown.items():
                if page == "report.tex" and measure.startswith("Judged"):
                    continue
                assert f"{score:.4f}" in text, f"{measure} of {system['name']} is not in {page}"


def test_speed_cost_and_provenance_are_shown(tmp_path: Path) -> None:
    report = example_report(NAMES)
    made = pages(report, tmp_path)
    for text in (Page(made["report.html"]).text, made["report.md"]):
        for expected in ("p99", "FLOPS", "1f2e3d4", "Intel Xeon", "overlap@10", "19,000/s", "206 MiB", "4b1c4b1c"):
            assert expected in text, expected
    assert made["report.html"].count("<svg") >= 4


def test_a_system_that_failed_is_named_with_its_error(tmp_path: Path) -> None:
    report = example_report()
    report["failed"] = [{"name": "splade-xl", "error": "out of memory"}]
    made = pages(report, tmp_path)
    for text in (Page(made["report.html"]).text, made["report.md"]):
        assert "splade-xl" in text
        assert "out of memory" in text


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    made = pages(GALLERY["hostile"], tmp_path)
    page = Page(made["report.html"])
    assert "onerror=alert(1)" in page.text
    assert not [tag for tag, _ in page.tags if tag == "img"]
    outside = re.sub(r"(?ms)^(`{3,}).*?^\1$", "", made["report.md"])
    assert not re.search(r"(?<!\\)<(img|/script)", outside)
    for text in made.values():
        assert "\u202e" not in text.replace("\\u202e", "") or text == made["report.json"]
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f]", text)
    table = next(part for part in made["report.md"].split("\n\n") if part.startswith("| system | nDCG@10"))
    bars = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
    assert len(bars) == 1, "a | of a name broke the table"


def test_latex_specials_are_escaped(tmp_path: Path) -> None:
    report = example_report(["bm25", "50% of_it & $5 #1 {x} ~ ^ \\"])
    text = pages(report, tmp_path)["report.tex"]
    assert r"50\% of\_it \& \$5 \#1 \{x\}" in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


@pytest.mark.parametrize("name", GALLERY)
def test_the_same_report_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    first = pages(copy.deepcopy(GALLERY[name]), tmp_path / "a")
    again = pages(load_report(tmp_path / "a" / "report.json"), tmp_path / "b")
    assert first == again


@settings(max_examples=25, deadline=None)
@given(
    score=st.floats(0, 1),
    p=st.floats(0, 1),
    milliseconds=st.floats(1e-9, 1e9),
    size=st.integers(0, 1 << 60),
)
def test_numbers_of_any_size_make_pages(
    tmp_path_factory: pytest.TempPathFactory, score: float, p: float, milliseconds: float, size: int
) -> None:
    report = example_report(queries=5)
    system = report["systems"][1]
    system["metrics"]["nDCG@10"] = score
    report["comparisons"][0] |= {"p": p, "p_holm": p}
    system["latency_ms"] |= {"p50": milliseconds, "quantiles": [milliseconds] * 101}
    system["index"]["bytes"]["total"] = size
    made = pages(report, tmp_path_factory.mktemp("odd"))
    assert Page(made["report.html"]).open == []
    assert "nan" not in made["report.html"].lower().replace("nanosecond", "").split("<svg", 1)[1].split("</svg>")[0]


# -- several collections -----------------------------------------------------------------------------------------------


def test_a_summary_shows_every_collection_and_the_mean(tmp_path: Path) -> None:
    summary = example_summary()
    made = {path.name: path.read_text(encoding="utf-8") for path in write_summary(summary, tmp_path)}
    assert load_summary(tmp_path / "summary.json") == json.loads(json.dumps(summary))
    page = Page(made["summary.html"])
    assert page.open == []
    for text in (page.text, made["summary.md"]):
        for name in ("scifact", "nfcorpus", "fiqa", "arguana", "quora"):
            assert name in text
        for means in summary["macro"].values():
            assert f"{means['nDCG@10']:.4f}" in text


def test_a_summary_that_contradicts_itself_is_refused() -> None:
    summary = example_summary()
    summary["set"] = ["scifact", "nobody"]
    with pytest.raises(InvalidInput, match="set"):
        validate_summary(summary)
