"""Postings lists of CIFF: protobuf messages to arrays, and arrays to messages.

The bytes are anyone's. So the reader checks each step against the end of its message, and writes no more postings than
the caller made room for: one for each two bytes of the message.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]

# What is wrong with a message.
FINE, MALFORMED, NOT_RISING, NO_DOCUMENT, TOO_LARGE = range(5)

# Keys of protobuf fields: number << 3 | wire type.
_TERM, _POSTING = (1 << 3) | 2, (4 << 3) | 2
_DOCUMENT, _WEIGHT = 1 << 3, 2 << 3
_LARGEST = (1 << 31) - 1


@njit(nogil=True, cache=True)
def _varint(data: Array, at: int, end: int) -> tuple[int, int]:
    """(value, next place) of a number at data[at:end]. The place is -1 when it is not whole, the value -1 when it is no
    int32 of 0 or above."""
    value = np.uint64(0)
    shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        if shift < 63:
            value |= np.uint64(byte & 127) << np.uint64(shift)
        elif byte & 127:
            value = np.uint64(1) << np.uint64(63)
        if byte < 128:
            if value > np.uint64(_LARGEST):
                return -1, at
            return np.int64(value), at  # type: ignore[return-value]  # int() of a uint64 would stay unsigned
        shift += 7
    return -1, -1


@njit(nogil=True, cache=True)
def _skip(data: Array, key: int, at: int, end: int) -> int:
    """The place after the value of a field that nobody asked for; -1 when it is not whole."""
    wire = key & 7
    if key < 0:
        return -1
    size = -1
    if wire == 0:
        _, at = _varint(data, at, end)
        size = 0
    elif wire == 1:
        size = 8
    elif wire == 5:
        size = 4
    elif wire == 2:
        size, at = _varint(data, at, end)
    if at < 0 or size < 0 or size > end - at:
        return -1
    return at + size


@njit(nogil=True, cache=True)
def read_postings(
    data: Array, start: int, end: int, documents: int, docs: Array, weights: Array
) -> tuple[int, int, int, int]:
    """Decodes the PostingsList data[start:end] into docs and weights (uint32 [at least (end - start) / 2]).

    data uint8, and start <= end inside it: the caller has checked that. Document numbers come as gaps; they must rise and
    lie below `documents`. Returns (postings, start of the term, its end, what is wrong: FINE if nothing).
    """
    at = start
    count = 0
    doc = 0
    term_start = start
    term_end = start
    while at < end:
        key, at = _varint(data, at, end)
        if at < 0:
            return count, term_start, term_end, MALFORMED
        if key != _POSTING and key != _TERM:
            at = _skip(data, key, at, end)
            if at < 0:
                return count, term_start, term_end, MALFORMED
            continue
        size, at = _varint(data, at, end)
        if at < 0 or size < 0 or size > end - at:
            return count, term_start, term_end, MALFORMED
        stop = at + size
        if key == _TERM:
            term_start = at
            term_end = stop
            at = stop
            continue
        gap = 0  # what is 0 is left out
        weight = 0
        while at < stop:
            key, at = _varint(data, at, stop)
            if at >= 0 and key == _DOCUMENT:
                gap, at = _varint(data, at, stop)
            elif at >= 0 and key == _WEIGHT:
                weight, at = _varint(data, at, stop)
            elif at >= 0:
                at = _skip(data, key, at, stop)
            if at < 0:
                return count, term_start, term_end, MALFORMED
        if gap < 0 or weight < 0:
            return count, term_start, term_end, TOO_LARGE
        if count > 0 and gap == 0:
            return count, term_start, term_end, NOT_RISING
        doc += gap
        if doc >= documents:
            return count, term_start, term_end, NO_DOCUMENT
        docs[count] = doc
        weights[count] = weight
        count += 1
    return count, term_start, term_end, FINE


@njit(nogil=True, cache=True)
def _put_varint(value: int, out: Array, at: int) -> int:
    while value > 127:
        out[at] = (value & 127) | 128
        value >>= 7
        at += 1
    out[at] = value
    return at + 1


@njit(nogil=True, cache=True)
def write_postings(docs: Array, weights: Array, out: Array) -> int:
    """Encodes the postings of a list, and returns the number of bytes.

    docs [n] rising and weights [n], all below 1 << 31; out uint8 [at least 14 n].
    """
    at = 0
    last = np.int64(0)
    for i in range(len(docs)):
        gap = np.int64(docs[i]) - last
        last = np.int64(docs[i])
        out[at] = _POSTING
        begin = at + 2  # 1 byte holds the length: a posting has 12 bytes at most
        at = begin
        if gap > 0:
            out[at] = _DOCUMENT
            at = _put_varint(gap, out, at + 1)
        out[at] = _WEIGHT
        at = _put_varint(np.int64(weights[i]), out, at + 1)
        out[begin - 1] = at - begin
    return at
