"""Phrases that mean the same, by the sparse encoder: found through an index of phrases, so that their number does not
square the work.

Phrases are short, as queries are, and are encoded as these: without inference where the encoder allows that. Vectors of
documents were twenty times as slow and found no more (docs/graph.md).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsr.encoders import Encoder
from lsr.index import Index
from lsr.rag.graph.arrays import Pairs

__all__ = ["SynonymSearch"]

# Three letters or digits at least: shorter phrases are like everything.
_LONG = re.compile(r"(?:[\W_]*[^\W_]){3}")


class SynonymSearch:
    """threshold: the least cosine of two phrases' vectors (HippoRAG 2 takes .8); most: how many a phrase has at most, the
    likest."""

    def __init__(self, encoder: Encoder, threshold: float = 0.8, most: int = 10) -> None:
        self._encoder, self._threshold, self._most = encoder, threshold, most

    def identity(self) -> Mapping[str, Any]:
        """All that what it finds depends on, and by which it is made again, as JSON can say it."""
        made = {"name": self._encoder.name, "source": self._encoder.source, "hash": self._encoder.hash}
        return {"encoder": made, "encoded": "as queries", "threshold": self._threshold, "most": self._most}

    def pairs(self, phrases: Sequence[str]) -> Pairs:
        long = np.array([i for i, phrase in enumerate(phrases) if _LONG.match(phrase)], np.int64)
        nothing = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
        if len(long) < 2:
            return nothing
        vectors = self._encoder.encode_query([phrases[i] for i in long.tolist()]).to_scipy()
        lengths = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel())
        there = np.flatnonzero(lengths > 0)
        if len(there) < 2:  # of a script that the vocabulary lacks
            return nothing
        unit = vectors[there].multiply(1 / lengths[there][:, None]).tocsr()
        from lsr.sparse import SparseVectors

        batch = SparseVectors.from_scipy(unit)
        with tempfile.TemporaryDirectory() as folder:
            index = Index.build(batch, Path(folder) / "phrases.idx", engine="exact")
            hits = index.search(batch, k=min(self._most + 1, len(there)), recall=1)
        rows: list[tuple[int, int]] = []
        for row, found in enumerate(hits):
            # Stored weights have 8 bits: what comes near is looked at exactly.
            near = found.rows[found.scores >= self._threshold - 0.03]
            rows += [(min(row, other), max(row, other)) for other in near.tolist() if other != row]
        ends = np.array(sorted(set(rows)), np.int64).reshape(-1, 2)
        likeness = np.asarray(unit[ends[:, 0]].multiply(unit[ends[:, 1]]).sum(axis=1)).ravel().astype(np.float32)
        kept = likeness >= self._threshold
        a, b = long[there[ends[kept, 0]]], long[there[ends[kept, 1]]]
        return a, b, np.minimum(likeness[kept], 1)
