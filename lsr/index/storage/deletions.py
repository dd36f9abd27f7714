"""Which documents of a write-once segment were deleted: a bit for each row, the lowest of a byte first."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lsr.errors import CorruptIndex
from lsr.index.storage.arrays import map_array
from lsr.index.storage.manifest import FileEntry
from lsr.index.storage.regular import REMEDY

__all__ = ["deletion_bits", "open_deletions"]


class Stored(Protocol):
    """What a manifest says of a segment."""

    @property
    def name(self) -> str: ...

    @property
    def documents(self) -> int: ...

    @property
    def deleted(self) -> int: ...

    @property
    def deletions(self) -> FileEntry | None: ...


def deletion_bits(rows: npt.NDArray[np.int64], documents: int) -> npt.NDArray[np.uint8]:
    """The bits of deleted rows: uint8 [documents / 8, rounded up]."""
    bits = np.zeros(documents, np.uint8)
    bits[rows] = 1
    return np.packbits(bits, bitorder="little")


def open_deletions(folder: Path, entry: Stored, remedy: str = REMEDY) -> npt.NDArray[np.int64]:
    """The rows of a segment that were deleted, rising. Raises `CorruptIndex` when the file does not fit the manifest."""
    if entry.deletions is None:
        if entry.deleted:
            raise CorruptIndex(f"{folder}: no file says which of {entry.name} are deleted; restore a copy")
        return np.zeros(0, np.int64)
    bits = map_array(folder, entry.deletions, remedy)
    if bits.dtype != np.uint8 or bits.shape != (-(-entry.documents // 8),):
        raise CorruptIndex(
            f"{folder / entry.deletions.name}: {bits.shape} of {bits.dtype} for {entry.documents:,} rows"
        )
    rows = np.flatnonzero(np.unpackbits(bits, bitorder="little"))
    if len(rows) != entry.deleted or (len(rows) and rows[-1] >= entry.documents):
        raise CorruptIndex(f"{folder / entry.deletions.name}: not the {entry.deleted:,} documents of the manifest")
    return rows
