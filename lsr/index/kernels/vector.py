"""The LLVM intrinsics of the kernels: vectors of 16-bit numbers, bit counts, prefetching. All of them are here.

They are LLVM's own vector types and operations, of no one processor: LLVM lowers them to what the target has (one AVX-512
instruction, two of AVX2, four of SSE2 or NEON, or scalar code), with the same results. The tests run them for several
processors against numpy, and lower them for aarch64.

Positions are uint64 and are not checked: a caller keeps every lane it names inside the array. With NUMBA_BOUNDSCHECK=1, as
tests set it, they are, and an IndexError is raised.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

__all__ = ["LANES", "ROW", "above", "add_nibbles", "count_bits", "equal", "first_bit", "nibbles_above_0", "prefetch"]

LANES = 64  # scores that `above` compares at once: as many as a uint64 has bits
ROW = 32  # terms that `equal` compares at once
_I1, _I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, at: Any, to: Any) -> Any:
    made = context.make_array(array_type)(context, builder, array)
    if config.BOUNDSCHECK and isinstance(to, ir.VectorType):
        last = builder.add(at, ir.Constant(at.type, to.count - 1))
        cgutils.do_boundscheck(context, builder, last, cgutils.unpack_tuple(builder, made.shape, 1)[0])
    return builder.bitcast(builder.gep(made.data, [at]), to.as_pointer())


def _splat(builder: Any, value: Any, lanes: int) -> Any:
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    vector = builder.insert_element(undefined, value, _I32(0))
    return builder.shuffle_vector(vector, undefined, ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes))


@intrinsic
def prefetch(_context, array, at):  # type: ignore[no-untyped-def]
    """prefetch(array, at): asks for the cache line of array[at]. Never faults, wherever `at` points."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1], _I8)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, _I32(0), _I32(3), _I32(1)])  # read, keep in all levels, data
        return context.get_dummy_value()

    return types.void(array, types.uint64), generate


@intrinsic
def above(_context, scores, at, threshold):  # type: ignore[no-untyped-def]
    """above(scores int16, at, threshold int16) -> uint64: bit i says whether scores[at + i] > threshold, for 64 scores."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(_I16, LANES)
        scores = builder.load(_pointer(context, builder, signature.args[0], args[0], args[1], vector), align=2)
        return builder.bitcast(builder.icmp_signed(">", scores, _splat(builder, args[2], LANES)), _I64)

    return types.uint64(scores, types.uint64, types.int16), generate


@intrinsic
def equal(_context, terms, at, term):  # type: ignore[no-untyped-def]
    """equal(terms, at, term) -> uint64: bit i says whether terms[at + i] == term, for 32 terms of 16 or 32 bits."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = _I32 if signature.args[0].dtype.bitwidth == 32 else _I16
        vector = ir.VectorType(kind, ROW)
        terms = builder.load(_pointer(context, builder, signature.args[0], args[0], args[1], vector), align=2)
        term = _splat(builder, args[2] if kind is _I32 else builder.trunc(args[2], _I16), ROW)
        return builder.zext(builder.bitcast(builder.icmp_unsigned("==", terms, term), _I32), _I64)

    return types.uint64(terms, types.uint64, types.uint32), generate


@intrinsic
def add_nibbles(_context, scores, at, gap, cells, cell_at, weight):  # type: ignore[no-untyped-def]
    """add_nibbles(scores int16, at, gap, cells uint8, cell_at, weight uint16): adds weight * code to 32 scores from 16 bytes.

    Byte i holds the 4-bit codes of score i (low half) and of score gap + i (high half).
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, at, gap, _, _, weight = args
        narrow = ir.VectorType(_I16, 16)
        cell = builder.load(
            _pointer(context, builder, signature.args[3], args[3], args[4], ir.VectorType(_I8, 16)), align=1
        )
        cell = builder.zext(cell, narrow)
        low = builder.and_(cell, ir.Constant(narrow, [15] * 16))
        high = builder.lshr(cell, ir.Constant(narrow, [4] * 16))
        weight = _splat(builder, weight, 16)
        for place, codes in ((at, low), (builder.add(at, gap), high)):
            pointer = _pointer(context, builder, signature.args[0], args[0], place, narrow)
            total = builder.add(builder.load(pointer, align=2), builder.mul(codes, weight))
            builder.store(total, pointer, align=2)
        return context.get_dummy_value()

    return types.void(scores, types.uint64, types.uint64, cells, types.uint64, types.uint16), generate


@intrinsic
def nibbles_above_0(_context, codes, at):  # type: ignore[no-untyped-def]
    """nibbles_above_0(codes uint8, at) -> uint64: bit i says whether the low half of byte at + i is above 0, bit 32 + i
    whether its high half is, for 32 bytes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(_I8, 32)
        codes = builder.load(_pointer(context, builder, signature.args[0], args[0], args[1], vector), align=1)
        bits = _I64(0)
        for shift, mask in ((0, 0x0F), (32, 0xF0)):
            half = builder.and_(codes, ir.Constant(vector, [mask] * 32))
            there = builder.bitcast(builder.icmp_unsigned("!=", half, ir.Constant(vector, [0] * 32)), _I32)
            bits = builder.or_(bits, builder.shl(builder.zext(there, _I64), _I64(shift)))
        return bits

    return types.uint64(codes, types.uint64), generate


@intrinsic
def first_bit(_context, bits):  # type: ignore[no-untyped-def]
    """first_bit(bits uint64) -> uint64: the number of the lowest bit that is set. `bits` is not 0."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], _I1(1))

    return types.uint64(types.uint64), generate


@intrinsic
def count_bits(_context, bits):  # type: ignore[no-untyped-def]
    """count_bits(bits uint64) -> uint64: how many bits are set."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), generate
