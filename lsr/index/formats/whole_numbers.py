"""Weights as whole numbers, for the formats that hold no others: CIFF and Anserini."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.index.formats.outgoing import Outgoing
from lsr.index.quantize import choose_quantizer
from lsr.sparse import SparseVectors

__all__ = ["WholeNumbers"]

_LARGEST = (1 << 31) - 1  # both formats count in int32


class WholeNumbers:
    """weight = number * scale, rounded to the nearest.

    Without a scale it is that of an index, whose codes are then written as they are; for other vectors the step of the grid
    that they lie on, or 1/255 of the largest weight (1/65,535 where a few large weights would crush the others: see
    `choose_quantizer`). A weight nearest to 0 is dropped, and counted in `dropped`, except that the largest of a document
    becomes 1, so that it can still be found. `largest` is the largest number so far.
    """

    def __init__(self, out: Outgoing, scale: float | None) -> None:
        if scale is None:
            scale = out.scale
        if scale is None:
            assert out.vectors is not None  # only vectors in memory come without a scale
            scale = float(choose_quantizer(out.vectors.values, out.vectors.indptr).scale)
        if not (math.isfinite(scale) and scale > 0):
            raise InvalidInput(f"scale is {scale}: it must be a number above 0, the weight that becomes 1")
        self.scale = scale
        self.dropped = self.largest = 0

    def of(self, vectors: SparseVectors) -> npt.NDArray[np.int64]:
        """The number of each weight [nnz]; 0 for those that are dropped."""
        exact = np.rint(vectors.values.astype(np.float64) / self.scale)
        if len(exact) and exact.max() > _LARGEST:
            raise InvalidInput(
                f"a weight of {vectors.values.max()} is over {_LARGEST:,} times the scale {self.scale}; give a larger scale"
            )
        numbers = exact.astype(np.int64)
        filled = np.flatnonzero(np.diff(vectors.indptr))
        if len(filled):
            for row in filled[np.maximum.reduceat(numbers, vectors.indptr[filled]) == 0].tolist():
                start, end = vectors.indptr[row : row + 2]
                numbers[start + np.argmax(vectors.values[start:end])] = 1
            self.largest = max(self.largest, int(numbers.max()))
        self.dropped += int(np.count_nonzero(numbers == 0))
        return numbers
