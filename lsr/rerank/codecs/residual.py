"""Codec residual2: the nearest of some thousand centroids, and what is left in two bits a dimension.

The form of ColBERTv2 and PLAID (Santhanam et al. 2022, section 3.3), other than in its bits and its four numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.rerank.codecs.clustering import (
    LARGEST,
    LEAST,
    directions,
    kmeans,
    kmeans_by_token,
    lengths_over,
    nearest,
    step_of,
    whole_numbers,
)
from lsr.rerank.codecs.codec import Codec, Parameters, checked_parameter, float16_of, float16_to_bytes, scales_of
from lsr.rerank.codecs.scoring import Bytes, Floats, Layout, frozen

__all__ = ["Residual2"]

MAX_CENTROIDS = 1 << 16  # two bytes
_USUAL = 1 << 12  # centroids that the second-level cache holds: 512 KiB at 128 dimensions
_SHIFTS = np.arange(0, 8, 2, dtype=np.uint8)[:, None]


class Residual2(Codec):
    """dim / 4 + 4 bytes a token: two of a centroid, two bits a dimension, a scale.

    Centroids are of the vectors' directions, rounded to bytes, and so are the four numbers that the bits choose from: the
    best four for all dimensions together (Lloyd 1982; PLAID takes quantiles). The scale makes a decoded vector as long as it
    was, which PLAID's normalisation does for vectors of unit length.
    """

    name = "residual2"

    def __init__(self, centroids: npt.NDArray[np.int8], numbers: npt.NDArray[np.int8], step: float) -> None:
        super().__init__(centroids.shape[1])
        if len(centroids) > MAX_CENTROIDS:
            raise InvalidInput(f"codec residual2: {len(centroids)} centroids: there may be {MAX_CENTROIDS}")
        if not (np.isfinite(step) and step > 0):
            raise InvalidInput(f"codec residual2: its step is {step}: it must be above 0")
        self._centroids, self._numbers, self._step = centroids, np.sort(numbers), np.float32(step)
        self._layout: Layout | None = None

    @classmethod
    def _train(
        cls, sample: Floats, tokens: npt.NDArray[Any] | None, generator: np.random.Generator, size: int | None
    ) -> Self:
        if size is not None and not 0 < size <= MAX_CENTROIDS:
            raise InvalidInput(f"codec residual2: size is {size}: it must be between 1 and {MAX_CENTROIDS} centroids")
        count = size or max(1, min(_USUAL, len(sample) // LEAST))
        units, _ = directions(sample)
        step = step_of(units)
        points = whole_numbers(units, step)
        if tokens is None:
            centroids = kmeans(points, count, generator)
        else:
            centroids = kmeans_by_token(points, tokens, count, generator)
        numbers = _best_four(points - centroids[nearest(points, centroids)])
        # With any of the four added, a byte holds the sum.
        centroids = np.clip(centroids, -LARGEST - min(0, int(numbers[0])), LARGEST - max(0, int(numbers[-1])))
        return cls(centroids.astype(np.int8), numbers, float(step))

    @property
    def _quarter(self) -> int:
        return -(-self.dim // 16) * 4

    @property
    def bytes_per_token(self) -> int:
        return self._quarter + 4

    def _encode(self, vectors: Floats, out: Bytes) -> None:
        units, lengths = directions(vectors)
        points = whole_numbers(units, self._step)
        table = self._centroids.astype(np.float32)
        centroids = nearest(points, table)
        numbers = self._numbers.astype(np.float32)
        edges = (numbers[1:] + numbers[:-1]) / np.float32(2)
        choices = np.zeros((len(points), 4 * self._quarter), np.uint8)
        choices[:, : self.dim] = np.searchsorted(edges, points - table[centroids])
        decoded = table[centroids] + numbers[choices[:, : self.dim]]
        out[:, :2] = centroids.astype("<u2").view(np.uint8).reshape(-1, 2)
        out[:, 2:-2] = np.bitwise_or.reduce(choices.reshape(-1, 4, self._quarter) << _SHIFTS, axis=1)
        out[:, -2:] = float16_to_bytes(scales_of(lengths_over(lengths, decoded)))

    def _decode(self, codes: Bytes) -> Floats:
        centroids = np.ascontiguousarray(codes[:, :2]).view("<u2")[:, 0]
        if len(centroids) and centroids.max() >= len(self._centroids):
            raise InvalidInput(f"codec residual2: codes name centroid {centroids.max()} of {len(self._centroids)}")
        choices = ((codes[:, None, 2:-2] >> _SHIFTS) & 3).reshape(len(codes), -1)[:, : self.dim]
        decoded = self._centroids[centroids].astype(np.float32) + self._numbers[choices]
        result: Floats = decoded * float16_of(codes[:, -2:])[:, None]
        return result

    def parameters(self) -> Parameters:
        step = np.array([self._step], np.float32)
        return {"centroids": self._centroids, "numbers": self._numbers, "step": step}

    @classmethod
    def from_parameters(cls, dim: int, parameters: Mapping[str, npt.NDArray[Any]]) -> Self:
        centroids = checked_parameter(cls.name, parameters, "centroids", np.int8, (None, dim))
        numbers = checked_parameter(cls.name, parameters, "numbers", np.int8, (4,))
        step = checked_parameter(cls.name, parameters, "step", np.float32, (1,))
        return cls(centroids, numbers, float(step[0]))

    def layout(self) -> Layout:
        from lsr.rerank.kernels.maxsim import RESIDUAL

        if self._layout is None:
            table = np.full((len(self._centroids), 4 * self._quarter), 128, np.uint8)
            table[:, : self.dim] = self._centroids.astype(np.int16) + 128
            numbers = frozen(self._numbers.view(np.uint8), np.uint8)
            self._layout = Layout(RESIDUAL, 0, frozen(table.reshape(-1), np.uint8), numbers, True)
        return self._layout


def _best_four(residuals: Floats) -> npt.NDArray[np.int8]:
    """The four whole numbers nearest to these on the average: Lloyd's algorithm on how often each number occurs, rising."""
    span = 2 * LARGEST
    counts = np.bincount((residuals.astype(np.int64) + span).reshape(-1), minlength=2 * span + 1)
    values = np.arange(-span, span + 1)
    total = np.cumsum(counts)
    quantiles = values[np.searchsorted(total, total[-1] * np.array([1, 3, 5, 7]) / 8)]
    numbers = quantiles.astype(np.float64)
    for _ in range(100):
        labels = np.searchsorted((numbers[1:] + numbers[:-1]) / 2, values)
        sizes = np.bincount(labels, counts, minlength=4)
        means = np.bincount(labels, counts * values, minlength=4) / np.maximum(sizes, 1)
        moved = np.where(sizes > 0, means, numbers)
        if np.array_equal(moved, numbers):
            break
        numbers = moved
    result: npt.NDArray[np.int8] = np.clip(np.rint(numbers), -LARGEST, LARGEST).astype(np.int8)
    return result
