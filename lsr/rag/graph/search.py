"""Searching a graph: from the question to facts, phrases and passages, and from there a walk that ranks passages.

HippoRAG 2 walks the graph as it is; CatRAG gives edges other weights for each question, as an overlay of the walk: the
graph itself is never changed, and searches run beside each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.rag.graph.matching import FactLikeness, Matcher
from lsr.rag.graph.pagerank import personalised
from lsr.rag.graph.settings import GraphSettings
from lsr.rag.graph.types import MENTION, RELATION, SYNONYM, GraphArrays, Overlay
from lsr.rag.types import Query

__all__ = ["FirstStage", "GraphResult", "GraphSearch", "MatchedFact"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_PHRASES = 10  # of the walk, that a result names
_SKIPPED = 0.2  # the factor of relations beyond the first `edges`, which are not looked at: the least of weak ones


class FirstStage(Protocol):
    """Passages by their numbers, as another way to search finds them."""

    def first(self, questions: Sequence[str], k: int) -> list[tuple[Ints, Floats]]:
        """For each question at most k passages and their scores, best first."""
        ...


@dataclass(frozen=True, slots=True)
class MatchedFact:
    """A fact that a question was matched with: its number and likeness, the best fact's being 1."""

    fact: int
    likeness: float


@dataclass(frozen=True)
class GraphResult:
    """Passages by falling score, and what led to them. seeds: nodes and the weights that the walk began with; overlay:
    edges that had another weight. phrases: where the walk was most, best first. anchors: the seeds among phrases that are
    weak ones, because the question names them. fell_back: why there was no walk, and the passages are those of the first
    stage."""

    question: str
    passages: Ints
    scores: Floats
    facts: tuple[MatchedFact, ...] = ()
    seeds: Mapping[int, float] = field(default_factory=dict)
    overlay: Overlay | None = None
    phrases: tuple[tuple[int, float], ...] = ()
    anchors: tuple[int, ...] = ()
    fell_back: str | None = None


