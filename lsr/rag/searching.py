"""The keys of passages, searched: by the sparse engine, by BM25, by a dense model.

A passage has one key or several (`Passage.searched`). Searches go over keys; a passage has the best score of its keys.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from lsr import disk
from lsr.bm25 import Bm25
from lsr.corpus import Document
from lsr.encoders.rows import heaviest
from lsr.errors import InvalidInput, LsrError, OutputExists
from lsr.index import Index
from lsr.limits import Limits
from lsr.rag.types import Passages, Query
from lsr.sparse import SparseVectors

if TYPE_CHECKING:
    from lsr.encoders import Encoder

__all__ = ["Bm25Keys", "DenseKeys", "KeySearch", "SparseKeys", "owners_of"]

Rows = npt.NDArray[np.int64]
_WIDER = 4  # times as many keys are asked for as passages are wanted, where passages have several, and again


class KeySearch(Protocol):
    """Searches the passages of one corpus."""

    def search(self, queries: Sequence[Query], k: int) -> list[dict[int, float]]:
        """For each query the scores of at most k passages by their numbers, best first."""
        ...


def owners_of(passages: Passages) -> Rows:
    """The passage that each key belongs to, int64 [keys]."""
    return np.repeat(np.arange(len(passages)), [len(passage.searched) for passage in passages])


def _best(rows: Rows, scores: npt.NDArray[Any], owners: Rows, k: int) -> dict[int, float]:
    """Keys by falling scores to passages."""
    found: dict[int, float] = {}
    for passage, score in zip(owners[rows].tolist(), scores.tolist(), strict=True):
        if passage not in found:
            found[passage] = float(score)
            if len(found) == k:
                break
    return found


def _passages(
    search: Callable[[list[int], int], Iterable[tuple[Rows, npt.NDArray[Any]]]],
    queries: int,
    k: int,
    passages: int,
    owners: Rows,
) -> list[dict[int, float]]:
    """The k best passages for each query. search: gives some queries, by their numbers, the best keys and their scores.

    Where passages have several keys, those of a few long ones may fill any list: then more of them are asked for, until
    there are enough passages or no other keys."""
    found: list[dict[int, float]] = [{}] * queries
    wanted = min(len(owners), k if len(owners) == passages else k * _WIDER)
    going = list(range(queries))
    while going:
        short = []
        for at, (rows, scores) in zip(going, search(going, wanted), strict=True):
            found[at] = _best(rows, scores, owners, k)
            if len(found[at]) < k and len(rows) == wanted < len(owners):
                short.append(at)
        going, wanted = short, min(len(owners), wanted * _WIDER)
    return found


class SparseKeys:
    """An index of the keys on disk, made when it is not there yet. Its ids are the numbers of keys."""

    def __init__(self, passages: Passages, folder: Path, encoder: Encoder) -> None:
        self._owners, self._count = owners_of(passages), len(passages)
        default = Limits.default()
        limits = replace(default, k=max(default.k, len(self._owners)))
        try:
            self.index = Index.open(folder, encoder, limits=limits, verify=True)
            if len(self.index) != len(self._owners):
                raise InvalidInput("other passages")
        except (LsrError, OSError):  # not there, damaged, or of an earlier version: it can be made again
            self.index = self._built(passages, folder, encoder, limits)
        with suppress(OSError):  # of another user
            os.utime(folder)  # the last time it was of use

    def _built(self, passages: Passages, folder: Path, encoder: Encoder, limits: Limits) -> Index:
        def build() -> Index:
            keys = (key for passage in passages for key in passage.searched)
            documents = (Document(str(at), key) for at, key in enumerate(keys))
            return Index.build(documents, folder, encoder=encoder, keep_text=False, overwrite=True, limits=limits)

        try:
            return build()
        except OutputExists:  # so damaged that it looks like no index
            disk.remove_tree(folder)
            return build()

    def encode(self, texts: Sequence[str]) -> SparseVectors:
        """Queries with the term weights that the index has adapted to its documents."""
        side = self.index.query_encoder
        assert side is not None
        return side.encode_batch(texts)

    def search(
        self, queries: Sequence[Query], k: int, recall: float = 1.0, terms: int | None = None
    ) -> list[dict[int, float]]:
        """terms: how many terms of a query are searched, the heaviest; recall: see `Index.search`."""
        plain = self.encode([query.text for query in queries])
        dim = self.index.dim
        rows: list[tuple[npt.NDArray[Any], npt.NDArray[np.float32]]] = []
        for at, query in enumerate(queries):
            if query.terms is None or query.weights is None:
                part = slice(int(plain.indptr[at]), int(plain.indptr[at + 1]))
                rows.append((plain.indices[part], plain.values[part]))
            else:
                rows.append((query.terms, query.weights))
        vectors = SparseVectors(
            indptr=np.cumsum([0, *(len(found) for found, _ in rows)]),
            indices=np.concatenate([np.zeros(0, np.int64), *(found for found, _ in rows)]),
            values=np.concatenate([np.zeros(0, np.float32), *(weights for _, weights in rows)]),
            dim=dim,
        )
        if terms is not None:
            vectors = heaviest(vectors, terms)

        def found(going: list[int], wanted: int) -> list[tuple[Rows, npt.NDArray[Any]]]:
            some = vectors if len(going) == len(queries) else SparseVectors.concat([vectors[q : q + 1] for q in going])
            # The index has the order of the keys: its rows are their numbers.
            return [(hits.rows, hits.scores) for hits in self.index.search(some, wanted, recall=recall)]

        return _passages(found, len(queries), k, self._count, self._owners)

    def vectors(self, keys: Rows) -> SparseVectors:
        """The stored vectors of keys."""
        return self.index.snapshot.vectors(keys)

    def keys_of(self, passage: int) -> Rows:
        first, last = np.searchsorted(self._owners, [passage, passage + 1])
        return np.arange(first, last)

    @property
    def query_weights(self) -> npt.NDArray[np.float32] | None:
        """The weight of each term in queries [dim]; None where a network makes them."""
        return getattr(self.index.query_encoder, "weights", None)


class Bm25Keys:
    """BM25 over the keys, in memory."""

    def __init__(self, passages: Passages, k1: float, b: float) -> None:
        self._owners, self._count = owners_of(passages), len(passages)
        self._engine = Bm25(k1, b, extra="rag")
        self._engine.index(key for passage in passages for key in passage.searched)

    def search(self, queries: Sequence[Query], k: int) -> list[dict[int, float]]:
        tokens = [self._engine.tokenise(query.text) for query in queries]
        return _passages(
            lambda going, wanted: [self._engine.retrieve(tokens[at], wanted) for at in going],
            len(queries),
            k,
            self._count,
            self._owners,
        )


class DenseKeys:
    """Products of dense vectors, all of them: exact, for corpora that fit in memory."""

    def __init__(self, passages: Passages, encode: Any) -> None:
        self._owners, self._encode = owners_of(passages), encode
        self._vectors = encode("document", [key for passage in passages for key in passage.searched])

    def search(self, queries: Sequence[Query], k: int) -> list[dict[int, float]]:
        scores = self._encode("query", [query.text for query in queries]) @ self._vectors.T
        orders = (np.lexsort((np.arange(len(row)), -row)) for row in scores)
        return [_best(order, row[order], self._owners, k) for row, order in zip(scores, orders, strict=True)]
