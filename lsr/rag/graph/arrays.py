"""Phrases and facts of passages to the arrays of a graph.

HippoRAG 2 (Gutiérrez et al. 2025): a relation edge between subject and object, of weight 1 for each fact of both and each
passage that says it, each way; an edge of weight 1 between a passage and each of its phrases; synonym edges whose weight is a
cosine.

Hubs stay bounded: no phrase has more than `most_edges` relations and synonyms. Each chooses its heaviest, of equal ones
those to phrases that fewer passages hold, then those with the lower numbers; an edge stays where both of its ends choose
it, else the many small neighbours of a hub would keep it as large as it is. Mentions all stay, so a phrase that loses its
relation with a hub still is in a passage with it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.rag.graph.normal import normal_form
from lsr.rag.graph.types import MENTION, RELATION, SYNONYM, Extracted, GraphArrays

__all__ = ["MOST_EDGES", "Pairs", "Synonyms", "build_arrays"]

MOST_EDGES = 200  # relations and synonyms of a phrase

Ints = npt.NDArray[np.int64]
Pairs = tuple[Ints, Ints, npt.NDArray[np.float32]]


class Synonyms(Protocol):
    """Finds phrases that mean the same."""

    def pairs(self, phrases: Sequence[str]) -> Pairs:
        """Places a < b of phrases, int64 [M] each, and their likeness float32 [M], above 0 and up to 1; each pair once."""
        ...


def build_arrays(
    extracted: Iterable[Extracted],
    passages: Sequence[str],
    *,
    synonyms: Synonyms | None = None,
    most_edges: int = MOST_EDGES,
) -> GraphArrays:
    """The graph of what was extracted from passages, whose ids are given in the order of the nodes that they become.

    Facts with the same subject, predicate and object in normal form are one fact. A phrase whose normal form is empty is
    left out, and so is a fact of one, or of a phrase with itself. Raises `InvalidInput` for a passage that is not among
    the ids, or one that comes twice.
    """
    places = {id: at for at, id in enumerate(passages)}
    read = _Read()
    seen: set[int] = set()
    for one in extracted:
        place = places.get(one.passage)
        if place is None or place in seen:
            what = "is not among the passages" if place is None else "was extracted twice"
            raise InvalidInput(f"the passage {one.passage!r} {what}")
        seen.add(place)
        read.take(one, place)
    return read.arrays(len(passages), synonyms, most_edges)


class _Read:
    def __init__(self) -> None:
        self.phrases: dict[str, int] = {}
        self.facts: dict[tuple[int, str, int], int] = {}
        self.predicates: list[str] = []
        # Numbers in turn, 8 bytes each: a hundred thousand passages have millions.
        self.mentions = array("q")  # phrase, passage
        self.said = array("q")  # fact, passage

    def take(self, one: Extracted, place: int) -> None:
        there: dict[int, None] = {}

        def numbered(phrase: str) -> int | None:
            form = normal_form(phrase)
            if not form:
                return None
            number = self.phrases.setdefault(form, len(self.phrases))
            there[number] = None
            return number

        for phrase in one.phrases:
            numbered(phrase)
        said: dict[int, None] = {}
        for fact in one.facts:
            subject, object = numbered(fact.subject), numbered(fact.object)
            if subject is None or object is None or subject == object:
                continue
            predicate = " ".join(fact.predicate.split())
            key = (subject, predicate.casefold(), object)
            if key not in self.facts:
                self.facts[key] = len(self.facts)
                self.predicates.append(predicate)
            said[self.facts[key]] = None
        for node in there:
            self.mentions.extend((node, place))
        for fact_number in said:
            self.said.extend((fact_number, place))

    def arrays(self, passages: int, synonyms: Synonyms | None, most_edges: int) -> GraphArrays:
        count = len(self.phrases)
        names = list(self.phrases)
        mentions = _columns(self.mentions)
        said = _columns(self.said)
        order = np.lexsort((said[1], said[0]))
        keys = list(self.facts)
        subjects = np.array([key[0] for key in keys], np.int64)
        objects = np.array([key[2] for key in keys], np.int64)
        related = subjects[said[0]], objects[said[0]]
        held = np.bincount(mentions[0], minlength=count).astype(np.int64)
        between, weights, kinds = _between(names, held, related, synonyms, most_edges)
        sources = np.concatenate([between[0], mentions[0], mentions[1] + count])
        targets = np.concatenate([between[1], mentions[1] + count, mentions[0]])
        ones = np.ones(len(mentions[0]), np.float32)
        weights = np.concatenate([weights, ones, ones])
        kinds = np.concatenate([kinds, np.full(2 * len(ones), MENTION, np.uint8)])
        rank = np.lexsort((targets, sources))
        return GraphArrays(
            phrases=names,
            passages=passages,
            indptr=_offsets(sources, count + passages),
            targets=targets[rank].astype(np.uint32),
            weights=weights[rank],
            kinds=kinds[rank],
            subjects=subjects.astype(np.uint32),
            objects=objects.astype(np.uint32),
            predicates=self.predicates,
            fact_indptr=_offsets(said[0], len(keys)),
            fact_passages=said[1][order].astype(np.uint32),
            mentions=held,
        )


def _between(
    names: list[str], held: Ints, related: tuple[Ints, Ints], synonyms: Synonyms | None, most_edges: int
) -> tuple[tuple[Ints, Ints], npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Edges between phrases, both ways: sources and targets, weights, kinds. held: passages of each phrase; related: the
    ends of relations, as often as they are said."""
    count = len(names)
    a, b = related
    found: list[tuple[Ints, Ints, npt.NDArray[np.float32], int]] = [(a, b, np.ones(len(a), np.float32), RELATION)]
    if synonyms is not None and count > 1:
        one, other, likeness = synonyms.pairs(names)
        found.append((one, other, likeness, SYNONYM))
    first = np.concatenate([side for x, y, _, _ in found for side in (x, y)]).astype(np.int64)
    second = np.concatenate([side for x, y, _, _ in found for side in (y, x)]).astype(np.int64)
    weights = np.concatenate([w for _, _, w, _ in found for _ in (0, 1)]).astype(np.float64)
    by_kind = np.concatenate([np.full(2 * len(x), kind) for x, _, _, kind in found])
    keys, inverse = np.unique(first * max(1, count) + second, return_inverse=True)
    relation = np.bincount(inverse, np.where(by_kind == RELATION, weights, 0), len(keys))
    synonym = np.bincount(inverse, np.where(by_kind == SYNONYM, weights, 0), len(keys))
    sources, targets = keys // max(1, count), keys % max(1, count)
    total = (relation + synonym).astype(np.float32)
    kinds = np.where(synonym > relation, SYNONYM, RELATION).astype(np.uint8)
    kept = _chosen(sources, targets, total, held, most_edges)
    kept &= kept[np.searchsorted(keys, targets * max(1, count) + sources)]  # by both ends
    return (sources[kept], targets[kept]), total[kept], kinds[kept]


def _chosen(sources: Ints, targets: Ints, weights: Any, held: Ints, most: int) -> npt.NDArray[np.bool_]:
    """Of the edges that leave each phrase the `most` heaviest, of equal ones those to phrases that fewer passages hold."""
    order = np.lexsort((targets, held[targets], -weights, sources))
    offsets = _offsets(sources, len(held))
    rank = np.arange(len(order)) - offsets[sources[order]]
    kept = np.zeros(len(order), np.bool_)
    kept[order] = rank < most
    return kept


def _columns(pairs: array[int]) -> tuple[Ints, Ints]:
    table = np.array(pairs, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _offsets(sources: Ints, count: int) -> Ints:
    return np.concatenate([[0], np.cumsum(np.bincount(sources, minlength=count))]).astype(np.int64)
