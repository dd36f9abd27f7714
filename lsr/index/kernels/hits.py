"""What the search kernels share: the heap of the best hits, and looking up a term.

Numba's cache notices a change of the file that a kernel is in, not of what it calls: whoever edits this file touches
`exact.py` and `blocked.py` too, or deletes `__pycache__`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]
U = np.uint64


@njit(nogil=True, cache=True, inline="always")
def make_key(bits, row):  # type: ignore[no-untyped-def]
    """A hit as one number: the bits of its score (>= 0, so they order like it), then the row, an earlier one is larger.

    One comparison orders hits as they are to be ranked. 0 is no hit: a free place.
    """
    return (U(bits) << U(32)) | U(4294967295 - row)


@njit(nogil=True, cache=True)
def replace_worst(keys, size, key):  # type: ignore[no-untyped-def]
    """Puts a key in place of the root of a heap of `size` keys, whose root is its smallest."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and keys[child + 1] < keys[child]:
            child += 1
        if keys[child] >= key:
            break
        keys[at] = keys[child]
        at = child
    keys[at] = key


@njit(nogil=True, cache=True)
def write_hits(keys, scores_as_bits, rows):  # type: ignore[no-untyped-def]
    """Turns the heap into lists, best first. Returns the number of hits."""
    for last in range(len(keys) - 1, 0, -1):
        key = keys[last]
        keys[last] = keys[0]
        replace_worst(keys, last, key)
    size = 0
    while size < len(keys) and keys[size] > 0:
        scores_as_bits[size] = np.int32(keys[size] >> U(32))
        rows[size] = np.int64(U(4294967295) - (keys[size] & U(4294967295)))
        size += 1
    return size


@njit(nogil=True, cache=True)
def find_term(terms, term):  # type: ignore[no-untyped-def]
    """Place of a term in a rising array, -1 where it is not."""
    low, high = 0, len(terms)
    while low < high:
        middle = (low + high) >> 1
        if terms[middle] < term:
            low = middle + 1
        else:
            high = middle
    return low if low < len(terms) and terms[low] == term else -1