class GraphSearch:
    """graph, facts and first stage belong together: passages have the same numbers in all. May be shared between
    threads."""

    def __init__(
        self,
        graph: GraphArrays,
        facts: FactLikeness,
        first: FirstStage,
        settings: GraphSettings | None = None,
        *,
        epsilon: float = 1e-6,
    ) -> None:
        self.settings = settings or GraphSettings()
        self.facts, self.first, self._epsilon = facts, first, epsilon
        self.graph = _with_synonyms(graph, self.settings.synonym)
        self._matcher = Matcher(graph)
        self._between = _FactsBetween(graph)

    def search(self, questions: Sequence[str], k: int = 10, *, depth: int = 100) -> list[GraphResult]:
        """A result for each question, in their order. depth: how many passages of the first stage are seeds."""
        if k < 1:
            raise InvalidInput(f"k is {k}: it must be 1 or more")
        matched = self.facts.best(questions, self.settings.facts)
        found = self.first.first(questions, max(depth, k))
        return [
            self._searched(question, facts, passages, k)
            for question, facts, passages in zip(questions, matched, found, strict=True)
        ]

    def ranked(self, queries: Sequence[Query], k: int) -> list[dict[int, float]]:
        """For each query the scores of at most k passages by their numbers, best first: as other ways to search give
        them."""
        found = self.search([query.text for query in queries], k)
        return [dict(zip(one.passages.tolist(), one.scores.tolist(), strict=True)) for one in found]

    def walked(self, seeds: Mapping[int, float], overlay: Overlay | None) -> tuple[Ints, Floats]:
        """The nodes that the walk of a result comes to, rising, and their scores; none where it has no seed."""
        if not seeds:
            return np.zeros(0, np.int64), np.zeros(0)
        return personalised(
            self.graph,
            list(seeds),
            list(seeds.values()),
            damping=self.settings.damping,
            epsilon=self._epsilon,
            overlay=overlay,
        )

    def facts_between(self, one: int, other: int) -> tuple[str, ...]:
        """The texts of the facts that relate two nodes, either way round."""
        graph = self.graph
        return tuple(
            f"{graph.phrases[int(graph.subjects[f])]} {graph.predicates[f]} {graph.phrases[int(graph.objects[f])]}"
            for f in self._between(one, other)
        )

    def _searched(self, question: str, matched: tuple[Ints, Floats], found: tuple[Ints, Floats], k: int) -> GraphResult:
        settings = self.settings
        kept = [
            MatchedFact(fact, like)
            for fact, like in zip(matched[0].tolist(), _shares(matched[1]).tolist(), strict=True)
            if like > 0 and like >= settings.least
        ]
        seeds = self._phrase_seeds(kept)
        anchors = []
        for phrase in self._matcher.named(question) if settings.anchoring else ():
            weak = settings.anchor / max(1, int(self.graph.mentions[phrase]))
            if weak > seeds.get(phrase, 0.0):
                seeds[phrase] = weak
                anchors.append(phrase)
        if not seeds:
            passages, scores = found
            why = "no fact of the graph is like the question, and it names no phrase of it"
            return GraphResult(question, passages[:k], scores[:k], fell_back=why)
        overlay = self._overlay(question, seeds, kept)
        first = len(self.graph.phrases)
        for passage, score in zip(found[0].tolist(), _shares(found[1]).tolist(), strict=True):
            if score > 0:
                seeds[first + passage] = settings.passages * score
        nodes, all_scores = self.walked(seeds, overlay)
        is_passage = nodes >= first
        passages, scores = nodes[is_passage] - first, all_scores[is_passage]
        order = np.lexsort((passages, -scores))[:k]
        near = np.argsort(-all_scores[~is_passage], kind="stable")[:_PHRASES]
        walked = zip(nodes[~is_passage][near].tolist(), all_scores[~is_passage][near].tolist(), strict=True)
        return GraphResult(
            question, passages[order], scores[order], tuple(kept), seeds, overlay, tuple(walked), tuple(anchors)
        )

    def _phrase_seeds(self, facts: Sequence[MatchedFact]) -> dict[int, float]:
        """Phrases of the facts: the mean likeness of their facts, over the number of passages that hold them; the first
        ones."""
        likes: dict[int, list[float]] = {}
        for matched in facts:
            for phrase in (int(self.graph.subjects[matched.fact]), int(self.graph.objects[matched.fact])):
                likes.setdefault(phrase, []).append(matched.likeness)
        weights = {
            phrase: float(np.mean(several)) / max(1, int(self.graph.mentions[phrase]))
            for phrase, several in likes.items()
        }
        best = sorted(weights, key=lambda phrase: (-weights[phrase], phrase))[: self.settings.seeds]
        return {phrase: weights[phrase] for phrase in best}

    # -- what a question changes ---------------------------------------------------------------------------------------

    def _overlay(self, question: str, seeds: Mapping[int, float], facts: Sequence[MatchedFact]) -> Overlay | None:
        """Weights of edges that leave phrases, as CatRAG has them for this question."""
        changed: dict[int, float] = {}
        if self.settings.weighting:
            heaviest = sorted(seeds, key=lambda phrase: (-seeds[phrase], phrase))[: self.settings.weighted]
            changed = self._weighed(question, heaviest)
        if self.settings.boost:
            self._boost(list(seeds), facts, changed)
        if not changed:
            return None
        edges = np.array(sorted(changed), np.int64)
        return Overlay(edges, np.array([changed[edge] for edge in edges.tolist()], np.float32))

    def _weighed(self, question: str, phrases: Sequence[int]) -> dict[int, float]:
        """The relations that leave phrases: the `edges` of each whose facts are likest the question, by how relevant the
        likest one is (10 for the best of all), the others as weak."""
        graph = self.graph
        facts = {
            edge: self._between(phrase, int(graph.targets[edge]))
            for phrase in phrases
            for edge in range(int(graph.indptr[phrase]), int(graph.indptr[phrase + 1]))
            if graph.kinds[edge] == RELATION
        }
        known = np.unique(np.array([fact for several in facts.values() for fact in several], np.int64))
        likeness = dict(zip(known.tolist(), self.facts.likeness(question, known).tolist(), strict=True))
        best = {edge: max((likeness[fact] for fact in several), default=0.0) for edge, several in facts.items()}
        most = max(best.values(), default=0.0)
        changed: dict[int, float] = {}
        for phrase in phrases:
            start, end = int(graph.indptr[phrase]), int(graph.indptr[phrase + 1])
            mine = sorted((edge for edge in range(start, end) if edge in best), key=lambda edge: (-best[edge], edge))
            for rank, edge in enumerate(mine):
                looked_at = rank < self.settings.edges
                factor = relevance_weight(10 * best[edge] / most if most > 0 else 0.0) if looked_at else _SKIPPED
                changed[edge] = float(graph.weights[edge]) * max(self.settings.least_factor, factor)
        return changed

    def _boost(self, seeds: Sequence[int], facts: Sequence[MatchedFact], changed: dict[int, float]) -> None:
        """Edges from a seed to the passages that say a matched fact of it."""
        graph, first = self.graph, len(self.graph.phrases)
        mine = set(seeds)
        for matched in facts:
            fact = matched.fact
            saying = graph.fact_passages[int(graph.fact_indptr[fact]) : int(graph.fact_indptr[fact + 1])]
            for phrase in (int(graph.subjects[fact]), int(graph.objects[fact])):
                if phrase not in mine:
                    continue
                for passage in saying.tolist():
                    edge = graph.edge(phrase, first + passage)
                    if edge is not None and graph.kinds[edge] == MENTION:
                        changed[edge] = float(graph.weights[edge]) * (1 + self.settings.boosted)


