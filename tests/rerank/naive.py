"""MaxSim as its formula says, and collections of token vectors to try it on."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]


def collection(documents: int, dim: int, seed: int, *, longest: int = 30) -> tuple[Floats, Offsets]:
    """Token vectors around some centres, of lengths that differ; the first document has no token."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(0, longest + 1, documents)
    lengths[0] = 0
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    centres = generator.standard_normal((50, dim))
    vectors = centres[generator.integers(0, 50, offsets[-1])] + 0.5 * generator.standard_normal((offsets[-1], dim))
    vectors *= generator.uniform(0.3, 2.0, (len(vectors), 1)) / np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), offsets


def as_bytes(query: Floats) -> npt.NDArray[np.float64]:
    """A query as codecs of integers multiply it: 127 steps up to the largest number of each vector."""
    largest = np.abs(query).max(axis=1, keepdims=True)
    factor = np.divide(np.float32(127), largest, out=np.zeros_like(largest), where=largest > 0)
    result: npt.NDArray[np.float64] = np.rint(query * factor).astype(np.float64) * (largest / np.float32(127))
    return result


def maxsim(query: npt.NDArray[np.floating], vectors: Floats, offsets: Offsets) -> npt.NDArray[np.float64]:
    """Of each document; 0 where it has no token, or the query has none."""
    scores = np.zeros(len(offsets) - 1)
    for i, (first, last) in enumerate(pairwise(offsets.tolist())):
        if last > first and len(query):
            products = np.einsum("qd,td->qt", query, vectors[first:last], dtype=np.float64)
            scores[i] = products.max(axis=1).sum()
    return scores
