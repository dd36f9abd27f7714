"""What each family contributes: effects of its options over all pipelines that were evaluated.

A search does not evaluate pipelines at random, so options stand in unlike company. Their effects are those of a linear
model of all families at once, fitted to each question by least squares: the quality is a mean and a term for each option.
An effect is the mean over questions of an option's term less that of the family's reference (none, or the most frequent
option). Its interval is a bootstrap over questions; it says nothing about pipelines that were not evaluated. What the
evaluated pipelines cannot tell apart has no effect here, not one of 0.

Pipelines that were raced out count on the questions that they answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.eval.significance import bootstrap_interval
from lsr.rag.search.constraints import NONE
from lsr.rag.search.evaluated import Objectives
from lsr.rag.search.racing import FAILED
from lsr.rag.search.selection import qualities
from lsr.rag.search.store import Record

__all__ = ["Effect", "Interaction", "effects", "interactions"]

Floats = npt.NDArray[np.float64]

_ROUNDING = 1e-8


@dataclass(frozen=True)
class Effect:
    """What an option changes beside the reference of its family, everything else alike. difference, interval: None where
    the evaluated pipelines cannot tell. pipelines: those with the option; questions: those it could be told on."""

    family: str
    option: str
    reference: str
    difference: float | None
    interval: tuple[float, float] | None
    pipelines: int
    questions: int


@dataclass(frozen=True)
class Interaction:
    """What two options together change beyond the sum of what each does alone."""

    families: tuple[str, str]
    options: tuple[str, str]
    difference: float
    interval: tuple[float, float]
    pipelines: int


def effects(
    records: Sequence[Record],
    objectives: Objectives,
    questions: Sequence[str],
    *,
    parameters: bool = False,
    seed: int = 0,
) -> list[Effect]:
    """Effects in the order of families, largest first within one. parameters: options that differ in parameters are
    apart."""
    table = _Table(records, objectives, questions, parameters)
    found = []
    terms = table.fitted([[column] for column in table.columns])
    for (family, option), values in zip(table.columns, terms, strict=True):
        known = values[~np.isnan(values)]
        found.append(
            Effect(
                family,
                option,
                table.references[family],
                float(known.mean()) if len(known) else None,
                bootstrap_interval(known, resamples=2000, seed=seed) if len(known) else None,
                table.frequency[family, option],
                len(known),
            )
        )
    families = list(table.references)
    return sorted(
        found, key=lambda e: (families.index(e.family), float("inf") if e.difference is None else -e.difference)
    )


def interactions(
    records: Sequence[Record],
    objectives: Objectives,
    questions: Sequence[str],
    *,
    families: int = 3,
    seed: int = 0,
) -> list[Interaction]:
    """Interactions of the options of the families whose effects differ most, as far as they can be told; the largest
    first."""
    spread: dict[str, list[float]] = {}
    for effect in effects(records, objectives, questions, seed=seed):
        if effect.difference is not None:
            spread.setdefault(effect.family, [0.0]).append(effect.difference)
    largest = sorted(spread, key=lambda family: min(spread[family]) - max(spread[family]))[:families]
    table = _Table(records, objectives, questions, parameters=False)
    found = []
    for first, second in combinations([f for f in table.references if f in largest], 2):
        pairs = [(a, b) for a in table.columns if a[0] == first for b in table.columns if b[0] == second]
        pairs = [pair for pair in pairs if table.together(list(pair)).any()]
        extra = [list(pair) for pair in pairs]
        for (a, b), values in zip(pairs, table.fitted(extra, extra), strict=True):
            known = values[~np.isnan(values)]
            if len(known):
                interval = bootstrap_interval(known, resamples=2000, seed=seed)
                many = int(table.together([a, b]).sum())
                found.append(Interaction((first, second), (a[1], b[1]), float(known.mean()), interval, many))
    return sorted(found, key=lambda interaction: -abs(interaction.difference))


class _Table:
    """Pipelines as rows of a linear model. columns: the options that are not the reference of their family."""

    def __init__(
        self, records: Sequence[Record], objectives: Objectives, questions: Sequence[str], parameters: bool
    ) -> None:
        rows = [record for record in records if record.state != FAILED]
        if not rows:
            raise InvalidInput("no pipeline was evaluated")
        names = dict.fromkeys(family for record in rows for family in record.choice)
        self.labels = [{f: _label(record.choice.get(f), parameters) for f in names} for record in rows]
        self.frequency = Counter((family, label[family]) for label in self.labels for family in names)
        self.references = {}
        self.columns: list[tuple[str, str]] = []
        for family in names:
            there = sorted(option for f, option in self.frequency if f == family)
            if len(there) < 2:
                continue
            reference = NONE if NONE in there else max(there, key=lambda option: self.frequency[family, option])
            self.references[family] = reference
            self.columns += [(family, option) for option in there if option != reference]
        self.values = qualities(rows, objectives, questions)

    def together(self, options: Sequence[tuple[str, str]]) -> npt.NDArray[np.bool_]:
        """The pipelines that have all these options."""
        return np.array([all(label[family] == option for family, option in options) for label in self.labels])

    def fitted(
        self, wanted: Sequence[Sequence[tuple[str, str]]], extra: Sequence[Sequence[tuple[str, str]]] = ()
    ) -> list[Floats]:
        """The terms of options, or of options together, on each question; NaN where they cannot be told. extra: terms of
        the model beside those of single options."""
        model = [[column] for column in self.columns] + [list(term) for term in extra]
        x = np.column_stack([np.ones(len(self.labels)), *(self.together(term) for term in model)]).astype(np.float64)
        places = [1 + model.index(list(term)) for term in wanted]
        result = np.full((len(places), self.values.shape[1]), np.nan)
        there = ~np.isnan(self.values)
        patterns, group = np.unique(there, axis=1, return_inverse=True)
        for number in range(patterns.shape[1]):
            rows, columns = patterns[:, number], group.ravel() == number
            if not rows.any():
                continue
            inverse = np.linalg.pinv(x[rows])
            known = np.abs(inverse @ x[rows] - np.eye(x.shape[1])).max(axis=1) < _ROUNDING
            terms = inverse @ self.values[np.ix_(rows, columns)]
            for i, place in enumerate(places):
                if known[place]:
                    result[i, columns] = terms[place]
        return list(result)


def _label(stage: Mapping[str, Any] | None, parameters: bool) -> str:
    if stage is None:
        return NONE
    rest = ", ".join(f"{name} {value}" for name, value in stage.items() if name != "kind")
    return f"{stage['kind']} ({rest})" if parameters and rest else str(stage["kind"])
