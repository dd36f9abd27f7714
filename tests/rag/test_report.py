"""The report of a search: what it says, and that the page is whole and runs nothing."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from lsr.errors import InvalidInput
from lsr.rag.report import StudyView, read_report, report_html, write_report
from lsr.rag.report.view import BASELINE, COMPLETE, SAME, WORSE, BudgetView, SplitView
from tests.eval.report.pages import Page
from tests.rag.study_example import EVIL, study


def page(view: StudyView) -> Page:
    found = Page(report_html(view))
    assert not found.open
    return found


def table(view: StudyView, heading: str) -> list[list[str]]:
    """The rows of the table with a column of that name, each cell's words joined by spaces."""
    for rows in page(view).tables:
        if heading in [" ".join(cell.split()) for cell in rows[0]]:
            return [[" ".join(cell.split()) for cell in row] for row in rows]
    raise AssertionError(heading)


def test_the_files_are_written_and_made_again_from_the_json_to_the_byte(tmp_path: Path) -> None:
    paths = write_report(study(), tmp_path / "report")
    assert [path.name for path in paths] == ["report.json", "report.html"]
    again = read_report(tmp_path / "report")
    assert again == study()
    assert report_html(again) == paths[1].read_text(encoding="utf-8")
    assert json.loads(paths[0].read_text(encoding="utf-8"))["schema_version"] == 1


def test_the_page_is_whole_and_loads_and_runs_nothing() -> None:
    text = report_html(study())
    found = page(study())
    assert not {"script", "iframe", "img", "link", "object", "embed"} & {tag for tag, _ in found.tags}
    assert not re.search(r"(?:https?:)?//[a-z]", text.replace("http://www.w3.org", ""))
    assert all(value is None or not value.startswith("javascript") for _, a in found.tags for value in a.values())
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    policies = [attributes["content"] for _, attributes in found.tags if "http-equiv" in attributes]
    assert ["default-src 'none'" in (policy or "") for policy in policies] == [True]
    ids = Counter(attributes["id"] for _, attributes in found.tags if "id" in attributes)
    assert max(ids.values()) == 1
    links = [attributes["href"] for tag, attributes in found.tags if tag == "a"]
    assert all(link is not None and link[0] == "#" and link[1:] in ids for link in links)


def test_the_page_fits_a_phone_and_both_grounds() -> None:
    found = page(study())
    meta = [attributes for tag, attributes in found.tags if tag == "meta"]
    assert any(a.get("name") == "viewport" and "width=device-width" in (a.get("content") or "") for a in meta)
    assert "prefers-color-scheme: dark" in report_html(study())
    drawings = [attributes for tag, attributes in found.tags if tag == "svg" and attributes.get("class") == "plot"]
    assert drawings
    assert all(
        "width" not in attributes and "viewbox" in attributes for attributes in drawings
    )  # as wide as there is room
    # Wide tables scroll by themselves, and so does the file.
    names = [(tag, attributes.get("class")) for tag, attributes in found.tags]
    for at, (tag, _) in enumerate(names):
        if tag == "table":
            assert names[at - 1] == ("div", "scroll")


def test_texts_of_others_stay_texts() -> None:
    found = page(study(notes=(EVIL,), name=EVIL))
    assert "alert('x')" in found.text
    assert "\u202e" not in found.text
    assert not [tag for tag, _ in found.tags if tag == "script"]


def test_the_verdict_says_how_the_winner_stands_to_the_baseline() -> None:
    text = page(study()).text
    assert (
        "p38 reaches retrieval@5 0.7312 (95\u00a0% interval 0.6900 to 0.7700) on 50 questions that nothing was" in text
    )
    assert (
        "That is better than the baseline p0 (0.6984) (difference +0.0328, 95\u00a0% interval +0.0104 to +0.0551"
        in text
    )
    assert "The simplest pipeline within noise of the best is p21." in text
    assert "50 holdout questions show differences from about 0.0310 reliably" in text


def test_no_difference_is_not_called_one() -> None:
    close = replace(study().holdout, difference=0.004, interval=(-0.01, 0.02), p=0.6)
    text = page(study(verdict=SAME, holdout=close)).text
    assert "That is not distinguishable from the baseline p0" in text
    assert "the two need not be equal" in text
    assert "That is better" not in text
    assert "That is worse than the baseline p0" in page(study(verdict=WORSE)).text


def test_a_baseline_that_wins_has_a_report() -> None:
    split = SplitView(study().holdout.questions, 0.7, 0.7)
    view = study(verdict=BASELINE, winner="p0", simplest="p0", holdout=split, search=split)
    text = page(view).text
    assert "It is the baseline: no pipeline that was evaluated beat it" in text
    assert "Question by question" not in text


