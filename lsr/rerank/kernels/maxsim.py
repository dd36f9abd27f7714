"""MaxSim of one query against chosen documents of a compressed store, with early exit.

MaxSim (Khattab and Zaharia 2020, section 3.3): for each query token the largest dot product with a token of the document,
summed over query tokens. No document is decompressed as a whole: `DEPTH` tokens at a time become numbers of the tile's type
in a buffer of a few hundred bytes, which all query tokens then use (`kernels.tile`). Decoding a token takes 5 to 20 ns,
much less than the products with 32 query tokens, so all codecs of integers cost about the same.

Codes: `width` bytes a token. All integer codecs end in a float16, the scale of the token. Their numbers are small integers,
stored in the buffer with 128 added:

- INT8: a byte a dimension, with 128 added already;
- INT4: byte j holds dimension j (low half) and half + j (high half), with 8 added; half = 4 * ceil(dim / 8);
- RESIDUAL: uint16, the number of a centroid, then byte j holds two bits for each of the dimensions j + s * quarter, s = 0
  to 3, lowest first: which of four numbers is added to the centroid's; quarter = 4 * ceil(dim / 16);
- PQ: a byte for each part of the vector: which of 256 pieces it is;
- FLOAT32, FLOAT16: little-endian; no scale.

Sums of products are integers, exact, and become float32 once; so scores are the same on all processors and threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit, types
from numba.extending import overload

from lsr.rerank.kernels.decoding import (
    copy_floats,
    half_at,
    spread_bytes,
    spread_four,
    spread_halves,
    spread_halves_of_four,
    spread_line,
    spread_pairs,
    spread_pairs_of_four,
    widen_eight,
    widen_one,
)
from lsr.rerank.kernels.tile import DEPTH, GROUP_BYTES, LANES, tile_of_one, tile_of_two

__all__ = ["FLOAT16", "FLOAT32", "INT4", "INT8", "PQ", "RESIDUAL", "score_rows"]

Array = npt.NDArray[Any]
U = np.uint64
FLOAT32, FLOAT16, INT8, INT4, RESIDUAL, PQ = range(6)
PIECES = 256  # of each part, in PQ
# Numba's cache notices when the text of this file changes, not of those that it calls: whoever changes `tile.py` or
# `decoding.py` raises this number.
REVISION = 1
_MARGIN = 16  # numbers that the decoders write beyond the last row, at most, but for a part of PQ
_DEPTH, _LANES, _LINE = U(DEPTH), U(LANES), U(LANES * GROUP_BYTES)


@njit(nogil=True, cache=True)
def _floats(kind, codes, at, dim, document, to):  # type: ignore[no-untyped-def]
    if kind == FLOAT32:
        copy_floats(codes, at, document, to, dim)
        return
    j = U(0)
    while j + U(8) <= dim:
        widen_eight(codes, at + U(2) * j, document, to + j)
        j += U(8)
    while j < dim:
        widen_one(codes, at + U(2) * j, document, to + j)
        j += U(1)


@njit(nogil=True, cache=True)
def _int8(codes, at, dim, document, to):  # type: ignore[no-untyped-def]
    j = U(0)
    while j + U(64) <= dim:
        spread_line(codes, at + j, document, to + j)
        j += U(64)
    while j + U(16) <= dim:
        spread_bytes(codes, at + j, document, to + j)
        j += U(16)
    while j < dim:
        document[to + j] = codes[at + j]
        j += U(1)


@njit(nogil=True, cache=True)
def _int4(codes, at, dim, document, to):  # type: ignore[no-untyped-def]
    half = (dim + U(7)) // U(8) * U(4)
    j = U(0)
    while j + U(16) <= half:
        spread_halves(codes, at + j, document, to + j, half)
        j += U(16)
    while j < half:
        spread_halves_of_four(codes, at + j, document, to + j, half)
        j += U(4)


@njit(nogil=True, cache=True)
def _residual(codes, at, dim, table, numbers, document, to):  # type: ignore[no-untyped-def]
    """False where there is no such centroid. table [centroids * 4 * quarter]."""
    quarter = (dim + U(15)) // U(16) * U(4)
    place = (U(codes[at]) | (U(codes[at + U(1)]) << U(8))) * quarter * U(4)
    if place >= U(len(table)):
        return False
    at += U(2)
    j = U(0)
    while j + U(16) <= quarter:
        spread_pairs(codes, at + j, table, place + j, numbers, document, to + j, quarter)
        j += U(16)
    while j < quarter:
        spread_pairs_of_four(codes, at + j, table, place + j, numbers, document, to + j, quarter)
        j += U(4)
    return True


@njit(nogil=True, cache=True)
def _pq(codes, at, parts, part, table, document, to):  # type: ignore[no-untyped-def]
    """table [parts * PIECES * padded], padded: the dimensions of a part, up to a multiple of 4."""
    padded = (part + U(3)) & ~U(3)
    place = U(0)
    for m in range(parts):
        piece = place + U(codes[at + m]) * padded
        spread_four(table, piece, document, to)
        for j in range(U(4), padded, U(4)):
            spread_four(table, piece + j, document, to + j)
        place += U(PIECES) * padded
        to += part


def _decode(kind, codes, first, rows, width, dim, part, table, numbers, document, stride, scales):  # type: ignore[no-untyped-def]
    """Rows of the document's buffer = the tokens from `first` on, and their scales; False where their codes name nothing.

    The decoders write a little more than a row, in steps of 4: so rows are written in order, and the buffer is longer.
    """
    raise NotImplementedError


@overload(_decode, inline="never")
def _decode_by_type(kind, codes, first, rows, width, dim, part, table, numbers, document, stride, scales):  # type: ignore[no-untyped-def]
    if document.dtype == types.float32:

        def floats(kind, codes, first, rows, width, dim, part, table, numbers, document, stride, scales):  # type: ignore[no-untyped-def]
            for i in range(rows):
                _floats(kind, codes, (first + i) * width, dim, document, i * stride)
                scales[i] = 1
            return True

        return floats

    def integers(kind, codes, first, rows, width, dim, part, table, numbers, document, stride, scales):  # type: ignore[no-untyped-def]
        for i in range(rows):
            at, to = (first + i) * width, i * stride
            if kind == INT8:
                _int8(codes, at, dim, document, to)
            elif kind == INT4:
                _int4(codes, at, dim, document, to)
            elif kind == PQ:
                _pq(codes, at, width - U(2), part, table, document, to)
            elif not _residual(codes, at, dim, table, numbers, document, to):
                return False
            scales[i] = half_at(codes, at + width - U(2))
        return True

    return integers


def _pack(query, packed, start, scales, groups):  # type: ignore[no-untyped-def]
    """The query as the tile takes it: packed [vectors, groups, LANES, group]; sums start with -128 * sum; scales [tokens]."""
    raise NotImplementedError


@overload(_pack, inline="never")
def _pack_by_type(query, packed, start, scales, groups):  # type: ignore[no-untyped-def]
    if packed.dtype == types.float32:

        def floats(query, packed, start, scales, groups):  # type: ignore[no-untyped-def]
            for t in range(U(query.shape[0])):
                at = t // _LANES * groups * _LANES + t % _LANES
                for j in range(U(query.shape[1])):
                    packed[at + j * _LANES] = query[t, j]
                scales[t] = 1

        return floats

    size = GROUP_BYTES * 8 // packed.dtype.bitwidth  # dimensions of a group
    group, line = U(size), U(size) * _LANES

    def integers(query, packed, start, scales, groups):  # type: ignore[no-untyped-def]
        for t in range(U(query.shape[0])):
            largest = np.float32(0)
            for j in range(U(query.shape[1])):
                largest = max(largest, abs(query[t, j]))
            # Smaller ones could make 127 / largest infinite; they score 0.
            factor = np.float32(127) / largest if largest > np.float32(1e-30) else np.float32(0)
            at = t // _LANES * groups * line + t % _LANES * group
            total = 0
            for j in range(U(query.shape[1])):
                code = int(np.rint(query[t, j] * factor))
                packed[at + j // group * line + j % group] = code
                total += code
            start[t] = -128 * total
            scales[t] = largest / np.float32(127)

    return integers


def _buffer(packed, size):  # type: ignore[no-untyped-def]
    """What goes with a packed query: int8 is multiplied with uint8, the others with their own type."""
    raise NotImplementedError


@overload(_buffer, inline="never")
def _buffer_by_type(packed, size):  # type: ignore[no-untyped-def]
    dtype = np.dtype("uint8" if packed.dtype == types.int8 else str(packed.dtype))
    return lambda packed, size: np.zeros(size, dtype)


@njit(nogil=True, cache=True)
def _score_document(kind, codes, first, last, width, dim, part, table, numbers, packed, start, scales, memory):  # type: ignore[no-untyped-def]
    """MaxSim of the tokens [first, last), at least one. -1 in [1] where a code names nothing."""
    document, of_tokens, best, stride = memory
    size = U(document.itemsize)
    groups = stride * size // U(GROUP_BYTES)
    vectors = U(len(best)) // _LANES
    panel = groups * _LINE
    best[:] = -np.inf
    while first < last:
        rows = min(last - first, _DEPTH)
        if not _decode(kind, codes, first, rows, width, dim, part, table, numbers, document, stride, of_tokens):
            return np.float32(0), False
        # A tile is always full: the first token fills it up, which changes no maximum.
        for i in range(rows, _DEPTH):
            for j in range(stride):
                document[i * stride + j] = document[j]
            of_tokens[i] = of_tokens[0]
        v = U(0)
        while v + U(2) <= vectors:
            tile_of_two(packed, v * panel, document, stride * size, start, of_tokens, best, v * _LANES, groups)
            v += U(2)
        if v < vectors:
            tile_of_one(packed, v * panel, document, stride * size, start, of_tokens, best, v * _LANES, groups)
        first += rows
    total = 0.0
    for t in range(U(len(scales))):
        total += np.float64(best[t]) * np.float64(scales[t])
    return np.float32(total), True


@njit(nogil=True, cache=True)
def _enter(total, row, totals, rows, size, k):  # type: ignore[no-untyped-def]
    """Puts a document among the k best so far, best first, of equals the earlier row; the new size, or -1: it is not one."""
    at = size
    while at > 0 and (total > totals[at - 1] or (total == totals[at - 1] and row < rows[at - 1])):
        at -= 1
    if at >= k:
        return -1
    last = min(size, k - 1)
    for i in range(last, at, -1):
        totals[i], rows[i] = totals[i - 1], rows[i - 1]
    totals[at], rows[at] = total, row
    return min(size + 1, k)


@njit(nogil=True, cache=True)
def score_rows(
    query: Array,
    codes: Array,
    offsets: Array,
    rows: Array,
    base: Array,
    factor: float,
    k: int,
    patience: int,
    kind: int,
    width: int,
    part: int,
    table: Array,
    numbers: Array,
    packed: Array,
    out: Array,
) -> int:
    """MaxSim of a query and the documents `rows`, in order, until `patience` in a row are not among the k best.

    query float32 [tokens, dim], finite; codes uint8 [all tokens * width]; offsets int64 [documents + 1]: a document's tokens;
    rows int64 [c]; what is compared for early exit is base + factor * MaxSim (base float64 [c]), ties going to the
    smaller row; patience 0: all are scored. kind, width, part, table, numbers: see `_decode`; table and numbers have the type
    of the buffer: uint8 with packed int8, int16 with int16, float32 with float32. packed: what a query is packed in, of
    vectors * LANES tokens by a multiple of 4 dimensions that is at least dim, all 0. out float32 [c].

    Returns how many were scored. Where row i is no document of the store, or its offsets or codes point outside of it,
    -1 - i: nothing outside the arrays is read, whatever they hold. A document without tokens scores 0.
    """
    tokens, dim = U(query.shape[0]), U(query.shape[1])
    vectors = (tokens + _LANES - U(1)) // _LANES
    start, scales = np.zeros(vectors * _LANES, np.int32), np.empty(tokens, np.float32)
    stride = (dim + U(3)) // U(4) * U(4)
    groups = stride * U(packed.itemsize) // U(GROUP_BYTES)
    document = _buffer(packed, _DEPTH * stride + U(part) + U(_MARGIN))
    memory = document, np.empty(_DEPTH, np.float32), np.empty(vectors * _LANES, np.float32), stride
    _pack(query, packed, start, scales, groups)
    best_totals, best_rows = np.empty(max(k, 1), np.float64), np.empty(max(k, 1), np.int64)
    size = missed = 0
    stored = len(codes) // width
    for i in range(len(rows)):
        row = rows[i]
        if row < 0 or row >= len(offsets) - 1:
            return -1 - i
        first, last = offsets[row], offsets[row + 1]
        if first < 0 or first > last or last > stored:
            return -1 - i
        score = np.float32(0)
        if first < last and tokens > 0:
            score, right = _score_document(
                kind, codes, U(first), U(last), U(width), dim, U(part), table, numbers, packed, start, scales, memory
            )
            if not right:
                return -1 - i
        out[i] = score
        if patience > 0:
            entered = _enter(base[i] + factor * np.float64(score), row, best_totals, best_rows, size, k)
            missed = missed + 1 if entered < 0 else 0
            size = max(size, entered)
            if missed >= patience:
                return i + 1
    return len(rows)
