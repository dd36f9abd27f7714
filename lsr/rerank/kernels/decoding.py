"""Codes of a document's tokens to the numbers that the tile takes: vectors of bytes, halves and pairs of bits, and floats.

Numbers of the tile are uint8 or, where there is no VNNI, int16. Codes and tables are uint8 either way. Positions are places
of the array they belong to, as uint64, and are not checked: a caller keeps all that is read and written inside.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from lsr.rerank.kernels.tile import FEATURES, data_of, place_at, splat

__all__ = [
    "copy_floats",
    "half_at",
    "spread_bytes",
    "spread_four",
    "spread_halves",
    "spread_halves_of_four",
    "spread_line",
    "spread_pairs",
    "spread_pairs_of_four",
    "widen_eight",
    "widen_one",
]

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_F32 = ir.FloatType()
_U = types.uint64


def _load(context: Any, builder: Any, signature: Any, args: Any, i: int, at: Any, count: int) -> Any:
    """`count` bytes of argument i."""
    vector = ir.VectorType(_I8, count)
    return builder.load(place_at(builder, data_of(context, builder, signature, args, i), at, vector), align=1)


def _store(context: Any, builder: Any, signature: Any, args: Any, i: int, at: Any, value: Any) -> None:
    """Bytes into argument i, as its type of numbers."""
    size = signature.args[i].dtype.bitwidth // 8
    if size == 2:
        value = builder.zext(value, ir.VectorType(_I16, value.type.count))
    place = builder.mul(at, _I64(size))
    builder.store(
        value, place_at(builder, data_of(context, builder, signature, args, i), place, value.type), align=size
    )


def _every(value: int, count: int) -> Any:
    return ir.Constant(ir.VectorType(_I8, count), [value] * count)


def _bytes(count: int) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _store(
            context, builder, signature, args, 2, args[3], _load(context, builder, signature, args, 0, args[1], count)
        )
        return context.get_dummy_value()

    return generate


@intrinsic
def spread_bytes(_context, codes, at, document, to):  # type: ignore[no-untyped-def]
    """spread_bytes(codes uint8, at, document, to): document[to : to + 16] = codes[at : at + 16]."""
    return types.void(codes, _U, document, _U), _bytes(16)


@intrinsic
def spread_line(_context, codes, at, document, to):  # type: ignore[no-untyped-def]
    """The same for 64."""
    return types.void(codes, _U, document, _U), _bytes(64)


@intrinsic
def spread_four(_context, codes, at, document, to):  # type: ignore[no-untyped-def]
    """The same for 4."""
    return types.void(codes, _U, document, _U), _bytes(4)


def _halves(count: int) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code = _load(context, builder, signature, args, 0, args[1], count)
        low = builder.and_(code, _every(15, count))
        high = builder.lshr(code, _every(4, count))
        for half, at in ((low, args[3]), (high, builder.add(args[3], args[4]))):
            _store(context, builder, signature, args, 2, at, builder.add(half, _every(120, count)))
        return context.get_dummy_value()

    return generate


@intrinsic
def spread_halves(_context, codes, at, document, to, gap):  # type: ignore[no-untyped-def]
    """spread_halves(codes uint8, at, document, to, gap): 16 bytes; document[to + i] = 120 + the low half of byte at + i,
    document[to + gap + i] = 120 + the high half."""
    return types.void(codes, _U, document, _U, _U), _halves(16)


@intrinsic
def spread_halves_of_four(_context, codes, at, document, to, gap):  # type: ignore[no-untyped-def]
    """The same for 4 bytes."""
    return types.void(codes, _U, document, _U, _U), _halves(4)


def _pairs(count: int) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers = data_of(context, builder, signature, args, 4)
        a, b, c, d = (splat(builder, builder.load(builder.gep(numbers, [_I64(i)])), count) for i in range(4))
        code, nothing = _load(context, builder, signature, args, 0, args[1], count), _every(0, count)
        for s in range(4):
            gap = builder.mul(args[7], _I64(s))
            odd = builder.icmp_unsigned("!=", builder.and_(code, _every(1 << 2 * s, count)), nothing)
            upper = builder.icmp_unsigned("!=", builder.and_(code, _every(2 << 2 * s, count)), nothing)
            number = builder.select(upper, builder.select(odd, d, c), builder.select(odd, b, a))
            base = _load(context, builder, signature, args, 2, builder.add(args[3], gap), count)
            _store(context, builder, signature, args, 5, builder.add(args[6], gap), builder.add(base, number))
        return context.get_dummy_value()

    return generate


@intrinsic
def spread_pairs(_context, codes, at, table, place, numbers, document, to, gap):  # type: ignore[no-untyped-def]
    """spread_pairs(codes uint8, at, table uint8, place, numbers uint8 [4], document, to, gap): 16 bytes; for s = 0 to 3
    document[to + s * gap + i] = table[place + s * gap + i] + numbers[bits 2s and 2s + 1 of byte at + i], modulo 256."""
    return types.void(codes, _U, table, _U, numbers, document, _U, _U), _pairs(16)


@intrinsic
def spread_pairs_of_four(_context, codes, at, table, place, numbers, document, to, gap):  # type: ignore[no-untyped-def]
    """The same for 4 bytes."""
    return types.void(codes, _U, table, _U, numbers, document, _U, _U), _pairs(4)


def _half_to_float(builder: Any, bits: Any, lanes: int) -> Any:
    """float32 of the bits of float16, by shifts and a product that is exact: no processor lacks these."""

    def constant(kind: Any, value: float) -> Any:
        return ir.Constant(kind, value) if lanes == 1 else ir.Constant(kind, [value] * lanes)

    words = _I32 if lanes == 1 else ir.VectorType(_I32, lanes)
    floats = _F32 if lanes == 1 else ir.VectorType(_F32, lanes)
    wide = builder.zext(bits, words)
    sign = builder.shl(builder.and_(wide, constant(words, 0x8000)), constant(words, 16))
    rest = builder.shl(builder.and_(wide, constant(words, 0x7FFF)), constant(words, 13))
    value = builder.fmul(builder.bitcast(rest, floats), constant(floats, 2.0**112))
    return builder.bitcast(builder.or_(builder.bitcast(value, words), sign), floats)


@intrinsic
def half_at(_context, codes, at):  # type: ignore[no-untyped-def]
    """half_at(codes uint8, at) -> float32: the float16 that the bytes at `at` hold, little-endian. Finite ones only."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = place_at(builder, data_of(context, builder, signature, args, 0), args[1], _I16)
        return _half_to_float(builder, builder.load(pointer, align=1), 1)

    return types.float32(codes, _U), generate


