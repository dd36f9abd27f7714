"""Sentences that every form of the report says in the same words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lsr.eval.report import formats as f
from lsr.eval.report.table import Rich, Standing, Strong
from lsr.eval.report.view import View

__all__ = ["badge", "cautions", "found_at", "judged_as", "resolution", "significance", "test_of", "verdict", "worst"]


def verdict(view: View) -> list[Rich]:
    """The result in one or two sentences: who, how well, and how that stands to the baseline."""
    leader = view.leader()
    if leader is None:
        return [["No system finished: there is no result."]]
    score, interval = view.score(leader, view.headline), view.interval(leader, view.headline)
    first: list[str] = [Strong(leader), f" reaches {view.headline} ", Strong(f.score(score))]
    if interval:
        first.append(f" (95 % interval {f.interval(interval)})")
    first.append(f" on {f.counted(view.dataset['queries'], 'query', 'queries')} of {view.title}")
    others = len(view.names) - (view.baseline is not None)
    beside = "" if view.baseline is None else " beside the baseline"
    first.append(f", the highest of {others} systems{beside}." if others > 1 else ".")
    return [first, _against_baseline(view, leader, score)]


def _against_baseline(view: View, leader: str, score: float | None) -> Rich:
    if view.baseline is None:
        named = view.report["baseline"]
        return [
            f"The baseline {named} failed, so nothing was compared."
            if named
            else "There is no baseline to compare with."
        ]
    if leader == view.baseline:
        return ["It is the baseline; no other system was evaluated."]
    theirs, comparison = view.score(view.baseline, view.headline), view.comparison(leader, view.headline)
    if score is None or theirs is None:
        return [f"The baseline {view.baseline} has no score to compare with."]
    difference = comparison["difference"] if comparison else score - theirs
    baseline = f"the baseline {view.baseline} ({f.score(theirs)})"
    if round(difference, 4) == 0:
        apart: list[str] = [f"That is level with {baseline}"]
    else:
        apart = [
            "That is ",
            Strong(f"{f.score(abs(difference))} {'above' if difference > 0 else 'below'}"),
            f" {baseline}",
        ]
    if comparison is None:
        return [*apart, "; the difference was not tested."]
    if view.standing(leader, view.headline):
        return [*apart, f", more than chance explains ({_corrected(view, comparison)})."]
    return [*apart, f", which may be chance ({_corrected(view, comparison)})."]


def _corrected(view: View, comparison: Mapping[str, Any]) -> str:
    many = ", Holm-corrected" if view.corrects else ""
    return f.p_phrase(comparison["p_holm"]) + many


def resolution(view: View) -> str | None:
    """Whether the collection could have shown a smaller difference than the one found."""
    detectable = view.detectable
    if detectable is None:
        return None
    least, measure = f.score(detectable["difference"]), detectable["measure"]
    how = f"{f.counted(detectable['queries'], 'query', 'queries')}, {detectable['power'] * 100:.0f} % power"
    if detectable["sd_from"] == "assumed":
        how += f", assuming a standard deviation of {detectable['sd']:.2f}"
    leader = view.leader()
    comparison = view.comparison(leader, measure) if leader is not None else None
    if comparison is None:
        return f"Two systems must differ by about {least} in {measure} to be told apart here ({how})."
    shows = f"The collection shows differences from about {least} reliably ({how})"
    smaller = abs(comparison["difference"]) < detectable["difference"]
    significant = view.standing(comparison["system"], measure) is not None
    if significant and smaller:
        return f"{shows}; a smaller one that is found all the same may look larger than it is."
    if significant:
        return f"{shows}."
    if smaller:
        return f"{shows}, and this one is smaller: it does not prove that the two are equal."
    return f"{shows}; this one is larger, yet did not pass the corrected test: a hint, not a finding."


def badge(view: View, name: str) -> tuple[Standing | None, str] | None:
    """The verdict on one system in three or four words; None without a comparison."""
    comparison = view.comparison(name, view.headline)
    if comparison is None or view.baseline is None:
        return None
    standing = view.standing(name, view.headline)
    if standing is None:
        return None, f"no significant difference from {view.baseline}"
    return standing, f"{standing} than {view.baseline}"


def test_of(comparisons: list[Mapping[str, Any]]) -> str:
    """How p was got."""
    permutations = {comparison["permutations"] for comparison in comparisons}
    fewer = " (all there are, where few queries differ)" if len(permutations) > 1 else ""
    several = len({(comparison.get("dataset"), comparison["system"]) for comparison in comparisons}) > 1
    corrected = (
        "; p (Holm) is corrected for all that are compared in the same measure, the intervals are not"
        if several
        else ""
    )
    flips = f"{f.count(max(permutations))} sign flips{fewer}"
    return f"Paired permutation test with {flips}; bootstrap intervals of 95 %{corrected}."


def significance(view: View) -> str:
    """The legend of the marks in the table of quality, and which measures were tested at all."""
    tested = [measure for measure in view.measures if any(c["measure"] == measure for c in view.comparisons)]
    after = f"p < {view.alpha:g}" + (" after Holm's correction" if view.corrects else "")
    untested = "" if len(tested) == len(view.measures) else "; the other measures were not tested"
    return f"better or worse than {view.baseline} in {', '.join(tested)}, {after}{untested}"


def worst(view: View) -> str:
    """What the cards show: without a baseline nothing was lost."""
    return "Worst losses" if view.baseline is not None else "Lowest scores"


def cautions(view: View) -> list[str]:
    """What a reader should know before believing a number: the notes of the collection, and what the systems missed."""
    dataset = view.dataset
    found = list(dataset["notes"])
    if dataset["missing_documents"]:
        found.append(
            f"{f.counted(dataset['missing_documents'], 'judged document is', 'judged documents are')} missing from the "
            "collection: no system can find them."
        )
    if dataset["queries_without_relevant"]:
        found.append(
            f"{f.counted(dataset['queries_without_relevant'], 'query has', 'queries have')} no relevant document: every "
            "system scores 0 there."
        )
    for system in view.systems:
        if system["queries_without_hits"]:
            queries = f.counted(system["queries_without_hits"], "query", "queries")
            found.append(f"{system['name']} found nothing for {queries}; these count as 0.")
    return found


def found_at(rank: int | None, depth: int) -> str:
    """Where a relevant document stood."""
    return f"not in the first {f.count(depth)}" if rank is None else f"rank {f.count(rank)}"


def judged_as(grade: int | None) -> str:
    """What the judges said of a hit."""
    if grade is None:
        return "not judged"
    return f"relevant, grade {grade}" if grade > 0 else "judged not relevant"
