"""Several teachers as one, and whether what they say can be learned from.

Geng et al., "Towards Competitive Search Relevance For Inference-Free Learned Sparse Retrievers" (2024), the section on
heterogeneous ensemble distillation: scores of dense and sparse teachers are of different sizes, so those of each teacher are
brought to [0, 1] for each query, averaged, and multiplied by a constant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lsr.errors import InvalidInput
from lsr.training.teachers.teacher import Floats, MatrixTeacher, PairTeacher, Rows, Teacher

__all__ = ["Ensemble", "Findings", "check_targets"]

NORMALIZE = ("minmax", "affine", "none")
# Scores of a query that differ by less, relative to the largest, are the same but for rounding.
ROUNDING = 1e-5
# Bounds of `check_targets`.
UNIFORM = 0.98  # of the entropy that equal targets would have
ONE_HOT = 0.99  # of the probability on one document
UNRELATED, OPPOSED = 0.05, 0.15  # mean rank correlation with the other teachers, below and below minus that


@dataclass
class Findings:
    """What is wrong with targets, one line each. With `errors` there is nothing to be learned."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def refuse(self) -> None:
        """Raises `InvalidInput` with all errors, if there are any."""
        if self.errors:
            raise InvalidInput("; ".join(self.errors))


class Ensemble:
    """The weighted average of normalised scores of teachers, times a scale.

    weights: one a teacher, equal by default.
    normalize:
      "minmax" brings the scores of each teacher to [0, 1] for each query. Constant ones all become 0.
      "affine" takes the mean of the query from them and divides by one number for each teacher, the spread of its scores
        that `calibrate` found: a query that a teacher is undecided about stays so (after SPLADE-v3, Lassance et al. 2024,
        which maps scores to a mean and a deviation that are the same for all queries). The spread becomes 1, where that of
        min-max is about 0.35: choose the scale accordingly.
      "none" leaves them as they are.
    scale: 30 was better than 10 by far for KL divergence over a handful of documents.

    A pair that a `PairTeacher` does not know (NaN) is scored by the others. Places without a document (-1) and pairs that no
    teacher knows get -inf, which a softmax passes over. A `MatrixTeacher` that gives NaN makes the whole row NaN, for
    `check_targets` to find.

    Raises `InvalidInput` for arguments out of range.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        weights: Sequence[float] | None = None,
        normalize: str = "minmax",
        scale: float = 30.0,
    ) -> None:
        self.matrix_teachers = [teacher for teacher in teachers if isinstance(teacher, MatrixTeacher)]
        self.pair_teachers = [teacher for teacher in teachers if isinstance(teacher, PairTeacher)]
        if not teachers or len(self.matrix_teachers) + len(self.pair_teachers) < len(teachers):
            raise InvalidInput("an ensemble needs at least one teacher, each a MatrixTeacher or a PairTeacher")
        given = [1.0] * len(teachers) if weights is None else [float(weight) for weight in weights]
        if len(given) != len(teachers) or not all(0 <= weight <= 1e6 for weight in given) or not any(given):
            raise InvalidInput(f"weights are {given}: one for each of {len(teachers)} teachers, 0 or more, not all 0")
        if normalize not in NORMALIZE:
            raise InvalidInput(f"normalize is {normalize!r}: it must be one of {', '.join(NORMALIZE)}")
        if not 0 < scale <= 1e6:
            raise InvalidInput(f"scale is {scale:g}: it must be above 0, and 1,000,000 at most")
        self.normalize, self.scale = normalize, float(scale)
        # In the order in which scores are stacked: those of matrices first.
        self.teachers: list[Teacher] = [*self.matrix_teachers, *self.pair_teachers]
        matrix = [isinstance(teacher, MatrixTeacher) for teacher in teachers]
        self._weights = [
            weight for kind in (True, False) for weight, own in zip(given, matrix, strict=True) if own == kind
        ]
        self._spreads: list[float] | None = None

    @property
    def names(self) -> list[str]:
        """The teachers' names, in the order of `scores`; numbered where two are the same."""
        names = [teacher.name for teacher in self.teachers]
        return [f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names, 1)]

    # -- targets -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def own(self, queries: Tensor, documents: Tensor, pair_scores: Tensor | None = None) -> Tensor:
        """Targets float32 [B, K] of queries int64 [B] over their own candidates int64 [B, K], -1 for none.

        pair_scores: what the pair teachers say, float32 [P, B, K]; they are asked when None.
        """
        return self._combined(self.scores(queries, documents, pair_scores), documents >= 0)

    @torch.no_grad()
    def block(self, queries: Tensor, documents: Tensor) -> Tensor:
        """Targets float32 [B, N] of queries int64 [B] over all documents int64 [N] of a batch, -1 for none.

        By the matrix teachers alone, normalised over all N. Raises `InvalidInput` when there are none.
        """
        if not any(self._weights[: len(self.matrix_teachers)]):
            raise InvalidInput(
                "targets over a whole batch need a dense, sparse or BM25 teacher: the others see single pairs"
            )
        real = documents.clamp(min=0)
        scores = torch.stack([teacher.matrix(queries, real) for teacher in self.matrix_teachers])
        return self._combined(scores, (documents >= 0).expand(len(queries), -1))

    @torch.no_grad()
    def scores(self, queries: Tensor, documents: Tensor, pair_scores: Tensor | None = None) -> Tensor:
        """What each teacher says, float32 [T, B, K], in the order of `names`; NaN where it says nothing."""
        real = documents.clamp(min=0)
        found = [teacher.own(queries, real) for teacher in self.matrix_teachers]
        if self.pair_teachers:
            if pair_scores is None:
                asked = (each.cpu().numpy() for each in (queries, documents))
                pair_scores = torch.from_numpy(self.pair_scores(*asked))
            if pair_scores.shape != (len(self.pair_teachers), *documents.shape):
                raise InvalidInput(
                    f"pair_scores has shape {list(pair_scores.shape)}: there are {len(self.pair_teachers)} pair teachers and "
                    f"candidates of shape {list(documents.shape)}"
                )
            device = found[0].device if found else documents.device
            found += list(pair_scores.to(device))
        return torch.stack(found)

    def pair_scores(self, queries: Rows, documents: Rows) -> Floats:
        """What the pair teachers say, float32 [P, B, K], of queries int64 [B] and candidates int64 [B, K]; NaN for -1."""
        real = documents >= 0
        rows = np.broadcast_to(queries[:, None], documents.shape)[real]
        found = np.full((len(self.pair_teachers), *documents.shape), np.nan, np.float32)
        for scores, teacher in zip(found, self.pair_teachers, strict=True):
            scores[real] = teacher.pairs(rows, documents[real])
        return found

    @torch.no_grad()
    def calibrate(self, queries: Tensor, documents: Tensor, pair_scores: Tensor | None = None) -> None:
        """Measures for "affine" how far the scores of each teacher lie apart: the root of the mean variance within a query,
        over a sample of queries [B] and candidates [B, K].

        Raises `InvalidInput` for a teacher whose scores never differ.
        """
        scores = self.scores(queries, documents, pair_scores).double()
        known = (documents >= 0).to(scores.device) & ~scores.isnan()
        count = known.sum(-1).clamp(min=1)
        clean = torch.where(known, scores, 0)
        mean = clean.sum(-1) / count
        variance = torch.where(known, (clean - mean[..., None]) ** 2, 0).sum(-1) / count
        several = known.sum(-1) > 1
        spreads = ((variance * several).sum(-1) / several.sum(-1).clamp(min=1)).sqrt().tolist()
        for name, spread in zip(self.names, spreads, strict=True):
            if not spread > 0:
                raise InvalidInput(
                    f"the teacher {name} gives all candidates of each query the same score; leave it out"
                )
        self._spreads = spreads

    def _combined(self, scores: Tensor, valid: Tensor) -> Tensor:
        """[T, B, K], bool [B, K] -> [B, K]."""
        valid = valid.to(scores.device)
        known = valid.expand(scores.shape).clone()
        pairs = slice(len(self.matrix_teachers), None)
        known[pairs] &= ~scores[pairs].isnan()
        normalized = torch.where(known, self._normalized(scores, known), 0)
        weights = torch.tensor(self._weights[: len(scores)], device=scores.device)[:, None, None] * known
        total = weights.sum(0)
        mean = (weights * normalized).sum(0) / torch.where(total > 0, total, 1)
        return torch.where(total > 0, mean * self.scale, -torch.inf)

    def _normalized(self, scores: Tensor, known: Tensor) -> Tensor:
        if self.normalize == "none":
            return scores
        if self.normalize == "minmax":
            low = torch.where(known, scores, torch.inf).amin(-1, keepdim=True)
            high = torch.where(known, scores, -torch.inf).amax(-1, keepdim=True)
            apart = high - low > ROUNDING * torch.maximum(low.abs(), high.abs())
            # What is no number is not constant: it becomes NaN, for whoever looks at the targets.
            apart |= ~(low.isfinite() & high.isfinite())
            return torch.where(apart, (scores - low) / torch.where(apart, high - low, 1), 0)
        if self._spreads is None:
            raise InvalidInput("normalize='affine' needs the spread of each teacher's scores: call calibrate first")
        count = known.sum(-1, keepdim=True).clamp(min=1)
        mean = torch.where(known, scores, 0).sum(-1, keepdim=True) / count
        spreads = torch.tensor(self._spreads[: len(scores)], device=scores.device)
        return (scores - mean) / spreads[:, None, None]

    # -- looking at them -----------------------------------------------------------------------------------------------

    def check(self, queries: Tensor, documents: Tensor, pair_scores: Tensor | None = None) -> Findings:
        """`check_targets` of a sample of queries [B] with their candidates [B, K]."""
        scores = self.scores(queries, documents, pair_scores)
        absent = (documents < 0).to(scores.device)
        said = {name: each.masked_fill(absent, torch.nan) for name, each in zip(self.names, scores, strict=True)}
        return check_targets(self._combined(scores, ~absent), said)


