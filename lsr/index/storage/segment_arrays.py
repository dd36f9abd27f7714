"""The files of a segment as mapped arrays, and the checks that all segments have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import CorruptIndex
from lsr.index.storage.arrays import map_array
from lsr.index.storage.manifest import FileEntry
from lsr.index.storage.records import Ids
from lsr.index.storage.regular import REMEDY

__all__ = ["SegmentArrays"]

Array = npt.NDArray[Any]


class SegmentArrays:
    """The arrays of a segment by the names of their files. What is wrong with one is a `CorruptIndex` with `remedy` in it."""

    def __init__(self, folder: Path, name: str, files: Sequence[FileEntry], remedy: str = REMEDY) -> None:
        self._folder, self._remedy = folder / name, remedy
        self.arrays = {file.name.rpartition("/")[2]: map_array(folder, file, remedy) for file in files}

    def open_ids(self, n: int) -> Ids:
        """The ids of its n documents: the ids_* arrays."""
        data = self.take("ids_bytes", None, np.uint8)
        offsets = self.take("ids_offsets", (n + 1,), np.int64)
        self.check_offsets("ids_offsets", offsets, len(data))
        return Ids(data, offsets, self.take("ids_hashes", (n,), np.uint64), self.take("ids_rows", (n,), np.uint32))

    def take(self, name: str, shape: tuple[int, ...] | None, *types: type[np.generic]) -> Array:
        array = self.arrays.get(name)
        if array is None:
            raise self.corrupt(name, "not in the manifest")
        if array.dtype.type not in types:
            raise self.corrupt(name, f"holds {array.dtype}")
        if array.ndim != 1 or (shape is not None and array.shape != shape):
            raise self.corrupt(name, f"has shape {array.shape} where {shape} fits the manifest")
        return array

    def check_offsets(self, name: str, offsets: npt.NDArray[np.int64], end: int) -> None:
        if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != end or np.any(offsets[1:] < offsets[:-1]):
            raise self.corrupt(name, f"does not rise from 0 to {end}")

    def corrupt(self, name: str, what: str) -> CorruptIndex:
        return CorruptIndex(f"{self._folder / name}: {what}; {self._remedy}")
