"""Writing the arrays of the blocked engine, from the postings of a segment, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.index.blocked.parameters import BlockOptions
from lsr.index.kernels import compile_once
from lsr.index.storage.arrays import AppendFile, write_array
from lsr.index.storage.blocks import CELL, STRIP, block_type, padded_blocks
from lsr.index.storage.manifest import FileEntry
from lsr.processors import available_cores

__all__ = ["Postings", "write_blocks"]

ROWS_FROM = 16  # terms with entries in more than one block in 16 are kept as rows: from there a row is read faster
KEEP = 8  # postings of a document that are kept however light they are
_CELLS_IN_MEMORY = 1 << 22  # of a piece of work: 64 MiB
_POSTINGS_A_PIECE = 1 << 22

Array = npt.NDArray[Any]
Progress = Callable[[str, int, int | None], None]


class Postings(NamedTuple):
    """The exact engine's arrays, as `storage.segment` has them, documents in the order in which blocks are cut."""

    documents: int
    window: int
    terms: Array
    offsets: Array
    docs: Array
    codes: Array
    dense_terms: Array
    dense_codes: Array

    @property
    def arrays(self) -> tuple[Any, ...]:
        return (self.documents, self.window, self.offsets, self.docs, self.codes, self.dense_codes)


def write_blocks(
    postings: Postings,
    indptr: npt.NDArray[np.int64],
    codes: Array,
    options: BlockOptions,
    folder: Path,
    segment: str,
    progress: Progress,
    threads: int | None = None,
) -> list[FileEntry]:
    """Writes `blocks_*` of a segment. indptr, codes: its forward index. The result does not depend on the threads."""
    writer = _Writer(postings, indptr, codes, options, folder, segment, progress, threads or available_cores())
    return writer.write()


class _Counts(NamedTuple):
    """Of each term: entries and strips."""

    entries: npt.NDArray[np.int64]
    strips: npt.NDArray[np.int64]


