"""Block-Max Pruning: blocks of neighbouring documents, visited by their upper bounds until no other can hold a better one.

It knows whole numbers only: weights of documents become 8-bit codes, those of a query 1 to 32 (it would bring larger ones
down to 32 itself, rounding up).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsr.eval.bench.peers.peer import Opened, Peer, Rows, Search, Settings
from lsr.sparse import SparseVectors

__all__ = ["Bmp"]

ALPHAS = (1.0, 0.98, 0.95, 0.9, 0.85, 0.8)
BETAS = (1.0, 0.9, 0.8)
_DOCUMENT_CODES, _QUERY_CODES = 255, 32
_INDEX = "index.bmp"


class Bmp(Peer):
    name = "bmp"
    package = "bmp"
    module = "bmp"
    measured = (
        "Searcher.search with a dict of terms, weights of documents in 8 bits and of queries from 1 to 32, with the best of "
        "the listed indexes, alpha and beta at each recall. Documents keep their order. Built by Indexer, its dicts included"
    )

    def builds(self, documents: int) -> Sequence[Settings]:
        return [
            {"bsize": 8, "compress_range": True},
            {"bsize": 16, "compress_range": False},
            {"bsize": 32, "compress_range": False},
        ]

    def searches(self, build: Settings, k: int) -> Sequence[Search]:
        return [Search(self.name, {"alpha": alpha, "beta": beta}) for alpha in ALPHAS for beta in BETAS]

    def convert(self, vectors: SparseVectors, folder: Path) -> Any:
        scale = _DOCUMENT_CODES / float(vectors.values.max(initial=np.finfo(np.float32).tiny))
        codes = np.maximum(1, np.rint(vectors.values * scale)).astype(np.uint8)
        return vectors.indptr, vectors.indices, codes, [str(term) for term in range(vectors.dim)]

    def build(self, source: Any, folder: Path, settings: Settings) -> None:
        import bmp

        indptr, indices, codes, names = source
        indexer = bmp.Indexer(str(folder / _INDEX), settings["bsize"], settings["compress_range"])
        for row, (start, end) in enumerate(zip(indptr[:-1].tolist(), indptr[1:].tolist(), strict=True)):
            terms = map(names.__getitem__, indices[start:end].tolist())
            indexer.add_document(str(row), dict(zip(terms, codes[start:end].tolist(), strict=True)))
        indexer.finish()

    def open(self, folder: Path, settings: Settings) -> Opened:
        import bmp

        return _Opened(bmp.Searcher(str(folder / _INDEX)))


class _Opened(Opened):
    def __init__(self, searcher: Any) -> None:
        self._searcher = searcher

    def prepare(self, queries: SparseVectors) -> list[Any]:
        prepared = []
        for terms, weights in queries:
            codes = np.maximum(1, np.rint(weights * (_QUERY_CODES / float(weights.max(initial=1e-30))))).astype(int)
            prepared.append(dict(zip(map(str, terms.tolist()), codes.tolist(), strict=True)))
        return prepared

    def searcher(self, search: Search, k: int) -> Callable[[Any], Any]:
        find, alpha, beta = self._searcher.search, search.settings["alpha"], search.settings["beta"]
        return lambda query: find(query, k, alpha, beta)

    def rows(self, answer: Any) -> Rows:
        return np.array([int(name) for name in answer[0]], np.int64)
