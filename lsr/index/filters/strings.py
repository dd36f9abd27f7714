"""A column of strings: a sorted table of the different ones, and for each value its place there (its code).

The order of the codes is that of the strings, by code point, so a range of strings is a range of codes. While a build
streams by, the table is not known: values are kept in runs, each with a sorted table of its own on disk, and the tables are
merged at the end. In memory are one run, and at the end 4 bytes for each string of each run and 8 for each different one.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.index.storage.arrays import AppendFile, write_array
from lsr.index.storage.manifest import FileEntry

__all__ = ["Strings", "StringsWriter"]

_ENTRY = 100  # bytes that a string costs in memory beside its characters, about
_PIECE = 1 << 20  # bytes of strings written at a time


class _Run(NamedTuple):
    """How many different strings, bytes of them, and values."""

    strings: int
    bytes: int
    values: int


class StringsWriter:
    """Appends strings. The runs lie in files beside `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._codes: dict[str, int] = {}  # of this run, as they came
        self._values = array("I")
        self._runs: list[_Run] = []
        self.characters = 0  # of the different strings in memory, and what they cost beside

    def add(self, value: str) -> None:
        code = self._codes.get(value)
        if code is None:
            code = self._codes[value] = len(self._codes)
            self.characters += len(value) + _ENTRY
        self._values.append(code)

    def spill(self) -> None:
        """Ends a run."""
        if not self._values:
            return
        table = sorted(self._codes)
        places = np.empty(len(table), "<u4")
        places[[self._codes[value] for value in table]] = np.arange(len(table))
        encoded = [value.encode() for value in table]
        lengths = np.array([len(value) for value in encoded], "<u4")
        parts = (("table", b"".join(encoded)), ("lengths", lengths), ("values", places[np.array(self._values)]))
        for name, part in parts:
            with self._file(name).open("ab") as file:
                file.write(part if isinstance(part, bytes) else part.tobytes())
        self._runs.append(_Run(len(table), int(lengths.sum()), len(self._values)))
        self._codes, self._values, self.characters = {}, array("I"), 0

    def finish(self, folder: Path, name: str) -> list[FileEntry]:
        """Writes NAME_strings (the table, as UTF-8), NAME_offsets (where each begins) and NAME_values (the codes)."""
        self.spill()
        codes, table, offsets = self._merge(folder, name)
        dtype = np.dtype(np.min_scalar_type(max(0, len(offsets) - 2))).newbyteorder("<")
        target = AppendFile(folder, f"{name}_values")
        first = 0
        with self._file("values").open("rb") as file:
            for run in self._runs:
                places = np.frombuffer(file.read(4 * run.values), "<u4")
                target.append(codes[first : first + run.strings][places].astype(dtype))
                first += run.strings
        values = target.finish(dtype.str, (sum(run.values for run in self._runs),))
        return [table, write_array(folder, f"{name}_offsets", offsets), values]

    def _merge(self, folder: Path, name: str) -> tuple[npt.NDArray[np.uint32], FileEntry, npt.NDArray[np.int64]]:
        """Writes the table. Returns also the code of each string of each run, one run after the other, and the offsets."""
        codes = np.empty(sum(run.strings for run in self._runs), np.uint32)
        ends = array("q", [0])
        target = AppendFile(folder, f"{name}_strings")
        piece = bytearray()
        last: bytes | None = None
        for value, at in heapq.merge(*self._read_runs()):
            if value != last:
                last = value
                piece += value
                ends.append(ends[-1] + len(value))
                if len(piece) > _PIECE:
                    target.append(bytes(piece))
                    piece.clear()
            codes[at] = len(ends) - 2
        target.append(bytes(piece))
        return codes, target.finish("|u1", (ends[-1],)), np.array(ends, np.int64)

    def _read_runs(self) -> list[Iterator[tuple[bytes, int]]]:
        """For each run its strings, sorted, each with its place among the strings of all runs."""
        lengths = np.memmap(self._file("lengths"), "<u4", "r")
        total = sum(run.bytes for run in self._runs)
        table = np.memmap(self._file("table"), np.uint8, "r") if total else np.zeros(0, np.uint8)
        runs, first, start = [], 0, 0
        for run in self._runs:
            runs.append(_read_run(lengths[first : first + run.strings], table[start : start + run.bytes].data, first))
            first += run.strings
            start += run.bytes
        return runs

    def _file(self, what: str) -> Path:
        return self._path.with_name(f"{self._path.name}-{what}")


def _read_run(lengths: npt.NDArray[np.uint32], table: memoryview, first: int) -> Iterator[tuple[bytes, int]]:
    start = 0
    for at, length in enumerate(map(int, lengths), first):
        yield bytes(table[start : start + length]), at
        start += length


class Strings:
    """The sorted table of a column."""

    def __init__(self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> None:
        self._data, self._offsets = data, offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, code: int) -> bytes:
        start, end = self._offsets[code : code + 2].tolist()
        return self._data[start:end].tobytes()

    def place(self, value: str) -> int:
        """How many strings of the table come before a value."""
        # Half a surrogate pair is in no table: the corpus readers refuse it. UTF-8 sorts as code points do.
        wanted = value.encode("utf-8", "surrogatepass")
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self[middle] < wanted:
                low = middle + 1
            else:
                high = middle
        return low
