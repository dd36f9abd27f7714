"""Token vectors on torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.encoders.model import VectorSide
from lsr.encoders.torch_engine import TorchNetwork

__all__ = ["TorchVectorEngine"]

IdArray = npt.NDArray[np.int64]


class TorchVectorEngine(TorchNetwork):
    """A `VectorEngine` on transformers; arguments and errors as those of `TorchEngine`. Projections are float32 always."""

    def __init__(
        self,
        side: VectorSide,
        *,
        device: str | Sequence[str] | None = None,
        dtype: str | None = None,
        threads: int | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__(side, side.head.dim, device, dtype, threads, trust_remote_code)

    def encode(self, ids: IdArray, lengths: IdArray, attended: IdArray) -> Sequence[npt.NDArray[np.float32]]:
        return self._work(_token_vectors, ids, lengths, attended)


def _token_vectors(replica: Any, ids: IdArray, lengths: IdArray, attended: IdArray) -> list[npt.NDArray[np.float32]]:
    return list(replica.vectors(ids, lengths, attended).cpu().numpy())