class _Writer:
    def __init__(
        self,
        postings: Postings,
        indptr: npt.NDArray[np.int64],
        codes: Array,
        options: BlockOptions,
        folder: Path,
        segment: str,
        progress: Progress,
        threads: int,
    ) -> None:
        self._postings, self._folder, self._segment, self._progress = postings, folder, segment, progress
        self._block_size = options.block_size
        self._padded = padded_blocks(postings.documents, options.block_size)
        self._several = options.block_size > STRIP
        self._threads = threads
        # Lists, then dense rows; both by term.
        windows = max(1, -(-postings.documents // postings.window))
        self._sources = np.concatenate(
            [np.arange(len(postings.terms)), -1 - np.arange(len(postings.dense_terms))]
        ).astype(np.int64)
        self._terms = np.concatenate([postings.terms, postings.dense_terms]).astype(np.uint32)
        lengths = np.diff(postings.offsets[::windows])
        self._lengths = np.concatenate([lengths, np.full(len(postings.dense_terms), postings.documents)])
        self._least = least_code(codes, options.postings_energy)
        self._floor = self._floors(indptr, codes)
        self._narrow = _narrow(codes)

    def write(self) -> list[FileEntry]:
        counts = self._count()
        as_rows = counts.entries * ROWS_FROM > self._padded
        order = np.argsort(self._terms, kind="stable")
        lists, rows = order[(~as_rows & (counts.entries > 0))[order]], order[as_rows[order]]
        total = int(counts.entries.sum())
        names = (
            "cells",
            "strip_offsets",
            "strip_masks",
            "lists_blocks",
            "lists_codes",
            "rows_codes",
            "rows_largest",
            "rows_before",
        )
        files = {name: AppendFile(self._folder, f"{self._segment}/blocks_{name}") for name in names}
        try:
            strip = self._fill(lists, counts, 0, files, total)
            strip = self._fill(rows, counts, strip, files, total, as_rows=True)
        except BaseException:
            for file in files.values():
                file.close()
            raise
        self._progress("writing blocks", total, total)
        in_lists, in_rows = int(counts.entries[lists].sum()), len(rows) * self._padded
        several = total if self._several else 0
        return [
            files["cells"].finish("|u1", (strip * CELL,)),
            files["strip_offsets"].finish("<u4", (several,)),
            files["strip_masks"].finish("|u1", (several,)),
            files["lists_blocks"].finish(self._block_type.str, (in_lists,)),
            files["lists_codes"].finish("|u1", (in_lists,)),
            files["rows_codes"].finish("|u1", (in_rows // 2,)),
            files["rows_largest"].finish("|u1", (len(rows),)),
            files["rows_before"].finish("<u4", (in_rows // 64,)),
            self._write("lists_terms", self._terms[lists]),
            self._write("lists_offsets", _offsets(counts.entries[lists])),
            self._write("rows_terms", self._terms[rows]),
            self._write("rows_offsets", in_lists + _offsets(counts.entries[rows])),
        ]

    def _write(self, name: str, array: Array) -> FileEntry:
        return write_array(self._folder, f"{self._segment}/blocks_{name}", array)

    @property
    def _block_type(self) -> np.dtype[Any]:
        return np.dtype(block_type(self._padded)).newbyteorder("<")

    def _floors(self, indptr: npt.NDArray[np.int64], codes: Array) -> Array:
        from lsr.index.kernels.block_writing import floors

        floor = np.zeros(self._postings.documents, codes.dtype)
        compile_once(f"floors-{codes.dtype}", lambda: floors(indptr[:1], codes, 1, KEEP, floor))
        floors(indptr, codes, self._least, KEEP, floor)
        return floor

    def _count(self) -> _Counts:
        from lsr.index.kernels.block_writing import count_cells

        counts = _Counts(np.zeros(len(self._terms), np.int64), np.zeros(len(self._terms), np.int64))
        arguments = (self._postings.arrays, self._floor, self._narrow, self._block_size)
        nothing = np.zeros(0, np.int64)
        compile_once(f"count-cells-{self._floor.dtype}", lambda: count_cells(nothing, *arguments, nothing, nothing))

        def count(part: slice) -> slice:
            count_cells(self._sources[part], *arguments, counts.entries[part], counts.strips[part])
            return part

        parts = [partial(count, part) for part in _pieces(self._lengths, _POSTINGS_A_PIECE)]
        for part in self._in_order(parts):
            self._progress("pruning lists", part.stop, len(self._terms))
        return counts

    def _fill(
        self,
        chosen: npt.NDArray[np.int64],
        counts: _Counts,
        strip: int,
        files: dict[str, AppendFile],
        total: int,
        as_rows: bool = False,
    ) -> int:
        """Appends the entries of the terms `chosen`. Returns the number of strips so far."""
        starts = strip + _offsets(counts.strips[chosen])
        written = 0 if not as_rows else total - int(counts.entries[chosen].sum())
        size = counts.strips[chosen] + (self._padded // CELL if as_rows else 0)  # what a term takes, in cells
        parts = [
            partial(self._piece, chosen[part], counts, int(starts[part.start]), as_rows)
            for part in _pieces(size, _CELLS_IN_MEMORY)
        ]
        for arrays, entries in self._in_order(parts):
            for name, array in arrays.items():
                files[name].append(array)
            written += entries
            self._progress("writing blocks", written, total)
        return int(starts[-1])

    def _piece(
        self, chosen: npt.NDArray[np.int64], counts: _Counts, first_strip: int, as_rows: bool
    ) -> tuple[dict[str, Array], int]:
        from lsr.index.kernels.block_writing import fill

        entries, strips = int(counts.entries[chosen].sum()), int(counts.strips[chosen].sum())
        padded = self._padded if as_rows else 0
        several = entries if self._several else 0
        arrays: dict[str, Array] = {
            "cells": np.zeros(strips * CELL, np.uint8),
            "strip_offsets": np.zeros(several, np.uint32),
            "strip_masks": np.zeros(several, np.uint8),
            "lists_blocks": np.zeros(0 if as_rows else entries, self._block_type),
            "lists_codes": np.zeros(0 if as_rows else entries, np.uint8),
            "rows_codes": np.zeros(len(chosen) * padded // 2, np.uint8),
            "rows_largest": np.zeros(len(chosen) if as_rows else 0, np.uint8),
            "rows_before": np.zeros(len(chosen) * padded // 64, np.uint32),
        }

        def call(sources: npt.NDArray[np.int64]) -> None:
            fill(
                sources,
                self._postings.arrays,
                self._floor,
                self._narrow,
                self._block_size,
                arrays["lists_blocks"],
                arrays["rows_codes" if as_rows else "lists_codes"],
                arrays["rows_largest"],
                padded,
                arrays["rows_before"],
                first_strip,
                arrays["strip_offsets"],
                arrays["strip_masks"],
                arrays["cells"],
            )

        compile_once(f"fill-blocks-{self._floor.dtype}-{self._block_type}", lambda: call(self._sources[:0]))
        call(self._sources[chosen])
        return arrays, entries

    def _in_order(self, work: Sequence[Callable[[], Any]]) -> Iterator[Any]:
        """The results of the work, in order, done by several threads that are at most one piece each ahead."""
        with ThreadPoolExecutor(self._threads) as pool:
            waiting: deque[Future[Any]] = deque()
            try:
                for job in work:
                    if len(waiting) > self._threads:
                        yield waiting.popleft().result()
                    waiting.append(pool.submit(job))
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()


def least_code(codes: Array, energy: float) -> int:
    """The code such that the larger ones, and it, hold at least the share `energy` of the sum of all codes."""
    size = int(np.iinfo(codes.dtype).max) + 1
    histogram = np.zeros(size, np.int64)
    for start in range(0, len(codes), 1 << 24):
        histogram += np.bincount(codes[start : start + (1 << 24)], minlength=size)
    mass = histogram * np.arange(size)
    from_top = np.cumsum(mass[::-1])[::-1]
    enough = np.flatnonzero(from_top >= energy * from_top[0])
    return max(1, int(enough[-1]))


def _narrow(codes: Array) -> npt.NDArray[np.uint8]:
    """The 8-bit code of each code: itself, or for 16-bit codes relative to the largest, rounded up: never 0."""
    if codes.dtype == np.uint8:
        return np.arange(256).astype(np.uint8)
    largest = max(1, int(codes.max(initial=1)))
    return np.minimum(-(-np.arange(1 << 16) * 255 // largest), 255).astype(np.uint8)


def _offsets(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def _pieces(sizes: npt.NDArray[np.int64], limit: int) -> list[slice]:
    """Ranges whose sizes come to `limit` at most, or of one."""
    ends = np.cumsum(sizes)
    pieces, first = [], 0
    while first < len(sizes):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + limit, side="right")))
        pieces.append(slice(first, last))
        first = last
    return pieces
