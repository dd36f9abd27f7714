"""What a search found, said so that it can be believed.

The winner is chosen on the search questions and compared with the baseline on the holdout questions, which nothing was
chosen by. The best of many looks better on the questions it was chosen by than it is (the winner's curse), so the
difference on the search questions is corrected: in each of many resamples the winner is chosen anew among all pipelines,
and measured on the questions that the resample left out (bootstrap bias correction, Tsamardinos, Greasidou and Borboudakis
2018).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import EvaluationError, InvalidInput
from lsr.eval.significance import Comparison, compare, detectable_difference
from lsr.rag.search.algorithms import fitness
from lsr.rag.search.evaluated import Evaluator, Objectives, Outcomes, checked, to_json
from lsr.rag.search.racing import COMPLETE, dominates
from lsr.rag.search.store import Record
from lsr.rag.types import Failure

__all__ = [
    "Corrected",
    "Simplest",
    "Split",
    "Verdict",
    "corrected_difference",
    "detectable",
    "front",
    "qualities",
    "simplest",
    "split",
    "verdict",
]

Floats = npt.NDArray[np.float64]

BETTER = "better than the baseline"
WORSE = "worse than the baseline"
SAME = "not distinguishable from the baseline"
BASELINE = "the baseline is the best that was found"

_RESAMPLED = 1 << 22  # counts of questions at a time


@dataclass(frozen=True)
class Split:
    """Ids of questions: those that pipelines are chosen by, in the order they are asked, and those that nothing is chosen
    by."""

    search: tuple[str, ...]
    holdout: tuple[str, ...]


def split(questions: Mapping[str, str | None] | Sequence[str], *, holdout: float = 0.5, seed: int = 0) -> Split:
    """Questions in two, at random. questions: ids with their type (of which both parts get their share), or ids alone.

    Every block of the search questions is a random sample of them, so racing sees no order. Raises `InvalidInput` where a
    part would be empty.
    """
    if not 0 < holdout < 1:
        raise InvalidInput(f"holdout is {holdout!r}: it must be a share between 0 and 1")
    types = dict(questions) if isinstance(questions, Mapping) else dict.fromkeys(questions)
    rng = random.Random(seed)
    groups: dict[str | None, list[str]] = {}
    for question in sorted(types):
        groups.setdefault(types[question], []).append(question)
    apart: list[str] = []
    taken, due = 0, 0.0
    for name in sorted(groups, key=str):
        rng.shuffle(groups[name])
        due += holdout * len(groups[name])  # what rounding left over of one type goes to the next
        many = round(due) - taken
        apart += groups[name][:many]
        taken += many
    chosen = set(apart)
    search = [question for group in groups.values() for question in group if question not in chosen]
    rng.shuffle(search)
    if not search or not apart:
        raise InvalidInput(f"{len(types)} questions cannot be split: both parts need at least one")
    return Split(tuple(search), tuple(sorted(apart)))


def detectable(n: int, sd: float = 0.25) -> float:
    """The smallest difference that n holdout questions show with a power of .8 at .05, two-sided, when paired differences
    have this standard deviation. Before a search nobody knows it: .25 is usual for measures of one question between 0 and
    1."""
    return detectable_difference(n, sd=sd)


@dataclass(frozen=True)
class Verdict:
    """The winner beside the baseline on the holdout questions.

    statement: by the interval of the difference, which holds 0 or does not. comparison: None where the winner is the
    baseline. detectable: the smallest difference that would have been found, by the spread that was measured. failed:
    holdout questions without a score, of the winner and of the baseline; they are in no pair. outcomes: of both.
    """

    statement: str
    comparison: Comparison | None
    detectable: float | None
    questions: int
    failed: tuple[int, int]
    values: tuple[tuple[float, ...], tuple[float, ...]]
    outcomes: tuple[Outcomes, Outcomes]

    def to_json(self) -> dict[str, Any]:
        return {
            "statement": self.statement,
            "comparison": None if self.comparison is None else asdict(self.comparison),
            "detectable": self.detectable,
            "questions": self.questions,
            "failed": self.failed,
            "values": self.values,
            "outcomes": [{question: to_json(one) for question, one in each.items()} for each in self.outcomes],
        }


def verdict(
    evaluator: Evaluator,
    winner: Mapping[str, Any],
    baseline: Mapping[str, Any],
    questions: Sequence[str],
    objectives: Objectives,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Verdict:
    """Runs both pipelines (stages by family) on the holdout questions. Raises `EvaluationError` where one cannot be run, or
    they have no question in common that both answered."""
    same = {f: s for f, s in winner.items() if s is not None} == {f: s for f, s in baseline.items() if s is not None}
    base = _outcomes(evaluator, baseline, questions, "baseline")
    best = base if same else _outcomes(evaluator, winner, questions, "winner")
    first, second = objectives.qualities(best, questions), objectives.qualities(base, questions)
    paired = ~np.isnan(first) & ~np.isnan(second)
    if not paired.any():
        raise EvaluationError("winner and baseline have no holdout question in common that both answered")
    failed = (int(np.isnan(first).sum()), int(np.isnan(second).sum()))
    values = (objectives.values(best), objectives.values(base))
    if same:
        return Verdict(BASELINE, None, None, int(paired.sum()), failed, values, (best, base))
    compared = compare(
        first[paired],
        second[paired],
        system="winner",
        baseline="baseline",
        measure="quality",
        confidence=confidence,
        seed=seed,
    )
    low, high = compared.interval
    n = int(paired.sum())
    spread = float((first - second)[paired].std(ddof=1)) if n > 1 else 0.0
    return Verdict(
        SAME if low <= 0 <= high else BETTER if low > 0 else WORSE,
        compared,
        detectable_difference(n, sd=spread),
        n,
        failed,
        values,
        (best, base),
    )


def _outcomes(evaluator: Evaluator, stages: Mapping[str, Any], questions: Sequence[str], name: str) -> Outcomes:
    evaluated = evaluator.evaluate(stages, list(questions))
    if isinstance(evaluated, Failure):
        raise EvaluationError(
            f"the {name} cannot be run on the holdout questions: {evaluated.stage}: {evaluated.message}"
        )
    return checked(evaluated, questions)


def qualities(records: Sequence[Record], objectives: Objectives, questions: Sequence[str]) -> Floats:
    """The quality of each record on each question [records, questions]; NaN where there is none."""
    return np.array([objectives.qualities(record.outcomes, questions) for record in records]).reshape(
        len(records), len(questions)
    )


@dataclass(frozen=True)
class Corrected:
    """The winner's difference to the baseline on the search questions. naive: as it looks; corrected: as the same way of
    choosing does on questions that it has not seen, with its interval. The interval is wide: a resample leaves out 37 % of
    the questions.
    """

    naive: float
    corrected: float
    interval: tuple[float, float]
    resamples: int


def corrected_difference(
    values: npt.ArrayLike, baseline: int = 0, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Corrected:
    """values: quality [pipelines, questions] of all that could have been chosen (complete ones), NaN where a question
    failed. baseline: its row. Raises `InvalidInput` for fewer than 2 questions."""
    y = np.asarray(values, np.float64)
    if y.ndim != 2 or y.shape[0] < 1 or y.shape[1] < 2:
        raise InvalidInput(f"expected values of pipelines on 2 or more questions, got an array of shape {y.shape}")
    there = ~np.isnan(y)
    filled = np.where(there, y, 0.0)
    rng = np.random.default_rng(seed)
    size = y.shape[1]
    found: list[Floats] = []
    rows = max(1, _RESAMPLED // size)
    for start in range(0, resamples, rows):
        counts = rng.multinomial(size, np.full(size, 1 / size), min(rows, resamples - start)).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (counts @ filled.T) / (counts @ there.T.astype(np.float64))  # [resamples, pipelines]
        winners = np.where(np.isnan(means), -np.inf, means).argmax(axis=1)
        out = (counts == 0) & there[winners] & there[baseline]
        kept = out.any(axis=1)
        differences = ((filled[winners] - filled[baseline]) * out).sum(axis=1)[kept] / out.sum(axis=1)[kept]
        found.append(differences)
    drawn = np.concatenate(found)
    if len(drawn) == 0:
        raise InvalidInput("no question was answered by winner and baseline alike")
    means = np.where(there.any(axis=1), filled.sum(axis=1) / np.maximum(there.sum(axis=1), 1), -np.inf)
    best = int(means.argmax())
    both = there[best] & there[baseline]
    naive = float((y[best] - y[baseline])[both].mean()) if both.any() else float("nan")
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Corrected(naive, float(drawn.mean()), (float(low), float(high)), len(drawn))


def front(records: Sequence[Record]) -> list[Record]:
    """The complete pipelines that no other beats in all objectives, best quality first. Of equal ones the first stands."""
    complete = [record for record in records if record.state == COMPLETE and record.values is not None]
    found: list[Record] = []
    for record in complete:
        mine = record.values or ()
        if any(dominates(other.values or (), mine) for other in complete):
            continue
        if all(other.values != mine for other in found):
            found.append(record)
    return sorted(found, key=lambda record: (-(record.values or (0.0,))[0], record.number))


@dataclass(frozen=True)
class Simplest:
    """The pipeline of fewest stages that is within noise of the best, and how it compares; None where it is the best
    itself."""

    record: Record
    stages: int
    comparison: Comparison | None


def simplest(
    records: Sequence[Record],
    objectives: Objectives,
    questions: Sequence[str],
    *,
    epsilon: float = 0.02,
    alpha: float = 0.05,
    seed: int = 0,
) -> Simplest:
    """Of the complete pipelines that with fewest stages whose difference to the best is not significant at alpha, and whose
    interval does not go below -epsilon: that few questions show nothing is not enough. Of several, the cheaper, then the
    better."""
    complete = [record for record in records if record.state == COMPLETE and record.values is not None]
    if not complete:
        raise InvalidInput("no pipeline was evaluated on all questions")
    best = max(complete, key=lambda record: (*fitness(record.values or (0.0,)), -record.number))
    reference = objectives.qualities(best.outcomes, questions)

    def order(record: Record) -> tuple[Any, ...]:
        values = record.values or ()
        return (_stages(record), values[1:], -values[0], record.number)

    for record in sorted(complete, key=order):
        if record is best:
            break
        mine = objectives.qualities(record.outcomes, questions)
        paired = ~np.isnan(mine) & ~np.isnan(reference)
        if not paired.any():
            continue
        compared = compare(
            mine[paired],
            reference[paired],
            system=str(record.number),
            baseline=str(best.number),
            measure="quality",
            permutations=10_000,
            resamples=5_000,
            seed=seed,
        )
        if compared.p > alpha and compared.interval[0] > -epsilon:
            return Simplest(record, _stages(record), compared)
    return Simplest(best, _stages(best), None)


def _stages(record: Record) -> int:
    return sum(stage is not None for stage in record.choice.values())
