"""What a summary says: several collections, one table of the headline measure, the mean over a named set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lsr.eval.report import formats as f
from lsr.eval.report import words
from lsr.eval.report.table import Cell, Column, Rich, Standing, Strong, Table
from lsr.eval.report.texts import file_link
from lsr.eval.report.view import ALPHA, NOT_QUALITY

__all__ = ["Overview", "comparisons_table", "datasets_table", "macro_table", "significance", "verdict"]


class Overview:
    """A valid summary, and what follows from it."""

    def __init__(self, summary: Mapping[str, Any]) -> None:
        self.summary = summary
        self.datasets: Sequence[Mapping[str, Any]] = summary["datasets"]
        self.headline: str = summary["headline"]
        self.macro: Mapping[str, Mapping[str, float | None]] = summary["macro"]
        self.comparisons: Sequence[Mapping[str, Any]] = summary["comparisons"]
        self.baseline: str | None = summary["baseline"]
        # In the order in which collections name them; a system that failed on one is still a column.
        self.names: list[str] = list(dict.fromkeys(name for dataset in self.datasets for name in dataset["metrics"]))
        self._compared = {(c["dataset"], c["system"], c["measure"]): c for c in self.comparisons}

    @property
    def title(self) -> str:
        return f"Evaluation on {f.counted(len(self.datasets), 'collection')}"

    def score(self, dataset: Mapping[str, Any], name: str) -> float | None:
        value = dataset["metrics"].get(name, {}).get(self.headline)
        return None if value is None else float(value)

    def mean(self, name: str) -> float | None:
        value = self.macro.get(name, {}).get(self.headline)
        return None if value is None else float(value)

    def standing(self, dataset: str, name: str) -> Standing | None:
        comparison = self._compared.get((dataset, name, self.headline))
        if comparison is None or comparison["p_holm"] >= ALPHA or comparison["difference"] == 0:
            return None
        return "better" if comparison["difference"] > 0 else "worse"

    def leader(self) -> str | None:
        """The system with the highest mean that is not the baseline."""
        names = [name for name in self.names if name != self.baseline] or self.names
        scored = [(mean, name) for name in names if (mean := self.mean(name)) is not None]
        return max(scored, key=lambda pair: pair[0])[1] if scored else None

    def tally(self, name: str) -> tuple[int, int, int]:
        """Collections on which a system is significantly better, not distinguishable, significantly worse."""
        compared = [d["name"] for d in self.datasets if (d["name"], name, self.headline) in self._compared]
        standings = [self.standing(dataset, name) for dataset in compared]
        return standings.count("better"), standings.count(None), standings.count("worse")


def verdict(over: Overview) -> list[Rich]:
    """The result in one or two sentences."""
    leader = over.leader()
    mean = over.mean(leader) if leader is not None else None
    if leader is None or mean is None:
        return [["No system finished on every collection of the set: there is no mean to compare."]]
    number = len(over.summary["set"])
    sentences: list[Rich] = [
        [
            Strong(leader),
            f" reaches a mean {over.headline} of ",
            Strong(f.score(mean)),
            f" over {f.counted(number, 'collection')}.",
        ]
    ]
    theirs = over.mean(over.baseline) if over.baseline is not None and over.baseline != leader else None
    if theirs is not None:
        difference = mean - theirs
        apart = (
            f"{f.score(abs(difference))} {'above' if difference > 0 else 'below'}"
            if round(difference, 4)
            else "level with"
        )
        sentences.append(["That is ", Strong(apart), f" the baseline {over.baseline} ({f.score(theirs)})."])
    if (tally := _tally(*over.tally(leader))) is not None:
        sentences.append([tally])
    return sentences


def _tally(better: int, same: int, worse: int) -> str | None:
    compared = f.counted(better + same + worse, "collection")
    if better + same + worse == 0:
        return None
    if better == worse == 0:
        return f"After Holm's correction no difference on the {compared} is significant."
    return (
        f"After Holm's correction it is better on {better or 'none'} of the {compared}, worse on {worse or 'none'}, "
        f"and not distinguishable on {same or 'none'}."
    )


def significance(over: Overview) -> str:
    """The legend of the marks."""
    return f"better or worse than {over.baseline}, p < {ALPHA:g} after Holm's correction over collections and systems"


def datasets_table(over: Overview, *, page: str) -> Table:
    """A collection a row, a system a column: the headline measure. `page` is the suffix of the reports linked to."""
    rows = []
    for dataset in over.datasets:
        scores = [over.score(dataset, name) for name in over.names]
        best = _best(scores)
        rows.append(
            [
                Cell(dataset["name"], link=file_link(dataset["report"].removesuffix(".json") + page)),
                Cell(f.count(dataset["documents"])),
                Cell(f.count(dataset["queries"])),
                *(
                    Cell(
                        f.score(value),
                        strong=value is not None and round(value, 4) == best,
                        standing=over.standing(dataset["name"], name),
                    )
                    for name, value in zip(over.names, scores, strict=True)
                ),
            ]
        )
    columns = [Column("collection", number=False), Column("documents"), Column("queries"), *map(Column, over.names)]
    return Table(f"{over.headline} by collection", columns, rows, ["Each name leads to the report of that collection."])


def macro_table(over: Overview) -> Table | None:
    """Means over the named set, a system a row; None when there are none."""
    if not over.macro:
        return None
    measures = [over.headline, *(measure for measure in over.summary["measures"] if measure != over.headline)]
    best = {
        measure: None
        if measure.startswith(NOT_QUALITY)
        else _best([scores.get(measure) for scores in over.macro.values()])
        for measure in measures
    }
    rows = [
        [
            Cell(name, detail="baseline" if name == over.baseline else ""),
            *(
                Cell(f.score(value), strong=value is not None and round(value, 4) == best[measure])
                for measure in measures
                for value in [scores.get(measure)]
            ),
        ]
        for name, scores in over.macro.items()
    ]
    number = len(over.summary["set"])
    notes = [f"The set: {', '.join(over.summary['set'])}. Each collection counts once."]
    if left_out := [name for name in over.names if name not in over.macro]:
        notes.append(f"Without {', '.join(left_out)}: not finished on every collection of the set.")
    return Table(
        f"Mean over {f.counted(number, 'collection')}",
        [Column("system", number=False), *map(Column, measures)],
        rows,
        notes,
    )


def comparisons_table(over: Overview) -> Table | None:
    """Query by query, with p corrected over all collections and systems."""
    compared = [c for c in over.comparisons if c["measure"] == over.headline]
    if not compared:
        return None
    rows = []
    for c in compared:
        standing = over.standing(c["dataset"], c["system"])
        rows.append(
            [
                Cell(c["dataset"]),
                Cell(c["system"]),
                Cell(f.count(c["wins"])),
                Cell(f.count(c["ties"])),
                Cell(f.count(c["losses"])),
                Cell(f.signed(c["difference"]), standing=standing),
                Cell(f.interval(c["interval"], sign=True)),
                Cell(f.p_value(c["p_holm"]), strong=standing is not None),
            ]
        )
    names = ["collection", "system", "wins", "ties", "losses", "difference", "95 % interval", "p (Holm)"]
    return Table(
        f"Queries won and lost against {over.baseline}, {over.headline}",
        [Column(name, number=i > 1) for i, name in enumerate(names)],
        rows,
        [words.test_of(compared)],
    )


def _best(scores: Sequence[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return round(max(known), 4) if len(known) > 1 else None
