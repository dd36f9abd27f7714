"""What a graph is made of: phrases and facts of passages, and the arrays that these become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lsr.rag.types import Failure

__all__ = ["MENTION", "RELATION", "SYNONYM", "Extracted", "Extractor", "Fact", "GraphArrays", "Overlay", "Text"]

# Kinds of edges.
RELATION, MENTION, SYNONYM = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Text:
    """What an extractor reads: a passage with its id."""

    id: str
    text: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """A triple, as it was said: subject and object are phrases."""

    subject: str
    predicate: str
    object: str

    @property
    def text(self) -> str:
        return f"{self.subject} {self.predicate} {self.object}"


@dataclass(frozen=True, slots=True)
class Extracted:
    """What an extractor found in a passage. phrases: all that name something, those of facts among them."""

    passage: str
    phrases: tuple[str, ...]
    facts: tuple[Fact, ...] = ()


class Extractor(Protocol):
    """Finds phrases and facts. name: for people. One that takes a part of the texts at a time, and gives what it found as it
    goes, may say with a number `at_once` how many it wants to be given where there are many."""

    name: str

    def identity(self) -> Mapping[str, Any]:
        """All that what it finds depends on beside the texts, as JSON can say it."""
        ...

    def extract(self, texts: Sequence[Text]) -> Iterator[Extracted | Failure]:
        """What is in each text, in their order; a passage without any phrase gives `Extracted` without phrases."""
        ...


@dataclass(frozen=True)
class GraphArrays:
    """A graph of phrases and passages in memory. Nodes 0 ... P - 1 are phrases, P ... P + D - 1 passages, in the order of
    the index.

    phrases: texts in their normal form [P]. indptr int64 [P + D + 1], targets uint32 [E], weights float32 [E] > 0, kinds
    uint8 [E]: the edges that leave each node, targets rising and distinct within a node; both directions of an edge are
    stored. Between two phrases the stronger of relation and synonym is the kind, and their weights are added. facts:
    subject and object uint32 [F] are phrases; predicates [F] texts; fact_indptr int64 [F + 1] and fact_passages uint32:
    the passages (0 ... D - 1) that say each fact. mentions int64 [P]: passages that hold each phrase.
    """

    phrases: Sequence[str]
    passages: int
    indptr: npt.NDArray[np.int64]
    targets: npt.NDArray[np.uint32]
    weights: npt.NDArray[np.float32]
    kinds: npt.NDArray[np.uint8]
    subjects: npt.NDArray[np.uint32]
    objects: npt.NDArray[np.uint32]
    predicates: Sequence[str]
    fact_indptr: npt.NDArray[np.int64]
    fact_passages: npt.NDArray[np.uint32]
    mentions: npt.NDArray[np.int64]

    @property
    def nodes(self) -> int:
        return len(self.phrases) + self.passages

    def edge(self, source: int, target: int) -> int | None:
        """The place of an edge among `targets`, None where there is none."""
        first, last = int(self.indptr[source]), int(self.indptr[source + 1])
        at = first + int(np.searchsorted(self.targets[first:last], target))
        return at if at < last and int(self.targets[at]) == target else None


@dataclass(frozen=True, slots=True)
class Overlay:
    """Edges that have another weight for one question: places among `targets`, int64 [M], rising, and weights float32 [M]
    >= 0. The graph itself is never changed."""

    edges: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
