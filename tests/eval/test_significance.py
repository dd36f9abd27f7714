"""Significance beside SciPy, beside worked examples of the literature, and by what must hold."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lsr.errors import InvalidInput
from lsr.eval.significance import (
    Comparison,
    bootstrap_interval,
    compare,
    detectable_difference,
    effect_size,
    holm,
    paired_randomisation,
    with_holm,
)

Floats = npt.NDArray[np.float64]


def two_systems(n: int, shift: float, seed: int = 0) -> tuple[Floats, Floats]:
    """Values of two systems in n queries, the first better by `shift` on average; a third of the queries are ties."""
    random = np.random.default_rng(seed)
    base = random.random(n)
    moved = np.where(random.random(n) < 1 / 3, 0.0, random.normal(shift, 0.15, n))
    return base + moved, base


# ---- The randomisation test ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_few_queries_give_scipys_exact_p(seed: int) -> None:
    a, b = two_systems(10, 0.08, seed)
    exact = stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    assert paired_randomisation(a, b) == pytest.approx(exact.pvalue, abs=1e-12)


def test_fishers_darwin_example() -> None:
    """Darwin's 15 pairs of maize plants, eighths of an inch: 1,726 of the 32,768 sums are as large in size as the 314 seen.

    Fisher 1935, The Design of Experiments, section 21: 863 sums are 314 or more, so p = 1726 / 32768 = 5.267 %.
    """
    differences = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48], dtype=float)
    assert differences.sum() == 314
    assert paired_randomisation(differences, np.zeros(15)) == 1726 / 32768


@given(st.lists(st.sampled_from([-0.3, -0.1, 0.0, 0.1, 0.2, 0.30000000000000004]), min_size=1, max_size=9))
def test_p_is_the_share_of_sign_flips_with_a_sum_as_large(differences: list[float]) -> None:
    """Tenths are counted as whole numbers here, so rounding cannot make equal sums differ: they must not in ours either."""
    tenths = [round(10 * difference) for difference in differences]
    sums = [
        abs(sum(sign * t for sign, t in zip(signs, tenths, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(tenths))
    ]
    expected = sum(total >= abs(sum(tenths)) for total in sums) / len(sums)
    assert paired_randomisation(differences, np.zeros(len(differences))) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.05])
def test_many_queries_give_the_p_of_scipys_sampling(shift: float) -> None:
    a, b = two_systems(120, shift, seed=4)
    sampled = stats.permutation_test(
        (a - b,), np.mean, permutation_type="samples", n_resamples=40_000, axis=0, vectorized=True, rng=1, batch=2_000
    )
    found = paired_randomisation(a, b, permutations=40_000)
    error = math.sqrt(2 * max(sampled.pvalue, 1e-4) / 40_000)
    assert found == pytest.approx(sampled.pvalue, abs=5 * error)


def test_sampling_agrees_with_trying_all_signs() -> None:
    """17 differences are one more than are tried exhaustively."""
    a, b = np.random.default_rng(2).normal(0.06, 0.15, 17), np.zeros(17)
    sums = np.array([np.dot(signs, a) for signs in itertools.product((1, -1), repeat=17)])
    exact = float((np.abs(sums) >= abs(a.sum()) - 1e-12).mean())
    assert 0.05 < exact < 0.5
    assert paired_randomisation(a, b, permutations=200_000) == pytest.approx(exact, abs=5 * math.sqrt(exact / 200_000))


def test_queries_without_difference_change_nothing() -> None:
    a, b = two_systems(16, 0.1)
    padded = paired_randomisation(np.concatenate([a, np.ones(500)]), np.concatenate([b, np.ones(500)]))
    assert padded == paired_randomisation(a, b)


def test_equal_systems_have_p_1() -> None:
    values = np.random.default_rng(0).random(100)
    assert paired_randomisation(values, values) == 1


def test_what_differs_by_rounding_alone_is_no_difference() -> None:
    a = np.full(40, 0.1 + 0.2)
    assert (a != 0.3).all()
    assert paired_randomisation(a, np.full(40, 0.3)) == 1


def test_the_sampled_p_is_never_0() -> None:
    """No draw is as extreme as forty wins of forty; the observed one counts itself (Phipson and Smyth 2010)."""
    assert paired_randomisation(np.ones(40), np.zeros(40), permutations=999) == 1 / 1000


def test_p_does_not_know_which_system_came_first() -> None:
    a, b = two_systems(200, 0.02)
    assert paired_randomisation(a, b) == paired_randomisation(b, a)


def test_the_same_seed_gives_the_same_p_and_another_seed_another() -> None:
    a, b = two_systems(200, 0.015)
    assert paired_randomisation(a, b, seed=1) == paired_randomisation(a, b, seed=1)
    assert paired_randomisation(a, b, seed=1) != paired_randomisation(a, b, seed=2)


def test_p_is_uniform_when_nothing_is_there() -> None:
    """The test keeps its promise: of 400 comparisons of equals about 5 % are below 0.05."""
    random = np.random.default_rng(8)
    p = [paired_randomisation(random.normal(0, 0.15, 30), np.zeros(30), permutations=500, seed=i) for i in range(400)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_flips_beyond_one_block_are_drawn_on() -> None:
    a, b = two_systems(60, 0.02, seed=3)
    assert paired_randomisation(a, b, permutations=300_000) == pytest.approx(
        paired_randomisation(a, b, permutations=100_000, seed=5), abs=0.01
    )


# ---- The bootstrap ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_the_interval_is_scipys_percentile_bootstrap(confidence: float) -> None:
    """The draws are the same, so it is the same interval, not only one like it."""
    values = np.random.default_rng(0).beta(0.5, 0.5, 300)
    wanted = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=2_000,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(7),
    ).confidence_interval
    low, high = bootstrap_interval(values, confidence=confidence, resamples=2_000, seed=7)
    assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_the_interval_nears_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(1).random(2_000)
    half = 1.959964 * values.std() / math.sqrt(len(values))
    low, high = bootstrap_interval(values)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05 * half)


def test_values_all_alike_have_an_interval_of_no_width() -> None:
    assert bootstrap_interval([0.25] * 50) == (0.25, 0.25)
    assert bootstrap_interval([0.5]) == (0.5, 0.5)


def test_memory_stays_bounded_for_many_queries() -> None:
    """10,000 resamples of 20,000 values would be 1.6 GB at once, 100,000 sign flips of them 16 GB."""
    values = np.random.default_rng(0).random(20_000)
    tracemalloc.start()
    bootstrap_interval(values, resamples=200)
    paired_randomisation(values, np.zeros(20_000), permutations=10_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


# ---- Effect size, Holm, power ----------------------------------------------------------------------------------------


def test_the_effect_size_is_the_paired_t_over_the_root_of_n() -> None:
    a, b = two_systems(80, 0.05)
    found = effect_size(a - b)
    assert found is not None
    assert found * math.sqrt(80) == pytest.approx(stats.ttest_rel(a, b).statistic)


@pytest.mark.parametrize("differences", [[0.0] * 5, [0.1] * 7, [0.3]])
def test_without_spread_there_is_no_effect_size(differences: list[float]) -> None:
    assert effect_size(differences) is None


def test_holm_by_hand() -> None:
    """4 x 0.005, 3 x 0.01, 2 x 0.03, and 1 x 0.04, which may not be less than the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_on_the_fifteen_p_values_of_benjamini_and_hochberg() -> None:
    """Their example of 1995, thrombolysis: procedures for the family-wise error reject the three smallest at 0.05."""
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1.0,
    ]
    corrected = holm(p)
    assert [value < 0.05 for value in corrected] == [True] * 3 + [False] * 12
    assert corrected[:4] == pytest.approx([0.0015, 0.0056, 0.0247, 0.1140])


