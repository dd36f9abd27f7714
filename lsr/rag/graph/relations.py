"""Which facts relate two phrases, and how they are told."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lsr.rag.graph.types import GraphArrays

__all__ = ["Relations", "fact_texts"]

Ints = npt.NDArray[np.int64]


class Relations:
    """The facts of a graph by their two phrases, whichever is the subject. 16 bytes a fact."""

    def __init__(self, graph: GraphArrays) -> None:
        self._graph = graph
        subjects, objects = np.asarray(graph.subjects, np.int64), np.asarray(graph.objects, np.int64)
        keys = self._key(np.minimum(subjects, objects), np.maximum(subjects, objects))
        self._facts = np.argsort(keys, kind="stable")
        self._keys = keys[self._facts]

    def between(self, one: int, other: int) -> Ints:
        """The facts of two nodes, rising; none where one of them is a passage."""
        if max(one, other) >= len(self._graph.phrases):
            return self._facts[:0]
        key = self._key(min(one, other), max(one, other))
        first, last = np.searchsorted(self._keys, [key, key + 1])
        return self._facts[first:last]

    def text(self, fact: int) -> str:
        """A fact as a sentence of sorts."""
        return fact_texts(self._graph, fact, fact + 1)[0]

    def _key(self, low: npt.ArrayLike, high: npt.ArrayLike) -> Ints:
        return np.asarray(low, np.int64) * len(self._graph.phrases) + np.asarray(high, np.int64)


def fact_texts(graph: GraphArrays, first: int, last: int) -> list[str]:
    """The texts of the facts [first, last)."""
    ends = zip(graph.subjects[first:last].tolist(), graph.objects[first:last].tolist(), strict=True)
    said = zip(ends, graph.predicates[first:last], strict=True)
    return [f"{graph.phrases[subject]} {predicate} {graph.phrases[object]}" for (subject, object), predicate in said]
