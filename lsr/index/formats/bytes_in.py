"""Files of numbers, mapped into memory; their claims are compared with their size before anything is reserved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from lsr.corpus.streams import reason, shown
from lsr.errors import CorpusError

__all__ = ["mapped"]


def mapped(path: Path) -> npt.NDArray[np.uint8]:
    """The bytes of a file, read-only. Raises `CorpusError` when there is no such file, or it cannot be read."""
    try:
        if path.stat().st_size == 0:  # cannot be mapped
            return np.frombuffer(b"", np.uint8)
        return np.asarray(np.memmap(path, np.uint8, "r"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"{shown(path)}: cannot be opened ({reason(error)})") from None
