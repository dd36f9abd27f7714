"""Scores of two stages as one.

    replace      the second stage's alone
    interpolate  (1 - weight) * second + weight * first, each brought to 0 ... 1 over the candidates (min-max)
    rrf          1 / (60 + rank) of both, summed: reciprocal rank fusion (Cormack, Clarke and Buettcher 2009)

Runs of whole systems are fused by ranx, which has these and some twenty others: `ranx.fuse`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput

__all__ = ["FUSIONS", "RRF_CONSTANT", "fused", "reciprocal_ranks", "zero_to_one"]

FUSIONS = ("replace", "interpolate", "rrf")
RRF_CONSTANT = 60

Scores = npt.NDArray[np.float64]


def fused(how: str, first: npt.ArrayLike, second: npt.ArrayLike, weight: float = 0.5) -> Scores:
    """Scores float64 [n] of candidates from those of the first stage and of the second, [n] each.

    A second score of -inf is a candidate that the second stage could not score: it counts as the lowest there.
    Raises `InvalidInput` for an unknown fusion, scores that do not fit together, or a weight outside 0 ... 1.
    """
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.ndim != 1 or one.shape != two.shape:
        raise InvalidInput(f"scores of two stages are {one.shape} and {two.shape}: there must be one each a candidate")
    if how == "replace":
        return two
    if how == "interpolate":
        if not 0 <= weight <= 1:
            raise InvalidInput(f"weight is {weight}: it must be between 0 and 1")
        return (1 - weight) * zero_to_one(two) + weight * zero_to_one(one)
    if how == "rrf":
        return reciprocal_ranks(one) + reciprocal_ranks(two)
    raise InvalidInput(f"there is no fusion {how!r}: there are {', '.join(FUSIONS)}")


def zero_to_one(scores: npt.ArrayLike) -> Scores:
    """The lowest finite score as 0, the highest as 1; all 0 where they are equal. -inf is 0 too."""
    given = np.asarray(scores, np.float64)
    finite = given[np.isfinite(given)]
    if len(finite) == 0 or finite.min() == finite.max():
        return np.zeros(len(given))
    low, high = finite.min(), finite.max()
    result: Scores = (np.maximum(given, low) - low) / (high - low)
    return result


def reciprocal_ranks(scores: npt.ArrayLike) -> Scores:
    """1 / (60 + rank), the highest score having rank 1; of equal scores the first stands first."""
    given = np.asarray(scores, np.float64)
    ranks = np.empty(len(given), np.int64)
    ranks[np.argsort(-given, kind="stable")] = np.arange(1, len(given) + 1)
    result: Scores = 1.0 / (RRF_CONSTANT + ranks)
    return result
