"""Searching a graph: from the question to facts, phrases and passages, and from there a walk that ranks passages.

HippoRAG 2 walks the graph as it is; CatRAG gives edges other weights for each question, as an overlay of the walk: the
graph itself is never changed, and searches run beside each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.rag.graph.judging import FactFilter, Relevance
from lsr.rag.graph.matching import Likeness, Matcher
from lsr.rag.graph.pagerank import personalised
from lsr.rag.graph.relations import Relations
from lsr.rag.graph.settings import GraphSettings
from lsr.rag.graph.types import SYNONYM, GraphArrays, Overlay
from lsr.rag.graph.weighting import Weighing, overlay_of
from lsr.rag.types import Failure, Query, Usage

__all__ = ["EPSILON", "FirstStage", "GraphResult", "GraphSearch", "MatchedFact"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_NOTHING = Usage()
EPSILON = 3e-6  # of the walk: smaller ones take longer, and found no more (docs/graph.md)
_PHRASES = 10  # of the walk, that a result names


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
    seeds because the question names them. fell_back: why there was no walk, and the passages are those of the first stage.
    usage, failure: what a language model took that was asked, and why it could not be."""

    question: str
    passages: Ints
    scores: Floats
    facts: tuple[MatchedFact, ...] = ()
    seeds: Mapping[int, float] = field(default_factory=dict)
    overlay: Overlay | None = None
    phrases: tuple[tuple[int, float], ...] = ()
    anchors: tuple[int, ...] = ()
    fell_back: str | None = None
    usage: Usage = _NOTHING
    failure: Failure | None = None

    @property
    def ranking(self) -> dict[int, float]:
        """Scores by the numbers of passages, best first."""
        return dict(zip(self.passages.tolist(), self.scores.tolist(), strict=True))


@dataclass(slots=True)
class _Asked:
    """A question on its way."""

    question: str
    facts: list[MatchedFact]
    found: tuple[Ints, Floats]  # by the first stage
    seeds: dict[int, float] = field(default_factory=dict)
    anchors: list[int] = field(default_factory=list)
    changed: dict[int, float] = field(default_factory=dict)  # weights of edges, by their places
    usage: Usage = _NOTHING
    failure: Failure | None = None

    def fail(self, failure: Failure) -> None:
        self.usage += failure.usage
        self.failure = replace(failure, usage=self.usage)


