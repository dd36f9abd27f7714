"""Personalised PageRank on a graph: by forward push for a question, exactly for checks and for many nodes.

Both give the stationary distribution of a walker who follows edges by their weights with probability `damping`, and
otherwise, or where no edge leaves, jumps to a seed. It sums to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.index.kernels import compile_once
from lsr.rag.graph.types import GraphArrays, Overlay

__all__ = ["out_weights", "personalised", "personalised_exact"]

Floats = npt.NDArray[np.float64]
Nodes = npt.NDArray[np.int64]

_NO_EDGES = np.zeros(0, np.int64)
_NO_WEIGHTS = np.zeros(0, np.float32)
_MOST = 1000  # steps of power iteration: damping .99 takes 2,300 for 1e-10, and nobody walks so far


def personalised(
    graph: GraphArrays,
    seeds: npt.ArrayLike,
    weights: npt.ArrayLike,
    *,
    damping: float = 0.5,
    epsilon: float = 1e-6,
    overlay: Overlay | None = None,
) -> tuple[Nodes, Floats]:
    """Nodes int64 [n], rising, that the walk reaches, and their scores float64 [n].

    seeds: nodes [S], weights [S] >= 0 of any sum above 0. epsilon: what may be left at a node for each of its edges; the
    error of all scores together is at most epsilon x the number of edges (and nodes) that hold anything, in practice far
    less. Deterministic. Raises `InvalidInput` for arguments out of range.
    """
    nodes, mass = _seeds(graph, seeds, weights)
    _check("damping", damping, 0, 1)
    if not epsilon > 0:
        raise InvalidInput(f"epsilon is {epsilon}: it must be above 0")
    from lsr.rag.graph.kernels.pagerank import push

    changed, new = _overlay(graph, overlay)
    totals = out_weights(graph)
    size = graph.nodes
    score, left = np.zeros(size), np.zeros(size)
    queue, queued = np.empty(size, np.int64), np.zeros(size, np.bool_)

    def run(seeds: Nodes, mass: Floats) -> None:
        push(
            graph.indptr,
            graph.targets,
            graph.weights,
            totals,
            changed,
            new,
            seeds,
            mass,
            1.0 - damping,
            epsilon,
            score,
            left,
            queue,
            queued,
        )

    compile_once("personalised push", lambda: run(_NO_EDGES, np.zeros(0)))
    run(nodes, mass)
    reached = np.flatnonzero(score)
    found = score[reached]
    return reached, found / found.sum()


def personalised_exact(
    graph: GraphArrays,
    restart: npt.ArrayLike,
    *,
    damping: float = 0.5,
    tolerance: float = 1e-10,
    overlays: Sequence[Overlay | None] | None = None,
) -> Floats:
    """Scores float64 [B, N] for restart distributions [B, N] (any sums above 0), each by power iteration until no more than
    `tolerance` changes in all. Raises `InvalidInput` for arguments out of range."""
    given = np.array(restart, np.float64, ndmin=2)
    if given.shape[1:] != (graph.nodes,) or not np.isfinite(given).all() or (given < 0).any():
        raise InvalidInput(f"restart has shape {given.shape}: it must be [any, {graph.nodes}], of numbers from 0")
    if (given.sum(axis=1) <= 0).any():
        raise InvalidInput("a restart distribution is 0 everywhere: there must be a seed")
    _check("damping", damping, 0, 1)
    from lsr.rag.graph.kernels.pagerank import step

    totals = out_weights(graph)
    result = np.empty_like(given)
    for row, wanted in enumerate(given):
        changed, new = _overlay(graph, None if overlays is None else overlays[row])
        seed = wanted / wanted.sum()
        before, after = seed.copy(), np.empty_like(seed)
        for _ in range(_MOST):
            held = step(graph.indptr, graph.targets, graph.weights, totals, changed, new, damping, before, after)
            after += (1.0 - damping + damping * held) * seed
            moved = float(np.abs(after - before).sum())
            before, after = after, before
            if moved <= tolerance:
                break
        result[row] = before
    return result


def out_weights(graph: GraphArrays) -> Floats:
    """The sum of the weights that leave each node, float64 [N]; computed once a graph."""
    known: Floats | None = graph.__dict__.get("_out_weights")
    if known is None:
        sums = np.concatenate([np.zeros(1), np.cumsum(graph.weights, dtype=np.float64)])
        known = sums[graph.indptr[1:]] - sums[graph.indptr[:-1]]
        graph.__dict__["_out_weights"] = known
    return known


def _seeds(graph: GraphArrays, seeds: npt.ArrayLike, weights: npt.ArrayLike) -> tuple[Nodes, Floats]:
    nodes, mass = np.asarray(seeds), np.asarray(weights, np.float64)
    if nodes.ndim != 1 or nodes.shape != mass.shape or (nodes.size and nodes.dtype.kind not in "iu"):
        raise InvalidInput(
            f"seeds are {nodes.dtype} {nodes.shape} with weights {mass.shape}: there must be one for each node"
        )
    nodes = nodes.astype(np.int64)
    if nodes.size and not (int(nodes.min()) >= 0 and int(nodes.max()) < graph.nodes):
        raise InvalidInput(f"a seed is no node: the graph has {graph.nodes:,}, counted from 0")
    if not np.isfinite(mass).all() or (mass < 0).any() or mass.sum() <= 0:
        raise InvalidInput("weights of seeds must be 0 or more, finite, and not all 0")
    return nodes, mass / mass.sum()


def _overlay(graph: GraphArrays, overlay: Overlay | None) -> tuple[Nodes, npt.NDArray[np.float32]]:
    if overlay is None or not len(overlay.edges):
        return _NO_EDGES, _NO_WEIGHTS
    edges, weights = np.asarray(overlay.edges, np.int64), np.asarray(overlay.weights, np.float32)
    if edges.shape != weights.shape or edges.ndim != 1:
        raise InvalidInput(
            f"an overlay has {edges.shape} edges and {weights.shape} weights: there must be one for each"
        )
    if int(edges.min()) < 0 or int(edges.max()) >= len(graph.targets) or (np.diff(edges) <= 0).any():
        raise InvalidInput("edges of an overlay must be places of edges, rising")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise InvalidInput("weights of an overlay must be 0 or more, and finite")
    return edges, weights


def _check(what: str, value: Any, least: float, most: float) -> None:
    if not least <= value < most:
        raise InvalidInput(f"{what} is {value}: it must be from {least} to below {most}")
