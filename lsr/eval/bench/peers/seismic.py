"""Seismic, by its fastest way in: `SeismicIndexRaw`, whose searches take arrays of term ids instead of strings.

Its 8-bit form (DotVByte) is not measured: only the classes that look terms up by their strings offer it. `num_threads` has no
effect on a build; `RAYON_NUM_THREADS`, which the worker sets, has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsr.eval.bench.peers.peer import Opened, Peer, Rows, Search, Settings
from lsr.sparse import SparseVectors

__all__ = ["Seismic", "write_documents"]

QUERY_CUTS = (2, 3, 4, 5, 6, 8, 10, 12, 16)
HEAP_FACTORS = (0.6, 0.7, 0.8, 0.9, 1.0)
_TUNED_AT = 391_934  # documents, for which the numbers of postings below were found
_INDEX = "index.seismic"


class Seismic(Peer):
    name = "seismic"
    package = "pyseismic-lsr"
    module = "seismic"
    measured = (
        "SeismicIndexRaw.search, weights in 16-bit floats, with the best of the listed indexes, query_cut and heap_factor at "
        "each recall. Built from its own binary file, which is written before"
    )

    def builds(self, documents: int) -> Sequence[Settings]:
        # Longer collections want longer lists, but not in proportion: Seismic's authors take 3,000 to 6,000 for 8.8 million.
        grown = math.sqrt(documents / _TUNED_AT)
        small: Settings = {"n_postings": round(800 * grown) or 1, "centroid_fraction": 0.1, "summary_energy": 0.4}
        large: Settings = {"n_postings": round(1200 * grown) or 1, "centroid_fraction": 0.2, "summary_energy": 0.5}
        return [{**settings, "max_fraction": 6.0} for settings in (small, large)]

    def searches(self, build: Settings, k: int) -> Sequence[Search]:
        return [
            Search(self.name, {"query_cut": cut, "heap_factor": factor})
            for cut in QUERY_CUTS
            for factor in HEAP_FACTORS
        ]

    def convert(self, vectors: SparseVectors, folder: Path) -> Any:
        path = folder / "documents.bin"
        write_documents(vectors, path)
        return path, vectors.dim

    def build(self, source: Any, folder: Path, settings: Settings) -> None:
        path, dim = source
        index = _class(dim).build(str(path), **settings)
        index.save(str(folder / _INDEX))
        (folder / "dim").write_text(str(dim))

    def open(self, folder: Path, settings: Settings) -> Opened:
        return _Opened(_class(int((folder / "dim").read_text())).load(str(folder / _INDEX)))


class _Opened(Opened):
    def __init__(self, index: Any) -> None:
        self._index = index

    def prepare(self, queries: SparseVectors) -> list[Any]:
        return [(terms.astype(np.int32), weights.copy()) for terms, weights in queries]

    def searcher(self, search: Search, k: int) -> Callable[[Any], Any]:
        find = self._index.search
        cut, factor = search.settings["query_cut"], search.settings["heap_factor"]
        # No neighbours of neighbours; blocks of the first list from the most promising on, which is the faster order.
        return lambda query: find(query[0], query[1], k, cut, factor, 0, True)

    def rows(self, answer: Any) -> Rows:
        return np.array([row for _, row in answer], np.int64)


def _class(dim: int) -> Any:
    import seismic

    return seismic.SeismicIndexRaw if dim <= 1 << 16 else seismic.SeismicIndexRawLV


def write_documents(vectors: SparseVectors, path: Path) -> None:
    """Seismic's own form: the number of vectors, then of each its length, its terms and its weights, 4 bytes a number."""
    lengths = np.diff(vectors.indptr)
    starts = np.concatenate([[0], np.cumsum(1 + 2 * lengths)])
    words = np.empty(starts[-1], np.uint32)
    words[starts[:-1]] = lengths
    at = np.arange(vectors.nnz) + np.repeat(starts[:-1] + 1 - vectors.indptr[:-1], lengths)
    words[at] = vectors.indices
    words[at + np.repeat(lengths, lengths)] = vectors.values.view(np.uint32)
    with path.open("wb") as file:
        file.write(np.uint32(len(vectors)).tobytes())
        file.write(words.data)