def check_targets(targets: Tensor, scores: Mapping[str, Tensor] | None = None) -> Findings:
    """What is wrong with the targets float32 [Q, K] of a sample of queries, -inf where there is no document.

    scores: what each teacher said before it was normalised, float32 [Q, K] by name, NaN where it said nothing.

    Errors: targets that are no numbers, a teacher that gives most queries' candidates one and the same score. Warnings:
    softmax targets that are near uniform for most queries, or near one-hot for all; a teacher that ranks the candidates
    otherwise than the rest do, or against them (mean rank correlation, Kendall's tau-b, near or below 0); one that knows few.
    """
    found = Findings()
    _check_distributions(targets.detach().float().cpu().numpy(), found)
    said = {name: each.detach().double().cpu().numpy() for name, each in (scores or {}).items()}
    for name, each in said.items():
        known = np.isfinite(each)
        several = known.sum(1) > 1
        if np.isinf(each).any():
            found.errors.append(f"the teacher {name} gives scores that are infinite")
        if several.mean() < 0.5:
            share = f"{several.mean():.0%}"
            found.warnings.append(f"the teacher {name} knows more than one candidate of {share} of the queries only")
        spread = _span(each, known)
        if several.any() and (same := float((spread[several] == 0).mean())) > 0.5:
            found.errors.append(
                f"the teacher {name} gives all candidates the same score for {same:.0%} of the queries; leave it out, or "
                "look whether its texts are those that it expects"
            )
    _check_orders(said, found)
    return found


