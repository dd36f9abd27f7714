"""TokenVectors: the token vectors of a batch of texts, the currency of reranking."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput

__all__ = ["TokenVectors"]


@dataclass(frozen=True)
class TokenVectors:
    """offsets: int64 [n + 1], rising from 0; vectors: float32 [T, dim], finite; tokens: the wordpiece of each, uint32 [T]."""

    offsets: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.float32]
    tokens: npt.NDArray[np.uint32] | None = None

    def __post_init__(self) -> None:
        offsets, vectors = self.offsets, self.vectors
        if offsets.dtype != np.int64 or offsets.ndim != 1 or vectors.dtype != np.float32 or vectors.ndim != 2:
            raise InvalidInput("token vectors are int64 offsets [n + 1] and float32 vectors [T, dim]")
        if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(vectors) or np.any(offsets[1:] < offsets[:-1]):
            raise InvalidInput(f"offsets must rise from 0 to {len(vectors)}, the number of vectors")
        if not np.isfinite(vectors).all():
            raise InvalidInput("a token vector holds a number that is not finite")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])
