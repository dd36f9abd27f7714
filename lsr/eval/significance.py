"""Whether a difference between two systems is more than chance: paired tests over the queries that both answered.

The test is the randomisation test with sign flips (Fisher 1935; Smucker, Allan and Carterette 2007 compare it with others
for retrieval), intervals are percentile bootstrap (Efron and Tibshirani 1993, chapter 13), families of tests are corrected
as in Holm 1979. All takes a seed, runs in one thread in little memory, and gives the same numbers on any number of cores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput

__all__ = [
    "Comparison",
    "bootstrap_interval",
    "compare",
    "detectable_difference",
    "effect_size",
    "holm",
    "paired_randomisation",
    "with_holm",
]

Floats = npt.NDArray[np.float64]

_EXACT = 16  # differences up to which all sign flips (65,536) are tried
_ROUNDING = 1e-12  # relative: sums that differ by less are equal, since the order of adding may differ
_BLOCK = 1 << 17  # sign flips at a time
_RESAMPLED = 1 << 20  # values drawn at a time


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a system differs from a baseline in one measure, over the same queries.

    difference: mean of system - baseline
    interval: bootstrap interval of the difference
    p, p_holm: two-sided, and corrected for all comparisons that were made together (`with_holm`; alone it is p)
    effect_size: mean / standard deviation of the differences (d_z), None where all are alike
    wins, ties, losses: queries in which the system is better, equal, worse
    permutations: sign flips tried; a power of 2 from few queries, where all of them are
    """

    system: str
    baseline: str
    measure: str
    difference: float
    interval: tuple[float, float]
    p: float
    p_holm: float
    effect_size: float | None
    wins: int
    ties: int
    losses: int
    permutations: int


