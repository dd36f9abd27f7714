"""The verdict: what is chosen by which questions, how sure it is, and what contributed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.errors import EvaluationError, InvalidInput
from lsr.eval.significance import compare
from lsr.rag.search.effects import effects, interactions
from lsr.rag.search.evaluated import Evaluated, Measured, Objectives, Outcome
from lsr.rag.search.racing import COMPLETE, FAILED, RACED_OUT, dominates
from lsr.rag.search.selection import (
    BASELINE as IS_BASELINE,
)
from lsr.rag.search.selection import (
    BETTER,
    SAME,
    WORSE,
    corrected_difference,
    detectable,
    front,
    qualities,
    simplest,
    split,
    verdict,
)
from lsr.rag.search.store import Record
from lsr.rag.types import Failure
from tests.rag.search_world import BASELINE, Hyde, Neighbours, Rerank, World, questions, space

QUALITY = Objectives({"recall": 1.0})
LOST = Failure("retrieve: x", "no answer")


def record(
    number: int, choice: Mapping[str, Any], scores: npt.ArrayLike, costs: Sequence[float] = (), state: str = COMPLETE
) -> Record:
    """A record with these scores of questions q0, q1, ...; NaN is a failure."""
    scores = np.asarray(scores, np.float64)
    outcomes: dict[str, Outcome] = {
        f"q{i}": LOST if np.isnan(score) else Measured({"recall": float(score)}) for i, score in enumerate(scores)
    }
    values = None if state == FAILED else (float(np.nanmean(scores)), *costs)
    return Record(number, choice, state, None, values, outcomes)


# --- the split


@given(
    st.dictionaries(st.text(max_size=4), st.sampled_from(["fact", "why", None]), min_size=2, max_size=80),
    st.floats(0.2, 0.8),
    st.integers(0, 100),
)
def test_questions_are_split_in_two_and_each_part_gets_its_share_of_each_type(
    types: dict[str, str | None], holdout: float, seed: int
) -> None:
    if not 0 < round(holdout * len(types)) < len(types):
        return
    parts = split(types, holdout=holdout, seed=seed)
    assert sorted([*parts.search, *parts.holdout]) == sorted(types)
    assert abs(len(parts.holdout) - holdout * len(types)) <= 1
    for name, many in Counter(types.values()).items():
        apart = sum(types[question] == name for question in parts.holdout)
        assert abs(apart - holdout * many) <= 1.5
    assert split(dict(reversed(types.items())), holdout=holdout, seed=seed) == parts


def test_a_split_hangs_on_its_seed_and_needs_a_question_on_each_side() -> None:
    ids = questions(40)
    assert split(ids, seed=1) != split(ids, seed=2)
    assert split(ids).search != tuple(sorted(split(ids).search))
    with pytest.raises(InvalidInput, match="1 questions cannot be split"):
        split(["a"])
    with pytest.raises(InvalidInput, match="must be a share between 0 and 1"):
        split(ids, holdout=1.0)


# --- winner and baseline on the holdout


def test_a_winner_that_is_better_is_called_so_and_one_that_is_not_is_not() -> None:
    some, ids = space(), questions(60)
    base = some.stages(BASELINE)
    better = some.stages({**BASELINE, "rerank": Rerank(50), "augment": Neighbours()})
    found = verdict(World(), better, base, ids, QUALITY)
    assert found.statement == BETTER
    assert found.comparison is not None
    expected = compare(
        qualities([Record(0, {}, "", None, None, found.outcomes[0])], QUALITY, ids)[0],
        qualities([Record(0, {}, "", None, None, found.outcomes[1])], QUALITY, ids)[0],
        system="winner",
        baseline="baseline",
        measure="quality",
    )
    assert found.comparison == expected
    assert expected.interval[0] > 0
    assert 0 < (found.detectable or 0) < 0.13 == pytest.approx(expected.difference, abs=0.02)
    assert verdict(World(), some.stages({**BASELINE, "query": Hyde()}), base, ids, QUALITY).statement == WORSE
    noisy = World(spread=2.0)
    unsure = verdict(noisy, some.stages({**BASELINE, "rerank": Rerank(20)}), base, ids, QUALITY)
    assert unsure.statement == SAME == "not distinguishable from the baseline"
    assert unsure.comparison is not None
    assert unsure.comparison.interval[0] < 0 < unsure.comparison.interval[1]


def test_a_baseline_that_wins_is_run_once() -> None:
    world = World()
    found = verdict(world, space().stages(BASELINE), BASELINE, questions(10), QUALITY)
    assert (found.statement, found.comparison, world.calls) == (IS_BASELINE, None, 1)


def test_failed_holdout_questions_are_in_no_pair_and_are_counted() -> None:
    some, ids = space(), questions(20)
    better = some.stages({**BASELINE, "rerank": Rerank(50)})
    world = World(fails=lambda stages, q: q in ("q1", "q2", "q3") if stages["rerank"] else q in ("q3", "q4"))
    found = verdict(world, better, some.stages(BASELINE), ids, QUALITY)
    assert (found.failed, found.questions) == ((3, 2), 16)
    with pytest.raises(EvaluationError, match="no holdout question in common"):
        verdict(World(fails=lambda stages, q: True), better, some.stages(BASELINE), ids, QUALITY)
    with pytest.raises(EvaluationError, match="the winner cannot be run on the holdout questions: chunk: test-words"):
        verdict(World(broken=lambda stages: stages["rerank"] is not None), better, some.stages(BASELINE), ids, QUALITY)


def test_the_smallest_detectable_difference_falls_with_the_root_of_questions() -> None:
    assert detectable(400) == pytest.approx(detectable(100) / 2)
    assert detectable(100) == pytest.approx(0.07, abs=0.001)  # (1.96 + .84) x .25 / 10


# --- the winner's curse


def test_the_best_of_many_equal_pipelines_is_not_better_once_corrected() -> None:
    """80 pipelines that are all alike: the best looks better than the baseline by luck, again and again."""
    rng = np.random.default_rng(0)
    naive, corrected, held = [], [], 0
    for seed in range(60):
        values = rng.normal(0, 0.3, (80, 60)) + rng.normal(0, 0.3, (1, 60))
        found = corrected_difference(values, resamples=400, seed=seed)
        naive.append(found.naive)
        corrected.append(found.corrected)
        held += found.interval[0] <= 0 <= found.interval[1]
    assert np.mean(naive) > 0.08
    assert abs(np.mean(corrected)) < 0.02
    assert held >= 0.95 * 60 - 3 * (60 * 0.95 * 0.05) ** 0.5


def test_a_true_winner_stays_one_when_corrected() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0.5, 0.2, (40, 100))
    values[7] += 0.2
    found = corrected_difference(values)
    assert found.interval[0] > 0
    assert found.corrected == pytest.approx(0.2, abs=0.06)


def test_the_correction_is_the_mean_of_questions_left_out_by_brute_force() -> None:
    """Two questions: a resample has both (no question is left out), or one of them twice and leaves out the other."""
    values = np.array([[0.5, 0.5], [0.9, 0.0], [0.2, 0.8]])
    found = corrected_difference(values, resamples=5000)
    # Of q0 pipeline 1 is best and has 0 - .5 on q1; of q1 pipeline 2 and .2 - .5 on q0.
    assert found.corrected == pytest.approx((-0.5 - 0.3) / 2, abs=0.01)
    assert found.naive == pytest.approx(0.0)
    assert found.resamples == pytest.approx(2500, abs=150)


def test_failed_questions_are_left_out_of_the_correction() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(0.5, 0.2, (10, 50))
    values[3] += 0.3
    values[3, :10] = np.nan
    values[0, 5:15] = np.nan
    found = corrected_difference(values)
    assert found.naive == pytest.approx((values[3] - values[0])[15:].mean())
    assert 0.15 < found.corrected < 0.45
    with pytest.raises(InvalidInput, match="2 or more questions"):
        corrected_difference([[0.5]])


# --- the front, and the simplest


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=25))
def test_the_front_is_what_nothing_dominates(values: list[tuple[int, int, int]]) -> None:
    records = [Record(i, {}, COMPLETE, None, tuple(map(float, v)), {}) for i, v in enumerate(values)]
    lost = Record(99, {}, RACED_OUT, None, (9.0, 0.0, 0.0), {})
    found = [r.values for r in front([*records, lost])]
    best = {v for v in values if not any(dominates(other, v) for other in values)}
    assert set(found) == best
    assert len(found) == len(best)


def test_the_simplest_is_within_noise_of_the_best_and_few_questions_do_not_make_it_so() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.3, 0.7, 100)
    full = {"retrieve": {"kind": "a"}, "rerank": {"kind": "b"}, "augment": {"kind": "c"}}
    records = [
        record(0, {"retrieve": {"kind": "a"}}, base),
        record(1, full, base + 0.1 + rng.normal(0, 0.02, 100)),
        record(2, {**full, "augment": None}, base + 0.1 + rng.normal(0, 0.02, 100) - 0.001),
        record(3, {**full, "rerank": None}, base + 0.05),
    ]
    found = simplest(records, QUALITY, questions(100))
    assert (found.record.number, found.stages) == (2, 2)
    assert found.comparison is not None
    assert found.comparison.p > 0.05
    few = [record(r.number, r.choice, [o.metrics["recall"] for o in list(r.outcomes.values())[:3] if isinstance(o, Measured)])
           for r in records]  # fmt: skip
    assert simplest(few, QUALITY, questions(3), epsilon=0.001).comparison is None
    with pytest.raises(InvalidInput, match="no pipeline was evaluated on all questions"):
        simplest([record(0, {}, [0.5], state=RACED_OUT)], QUALITY, questions(1))


# --- effects


def table(
    worth: Mapping[tuple[str, str], float], together: float = 0.0, seed: int = 0, drop: float = 0.0
) -> list[Record]:
    """Pipelines of three families with additive worth, one interaction (b with x), and noise; some are left out."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(0.5, 0.2, 80)
    records = []
    for number, (rerank, augment, query) in enumerate(product((None, "a", "b"), (None, "x"), (None, "h"))):
        if rng.random() < drop:
            continue
        chosen = {"rerank": rerank, "augment": augment, "query": query}
        value = sum(
            worth.get((family, kind), 0.0) for family, kind in chosen.items() if kind is not None
        ) + together * (rerank == "b" and augment == "x")
        stages = {family: kind and {"kind": kind} for family, kind in chosen.items()}
        records.append(record(number, stages, hard + value + rng.normal(0, 0.05, 80)))
    return records


