"""Questions that every form of a benchmark's report asks of report.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lsr.eval.report import formats as f
from lsr.eval.report.table import Strong

__all__ = ["BenchmarkView", "microseconds", "written"]

_SAID = 0.95  # the level of recall that the first sentence is about


class BenchmarkView:
    """A report of `lsr bench`, and what follows from it."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        self.report = report
        self.series: Sequence[Mapping[str, Any]] = report["series"]
        self.names: list[str] = [series["name"] for series in self.series]
        self.queries: list[str] = [queries["name"] for queries in report["query_sets"]]
        self.ks: Sequence[int] = report["method"]["k"]
        self._curves = {(curve["series"], curve["queries"], curve["k"]): curve["points"] for curve in report["curves"]}

    @property
    def title(self) -> str:
        return f"Search engines on {self.report['collection']['name']}"

    def style(self, index: int) -> int:
        """The number of a series' colour and shape; a bare one has those of its engine."""
        name = self.names[index].removesuffix(" bare") if self.series[index]["bare"] else self.names[index]
        others = [series["name"] for series in self.series if not series["bare"]]
        return 1 + (others.index(name) if name in others else len(others))

    def points(self, series: str, queries: str, k: int) -> Sequence[Mapping[str, Any]]:
        """The Pareto front of a series, rising in time and recall; empty when nothing was measured."""
        points: Sequence[Mapping[str, Any]] = self._curves.get((series, queries, k), ())
        return points

    def levels(self, queries: str, k: int) -> list[Mapping[str, Any]]:
        return [level for level in self.report["levels"] if level["queries"] == queries and level["k"] == k]

    def setting(self, point: Mapping[str, Any]) -> str:
        """Parameters of the index, then those of the search."""
        index = self.report["indexes"][point["index"]]
        return "; ".join(part for part in (written(index["settings"]), written(point["settings"])) if part)

    def verdict(self) -> list[list[str]]:
        """For each set of queries a sentence: lsr beside the fastest peer, at one level of recall."""
        sentences = []
        k = self.ks[0]
        ours = [series["name"] for series in self.series if series["ours"] and not series["bare"]]
        theirs = [series["name"] for series in self.series if not series["ours"]]
        for queries in self.queries:
            engines: Mapping[str, Any] = next(
                (x["engines"] for x in self.levels(queries, k) if x["recall"] == _SAID), {}
            )
            best, peer = (_fastest(engines, names) for names in (ours, theirs))
            if best is None:
                continue
            words = [
                f"{queries}: with {100 * _SAID:.0f} % of the top {k} found, ",
                Strong(f"{best} takes {microseconds(engines[best]['mean_us'])} a query"),
            ]
            if peer is not None:
                words.append(f", {peer}, the fastest peer, {microseconds(engines[peer]['mean_us'])}")
            sentences.append([*words, "."])
        return sentences

    def cautions(self) -> list[str]:
        """What to know before believing a number."""
        method = self.report["method"]
        busy = [series["name"] for series in self.series if series["several_threads"]]
        said = [
            "Times of one machine: compare engines within this report, not with other reports.",
            f"The settings were chosen from each grid by {f.count(method['sweep_queries'])} of the same queries.",
        ]
        if method["reopened"]:
            said.append(
                "Memory did not hold all indexes at once: between rounds some were closed and opened again, "
                f"{f.counted(method['reopened'], 'time')} in all."
            )
        if busy:
            said.append(f"More than one processor was at work while these were timed: {', '.join(busy)}.")
        return said


def _fastest(engines: Mapping[str, Any], names: Sequence[str]) -> str | None:
    reaching = [name for name in names if engines.get(name) is not None]
    return min(reaching, key=lambda name: engines[name]["mean_us"], default=None)


def microseconds(value: float | None) -> str:
    return f.milliseconds(None if value is None else value / 1000)


def written(settings: Mapping[str, Any]) -> str:
    """query_cut 8, heap_factor 0.9."""
    words = {True: "yes", False: "no", None: "none"}
    return ", ".join(
        f"{key} {words[value] if value is None or isinstance(value, bool) else value}"
        for key, value in settings.items()
    )
