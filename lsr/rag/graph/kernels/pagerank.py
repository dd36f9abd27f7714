"""Personalised PageRank: forward push, and power iteration.

Some edges may have other weights for one question (an overlay): `changed` are their places, rising, and `new` their
weights; the shared arrays are read, never written. `totals` are the sums of the weights that leave each node.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]


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
    stay: float,
    epsilon: float,
    score: Array,
    left: Array,
    queue: Array,
    queued: Array,
) -> int:
    """Forward push (Andersen, Chung and Lang 2006) in the order in which nodes come to have enough.

    seeds int64 [S] and their mass float64 [S], of sum 1; stay: the share that stays where it is, 1 - damping. A node is
    pushed while it has more than epsilon x its edges left. score, left: float64 [N] of zeros; queue int64 [N], queued
    bool [N] of False. Returns how many pushes there were. In the end score + left has sum 1 but for what came to nodes
    that no edge leaves.
    """
    nodes = len(indptr) - 1
    first = count = 0
    for s in range(len(seeds)):
        node = seeds[s]
        left[node] += mass[s]
        if not queued[node]:
            queued[node] = True
            queue[count % nodes] = node
            count += 1
    pushes = 0
    while first < count:
        node = queue[first % nodes]
        first += 1
        queued[node] = False
        here = left[node]
        start, end = indptr[node], indptr[node + 1]
        if here <= epsilon * max(1, end - start):
            continue
        pushes += 1
        left[node] = 0.0
        score[node] += stay * here
        total = totals[node]
        at = np.searchsorted(changed, start)
        stop = np.searchsorted(changed, end)
        for c in range(at, stop):
            total += np.float64(new[c]) - np.float64(weights[changed[c]])
        if total <= 0.0:
            continue
        share = (1.0 - stay) * here / total
        for edge in range(start, end):
            weight = np.float64(weights[edge])
            if at < stop and changed[at] == edge:
                weight = np.float64(new[at])
                at += 1
            if weight == 0.0:
                continue
            other = np.int64(targets[edge])
            left[other] += share * weight
            if not queued[other] and left[other] > epsilon * max(1, indptr[other + 1] - indptr[other]):
                queued[other] = True
                queue[count % nodes] = other
                count += 1
    return pushes


@njit(nogil=True, cache=True)
def step(
    indptr: Array,
    targets: Array,
    weights: Array,
    totals: Array,
    changed: Array,
    new: Array,
    damping: float,
    before: Array,
    after: Array,
) -> float:
    """One step of power iteration: after [N] becomes damping x what edges carry of before [N]. Returns what nodes without
    edges held."""
    after[:] = 0.0
    held = 0.0
    at = 0
    for node in range(len(indptr) - 1):
        here = before[node]
        start, end = indptr[node], indptr[node + 1]
        first = at
        total = totals[node]
        while at < len(changed) and changed[at] < end:
            total += np.float64(new[at]) - np.float64(weights[changed[at]])
            at += 1
        if here == 0.0:
            continue
        if total <= 0.0:
            held += here
            continue
        share = damping * here / total
        for edge in range(start, end):
            weight = np.float64(weights[edge])
            if first < at and changed[first] == edge:
                weight = np.float64(new[first])
                first += 1
            after[np.int64(targets[edge])] += share * weight
    return held
