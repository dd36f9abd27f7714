"""The exact engine: the k documents with the highest scores, no approximation. The truth that others are compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.index.engine import TopK, search_in_parts
from lsr.index.kernels import compile_once
from lsr.index.storage.segment import WINDOW, Segment
from lsr.sparse import SparseVectors

__all__ = ["ExactEngine"]


class ExactEngine:
    """Exact top-k over a segment. Safe from several threads: each search borrows working memory of its own."""

    def __init__(self, segment: Segment) -> None:
        self._documents = segment.documents
        self._arrays = (
            np.float32(segment.entry.scale),
            segment.postings_terms,
            segment.postings_offsets,
            segment.postings_docs,
            segment.postings_codes,
            segment.dense_terms,
            segment.dense_codes,
            segment.documents,
            segment.rows_of,
        )
        self._idle: list[npt.NDArray[np.float32]] = []  # score buffers, all zero; append and pop are atomic
        self._search: Callable[..., None] | None = None

    def search(self, queries: SparseVectors, k: int, threads: int = 1) -> TopK:
        """Top-k of each query, one query a thread at a time; the result does not depend on the number of threads."""
        kernel = self._search or self._load()

        def run(query: tuple[Any, ...], out: tuple[Any, ...]) -> None:
            try:
                buffer = self._idle.pop()
            except IndexError:
                buffer = np.zeros(WINDOW, np.float32)
            kernel(*query, *self._arrays, buffer, *out)
            self._idle.append(buffer)  # not after a failure: it may not be clean

        return search_in_parts(queries, min(k, self._documents), threads, run)

    def _load(self) -> Callable[..., None]:
        """The kernel, compiled for the arrays of this segment."""
        from lsr.index.kernels.exact import search

        query = (np.zeros(1, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.float32), 0)
        out = (np.zeros(WINDOW, np.float32), np.zeros((0, 1), np.float32), np.zeros((0, 1), np.int64), query[0])
        compile_once(f"exact-{self._arrays[4].dtype}", lambda: search(*query, *self._arrays, *out))
        self._search = search
        return search  # type: ignore[no-any-return]
