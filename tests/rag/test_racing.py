"""Racing: who is given up and when, who stays, and what failures are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from lsr.errors import EvaluationError, InvalidInput
from lsr.rag.search.evaluated import Evaluated, Measured, Objectives, Outcomes
from lsr.rag.search.racing import COMPLETE, FAILED, RACED_OUT, STOPPED, Racing, dominates, race, worse_p
from lsr.rag.types import Failure
from tests.rag.search_world import BASELINE, Neighbours, Rerank, World, questions

QUALITY = Objectives({"recall": 1.0})
STRONG = {**BASELINE, "rerank": Rerank(50), "augment": Neighbours()}


def outcomes(evaluator: Any, stages: Mapping[str, Any], ids: Sequence[str]) -> Outcomes:
    evaluated = evaluator.evaluate(stages, ids)
    assert isinstance(evaluated, Evaluated)
    return evaluated.outcomes


@dataclass
class Given:
    """Values that were given, with costs."""

    values: Mapping[str, float]
    seconds: float = 1.0
    tokens: int = 0

    def evaluate(self, stages: Mapping[str, Any], question_ids: Sequence[str]) -> Evaluated | Failure:
        return Evaluated(
            {q: Measured({"recall": float(self.values[q])}, self.seconds, self.tokens) for q in question_ids}
        )


def exact_p(differences: Sequence[float]) -> float:
    """The one-sided p of Wilcoxon's test by all sign flips of the ranks; none is 0."""
    ranks = rankdata(np.abs(differences))
    observed = ranks[np.asarray(differences) > 0].sum()
    sums = [ranks[np.array(signs)].sum() for signs in product([False, True], repeat=len(ranks))]
    return float(np.mean([total <= observed + 1e-9 for total in sums]))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 10_000), min_size=6, max_size=9, unique=True), st.data())
def test_the_test_is_wilcoxons_signed_ranks(sizes: list[int], data: st.DataObject) -> None:
    signs = data.draw(st.lists(st.sampled_from([-1, 1]), min_size=len(sizes), max_size=len(sizes)))
    differences = [size * sign / 1000 for size, sign in zip(sizes, signs, strict=True)]
    assert worse_p(differences) == pytest.approx(exact_p(differences), abs=1e-9)


def test_few_differences_show_nothing_and_rounding_is_no_difference() -> None:
    assert worse_p([0.0] * 50) == 1
    assert worse_p([-0.5] * 5 + [0.0] * 50) == 1
    assert worse_p([-1e-16] * 50) == 1
    assert worse_p([-0.5] * 10 + [0.0] * 10) < 0.05
    assert worse_p([0.5] * 20) > 0.99


def test_a_worse_pipeline_is_raced_out_at_the_first_look_and_the_rest_is_not_asked() -> None:
    world, ids = World(), questions(100)
    incumbent = outcomes(world, STRONG, ids)
    world.asked = 0
    raced = race(BASELINE, ids, world, QUALITY, Racing(block=20), incumbent=incumbent)
    assert raced.state == RACED_OUT
    assert list(raced.outcomes) == ids[:20]
    assert world.asked == 20
    assert raced.reason is not None
    assert raced.reason.startswith("worse than the incumbent by 0.1")


@pytest.mark.parametrize(("racing", "with_incumbent"), [(Racing(alpha=0), True), (Racing(), False)])
def test_without_alpha_or_incumbent_everything_finishes(racing: Racing, with_incumbent: bool) -> None:
    world, ids = World(), questions(50)
    incumbent = outcomes(world, STRONG, ids) if with_incumbent else None
    assert race(BASELINE, ids, world, QUALITY, racing, incumbent=incumbent).state == COMPLETE


def test_a_better_pipeline_finishes() -> None:
    world, ids = World(), questions(100)
    raced = race(STRONG, ids, world, QUALITY, Racing(), incumbent=outcomes(world, BASELINE, ids))
    assert (raced.state, list(raced.outcomes)) == (COMPLETE, ids)


def test_pipelines_as_good_as_the_incumbent_are_lost_as_seldom_as_alpha_says() -> None:
    """Looking nine times at .05 each would lose about .2 of them."""
    rng, ids, lost = np.random.default_rng(0), questions(200), 0
    for _ in range(300):
        mine, theirs = (Given(dict(zip(ids, rng.normal(size=200), strict=True))) for _ in range(2))
        raced = race({}, ids, mine, QUALITY, Racing(block=20), incumbent=outcomes(theirs, {}, ids))
        lost += raced.state == RACED_OUT
    assert lost <= 300 * 0.05 + 3 * (300 * 0.05 * 0.95) ** 0.5


def test_one_that_loses_often_but_little_and_wins_much_is_kept() -> None:
    ids = questions(60)
    theirs = Given(dict.fromkeys(ids, 0.5))
    mine = Given({q: 1.0 if i % 5 == 0 else 0.45 for i, q in enumerate(ids)})
    assert race({}, ids, mine, QUALITY, Racing(), incumbent=outcomes(theirs, {}, ids)).state == COMPLETE


