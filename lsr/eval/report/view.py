"""Questions that every form of the report asks of report.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lsr.eval.report.table import Standing

__all__ = ["Styled", "View"]

ALPHA = 0.05
# Judged@k tells how much of a ranking was judged, not how good it is.
NOT_QUALITY = ("Judged",)
_PLOTTED = 4  # measures with a panel of their own


class Styled(Protocol):
    """What curves and tables ask of the view of a report: names of systems, the number of each one's colour and shape."""

    names: list[str]

    def style(self, index: int) -> int: ...


class View:
    """A valid report, and what follows from it."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        self.report = report
        self.dataset: Mapping[str, Any] = report["dataset"]
        self.systems: Sequence[Mapping[str, Any]] = report["systems"]
        self.names: list[str] = [system["name"] for system in self.systems]
        self.headline: str = report["headline"]
        self.measures: Sequence[str] = report["measures"]
        self.comparisons: Sequence[Mapping[str, Any]] = report["comparisons"]
        self.failures: Sequence[Mapping[str, Any]] = report.get("failures") or ()
        named = report["baseline"]
        self.baseline: str | None = named if named in self.names else None  # it may have failed
        detectable = report.get("detectable")
        self.detectable: Mapping[str, Any] | None = detectable or None
        self.alpha: float = detectable["alpha"] if detectable else ALPHA
        self._compared = {(c["system"], c["measure"]): c for c in self.comparisons}

    @property
    def title(self) -> str:
        split = self.dataset.get("split")
        return f"{self.dataset['name']} ({split})" if split else str(self.dataset["name"])

    def score(self, name: str, measure: str) -> float | None:
        value = self.systems[self.names.index(name)]["metrics"].get(measure)
        return None if value is None else float(value)

    def interval(self, name: str, measure: str) -> tuple[float, float] | None:
        pair = self.systems[self.names.index(name)]["intervals"].get(measure)
        return None if pair is None or None in pair else (float(pair[0]), float(pair[1]))

    def style(self, index: int) -> int:
        """The number of a system's colour and shape: 0 for the baseline, then 1, 2, ... in the order of the report."""
        if self.names[index] == self.baseline:
            return 0
        return 1 + sum(name != self.baseline for name in self.names[:index])

    def leader(self) -> str | None:
        """The system that the report is about: the best by the headline measure that is not the baseline."""
        others = [name for name in self.names if name != self.baseline] or self.names
        scored = [(score, name) for name in others if (score := self.score(name, self.headline)) is not None]
        return max(scored, key=lambda pair: pair[0])[1] if scored else None  # the first of equals

    def comparison(self, name: str, measure: str) -> Mapping[str, Any] | None:
        return self._compared.get((name, measure))

    def standing(self, name: str, measure: str) -> Standing | None:
        """Better or worse than the baseline when that is significant after the correction."""
        comparison = self.comparison(name, measure)
        if comparison is None or comparison["p_holm"] >= self.alpha or comparison["difference"] == 0:
            return None
        return "better" if comparison["difference"] > 0 else "worse"

    @property
    def corrects(self) -> bool:
        """Whether Holm's correction changes anything: several systems are compared in a measure."""
        return len({comparison["system"] for comparison in self.comparisons}) > 1

    def best(self, measure: str) -> float | None:
        """The highest score as it is shown; None where best says nothing: one system, or no measure of quality."""
        scores = [score for name in self.names if (score := self.score(name, measure)) is not None]
        if len(scores) < 2 or measure.startswith(NOT_QUALITY):
            return None
        return round(max(scores), 4)

    def plotted_measures(self) -> list[str]:
        """The headline first, then others that have intervals."""
        others = [m for m in self.measures if m != self.headline and not m.startswith(NOT_QUALITY)]
        return [m for m in (self.headline, *others) if any(self.interval(name, m) for name in self.names)][:_PLOTTED]

    def differences(self, name: str) -> list[tuple[float, str, float, float]]:
        """(difference, query id, score, baseline's score) for each query, best first; empty without a baseline."""
        per_query = self.report["per_query"]
        ours, theirs = per_query["scores"].get(name), per_query["scores"].get(self.baseline)
        if ours is None or theirs is None or name == self.baseline:
            return []
        rows = [
            (a - b, query, a, b)
            for query, a, b in zip(per_query["query_ids"], ours, theirs, strict=True)
            if a is not None and b is not None
        ]
        return sorted(rows, key=lambda row: (-row[0], row[1]))

    def tally(self, name: str, rows: Sequence[tuple[float, str, float, float]]) -> tuple[int, int, int]:
        """Queries better, equal and worse than the baseline: as compared, else counted in `rows` of `differences`."""
        comparison = self.comparison(name, self.report["per_query"]["measure"])
        if comparison is not None:
            return comparison["wins"], comparison["ties"], comparison["losses"]
        better, worse = sum(row[0] > 0 for row in rows), sum(row[0] < 0 for row in rows)
        return better, len(rows) - better - worse, worse

    def losses(self) -> list[tuple[str, list[Mapping[str, Any]]]]:
        """(system, its worst losses), in the order of the systems."""
        by_system: dict[str, list[Mapping[str, Any]]] = {name: [] for name in self.names}
        for failure in self.failures:
            by_system.setdefault(failure["system"], []).append(failure)
        return [(name, losses) for name, losses in by_system.items() if losses]
