"""The likeness of questions and facts by a dense model, as HippoRAG 2 has it: in place of sparse vectors, where somebody
names one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lsr import disk
from lsr.rag.graph.relations import fact_texts
from lsr.rag.graph.types import GraphArrays

__all__ = ["DenseLikeness"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]

_BATCH = 4096  # facts encoded at a time


class DenseLikeness:
    """Products of dense vectors of length 1 with all facts: exact, 4 bytes a fact and dimension, on disk.

    encode: a side ("query" or "document") and texts to vectors float32 [n, dim] (`lsr.rag.resources.DenseModel`); file:
    where those of the facts are kept, made where it is not there, or of other facts.
    """

    def __init__(self, graph: GraphArrays, encode: Callable[[str, Sequence[str]], Vectors], file: Path) -> None:
        self._encode, self._vectors = encode, _kept(graph, encode, file)

    def best(self, questions: Sequence[str], k: int) -> list[tuple[Ints, Floats]]:
        """For each question the k facts that are likest, and their likeness, best first; those below 0 are left out."""
        if not len(self._vectors) or not len(questions):
            return [(np.zeros(0, np.int64), np.zeros(0)) for _ in questions]
        found = []
        for question in self._encode("query", list(questions)):
            scores = np.nan_to_num(self._vectors @ question)
            near = np.argpartition(-scores, min(k, len(scores)) - 1)[:k]
            order = near[np.lexsort((near, -scores[near]))]
            order = order[scores[order] > 0]
            found.append((order.astype(np.int64), scores[order].astype(np.float64)))
        return found

    def likeness(self, question: str, facts: Ints) -> Floats:
        """The likeness of these facts, float64 [n], 0 at the least."""
        if not len(facts):
            return np.zeros(0)
        scores: Floats = (self._vectors[facts] @ self._encode("query", [question])[0]).astype(np.float64)
        return np.maximum(np.nan_to_num(scores), 0)


def _kept(graph: GraphArrays, encode: Callable[[str, Sequence[str]], Vectors], file: Path) -> Vectors:
    count = len(graph.subjects)
    try:
        vectors: Vectors = np.load(file, mmap_mode="r", allow_pickle=False)
        if vectors.ndim == 2 and vectors.dtype == np.float32 and len(vectors) == count:
            return vectors
    except (OSError, ValueError):  # not there, or not whole
        pass
    parts = [encode("document", fact_texts(graph, first, first + _BATCH)) for first in range(0, count, _BATCH)]
    made: Vectors = np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
    with disk.atomic_write(file) as out:
        np.save(out, made, allow_pickle=False)
    return made
