"""k-means over vectors of small whole numbers: the same centroids on every machine, whatever its threads.

Directions of vectors, times 127 over the largest number among them, are rounded. Products and sums of such numbers are
exact in floating point in any order, so a matrix library's order does not matter; the rounding is little beside what
codes lose.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.rerank.codecs.scoring import Floats

__all__ = [
    "LARGEST",
    "LEAST",
    "directions",
    "kmeans",
    "kmeans_by_token",
    "lengths_over",
    "nearest",
    "step_of",
    "whole_numbers",
]

LARGEST = 127
_EXACT_DIM = (1 << 23) // (LARGEST * LARGEST * 3 // 2)  # up to which float32 holds every sum, and its half
_ROWS = 4096  # compared with all centroids at a time
_ROUNDS = 12
LEAST = 39  # vectors a centroid, at least: what FAISS asks for, too


def directions(vectors: Floats) -> tuple[Floats, Floats]:
    """Vectors of unit length, and the lengths there were; a vector of zeros stays what it is."""
    lengths = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1))
    divisor = np.where(lengths > 0, lengths, 1.0)
    return (vectors / divisor[:, None]).astype(np.float32), lengths.astype(np.float32)


def step_of(units: Floats) -> np.float32:
    """The step by which the largest number of these vectors is 127."""
    largest = np.float32(np.abs(units).max())
    return np.float32(largest / np.float32(LARGEST)) if largest > 0 else np.float32(1)


def lengths_over(lengths: Floats, decoded: Floats) -> Floats:
    """The scales that make decoded vectors as long as the vectors were; 0 where there is nothing to scale."""
    found = np.sqrt(np.square(decoded, dtype=np.float64).sum(axis=1)).astype(np.float32)
    result: Floats = np.divide(lengths, found, out=np.zeros_like(lengths), where=found > 0)
    return result


def whole_numbers(vectors: Floats, step: np.float32) -> Floats:
    """Vectors as multiples of a step, rounded, from -127 to 127."""
    result: Floats = np.clip(np.rint(vectors / step), -LARGEST, LARGEST).astype(np.float32)
    return result


def nearest(points: Floats, centroids: Floats) -> npt.NDArray[np.int64]:
    """For each point the nearest centroid, the first of equals; both whole numbers."""
    kind = np.dtype(np.float32 if points.shape[1] <= _EXACT_DIM else np.float64)
    columns: npt.NDArray[Any] = np.ascontiguousarray(centroids.T, kind)
    half = (np.square(centroids, dtype=np.float64).sum(axis=1) / 2).astype(kind)
    result = np.empty(len(points), np.int64)
    for first in range(0, len(points), _ROWS):
        part = slice(first, first + _ROWS)
        np.argmax(points[part].astype(kind, copy=False) @ columns - half, axis=1, out=result[part])
    return result


def kmeans(points: Floats, count: int, generator: np.random.Generator) -> Floats:
    """`count` centroids, rounded (Lloyd's algorithm). Fewer points than that, and some centroids are equal."""
    if len(points) <= count:
        return points[np.arange(count) % len(points)]
    from scipy.sparse import csr_array

    centroids = points[generator.choice(len(points), count, replace=False)]
    ones = np.ones(len(points))
    for _ in range(_ROUNDS):
        labels = nearest(points, centroids)
        members = csr_array((ones, labels, np.arange(len(points) + 1)), shape=(len(points), count))
        sizes = np.bincount(labels, minlength=count)
        sums = members.T @ points.astype(np.float64)
        moved = np.rint(sums / np.maximum(sizes, 1)[:, None]).astype(np.float32)
        empty = np.flatnonzero(sizes == 0)
        if len(empty):  # they go where points are worst served
            errors = np.square(points - centroids[labels], dtype=np.float64).sum(axis=1)
            moved[empty] = points[np.argsort(-errors, kind="stable")[: len(empty)]]
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids


def kmeans_by_token(
    points: Floats, tokens: npt.NDArray[np.integer], count: int, generator: np.random.Generator
) -> Floats:
    """`count` centroids, each of the vectors of one wordpiece, those of rare ones being taken together.

    A wordpiece's share of the centroids goes by the square root of how often it occurs times the spread of its vectors.
    """
    ids, where, sizes = np.unique(tokens, return_inverse=True, return_counts=True)
    group = np.where(sizes >= 2 * LEAST, np.arange(len(ids)) + 1, 0)[where]  # 0: the rare ones
    order = np.argsort(group, kind="stable")
    parts = [part for part in np.split(order, np.cumsum(np.bincount(group))[:-1]) if len(part)]
    spreads = [float(np.var(points[part].astype(np.float64), axis=0).sum()) for part in parts]
    weights = np.array([np.sqrt(len(part)) * spread for part, spread in zip(parts, spreads, strict=True)])
    most = np.array([max(1, len(part) // LEAST) for part in parts])
    if weights.sum() == 0 or len(parts) > count:
        return kmeans(points, count, generator)
    shares = np.clip((weights / weights.sum() * count).astype(np.int64), 1, most)
    # What rounding left goes to those that may have more, and what is too much is taken from the largest.
    for i in np.argsort(-weights, kind="stable"):
        shares[i] = min(most[i], shares[i] + max(0, count - shares.sum()))
    while shares.sum() > count:
        shares[np.argmax(shares)] -= 1
    made = [kmeans(points[part], int(share), generator) for part, share in zip(parts, shares, strict=True)]
    centroids = np.concatenate(made)
    return centroids[np.arange(count) % len(centroids)]