WORTH = {("rerank", "a"): 0.1, ("rerank", "b"): -0.05, ("augment", "x"): 0.03}


def test_effects_are_those_that_the_pipelines_were_made_with() -> None:
    found = {(e.family, e.option): e for e in effects(table(WORTH), QUALITY, questions(80))}
    assert set(found) == {("rerank", "a"), ("rerank", "b"), ("augment", "x"), ("query", "h")}
    for key, effect in found.items():
        assert effect.reference == "none"
        assert effect.interval is not None
        assert effect.interval[0] - 0.003 <= WORTH.get(key, 0.0) <= effect.interval[1] + 0.003
    assert found["rerank", "a"].pipelines == 4
    assert found["rerank", "a"].questions == 80


def test_in_a_full_factorial_an_effect_is_the_difference_of_means() -> None:
    records = table(WORTH)
    means = {r.number: qualities([r], QUALITY, questions(80)).mean() for r in records}
    with_x = np.mean([means[r.number] for r in records if r.choice["augment"]])
    without = np.mean([means[r.number] for r in records if not r.choice["augment"]])
    effect = next(e for e in effects(records, QUALITY, questions(80)) if e.family == "augment")
    assert effect.difference == pytest.approx(with_x - without)


def test_unlike_company_does_not_count_as_an_effect() -> None:
    """x stands mostly with a, which is good; x itself does nothing."""
    records = [
        r
        for r in table({("rerank", "a"): 0.3})
        if (r.choice["augment"] is None) == (r.choice["rerank"] is None) or r.choice["query"]
    ]
    effect = next(e for e in effects(records, QUALITY, questions(80)) if e.family == "augment")
    assert effect.difference == pytest.approx(0.0, abs=0.02)