class GraphSearch:
    """graph, facts and first stage belong together: passages have the same numbers in all. May be shared between
    threads."""

    def __init__(
        self,
        graph: GraphArrays,
        facts: Likeness,
        first: FirstStage,
        settings: GraphSettings | None = None,
        *,
        epsilon: float = EPSILON,
    ) -> None:
        self.facts, self.first, self._epsilon = facts, first, epsilon
        self.relations = Relations(graph)
        self.arrays, self._matcher = graph, Matcher(graph)
        self._set(settings or GraphSettings())

    def with_settings(self, settings: GraphSettings) -> GraphSearch:
        """The same search with other settings. What it looks things up in is shared."""
        other = copy(self)
        other._set(settings)
        return other

    def _set(self, settings: GraphSettings) -> None:
        self.settings = settings
        self.graph = _with_synonyms(self.arrays, settings.synonym)
        self._weighing = Weighing(self.graph, self.relations, settings, self.facts.likeness)

    def search(
        self,
        questions: Sequence[str],
        k: int = 10,
        *,
        depth: int = 100,
        fact_filter: FactFilter | None = None,
        relevance: Relevance | None = None,
    ) -> list[GraphResult]:
        """A result for each question, in their order.

        depth: how many passages of the first stage are seeds. fact_filter: chooses among the matched facts; relevance: says
        what relations are worth, in place of their likeness, where the settings have `weighting`. Where one of these fails
        for a question, its result has the first stage's passages and the failure. Raises `InvalidInput` for k below 1.
        """
        if k < 1:
            raise InvalidInput(f"k is {k}: it must be 1 or more")
        matched = self.facts.best(questions, self.settings.facts)
        found = self.first.first(questions, max(depth, k))
        asked = [
            _Asked(question, self._like_enough(facts), passages)
            for question, facts, passages in zip(questions, matched, found, strict=True)
        ]
        if fact_filter is not None:
            self._filter([one for one in asked if one.facts], fact_filter)
        for one in asked:
            self._seed(one)
        self._weigh([one for one in asked if one.seeds and one.failure is None], relevance)
        return [self._result(one, k) for one in asked]

    def ranked(self, queries: Sequence[Query], k: int) -> list[dict[int, float]]:
        """For each query the scores of at most k passages by their numbers, best first: as other ways to search give
        them."""
        return [one.ranking for one in self.search([query.text for query in queries], k)]

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
        return tuple(map(self.relations.text, self.relations.between(one, other).tolist()))

    # -- where a walk begins -------------------------------------------------------------------------------------------

    def _like_enough(self, matched: tuple[Ints, Floats]) -> list[MatchedFact]:
        return [
            MatchedFact(fact, like)
            for fact, like in zip(matched[0].tolist(), _shares(matched[1]).tolist(), strict=True)
            if like > 0 and like >= self.settings.least
        ]

    def _filter(self, asked: Sequence[_Asked], fact_filter: FactFilter) -> None:
        told = [(one.question, [self.relations.text(matched.fact) for matched in one.facts]) for one in asked]
        for one, chosen in zip(asked, fact_filter.chosen(told), strict=True):
            if isinstance(chosen, Failure):
                one.fail(chosen)
            else:
                one.facts = [one.facts[place] for place in chosen.value]
                one.usage += chosen.usage

    def _seed(self, asked: _Asked) -> None:
        asked.seeds = self._phrase_seeds(asked.facts)
        for phrase in self._matcher.named(asked.question) if self.settings.anchoring else ():
            weight = self.settings.anchor / max(1, int(self.graph.mentions[phrase]))
            if weight > asked.seeds.get(phrase, 0.0):
                asked.seeds[phrase] = weight
                asked.anchors.append(phrase)

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

    def _weigh(self, asked: Sequence[_Asked], relevance: Relevance | None) -> None:
        """What the questions change of the graph."""
        if self.settings.weighting:
            questions, seeds = [one.question for one in asked], [one.seeds for one in asked]
            for one, made in zip(asked, self._weighing.relations(questions, seeds, relevance), strict=True):
                if isinstance(made, Failure):
                    one.fail(made)
                else:
                    one.changed, usage = made
                    one.usage += usage
        if self.settings.boost:
            for one in asked:
                one.changed |= self._weighing.boost(one.seeds, (matched.fact for matched in one.facts))

    # -- the walk ------------------------------------------------------------------------------------------------------

    def _result(self, asked: _Asked, k: int) -> GraphResult:
        passages, scores = asked.found
        why = "no fact of the graph is like the question, and it names no phrase of it"
        if asked.failure is not None:
            why = asked.failure.message
        if asked.failure is not None or not asked.seeds:
            return GraphResult(
                asked.question,
                passages[:k],
                scores[:k],
                fell_back=why,
                usage=asked.usage,
                failure=asked.failure,
            )
        settings, first, seeds = self.settings, len(self.graph.phrases), dict(asked.seeds)
        overlay = overlay_of(asked.changed)
        for passage, score in zip(passages.tolist(), _shares(scores).tolist(), strict=True):
            if score > 0 and settings.passages > 0:
                seeds[first + passage] = settings.passages * score
        nodes, reached = self.walked(seeds, overlay)
        is_passage = nodes >= first
        passages, scores = nodes[is_passage] - first, reached[is_passage]
        order = np.lexsort((passages, -scores))[:k]
        near = np.argsort(-reached[~is_passage], kind="stable")[:_PHRASES]
        phrases = zip(nodes[~is_passage][near].tolist(), reached[~is_passage][near].tolist(), strict=True)
        return GraphResult(
            asked.question,
            passages[order],
            scores[order],
            tuple(asked.facts),
            seeds,
            overlay,
            tuple(phrases),
            tuple(asked.anchors),
            usage=asked.usage,
        )


def _shares(scores: Floats) -> Floats:
    """Falling scores as shares of the first. The papers bring the scores of all facts and passages to 0 ... 1; the least of
    all is 0 with sparse vectors, since some share nothing with the question."""
    return scores / scores[0] if len(scores) and scores[0] > 0 else np.zeros(len(scores))


def _with_synonyms(graph: GraphArrays, factor: float) -> GraphArrays:
    if factor == 1:
        return graph
    weights = np.where(graph.kinds == SYNONYM, graph.weights * np.float32(max(factor, 1e-6)), graph.weights)
    return replace(graph, weights=weights.astype(np.float32))
