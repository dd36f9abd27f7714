"""The forward of the head on a GPU: product and maximum in one kernel, so that logits never leave the registers.

A program has one text and one tile of terms. It goes over the positions of its own text alone, so padding costs nothing.
Imported only where triton is.
"""

from __future__ import annotations

import os
from shutil import which
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["DTYPES", "INTERPRETED", "Tile", "largest_logits", "runs_on", "tiles_for"]

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Tile(NamedTuple):
    """What a program does at a time; terms, positions and elements are powers of two, 16 or more."""

    terms: int
    positions: int
    elements: int  # of the hidden size
    warps: int
    stages: int  # of loads under way
    registers: int | None = None  # of a thread, at most


# The first of each list is used; the others are what benchmarks.training_head tries beside it. Fixed and not tuned at run
# time: tiles decide the order of sums, and the same run must give the same numbers. All fit in 99 KB of shared memory, which
# GPUs have since Ampere.
NARROW = [  # 16 bits, up to 128 elements: the weights of the tile are read once and stay
    Tile(256, 64, 128, 8, 2),
    Tile(128, 128, 128, 8, 2),
    Tile(128, 64, 128, 4, 3),
    Tile(128, 64, 128, 4, 2),
    Tile(64, 128, 128, 4, 2),
    Tile(128, 32, 128, 4, 4),
]
WIDE = [
    Tile(128, 128, 64, 8, 3, 128),
    Tile(128, 128, 64, 8, 3),
    Tile(128, 128, 32, 8, 4),
    Tile(128, 64, 64, 4, 3),
    Tile(64, 128, 64, 4, 4, 168),
    Tile(256, 64, 64, 8, 2),
]
SINGLE_PRECISION = [
    Tile(64, 64, 32, 4, 2),
    Tile(64, 64, 16, 4, 2),
    Tile(128, 64, 16, 8, 2),
    Tile(32, 64, 32, 4, 2),
]
# Texts whose programs run side by side: their states stay in the cache while the weights go by.
GROUP = 8


def tiles_for(size: int, dtype: torch.dtype) -> list[Tile]:
    """The tiles for hidden states of that size and type, the one to use first."""
    return SINGLE_PRECISION if dtype == torch.float32 else NARROW if size <= 128 else WIDE


