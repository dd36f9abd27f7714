"""Why a passage was found: the strongest ways to it from what the question named or matched."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from lsr.errors import InvalidInput
from lsr.rag.graph.pagerank import out_weights
from lsr.rag.graph.search import GraphResult, GraphSearch
from lsr.rag.graph.types import MENTION, RELATION, SYNONYM, GraphArrays, Overlay

__all__ = ["KINDS", "LONGEST", "Path", "PathStep", "WalkEdges", "explain", "explain_all"]

KINDS = {RELATION: "relation", MENTION: "mention", SYNONYM: "synonym"}
LONGEST = 5  # edges of a way
_FAINT = 1e-3  # of the strongest way: weaker ones are not looked for


@dataclass(frozen=True, slots=True)
class PathStep:
    """An edge of a way. source, target: texts of phrases, and what passages are called; facts: what relates them; share:
    of what leaves the source, the part that goes this way, for this question, times the damping."""

    source: str
    target: str
    kind: str
    facts: tuple[str, ...]
    share: float


@dataclass(frozen=True, slots=True)
class Path:
    """A way from a seed to a passage. seed: the phrase, or "the first stage" where a passage was the seed; seed_share: the
    part of all seeds' weight that it has; strength: the product of that and all shares on the way; nodes: the seed and
    where each step leads."""

    seed: str
    seed_share: float
    steps: tuple[PathStep, ...]
    strength: float
    nodes: tuple[int, ...]

    def __str__(self) -> str:
        parts = [f"{self.seed} ({self.seed_share:.3f})"]
        for step in self.steps:
            said = f" [{step.facts[0]}]" if step.facts else ""
            parts.append(f"--{step.kind}{said} {step.share:.3f}--> {step.target}")
        return " ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """As JSON can say it: numbers of nodes, which mean nothing outside the graph, are left out."""
        steps = [
            {
                "source": step.source,
                "target": step.target,
                "kind": step.kind,
                "share": step.share,
                "facts": list(step.facts),
            }
            for step in self.steps
        ]
        return {"seed": self.seed, "seed_share": self.seed_share, "strength": self.strength, "steps": steps}


def explain(
    search: GraphSearch,
    result: GraphResult,
    passage: int,
    *,
    longest: int = LONGEST,
    name_of: Callable[[int], str] | None = None,
) -> Path | None:
    """The strongest way of at most `longest` edges from a seed of a result to a passage (its number); None where no walk
    leads there. name_of: what a passage is called, "passage N" by default."""
    return next(iter(explain_all(search, result, passage, most=1, longest=longest, name_of=name_of)), None)


def explain_all(
    search: GraphSearch,
    result: GraphResult,
    passage: int,
    *,
    most: int = 3,
    longest: int = LONGEST,
    name_of: Callable[[int], str] | None = None,
) -> tuple[Path, ...]:
    """The strongest way to a passage from each seed, the `most` strongest of them, strongest first; those that have less
    than a thousandth of the first one's strength are left out. Raises `InvalidInput` for a number that is no passage's."""
    graph = search.graph
    if not 0 <= passage < graph.passages:
        raise InvalidInput(f"there is no passage {passage}: the graph has {graph.passages:,}, counted from 0")
    if most < 1:
        raise InvalidInput(f"most is {most}: it must be 1 or more")
    total = sum(result.seeds.values())
    seeds = {node: weight / total for node, weight in result.seeds.items() if weight > 0}
    if not seeds:
        return ()
    edges = WalkEdges(graph, result.overlay)
    found = _strongest(edges, seeds, len(graph.phrases) + passage, search.settings.damping, most, longest)
    return tuple(
        _path(search, edges, nodes, seeds[nodes[0]], strength, name_of or _numbered) for strength, nodes in found
    )


class WalkEdges:
    """The edges as the walk of one question sees them: of the overlay, where that has them."""

    def __init__(self, graph: GraphArrays, overlay: Overlay | None) -> None:
        self.graph = graph
        self._totals = out_weights(graph)
        self._changed: dict[int, float] = {}
        self._more: dict[int, float] = {}  # by which the weights that leave a node are more than the graph's
        if overlay is not None:
            self._changed = dict(zip(overlay.edges.tolist(), overlay.weights.tolist(), strict=True))
            sources = np.searchsorted(graph.indptr, overlay.edges, side="right") - 1
            for node in np.unique(sources).tolist():
                start, end = int(graph.indptr[node]), int(graph.indptr[node + 1])
                self._more[node] = sum(self.weight(edge) for edge in range(start, end)) - float(self._totals[node])

    def weight(self, edge: int) -> float:
        return self._changed.get(edge, float(self.graph.weights[edge]))

    def changed(self, edge: int) -> bool:
        """Whether the question gave it another weight."""
        return self.weight(edge) != float(self.graph.weights[edge])

    def share(self, source: int, edge: int) -> float:
        """The part of what leaves a node that goes along one of its edges."""
        total = float(self._totals[source]) + self._more.get(source, 0.0)
        return self.weight(edge) / total if total > 0 else 0.0

    def beside(self, node: int) -> list[int]:
        start, end = int(self.graph.indptr[node]), int(self.graph.indptr[node + 1])
        found: list[int] = self.graph.targets[start:end].tolist()
        return found


# A way from a node to the goal: (node, the rest of it), the goal being (goal, None).
_Onward = tuple[int, "_Onward | None"]


def _strongest(
    edges: WalkEdges, seeds: dict[int, float], goal: int, damping: float, most: int, longest: int
) -> list[tuple[float, list[int]]]:
    """(strength, nodes) of the strongest way from each seed, searched backwards from the goal: nodes come in the order of the
    product of shares from them to it. Both directions of an edge are stored, so what leads to a node is beside it."""
    heaviest = max(seeds.values())
    found: list[tuple[float, list[int]]] = []
    reached: set[int] = set()
    fewest: dict[int, int] = {}  # a longer and weaker way from a node is of no use, a shorter one may be
    heap: list[tuple[float, int, _Onward]] = [(-1.0, 0, (goal, None))]
    while heap:
        product, steps, way = heapq.heappop(heap)
        if -product * heaviest <= _enough(found, most):
            break
        node = way[0]
        if fewest.get(node, longest + 1) <= steps:
            continue
        fewest[node] = steps
        if node in seeds and node not in reached:
            reached.add(node)
            found.append((-product * seeds[node], _nodes(way)))
            found.sort(key=lambda one: (-one[0], one[1]))
        if steps == longest:
            continue
        for source in edges.beside(node):
            edge = edges.graph.edge(source, node)
            if edge is not None and (share := damping * edges.share(source, edge)) > 0:
                heapq.heappush(heap, (product * share, steps + 1, (source, way)))
    return [one for one in found if one[0] > _FAINT * found[0][0]][:most]


def _enough(found: list[tuple[float, list[int]]], most: int) -> float:
    """The strength from which on another way is of interest."""
    if not found:
        return 0.0
    return max(found[most - 1][0] if len(found) >= most else 0.0, _FAINT * found[0][0])


def _nodes(way: _Onward) -> list[int]:
    nodes, rest = [way[0]], way[1]
    while rest is not None:
        nodes.append(rest[0])
        rest = rest[1]
    return nodes


def _path(
    search: GraphSearch,
    edges: WalkEdges,
    nodes: list[int],
    seed_share: float,
    strength: float,
    name_of: Callable[[int], str],
) -> Path:
    graph = search.graph
    first = len(graph.phrases)

    def called(node: int) -> str:
        return graph.phrases[node] if node < first else name_of(node - first)

    steps: list[PathStep] = []
    for source, target in pairwise(nodes):
        edge = graph.edge(source, target)
        assert edge is not None
        share = search.settings.damping * edges.share(source, edge)
        facts = search.facts_between(source, target)
        steps.append(PathStep(called(source), called(target), KINDS[int(graph.kinds[edge])], facts, share))
    seed = "the first stage" if nodes[0] >= first else called(nodes[0])
    return Path(seed, seed_share, tuple(steps), strength, tuple(nodes))


def _numbered(passage: int) -> str:
    return f"passage {passage}"
