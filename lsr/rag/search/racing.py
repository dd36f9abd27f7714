"""Evaluating a pipeline block of questions by block, and giving up one that is worse.

After each block but the last a pipeline is compared with the incumbent, the best that was evaluated on all questions
before, on the questions that both answered: Wilcoxon's signed-rank test, one-sided, differences of 0 ranked with the others
(Pratt 1959). It is raced out when the test says that it is worse and its mean is lower too. The chance that a pipeline as
good as the incumbent is lost is at most alpha for all looks together, since each look gets alpha / looks (Bonferroni),
which holds however dependent they are. A pipeline that no other beats in all objectives stays: it may belong to the Pareto
front.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import wilcoxon

from lsr.rag.search.evaluated import Evaluator, Objectives, Outcomes, checked
from lsr.rag.types import Failure
from lsr.schema import between

__all__ = ["COMPLETE", "FAILED", "RACED_OUT", "STOPPED", "Race", "Racing", "dominates", "race", "worse_p"]

COMPLETE, RACED_OUT, FAILED, STOPPED = "complete", "raced out", "failed", "stopped"
_FEWEST = 6  # differences other than 0: fewer cannot show anything at .05 / 3


@dataclass(frozen=True)
class Racing:
    """block: questions between two looks; alpha: the chance of losing a pipeline as good as the incumbent; 0 lets all
    finish. max_failed: the share of questions that may fail. margin: a cost that is less than this share lower is no
    advantage."""

    block: int = field(default=20, metadata=between(1, 100_000))
    alpha: float = field(default=0.05, metadata=between(0, 0.5))
    max_failed: float = field(default=0.1, metadata=between(0, 1))
    margin: float = field(default=0.05, metadata=between(0, 1))


@dataclass(frozen=True)
class Race:
    """How it ended, and what came of the questions that were asked. reason: why it is not complete. transient: it failed,
    but all failures were of a kind that another try may not meet."""

    state: str
    outcomes: Outcomes
    reason: str | None = None
    transient: bool = False


def race(
    stages: Mapping[str, Any],
    questions: Sequence[str],
    evaluator: Evaluator,
    objectives: Objectives,
    racing: Racing,
    *,
    incumbent: Outcomes | None = None,
    finished: Iterable[Outcomes] = (),
    may_go_on: Callable[[Outcomes, int], str | None] = lambda outcomes, size: None,
    probe: bool = False,
) -> Race:
    """Evaluates a pipeline on the questions in their order.

    incumbent: what it is compared with, None where it is not. finished: pipelines that are complete, for the Pareto front.
    may_go_on(outcomes, size): asked before each block of that size; a reason ends the race as stopped. probe: the first
    question is a block of its own, without a look after it, to see what it takes.
    """
    outcomes: dict[str, Any] = {}
    blocks = [questions[at : at + racing.block] for at in range(0, len(questions), racing.block)]
    looks = len(blocks) - 1
    if probe and len(blocks[0]) > 1:
        blocks = [blocks[0][:1], blocks[0][1:], *blocks[1:]]
    finished = list(finished)
    for number, block in enumerate(blocks, start=1):
        if (reason := may_go_on(outcomes, len(block))) is not None:
            return Race(STOPPED, outcomes, reason)
        evaluated = evaluator.evaluate(stages, block)
        if isinstance(evaluated, Failure):
            return Race(FAILED, outcomes, f"{evaluated.stage}: {evaluated.message}", evaluated.transient)
        outcomes.update(checked(evaluated, block))
        failures = [outcome for outcome in outcomes.values() if isinstance(outcome, Failure)]
        if len(failures) > racing.max_failed * len(questions) or len(failures) == len(questions):
            first = f"{failures[0].stage}: {failures[0].message}"
            reason = f"{len(failures)} of {len(outcomes)} questions failed, the first at {first}"
            return Race(FAILED, outcomes, reason, all(failure.transient for failure in failures))
        looked_at = number < len(blocks) and len(outcomes) > 1 and len(failures) < len(outcomes)
        if looked_at and incumbent is not None and racing.alpha > 0:
            reason = _lost(outcomes, incumbent, finished, objectives, racing, looks)
            if reason is not None:
                return Race(RACED_OUT, outcomes, reason)
    return Race(COMPLETE, outcomes)


def _lost(
    outcomes: Outcomes,
    incumbent: Outcomes,
    finished: Sequence[Outcomes],
    objectives: Objectives,
    racing: Racing,
    looks: int,
) -> str | None:
    """Why a pipeline is raced out; None where it is not."""
    asked = list(outcomes)
    differences = objectives.qualities(outcomes, asked) - objectives.qualities(incumbent, asked)
    differences = differences[~np.isnan(differences)]
    if len(differences) == 0 or differences.mean() >= 0:
        return None
    p = worse_p(differences)
    if p > racing.alpha / looks:
        return None
    if objectives.costs and not _beaten(outcomes, finished, objectives, racing.margin):
        return None
    return f"worse than the incumbent by {-differences.mean():.4f} on {len(differences)} questions (p = {p:.2g})"


def worse_p(differences: npt.ArrayLike) -> float:
    """The one-sided p of paired differences [n] being below 0. 1 where fewer than 6 are not 0.

    Differences within 1e-12 are equal: means of the same numbers may differ by rounding.
    """
    array = np.round(np.asarray(differences, np.float64), 12)
    if np.count_nonzero(array) < _FEWEST:
        return 1.0
    return float(wilcoxon(array, alternative="less", zero_method="pratt").pvalue)


def _beaten(outcomes: Outcomes, finished: Sequence[Outcomes], objectives: Objectives, margin: float) -> bool:
    """Whether another pipeline is at least as good on the same questions, and not dearer by more than the margin."""
    asked = list(outcomes)
    mine = objectives.values(outcomes)
    for other in finished:
        common = {question: other[question] for question in asked if question in other}
        if any(not isinstance(outcome, Failure) for outcome in common.values()):
            theirs = objectives.values(common)
            if theirs[0] >= mine[0] and all(b * (1 - margin) <= a for a, b in zip(mine[1:], theirs[1:], strict=True)):
                return True
    return False


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether values a (quality, costs) are nowhere worse than b and somewhere better."""
    no_worse = a[0] >= b[0] and all(x <= y for x, y in zip(a[1:], b[1:], strict=True))
    return no_worse and tuple(a) != tuple(b)