def test_holm_of_nothing_and_of_one() -> None:
    assert holm([]) == []
    assert holm([0.3]) == [0.3]


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_rejects_what_the_step_down_procedure_rejects(p: list[float]) -> None:
    """Holm 1979: from the smallest p up, reject while p <= alpha / (m - k + 1), then stop."""
    alpha = 0.05
    rejected = [False] * len(p)
    for k, at in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        if p[at] * (len(p) - k) > alpha:
            break
        rejected[at] = True
    assert [value <= alpha for value in holm(p)] == rejected
    assert all(before <= after <= 1 for before, after in zip(p, holm(p), strict=True))


@pytest.mark.parametrize(
    ("queries", "difference"), [(50, 0.059), (300, 0.024), (648, 0.017), (1_000, 0.013), (6_980, 0.005)]
)
def test_the_detectable_difference_of_usual_collections(queries: int, difference: float) -> None:
    assert round(detectable_difference(queries), 3) == difference


def test_a_detectable_difference_is_found_as_often_as_the_power_says() -> None:
    n, alpha = 100, 0.05
    shift = detectable_difference(n, sd=0.2, power=0.7, alpha=alpha)
    samples = np.random.default_rng(0).normal(shift, 0.2, (4_000, n))
    found = stats.ttest_1samp(samples, 0, axis=1).pvalue < alpha
    assert found.mean() == pytest.approx(0.7, abs=0.03)


# ---- Comparisons -----------------------------------------------------------------------------------------------------


