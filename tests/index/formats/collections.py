"""Small collections that go to the ends of what vectors may be, and what others read of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lsr import SparseVectors
from lsr.index.formats import FORMATS
from tests.conftest import random_vectors

SUFFIXES = {name: next(iter(entry.suffixes), ".jsonl") for name, entry in FORMATS.items()}
WRITTEN = [name for name, entry in FORMATS.items() if entry.writes]
WITH_IDS = {"scipy", "seismic-jsonl", "ciff", "anserini", "safetensors"}
WHOLE_NUMBERS = {"ciff", "anserini"}


def with_ids(vectors: SparseVectors, ids: Sequence[str] | None = None) -> SparseVectors:
    return SparseVectors(
        indptr=vectors.indptr,
        indices=vectors.indices,
        values=vectors.values,
        dim=vectors.dim,
        ids=ids or [f"dök {row}" for row in range(len(vectors))],
    )


def _collections() -> dict[str, SparseVectors]:
    """All weights are whole numbers up to 255, which every format holds."""
    ordinary = random_vectors(300, 500, 20, seed=1, levels=255)
    one = random_vectors(1, 40, 9, seed=3, levels=9)
    found = {
        "ordinary": ordinary,
        "65,535 terms": random_vectors(50, 65_535, 12, seed=4, levels=255, skew=0.1),
        "65,536 terms": random_vectors(50, 65_536, 12, seed=5, levels=255, skew=0.1),
        "70,000 terms": random_vectors(50, 70_000, 12, seed=6, levels=255, skew=0.1),
        "some empty": random_vectors(60, 30, 1, seed=7, levels=255),
        "all empty": SparseVectors(indptr=[0, 0, 0], indices=[], values=[], dim=5),
        "equal weights": random_vectors(60, 80, 10, seed=8, levels=1),
        "one document": one,
        "one term": SparseVectors(indptr=[0, 1, 1, 2], indices=[0, 0], values=[3.0, 200.0], dim=1),
        "last term": SparseVectors(indptr=[0, 1], indices=[69_999], values=[7.0], dim=70_000),
    }
    return {name: with_ids(vectors) for name, vectors in found.items()}


COLLECTIONS = _collections()


def vectors_path(folder: Path, form: str) -> Path:
    return folder / f"vectors{SUFFIXES[form]}"


def brute_force(documents: SparseVectors, query: tuple[np.ndarray, np.ndarray], k: int) -> list[tuple[int, float]]:
    """(row, score) of the best documents with a score above 0; equal scores in document order."""
    dense = np.zeros(documents.dim)
    dense[query[0]] = query[1]
    scores = documents.to_scipy().astype(np.float64) @ dense
    order = np.lexsort((np.arange(len(scores)), -scores))[:k]
    return [(int(row), float(scores[row])) for row in order if scores[row] > 0]


__all__ = [
    "COLLECTIONS",
    "SUFFIXES",
    "WHOLE_NUMBERS",
    "WITH_IDS",
    "WRITTEN",
    "brute_force",
    "vectors_path",
    "with_ids",
]
