"""Reading ahead: the system is told which pages of a mapped array will be needed, before they are."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["read_ahead"]

_GAP = 1 << 15  # bytes between two stretches that are read as well, for one call less


def read_ahead(array: npt.NDArray[Any], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> None:
    """Lets the system read rows `starts[i]` to `ends[i]` of an array [rows, width], without waiting for it. A no-op for an
    array that is not mapped, and where the system takes no advice."""
    mapped = _mapping(array)
    if mapped is None or not hasattr(mmap, "MADV_WILLNEED") or not len(starts):
        return
    width = array.strides[0]
    order = np.argsort(starts)
    first, last = starts[order] * width, ends[order] * width
    last = np.maximum.accumulate(last)
    breaks = np.flatnonzero(first[1:] > last[:-1] + _GAP) + 1
    begin = first[np.concatenate([[0], breaks])] // mmap.PAGESIZE * mmap.PAGESIZE
    finish = last[np.concatenate([breaks - 1, [len(last) - 1]])]
    for start, length in zip(begin.tolist(), (finish - begin).tolist(), strict=True):
        if length > 0:
            mapped.madvise(mmap.MADV_WILLNEED, start, length)


def _mapping(array: Any) -> mmap.mmap | None:
    """The map that an array is the whole of, from its beginning."""
    while array is not None and not isinstance(array, mmap.mmap):
        array = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
    return array
