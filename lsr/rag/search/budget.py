"""What a search may spend, and what it will: limits, and an estimate from a few questions before it starts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lsr.errors import EvaluationError, InvalidInput
from lsr.rag.search.evaluated import Evaluator, checked, cost_of, tokens_of
from lsr.rag.search.space import Choice, Space
from lsr.rag.search.store import Record
from lsr.rag.types import Failure
from lsr.schema import between

__all__ = ["LIMITS", "Budget", "Costs", "Estimate", "estimate"]

LIMITS = ("seconds", "tokens", "cost")


@dataclass(frozen=True)
class Budget:
    """When a search ends. pipelines: evaluated, with the baseline; seconds: of evaluating, added up over workers; tokens,
    cost: of generators. Nothing is started that would exceed them by what is known of earlier pipelines. stale: batches of
    the algorithm without a better pipeline; None is no limit.
    """

    pipelines: int | None = field(default=100, metadata=between(1, 1_000_000))
    seconds: float | None = field(default=None, metadata=between(0, 1e9))
    tokens: int | None = field(default=None, metadata=between(0, 1e15))
    cost: float | None = field(default=None, metadata=between(0, 1e9))
    stale: int | None = field(default=None, metadata=between(1, 1_000_000))


@dataclass(frozen=True)
class Estimate:
    """What a search would take when every pipeline were evaluated on all questions, and like the one that was measured.

    pipelines: as many as the budget lets be evaluated; legal: as many as there are. stages_asking: stages that ask the
    generator, mean over all legal pipelines (each asks once a question or more often), and those of the measured pipeline.
    For one pipeline: seconds, tokens, cost. Tokens are scaled by the stages that ask; None where the measured pipeline had
    none of them and others have.
    """

    legal: int
    pipelines: int
    questions: int
    sample: int
    stages_asking: float
    stages_asking_measured: int
    seconds: float
    tokens: float | None
    cost: float | None

    def check(self, budget: Budget) -> None:
        """Raises `InvalidInput`, which says the least that is needed, where a budget is too small for one pipeline."""
        for name, limit, needed in (
            ("seconds", budget.seconds, self.seconds),
            ("tokens", budget.tokens, self.tokens),
            ("cost", budget.cost, self.cost),
        ):
            if limit is not None and needed is not None and needed > limit:
                raise InvalidInput(too_small(name, limit, needed, self.sample))


def too_small(name: str, limit: float, needed: float, sample: int) -> str:
    """Needed: for all questions, measured on a sample of them."""
    return (
        f"budget: {name} {limit:,g} is too small for one pipeline, which needs about {needed:,.4g}"
        f" (measured on {sample} questions); allow at least that"
    )


def estimate(
    space: Space,
    evaluator: Evaluator,
    stages: Mapping[str, Any],
    questions: Sequence[str],
    budget: Budget | None = None,
    sample: int = 5,
) -> Estimate:
    """Runs one pipeline on the first `sample` questions. Raises `EvaluationError` where it fails on all of them."""
    budget = budget or Budget()
    asked = list(questions[:sample])
    started = time.monotonic()
    evaluated = evaluator.evaluate(stages, asked)
    seconds = time.monotonic() - started
    if isinstance(evaluated, Failure):
        raise EvaluationError(f"the pipeline that was to be measured fails at {evaluated.stage}: {evaluated.message}")
    outcomes = checked(evaluated, asked)
    failures = [outcome for outcome in outcomes.values() if isinstance(outcome, Failure)]
    if len(failures) == len(outcomes):
        raise EvaluationError(
            f"the pipeline that was to be measured fails on all questions, at {failures[0].stage}: {failures[0].message}"
        )
    mean = sum(space.share(lambda technique: "generator" in technique.needs).values())
    measured = sum(stage is not None and "generator" in stage.needs for stage in stages.values())
    scale = len(questions) / len(asked)
    if measured == 0:
        grown = None if mean > 0 else scale
    else:
        grown = scale * max(mean, measured) / measured
    legal = space.count()
    return Estimate(
        legal=legal,
        pipelines=legal if budget.pipelines is None else min(legal, budget.pipelines),
        questions=len(questions),
        sample=len(asked),
        stages_asking=mean,
        stages_asking_measured=measured,
        seconds=seconds * scale,
        tokens=None if grown is None else grown * sum(map(tokens_of, outcomes.values())),
        cost=None if grown is None else grown * sum(map(cost_of, outcomes.values())),
    )


class Costs:
    """What pipelines are expected to take, by what others took whose stages ask the generator too."""

    def __init__(self, space: Space, baseline: Mapping[str, Any], questions: int) -> None:
        self.questions = questions
        stages = [stage for family in space.families for stage in family.techniques]
        self._asking = {
            (stage.family, stage.kind)
            for stage in (*stages, *baseline.values())
            if stage is not None and "generator" in stage.needs
        }

    def admitted(
        self,
        choices: Mapping[int, Choice],
        records: Sequence[Record],
        left: Mapping[str, float],
        speed: float,
    ) -> tuple[dict[int, tuple[dict[str, float], bool]], str | None]:
        """The candidates that may start now, in their order: of each what it may spend, and whether it is to be tried on
        one question first; and the limit that keeps the next from starting.

        A pipeline whose costs nobody knows, since a stage of it that asks the generator was in no pipeline before, starts
        alone. What is left over is shared out. speed: seconds a question.
        """
        needed: dict[int, dict[str, float]] = {}
        total = dict.fromkeys(left, 0.0)
        for number, choice in choices.items():
            each, known = self._expected(choice.to_json(), records, speed)
            known = known or not set(left) - {"seconds"}
            if not known and needed:
                break
            mine = {name: each[name] * self.questions for name in left}
            short = [name for name in left if left[name] <= 0 or total[name] + mine[name] > left[name]]
            if short:
                return self._shared(needed, total, left, False), f"budget of {short[0]}"
            needed[number] = mine
            total = {name: total[name] + mine[name] for name in left}
            if not known:
                return self._shared(needed, total, left, True), None
        return self._shared(needed, total, left, False), None

    @staticmethod
    def _shared(
        needed: Mapping[int, Mapping[str, float]], total: Mapping[str, float], left: Mapping[str, float], probe: bool
    ) -> dict[int, tuple[dict[str, float], bool]]:
        more = {name: (left[name] - total[name]) / max(1, len(needed)) for name in left}
        return {number: ({name: mine[name] + more[name] for name in left}, probe) for number, mine in needed.items()}

    def _expected(
        self, choice: Mapping[str, Any], records: Sequence[Record], speed: float
    ) -> tuple[dict[str, float], bool]:
        """For one question, and whether it is known: as the dearest pipeline with all its asking stages, or the sum of the
        dearest with each of them. If a stage was in none, as the dearest with no other ones: it takes that at least."""
        mine = self._asks(choice)
        measured = [(self._asks(record.choice), record.outcomes) for record in records if record.outcomes]
        result, known = {"seconds": speed}, True
        for name, of in (("tokens", tokens_of), ("cost", cost_of)):
            means = [(asks, sum(map(of, outcomes.values())) / len(outcomes)) for asks, outcomes in measured]
            together = [mean for asks, mean in means if mine <= asks]
            apart = [[mean for asks, mean in means if stage in asks] for stage in mine]
            if together:
                result[name] = max(together)
            elif all(apart):
                result[name] = sum(map(max, apart))
            else:
                known = False
                result[name] = max((mean for asks, mean in means if asks <= mine), default=0.0)
        return result, known

    def _asks(self, choice: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
        stages = {(family, stage["kind"]) for family, stage in choice.items() if stage is not None}
        return frozenset(stages & self._asking)
