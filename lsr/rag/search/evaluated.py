"""What evaluating a pipeline gives: of each question its metrics with what answering it took, or a failure; and the
objectives that are made of that.

A failed question has no score: it counts neither as 0 nor as anything else, and is listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np

from lsr.errors import EvaluationError, InvalidInput
from lsr.rag.search.constraints import unknown
from lsr.rag.types import Failure, Usage

__all__ = ["COSTS", "Evaluated", "Evaluator", "Measured", "Objectives", "Outcome", "Outcomes", "read_outcome"]

COSTS = ("latency", "tokens", "cost")


@dataclass(frozen=True, slots=True)
class Measured:
    """A question that was answered. seconds: what a pipeline without a cache would have taken; tokens: read and written by
    generators; cost: money."""

    metrics: Mapping[str, float]
    seconds: float = 0.0
    tokens: int = 0
    cost: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return {"metrics": dict(self.metrics), "seconds": self.seconds, "tokens": self.tokens, "cost": self.cost}


Outcome: TypeAlias = Measured | Failure
Outcomes: TypeAlias = Mapping[str, Outcome]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What came of each question that was asked, by its id. preparation: what generators consumed for the corpus, before
    any question, and was not told before."""

    outcomes: Outcomes
    preparation: Usage = field(default_factory=Usage)


class Evaluator(Protocol):
    """Runs a pipeline on questions. With several workers it is called from several threads."""

    def evaluate(self, stages: Mapping[str, Any], question_ids: Sequence[str]) -> Evaluated | Failure:
        """A `Failure` ends the pipeline: it cannot work on any question, as when its index cannot be built."""
        ...


def tokens_of(outcome: Outcome) -> int:
    if isinstance(outcome, Failure):
        return outcome.usage.tokens_in + outcome.usage.tokens_out
    return outcome.tokens


def cost_of(outcome: Outcome) -> float:
    return outcome.usage.cost if isinstance(outcome, Failure) else outcome.cost


def to_json(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Measured):
        return outcome.to_json()
    return {"failure": outcome.to_json(), "tokens": tokens_of(outcome), "cost": cost_of(outcome)}


def read_outcome(data: Mapping[str, Any]) -> Outcome:
    if "failure" not in data:
        return Measured(data["metrics"], data["seconds"], data["tokens"], data["cost"])
    return Failure(**data["failure"], usage=Usage(tokens_in=data["tokens"], cost=data["cost"]))


@dataclass(frozen=True)
class Objectives:
    """What a search wants. quality: metrics with their weights, which are made to sum to 1, upward; costs: any of "latency"
    (95th percentile of seconds a question), "tokens" and "cost" (means a question), downward.

    Values of a pipeline are a tuple: its quality, then its costs in this order.
    """

    quality: Mapping[str, float]
    costs: tuple[str, ...] = ()
    _weights: dict[str, float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.quality or not all(weight > 0 for weight in self.quality.values()):
            raise InvalidInput("objectives: quality must be one or more metrics with weights above 0")
        for name in self.costs:
            if name not in COSTS:
                raise InvalidInput(f"objectives: {unknown('cost', name, COSTS)}")
        if len(set(self.costs)) != len(self.costs):
            raise InvalidInput("objectives: a cost stands twice")
        total = sum(self.quality.values())
        object.__setattr__(self, "_weights", {name: weight / total for name, weight in self.quality.items()})

    def to_json(self) -> dict[str, Any]:
        return {"quality": dict(self.quality), "costs": list(self.costs)}

    def quality_of(self, outcome: Outcome) -> float:
        """The quality of one question; NaN where it failed. Raises `EvaluationError` for a metric that is not there."""
        if isinstance(outcome, Failure):
            return float("nan")
        value = 0.0
        for name, weight in self._weights.items():
            if name not in outcome.metrics:
                raise EvaluationError(f"objectives: {unknown('metric', name, outcome.metrics)}")
            value += weight * outcome.metrics[name]
        return value

    def qualities(self, outcomes: Outcomes, questions: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The quality of each question [n]; NaN where it failed or was not asked."""
        nan = float("nan")
        return np.array([self.quality_of(outcomes[q]) if q in outcomes else nan for q in questions], np.float64)

    def values(self, outcomes: Outcomes) -> tuple[float, ...]:
        """The quality and the costs over all questions that were answered, of which there must be one."""
        answered = [outcome for outcome in outcomes.values() if isinstance(outcome, Measured)]
        quality = float(np.mean([self.quality_of(outcome) for outcome in answered]))
        costs = {
            "latency": lambda: float(np.percentile([outcome.seconds for outcome in answered], 95)),
            "tokens": lambda: float(np.mean([tokens_of(outcome) for outcome in outcomes.values()])),
            "cost": lambda: float(np.mean([cost_of(outcome) for outcome in outcomes.values()])),
        }
        return (quality, *(costs[name]() for name in self.costs))


def checked(evaluated: Evaluated, question_ids: Sequence[str]) -> Outcomes:
    """What was evaluated, in the order asked. Raises `EvaluationError` for other questions, or metrics that are not
    finite."""
    if set(evaluated.outcomes) != set(question_ids):
        raise EvaluationError("the evaluator answered other questions than it was asked")
    for question, outcome in evaluated.outcomes.items():
        if isinstance(outcome, Measured):
            for name, value in outcome.metrics.items():
                if not np.isfinite(value):
                    raise EvaluationError(
                        f"{name} of question {question!r} is {value}: give a Failure where there is none"
                    )
    return {question: evaluated.outcomes[question] for question in question_ids}
