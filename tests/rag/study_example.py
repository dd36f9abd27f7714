"""A finished search, made up, with everything that a report can show."""

from __future__ import annotations

import random

from lsr.rag.report.view import (
    BETTER,
    COMPLETE,
    FAILED,
    RACED_OUT,
    BudgetView,
    EffectView,
    InteractionView,
    PipelineView,
    QuestionView,
    SplitView,
    StudyView,
    UseView,
)

__all__ = ["EVIL", "study"]

EVIL = "<script>alert('x')</script> & \"quoted\" \u202e"


def _pipelines() -> tuple[PipelineView, ...]:
    chance = random.Random(3)
    found = []
    for i in range(40):
        rerank = ("none", "maxsim", "cross-encoder")[i % 3]
        state = FAILED if i == 17 else RACED_OUT if i % 5 == 4 else COMPLETE
        quality = 0.6 + 0.005 * i + chance.uniform(-0.02, 0.02)
        found.append(
            PipelineView(
                name=f"p{i}",
                choice=(
                    ("chunk", "paragraphs"),
                    ("retrieve", "sparse" if i % 2 else "bm25 + sparse"),
                    ("rerank", rerank),
                ),
                quality=None if state == FAILED else quality,
                interval=None if state == FAILED else (quality - 0.05, quality + 0.05),
                latency_ms=None if state == FAILED else 3.0 + i * 2 * chance.random(),
                tokens=None if state == FAILED else 200.0 + 10 * chance.random() * i,
                state=state,
                reason="rerank: cross-encoder: no model" if state == FAILED else None,
                questions=50 if state == COMPLETE else 20,
                front=i in (0, 38),
            )
        )
    return tuple(found)


def _split(name: str, n: int, gain: float) -> SplitView:
    chance = random.Random(name)
    questions = []
    for i in range(n):
        theirs = round(chance.random(), 3)
        ours = None if i == 5 else min(1.0, round(theirs + gain * chance.choice((0, 1, 2)) - 0.02 * (i % 3), 3))
        text = EVIL if i == 0 else f"What is the {name} question of number {i}?"
        questions.append(QuestionView(f"{name}-{i}", text, theirs, ours, group=f"{i % 3 + 2} hops"))
    return SplitView(
        questions=tuple(questions),
        winner=0.7312,
        baseline=0.6984,
        winner_interval=(0.69, 0.77),
        baseline_interval=(0.65, 0.74),
        difference=0.0328,
        interval=(0.0104, 0.0551),
        p=0.0042,
        corrected=0.0211 if name == "search" else None,
    )


def study(**changes: object) -> StudyView:
    """The study, with other fields where they are given."""
    fields: dict[str, object] = {
        "name": "law, offline",
        "data": "law",
        "quality": "retrieval@5",
        "verdict": BETTER,
        "winner": "p38",
        "baseline": "p0",
        "simplest": "p21",
        "pipelines": _pipelines(),
        "search": _split("search", 50, 0.06),
        "holdout": _split("holdout", 50, 0.04),
        "budget": BudgetView(
            uses=(
                UseView("pipelines", 40, 100),
                UseView("time", 312.4, None, "s"),
                UseView("tokens", 0, 50_000, "tokens"),
            ),
            stopped="no better pipeline in 5 batches",
            stage_runs=1_310,
            stage_uses=8_800,
        ),
        "effects": (
            EffectView("rerank", "maxsim", "none", 0.021, (0.011, 0.031), 13, 50),
            EffectView("rerank", "cross-encoder", "none", -0.012, (-0.031, 0.008), 14, 50),
            EffectView("retrieve", "bm25 + sparse", "sparse", 0.008, (-0.002, 0.018), 20, 50),
            EffectView("filter", "mmr", "top-k", None, None, 2, 0),
        ),
        "interactions": (InteractionView("rerank: maxsim", "retrieve: bm25 + sparse", -0.011, (-0.02, -0.002), 7),),
        "detectable": 0.031,
        "detectable_before": 0.0991,
        "legal": 46_080,
        "winner_yaml": f"chunk: paragraphs\nretrieve:\n  kind: sparse\n# {EVIL[:20]}\n",
        "created": "2026-11-24T08:00:00+00:00",
        "lsr_version": "0.0.1",
        "facts": (("algorithm", "genetic"), ("seed", "0")),
        "notes": ("Latency is that of one machine.",),
        "failed": (("p17", "rerank: cross-encoder: no model"),),
    }
    return StudyView(**{**fields, **changes})  # type: ignore[arg-type]
