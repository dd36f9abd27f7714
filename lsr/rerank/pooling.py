"""Pooling of token vectors: fewer vectors of a text, each the mean of some that are alike."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["pool_tokens"]

Floats = npt.NDArray[np.float32]


def pool_tokens(vectors: Floats, factor: int) -> Floats:
    """The vectors of one text, float32 [n, dim], as 1 + (n - 1) // factor; see `TokenVectors.pooled`."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    rest = vectors[1:]
    clusters = max(1, len(rest) // factor)
    if len(rest) <= clusters:
        return vectors
    distances = np.clip(1 - rest @ rest.T, 0, 2)
    tree = linkage(squareform(distances, checks=False), method="ward")
    _, labels = np.unique(fcluster(tree, t=clusters, criterion="maxclust"), return_inverse=True)
    sums = np.zeros((int(labels.max()) + 1, vectors.shape[1]), np.float64)
    np.add.at(sums, labels, rest)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    means = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)
    return np.concatenate([vectors[:1], means.astype(np.float32)])
