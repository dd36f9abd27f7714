"""Pseudo-relevance feedback in sparse space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lsr.rag.resources import Resources
from lsr.rag.searching import SparseKeys
from lsr.rag.stages.base import QueryTransform, Results, stage
from lsr.rag.types import Passages, Queries, Query
from lsr.schema import between

__all__ = ["Rm3"]


@stage("query", "rm3")
@dataclass(frozen=True)
class Rm3(QueryTransform):
    """RM3 (Abdul-Jaleel et al. 2004) on learned vectors: the query is mixed with the terms of the first passages that it
    finds.

    documents: how many passages; terms: how many of their terms; weight: share of the original query. A term of the
    feedback weighs the sum over passages of its weight there x its weight in queries (where these have a table) x the
    passage's share of all scores. Both parts are brought to a sum of 1 and the result to the original's. Sparse retrieval
    searches the mixture; other ways of retrieval the question."""

    models = ("encoder",)

    documents: int = field(default=5, metadata=between(1, 100))
    terms: int = field(default=20, metadata=between(1, 1000))
    weight: float = field(default=0.7, metadata=between(0, 1))
    encoder: str = "lsr-tiny"

    def ready(self, passages: Passages, resources: Resources) -> None:
        resources.sparse(passages, self.encoder)

    def transform(self, questions: Sequence[str], passages: Passages, resources: Resources) -> Results[Queries]:
        keys = resources.sparse(passages, self.encoder)
        plain = [Query(question) for question in questions]
        found = keys.search(plain, self.documents)
        asked = keys.encode(questions)
        made = []
        for at, question in enumerate(questions):
            part = slice(int(asked.indptr[at]), int(asked.indptr[at + 1]))
            terms, weights = self._mixed(asked.indices[part], asked.values[part], found[at], keys)
            made.append(Queries((Query(question, 1.0, terms, weights),)))
        return made

    def _mixed(
        self, terms: np.ndarray, weights: np.ndarray, found: dict[int, float], keys: SparseKeys
    ) -> tuple[np.ndarray, np.ndarray]:
        total = float(weights.sum())
        if not found or total <= 0:
            return terms.astype(np.int64), weights
        feedback = np.zeros(keys.index.dim)
        for passage, score in found.items():
            vectors = keys.vectors(keys.keys_of(passage))
            np.add.at(feedback, vectors.indices.astype(np.int64), vectors.values * score)
        table = keys.query_weights
        if table is not None:
            feedback *= table
        feedback[np.argsort(-feedback, kind="stable")[self.terms :]] = 0
        mixture = np.zeros_like(feedback)
        mixture[terms.astype(np.int64)] = self.weight * weights / total
        if feedback.sum() > 0:
            mixture += (1 - self.weight) * feedback / feedback.sum()
        kept = np.flatnonzero(mixture > 0)
        return kept, (mixture[kept] * total / mixture.sum()).astype(np.float32)
