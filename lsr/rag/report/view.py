"""What the report of a search says, as plain values: it is written to report.json, and read from there again."""

from __future__ import annotations

from dataclasses import dataclass, field

from lsr.schema import choice as one_of

__all__ = [
    "BASELINE",
    "BETTER",
    "COMPLETE",
    "FAILED",
    "RACED_OUT",
    "SAME",
    "STOPPED",
    "WORSE",
    "BudgetView",
    "EffectView",
    "InteractionView",
    "JudgedView",
    "PipelineView",
    "QuestionView",
    "SplitView",
    "StudyView",
    "UseView",
]

BETTER = "better than the baseline"
WORSE = "worse than the baseline"
SAME = "not distinguishable from the baseline"
BASELINE = "the baseline is the best that was found"

COMPLETE, RACED_OUT, FAILED, STOPPED = "complete", "raced out", "failed", "stopped"


@dataclass(frozen=True)
class PipelineView:
    """A pipeline that was evaluated, by its figures on the search questions; None: not measured.

    choice: (family, option) of each family that it has a stage of. interval: of the quality. latency_ms: 95th percentile
    of a question without a cache; tokens, cost: means a question. front: no complete pipeline beats it in all objectives.
    questions: those that it was asked. reason: why it is not complete.
    """

    name: str
    choice: tuple[tuple[str, str], ...]
    quality: float | None = None
    interval: tuple[float, float] | None = None
    latency_ms: float | None = None
    tokens: float | None = None
    cost: float | None = None
    state: str = field(default=COMPLETE, metadata=one_of(COMPLETE, RACED_OUT, FAILED, STOPPED))
    reason: str | None = None
    questions: int = 0
    front: bool = False


@dataclass(frozen=True)
class EffectView:
    """What an option changes beside the reference of its family; difference None where it cannot be told."""

    family: str
    option: str
    reference: str
    difference: float | None
    interval: tuple[float, float] | None
    pipelines: int
    questions: int = 0


@dataclass(frozen=True)
class InteractionView:
    """What two options change together beyond what each does alone: "family: option" twice."""

    first: str
    second: str
    difference: float
    interval: tuple[float, float] | None
    pipelines: int


@dataclass(frozen=True)
class QuestionView:
    """The quality of baseline and winner on one question; None where it failed. group: its type or hops."""

    id: str
    text: str
    baseline: float | None
    winner: float | None
    group: str | None = None


@dataclass(frozen=True)
class SplitView:
    """Winner beside baseline on the search or the holdout questions.

    winner, baseline: mean quality; difference with its interval and p where they were compared. On the search questions the
    interval and `corrected` are to take the selection into account: the winner was chosen by these questions.
    """

    questions: tuple[QuestionView, ...]
    winner: float
    baseline: float
    winner_interval: tuple[float, float] | None = None
    baseline_interval: tuple[float, float] | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    corrected: float | None = None


@dataclass(frozen=True)
class JudgedView:
    """A pipeline beside another one by the verdicts of a judge on holdout questions; see `lsr.rag.judging.judge.Tally`."""

    system: str
    opponent: str
    wins: int
    losses: int
    ties: int
    missing: int
    flipped: int
    checked: int
    win_rate: float | None
    interval: tuple[float, float] | None
    p: float


@dataclass(frozen=True)
class UseView:
    """How much of a part of the budget was used; limit None: there was none. unit: "s", "tokens", ... or a currency."""

    what: str
    used: float
    limit: float | None = None
    unit: str = ""


@dataclass(frozen=True)
class BudgetView:
    """What the search took. stage_runs: of stages for a question, that were computed; stage_uses: that were needed: the
    others came from the cache."""

    uses: tuple[UseView, ...]
    stopped: str
    stage_runs: int | None = None
    stage_uses: int | None = None

    @property
    def hit_rate(self) -> float | None:
        if self.stage_runs is None or not self.stage_uses:
            return None
        return 1 - self.stage_runs / self.stage_uses


@dataclass(frozen=True)
class StudyView:
    """A finished search.

    data: what it searched on; quality: the measure. verdict: one of the four statements about the holdout questions.
    winner, baseline, simplest: names of pipelines; simplest: that with fewest stages within noise of the best.
    detectable: the smallest difference that the holdout questions show (power .8, two-sided .05); detectable_before: as
    said before the search, by an assumed spread. judge: the generator that compared answers; informativeness: share of
    the questions on which it told systems apart. legal: pipelines that the space has. winner_yaml: the pipeline as a
    file. facts: (name, value) of how it was done. notes: caveats, a sentence each. failed: (pipeline or stage, why).
    """

    name: str
    data: str
    quality: str
    verdict: str = field(metadata=one_of(BETTER, WORSE, SAME, BASELINE))
    winner: str
    baseline: str
    pipelines: tuple[PipelineView, ...]
    search: SplitView
    holdout: SplitView
    budget: BudgetView
    winner_yaml: str
    created: str
    lsr_version: str
    simplest: str | None = None
    effects: tuple[EffectView, ...] = ()
    interactions: tuple[InteractionView, ...] = ()
    detectable: float | None = None
    detectable_before: float | None = None
    legal: int | None = None
    facts: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    judge: str | None = None
    judged: tuple[JudgedView, ...] = ()
    informativeness: float | None = None

    def pipeline(self, name: str) -> PipelineView | None:
        return next((pipeline for pipeline in self.pipelines if pipeline.name == name), None)
