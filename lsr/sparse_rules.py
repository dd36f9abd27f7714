"""The rules of SparseVectors, checked: arrays of numbers of the right kind, rows in order, weights above 0, ids."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidVectors, one_line

__all__ = [
    "FloatArray",
    "IntArray",
    "check_structure",
    "check_values",
    "checked_dim",
    "checked_ids",
    "checked_integers",
    "checked_weights",
    "is_text",
    "row_of",
]

IntArray = npt.NDArray[np.integer[Any]]
FloatArray = npt.NDArray[np.float32]


def checked_dim(dim: int) -> int:
    try:
        result = operator.index(dim)
    except TypeError:
        raise InvalidVectors(f"dim is {dim!r}: it must be a whole number") from None
    if not 0 < result <= 1 << 32:
        raise InvalidVectors(f"dim is {result}: it must be between 1 and {1 << 32}")
    return result


def checked_weights(values: npt.ArrayLike, name: str = "values") -> FloatArray:
    """As float32. Only numbers: numpy would parse strings, and drop the imaginary part of complex numbers."""
    result = _as_array(values, name)
    if result.dtype.kind not in "biuf":
        raise InvalidVectors(f"{name} has type {result.dtype}: it must hold real numbers")
    with np.errstate(over="ignore"):  # a weight above float32's range becomes inf, and is refused as such
        return np.ascontiguousarray(result, dtype=np.float32)


def _as_array(array: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(array)
    except ValueError as error:  # lists of unequal length
        raise InvalidVectors(f"{name} is no array: {one_line(error)}") from None


def checked_integers(array: npt.ArrayLike, name: str) -> IntArray:
    result = _as_array(array, name)
    if result.ndim != 1:
        raise InvalidVectors(f"{name} has {result.ndim} dimensions: it must have 1")
    if result.size == 0:
        return result.astype(np.int64)
    if not np.issubdtype(result.dtype, np.integer):
        raise InvalidVectors(f"{name} has type {result.dtype}: it must hold integers")
    return result


def check_structure(indptr: IntArray, indices: IntArray, dim: int, *, rising: bool = True) -> None:
    if len(indptr) == 0 or indptr[0] != 0:
        raise InvalidVectors("indptr must start with 0")
    if np.any(indptr[1:] < indptr[:-1]):
        raise InvalidVectors(f"indptr falls after row {int(np.argmax(indptr[1:] < indptr[:-1]))}: it must never fall")
    if int(indptr[-1]) != len(indices):
        raise InvalidVectors(f"indptr ends at {int(indptr[-1])} but there are {len(indices)} indices")
    if len(indices) == 0:
        return
    if int(indices.max()) >= dim or int(indices.min()) < 0:
        at = int(np.argmax((indices >= dim) | (indices < 0)))
        raise InvalidVectors(f"row {row_of(indptr, at)} has term {int(indices[at])}: dim is {dim}")
    if rising and len(indices) > 1:
        falls = indices[1:] <= indices[:-1]
        starts = indptr[1:-1]
        falls[starts[(starts > 0) & (starts < len(indices))] - 1] = False  # a new row may start anywhere
        if falls.any():
            row = row_of(indptr, int(np.argmax(falls)))
            raise InvalidVectors(f"row {row}: term ids must rise; SparseVectors.from_scipy sorts them")


def check_values(values: FloatArray, indptr: npt.NDArray[np.int64]) -> None:
    if values.ndim != 1 or len(values) != int(indptr[-1]):
        raise InvalidVectors(f"values has shape {values.shape}: there are {int(indptr[-1])} indices")
    good = (values > 0) & (values < np.inf)  # NaN compares false
    if not good.all():
        at = int(np.argmin(good))
        raise InvalidVectors(f"row {row_of(indptr, at)} has weight {values[at]}: weights are finite and above 0")


def row_of(indptr: IntArray, position: int) -> int:
    return int(np.searchsorted(indptr, position, side="right")) - 1


def checked_ids(ids: Sequence[str], rows: int) -> tuple[str, ...]:
    if isinstance(ids, str):
        raise InvalidVectors("ids is one string: give a list of strings")
    result = tuple(ids)
    if len(result) != rows:
        raise InvalidVectors(f"{len(result)} ids for {rows} vectors")
    seen: set[str] = set()
    for i, name in enumerate(result):
        if not isinstance(name, str) or not name:
            raise InvalidVectors(f"the id of row {i} is {name!r}: ids are non-empty strings")
        if not is_text(name):
            raise InvalidVectors(f"the id of row {i} is {name!r}: it cannot be written as UTF-8")
        if name in seen:
            raise InvalidVectors(f"row {i} repeats the id {name!r}")
        seen.add(name)
    return result


def is_text(name: str) -> bool:
    """False for halves of surrogate pairs, which Python strings may hold and UTF-8 may not."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