def compare(
    system_values: npt.ArrayLike,
    baseline_values: npt.ArrayLike,
    *,
    system: str,
    baseline: str,
    measure: str,
    permutations: int = 100_000,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compares the values [n] of two systems, query by query.

    Raises `InvalidInput` when the two have not the same queries, there is none, or a value is not finite.
    """
    differences = _differences(system_values, baseline_values)
    p, tried = _randomised(differences, permutations, seed)
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return Comparison(
        system=system,
        baseline=baseline,
        measure=measure,
        difference=float(differences.mean()),
        interval=bootstrap_interval(differences, confidence=confidence, resamples=resamples, seed=seed),
        p=p,
        p_holm=p,
        effect_size=effect_size(differences),
        wins=wins,
        ties=len(differences) - wins - losses,
        losses=losses,
        permutations=tried,
    )


def with_holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with `p_holm` corrected for all of them, in their order."""
    corrected = holm([comparison.p for comparison in comparisons])
    return [replace(comparison, p_holm=p) for comparison, p in zip(comparisons, corrected, strict=True)]


def paired_randomisation(a: npt.ArrayLike, b: npt.ArrayLike, *, permutations: int = 100_000, seed: int = 0) -> float:
    """The two-sided p of the mean of a - b [n], when the sign of each difference is a toss of a coin.

    With at most 16 differences other than 0 all signs are tried and p is exact. Otherwise `permutations` are drawn, and the
    observed one counts among them: p is never 0 (Phipson and Smyth 2010). Without any difference p is 1.
    Raises `InvalidInput` for values that do not pair up or are not finite.
    """
    return _randomised(_differences(a, b), permutations, seed)[0]


def bootstrap_interval(
    values: npt.ArrayLike, *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean of values [n]: of a measure, or of paired differences.

    Raises `InvalidInput` for no values, values that are not finite, or a confidence outside of (0, 1).
    """
    array = _finite(values)
    if not 0 < confidence < 1:
        raise InvalidInput(f"the confidence is {confidence!r}; it must lie between 0 and 1, as 0.95 does")
    _check_count("resamples", resamples)
    generator = _generator(seed)
    means = np.empty(resamples)
    rows = max(1, _RESAMPLED // len(array))
    for start in range(0, resamples, rows):
        drawn = generator.integers(0, len(array), (min(rows, resamples - start), len(array)))
        means[start : start + rows] = array[drawn].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def effect_size(differences: npt.ArrayLike) -> float | None:
    """d_z: the mean of paired differences [n] over their standard deviation (n - 1); None where that is 0, or n is 1."""
    array = _finite(differences)
    if len(array) < 2:
        return None
    spread = float(array.std(ddof=1))
    if spread <= _ROUNDING * float(np.abs(array).max()):
        return None
    return float(array.mean()) / spread


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for being m, in the order given: any below alpha keeps the chance of one false find below alpha.

    The k-th smallest is multiplied by m - k + 1; none is less than one before it, or more than 1 (Holm 1979).
    """
    p = np.asarray(p_values, np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise InvalidInput("p values must lie between 0 and 1")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1)
    return [float(value) for value in corrected]


def detectable_difference(n: int, sd: float = 0.15, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest true difference of means that n queries show with this power: (z_(1-alpha/2) + z_power) sd / sqrt(n).

    sd is the standard deviation of the paired differences. Normal approximation, two-sided; a little low for n under 30.
    """
    _check_count("queries", n)
    if not 0 < alpha < 1 or not 0 < power < 1:
        raise InvalidInput(f"power ({power!r}) and alpha ({alpha!r}) must lie between 0 and 1, as 0.8 and 0.05 do")
    if not (sd >= 0 and math.isfinite(sd)):
        raise InvalidInput(f"the standard deviation is {sd!r}; it must be 0 or more, and finite")
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * sd / math.sqrt(n)


def _randomised(differences: Floats, permutations: int, seed: int) -> tuple[float, int]:
    """(p, sign flips tried). A difference of 0 has no sign, and changes nothing."""
    _check_count("permutations", permutations)
    moved = differences[differences != 0]
    # What the sum may be off by, since the same numbers are added in another order.
    least = abs(float(moved.sum())) - _ROUNDING * float(np.abs(moved).sum())
    if len(moved) <= _EXACT:
        sums = np.zeros(1)
        for difference in moved:
            sums = np.concatenate([sums + difference, sums - difference])
        return float((np.abs(sums) >= least).mean()), len(sums)
    generator = _generator(seed)
    extreme = sum(
        int((np.abs(_flipped_sums(moved, min(_BLOCK, permutations - start), generator)) >= least).sum())
        for start in range(0, permutations, _BLOCK)
    )
    return (1 + extreme) / (1 + permutations), permutations


def _flipped_sums(differences: Floats, count: int, generator: np.random.Generator) -> Floats:
    """Sums of the differences with random signs: [count].

    A random byte is the signs of 8 differences, and their sum is looked up in a table of its 256 cases: an eighth of the
    additions, memory for one byte a flip, and no matrix product, whose rounding depends on the number of threads.
    """
    signs = 1.0 - 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)  # [256, 8]
    padded = np.zeros(-(-len(differences) // 8) * 8)
    padded[: len(differences)] = differences
    sums = np.zeros(count)
    for eight in padded.reshape(-1, 8):
        sums += (signs * eight).sum(axis=1)[generator.integers(0, 256, count, dtype=np.uint8)]
    return sums


def _differences(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    """a - b, where what differs by rounding alone is 0: two ways to add up the same nDCG are a tie."""
    first, second = _finite(a), _finite(b)
    if len(first) != len(second):
        raise InvalidInput(
            f"{len(first)} values cannot be paired with {len(second)}: give both systems the same queries"
        )
    differences = first - second
    differences[np.abs(differences) <= _ROUNDING * np.maximum(np.abs(first), np.abs(second))] = 0
    return differences


def _finite(values: npt.ArrayLike) -> Floats:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise InvalidInput(f"expected one value for each of one or more queries, got an array of shape {array.shape}")
    if not np.isfinite(array).all():
        raise InvalidInput("values of queries must be finite; one is NaN or infinite")
    return array


def _generator(seed: int) -> np.random.Generator:
    if seed < 0:
        raise InvalidInput(f"the seed is {seed!r}; it must be 0 or more")
    return np.random.default_rng(seed)


def _check_count(what: str, value: int) -> None:
    if value < 1:
        raise InvalidInput(f"the number of {what} is {value!r}; it must be 1 or more")
