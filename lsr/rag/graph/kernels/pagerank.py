"""Personalised PageRank: forward push, and power iteration.

Some edges may have other weights for one question (an overlay): `changed` are their places, rising, and `new` their
weights; the shared arrays are read, never written. `totals` are the sums of the weights that leave each node, those of the
overlay where it has any (`retotal`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]


@njit(nogil=True, cache=True)
def retotal(indptr: Array, weights: Array, changed: Array, new: Array, totals: Array) -> None:
    """Writes the totals of the nodes that changed edges leave. From the start: by differences, a node whose edges are all
    closed would keep what rounding leaves, and its walkers would get lost."""
    at = 0
    while at < len(changed):
        node = np.searchsorted(indptr, changed[at], side="right") - 1
        total = 0.0
        for edge in range(indptr[node], indptr[node + 1]):
            if at < len(changed) and changed[at] == edge:
                total += np.float64(new[at])
                at += 1
            else:
                total += np.float64(weights[edge])
        totals[node] = total


@njit(nogil=True, cache=True)
def push(
    indptr: Array,
    targets: Array,
    weights: Array,
    totals: Array,
    changed: Array,
    new: Array,
    seeds: Array,
    mass: Array,
    damping: float,
    epsilon: float,
    score: Array,
    left: Array,
    queue: Array,
) -> int:
    """Forward push (Andersen, Chung and Lang 2006) in the order in which nodes come to have enough.

    seeds int64 [S] and their mass float64 [S], of sum 1. A node waits while it has more than epsilon x its edges left, and
    is pushed when its turn comes. score, left: float64 [N] of zeros; queue int64 [N]. Returns how many pushes there were.

    In the end the true scores, were walkers at nodes without edges lost, are `score` and something from 0 up that sums to
    what is left at most.
    """
    nodes = len(indptr) - 1
    first = last = waiting = 0
    for s in range(len(seeds)):
        node = seeds[s]
        enough = epsilon * max(1, indptr[node + 1] - indptr[node])
        before = left[node]
        left[node] = before + mass[s]
        # A node waits if and only if it has enough: so none waits twice, and N places are enough.
        if before <= enough and left[node] > enough:
            queue[last] = node
            last = last + 1 if last + 1 < nodes else 0
            waiting += 1
    pushes = 0
    while waiting:
        node = queue[first]
        first = first + 1 if first + 1 < nodes else 0
        waiting -= 1
        pushes += 1
        here = left[node]
        left[node] = 0.0
        score[node] += (1.0 - damping) * here
        total = totals[node]
        if total <= 0.0:
            continue
        share = damping * here / total
        start, end = indptr[node], indptr[node + 1]
        at = np.searchsorted(changed, start)
        for edge in range(start, end):
            weight = np.float64(weights[edge])
            if at < len(changed) and changed[at] == edge:
                weight = np.float64(new[at])
                at += 1
            other = np.int64(targets[edge])
            enough = epsilon * max(1, indptr[other + 1] - indptr[other])
            before = left[other]
            left[other] = before + share * weight
            if before <= enough and left[other] > enough:
                queue[last] = other
                last = last + 1 if last + 1 < nodes else 0
                waiting += 1
    return pushes


@njit(nogil=True, cache=True)
def spread(indptr: Array, targets: Array, weights: Array, shares: Array, after: Array) -> None:
    """Adds to after [N, B] what edges carry of shares [N, B], where a share is what an edge of weight 1 carries."""
    columns = shares.shape[1]
    for node in range(len(indptr) - 1):
        for edge in range(indptr[node], indptr[node + 1]):
            weight = np.float64(weights[edge])
            other = np.int64(targets[edge])
            for column in range(columns):
                after[other, column] += weight * shares[node, column]


@njit(nogil=True, cache=True)
def spread_changed(
    indptr: Array, targets: Array, weights: Array, changed: Array, new: Array, shares: Array, column: int, after: Array
) -> None:
    """The same for one column, shares [N], and only for the nodes that changed edges leave."""
    at = 0
    while at < len(changed):
        node = np.searchsorted(indptr, changed[at], side="right") - 1
        for edge in range(indptr[node], indptr[node + 1]):
            weight = np.float64(weights[edge])
            if at < len(changed) and changed[at] == edge:
                weight = np.float64(new[at])
                at += 1
            after[np.int64(targets[edge]), column] += weight * shares[node]
