"""Codecs that know nothing of the vectors: floats, and integers with a scale for each token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.rerank.codecs.clustering import directions, lengths_over
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
        steps = scales.astype(np.float32)[:, None]
        numbers = np.divide(vectors, steps, out=np.zeros_like(vectors), where=steps > 0)
        out[:, :-2] = np.clip(np.rint(numbers), -127, 127) + 128
        out[:, -2:] = float16_to_bytes(scales)

    def _decode(self, codes: Bytes) -> Floats:
        numbers: Floats = codes[:, :-2].astype(np.float32) - np.float32(128)
        return numbers * float16_of(codes[:, -2:])[:, None]

    def layout(self) -> Layout:
        from lsr.rerank.kernels.maxsim import INT8

        return Layout(INT8, 0, _NO_TABLE, _NO_NUMBERS, True)


# Steps as shares of a vector's largest number, some of which cut that off: they are finer for all the others.
_STEPS = np.linspace(1.0, 0.5, 11, dtype=np.float32) / np.float32(7)


class Int4(_Plain):
    """Half a byte a dimension, -8 to 7: rounded by the one of eleven steps that has the smallest squared error.

    The scale of the token makes it as long as it was: rounding to few numbers makes vectors longer, and scores higher.
    """

    name = "int4"

    @property
    def _half(self) -> int:
        return -(-self.dim // 8) * 4

    @property
    def bytes_per_token(self) -> int:
        return self._half + 2

    def _encode(self, vectors: Floats, out: Bytes) -> None:
        largest = np.abs(vectors).max(axis=1, keepdims=True)
        shares = np.divide(vectors, largest, out=np.zeros_like(vectors), where=largest > 0)
        best = np.full(len(vectors), np.inf, np.float32)
        numbers = np.zeros(vectors.shape, np.float32)
        for step in _STEPS:
            rounded = np.clip(np.rint(shares / step), -8, 7)
            error = np.square(shares - rounded * step).sum(axis=1)
            better = error < best
            best[better], numbers[better] = error[better], rounded[better]
        _, lengths = directions(vectors)
        scales = scales_of(lengths_over(lengths, numbers))
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
