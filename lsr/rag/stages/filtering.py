"""Less evidence: the first, what comes near the best, or what says something new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lsr.rag.resources import Resources
from lsr.rag.stages.base import Evidence, Filter, Results, stage
from lsr.rerank.fusion import zero_to_one
from lsr.schema import between

__all__ = ["Mmr", "Threshold", "TopK"]


@stage("filter", "top-k")
@dataclass(frozen=True)
class TopK(Filter):
    """The k first."""

    k: int = field(default=5, metadata=between(1, 1000))

    def filter(self, questions: Sequence[str], found: Sequence[Evidence], resources: Resources) -> Results[Evidence]:
        return [pieces[: self.k] for pieces in found]


@stage("filter", "threshold")
@dataclass(frozen=True)
class Threshold(Filter):
    """Those whose score lies in the upper part of what was found: at least `share` of the way from the lowest score to the
    highest, at most k of them, and at least the first."""

    share: float = field(default=0.5, metadata=between(0, 1))
    k: int = field(default=20, metadata=between(1, 1000))

    def filter(self, questions: Sequence[str], found: Sequence[Evidence], resources: Resources) -> Results[Evidence]:
        result = []
        for pieces in found:
            height = zero_to_one([piece.score for piece in pieces])
            kept = [piece for piece, at in zip(pieces, height, strict=True) if at >= self.share]
            result.append(tuple((kept or list(pieces[:1]))[: self.k]))
        return result


@stage("filter", "mmr")
@dataclass(frozen=True)
class Mmr(Filter):
    """Maximal marginal relevance (Carbonell and Goldstein 1998): one after the other, the piece that maximises weight x
    score - (1 - weight) x its largest likeness to those taken. Scores are brought to 0 ... 1; likeness is the cosine of
    the bundled encoder's sparse vectors."""

    k: int = field(default=5, metadata=between(1, 1000))
    weight: float = field(default=0.7, metadata=between(0, 1))

    def filter(self, questions: Sequence[str], found: Sequence[Evidence], resources: Resources) -> Results[Evidence]:
        return [self._chosen(pieces, resources) for pieces in found]

    def _chosen(self, pieces: Evidence, resources: Resources) -> Evidence:
        if len(pieces) <= 1:
            return pieces[: self.k]
        likeness = resources.likeness([piece.content for piece in pieces])
        relevance = self.weight * zero_to_one([piece.score for piece in pieces])
        taken: list[int] = []
        nearest = np.zeros(len(pieces))
        while len(taken) < min(self.k, len(pieces)):
            worth = relevance - (1 - self.weight) * nearest
            worth[taken] = -np.inf
            taken.append(int(np.argmax(worth)))
            nearest = np.maximum(nearest, likeness[taken[-1]])
        return tuple(pieces[at] for at in taken)