def test_a_comparison_holds_what_its_parts_say() -> None:
    a, b = two_systems(150, 0.04)
    found = compare(
        a, b, system="lsr-tiny", baseline="bm25", measure="nDCG@10", permutations=5_000, resamples=500, seed=3
    )
    assert (found.system, found.baseline, found.measure) == ("lsr-tiny", "bm25", "nDCG@10")
    assert found.difference == pytest.approx(a.mean() - b.mean())
    assert found.interval == pytest.approx(bootstrap_interval(a - b, resamples=500, seed=3), abs=1e-12)
    assert found.interval[0] < found.difference < found.interval[1]
    assert found.p == found.p_holm == paired_randomisation(a, b, permutations=5_000, seed=3)
    assert found.effect_size == pytest.approx(effect_size(a - b))
    assert (found.wins, found.ties, found.losses) == ((a > b).sum(), (a == b).sum(), (a < b).sum())
    assert found.wins > found.losses > 0 < found.ties
    assert found.permutations == 5_000


def test_a_comparison_of_few_queries_says_how_many_flips_there_are() -> None:
    found = compare([1.0, 0.5, 0.25], [0.5, 0.25, 0.25], system="a", baseline="b", measure="RR")
    assert (found.permutations, found.p) == (4, 0.5)
    assert (found.wins, found.ties, found.losses) == (2, 1, 0)


def test_a_comparison_with_itself_is_all_ties() -> None:
    found = compare([0.5, 1.0], [0.5, 1.0], system="a", baseline="a", measure="RR")
    assert found == Comparison("a", "a", "RR", 0.0, (0.0, 0.0), 1.0, 1.0, None, 0, 2, 0, 1)


def test_the_other_way_round_everything_is_turned() -> None:
    a, b = two_systems(100, 0.03)
    there = compare(a, b, system="a", baseline="b", measure="AP", permutations=2_000, resamples=500)
    back = compare(b, a, system="b", baseline="a", measure="AP", permutations=2_000, resamples=500)
    assert back.difference == -there.difference
    assert back.interval == pytest.approx((-there.interval[1], -there.interval[0]))
    assert (back.p, back.wins, back.losses) == (there.p, there.losses, there.wins)


def test_comparisons_made_together_are_corrected_together() -> None:
    base = np.zeros(12)
    alone = [
        compare(np.arange(12) * size, base, system=name, baseline="b", measure="AP", resamples=10)
        for name, size in (("up", 1.0), ("down", -1.0), ("same", 0.0))
    ]
    together = with_holm(alone)
    assert [c.system for c in together] == ["up", "down", "same"]
    assert [c.p for c in together] == [c.p for c in alone] == [2 / 2**11, 2 / 2**11, 1]
    assert [c.p_holm for c in together] == pytest.approx([3 * 2 / 2**11, 3 * 2 / 2**11, 1])


# ---- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ([1.0], [1.0, 2.0], "1 values cannot be paired with 2"),
        ([], [], "one or more queries"),
        ([[1.0]], [[1.0]], r"shape \(1, 1\)"),
        ([math.nan], [0.0], "finite"),
        ([0.0], [math.inf], "finite"),
    ],
)
def test_values_that_do_not_pair_up_are_refused(a: list[float], b: list[float], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        paired_randomisation(a, b)
    with pytest.raises(InvalidInput, match=said):
        compare(a, b, system="a", baseline="b", measure="RR")


def test_settings_out_of_range_are_refused() -> None:
    for confidence in (0.0, 1.0, 95.0, math.nan):
        with pytest.raises(InvalidInput, match="confidence"):
            bootstrap_interval([1.0], confidence=confidence)
    with pytest.raises(InvalidInput, match="number of resamples is 0"):
        bootstrap_interval([1.0], resamples=0)
    with pytest.raises(InvalidInput, match="number of permutations is -1"):
        paired_randomisation([1.0], [0.0], permutations=-1)
    with pytest.raises(InvalidInput, match="seed is -1"):
        bootstrap_interval([1.0], seed=-1)
    with pytest.raises(InvalidInput, match="finite"):
        bootstrap_interval([math.nan])
    with pytest.raises(InvalidInput, match="number of queries is 0"):
        detectable_difference(0)
    for bad in ({"power": 1.0}, {"alpha": 0.0}, {"sd": -1.0}, {"sd": math.nan}):
        with pytest.raises(InvalidInput):
            detectable_difference(50, **bad)
    for p in ([-0.1], [1.1], [math.nan]):
        with pytest.raises(InvalidInput, match="p values"):
            holm(p)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40))
def test_no_values_of_queries_break_a_comparison(pairs: list[tuple[float, float]]) -> None:
    a, b = zip(*pairs, strict=True)
    found = compare(a, b, system="a", baseline="b", measure="RR", permutations=100, resamples=20)
    assert 0 < found.p <= 1
    assert found.wins + found.ties + found.losses == len(pairs)
    assert found.interval[0] <= found.interval[1]
    assert found.effect_size is None or math.isfinite(found.effect_size)
