"""SINDI of VSAG: windows of documents, term at a time, with pruned postings whose candidates may be scored again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsr.eval.bench.peers.peer import Opened, Peer, Rows, Search, Settings
from lsr.sparse import SparseVectors

__all__ = ["Sindi"]

QUERY_PRUNED = (0.0, 0.2, 0.4)
TERM_PRUNED = (0.0, 0.2, 0.4, 0.6)
CANDIDATES = (1, 2, 5, 10)  # times k, where they are scored again
_INDEX, _PARAMETERS = "index.sindi", "parameters.json"


class Sindi(Peer):
    name = "sindi"
    package = "pyvsag"
    module = "pyvsag"
    measured = (
        'pyvsag’s index "sindi" through knn_search, with the best of the listed indexes and shares of pruning at each '
        "recall. Built from arrays"
    )

    def builds(self, documents: int) -> Sequence[Settings]:
        return [
            {"doc_prune_ratio": 0.0, "use_reorder": False, "use_quantization": False},
            {"doc_prune_ratio": 0.0, "use_reorder": False, "use_quantization": True},
            # Pruned postings lose recall that only scoring the candidates again, from all of their weights, brings back.
            {"doc_prune_ratio": 0.2, "use_reorder": True, "use_quantization": True},
            {"doc_prune_ratio": 0.4, "use_reorder": True, "use_quantization": True},
        ]

    def searches(self, build: Settings, k: int) -> Sequence[Search]:
        return [
            Search(self.name, {"query_prune_ratio": query, "term_prune_ratio": term, "n_candidate": times * k})
            for query in QUERY_PRUNED
            for term in TERM_PRUNED
            for times in (CANDIDATES if build["use_reorder"] else (1,))
        ]

    def convert(self, vectors: SparseVectors, folder: Path) -> Any:
        return {
            "index_pointers": vectors.indptr.astype(np.uint32),
            "indices": vectors.indices.astype(np.uint32),
            "values": vectors.values,
            "ids": np.arange(len(vectors), dtype=np.int64),
        }, vectors.dim

    def build(self, source: Any, folder: Path, settings: Settings) -> None:
        arrays, dim = source
        longest = int(np.diff(arrays["index_pointers"]).max(initial=1))
        mean = max(1, round(len(arrays["indices"]) / max(1, len(arrays["ids"]))))
        parameters = {
            "dtype": "sparse",
            "metric_type": "ip",
            "dim": longest,  # of VSAG's sparse vectors: the most terms that one has
            "index_param": {"term_id_limit": dim, "avg_doc_term_length": mean, **settings},
        }
        index = _index(parameters)
        index.build(**arrays)
        index.save(str(folder / _INDEX))
        (folder / _PARAMETERS).write_text(json.dumps(parameters))

    def open(self, folder: Path, settings: Settings) -> Opened:
        index = _index(json.loads((folder / _PARAMETERS).read_text()))
        index.load(str(folder / _INDEX))
        return _Opened(index)


class _Opened(Opened):
    def __init__(self, index: Any) -> None:
        self._index = index

    def prepare(self, queries: SparseVectors) -> list[Any]:
        return [
            (np.array([0, len(terms)], np.uint32), terms.astype(np.uint32), weights.copy())
            for terms, weights in queries
        ]

    def searcher(self, search: Search, k: int) -> Callable[[Any], Any]:
        find, parameters = self._index.knn_search, json.dumps({"sindi": dict(search.settings)})
        return lambda query: find(query[0], query[1], query[2], k, parameters)

    def rows(self, answer: Any) -> Rows:
        found: Rows = np.asarray(answer[0]).ravel()
        return found[found >= 0]


def _index(parameters: dict[str, Any]) -> Any:
    import pyvsag

    pyvsag.set_logger_off()
    return pyvsag.Index("sindi", json.dumps(parameters))