@pytest.mark.parametrize(
    ("costs", "seconds", "tokens", "state"),
    [
        ((), 0.1, 0, RACED_OUT),
        (("latency",), 0.1, 0, COMPLETE),
        (("latency",), 0.98, 0, RACED_OUT),  # within the margin
        (("latency", "tokens"), 1.0, 400, COMPLETE),
        (("latency", "tokens"), 2.0, 500, RACED_OUT),
    ],
)
def test_a_cheaper_pipeline_that_nothing_beats_stays(
    costs: tuple[str, ...], seconds: float, tokens: int, state: str
) -> None:
    ids = questions(60)
    best = outcomes(Given(dict.fromkeys(ids, 0.9), 1.0, 500), {}, ids)
    poor = Given({q: 0.3 + i / 1000 for i, q in enumerate(ids)}, seconds, tokens)
    objectives = Objectives({"recall": 1.0}, costs)
    raced = race({}, ids, poor, objectives, Racing(), incumbent=best, finished=[best])
    assert raced.state == state
    if costs:  # another that is as cheap, and better
        cheap = outcomes(Given(dict.fromkeys(ids, 0.8), seconds, tokens), {}, ids)
        assert race({}, ids, poor, objectives, Racing(), incumbent=best, finished=[best, cheap]).state == RACED_OUT


def test_failed_questions_have_no_score_and_too_many_fail_the_pipeline() -> None:
    ids = questions(40)
    few = World(fails=lambda stages, question: question in {"q3", "q30"})
    raced = race(BASELINE, ids, few, QUALITY, Racing(max_failed=0.1))
    assert raced.state == COMPLETE
    scores = QUALITY.qualities(raced.outcomes, ids)
    assert np.flatnonzero(np.isnan(scores)).tolist() == [3, 30]
    assert QUALITY.values(raced.outcomes)[0] == pytest.approx(np.nanmean(scores))

    many = World(fails=lambda stages, question: int(question[1:]) % 4 == 1)
    raced = race(BASELINE, ids, many, QUALITY, Racing(max_failed=0.1))
    assert raced.state == FAILED
    assert raced.reason == "5 of 20 questions failed, the first at retrieve: test-sparse: no answer"
    assert many.asked == 20

    every = World(fails=lambda stages, question: True)
    assert race(BASELINE, ids, every, QUALITY, Racing(max_failed=1)).state == FAILED


def test_a_pipeline_that_cannot_be_built_is_failed() -> None:
    raced = race(BASELINE, questions(40), World(broken=lambda stages: True), QUALITY, Racing())
    assert (raced.state, raced.reason, raced.outcomes) == (FAILED, "chunk: test-words: cannot be built", {})


def test_a_race_is_stopped_between_blocks() -> None:
    world, ids = World(), questions(50)
    raced = race(
        BASELINE,
        ids,
        world,
        QUALITY,
        Racing(block=20),
        may_go_on=lambda done, size: f"{size} more" if len(done) >= 40 else None,
    )
    assert (raced.state, raced.reason, len(raced.outcomes), world.asked) == (STOPPED, "10 more", 40, 40)


def test_what_an_evaluator_must_not_give_is_refused() -> None:
    ids = questions(3)

    class Other:
        def evaluate(self, stages: Mapping[str, Any], question_ids: Sequence[str]) -> Evaluated:
            return Evaluated({"q0": Measured({"recall": 1.0})})

    with pytest.raises(EvaluationError, match="other questions than it was asked"):
        race({}, ids, Other(), QUALITY, Racing())
    with pytest.raises(EvaluationError, match="recall of question 'q1' is nan"):
        race({}, ids, Given({"q0": 1, "q1": float("nan"), "q2": 0}), QUALITY, Racing())
    with pytest.raises(EvaluationError, match="unknown metric 'recal'; did you mean recall"):
        Objectives({"recal": 1.0}).values(outcomes(Given({"q0": 1}), {}, ids[:1]))


def test_objectives_are_weighted_and_in_order() -> None:
    measured = {
        f"q{i}": Measured({"recall": i / 10, "f1": 1.0}, seconds=float(i), tokens=10 * i, cost=0.5) for i in range(11)
    }
    both = Objectives({"recall": 3, "f1": 1}, ("cost", "latency", "tokens"))
    assert both.values(measured) == pytest.approx((0.75 * 0.5 + 0.25, 0.5, 9.5, 50.0))
    with pytest.raises(InvalidInput, match="unknown cost 'latancy'; did you mean latency"):
        Objectives({"recall": 1}, ("latancy",))
    with pytest.raises(InvalidInput, match="weights above 0"):
        Objectives({"recall": 0})


def test_what_dominates_is_nowhere_worse_and_somewhere_better() -> None:
    assert dominates((0.5, 1.0), (0.5, 2.0))
    assert dominates((0.6, 1.0), (0.5, 1.0))
    assert not dominates((0.5, 1.0), (0.5, 1.0))
    assert not dominates((0.6, 2.0), (0.5, 1.0))
