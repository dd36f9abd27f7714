"""The pages of a report: they show all that it holds, say the same in every form, and let nothing hostile through."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lsr.errors import InvalidInput
from lsr.eval.report import formats as f
from lsr.eval.report import load_report, load_summary, validate_report, write_report, write_summary
from lsr.eval.report.html import report_html
from lsr.eval.report.latex import report_latex
from lsr.eval.report.markdown import report_markdown
from tests.eval.report.examples import HOSTILE, NAMES, example_report, example_summary, gallery
from tests.eval.report.pages import Page, pages, render

GALLERY = gallery()
every_report = pytest.mark.parametrize("name", GALLERY)


def _words(cell: str) -> list[str]:
    """What a cell says, without how each form sets off what is less important."""
    return re.findall(r"[^\s()▲▼]+", cell)


def _tables(page: Page) -> list[list[list[list[str]]]]:
    return [[[_words(cell) for cell in row] for row in table] for table in page.tables]


# -- one report, many forms --------------------------------------------------------------------------------------------


@every_report
def test_a_report_comes_back_as_it_was_written(name: str, tmp_path: Path) -> None:
    write_report(GALLERY[name], tmp_path)
    assert load_report(tmp_path / "report.json") == json.loads(json.dumps(GALLERY[name]))


@every_report
def test_every_page_can_be_made_again_from_report_json_to_the_byte(name: str, tmp_path: Path) -> None:
    first = pages(copy.deepcopy(GALLERY[name]), tmp_path / "a")
    assert set(first) == {"report.json", "report.md", "report.html", "report.tex"}
    assert pages(load_report(tmp_path / "a" / "report.json"), tmp_path / "b") == first


def test_latex_is_written_when_asked_for(tmp_path: Path) -> None:
    made = write_report(GALLERY["usual"], tmp_path)
    assert [path.name for path in made] == ["report.json", "report.md", "report.html"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json", "report.md"]


@every_report
def test_markdown_and_html_have_the_same_tables(name: str) -> None:
    html = Page(report_html(GALLERY[name]))
    rendered = render(report_markdown(GALLERY[name]))
    # Losses are cards in HTML, and a table of facts has no heading there.
    in_markdown = [
        table[1:] if table[0] == [["fact"], ["value"]] else table
        for table in _tables(rendered)
        if ["relevant,", "and", "where", "it", "was"] not in table[0]
    ]
    assert _tables(html) == in_markdown
    assert len(in_markdown) >= 2


@every_report
def test_every_score_is_on_every_page(name: str) -> None:
    report = GALLERY[name]
    shown = [Page(report_html(report)).text, report_markdown(report), report_latex(report)]
    for system in report["systems"]:
        for measure, score in system["metrics"].items():
            for text in shown:
                assert f"{score:.4f}" in text, measure


def _measured(report: dict[str, Any]) -> Iterator[str]:
    """All else that was measured, as it is written."""
    for c in report["comparisons"]:
        yield from (f.signed(c["difference"]), f.p_value(c["p"]), f.p_value(c["p_holm"]), f.signed(c["effect_size"], 2))
        yield from (
            f.interval(c["interval"], sign=True),
            " / ".join(f.count(c[key]) for key in ("wins", "ties", "losses")),
        )
    for system in report["systems"]:
        latency = system.get("latency_ms") or {}
        for times in (*(system.get("stages_ms") or {}).values(), *([latency] if latency else [])):
            yield from (f.milliseconds(times[key]) for key in ("p50", "p95", "p99", "max", "mean"))
        yield from map(f.milliseconds, (system.get("start_ms") or {}).values())
        yield from (f.per_second(point["queries_per_second"]) for point in system.get("throughput") or ())
        index = dict(system.get("index") or {})
        yield from map(f.bytes_of, index.pop("bytes", {}).values())
        if index:
            yield from (f.bytes_of(index["bytes_per_document"]), f.seconds(index["build_s"]))
            yield from (f.decimal(index["documents_per_s"]), f.bytes_of(index["peak_mib"] * 2**20))
        for terms in (system.get("sparsity") or {}).values():
            yield from [f.decimal(terms)] if isinstance(terms, float) else (f.whole(terms[k]) for k in ("p50", "p99"))
        for point in (system.get("approximation") or {"points": ()})["points"]:
            yield from (f.score(point["overlap@10"]), f.signed(point["ndcg_change"]), f.milliseconds(point["p50_ms"]))


@every_report
def test_every_figure_of_speed_cost_and_significance_is_in_a_table(name: str) -> None:
    cells = [cell for table in render(report_markdown(GALLERY[name])).tables for row in table for cell in row]
    text = "\n".join(cells)
    for figure in _measured(GALLERY[name]):
        assert figure in text


def test_collection_and_provenance_are_shown(tmp_path: Path) -> None:
    made = pages(GALLERY["usual"], tmp_path)
    for text in (Page(made["report.html"]).text, render(made["report.md"]).text):
        for expected in (
            "1f2e3d4 with uncommitted changes", "Intel Xeon, 2.7 GHz", "2 cores", "23.5 GB", "numpy 2.4.6", "c0ffee",
            "4b1c4b1c", "scifact (a BEIR folder)", "24 November 2026, 08:00 UTC", "lsr eval data/scifact",
            "judged documents missing", "max_length=256",
        ):  # fmt: skip
            assert expected in text


def test_a_system_that_failed_is_named_with_its_error(tmp_path: Path) -> None:
    report = example_report()
    report["failed"] = [{"name": "splade-xl", "error": "out of memory"}]
    made = pages(report, tmp_path)
    for text in (Page(made["report.html"]).text, render(made["report.md"]).text):
        assert "splade-xl: out of memory" in text


def test_the_worst_losses_are_shown_with_their_texts_where_there_are_texts(tmp_path: Path) -> None:
    loss = GALLERY["usual"]["failures"][0]
    for name, texts in (("usual", True), ("no-texts", False)):
        made = pages(GALLERY[name], tmp_path / name)
        for text in (Page(made["report.html"]).text, render(made["report.md"]).text):
            assert "Worst losses" in text
            assert loss["query_id"] in text
            assert loss["hits"][0]["id"] in text
            assert (loss["query"] in text) is texts
            assert (loss["hits"][0]["title"] in text) is texts


def test_a_plot_for_each_question(tmp_path: Path) -> None:
    page = Page(report_html(GALLERY["six"]))
    drawn = {str(attributes.get("aria-labelledby")).split("-title")[0] for tag, attributes in page.tags if tag == "svg"}
    assert drawn >= {f"quality-{i}" for i in range(4)} | {f"differences-{i}" for i in range(1, 6)}
    assert drawn >= {"latency", "tradeoff", "recall"}
    for axis in (
        "share of queries answered within that time",
        "median time of a query",
        "overlap@10 with exact search",
    ):
        assert axis in page.text
    better, worse = GALLERY["six"]["comparisons"][0]["wins"], GALLERY["six"]["comparisons"][0]["losses"]
    assert f"▲ {better} better" in page.text
    assert f"{worse} worse ▼" in page.text


def test_a_bar_for_each_query_that_differs_and_a_point_for_each_system() -> None:
    page = Page(report_html(GALLERY["usual"]))
    comparisons = GALLERY["usual"]["comparisons"]
    assert sum(tag == "rect" for tag, _ in page.tags) == sum(c["wins"] + c["losses"] for c in comparisons)
    many = Page(report_html(GALLERY["large"]))
    assert sum(tag == "rect" for tag, _ in many.tags) <= 300 * 5


# -- alone, and sound --------------------------------------------------------------------------------------------------


def _sound(text: str) -> Page:
    """A page that is well-formed, whole without the network, and runs nothing."""
    page = Page(text)
    assert page.open == []
    assert not page.names & {"script", "iframe", "object", "embed", "base", "form", "link", "img", "use", "image"}
    for tag, attributes in page.tags:
        for attribute, value in attributes.items():
            assert not attribute.startswith("on"), f"{tag} has {attribute}"
            assert attribute not in ("src", "action", "data", "style", "srcset", "xlink:href")
            if attribute == "href":
                assert re.match(r"#|(runs/|[\w%-]+/report\.html$)", value or ""), value
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for _, attributes in page.tags:
        named = (attributes.get("aria-labelledby") or "").split()
        assert {
            *named,
            *((attributes.get("href") or "")[1:] for _ in "#" if (attributes.get("href") or "")[:1] == "#"),
        } <= {*ids}
    return page


@every_report
def test_the_html_stands_alone_and_is_well_formed(name: str) -> None:
    text = report_html(GALLERY[name])
    page = _sound(text)
    policies = [a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert [(policy or "").split(";")[0] for policy in policies] == ["default-src 'none'"]
    style = text.split("<style>")[1].split("</style>")[0]
    assert not re.search(r"url\(|@import|http|expression", style)


def test_the_colours_are_told_from_the_ground_in_light_and_in_dark() -> None:
    """Contrast after WCAG 2.2: 4.5 for texts, 3 for marks."""
    css = resources.files("lsr.eval.report").joinpath("report.css").read_text(encoding="utf-8")
    light, dark = (dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", part)) for part in css.split("* {")[0].split("@media"))

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for theme in (light, dark):
        for name, least in {**dict.fromkeys(("text", "muted", "link", "better", "worse"), 4.5),
                            **dict.fromkeys([f"s{i}" for i in range(7)], 3.0)}.items():  # fmt: skip
            one, other = sorted((luminance(theme[name]), luminance(theme["ground"])))
            assert (other + 0.05) / (one + 0.05) >= least, name


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    made = pages(GALLERY["hostile"], tmp_path)
    shown = " ".join(HOSTILE.translate({0: "�", 0x1B: "�", 0x202E: "�"}).split())
    for page in (_sound(made["report.html"]), render(made["report.md"])):
        assert shown in " ".join(page.text.split())
        assert not page.names & {"img", "script"}
    links = [attributes["href"] for _, attributes in render(made["report.md"]).tags if "href" in attributes]
    assert all(re.match("runs/", link or "") for link in links)
    for text in made.values():
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\u202a-\u202e]", text)


def test_latex_is_a_table_in_which_names_are_only_names() -> None:
    text = report_latex(example_report(["bm25", "50% of_it & $5 #1 {x} ~ ^ \\"]))
    assert r"50\% of\_it \& \$5 \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} & " in text
    for report in GALLERY.values():
        rows = [row for row in report_latex(report).splitlines() if row.endswith(r" \\")]
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(report["measures"])}
        assert len(rows) == len(report["systems"]) + 1


def test_latex_marks_the_best_and_what_is_significant() -> None:
    report = example_report(NAMES[:2])
    report["comparisons"][0] |= {"difference": 0.02, "p": 0.01, "p_holm": 0.01}
    report["systems"][1]["metrics"]["nDCG@10"] = 0.98765
    text = report_latex(report)
    assert r"lsr-tiny & \textbf{0.9877}$^{\dagger}$ &" in text
    assert r"$^{\dagger}$ better than bm25 (paired permutation test, $p < 0.05$)." in text


# -- odd numbers -------------------------------------------------------------------------------------------------------

_ODD: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([0, -1, 1, 5e-324, 1e-308, 1e99, -1e99, 2**63, None, "", [], {}]), st.floats(0, 1), st.floats()
)
_BASES = [
    example_report(queries=6),
    example_report(NAMES[:2], queries=1),
    example_report(["x"], baseline=None, queries=3),
]


def _paths(value: Any, before: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if not isinstance(value, dict | list):
        return [before]
    items = value.items() if isinstance(value, dict) else enumerate(value[:3])
    own = [before] if before else []
    return own + [path for key, inner in items for path in _paths(inner, (*before, key))]


_PLACES = [(base, path) for base in _BASES for path in _paths(base)]


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(range(len(_PLACES))), _ODD, st.booleans())
def test_pages_can_be_made_of_any_report_that_is_valid(at: int, value: Any, removed: bool) -> None:
    base, path = _PLACES[at]
    report = copy.deepcopy(base)
    inner: Any = report
    for step in path[:-1]:
        inner = inner[step]
    if removed:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    try:
        validate_report(report)
    except InvalidInput:
        assume(False)
    page = _sound(report_html(report))
    for _, attributes in page.tags:
        for name in ("x", "y", "cx", "cy", "x1", "y2", "width", "height", "points"):
            assert not re.search("nan|inf|e", attributes.get(name) or "")
    report_markdown(report)
    report_latex(report)


# -- several collections -----------------------------------------------------------------------------------------------


def test_a_summary_shows_every_collection_and_the_mean(tmp_path: Path) -> None:
    summary = example_summary()
    made = {path.name: path.read_text(encoding="utf-8") for path in write_summary(summary, tmp_path)}
    assert load_summary(tmp_path / "summary.json") == json.loads(json.dumps(summary))
    html, markdown = _sound(made["summary.html"]), render(made["summary.md"])
    heads = [["fact"], ["value"]]
    assert _tables(html) == [table[1:] if table[0] == heads else table for table in _tables(markdown)]
    for page in (html, markdown):
        for name in ("scifact", "nfcorpus", "fiqa", "arguana", "quora"):
            assert name in page.text
        for means in summary["macro"].values():
            for mean in means.values():
                assert f"{mean:.4f}" in page.text
        for comparison in summary["comparisons"]:
            assert f.signed(comparison["difference"]) in page.text
    assert "(fiqa/report.md)" in made["summary.md"]
    assert 'href="fiqa/report.html"' in made["summary.html"]


def test_a_summary_can_be_made_again_to_the_byte(tmp_path: Path) -> None:
    for baseline in (True, False):
        first = [path.read_bytes() for path in write_summary(example_summary(baseline=baseline), tmp_path / "a")]
        again = [p.read_bytes() for p in write_summary(load_summary(tmp_path / "a" / "summary.json"), tmp_path / "b")]
        assert first == again


def test_a_summary_with_hostile_texts_stays_sound(tmp_path: Path) -> None:
    summary = example_summary(["bm25", HOSTILE])
    summary["datasets"][0] |= {"report": "javascript:alert(1)", "name": HOSTILE}
    summary["set"][0] = HOSTILE
    for comparison in summary["comparisons"]:
        comparison["dataset"] = comparison["dataset"].replace("scifact", HOSTILE)
    summary["failed"] = [{"name": HOSTILE, "error": HOSTILE}]
    made = {path.name: path.read_text(encoding="utf-8") for path in write_summary(summary, tmp_path)}
    for page in (Page(made["summary.html"]), render(made["summary.md"])):
        assert page.open == []
        assert not page.names & {"img", "script"}
        links = [attributes["href"] or "" for _, attributes in page.tags if "href" in attributes]
        assert len(links) >= 4
        assert not any(":" in link for link in links)