def relevance_weight(relevance: float) -> float:
    """CatRAG's piecewise map of a relevance, rounded to a whole one, to a factor: 0 to 3 (noise) nothing, 4 to 6 (weak) .2 to
    .3, 7 to 9 (a bridge) 2 to 3, 10 (the answer) 5."""
    whole = round(relevance)
    if whole <= 3:
        return 0.0
    if whole <= 6:
        return whole / 20
    return (whole - 3) / 2 if whole <= 9 else 5.0


def _shares(scores: Floats) -> Floats:
    """Falling scores as shares of the first. The papers bring the scores of all facts and passages to 0 ... 1; the least of
    all is 0 with sparse vectors, since some share nothing with the question."""
    return scores / scores[0] if len(scores) and scores[0] > 0 else np.zeros(len(scores))


class _FactsBetween:
    """The facts of each pair of nodes, either way round. Arrays, not a dictionary of lists: those of two million facts take
    a gigabyte, and seconds to make."""

    def __init__(self, graph: GraphArrays) -> None:
        self._nodes = graph.nodes
        keys = self._key(graph.subjects.astype(np.int64), graph.objects.astype(np.int64))
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    def __call__(self, one: int, other: int) -> list[int]:
        """Their numbers, rising."""
        key = self._key(np.int64(one), np.int64(other))
        first, last = np.searchsorted(self._keys, key), np.searchsorted(self._keys, key, side="right")
        found: list[int] = self._order[first:last].tolist()
        return found

    def _key(self, one: Any, other: Any) -> Any:
        return np.minimum(one, other) * self._nodes + np.maximum(one, other)


def _with_synonyms(graph: GraphArrays, factor: float) -> GraphArrays:
    if factor == 1:
        return graph
    weights = np.where(graph.kinds == SYNONYM, graph.weights * np.float32(max(factor, 1e-6)), graph.weights)
    return replace(graph, weights=weights.astype(np.float32))
