"""A finished study as the values that its report shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

import lsr
from lsr.eval.significance import bootstrap_interval
from lsr.rag.files import PipelineFile
from lsr.rag.judging.anchor import Judging
from lsr.rag.report.view import (
    BudgetView,
    EffectView,
    InteractionView,
    JudgedView,
    PipelineView,
    QuestionView,
    SplitView,
    StudyView,
    UseView,
)
from lsr.rag.search.effects import effects, interactions
from lsr.rag.search.evaluated import Measured, Outcomes
from lsr.rag.search.racing import COMPLETE, FAILED
from lsr.rag.search.selection import Simplest, Verdict, corrected_difference, detectable, front, qualities
from lsr.rag.search.store import Record
from lsr.rag.search.study import Ended

if TYPE_CHECKING:
    from lsr.rag.search.search import Search

__all__ = ["study_view"]


def study_view(
    search: Search,
    ended: Ended,
    judged: Verdict,
    plainest: Simplest,
    winner: PipelineFile,
    verdicts: tuple[str, Judging] | None = None,
) -> StudyView:
    config = search.config
    on_front = {record.number for record in front(ended.records)}
    pipelines = tuple(_pipeline(search, record, record.number in on_front) for record in ended.records)
    questions = search.split.search
    told = [record for record in ended.records if record.state != FAILED]
    found_effects = effects(told, search.objectives, questions, seed=config.plain.seed) if len(told) > 2 else []
    found_pairs = interactions(told, search.objectives, questions, seed=config.plain.seed) if len(told) > 2 else []
    return StudyView(
        name=config.name,
        data=search.data.name,
        quality=_quality(search),
        verdict=judged.statement,
        winner=_name(ended.winner),
        baseline=_name(ended.records[0]),
        pipelines=pipelines,
        search=_searched(search, ended),
        holdout=_held_out(search, judged),
        budget=_budget(search, ended),
        winner_yaml=winner.to_yaml(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        lsr_version=lsr.__version__,
        simplest=_name(plainest.record),
        effects=tuple(
            EffectView(e.family, e.option, e.reference, e.difference, e.interval, e.pipelines, e.questions)
            for e in found_effects
        ),
        interactions=tuple(
            InteractionView(
                f"{i.families[0]}: {i.options[0]}",
                f"{i.families[1]}: {i.options[1]}",
                i.difference,
                i.interval,
                i.pipelines,
            )
            for i in found_pairs
        ),
        detectable=judged.detectable,
        detectable_before=detectable(len(search.split.holdout)),
        legal=config.space.count(),
        facts=(
            ("algorithm", config.algorithm),
            ("seed", str(config.plain.seed)),
            ("evidence that counts", f"{config.plain.tokens:,} tokens"),
            ("documents", f"{len(search.data.documents):,}"),
            ("costs beside the quality", ", ".join(search.objectives.costs) or "none"),
        ),
        notes=search.data.notes,
        judge=None if verdicts is None else verdicts[0],
        judged=() if verdicts is None else tuple(_judged(verdicts[1])),
        informativeness=None if verdicts is None else verdicts[1].informativeness,
        failed=tuple((_name(record), record.reason or "") for record in ended.records if record.state == FAILED),
    )


def _judged(judging: Judging) -> Iterator[JudgedView]:
    for system, opponent in judging.plan.pairs:
        counted = judging.tally(system, opponent)
        decided = counted.wins + counted.losses
        yield JudgedView(
            system,
            opponent,
            counted.wins,
            counted.losses,
            counted.ties,
            counted.missing,
            counted.flipped,
            counted.checked,
            counted.win_rate,
            counted.interval if decided else None,
            counted.p,
        )


def _name(record: Record) -> str:
    return "baseline" if record.number == 0 else f"#{record.number}"


def _quality(search: Search) -> str:
    weights = search.objectives.quality
    if len(weights) == 1:
        return next(iter(weights))
    total = sum(weights.values())
    return " + ".join(f"{weight / total:.2g} {name}" for name, weight in weights.items())


def _pipeline(search: Search, record: Record, on_front: bool) -> PipelineView:
    answered = [outcome for outcome in record.outcomes.values() if isinstance(outcome, Measured)]
    quality = interval = latency = tokens = cost = None
    if answered and record.state != FAILED:
        values = np.array([search.objectives.quality_of(outcome) for outcome in answered])
        quality = float(values.mean()) if record.values is None else record.values[0]
        interval = bootstrap_interval(values, resamples=2000, seed=0)
        latency = 1000 * float(np.percentile([outcome.seconds for outcome in answered], 95))
        tokens = float(np.mean([outcome.tokens for outcome in answered]))
        cost = float(np.mean([outcome.cost for outcome in answered]))
    return PipelineView(
        name=_name(record),
        choice=tuple((family, _called(stage)) for family, stage in record.choice.items() if stage is not None),
        quality=quality,
        interval=interval if record.state == COMPLETE else None,
        latency_ms=latency,
        tokens=tokens or None,
        cost=cost or None,
        state=record.state,
        reason=record.reason,
        questions=len(record.outcomes),
        front=on_front,
    )


def _called(stage: dict[str, object]) -> str:
    given = ", ".join(f"{name} {value}" for name, value in stage.items() if name != "kind" and value is not None)
    return f"{stage['kind']} ({given})" if given else str(stage["kind"])


def _searched(search: Search, ended: Ended) -> SplitView:
    """Winner and baseline on the questions that the winner was chosen by."""
    questions = search.split.search
    complete = [record for record in ended.records if record.state == COMPLETE]
    table = qualities(complete, search.objectives, questions)
    at = next(i for i, record in enumerate(complete) if record.number == ended.winner.number)
    corrected = None
    if len(questions) > 1 and at:
        corrected = corrected_difference(table, seed=search.config.plain.seed)
    return SplitView(
        questions=_questions(search, questions, ended.winner.outcomes, complete[0].outcomes),
        winner=float(np.nanmean(table[at])),
        baseline=float(np.nanmean(table[0])),
        winner_interval=bootstrap_interval(table[at][~np.isnan(table[at])]),
        baseline_interval=bootstrap_interval(table[0][~np.isnan(table[0])]),
        difference=None if corrected is None else corrected.naive,
        interval=None if corrected is None else corrected.interval,
        corrected=None if corrected is None else corrected.corrected,
    )


def _held_out(search: Search, judged: Verdict) -> SplitView:
    compared = judged.comparison
    best, base = (search.objectives.qualities(outcomes, search.split.holdout) for outcomes in judged.outcomes)
    return SplitView(
        questions=_questions(search, search.split.holdout, *judged.outcomes),
        winner=judged.values[0][0],
        baseline=judged.values[1][0],
        winner_interval=bootstrap_interval(best[~np.isnan(best)]),
        baseline_interval=bootstrap_interval(base[~np.isnan(base)]),
        difference=None if compared is None else compared.difference,
        interval=None if compared is None else compared.interval,
        p=None if compared is None else compared.p,
    )


def _questions(search: Search, ids: Sequence[str], best: Outcomes, base: Outcomes) -> tuple[QuestionView, ...]:
    known = {question.id: question for question in search.data.questions}

    def value(outcomes: Outcomes, id: str) -> float | None:
        outcome = outcomes.get(id)
        return search.objectives.quality_of(outcome) if isinstance(outcome, Measured) else None

    return tuple(
        QuestionView(
            id,
            known[id].text,
            baseline=value(base, id),
            winner=value(best, id),
            group=known[id].type or (None if known[id].hops is None else f"{known[id].hops} hops"),
        )
        for id in ids
    )


def _budget(search: Search, ended: Ended) -> BudgetView:
    limits, spent = search.config.budget, ended.spent
    uses = [
        UseView("pipelines", len(ended.records), limits.pipelines, "pipelines"),
        UseView("seconds", spent.seconds, limits.seconds, "s"),
    ]
    if spent.tokens:
        uses.append(UseView("tokens", spent.tokens, limits.tokens, "tokens"))
    if spent.cost:
        uses.append(UseView("cost", spent.cost, limits.cost))
    runner = search.runner
    return BudgetView(tuple(uses), ended.reason, runner.stage_runs, runner.stage_runs + runner.stage_hits)
