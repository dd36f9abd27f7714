"""Why a passage was found: the strongest way to it from what the question named or matched."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np

from lsr.rag.graph.pagerank import out_weights
from lsr.rag.graph.search import GraphResult, GraphSearch
from lsr.rag.graph.types import MENTION, RELATION, SYNONYM

__all__ = ["Path", "PathStep", "explain"]

_CALLED = {RELATION: "relation", MENTION: "mention", SYNONYM: "synonym"}


@dataclass(frozen=True, slots=True)
class PathStep:
    """An edge of a way. source, target: texts of phrases, or "passage N"; facts: what relates them; share: of what leaves
    the source, the part that goes this way, for this question."""

    source: str
    target: str
    kind: str
    facts: tuple[str, ...]
    share: float


@dataclass(frozen=True, slots=True)
class Path:
    """A way from a seed to a passage. seed: the phrase, or "the first stage" where the passage itself was a seed;
    seed_share: the part of all seeds' weight that it has; strength: the product of that and all shares on the way."""

    seed: str
    seed_share: float
    steps: tuple[PathStep, ...]
    strength: float

    def __str__(self) -> str:
        parts = [f"{self.seed} ({self.seed_share:.3f})"]
        for step in self.steps:
            said = f" [{step.facts[0]}]" if step.facts else ""
            parts.append(f"--{step.kind}{said} {step.share:.3f}--> {step.target}")
        return " ".join(parts)


def explain(search: GraphSearch, result: GraphResult, passage: int, *, longest: int = 5) -> Path | None:
    """The strongest way of at most `longest` edges from a seed of a result to a passage (its number); None where no walk
    leads there."""
    graph = search.graph
    goal = len(graph.phrases) + passage
    total = sum(result.seeds.values())
    if not total:
        return None
    weights = (
        {}
        if result.overlay is None
        else dict(zip(result.overlay.edges.tolist(), result.overlay.weights.tolist(), strict=True))
    )
    best: dict[int, float] = {}
    came: dict[int, tuple[int, int] | None] = {}
    heap: list[tuple[float, int, int, tuple[int, int] | None]] = []
    for node, weight in result.seeds.items():
        if weight > 0:
            heapq.heappush(heap, (-math.log(weight / total), 0, node, None))
    while heap:
        cost, edges, node, before = heapq.heappop(heap)
        if node in best:
            continue
        best[node], came[node] = cost, before
        if node == goal:
            break
        if edges == longest:
            continue
        for edge, other, share in _leaving(search, node, weights):
            if other not in best and share > 0:
                heapq.heappush(heap, (cost - math.log(share), edges + 1, other, (node, edge)))
    if goal not in best:
        return None
    return _path(search, result, goal, best[goal], came, weights, total)


def _leaving(search: GraphSearch, node: int, weights: dict[int, float]) -> list[tuple[int, int, float]]:
    """(edge, target, share) of the edges that leave a node, damped."""
    graph = search.graph
    start, end = int(graph.indptr[node]), int(graph.indptr[node + 1])
    total = float(out_weights(graph)[node])
    mine = [weights.get(edge, float(graph.weights[edge])) for edge in range(start, end)]
    if weights:
        total = sum(mine)
    if total <= 0:
        return []
    damping = search.settings.damping
    targets = np.asarray(graph.targets[start:end]).tolist()
    return [(start + at, targets[at], damping * weight / total) for at, weight in enumerate(mine)]


def _path(
    search: GraphSearch,
    result: GraphResult,
    goal: int,
    cost: float,
    came: dict[int, tuple[int, int] | None],
    weights: dict[int, float],
    total: float,
) -> Path:
    graph = search.graph

    def called(node: int) -> str:
        return graph.phrases[node] if node < len(graph.phrases) else f"passage {node - len(graph.phrases)}"

    steps: list[PathStep] = []
    node = goal
    while (before := came[node]) is not None:
        source, edge = before
        share = next(share for at, _, share in _leaving(search, source, weights) if at == edge)
        facts = search.facts_between(source, node)
        steps.append(PathStep(called(source), called(node), _CALLED[int(graph.kinds[edge])], facts, share))
        node = source
    seed = "the first stage" if node >= len(graph.phrases) else called(node)
    return Path(seed, result.seeds[node] / total, tuple(reversed(steps)), math.exp(-cost))
