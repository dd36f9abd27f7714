"""Codecs that know nothing of the vectors: floats, and integers with a scale for each token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.rerank.codecs.codec import Codec, Parameters, float16_of, float16_to_bytes, scales_of
from lsr.rerank.codecs.scoring import Bytes, Floats, Layout, frozen

__all__ = ["Float16", "Float32", "Int4", "Int8"]

_NO_TABLE, _NO_NUMBERS = frozen(np.zeros(0), np.uint8), frozen(np.zeros(4), np.uint8)


class _Plain(Codec):
    """A codec without parameters."""

    @classmethod
    def _train(
        cls, sample: Floats, tokens: npt.NDArray[Any] | None, generator: np.random.Generator, size: int | None
    ) -> Self:
        if size is not None:
            raise InvalidInput(f"codec {cls.name}: it has one size: leave size out")
        return cls(sample.shape[1])

    def parameters(self) -> Parameters:
        return {}

    @classmethod
    def from_parameters(cls, dim: int, parameters: Mapping[str, npt.NDArray[Any]]) -> Self:
        if parameters:
            raise InvalidInput(f"codec {cls.name}: it has no parameter {min(parameters)!r}")
        return cls(dim)


class Float32(_Plain):
    """Vectors as they are, four bytes a dimension."""

    name = "f32"

    @property
    def bytes_per_token(self) -> int:
        return 4 * self.dim

    def _encode(self, vectors: Floats, out: Bytes) -> None:
        out[:] = vectors.astype("<f4").view(np.uint8)

    def _decode(self, codes: Bytes) -> Floats:
        return np.ascontiguousarray(codes).view("<f4").astype(np.float32)

    def layout(self) -> Layout:
        from lsr.rerank.kernels.maxsim import FLOAT32

        return Layout(FLOAT32, 0, _NO_TABLE, _NO_NUMBERS, False)


class Float16(_Plain):
    """Two bytes a dimension."""

    name = "f16"

    @property
    def bytes_per_token(self) -> int:
        return 2 * self.dim

    def _encode(self, vectors: Floats, out: Bytes) -> None:
        with np.errstate(over="ignore"):
            halves = vectors.astype("<f2")
        if not np.isfinite(halves).all():
            raise InvalidInput(f"codec f16: a vector holds {float(np.abs(vectors).max()):.3g}: scale the vectors down")
        out[:] = halves.view(np.uint8)

    def _decode(self, codes: Bytes) -> Floats:
        return np.ascontiguousarray(codes).view("<f2").astype(np.float32)

    def layout(self) -> Layout:
        from lsr.rerank.kernels.maxsim import FLOAT16

        return Layout(FLOAT16, 0, _NO_TABLE, _NO_NUMBERS, False)


class Int8(_Plain):
    """A byte a dimension, and the scale of the token: its largest number becomes 127."""

    name = "int8"

    @property
    def bytes_per_token(self) -> int:
        return self.dim + 2

    def _encode(self, vectors: Floats, out: Bytes) -> None:
        scales = scales_of(np.abs(vectors).max(axis=1) / np.float32(127))
        out[:, :-2] = _rounded(vectors, scales.astype(np.float32), -127, 127) + 128
        out[:, -2:] = float16_to_bytes(scales)

    def _decode(self, codes: Bytes) -> Floats:
        numbers: Floats = codes[:, :-2].astype(np.float32) - np.float32(128)
        return numbers * float16_of(codes[:, -2:])[:, None]

    def layout(self) -> Layout:
        from lsr.rerank.kernels.maxsim import INT8

        return Layout(INT8, 0, _NO_TABLE, _NO_NUMBERS, True)


# Largest numbers of a vector that may be cut off, as shares of the largest: steps are then finer for all the others.
_CUTS = np.linspace(1.0, 0.5, 11, dtype=np.float32)


class Int4(_Plain):
    """Half a byte a dimension, -8 to 7, and the scale of the token: of eleven, the one with the smallest squared error."""

    name = "int4"

    @property
    def _half(self) -> int:
        return -(-self.dim // 8) * 4

    @property
    def bytes_per_token(self) -> int:
        return self._half + 2

    def _encode(self, vectors: Floats, out: Bytes) -> None:
        largest = np.abs(vectors).max(axis=1)
        best = np.full(len(vectors), np.inf, np.float32)
        numbers, scales = np.zeros(vectors.shape, np.int64), np.zeros(len(vectors), np.float16)
        for cut in _CUTS:
            candidate = scales_of(largest * (cut / np.float32(7)))
            wide = candidate.astype(np.float32)
            rounded = _rounded(vectors, wide, -8, 7)
            error = np.square(vectors - rounded * wide[:, None], dtype=np.float32).sum(axis=1)
            better = error < best
            best[better], numbers[better], scales[better] = error[better], rounded[better], candidate[better]
        shifted = np.full((len(vectors), 2 * self._half), 8, np.uint8)
        shifted[:, : self.dim] = numbers + 8
        out[:, :-2] = shifted[:, : self._half] | (shifted[:, self._half :] << 4)
        out[:, -2:] = float16_to_bytes(scales)

    def _decode(self, codes: Bytes) -> Floats:
        halves = np.concatenate([codes[:, :-2] & 15, codes[:, :-2] >> 4], axis=1)[:, : self.dim]
        numbers: Floats = halves.astype(np.float32) - np.float32(8)
        return numbers * float16_of(codes[:, -2:])[:, None]

    def layout(self) -> Layout:
        from lsr.rerank.kernels.maxsim import INT4

        return Layout(INT4, 0, _NO_TABLE, _NO_NUMBERS, True)


def _rounded(vectors: Floats, scales: Floats, lowest: int, highest: int) -> npt.NDArray[np.int64]:
    """Whole numbers of scales, of which there may be 0."""
    shares = np.divide(vectors, scales[:, None], out=np.zeros_like(vectors), where=scales[:, None] > 0)
    result: npt.NDArray[np.int64] = np.clip(np.rint(shares), lowest, highest).astype(np.int64)
    return result
