"""Graphs for tests: random ones, and PageRank as SciPy does it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from lsr.rag.graph.types import GraphArrays, Overlay

__all__ = ["graph_of", "random_graph", "stationary"]

Floats = npt.NDArray[np.float64]


def graph_of(edges: dict[tuple[int, int], float], phrases: int, passages: int) -> GraphArrays:
    """A graph of directed edges with weights."""
    nodes = phrases + passages
    ordered = sorted(edges)
    sources = np.array([source for source, _ in ordered], np.int64)
    return GraphArrays(
        phrases=[f"phrase {i}" for i in range(phrases)],
        passages=passages,
        indptr=np.concatenate([[0], np.cumsum(np.bincount(sources, minlength=nodes))]).astype(np.int64),
        targets=np.array([target for _, target in ordered], np.uint32),
        weights=np.array([edges[edge] for edge in ordered], np.float32),
        kinds=np.zeros(len(ordered), np.uint8),
        subjects=np.zeros(0, np.uint32),
        objects=np.zeros(0, np.uint32),
        predicates=[],
        fact_indptr=np.zeros(1, np.int64),
        fact_passages=np.zeros(0, np.uint32),
        mentions=np.zeros(phrases, np.int64),
    )


def random_graph(nodes: int, edges: int, seed: int) -> GraphArrays:
    """Edges of random weights both ways, few nodes having many; some nodes have none."""
    generator = np.random.default_rng(seed)
    popularity = 1 / np.arange(1, nodes + 1)
    popularity /= popularity.sum()
    found: dict[tuple[int, int], float] = {}
    for a, b in generator.choice(nodes, (edges, 2), p=popularity).tolist():
        if a != b:
            weight = float(generator.uniform(0.1, 2))
            found[a, b] = found[b, a] = weight
    return graph_of(found, nodes // 2, nodes - nodes // 2)


def stationary(graph: GraphArrays, restart: Floats, damping: float, overlay: Overlay | None = None) -> Floats:
    """Power iteration in SciPy until nothing moves."""
    weights = graph.weights.astype(np.float64)
    if overlay is not None:
        weights[overlay.edges] = overlay.weights
    matrix = csr_array((weights, graph.targets.astype(np.int32), graph.indptr), shape=(graph.nodes, graph.nodes))
    totals = matrix.sum(axis=1)
    seed = restart / restart.sum()
    scores = seed.copy()
    for _ in range(2000):
        share = np.divide(scores, totals, out=np.zeros_like(scores), where=totals > 0)
        held = scores[totals <= 0].sum()
        after = damping * (matrix.T @ share) + (1 - damping + damping * held) * seed
        if np.abs(after - scores).sum() < 1e-14:
            return np.asarray(after)
        scores = after
    return np.asarray(scores)
