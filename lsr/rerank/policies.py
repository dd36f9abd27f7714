"""Which candidates of the first stage are scored, and when scoring stops (Martinico, Nardini, Rulli and Venturini 2026).

Input are candidates by falling first-stage score s. In order:

1. The first kappa are taken.
2. Candidate pruning: those with s >= s_k - |s_k| * alpha are kept, s_k being the k-th first-stage score. A larger alpha keeps
   more. With fewer than k candidates nothing is pruned.
3. Early exit: the first k are scored without condition. After that, scoring stops after beta candidates in a row that do not
   enter the k best so far. With fewer than k candidates all are scored.
4. Interpolation, where a weight is given: what ranks, in the early exit too, is

       (1 - weight) * score / scale + weight * (s - lowest s) / (highest s - lowest s)

   over the candidates that pruning left, whose first-stage scores are all known before the first is scored. MaxSim is divided
   by the number of query tokens, the most it can be with unit vectors. So 1 bounds both parts, the one by what was found, the
   other by theory ("theoretical min-max": Bruch, Gai and Ingber 2023).

Equal scores rank by row.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.rerank.codecs.scoring import Exit, QueryScorer
from lsr.rerank.fusion import zero_to_one

__all__ = ["Policy", "Reranked", "Scorer", "kept_candidates", "rerank", "scored_until"]

# Scores of documents by their rows, int64 [n] to [n]: MaxSim over a store, or any other reranker.
Scorer = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.floating]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Which candidates are scored: see the top of this file. None leaves a rule out.

    kappa: candidates at most, at least 1; alpha: 0 or above, infinite to prune nothing; beta: 1 or above; weight: of the
    first-stage score, 0 to 1. Raises `InvalidInput` for values out of range.
    """

    kappa: int = 50
    alpha: float | None = None
    beta: int | None = None
    weight: float | None = None

    def __post_init__(self) -> None:
        _check_whole("kappa", self.kappa)
        if self.beta is not None:
            _check_whole("beta", self.beta)
        if self.alpha is not None and not self.alpha >= 0:
            raise InvalidInput(f"alpha is {self.alpha}: it must be 0 or above, or left out to prune nothing")
        if self.weight is not None and not 0 <= self.weight <= 1:
            raise InvalidInput(f"weight is {self.weight}: it must be between 0 and 1, or left out")


class Reranked(NamedTuple):
    """order: places among the candidates, best first, int64; scores of them, float64; scored: how many were scored."""

    order: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    scored: int


def kept_candidates(first_scores: npt.ArrayLike, k: int, policy: Policy) -> int:
    """How many candidates kappa and alpha leave: as scores fall, they are the first ones. Raises `InvalidInput`."""
    _check_whole("k", k)
    scores = _checked_scores(first_scores)[: policy.kappa]
    if policy.alpha is None or math.isinf(policy.alpha) or len(scores) < k:
        return len(scores)
    lowest = scores[k - 1] - abs(scores[k - 1]) * policy.alpha
    return int(np.count_nonzero(scores >= lowest))


def rerank(
    scorer: Scorer | QueryScorer, rows: npt.ArrayLike, first_scores: npt.ArrayLike, k: int, policy: Policy
) -> Reranked:
    """Candidates that `policy` lets be scored, by falling score; all that were scored, also beyond k.

    scorer: MaxSim of a query (`StoredTokens.query`), or any function of rows; rows: integers [c], the candidates by falling
    first-stage score; first_scores: float [c], finite; k: how many hits are wanted. Raises `InvalidInput`.
    """
    kept = kept_candidates(first_scores, k, policy)
    given = np.asarray(rows)
    if given.shape != np.shape(first_scores) or (given.dtype.kind not in "iu" and given.size):
        raise InvalidInput(f"rows are {given.dtype} {given.shape}: there must be an integer for each first-stage score")
    wanted = given[:kept].astype(np.int64)
    base, factor = np.zeros(kept), 1.0
    if policy.weight is not None:
        base = policy.weight * zero_to_one(_checked_scores(first_scores)[:kept])
        factor = (1 - policy.weight) / (max(1, len(scorer)) if isinstance(scorer, QueryScorer) else 1)
    if policy.beta is None:
        scores = scorer(wanted)
    elif isinstance(scorer, QueryScorer):
        scores = scorer.until(wanted, Exit(base, factor, k, policy.beta))
    else:
        scores = scored_until(scorer, wanted, Exit(base, factor, k, policy.beta))
    scored = len(scores)
    totals = base[:scored] + factor * np.asarray(scores, np.float64)
    order = np.lexsort((wanted[:scored], -totals))
    return Reranked(order, totals[order], scored)


def scored_until(scorer: Scorer, rows: npt.NDArray[np.int64], exit: Exit) -> npt.NDArray[np.float64]:
    """Early exit with any scorer. It is asked for as many documents at a time as will be scored in any case."""
    best: list[tuple[float, int]] = []  # (-total, row), the first k
    scores: list[float] = []
    missed, ask = 0, exit.k
    while len(scores) < len(rows) and missed < exit.patience:
        first = len(scores)
        for score in np.asarray(scorer(rows[first : first + ask]), np.float64).tolist():
            key = (-(exit.base[len(scores)] + exit.factor * score), int(rows[len(scores)]))
            scores.append(score)
            place = bisect_left(best, key)
            best.insert(place, key)
            del best[exit.k :]
            missed = missed + 1 if place >= exit.k else 0
        ask = exit.patience - missed
    return np.array(scores, np.float64)


def _checked_scores(first_scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    scores = np.asarray(first_scores)
    if scores.ndim != 1 or scores.dtype.kind not in "biuf":
        raise InvalidInput(f"first-stage scores are {scores.dtype} {scores.shape}: they must be numbers [candidates]")
    scores = scores.astype(np.float64)
    if not np.isfinite(scores).all():
        raise InvalidInput("a first-stage score is not finite")
    rising = np.flatnonzero(np.diff(scores) > 0)
    if len(rising):
        raise InvalidInput(f"candidate {rising[0] + 1} has a higher first-stage score than the one before: sort them")
    return scores


def _check_whole(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InvalidInput(f"{name} is {value!r}: it must be a whole number of at least 1")
