"""Codec pq: product quantisation (Jégou, Douze and Schmid 2011): each part of a vector as the nearest of 256 pieces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.rerank.codecs.clustering import directions, kmeans, lengths_over, nearest, step_of, whole_numbers
from lsr.rerank.codecs.codec import Codec, Parameters, checked_parameter, float16_of, float16_to_bytes, scales_of
from lsr.rerank.codecs.scoring import Bytes, Floats, Layout, frozen

__all__ = ["ProductQuantizer"]

PIECES = 256
_USUAL = 4  # dimensions of a part


class ProductQuantizer(Codec):
    """A byte for each part, and a scale: dim / 4 + 2 bytes a token where parts have four dimensions, as is usual.

    Pieces are of the vectors' directions, rounded to bytes; the scale makes a decoded vector as long as it was.
    """

    name = "pq"

    def __init__(self, dim: int, pieces: npt.NDArray[np.int8], step: float) -> None:
        super().__init__(dim)
        parts, _, part = pieces.shape
        if parts != -(-dim // part):
            raise InvalidInput(
                f"codec pq: {parts} parts of {part} dimensions, of {dim}: there must be {-(-dim // part)}"
            )
        if not (np.isfinite(step) and step > 0):
            raise InvalidInput(f"codec pq: its step is {step}: it must be above 0")
        self._pieces, self._step = pieces, np.float32(step)
        self._layout: Layout | None = None

    @classmethod
    def _train(
        cls, sample: Floats, tokens: npt.NDArray[Any] | None, generator: np.random.Generator, size: int | None
    ) -> Self:
        dim = sample.shape[1]
        if size is not None and not 0 < size <= dim:
            raise InvalidInput(f"codec pq: size is {size}: it must be between 1 and {dim} parts")
        part = -(-dim // size) if size else min(_USUAL, dim)
        units, _ = directions(sample)
        step = step_of(units)
        points = _in_parts(whole_numbers(units, step), part)
        pieces = [kmeans(points[:, m], PIECES, generator) for m in range(points.shape[1])]
        return cls(dim, np.stack(pieces).astype(np.int8), float(step))

    @property
    def bytes_per_token(self) -> int:
        return len(self._pieces) + 2

    def _encode(self, vectors: Floats, out: Bytes) -> None:
        units, lengths = directions(vectors)
        points = _in_parts(whole_numbers(units, self._step), self._pieces.shape[2])
        for m, pieces in enumerate(self._pieces):
            out[:, m] = nearest(points[:, m], pieces.astype(np.float32))
        out[:, -2:] = float16_to_bytes(scales_of(lengths_over(lengths, self._joined(out))))

    def _decode(self, codes: Bytes) -> Floats:
        return self._joined(codes) * float16_of(codes[:, -2:])[:, None]

    def _joined(self, codes: Bytes) -> Floats:
        pieces = self._pieces[np.arange(len(self._pieces)), codes[:, :-2]]
        return pieces.reshape(len(codes), -1)[:, : self.dim].astype(np.float32)

    def parameters(self) -> Parameters:
        return {"pieces": self._pieces, "step": np.array([self._step], np.float32)}

    @classmethod
    def from_parameters(cls, dim: int, parameters: Mapping[str, npt.NDArray[Any]]) -> Self:
        pieces = checked_parameter(cls.name, parameters, "pieces", np.int8, (None, PIECES, None))
        step = checked_parameter(cls.name, parameters, "step", np.float32, (1,))
        return cls(dim, pieces, float(step[0]))

    def layout(self) -> Layout:
        from lsr.rerank.kernels.maxsim import PQ

        if self._layout is None:
            parts, _, part = self._pieces.shape
            table = np.full((parts, PIECES, -(-part // 4) * 4), 128, np.uint8)
            table[..., :part] = self._pieces.astype(np.int16) + 128
            self._layout = Layout(PQ, part, frozen(table.reshape(-1), np.uint8), frozen(np.zeros(4), np.uint8), True)
        return self._layout


def _in_parts(points: Floats, part: int) -> Floats:
    """[n, dim] to [n, parts, part]; what dimensions the last part lacks are 0."""
    parts = -(-points.shape[1] // part)
    padded = np.zeros((len(points), parts * part), np.float32)
    padded[:, : points.shape[1]] = points
    return padded.reshape(len(points), parts, part)
