"""The rules by which candidates are scored, beside the plainest program that follows them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.errors import InvalidInput
from lsr.rerank import Policy, QueryScorer, codec_class, rerank
from lsr.rerank.policies import Scorer, kept_candidates
from tests.rerank.naive import collection

DOCUMENTS = 60


def by_the_rules(
    score_of: dict[int, float], candidates: list[tuple[int, float]], k: int, policy: Policy, scale: float
) -> tuple[list[int], list[float]]:
    """Rows and scores, best first: the four rules one after the other, a document at a time."""
    kept = candidates[: policy.kappa]
    if policy.alpha is not None and policy.alpha < math.inf and len(kept) >= k:
        threshold = kept[k - 1][1] - abs(kept[k - 1][1]) * policy.alpha
        kept = [(row, first) for row, first in kept if first >= threshold]
    done: list[tuple[float, int]] = []
    missed = 0
    for row, first in kept:
        total = score_of[row]
        if policy.weight is not None:
            low, high = kept[-1][1], kept[0][1]
            share = (first - low) / (high - low) if high > low else 0.0
            total = policy.weight * share + (1 - policy.weight) / scale * score_of[row]
        done.append((-total, row))
        enters = (-total, row) in sorted(done)[:k]
        missed = 0 if enters else missed + 1
        if policy.beta is not None and missed >= policy.beta:
            break
    done.sort()
    return [row for _, row in done], [-total for total, _ in done]


class Table:
    """A scorer that is no MaxSim: a table, with many ties."""

    def __init__(self, scores: npt.NDArray[np.float64]) -> None:
        self.scores, self.asked = scores, 0

    def __call__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        self.asked += len(rows)
        return self.scores[rows]


@pytest.fixture(scope="module")
def maxsim() -> QueryScorer:
    """Documents come in threes that are equal: ties."""
    vectors, offsets = collection(DOCUMENTS // 3, 16, 0, longest=6)
    codec = codec_class("int8").train(vectors)
    parts = [vectors[a:b] for a, b in pairwise(offsets.tolist()) for _ in range(3)]
    codes = codec.encode(np.concatenate(parts))
    starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    return codec.over(codes, starts).query(vectors[:7])


policies = st.builds(
    Policy,
    kappa=st.integers(1, 70),
    alpha=st.none() | st.sampled_from([0.0, 0.05, 0.5, math.inf]),
    beta=st.none() | st.integers(1, 6),
    weight=st.none() | st.sampled_from([0.0, 0.25, 1.0]),
)
# First-stage scores: few values, so many are equal; below and above 0, as those of other engines may be.
firsts = st.lists(st.integers(-6, 8).map(lambda i: i / 2), min_size=0, max_size=40)


@settings(deadline=None, max_examples=300)
@given(st.booleans(), firsts, policies, st.integers(1, 15), st.integers(0, 2**32 - 1))
def test_reranking_follows_the_rules(
    maxsim: QueryScorer, table: bool, first: list[float], policy: Policy, k: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    rows = generator.permutation(DOCUMENTS)[: len(first)]
    first = sorted(first, reverse=True)
    scorer: Any = Table(generator.integers(-3, 4, DOCUMENTS).astype(float)) if table else maxsim
    scores = dict(enumerate(scorer(np.arange(DOCUMENTS)).astype(float).tolist()))
    wanted, totals = by_the_rules(
        scores, list(zip(rows.tolist(), first, strict=True)), k, policy, 1 if table else len(maxsim)
    )
    found = rerank(scorer, rows, first, k, policy)
    assert rows[found.order].tolist() == wanted
    assert found.scores.tolist() == totals
    assert found.scored == len(wanted)


@settings(deadline=None)
@given(firsts, st.integers(1, 15), st.sampled_from([Policy(kappa=70), Policy(kappa=70, alpha=math.inf, beta=70)]))
def test_rules_left_out_score_all(maxsim: QueryScorer, first: list[float], k: int, policy: Policy) -> None:
    rows = np.arange(len(first))[::-1]
    found = rerank(maxsim, rows, sorted(first, reverse=True), k, policy)
    scores = maxsim(rows)
    assert rows[found.order].tolist() == rows[np.lexsort((rows, -scores))].tolist()
    assert found.scored == len(first)


def test_no_more_is_scored_than_said() -> None:
    scorer = Table(np.array([9.0, 8, 1, 7, 2, 3, 8.5, 9, 9]))
    found = rerank(scorer, np.arange(9), np.arange(9)[::-1], 2, Policy(beta=3))
    assert (found.scored, scorer.asked) == (5, 5)  # 1, 7 and 2 are below 9 and 8
    assert found.order.tolist() == [0, 1, 3, 4, 2]
    assert rerank(scorer, np.arange(9), np.arange(9)[::-1], 2, Policy(beta=5)).scored == 9


def test_a_larger_alpha_keeps_more() -> None:
    first = [10.0, 9.0, 8.0, 7.9, 7.0, 4.0, -1.0]
    kept = [kept_candidates(first, 3, Policy(alpha=alpha)) for alpha in (0.0, 0.02, 0.2, 0.5, 1.0, 2.0)]
    assert kept == [3, 4, 5, 6, 6, 7]
    assert kept_candidates([-1.0, -2.0, -2.5, -4.0], 2, Policy(alpha=0.5)) == 3  # the distance is above 0 all the same


def test_fewer_candidates_than_k_are_all_scored() -> None:
    found = rerank(Table(np.arange(9.0)), [3, 5, 4], [9.0, 1.0, 0.1], 10, Policy(alpha=0.0, beta=1))
    assert found.order.tolist() == [1, 2, 0]
    assert rerank(Table(np.arange(9.0)), np.zeros(0, int), [], 10, Policy(beta=1)).scored == 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"kappa": 0}, "kappa is 0: it must be a whole number of at least 1"),
        ({"kappa": 2.5}, "kappa is 2.5"),
        ({"alpha": -0.1}, "alpha is -0.1: it must be 0 or above"),
        ({"alpha": math.nan}, "alpha is nan"),
        ({"beta": 0}, "beta is 0"),
        ({"beta": True}, "beta is True"),
        ({"weight": 1.5}, "weight is 1.5: it must be between 0 and 1"),
        ({"weight": math.nan}, "weight is nan"),
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Policy(**setting)


@pytest.mark.parametrize(
    ("rows", "first", "k", "message"),
    [
        ([1, 2], [1.0, 2.0], 1, "candidate 1 has a higher first-stage score than the one before"),
        ([1, 2], [1.0, math.nan], 1, "not finite"),
        ([1, 2], [1.0], 1, "an integer for each first-stage score"),
        ([0.5], [1.0], 1, "an integer for each"),
        ([1], [1.0], 0, "k is 0"),
        ([1], ["a"], 1, "must be numbers"),
    ],
)
def test_candidates_of_another_form_are_refused(rows: Any, first: Any, k: int, message: str) -> None:
    scorer: Scorer = Table(np.zeros(5))
    with pytest.raises(InvalidInput, match=message):
        rerank(scorer, rows, first, k, Policy())
