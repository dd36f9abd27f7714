"""Engines that are easy to reason about, in the form that the benchmark measures. Its workers import them by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsr.eval.bench.peers.peer import Opened, Peer, Rows, Search, Settings
from lsr.sparse import SparseVectors

__all__ = ["Ends", "Fails", "Partial"]


class Partial(Peer):
    """Brute force over a share of the documents, the first ones: what it finds is known, and rises with the share."""

    name = "partial"
    package = "numpy"  # whose version stands for its own
    module = "numpy"
    measured = "Brute force over the first documents"

    def builds(self, documents: int) -> Sequence[Settings]:
        return [{"share": 0.5}, {"share": 1.0}]

    def searches(self, build: Settings, k: int) -> Sequence[Search]:
        return [Search(self.name, {"of_these": share}) for share in (0.2, 0.6, 1.0)]

    def build(self, source: SparseVectors, folder: Path, settings: Settings) -> None:
        source[: max(1, int(len(source) * float(settings["share"] or 0)))].save(folder / "documents.npz")

    def open(self, folder: Path, settings: Settings) -> Opened:
        return _Opened(SparseVectors.load(folder / "documents.npz"))


class _Opened(Opened):
    def __init__(self, documents: SparseVectors) -> None:
        self._documents = documents.to_scipy()

    def prepare(self, queries: SparseVectors) -> list[Any]:
        return list(queries.to_scipy().toarray().astype(np.float64))

    def searcher(self, search: Search, k: int) -> Callable[[Any], Any]:
        documents = self._documents[: max(1, int(self._documents.shape[0] * float(search.settings["of_these"] or 0)))]
        return lambda query: np.argsort(-(documents @ query), kind="stable")[:k]

    def rows(self, answer: Any) -> Rows:
        return np.asarray(answer)


class Fails(Partial):
    """Cannot be built."""

    name = "fails"

    def build(self, source: SparseVectors, folder: Path, settings: Settings) -> None:
        raise RuntimeError("no index\nof this kind")


class Ends(Partial):
    """Ends its process when it is asked for more than 1 document."""

    name = "ends"

    def builds(self, documents: int) -> Sequence[Settings]:
        return [{"share": 1.0}]

    def open(self, folder: Path, settings: Settings) -> Opened:
        return _Ending(SparseVectors.load(folder / "documents.npz"))


class _Ending(_Opened):
    def searcher(self, search: Search, k: int) -> Callable[[Any], Any]:
        if k > 1:
            os.write(2, b"something\rthread 'main' panicked\n")
            os._exit(7)
        return super().searcher(search, k)