def _widener(count: int) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind, out = (_I16, _F32) if count == 1 else (ir.VectorType(_I16, count), ir.VectorType(_F32, count))
        bits = builder.load(place_at(builder, data_of(context, builder, signature, args, 0), args[1], kind), align=1)
        if "f16c" in FEATURES and count > 1:
            value = builder.fpext(builder.bitcast(bits, ir.VectorType(ir.HalfType(), count)), out)
        else:
            value = _half_to_float(builder, bits, count)
        place = builder.mul(args[3], _I64(4))
        builder.store(value, place_at(builder, data_of(context, builder, signature, args, 2), place, out), align=4)
        return context.get_dummy_value()

    return generate


@intrinsic
def widen_one(_context, codes, at, document, to):  # type: ignore[no-untyped-def]
    """widen_one(codes uint8, at, document float32, to): document[to] = the float16 in the bytes at `at`."""
    return types.void(codes, _U, document, _U), _widener(1)


@intrinsic
def widen_eight(_context, codes, at, document, to):  # type: ignore[no-untyped-def]
    """The same for eight that follow one another."""
    return types.void(codes, _U, document, _U), _widener(8)


@intrinsic
def copy_floats(_context, codes, at, document, to, size):  # type: ignore[no-untyped-def]
    """copy_floats(codes uint8, at, document float32, to, size): document[to : to + size] = the float32 in bytes from at."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        codes, document = (data_of(context, builder, signature, args, i) for i in (0, 2))
        four = _I64(4)
        target = builder.gep(document, [builder.mul(args[3], four)])
        cgutils.raw_memcpy(builder, target, builder.gep(codes, [args[1]]), builder.mul(args[4], four), 1)
        return context.get_dummy_value()

    return types.void(codes, _U, document, _U, _U), generate
