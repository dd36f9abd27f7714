"""What a question changes of a graph: weights of edges that leave the phrases where its walk begins (CatRAG)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lsr.rag.graph.judging import HIGHEST, Neighbours, Relevance
from lsr.rag.graph.relations import Relations
from lsr.rag.graph.settings import GraphSettings
from lsr.rag.graph.types import MENTION, RELATION, GraphArrays, Overlay
from lsr.rag.types import Failure, Usage

__all__ = ["Weighing", "overlay_of", "relevance_weight"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_SKIPPED = 0.2  # the factor of relations beyond the first `edges`, which are not looked at: the least of weak ones


@dataclass(frozen=True, slots=True)
class _Leaving:
    """The relations that leave a phrase and are looked at, likest first, by their likest facts; and the others."""

    phrase: int
    edges: tuple[int, ...]
    facts: tuple[int, ...]
    likeness: tuple[float, ...]
    others: tuple[int, ...]


class Weighing:
    """likeness: of a question and facts (`FactMatches.likeness`)."""

    def __init__(
        self,
        graph: GraphArrays,
        relations: Relations,
        settings: GraphSettings,
        likeness: Callable[[str, Ints], Floats],
    ) -> None:
        self._graph, self._relations, self._settings, self._likeness = graph, relations, settings, likeness

    def relations(
        self, questions: Sequence[str], seeds: Sequence[Mapping[int, float]], judge: Relevance | None
    ) -> list[tuple[dict[int, float], Usage] | Failure]:
        """For each question with the phrases where it begins new weights of relations that leave the heaviest of these, by
        their places. judge: says how relevant a fact is; by default its likeness does, that of the likest of all being 10."""
        most = self._settings.weighted
        leaving = [
            [
                self._leaving(question, phrase)
                for phrase in sorted(weights, key=lambda node: (-weights[node], node))[:most]
            ]
            for question, weights in zip(questions, seeds, strict=True)
        ]
        if judge is None:
            return [(self._changed(parts, self._by_likeness(parts)), Usage()) for parts in leaving]
        phrases = self._graph.phrases
        groups = [
            [
                Neighbours(question, phrases[part.phrase], tuple(map(self._relations.text, part.facts)))
                for part in parts
                if part.edges
            ]
            for question, parts in zip(questions, leaving, strict=True)
        ]
        replies = iter(judge.marks([one for group in groups for one in group]))
        results: list[tuple[dict[int, float], Usage] | Failure] = []
        for parts, group in zip(leaving, groups, strict=True):
            mine = [next(replies) for _ in group]
            usage = sum((reply.usage for reply in mine), Usage())
            failed = [reply for reply in mine if isinstance(reply, Failure)]
            if failed:  # where one is final, another try of the question is of no use
                results.append(replace(min(failed, key=lambda failure: failure.transient), usage=usage))
                continue
            made = [reply for reply in mine if not isinstance(reply, Failure)]
            marks = iter(made)
            each = [next(marks).value if part.edges else np.zeros(0) for part in parts]
            results.append((self._changed(parts, each), usage))
        return results

    def boost(self, seeds: Mapping[int, float], facts: Iterable[int]) -> dict[int, float]:
        """New weights of the edges from phrases where the walk begins to the passages that say matched facts of them."""
        graph, first = self._graph, len(self._graph.phrases)
        changed: dict[int, float] = {}
        for fact in facts:
            saying = graph.fact_passages[int(graph.fact_indptr[fact]) : int(graph.fact_indptr[fact + 1])]
            for phrase in (int(graph.subjects[fact]), int(graph.objects[fact])):
                if phrase not in seeds:
                    continue
                for passage in saying.tolist():
                    edge = graph.edge(phrase, first + passage)
                    if edge is not None and graph.kinds[edge] == MENTION:
                        changed[edge] = float(graph.weights[edge]) * (1 + self._settings.boosted)
        return changed

    # -- relations -----------------------------------------------------------------------------------------------------

    def _leaving(self, question: str, phrase: int) -> _Leaving:
        graph = self._graph
        start, end = int(graph.indptr[phrase]), int(graph.indptr[phrase + 1])
        edges = (start + np.flatnonzero(graph.kinds[start:end] == RELATION)).tolist()
        facts = [self._relations.between(phrase, int(graph.targets[edge])) for edge in edges]
        likeness = self._likeness(question, np.concatenate([np.zeros(0, np.int64), *facts]))
        best: dict[int, tuple[float, int]] = {}
        at = 0
        for edge, several in zip(edges, facts, strict=True):
            mine = likeness[at : at + len(several)]
            at += len(several)
            if len(several):
                likest = int(np.argmax(mine))
                best[edge] = float(mine[likest]), int(several[likest])
        order = sorted(best, key=lambda edge: (-best[edge][0], edge))
        looked_at, others = order[: self._settings.edges], order[self._settings.edges :]
        return _Leaving(
            phrase,
            tuple(looked_at),
            tuple(best[edge][1] for edge in looked_at),
            tuple(best[edge][0] for edge in looked_at),
            tuple(others),
        )

    @staticmethod
    def _by_likeness(parts: Sequence[_Leaving]) -> list[Floats]:
        most = max((value for part in parts for value in part.likeness), default=0.0)
        return [HIGHEST * np.array(part.likeness) / most if most > 0 else np.zeros(len(part.edges)) for part in parts]

    def _changed(self, parts: Sequence[_Leaving], marks: Sequence[Floats]) -> dict[int, float]:
        weights, least = self._graph.weights, self._settings.least_factor
        changed: dict[int, float] = {}
        for part, mine in zip(parts, marks, strict=True):
            factors = [*map(relevance_weight, mine.tolist()), *(_SKIPPED for _ in part.others)]
            for edge, factor in zip((*part.edges, *part.others), factors, strict=True):
                changed[edge] = float(weights[edge]) * max(least, factor)
        return changed


def relevance_weight(relevance: float) -> float:
    """CatRAG's piecewise map of a relevance, rounded to a whole one, to a factor: 0 to 3 (noise) nothing, 4 to 6 (weak) .2 to
    .3, 7 to 9 (a bridge) 2 to 3, 10 (the answer) 5."""
    whole = round(relevance)
    if whole <= 3:
        return 0.0
    if whole <= 6:
        return whole / 20
    return (whole - 3) / 2 if whole <= 9 else 5.0


def overlay_of(changed: Mapping[int, float]) -> Overlay | None:
    """New weights of edges by their places as an overlay, None where nothing changed."""
    if not changed:
        return None
    edges = np.array(sorted(changed), np.int64)
    return Overlay(edges, np.array([changed[edge] for edge in edges.tolist()], np.float32))
