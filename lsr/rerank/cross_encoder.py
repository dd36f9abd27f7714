"""Cross-encoders: query and document through one network, a pair at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lsr.errors import MissingExtra
from lsr.rerank.stage import TextReranker

__all__ = ["CrossEncoderReranker"]


class CrossEncoderReranker(TextReranker):
    """A cross-encoder of sentence-transformers; scores are its logits.

    model: a folder, or a hub id. device: "cpu", "cuda", ...; None takes a GPU if there is one. batch: pairs a time.
    max_length: tokens of a pair that are read; the model's own limit when None. local_files_only: never ask the hub.

    Raises `EncoderNotFound`, `EncoderError` for a model of another kind or with several outputs, `MissingExtra`.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str | None = None,
        batch: int = 32,
        max_length: int | None = None,
        candidates: int = 50,
        fusion: str = "replace",
        weight: float = 0.5,
        local_files_only: bool = False,
    ) -> None:
        try:
            import torch

            from lsr.encoders.libraries import named, open_cross_encoder
        except ImportError:
            raise MissingExtra("torch", "rerank", "a cross-encoder") from None
        where = device or ("cuda" if torch.cuda.is_available() else "cpu")
        folder, name, there, dtype = named(
            model, where, None, batch, max_length, trust_remote_code=False, local_files_only=local_files_only
        )
        super().__init__(name, candidates=candidates, fusion=fusion, weight=weight)
        self._score, self._batch = open_cross_encoder(folder, there, dtype, max_length, extra="rerank"), batch
        self._folder = folder

    @cached_property
    def fingerprint(self) -> str:
        """xxh3-128 in hex over the files of the model."""
        from lsr.encoders.libraries import fingerprint

        return fingerprint(self._folder)

    def scores(self, pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.float64]:
        return self._score(pairs, self._batch).astype(np.float64)
