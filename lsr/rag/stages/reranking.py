"""Evidence in a better order: by token vectors, by a cross-encoder, by both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.rag.resources import Resources
from lsr.rag.stages.base import Evidence, Reranking, Results, stage
from lsr.rag.types import Passages
from lsr.rerank.fusion import zero_to_one
from lsr.schema import between

__all__ = ["CrossEncoder", "MaxSim", "Mixture", "mixed"]


@stage("rerank", "maxsim")
@dataclass(frozen=True)
class MaxSim(Reranking):
    """Token vectors of a multivector model (ColBERT). weight: share of the first score, both brought to 0 ... 1;
    candidates: how many are scored, the rest is left out."""

    models = ("model",)

    model: str
    candidates: int = field(default=20, metadata=between(1, 1000))
    weight: float = field(default=0.0, metadata=between(0, 1))

    def ready(self, passages: Passages, resources: Resources) -> None:
        resources.multivector(self.model)

    def rerank(
        self, questions: Sequence[str], found: Sequence[Evidence], passages: Passages, resources: Resources
    ) -> Results[Evidence]:
        cut = [pieces[: self.candidates] for pieces in found]
        scores = resources.maxsim(self.model, questions, [[piece.content for piece in pieces] for pieces in cut])
        return [mixed(pieces, [mine], [1.0], self.weight) for pieces, mine in zip(cut, scores, strict=True)]


@stage("rerank", "cross-encoder")
@dataclass(frozen=True)
class CrossEncoder(Reranking):
    """A cross-encoder of sentence-transformers, or flashrank:NAME. weight and candidates: as for maxsim."""

    models = ("model",)

    model: str
    candidates: int = field(default=20, metadata=between(1, 1000))
    weight: float = field(default=0.0, metadata=between(0, 1))

    def ready(self, passages: Passages, resources: Resources) -> None:
        resources.text_reranker(self.model)

    def rerank(
        self, questions: Sequence[str], found: Sequence[Evidence], passages: Passages, resources: Resources
    ) -> Results[Evidence]:
        cut = [pieces[: self.candidates] for pieces in found]
        scores = resources.cross_encoder(self.model, questions, [[piece.content for piece in pieces] for pieces in cut])
        return [mixed(pieces, [mine], [1.0], self.weight) for pieces, mine in zip(cut, scores, strict=True)]


@stage("rerank", "mixture")
@dataclass(frozen=True)
class Mixture(Reranking):
    """MaxSim and a cross-encoder together: the scores of each brought to 0 ... 1 over the candidates, `share` of it
    MaxSim's. weight: share of the first score in all."""

    models = ("maxsim", "cross_encoder")

    maxsim: str
    cross_encoder: str
    share: float = field(default=0.5, metadata=between(0, 1))
    candidates: int = field(default=20, metadata=between(1, 1000))
    weight: float = field(default=0.0, metadata=between(0, 1))

    def ready(self, passages: Passages, resources: Resources) -> None:
        resources.multivector(self.maxsim)
        resources.text_reranker(self.cross_encoder)

    def rerank(
        self, questions: Sequence[str], found: Sequence[Evidence], passages: Passages, resources: Resources
    ) -> Results[Evidence]:
        cut = [pieces[: self.candidates] for pieces in found]
        texts = [[piece.content for piece in pieces] for pieces in cut]
        one = resources.maxsim(self.maxsim, questions, texts)
        other = resources.cross_encoder(self.cross_encoder, questions, texts)
        shares = [self.share, 1 - self.share]
        return [mixed(pieces, [a, b], shares, self.weight) for pieces, a, b in zip(cut, one, other, strict=True)]


def mixed(pieces: Evidence, scores: Sequence[npt.ArrayLike], shares: Sequence[float], weight: float) -> Evidence:
    """Pieces by new scores, best first, of equals in the order they had. One kind of score alone keeps its own numbers;
    several, or a weight for the first score, bring each to 0 ... 1. Raises `InvalidInput` for a score that is no
    number."""
    given = [np.asarray(each, np.float64) for each in scores]
    if not all(np.isfinite(each).all() for each in given):
        raise InvalidInput("a reranker gave a score that is no number; look at the texts, or choose another model")
    if len(given) == 1 and not weight:
        total = given[0]
    else:
        total = weight * zero_to_one([piece.score for piece in pieces])
        for share, each in zip(shares, given, strict=True):
            total = total + (1 - weight) * share * zero_to_one(each)
    order = np.argsort(-total, kind="stable").tolist()
    return tuple(replace(pieces[at], score=float(total[at])) for at in order)
