"""Personalised PageRank on a graph: by forward push for a question, by power iteration for checks and for many at once.

Both give the stationary distribution of a walker who follows edges by their weights with probability `damping`, and
otherwise, or where no edge leaves, jumps to a seed. It sums to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.index.kernels import compile_once
from lsr.rag.graph.types import GraphArrays, Overlay

__all__ = ["Walk", "out_weights", "personalised", "personalised_exact", "walk"]

Floats = npt.NDArray[np.float64]
Nodes = npt.NDArray[np.int64]

_AT_ONCE = 8  # restart distributions that share the reading of the edges: a cache line of numbers for each node
_NAME = "_pagerank"


@dataclass(frozen=True, slots=True)
class Walk:
    """Nodes int64 [n], rising, and their scores float64 [n], of sum 1. error: the scores of all nodes together, those that
    are not here being 0, are at most so far from the exact ones. pushes: how many it took."""

    nodes: Nodes
    scores: Floats
    error: float
    pushes: int


def personalised(
    graph: GraphArrays,
    seeds: npt.ArrayLike,
    weights: npt.ArrayLike,
    *,
    damping: float = 0.5,
    epsilon: float = 1e-6,
    overlay: Overlay | None = None,
) -> tuple[Nodes, Floats]:
    """The nodes that a `walk` reaches and their scores; which see."""
    found = walk(graph, seeds, weights, damping=damping, epsilon=epsilon, overlay=overlay)
    return found.nodes, found.scores


def walk(
    graph: GraphArrays,
    seeds: npt.ArrayLike,
    weights: npt.ArrayLike,
    *,
    damping: float = 0.5,
    epsilon: float = 1e-6,
    overlay: Overlay | None = None,
) -> Walk:
    """Forward push from seeds: nodes [S], weights [S] >= 0 of any sum above 0; a node may come twice.

    epsilon: what may be left at a node for each of its edges. Let R be the sum of what is left in the end, at most epsilon x
    (edges and nodes of the graph), and T the sum of the scores before they are brought to 1: the error is at most 2 R / T.
    Where no walker was lost at a node without edges, T is 1 - R. Deterministic, and safe from several threads.

    Raises `InvalidInput` for arguments out of range, and for arrays that are no graph.
    """
    ready = _ready(graph)
    nodes, mass = _seeds(graph, seeds, weights)
    _check_damping(damping)
    if not 0 < epsilon < math.inf:
        raise InvalidInput(f"epsilon is {epsilon}: it must be above 0, and finite")
    changed, new = _overlay(graph, overlay)
    from lsr.rag.graph.kernels.pagerank import push

    def run(nodes: Nodes, mass: Floats, totals: Floats, score: Floats, left: Floats, queue: Nodes) -> int:
        pushes: int = push(
            *(ready.indptr, ready.targets, ready.weights, totals, changed, new, nodes, mass),
            *(float(damping), float(epsilon), score, left, queue),
        )
        return pushes

    nothing, nowhere = np.zeros(0), np.zeros(0, np.int64)
    compile_once("personalised push", lambda: run(nowhere, nothing, ready.totals, nothing, nothing, nowhere))
    score, left = np.zeros(graph.nodes), np.zeros(graph.nodes)
    pushes = run(nodes, mass, _totals(ready, changed, new), score, left, np.empty(graph.nodes, np.int64))
    if not pushes:  # no seed has enough: what stays where it is, of their mass
        score, left = (1.0 - damping) * left, damping * left
    reached = np.flatnonzero(score)
    found = score[reached]
    total = float(found.sum())
    return Walk(reached, found / total, min(2.0, 2 * float(left.sum()) / total), pushes)


def personalised_exact(
    graph: GraphArrays,
    restart: npt.ArrayLike,
    *,
    damping: float = 0.5,
    tolerance: float = 1e-10,
    overlays: Sequence[Overlay | None] | None = None,
) -> Floats:
    """Scores float64 [B, N] for restart distributions [B, N] (any sums above 0), by power iteration, several at a time.

    tolerance: how far the scores of a row are from the exact ones at most, in all, rounding apart. Each step brings them
    nearer by the factor `damping`, from 2 at most, so the number of steps follows from it and depends on no other row.
    Raises `InvalidInput` for arguments out of range, and for arrays that are no graph.
    """
    ready = _ready(graph)
    given = np.array(restart, np.float64, ndmin=2)
    if given.ndim != 2 or given.shape[1] != graph.nodes or not np.isfinite(given).all() or (given < 0).any():
        raise InvalidInput(
            f"restart has shape {given.shape}: it must be [any, {graph.nodes}], of finite numbers from 0"
        )
    if (given.sum(axis=1) <= 0).any():
        raise InvalidInput("a restart distribution is 0 everywhere: there must be a seed")
    if overlays is not None and len(overlays) != len(given):
        raise InvalidInput(
            f"there are {len(overlays)} overlays for {len(given)} restart distributions: give one for each"
        )
    _check_damping(damping)
    if not 0 < tolerance < math.inf:
        raise InvalidInput(f"tolerance is {tolerance}: it must be above 0, and finite")
    steps = 1 if damping == 0 else max(1, math.ceil(math.log(tolerance / 2) / math.log(damping)))
    changes = [_overlay(graph, overlay) for overlay in overlays or [None] * len(given)]
    result = np.empty_like(given)
    for first in range(0, len(given), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        seed = np.ascontiguousarray((given[part] / given[part].sum(axis=1, keepdims=True)).T)
        result[part] = _iterated(ready, seed, changes[part], float(damping), steps).T
    return result


def out_weights(graph: GraphArrays) -> Floats:
    """The sum of the weights that leave each node, float64 [N]; computed once a graph."""
    return _ready(graph).totals


class _Ready(NamedTuple):
    """Arrays of a graph that kernels may read: checked, and read-only, so that one compiled form serves all graphs."""

    indptr: Nodes
    targets: npt.NDArray[np.uint32]
    weights: npt.NDArray[np.float32]
    totals: Floats


Changes = tuple[Nodes, npt.NDArray[np.float32]]


def _ready(graph: GraphArrays) -> _Ready:
    known: _Ready | None = graph.__dict__.get(_NAME)
    if known is None:
        indptr, targets, weights = graph.indptr, graph.targets, graph.weights
        for name, array, kind, length in (
            ("indptr", indptr, np.int64, graph.nodes + 1),
            ("targets", targets, np.uint32, None),
            ("weights", weights, np.float32, len(targets)),
        ):
            if array.dtype != kind or array.ndim != 1 or (length is not None and len(array) != length):
                wanted = f"{np.dtype(kind)} [{'any' if length is None else length}]"
                raise InvalidInput(f"{name} of a graph is {array.dtype} {list(array.shape)}: it must be {wanted}")
        if indptr[0] != 0 or indptr[-1] != len(targets) or (np.diff(indptr) < 0).any():
            raise InvalidInput(f"indptr of a graph must rise from 0 to the number of its edges, {len(targets)}")
        if len(targets) and int(targets.max()) >= graph.nodes:
            raise InvalidInput(f"an edge leads to node {int(targets.max())} of a graph of {graph.nodes}")
        if not (np.isfinite(weights) & (weights > 0)).all():
            raise InvalidInput("weights of a graph must be above 0, and finite")
        # Row by row, not as differences of sums over all edges: these would keep of a light row what rounding leaves.
        totals = np.zeros(graph.nodes)
        filled = np.flatnonzero(np.diff(indptr))
        if len(filled):
            totals[filled] = np.add.reduceat(weights.astype(np.float64), indptr[filled])
        known = _Ready(*(_read_only(array) for array in (indptr, targets, weights, totals)))
        graph.__dict__[_NAME] = known
    return known


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = np.require(np.asarray(array), requirements=["C", "A"]).view()
    view.flags.writeable = False
    return view


def _totals(ready: _Ready, changed: Nodes, new: npt.NDArray[np.float32]) -> Floats:
    """The sums of the weights that leave each node, with those of an overlay; read-only."""
    if not len(changed):
        return ready.totals
    from lsr.rag.graph.kernels.pagerank import retotal

    totals = ready.totals.copy()

    def run(changed: Nodes, new: npt.NDArray[np.float32]) -> None:
        retotal(ready.indptr, ready.weights, changed, new, totals)

    compile_once("personalised totals", lambda: run(*_overlay_arrays([], [])))
    run(changed, new)
    return _read_only(totals)


def _iterated(ready: _Ready, seed: Floats, changes: Sequence[Changes], damping: float, steps: int) -> Floats:
    """Power iteration from seed [N, B], columns of sum 1."""
    from lsr.rag.graph.kernels.pagerank import spread, spread_changed

    edges = (ready.indptr, ready.targets, ready.weights)
    factors = np.zeros_like(seed)  # of a walker, what an edge of weight 1 carries
    for column, (changed, new) in enumerate(changes):
        totals = _totals(ready, changed, new)
        np.divide(damping, totals, out=factors[:, column], where=totals > 0)
    other = [
        (column, changed, new, np.unique(np.searchsorted(ready.indptr, changed, side="right") - 1))
        for column, (changed, new) in enumerate(changes)
        if len(changed)
    ]
    empty = (ready.indptr[:1], ready.targets[:0], ready.weights[:0])
    none = np.zeros((0, seed.shape[1]))
    compile_once("personalised spread", lambda: spread(*empty, none, none))
    compile_once(
        "personalised spread of changes",
        lambda: spread_changed(*edges, *_overlay_arrays([], []), np.zeros(0), 0, none),
    )
    scores = seed
    for _ in range(steps):
        shares, after = factors * scores, np.zeros_like(seed)
        for column, changed, new, nodes in other:
            own = shares[:, column].copy()
            shares[nodes, column] = 0
            spread_changed(*edges, changed, new, own, column, after)
        spread(*edges, shares, after)
        # What edges do not carry jumps to the seeds: the share 1 - damping, and all of nodes that no edge leaves.
        scores = after + (1 - after.sum(axis=0)) * seed
    return scores


def _seeds(graph: GraphArrays, seeds: npt.ArrayLike, weights: npt.ArrayLike) -> tuple[Nodes, Floats]:
    nodes, mass = np.asarray(seeds), np.asarray(weights, np.float64)
    if nodes.ndim != 1 or nodes.shape != mass.shape or (nodes.size and nodes.dtype.kind not in "iu"):
        raise InvalidInput(
            f"seeds are {nodes.dtype} {nodes.shape} with weights {mass.shape}: there must be one for each node"
        )
    # Before the conversion: a large uint64 would turn negative.
    if nodes.size and not (int(nodes.min()) >= 0 and int(nodes.max()) < graph.nodes):
        raise InvalidInput(f"a seed is no node: the graph has {graph.nodes:,}, counted from 0")
    if not np.isfinite(mass).all() or (mass < 0).any() or mass.sum() <= 0:
        raise InvalidInput("weights of seeds must be 0 or more, finite, and not all 0")
    return nodes.astype(np.int64), mass / mass.sum()


def _overlay(graph: GraphArrays, overlay: Overlay | None) -> Changes:
    if overlay is None:
        return _overlay_arrays([], [])
    edges, weights = np.asarray(overlay.edges), np.asarray(overlay.weights)
    if edges.shape != weights.shape or edges.ndim != 1:
        raise InvalidInput(
            f"an overlay has {edges.shape} edges and {weights.shape} weights: there must be one for each"
        )
    if edges.size and edges.dtype.kind not in "iu":
        raise InvalidInput(f"edges of an overlay are {edges.dtype}: they must be whole numbers")
    if edges.size and not (int(edges.min()) >= 0 and int(edges.max()) < len(graph.targets)):
        raise InvalidInput("edges of an overlay must be places of edges, rising")
    changed, new = _overlay_arrays(edges, weights)
    if (np.diff(changed) <= 0).any():
        raise InvalidInput("edges of an overlay must be places of edges, rising")
    if not np.isfinite(new).all() or (new < 0).any():
        raise InvalidInput("weights of an overlay must be 0 or more, and finite")
    return changed, new


def _overlay_arrays(edges: npt.ArrayLike, weights: npt.ArrayLike) -> Changes:
    """In memory of their own, of one type each: Numba tells arrays apart that may be written from others."""
    return np.array(edges, np.int64), np.array(weights, np.float32)


def _check_damping(damping: float) -> None:
    if not 0 <= damping < 1:
        raise InvalidInput(f"damping is {damping}: it must be from 0 to below 1")