def runs_on(device: torch.device) -> bool:
    """Whether the kernel runs there: on NVIDIA's GPUs since Ampere, where triton also finds the C compiler that it needs."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    compiler = os.environ.get("CC") or which("clang") or which("gcc")
    return compiler is not None and torch.cuda.get_device_capability(device) >= (8, 0)


def largest_logits(
    hidden: Tensor,
    lengths: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    places: Tensor | None = None,
    tile: Tile | None = None,
) -> Tensor:
    """As lsr.encoders.torch_head.largest_logits, by lengths int64 [B]; -inf for a text without positions.

    hidden [B, L, E] and weight [V, E] of one of `DTYPES`, on one device; places int16 or int32 [B, V], contiguous.
    """
    (texts, length, size), terms = hidden.shape, len(weight)
    pooled = torch.empty(texts, terms, dtype=torch.float32, device=hidden.device)
    if not pooled.numel():
        return pooled
    tile = tile or tiles_for(size, hidden.dtype)[0]
    positions = min(tile.positions, max(16, triton.next_power_of_2(length)))
    elements = min(tile.elements, max(16, triton.next_power_of_2(size)))
    limit = {} if tile.registers is None else {"maxnreg": tile.registers}
    with torch.cuda.device_of(hidden):  # type: ignore[no-untyped-call]
        _largest[(texts * triton.cdiv(terms, tile.terms),)](
            hidden.contiguous(),
            lengths,
            weight.contiguous(),
            bias,
            pooled,
            places,
            texts,
            length,
            terms,
            SIZE=size,
            WITH_BIAS=bias is not None,
            WITH_PLACES=places is not None,
            TERMS=tile.terms,
            POSITIONS=positions,
            ELEMENTS=elements,
            GROUP=GROUP,
            num_warps=tile.warps,
            num_stages=tile.stages,
            **limit,
        )
    return pooled


@triton.jit
def _larger(a, b):  # type: ignore[no-untyped-def]
    """The maximum, NaN where one is: hidden states that are no numbers must not pass for texts without terms."""
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit(do_not_specialize=["texts", "length"])
def _largest(  # type: ignore[no-untyped-def]
    hidden,  # [texts, length, SIZE]
    lengths,  # int64 [texts]
    weight,  # [terms, SIZE]
    bias,  # [terms]
    pooled,  # float32 [texts, terms]
    places,  # int16 or int32 [texts, terms]
    texts,
    length,
    terms,
    SIZE: tl.constexpr,
    WITH_BIAS: tl.constexpr,
    WITH_PLACES: tl.constexpr,
    TERMS: tl.constexpr,
    POSITIONS: tl.constexpr,
    ELEMENTS: tl.constexpr,
    GROUP: tl.constexpr,
):
    program = tl.program_id(0)
    programs = GROUP * tl.cdiv(terms, TERMS)  # of a group of texts
    first = program // programs * GROUP
    width = tl.minimum(texts - first, GROUP)
    text = (first + program % programs % width).to(tl.int64)
    own = (program % programs // width) * TERMS + tl.arange(0, TERMS)

    real = tl.minimum(tl.load(lengths + text), length).to(tl.int32)
    states = hidden + text * length * SIZE
    element = tl.arange(0, ELEMENTS)
    # Terms behind the last, and positions behind the end, are copies of the last: no logit needs a mask, and of equals the
    # first position wins.
    rows = weight + tl.minimum(own, terms - 1).to(tl.int64)[:, None] * SIZE
    even: tl.constexpr = SIZE % ELEMENTS == 0
    at_once: tl.constexpr = SIZE <= ELEMENTS
    if at_once:
        w = tl.load(rows + element[None, :], mask=(element < SIZE)[None, :], other=0.0)

    best = tl.full([TERMS], float("-inf"), tl.float32)
    place = tl.zeros([TERMS], tl.int32)
    for start in range(0, real, POSITIONS):
        position = start + tl.arange(0, POSITIONS)
        columns = states + tl.minimum(position, real - 1)[None, :] * SIZE
        logits = tl.zeros([TERMS, POSITIONS], tl.float32)
        if at_once:
            h = tl.load(columns + element[:, None], mask=(element < SIZE)[:, None], other=0.0)
            logits = tl.dot(w, h, logits, input_precision="ieee")
        else:
            for begin in range(0, SIZE, ELEMENTS):
                at = begin + element
                if even:
                    w = tl.load(rows + at[None, :])
                    h = tl.load(columns + at[:, None])
                else:
                    w = tl.load(rows + at[None, :], mask=(at < SIZE)[None, :], other=0.0)
                    h = tl.load(columns + at[:, None], mask=(at < SIZE)[:, None], other=0.0)
                logits = tl.dot(w, h, logits, input_precision="ieee")
        largest = tl.reduce(logits, 1, _larger)
        better = (largest > best) | (largest != largest)
        best = tl.where(better, largest, best)
        if WITH_PLACES:
            # Not ==, which NaN never is.
            smaller = logits < largest[:, None]
            found = tl.min(tl.where(smaller, 0x7FFFFFFF, position[None, :]), 1)
            place = tl.where(better, tl.minimum(found, real - 1), place)

    inside = own < terms
    target = text * terms + own
    if WITH_BIAS:
        best += tl.load(bias + own, mask=inside, other=0.0).to(tl.float32)
    tl.store(pooled + target, best, mask=inside)
    if WITH_PLACES:
        tl.store(places + target, place.to(places.dtype.element_ty), mask=inside)


# On tensors of the CPU, for tests: what TRITON_INTERPRET=1 makes of a kernel.
INTERPRETED = not isinstance(_largest, triton.runtime.jit.JITFunction)