def test_what_cannot_be_told_apart_has_no_effect() -> None:
    """a and x always stand together."""
    records = [r for r in table(WORTH) if r.choice["rerank"] in (None, {"kind": "a"})]
    records = [r for r in records if (r.choice["rerank"] is None) == (r.choice["augment"] is None)]
    found = {e.family: e for e in effects(records, QUALITY, questions(80))}
    assert (found["rerank"].difference, found["augment"].difference) == (None, None)
    assert found["query"].difference is not None


def test_raced_out_pipelines_count_where_they_answered_and_failed_ones_nowhere() -> None:
    records = table(WORTH)
    whole = {(e.family, e.option): e.difference for e in effects(records, QUALITY, questions(80))}
    halves = []
    for r in records:
        if r.choice["rerank"] == {"kind": "b"}:
            part = dict(list(r.outcomes.items())[:20])
            r = Record(r.number, r.choice, RACED_OUT, "worse", r.values, part)
        halves.append(r)
    halves.append(Record(99, {"rerank": {"kind": "z"}}, FAILED, "x", None, {}))
    found = {(e.family, e.option): e for e in effects(halves, QUALITY, questions(80))}
    assert ("rerank", "z") not in found
    assert found["rerank", "b"].questions == 20
    assert found["rerank", "b"].difference == pytest.approx(-0.05, abs=0.03)
    assert found["rerank", "a"].questions == 80
    assert found["rerank", "a"].difference == pytest.approx(whole["rerank", "a"], abs=0.02)


def test_parameters_are_apart_when_asked_for() -> None:
    records = [
        record(i, {"filter": {"kind": "top", "k": k}}, np.full(10, 0.5) + i / 10) for i, k in enumerate((5, 10, 20))
    ]
    assert effects(records, QUALITY, questions(10)) == []
    found = {e.option: e.difference for e in effects(records, QUALITY, questions(10), parameters=True)}
    assert len(found) == 2
    assert all("top (k " in option for option in found)


def test_interactions_are_found_where_they_are() -> None:
    found = interactions(table(WORTH, together=0.2), QUALITY, questions(80))
    assert (found[0].options, found[0].pipelines) == (("b", "x"), 2)
    assert found[0].difference == pytest.approx(0.2, abs=0.05)
    assert found[0].interval[0] > 0
    others = [i for i in found if i.options != ("b", "x")]
    assert all(abs(i.difference) < 0.06 for i in others)
    assert interactions(table(WORTH)[:2], QUALITY, questions(80)) == []


def test_qualities_are_a_table_with_holes() -> None:
    records = [record(0, {}, [0.1, float("nan"), 0.3]), record(1, {}, [0.5], state=RACED_OUT)]
    got = qualities(records, QUALITY, questions(3))
    assert np.array_equal(got, np.array([[0.1, np.nan, 0.3], [0.5, np.nan, np.nan]]), equal_nan=True)
    assert isinstance(World().evaluate(space().stages(BASELINE), ["q0"]), Evaluated)
