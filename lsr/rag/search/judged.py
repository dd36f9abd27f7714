"""The best pipelines of a search judged by a generator, on the questions that nothing was chosen by.

Answers are compared in pairs (`lsr.rag.judging`): with the baseline, or among many pipelines with an anchor that is
chosen by what it tells. Verdicts are beside the objective, not in it: a search by a judge would be as good as the judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lsr.errors import EvaluationError
from lsr.rag.generators.config import GeneratorConfig
from lsr.rag.judging.anchor import Judging, judge_systems, plan_judging
from lsr.rag.judging.answers import without_citations
from lsr.rag.judging.judge import PairJudge
from lsr.rag.pipeline import Pipeline
from lsr.rag.questions import Question
from lsr.rag.runner import Runner
from lsr.schema import between, choice

__all__ = ["BASELINE", "JudgeConfig", "judged"]

BASELINE = "baseline"


@dataclass(frozen=True)
class JudgeConfig:
    """generator: the judge, if it is another than the one that writes answers. pipelines: how many of the best are
    judged, beside the baseline. against: "baseline", or "anchor", which is chosen among them. flips: both orders are
    asked."""

    generator: GeneratorConfig | None = None
    pipelines: int = field(default=2, metadata=between(1, 50))
    against: str = field(default=BASELINE, metadata=choice(BASELINE, "anchor"))
    flips: bool = True


def judged(
    runner: Runner,
    judge: PairJudge,
    pipelines: dict[str, Pipeline],
    questions: Sequence[Question],
    *,
    baseline: str | None,
    say: Callable[[str], None],
) -> Judging:
    """Answers of pipelines, by name, compared as `plan_judging` says; `say` is told what the judging can show before it
    is paid for. Raises `EvaluationError` where the judge gives no verdict at all, and as `plan_judging` does."""
    answers: dict[str, dict[str, str]] = {}
    for name, pipeline in pipelines.items():
        outcomes = runner.run(pipeline, [question.text for question in questions])
        answers[name] = {
            question.id: without_citations(outcome.answer.text)
            for question, outcome in zip(questions, outcomes, strict=True)
            if outcome.answer is not None and outcome.failure is None
        }
    plan = plan_judging(answers, questions, judge, baseline=baseline)
    for sentence in plan.sentences():
        say(sentence)
    result = judge_systems(plan, answers, questions, judge)
    if not any(one.outcome is not None for several in result.judged.values() for one in several):
        raise EvaluationError("the judge gave no verdict that can be read; use a model that follows instructions")
    return result
