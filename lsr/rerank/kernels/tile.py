"""The product of a few document tokens with all query tokens, in registers: the one place where MaxSim's time goes.

A tile is `DEPTH` document tokens by one or two vectors of `LANES` query tokens, with an accumulator for each vector. A step
broadcasts four bytes of each document token, a group, against the same group of every query token: an outer product, as
matrix libraries do it (Goto and van de Geijn 2008), but the maximum over document tokens is taken while the products are in
registers. A group is one of

- four dimensions of a byte each, a document's unsigned and a query's signed: vpdpbusd, one instruction (VNNI);
- two dimensions of 16 bits each, the same numbers: vpmaddwd and an addition, for processors without VNNI;
- one dimension as float32.

The first two give the same integers, so the same scores to the last bit. Numba keeps compiled code by processor and
features; `FEATURES` are those it compiles for, so code and layout never come from two processors.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

__all__ = [
    "DEPTH",
    "FEATURES",
    "GROUP_BYTES",
    "LANES",
    "VNNI",
    "tile_of_one",
    "tile_of_two",
]

GROUP_BYTES = 4
_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_F32 = ir.FloatType()


def _features() -> frozenset[str]:
    """Features of the processor that Numba compiles for, also where NUMBA_CPU_FEATURES names another."""
    flat = cpu_target.target_context.codegen().magic_tuple()[2]
    return frozenset(name[1:] for name in flat.split(",") if name.startswith("+"))


FEATURES = _features()
_WIDE = "avx512bw" in FEATURES
VNNI = "avx512vnni" in FEATURES if _WIDE else "avxvnni" in FEATURES
LANES = 16 if _WIDE else 8  # query tokens of a vector register
# Document tokens of a tile. Twelve accumulators hide the five cycles that vpdpbusd takes, of which two start in a cycle;
# where there are 16 registers, eight are what fits.
DEPTH = 6 if _WIDE else 4


def data_of(context: Any, builder: Any, signature: Any, args: Any, i: int) -> Any:
    """The data of array argument i, as a pointer to bytes."""
    made = context.make_array(signature.args[i])(context, builder, args[i])
    return builder.bitcast(made.data, _I8.as_pointer())


def place_at(builder: Any, base: Any, byte: Any, to: Any) -> Any:
    return builder.bitcast(builder.gep(base, [byte]), to.as_pointer())


def splat(builder: Any, value: Any, lanes: int) -> Any:
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    vector = builder.insert_element(undefined, value, _I32(0))
    return builder.shuffle_vector(vector, undefined, ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes))


def _add_bytes(builder: Any, total: Any, document: Any, query: Any) -> Any:
    """total + the sums of four products, of unsigned bytes of a document and signed ones of queries."""
    words = ir.VectorType(_I32, LANES)
    if VNNI:
        # LLVM brings this form of the declaration into its own, in all versions that have it.
        name = f"llvm.x86.avx512.vpdpbusd.{LANES * 32}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(words, [words] * 3), name)
        return builder.call(function, [total, document, query])
    # Elsewhere only the tests come here: the same four products, slowly.
    for byte in range(4):
        up = ir.Constant(words, [24 - 8 * byte] * LANES)
        down = ir.Constant(words, [24] * LANES)
        left = builder.lshr(builder.shl(document, up), down)
        right = builder.ashr(builder.shl(query, up), down)
        total = builder.add(total, builder.mul(left, right))
    return total


def _add_pairs(builder: Any, total: Any, document: Any, query: Any) -> Any:
    """total + the sums of two products of signed 16-bit numbers."""
    pairs, words = ir.VectorType(_I16, 2 * LANES), ir.VectorType(_I32, LANES)
    undefined = ir.Constant(pairs, ir.Undefined)
    document, query = builder.bitcast(document, pairs), builder.bitcast(query, pairs)
    if _WIDE or "avx2" in FEATURES:
        # LLVM finds the instruction in the form below too, but not once it has moved parts of it out of the loop.
        name = "llvm.x86.avx512.pmaddw.d.512" if _WIDE else "llvm.x86.avx2.pmadd.wd"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(words, [pairs] * 2), name)
        return builder.add(total, builder.call(function, [document, query]))
    products = []
    for first in (0, 1):
        mask = ir.Constant(ir.VectorType(_I32, LANES), list(range(first, 2 * LANES, 2)))
        left, right = (builder.sext(builder.shuffle_vector(v, undefined, mask), words) for v in (document, query))
        products.append(builder.mul(left, right))
    return builder.add(total, builder.add(*products))


def _add_floats(builder: Any, total: Any, document: Any, query: Any) -> Any:
    """total + a product; in one operation where the processor has one."""
    lanes = ir.VectorType(_F32, LANES)
    product = builder.fmul(builder.bitcast(document, lanes), builder.bitcast(query, lanes), flags=("contract",))
    return builder.fadd(total, product, flags=("contract",))


_ADD = {types.int8: _add_bytes, types.int16: _add_pairs, types.float32: _add_floats}


def _tile(module: Any, kind: Any, vectors: int) -> Any:
    """The loop as a function of its own: within the kernel, what else is going on there would take its registers.

    Arguments: query, document, start, scales, best, all as bytes, then stride and groups.
    """
    name = f"lsr_tile_{kind}_{vectors}"
    if name in module.globals:
        return module.globals[name]
    bytes_, floating = _I8.as_pointer(), kind == types.float32
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [bytes_] * 5 + [_I64] * 2), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    query, document, start, scales, best, stride, groups = function.args
    words, floats = ir.VectorType(_I32, LANES), ir.VectorType(_F32, LANES)
    line = LANES * GROUP_BYTES
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    panels = [builder.gep(query, [builder.mul(groups, _I64(v * line))]) for v in range(vectors)]
    tokens = [builder.gep(document, [builder.mul(stride, _I64(d))]) for d in range(DEPTH)]
    if floating:
        starts = [ir.Constant(floats, [0.0] * LANES)] * vectors
    else:
        starts = [builder.load(place_at(builder, start, _I64(v * line), words), align=4) for v in range(vectors)]

    before, loop, done = (builder.block, *(function.append_basic_block(block) for block in ("groups", "done")))
    builder.branch(loop)
    builder.position_at_end(loop)
    group = builder.phi(_I64)
    group.add_incoming(_I64(0), before)
    totals = {(d, v): builder.phi(floats if floating else words) for d in range(DEPTH) for v in range(vectors)}
    lines = builder.mul(group, _I64(line))
    right = [builder.load(place_at(builder, panel, lines, words), align=4) for panel in panels]
    last = {}
    for d in range(DEPTH):
        four = builder.load(place_at(builder, tokens[d], builder.mul(group, _I64(GROUP_BYTES)), _I32), align=4)
        left = splat(builder, four, LANES)
        for v in range(vectors):
            last[d, v] = _ADD[kind](builder, totals[d, v], left, right[v])
    for (d, v), total in totals.items():
        total.add_incoming(starts[v], before)
        total.add_incoming(last[d, v], loop)
    following = builder.add(group, _I64(1))
    group.add_incoming(following, loop)
    builder.cbranch(builder.icmp_unsigned("<", following, groups), loop, done)

    builder.position_at_end(done)
    for v in range(vectors):
        pointer = place_at(builder, best, _I64(v * line), floats)
        maximum = builder.load(pointer, align=4)
        for d in range(DEPTH):
            scale = builder.load(place_at(builder, scales, _I64(4 * d), _F32), align=4)
            product = last[d, v] if floating else builder.sitofp(last[d, v], floats)
            product = builder.fmul(product, splat(builder, scale, LANES))
            maximum = builder.select(builder.fcmp_ordered(">", product, maximum), product, maximum)
        builder.store(maximum, pointer, align=4)
    builder.ret_void()
    return function


def _generator(vectors: int) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        query, document, start, scales, best = (data_of(context, builder, signature, args, i) for i in (0, 2, 4, 5, 6))
        lane = builder.mul(args[7], _I64(4))
        start, best = builder.gep(start, [lane]), builder.gep(best, [lane])
        tile = _tile(builder.module, signature.args[0].dtype, vectors)
        builder.call(tile, [builder.gep(query, [args[1]]), document, start, scales, best, args[3], args[8]])
        return context.get_dummy_value()

    return generate


_U = types.uint64


@intrinsic
def tile_of_one(_context, query, query_at, document, stride, start, scales, best, lane_at, groups):  # type: ignore[no-untyped-def]
    """tile_of_one(query, query_at, document, stride, start, scales, best, lane_at, groups): raises maxima.

    query int8, int16 or float32: groups of LANES tokens, [groups, LANES, 4 bytes] from byte `query_at`; document: DEPTH rows
    of `stride` bytes; start int32: what the sums begin with (not looked at for float32); scales float32 [DEPTH] of the
    document's tokens; best float32: best[lane_at + i] becomes at least scale * (start[lane_at + i] + product) of each row.
    """
    return types.void(query, _U, document, _U, start, scales, best, _U, _U), _generator(1)


@intrinsic
def tile_of_two(_context, query, query_at, document, stride, start, scales, best, lane_at, groups):  # type: ignore[no-untyped-def]
    """The same for two vectors of query tokens that lie one after the other: 2 * LANES maxima."""
    return types.void(query, _U, document, _U, start, scales, best, _U, _U), _generator(2)
