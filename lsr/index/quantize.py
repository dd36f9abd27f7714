"""From float weights to the stored codes: weight = code * scale, one scale for a segment.

An index chooses its scale when it is built, and keeps it: segments that are added later have the same, so that they can be
merged without loss, and a document has the same score wherever it is. What does not fit in 8 bits then gets 16; what does not
fit in these, or would be lost below the step, gets a segment whose scale is a power of two times that of the index."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Quantizer", "at_scale", "choose_quantizer", "chosen_anew"]

# 8 bits are kept when the squared error is below this share of the squared weights. With the bundled encoder it is about
# 0.00001 (SciFact 0.000011, NFCorpus 0.000010); a collection with a few weights far above the rest comes to more, and
# gets 16 bits.
_TOLERANCE = 1e-3
# With a scale that others chose: documents whose weights are on average below three steps come to more.
_TOLERANCE_AT_SCALE = 1e-2
_CHUNK = 1 << 22


@dataclass(frozen=True, slots=True)
class Quantizer:
    scale: np.float32
    dtype: type[np.uint8] | type[np.uint16]

    def codes(
        self, values: npt.NDArray[np.float32], indptr: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
        """Nearest codes of the rows of a CSR batch. Weights nearest to 0 get 0, and are to be dropped, except that the
        largest weight of a row keeps at least 1: a document that had terms can still be found."""
        codes = np.rint(values / self.scale)
        np.minimum(codes, np.iinfo(self.dtype).max, out=codes)
        filled = np.flatnonzero(indptr[1:] > indptr[:-1])
        if len(filled):
            lost = filled[np.maximum.reduceat(codes, indptr[filled]) == 0]
            for row in lost.tolist():
                start, end = indptr[row : row + 2]
                codes[start + np.argmax(values[start:end])] = 1
        result: npt.NDArray[np.uint8] | npt.NDArray[np.uint16] = codes.astype(self.dtype)
        return result


def choose_quantizer(values: npt.NDArray[np.float32], indptr: npt.NDArray[np.int64]) -> Quantizer:
    """8 bits where they keep the weights, 16 where a few large weights would crush the others.

    Weights that are multiples of one step already (whole numbers, or vectors quantised before) are kept without loss
    where they fit. values float32 [nnz] and indptr int64 [n + 1] may be memory maps: they are read in pieces.
    """
    if len(values) == 0:
        return Quantizer(np.float32(1), np.uint8)
    smallest = min(np.float32(part.min()) for part in _pieces(values))
    largest = max(np.float32(part.max()) for part in _pieces(values))
    for step in (smallest, np.float32(1)):
        if largest <= 65535.5 * step and all(_on_grid(part, step) for part in _pieces(values)):
            return Quantizer(step, np.uint8 if largest <= 255.5 * step else np.uint16)
    # Never 0, also for subnormal weights.
    scale = max(np.float32(largest / 255), np.finfo(np.float32).tiny)
    if _error(values, scale) <= _TOLERANCE and not _loses_a_row(values, indptr, scale):
        return Quantizer(scale, np.uint8)
    return Quantizer(max(np.float32(largest / 65535), np.finfo(np.float32).tiny), np.uint16)


def at_scale(scale: float) -> Callable[[npt.NDArray[np.float32], npt.NDArray[np.int64]], Quantizer]:
    """Quantizes as an index did before; see the module. What is a multiple of the scale already is kept without loss."""

    def quantize(values: npt.NDArray[np.float32], indptr: npt.NDArray[np.int64]) -> Quantizer:
        largest = max((float(part.max()) for part in _pieces(values)), default=0.0)
        chosen = np.float32(scale)
        if largest > 65535.5 * scale or _error(values, chosen) > _TOLERANCE_AT_SCALE:
            # A power of two, so that all weights of the index are multiples of one step, and no product is rounded otherwise.
            power = math.ceil(math.log2(largest / (65535.5 * scale)))
            chosen = max(np.float32(math.ldexp(scale, power)), np.finfo(np.float32).tiny)
        return Quantizer(chosen, np.uint8 if largest <= 255.5 * float(chosen) else np.uint16)

    return quantize


def chosen_anew(scales: set[float]) -> Callable[[npt.NDArray[np.float32], npt.NDArray[np.int64]], Quantizer]:
    """Quantizes stored weights as a new index would, unless they have one scale, and would lose by another."""

    def quantize(values: npt.NDArray[np.float32], indptr: npt.NDArray[np.int64]) -> Quantizer:
        chosen = choose_quantizer(values, indptr)
        if len(scales) > 1 or all(_on_grid(part, chosen.scale) for part in _pieces(values)):
            return chosen
        return at_scale(next(iter(scales)))(values, indptr)

    return quantize


def _error(values: npt.NDArray[np.float32], scale: np.float32) -> float:
    """The squared error of the nearest codes as a share of the squared weights."""
    error = total = 0.0
    for part in _pieces(values):
        difference = (part - np.rint(part / scale) * scale).astype(np.float64)
        error += float(np.dot(difference, difference))
        total += float(np.dot(part.astype(np.float64), part))
    return error / total if total else 0.0


def _on_grid(values: npt.NDArray[np.float32], step: np.float32) -> bool:
    """Whether all values are multiples of a step, but for float32 rounding."""
    return all(
        bool((np.abs(part - np.rint(part / step) * step) <= 2e-7 * part).all())
        for part in (values[:1024], values)  # the first few tell it at once in most cases
    )


def _loses_a_row(values: npt.NDArray[np.float32], indptr: npt.NDArray[np.int64], scale: np.float32) -> bool:
    """Whether the largest weight of some row is rounded to 0."""
    rows = len(indptr) - 1
    step = 1 << 16
    for first in range(0, rows, step):
        part = indptr[first : first + step + 1]
        filled = part[:-1][part[1:] > part[:-1]] - part[0]
        if len(filled):
            best = np.maximum.reduceat(np.asarray(values[part[0] : part[-1]]), filled)
            if float(best.min()) < float(scale) * 0.5:
                return True
    return False


def _pieces(values: npt.NDArray[np.float32]) -> list[npt.NDArray[Any]]:
    return [values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK)]
