"""From runs and judgments to the report: scores, intervals, comparisons, and the queries that were lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.eval.datasets import Dataset, DatasetFacts
from lsr.eval.measures import Measure, evaluate, mean
from lsr.eval.significance import Comparison, bootstrap_interval, compare, detectable_difference, with_holm
from lsr.eval.system_run import SystemRun
from lsr.run_file import Ranking

__all__ = ["Scored", "compared", "corrected", "report_body"]

LOSSES = 10  # worst queries of each system
SHOWN_HITS = 5
SHOWN_RELEVANT = 3
SHOWN_TEXT = 1500  # characters
UNTESTED = ("Judged",)  # says how well the judgments fit, not how good a system is
ASSUMED_SD = 0.15  # of differences of nDCG@10, where there is none to measure

Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class Scored:
    """Systems with their scores of each query: values[system][measure], float64 [queries]."""

    dataset: Dataset
    facts: DatasetFacts
    measures: Sequence[Measure]
    baseline: str | None
    seed: int
    runs: dict[str, SystemRun] = field(default_factory=dict)
    values: dict[str, dict[str, Floats]] = field(default_factory=dict)
    worst: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def headline(self) -> str:
        return str(self.measures[0])

    @property
    def tested(self) -> list[str]:
        return [str(measure) for measure in self.measures if measure.name not in UNTESTED]

    def add(self, name: str, run: SystemRun) -> None:
        """Scores a run. The baseline comes first, since losses are against it."""
        rankings = run.rankings()
        ids = {query: ranking.ids for query, ranking in rankings.items()}
        self.runs[name] = run
        self.values[name] = evaluate(self.measures, self.dataset.qrels, ids, threshold=self.dataset.relevance_threshold)
        if name != self.baseline:
            self.worst[name] = self._worst(name, rankings)

    def _worst(self, name: str, rankings: Mapping[str, Ranking]) -> list[dict[str, Any]]:
        """The queries that lose most against the baseline; without one, those with the lowest scores."""
        ours = self.values[name][self.headline]
        theirs = self.values[self.baseline][self.headline] if self.baseline in self.values else None
        against = ours - theirs if theirs is not None else ours - 1
        order = np.argsort(against, kind="stable")[:LOSSES]
        query_ids = list(self.dataset.qrels)
        found = []
        for at in order[against[order] < 0].tolist():
            query = query_ids[at]
            found.append(
                {
                    "system": name,
                    "baseline": self.baseline if theirs is not None else None,
                    "query_id": query,
                    "score": float(ours[at]),
                    "baseline_score": None if theirs is None else float(theirs[at]),
                    **self._hits(query, rankings.get(query, Ranking((), ()))),
                }
            )
        return found

    def _hits(self, query: str, ranking: Ranking) -> dict[str, Any]:
        grades = self.dataset.qrels[query]
        rank_of = {document: rank for rank, document in enumerate(ranking.ids, start=1)}
        relevant = sorted((grade, document) for document, grade in grades.items() if grade > 0)[::-1]
        shown = zip(ranking.ids[:SHOWN_HITS], ranking.scores, strict=False)
        return {
            "relevant": [
                {"id": document, "grade": grade, "rank": rank_of.get(document)}
                for grade, document in relevant[:SHOWN_RELEVANT]
            ],
            "hits": [
                {"rank": rank, "id": document, "score": score, "grade": grades.get(document)}
                for rank, (document, score) in enumerate(shown, start=1)
            ],
        }


def compared(scored: Scored) -> list[Comparison]:
    """Each system with the baseline in each measure of quality, not yet corrected for being several."""
    if scored.baseline not in scored.values:
        return []
    baseline = scored.values[scored.baseline]
    return [
        compare(
            values[measure], baseline[measure], system=name, baseline=scored.baseline, measure=measure, seed=scored.seed
        )
        for name, values in scored.values.items()
        if name != scored.baseline
        for measure in scored.tested
    ]


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Holm's correction, over all systems (and collections) that are compared in the same measure."""
    found = list(comparisons)
    for measure in {comparison.measure for comparison in comparisons}:
        places = [i for i, comparison in enumerate(comparisons) if comparison.measure == measure]
        for i, comparison in zip(places, with_holm([comparisons[i] for i in places]), strict=True):
            found[i] = comparison
    return found


def report_body(scored: Scored, comparisons: Sequence[Comparison], *, texts: bool) -> dict[str, Any]:
    """The parts of a report that come from scores."""
    # An interval of 10,000 resamples costs the same for each measure of each system.
    systems = [
        {
            **scored.runs[name].part,
            "metrics": {measure: mean(values) for measure, values in found.items()},
            "intervals": {m: list(bootstrap_interval(found[m], seed=scored.seed)) for m in scored.tested},
        }
        for name, found in scored.values.items()
    ]
    body: dict[str, Any] = {
        "dataset": scored.facts.as_json(),
        "measures": [str(measure) for measure in scored.measures],
        "headline": scored.headline,
        "baseline": scored.baseline,
        "systems": systems,
        "comparisons": [asdict(comparison) for comparison in corrected(comparisons)],
        "detectable": _detectable(scored),
        "per_query": {
            "query_ids": list(scored.dataset.qrels),
            "measure": scored.headline,
            "scores": {name: found[scored.headline].tolist() for name, found in scored.values.items()},
        },
    }
    worst = [failure for failures in scored.worst.values() for failure in failures]
    if texts:
        _add_texts(worst, scored.dataset)
        body["failures"] = worst
    return body


def _detectable(scored: Scored) -> dict[str, Any]:
    """The smallest difference to the baseline that so many queries show; of several systems, for the most scattered one."""
    queries, headline = len(scored.dataset.qrels), scored.headline
    baseline = scored.values.get(scored.baseline or "")
    spreads = {
        name: float((found[headline] - baseline[headline]).std(ddof=1))
        for name, found in scored.values.items()
        if baseline is not None and name != scored.baseline and queries > 1
    }
    sd, source = ASSUMED_SD, "assumed"
    if spreads and max(spreads.values()) > 0:
        name = max(spreads, key=spreads.__getitem__)
        sd, source = spreads[name], f"differences of {name} and {scored.baseline}"
    return {
        "measure": headline,
        "difference": detectable_difference(queries, sd),
        "power": 0.8,
        "alpha": 0.05,
        "queries": queries,
        "sd": sd,
        "sd_from": source,
    }


def _add_texts(failures: Sequence[dict[str, Any]], dataset: Dataset) -> None:
    """Queries and documents to look at, with one pass over the collection."""
    asked = {query.id: query.text for query in dataset.queries}
    wanted: dict[str, list[dict[str, Any]]] = {}
    for failure in failures:
        failure["query"] = asked[failure["query_id"]]
        for document in (*failure["relevant"], *failure["hits"]):
            wanted.setdefault(document["id"], []).append(document)
    if not wanted:
        return
    left = set(wanted)
    for document in dataset.documents():
        for entry in wanted.get(document.id, ()):
            entry |= {"title": document.title, "text": _cut(document.text)}
        left.discard(document.id)
        if not left:
            return


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_TEXT else text[:SHOWN_TEXT].rstrip() + " …"