def test_the_leaderboard_holds_the_best_and_the_named_by_quality() -> None:
    rows = table(study(), "stages that the baseline has not")
    names = [row[0].split()[0] for row in rows[1:]]
    complete = sorted((p for p in study().pipelines if p.state == COMPLETE), key=lambda p: -(p.quality or 0))
    assert names[:20] == [p.name for p in complete[:20]]
    assert {"p0", "p38", "p21"} <= set(names)
    assert next(row for row in rows if row[0].startswith("p38"))[0] == "p38 winner"
    p35 = next(row for row in rows if row[0] == "p35")
    assert p35[-1] == "retrieve: sparse; rerank: cross-encoder"
    assert next(row for row in rows if row[0] == "p0 baseline")[-1] == ""
    assert "8 raced out, 1 failed" in page(study()).text
    assert "cost" not in rows[0]  # nothing has one


def test_the_front_of_each_plot_is_that_of_its_two_axes() -> None:
    text = report_html(study())
    said = re.search(r'id="front-latency-desc">On the front: (.*?)\.</desc>', text)
    assert said is not None
    named = [part.split()[0] for part in said[1].split("; ")]
    complete = [p for p in study().pipelines if p.state == COMPLETE]
    expected = [
        p.name
        for p in sorted(complete, key=lambda p: p.latency_ms or 0)
        if not any(
            (q.latency_ms or 0) <= (p.latency_ms or 0) and (q.quality or 0) >= (p.quality or 0) and q is not p
            for q in complete
        )
    ]
    assert named == expected
    assert "front-tokens" in text
    assert "front-cost" not in text


def test_effects_and_interactions_are_shown_with_what_cannot_be_told() -> None:
    rows = table(study(), "effect")
    assert rows[1] == ["rerank beside none", "maxsim", "▲ +0.0210", "+0.0110 to +0.0310", "13"]
    assert rows[2][2] == "−0.0120"
    assert rows[4][1:4] == ["mmr", "–", "–"]
    assert table(study(), "together")[1][:3] == ["rerank: maxsim", "retrieve: bm25 + sparse", "▼ −0.0110"]


def test_questions_are_compared_one_by_one() -> None:
    view = study()
    rows = table(view, "question")
    moved = [q for q in view.holdout.questions if None not in (q.winner, q.baseline) and q.winner != q.baseline]
    best = max(moved, key=lambda q: (q.winner or 0) - (q.baseline or 0))
    assert rows[1][2:4] == [f"{best.winner:.4f}", f"{best.baseline:.4f}"]
    assert len(rows) == 1 + min(len(moved), 20)
    text = report_html(view)
    assert "questions-holdout-title" in text
    assert "questions-search-title" in text
    assert "1 question failed in one of the two, and is in no figure" in text


def test_the_budget_and_what_the_cache_saved() -> None:
    text = " ".join(page(study()).text.split())
    assert "40 of 100" in text
    assert "0 tokens of 50,000 tokens" in text
    assert "1,310 of 8,800 without the cache, 6.72 × fewer" in text
    assert "85.1 %" in text
    assert "46,080, 40 of them evaluated" in text
    assert "no better pipeline in 5 batches" in text


def test_the_winner_stands_as_the_file_that_runs() -> None:
    assert study().winner_yaml in page(study()).text


def test_a_report_without_what_may_be_missing() -> None:
    bare = study(
        pipelines=tuple(replace(p, latency_ms=None, tokens=None, interval=None) for p in study().pipelines),
        budget=BudgetView((), "the budget was used up"),
        effects=(),
        interactions=(),
        detectable=None,
        detectable_before=None,
        legal=None,
        simplest=None,
        facts=(),
        notes=(),
        failed=(),
    )
    text = page(bare).text
    assert "Interactions" not in text
    assert "Quality against cost" not in text
    assert "cache" not in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"winner": "p99"}, "the winner 'p99' is not among the 40 pipelines"),
        ({"baseline": "p99"}, "the baseline 'p99'"),
        ({"detectable": math.nan}, "holds NaN"),
        ({"verdict": "great"}, "verdict is 'great'"),
    ],
)
def test_a_study_that_cannot_be_reported_writes_nothing(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=message):
        write_report(study(**changes), tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", r"report\.json:1: not JSON"), ("[]", "schema_version None"), ('{"schema_version": 1}', "needs name")],
)
def test_what_is_no_report_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(InvalidInput, match=message):
        read_report(tmp_path)


def test_a_missing_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"report\.json: the report cannot be read"):
        read_report(tmp_path)