def _check_distributions(targets: npt.NDArray[np.float32], found: Findings) -> None:
    wrong = np.isnan(targets) | np.isposinf(targets)
    if wrong.any():
        found.errors.append(
            f"the targets of {wrong.any(1).mean():.0%} of the queries are no numbers; a teacher gives NaN or infinity"
        )
        targets = targets[~wrong.any(1)]
    count = np.isfinite(targets).sum(1)
    targets, count = targets[count > 1], count[count > 1]
    if not len(targets):
        found.errors.append("no query has two candidates that a teacher scores; there is nothing to compare")
        return
    shares = np.exp(targets.astype(np.float64) - targets.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(1) / np.log(count)
    if (uniform := float((entropy > UNIFORM).mean())) > 0.5:
        found.warnings.append(
            f"the targets do not tell the candidates apart for {uniform:.0%} of the queries (softmax near uniform); raise "
            "the scale, or take harder teachers"
        )
    if (shares.max(1) > ONE_HOT).mean() > 0.99:
        found.warnings.append(
            "the targets put all weight on one candidate for nearly every query, and say nothing of the others; lower the "
            "scale"
        )


def _check_orders(said: Mapping[str, npt.NDArray[np.float64]], found: Findings) -> None:
    if len(said) < 2:
        return
    signs = {name: np.sign(each[:, :, None] - each[:, None, :]) for name, each in said.items()}
    tau = {(a, b): _tau(signs[a], signs[b]) for a in said for b in said if a != b}
    left = list(said)
    # The worst first, and then without it: it would spoil the others' agreement.
    while len(left) > 1:
        means = {a: _mean([tau[a, b] for b in left if b != a]) for a in left}
        worst = min(left, key=means.__getitem__)
        if means[worst] >= UNRELATED:
            return
        left.remove(worst)
        how = "is opposed" if means[worst] < -OPPOSED else "is unrelated"
        others = "the others" if len(left) > 1 else f"the teacher {left[0]}"
        found.warnings.append(
            f"the order of the teacher {worst} {how} to that of {others} (mean rank correlation {means[worst]:.2f}); are its "
            "texts, ids and prompts right?"
        )


def _mean(taus: Sequence[float | None]) -> float:
    known = [tau for tau in taus if tau is not None]
    return float(np.mean(known)) if known else 1.0  # nothing speaks against it


def _tau(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float | None:
    """Kendall's tau-b, mean over queries, of signs of differences [Q, K, K]; None where there is nothing to compare."""
    both = ~(np.isnan(first) | np.isnan(second))
    a, b = np.where(both, first, 0), np.where(both, second, 0)
    size = np.sqrt((a**2).sum((1, 2)) * (b**2).sum((1, 2)))
    if not size.any():
        return None
    return float(((a * b).sum((1, 2))[size > 0] / size[size > 0]).mean())


def _span(scores: npt.NDArray[np.float64], known: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """How far the known scores of each query lie apart; 0 where only rounding makes a difference."""
    low = np.where(known, scores, np.inf).min(1)
    high = np.where(known, scores, -np.inf).max(1)
    with np.errstate(invalid="ignore"):
        return np.where(high - low > ROUNDING * np.maximum(abs(low), abs(high)), high - low, 0)
