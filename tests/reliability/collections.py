"""Small collections with texts and metadata whose vectors are given, so that nothing is encoded, and what a search gives.

Weights are whole numbers: every score is exact in float32, so that equal means equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lsr import Document, SparseVectors
from lsr.index.formats.vector_file import Batch, VectorFile

DIM = 24


@dataclass(frozen=True)
class Doc:
    """A document: its id, term -> weight, and metadata."""

    id: str
    weights: Mapping[int, int]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return f"the text of {self.id}"


def vectors_of(rows: Sequence[Mapping[int, int]], ids: Sequence[str] | None = None) -> SparseVectors:
    terms = [sorted(row) for row in rows]
    indptr = [0]
    for row in terms:
        indptr.append(indptr[-1] + len(row))
    return SparseVectors(
        indptr=indptr,
        indices=[term for row in terms for term in row],
        values=[row[term] for row, found in zip(rows, terms, strict=True) for term in found],
        dim=DIM,
        ids=None if ids is None else list(ids),
    )


def source(documents: Sequence[Doc]) -> VectorFile:
    """The documents as `Index.build` and `Index.add` take them."""

    def read() -> Iterator[Batch]:
        for first in range(0, len(documents), 7):
            some = documents[first : first + 7]
            vectors = vectors_of([one.weights for one in some], [one.id for one in some])
            yield Batch(vectors, [Document(one.id, one.text, f"title of {one.id}", one.metadata) for one in some])

    return VectorFile(name="made documents", dim=DIM, read=read, texts=True)


def expected(
    documents: Sequence[Doc], query: Mapping[int, int], k: int, allowed: Callable[[Doc], bool] = lambda one: True
) -> list[tuple[str, float]]:
    """(id, score) of the k best, best first, equal scores in the order of the documents."""
    scored = []
    for row, one in enumerate(documents):
        score = sum(weight * one.weights.get(term, 0) for term, weight in query.items())
        if score > 0 and allowed(one):
            scored.append((-score, row, one.id))
    return [(name, float(-score)) for score, _, name in sorted(scored)[:k]]
