"""What the pages say of a result: the sentences, as a reader finds them in report.md."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from lsr.eval.report.markdown import report_markdown, summary_markdown
from lsr.eval.report.schema import validate_report
from tests.eval.report.examples import NAMES, example_report, example_summary


def _report(names: list[str] | None = None, **changes: Any) -> dict[str, Any]:
    report = example_report(names or NAMES[:2], queries=300)
    report.update(changes)
    return report


def _compared(difference: float, p: float, *, least: float = 0.02) -> dict[str, Any]:
    """One system beside the baseline at 0.5."""
    report = _report()
    for system, score in zip(report["systems"], (0.5, 0.5 + difference), strict=True):
        system["metrics"]["nDCG@10"] = score
    report["comparisons"][0] |= {"difference": difference, "p": p, "p_holm": p}
    report["detectable"]["difference"] = least
    return report


def _head(report: dict[str, Any]) -> str:
    validate_report(report)
    return report_markdown(report).split("## Quality")[0]


@pytest.mark.parametrize(
    ("difference", "p", "verdict", "resolution"),
    [
        (0.05, 0.001, "That is **0.0500 above** the baseline bm25 (0.5000), more than chance explains (p = 0.001).",
         "shows differences from about 0.0200 reliably (300 queries, 80 % power)."),
        (-0.05, 0.0001, "That is **0.0500 below** the baseline bm25 (0.5000), more than chance explains (p < 0.001).",
         "reliably (300 queries, 80 % power)."),
        (0.01, 0.3, "That is **0.0100 above** the baseline bm25 (0.5000), which may be chance (p = 0.300).",
         "and this one is smaller: it does not prove that the two are equal."),
        (0.01, 0.04, "more than chance explains (p = 0.040).",
         "a smaller one that is found all the same may look larger than it is."),
        (0.05, 0.06, "which may be chance (p = 0.060).",
         "this one is larger, yet did not pass the corrected test: a hint, not a finding."),
        (0.00004, 1.0, "That is level with the baseline bm25 (0.5000), which may be chance (p = 1.000).",
         "and this one is smaller"),
    ],
)  # fmt: skip
def test_the_result_and_what_the_collection_could_have_shown(
    difference: float, p: float, verdict: str, resolution: str
) -> None:
    head = _head(_compared(difference, p))
    assert verdict in head
    assert resolution in head


def test_the_best_of_several_is_named_and_the_correction_said() -> None:
    head = _head(_report(NAMES))
    assert head.count("the highest of 5 systems beside the baseline.") == 1
    assert "Holm-corrected" in head
    assert "Holm" not in _head(_report())


def test_a_baseline_that_failed_is_said() -> None:
    report = example_report(["lsr-tiny"], baseline=None)
    report |= {"baseline": "bm25", "failed": [{"name": "bm25", "error": "out of memory"}]}
    head = _head(report)
    assert "The baseline bm25 failed, so nothing was compared." in head
    assert "bm25: out of memory" in head


def test_no_baseline_one_system_and_none_are_said() -> None:
    assert "There is no baseline to compare with." in _head(example_report(["lsr-tiny"], baseline=None))
    assert "It is the baseline; no other system was evaluated." in _head(example_report(["bm25"]))
    nothing = example_report(["bm25"], baseline=None)
    nothing |= {"systems": [], "failures": [], "comparisons": []}
    nothing["per_query"]["scores"] = {}
    assert "No system finished: there is no result." in _head(nothing)


def test_a_standard_deviation_that_was_assumed_is_said() -> None:
    report = example_report(["lsr-tiny"], baseline=None)
    report["detectable"] = {
        "measure": "nDCG@10", "difference": 0.0243, "power": 0.8, "alpha": 0.05, "queries": 300, "sd": 0.15,
        "sd_from": "assumed",
    }  # fmt: skip
    head = _head(report)
    assert "Two systems must differ by about 0.0243 in nDCG@10 to be told apart here" in head
    assert "assuming a standard deviation of 0.15" in head


def test_what_was_left_out_or_missed_is_said() -> None:
    report = _report()
    report["dataset"] |= {
        "notes": ["9 queries were left out."], "missing_documents": 1, "queries_without_relevant": 3,
        "self_retrieval_dropped": True,
    }  # fmt: skip
    report["systems"][1] |= {"queries_without_hits": 1, "self_hits_dropped": 41, "ties_at_depth": 7}
    text = report_markdown(report)
    for said in (
        "- 9 queries were left out.",
        "- 1 judged document is missing from the collection",
        "- 3 queries have no relevant document: every system scores 0 there.",
        "- lsr-tiny found nothing for 1 query; these count as 0.",
        "lsr-tiny: 41 hits with the query's own id dropped.",
        "lsr-tiny: equal scores at the last place kept, in 7 queries.",
        "| hits with the query's own id | dropped |",
    ):
        assert said in text


def test_a_mark_stands_only_where_a_difference_is_significant_after_the_correction() -> None:
    report = _report(NAMES[:3])
    for comparison, p in zip(report["comparisons"], (0.049, 0.051), strict=True):
        comparison |= {"difference": -0.1, "p": 0.01, "p_holm": p}
    rows = report_markdown(report).split("Difference from bm25")[1].splitlines()
    assert "▼" in next(row for row in rows if row.startswith("| lsr-tiny"))
    assert "▼" not in next(row for row in rows if row.startswith("| splade-v3"))


# -- several collections -----------------------------------------------------------------------------------------------


def test_a_summary_counts_collections_won_and_lost() -> None:
    summary = example_summary(NAMES[:2])
    for comparison, (difference, p) in zip(
        summary["comparisons"], ((0.1, 0.01), (-0.1, 0.01), (0.1, 0.2), (0.1, 0.03)), strict=True
    ):
        comparison |= {"difference": difference, "p_holm": p}
    text = summary_markdown(summary)
    assert "better on 2 of the 4 collections, worse on 1, and not distinguishable on 1." in text
    for comparison in summary["comparisons"]:
        comparison["p_holm"] = 0.5
    assert "no difference on the 4 collections is significant" in summary_markdown(summary)


def test_a_system_that_did_not_finish_everywhere_has_no_mean_and_is_named() -> None:
    text = summary_markdown(example_summary())
    assert "Without splade-v3: not finished on every collection of the set." in text
    none = copy.deepcopy(example_summary())
    none["macro"] = {}
    assert "No system finished on every collection of the set: there is no mean to compare." in summary_markdown(none)
