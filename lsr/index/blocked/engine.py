"""The blocked engine: approximate top-k over a segment that has blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.index.blocked.parameters import SearchSettings
from lsr.index.engines import TopK, in_pieces, query_arrays
from lsr.index.kernels import compile_once, compiled_form
from lsr.index.storage.blocks import CELL, STRIP
from lsr.index.storage.segment import Segment
from lsr.sparse import SparseVectors

__all__ = ["BlockedEngine", "Work"]

COLUMNS = 1 << 14  # that sums are folded into, at least
# Nanoseconds a query, a code of a summary, an entry, a document and a term of the query in it: fitted to 64 settings on
# 391,934 and 3,135,472 documents (2026-11-26, AMD EPYC family 25 model 1, shared), with a mean error of 11 %.
_NS_QUERY, _NS_SUMMARY, _NS_ENTRY, _NS_DOCUMENT, _NS_TERM = 11_000.0, 2.1, 16.0, 300.0, 3.2
_NONE = np.zeros(0, np.uint8)
_NONE.flags.writeable = False  # as masks are: Numba tells them apart


class Work(NamedTuple):
    """What was read for a batch, summed over its queries."""

    blocks: int
    entries: int
    documents: int
    summaries: int  # codes of summaries, 16 of a row counting as one


class BlockedEngine:
    """Approximate top-k. Safe from several threads: each search borrows working memory of its own."""

    def __init__(self, segment: Segment) -> None:
        blocks = segment.blocks
        assert blocks is not None
        self._documents = segment.documents
        self._padded = blocks.padded
        self._block_size = blocks.block_size
        self._blocks, self._segment = blocks, segment
        self._last = (_NONE, _NONE)  # the last mask, and the blocks that have a document it allows
        self._idle: list[tuple[int, Any]] = []  # columns, memory; append and pop are atomic
        self._kernel: _Kernel | None = None

    def search(
        self,
        queries: SparseVectors,
        k: int,
        settings: SearchSettings,
        threads: int = 1,
        allowed: npt.NDArray[np.uint8] | None = None,
        work: npt.NDArray[np.int64] | None = None,
    ) -> TopK:
        """Top-k of each query, one query a thread at a time; the result does not depend on the number of threads.

        Fewer than k hits come back where the blocks that were read hold fewer documents with a term of the query.
        allowed: 1 for documents that may be hits, 0 for the others, uint8 [documents], read-only, as they are stored; None
          where all may. Blocks without such documents are not read.
        work: int64 [4], to which is added what was read: the fields of `Work`.
        """
        n = len(queries)
        k = min(k, self._documents)
        scores, rows, counts = np.empty((n, k), np.float32), np.empty((n, k), np.int64), np.zeros(n, np.int64)
        if n == 0 or k == 0:
            return scores, rows, counts
        indptr, terms, weights = query_arrays(queries)
        masks = (_NONE, _NONE) if allowed is None else (allowed, self._allowed_blocks(allowed))
        how = (float(settings.query_cut), int(settings.n_blocks), max(int(settings.candidates), k))
        if n == 1:  # a single query waits for every line of Python
            self._run((indptr, terms, weights, 1), how, masks, (scores, rows, counts), work)
            return scores, rows, counts

        def run(first: int, last: int) -> None:
            part = slice(first, last)
            asked = (indptr[first : last + 1], terms, weights, last - first)
            self._run(asked, how, masks, (scores[part], rows[part], counts[part]), work)

        in_pieces(n, threads, run)
        return scores, rows, counts

    def _run(
        self,
        asked: tuple[Any, ...],
        how: tuple[float, int, int],
        masks: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]],
        out: TopK,
        work: npt.NDArray[np.int64] | None,
    ) -> None:
        kernel = self._kernel or self._load()
        columns = COLUMNS
        while columns < 2 * min(how[2], self._documents):  # as many columns as candidates would tell nothing apart
            columns *= 2
        try:
            size, memory = self._idle.pop()
        except IndexError:
            size = 0
        if size < columns:
            size, memory = columns, kernel.allocate(self._padded, self._block_size, columns)
        mine = np.zeros(4, np.int64)
        kernel.search(*asked, *how, kernel.segment, memory, *masks, *out, mine)
        self._idle.append((size, memory))  # not after a failure: it may not be clean
        if work is not None:
            work += mine

    def _allowed_blocks(self, allowed: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        mask, blocks = self._last
        if mask is not allowed:
            blocks = np.zeros(self._padded, np.uint8)
            found = np.maximum.reduceat(allowed, np.arange(0, self._documents, self._block_size))
            blocks[: len(found)] = found
            blocks.flags.writeable = False
            self._last = allowed, blocks
        return blocks

    @staticmethod
    def nanoseconds(queries: SparseVectors, work: Work) -> float:
        """What a batch takes, about. To be compared with `ExactEngine.nanoseconds`."""
        document = _NS_DOCUMENT + _NS_TERM * queries.nnz / max(1, len(queries))
        found = _NS_SUMMARY * work.summaries + _NS_ENTRY * work.entries + document * work.documents
        return BlockedEngine.least_nanoseconds(queries) + found

    @staticmethod
    def least_nanoseconds(queries: SparseVectors) -> float:
        """What a batch takes at least, about."""
        return _NS_QUERY * len(queries)

    def _load(self) -> _Kernel:
        """The kernel, compiled for the arrays of this segment."""
        from lsr.index.kernels.blocked import allocate, bind, search

        segment, blocks = self._segment, self._blocks
        several = blocks.block_size > STRIP
        arrays = (
            np.float32(segment.entry.scale),
            blocks.block_size,
            segment.documents,
            blocks.lists,
            blocks.rows,
            (blocks.strip_offsets, blocks.strip_masks, several, np.uint64(max(0, len(blocks.cells) // CELL - 1))),
            blocks.cells,
            (segment.forward_indptr, segment.forward_terms, segment.forward_codes),
            segment.rows_of,
        )
        query = (np.zeros(1, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.float32), 0)
        out = (np.zeros((0, 1), np.float32), np.zeros((0, 1), np.int64), np.zeros(1, np.int64), np.zeros(4, np.int64))

        def nothing() -> tuple[Any, ...]:
            return (*query, 1.0, 1, 1, bind(*arrays), allocate(64, STRIP, 64), _NONE, _NONE, *out)

        name = "-".join(str(array.dtype) for array in (blocks.lists[2], *arrays[7]))
        compile_once(f"blocked-{name}", lambda: search(*nothing()))
        self._kernel = _Kernel(compiled_form(search, nothing()), allocate, bind(*arrays))
        return self._kernel


class _Kernel(NamedTuple):
    """What `kernels.blocked` has, compiled, and the segment as it takes it."""

    search: Callable[..., None]
    allocate: Callable[[int, int, int], Any]
    segment: Any
