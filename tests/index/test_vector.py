"""The LLVM intrinsics do what numpy does, on every processor."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from lsr.index.kernels.vector import (
    LANES,
    ROW,
    above,
    add_nibbles,
    count_bits,
    equal,
    first_bit,
    nibbles_above_0,
    prefetch,
)

U = np.uint64


@njit
def call_above(scores, at, threshold):  # type: ignore[no-untyped-def]
    return above(scores, U(at), np.int16(threshold))


@njit
def call_equal(terms, at, term):  # type: ignore[no-untyped-def]
    return equal(terms, U(at), np.uint32(term))


@njit
def call_add_nibbles(scores, at, gap, cells, cell_at, weight):  # type: ignore[no-untyped-def]
    add_nibbles(scores, U(at), U(gap), cells, U(cell_at), np.uint16(weight))


@njit
def call_nibbles_above_0(codes, at):  # type: ignore[no-untyped-def]
    return nibbles_above_0(codes, U(at))


@njit
def call_bits(bits):  # type: ignore[no-untyped-def]
    return first_bit(bits), count_bits(bits)


@njit
def call_prefetch(array, at):  # type: ignore[no-untyped-def]
    prefetch(array, U(at))


def bits_of(truth: np.ndarray[Any, Any]) -> int:
    return sum(1 << i for i, value in enumerate(truth.tolist()) if value)


seeds = st.integers(0, 2**32 - 1)
places = st.integers(0, 40)


@settings(deadline=None)
@given(seeds, places, st.integers(-(2**15), 2**15 - 1))
def test_above_compares_64_scores(seed: int, at: int, threshold: int) -> None:
    scores = np.random.default_rng(seed).integers(-(2**15), 2**15, 200).astype(np.int16)
    scores[at + 3] = threshold
    assert call_above(scores, at, threshold) == bits_of(scores[at : at + LANES] > threshold)


@settings(deadline=None)
@given(seeds, places, st.sampled_from([np.uint16, np.uint32]))
def test_equal_finds_a_term_among_32(seed: int, at: int, kind: type[np.generic]) -> None:
    terms = np.random.default_rng(seed).integers(0, 60, 200).astype(kind)
    terms.flags.writeable = False  # as memory maps are
    for term in (0, 7, int(terms[at + 31]), 59, 65_535):
        assert call_equal(terms, at, term) == bits_of(terms[at : at + ROW] == term)


@settings(deadline=None)
@given(seeds, places, st.integers(16, 32), st.integers(0, 5), st.integers(0, 2000))
def test_add_nibbles_adds_low_halves_then_high_halves(seed: int, at: int, gap: int, cell: int, weight: int) -> None:
    generator = np.random.default_rng(seed)
    scores, cells = generator.integers(0, 500, 200).astype(np.int16), generator.integers(0, 256, 96).astype(np.uint8)
    bytes_ = cells[cell * 16 : cell * 16 + 16].astype(np.int64)
    expected = scores.copy()
    expected[at : at + 16] += ((bytes_ & 15) * weight).astype(np.int16)
    expected[at + gap : at + gap + 16] += ((bytes_ >> 4) * weight).astype(np.int16)
    call_add_nibbles(scores, at, gap, cells, cell * 16, weight)
    np.testing.assert_array_equal(scores, expected)


@settings(deadline=None)
@given(seeds, places)
def test_nibbles_above_0_are_low_halves_then_high_halves(seed: int, at: int) -> None:
    codes = np.random.default_rng(seed).choice([0x00, 0x01, 0x10, 0x80, 0x08, 0xFF], 200).astype(np.uint8)
    bytes_ = codes[at : at + 32]
    expected = bits_of(np.concatenate([bytes_ & 15, bytes_ >> 4]) > 0)
    assert call_nibbles_above_0(codes, at) == expected


@settings(deadline=None)
@given(st.integers(1, 2**64 - 1))
def test_bits_are_counted(bits: int) -> None:
    first, count = call_bits(U(bits))
    assert first == (bits & -bits).bit_length() - 1
    assert count == bits.bit_count()


def test_prefetching_anywhere_is_harmless() -> None:
    array = np.zeros(4, np.uint8)
    for at in (0, 3, 1 << 20, 1 << 40, (1 << 63) - 1):
        call_prefetch(array, at)


FEATURES = {"x86-64": "+sse2", "nehalem": "+sse4.2,+popcnt", "haswell": "+avx2,+popcnt"}  # else those of this machine


@pytest.mark.skipif(sys.platform == "win32" or os.uname().machine != "x86_64", reason="names processors of x86-64")
@pytest.mark.parametrize("processor", list(FEATURES))
def test_older_processors_give_the_same(processor: str) -> None:
    """Plain SSE2, SSE4 and AVX2: this file's own tests, compiled for them."""
    environment = {**os.environ, "NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": FEATURES[processor]}
    tests = [f"{__file__}::{name}" for name in TESTS]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


TESTS = [name for name in dict(globals()) if name.startswith("test_") and "processors" not in name]  # those above


@pytest.mark.parametrize(
    "function", [call_above, call_equal, call_add_nibbles, call_nibbles_above_0, call_bits, call_prefetch]
)
def test_they_can_be_lowered_for_aarch64(function: Any) -> None:
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple("aarch64-unknown-linux-gnu")
    machine = target.create_target_machine(cpu="cortex-a72", opt=2)
    assert function.signatures
    for signature in function.signatures:
        # Numba's own wrappers around it are for this machine.
        text = function.inspect_llvm(signature)
        body = re.search(r"^define .*?^}", text, re.MULTILINE | re.DOTALL)
        assert body is not None
        declared = [line for line in text.splitlines() if line.startswith(("declare void @llvm", "declare i64 @llvm"))]
        plain = re.sub(r" #\d+", "", "\n".join([body[0], *(line for line in declared if "x86" not in line)]))
        module = llvm.parse_assembly(re.sub(r", ![a-z.]+ !\d+", "", plain))
        module.triple = "aarch64-unknown-linux-gnu"
        assert "ret" in machine.emit_assembly(module)
