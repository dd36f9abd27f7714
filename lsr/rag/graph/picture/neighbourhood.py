"""The part of a graph that mattered for one question: which nodes and edges a picture of its walk shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lsr.errors import InvalidInput
from lsr.rag.graph.explain import KINDS, LONGEST, Path, WalkEdges, explain_all
from lsr.rag.graph.search import GraphResult, GraphSearch

__all__ = ["Edge", "Found", "Neighbourhood", "Node", "neighbourhood"]

_LEAST = 0.02  # of a passage's score: ways that carry less are not drawn
_FAINT = 0.02  # of the most that goes along an edge: edges beside the ways are drawn from this on
_BESIDE = 1.0  # edges beside the ways, for each node, at most


@dataclass(frozen=True, slots=True)
class Node:
    """A phrase or passage that is drawn. score: of the walk; seed: the part of all seeds' weight that it has. named: a phrase
    that is a seed because the question names it, no matched fact. rank: of a passage, from 1; None below those shown."""

    number: int
    text: str
    passage: bool
    score: float
    seed: float
    named: bool
    rank: int | None


@dataclass(frozen=True, slots=True)
class Edge:
    """An edge that is drawn, in the direction in which more of the walk goes. share: of what leaves the source; stored: its
    weight in the graph; weight: for this question. way: whether it is on one of the ways that are told."""

    source: int
    target: int
    kind: str
    share: float
    stored: float
    weight: float
    facts: tuple[str, ...]
    way: bool


@dataclass(frozen=True, slots=True)
class Found:
    """A passage that was found, and the strongest ways to it with the part of its score that each of them carries."""

    rank: int
    node: int
    name: str
    score: float
    ways: tuple[tuple[Path, float], ...]


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """found: the first passages, best first; nodes and edges: those drawn; ways: those drawn. left: passages of `found` for
    whose way there was no room."""

    found: tuple[Found, ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    ways: tuple[Path, ...]
    left: int


def neighbourhood(
    search: GraphSearch, result: GraphResult, name_of: Callable[[int], str], passages: int, most: int
) -> Neighbourhood:
    """Of at most `most` nodes: the strongest way to each passage, then the phrases that were seeds, further ways, and phrases
    where the walk was most. Raises `InvalidInput` for fewer passages than 1, and fewer nodes than a way may have."""
    if passages < 1:
        raise InvalidInput(f"passages is {passages}: it must be 1 or more")
    if most <= LONGEST:
        raise InvalidInput(f"most is {most}: it must be {LONGEST + 1} or more, as a way may have so many nodes")
    scores = dict(zip(*(array.tolist() for array in search.walked(result.seeds, result.overlay)), strict=True))
    found = _found(search, result, name_of, passages)
    chosen = _Chosen(most)
    # A passage is drawn with its strongest way, or not at all.
    shown = [one for one in found if chosen.add([*(one.ways[0][0].nodes if one.ways else ()), one.node])]
    ways = [one.ways[0][0] for one in shown if one.ways]
    first = len(search.graph.phrases)
    for phrase in sorted((node for node in result.seeds if node < first), key=lambda node: -result.seeds[node]):
        chosen.add([phrase])
    for at in range(1, max((len(one.ways) for one in shown), default=0)):
        ways += [
            one.ways[at][0]
            for one in shown
            if at < len(one.ways) and one.ways[at][1] >= _LEAST and chosen.add(one.ways[at][0].nodes)
        ]
    edges = WalkEdges(search.graph, result.overlay)
    for phrase, _ in result.phrases:
        if any(node in chosen.nodes for node in edges.beside(phrase)):
            chosen.add([phrase])
    total = sum(result.seeds.values())
    ranks = {one.node: one.rank for one in shown}
    nodes = [
        Node(
            number=node,
            text=search.graph.phrases[node] if node < first else name_of(node - first),
            passage=node >= first,
            score=scores.get(node, 0.0),
            seed=result.seeds.get(node, 0.0) / total,
            named=node in result.anchors,
            rank=ranks.get(node),
        )
        for node in chosen.nodes
    ]
    drawn = _edges(search, edges, ways, list(chosen.nodes), scores)
    return Neighbourhood(tuple(found), tuple(nodes), tuple(drawn), tuple(ways), len(found) - len(shown))


class _Chosen:
    """Nodes in the order in which they were chosen, up to a number."""

    def __init__(self, most: int) -> None:
        self.nodes: dict[int, None] = {}
        self._most = most

    def add(self, nodes: Iterable[int]) -> bool:
        """All of these, if there is room for all of them."""
        new = dict.fromkeys(node for node in nodes if node not in self.nodes)
        if len(self.nodes) + len(new) > self._most:
            return False
        self.nodes.update(new)
        return True


def _found(search: GraphSearch, result: GraphResult, name_of: Callable[[int], str], passages: int) -> tuple[Found, ...]:
    first, stays = len(search.graph.phrases), 1 - search.settings.damping
    found = []
    ranked = zip(result.passages[:passages].tolist(), result.scores[:passages].tolist(), strict=True)
    for rank, (passage, score) in enumerate(ranked, start=1):
        # A walk is at the end of a way when it has followed it, and stops there: see the pagerank module.
        ways = explain_all(search, result, passage, name_of=name_of)
        parts = tuple((way, min(1.0, stays * way.strength / score)) for way in ways)
        found.append(Found(rank, first + passage, name_of(passage), score, parts))
    return tuple(found)


def _edges(
    search: GraphSearch, edges: WalkEdges, ways: Sequence[Path], nodes: Sequence[int], scores: dict[int, float]
) -> list[Edge]:
    """The edges of the ways, and the strongest ones beside them."""

    def made(source: int, target: int, way: bool) -> Edge:
        edge = search.graph.edge(source, target)
        assert edge is not None
        kind, stored = KINDS[int(search.graph.kinds[edge])], float(search.graph.weights[edge])
        facts = search.facts_between(source, target)
        return Edge(source, target, kind, edges.share(source, edge), stored, edges.weight(edge), facts, way)

    on = dict.fromkeys(pair for way in ways for pair in pairwise(way.nodes))
    flows: dict[tuple[int, int], float] = {}
    for source in nodes:
        for target in nodes:
            edge = search.graph.edge(source, target)
            if edge is not None:
                flows[source, target] = scores.get(source, 0.0) * edges.share(source, edge)
    beside = [
        (source, target)
        for source, target in flows
        if (source, target) not in on
        and (target, source) not in on
        and (flows[source, target], target) >= (flows.get((target, source), 0.0), source)
        and flows[source, target] >= _FAINT * max(flows.values())
    ]
    beside.sort(key=lambda pair: (-flows[pair], pair))
    return [made(*pair, True) for pair in on] + [made(*pair, False) for pair in beside[: int(_BESIDE * len(nodes))]]
