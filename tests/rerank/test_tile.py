"""The tile multiplies as numpy does, in each of its three forms, and is compiled to the instructions it is meant for."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from lsr.rerank.kernels.tile import DEPTH, GROUP_BYTES, LANES, tile_of_one, tile_of_two

U = np.uint64
FORMS = {"int8": np.uint8, "int16": np.int16, "float32": np.float32}  # of a query, and of documents
CODECS = Path(__file__).with_name("test_codecs.py")
X86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names processors of x86-64")


@njit
def call_one(query, at, document, stride, start, scales, best, lane, groups):  # type: ignore[no-untyped-def]
    tile_of_one(query, U(at), document, U(stride), start, scales, best, U(lane), U(groups))


@njit
def call_two(query, at, document, stride, start, scales, best, lane, groups):  # type: ignore[no-untyped-def]
    tile_of_two(query, U(at), document, U(stride), start, scales, best, U(lane), U(groups))


@settings(deadline=None)
@given(st.sampled_from(list(FORMS)), st.integers(1, 2), st.integers(1, 40), st.integers(0, 2**32 - 1), st.booleans())
def test_maxima_are_raised_to_the_products(form: str, vectors: int, groups: int, seed: int, extreme: bool) -> None:
    generator = np.random.default_rng(seed)
    kind, lanes = np.dtype(form), vectors * LANES
    size = groups * (GROUP_BYTES // kind.itemsize)  # dimensions
    rows: npt.NDArray[Any]
    tokens: npt.NDArray[Any]
    if form == "float32":
        rows, tokens = generator.standard_normal((DEPTH, size)), generator.standard_normal((lanes, size))
    elif extreme:  # the largest sums there are: nothing is cut off on the way, as 16 bits would
        rows, tokens = np.full((DEPTH, size), 255), generator.choice([-127, 127], (lanes, 1)).repeat(size, 1)
    else:
        rows, tokens = generator.integers(0, 256, (DEPTH, size)), generator.integers(-127, 128, (lanes, size))
    document = np.zeros((DEPTH, size + 8), FORMS[form])
    document[:, :size] = rows
    query = np.concatenate([np.zeros(64 // kind.itemsize, kind), packed(tokens.astype(kind))])
    start = generator.integers(-(10**6), 10**6, lanes + 3).astype(np.int32)
    scales = generator.uniform(0, 2, DEPTH).astype(np.float32)
    best = generator.uniform(-1e5, 1e5, lanes + 3).astype(np.float32)

    sums = tokens.astype(np.float64) @ document[:, :size].astype(np.float64).T
    if form != "float32":
        sums += start[3:, None]
    products = sums.astype(np.float32) * scales
    expected = best.copy()
    expected[3:] = np.maximum(best[3:], products.max(axis=1))

    call = call_one if vectors == 1 else call_two
    call(query, 64, document.reshape(-1), document.strides[0], start, scales, best, 3, groups)
    if form == "float32":
        np.testing.assert_allclose(best, expected, rtol=1e-5, atol=1e-4)
    else:
        np.testing.assert_array_equal(best, expected)


def packed(tokens: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """[tokens, dim] to [vectors, groups, LANES, group] as one row."""
    group = GROUP_BYTES // tokens.itemsize
    return tokens.reshape(-1, LANES, tokens.shape[1] // group, group).transpose(0, 2, 1, 3).reshape(-1)


COMPILED = """
import re, sys
import numpy as np
from tests.rerank.test_tile import FORMS, call_two
from numba import typeof
form = sys.argv[1]
one, floats = np.zeros(1, form), np.zeros(1, np.float32)
arguments = (one, 0, np.zeros(1, FORMS[form]), 0, np.zeros(1, np.int32), floats, floats, 0, 0)
call_two.compile(tuple(typeof(argument) for argument in arguments))  # not run: this processor need not have what is in it
show = call_two.inspect_llvm if sys.argv[2:] else call_two.inspect_asm
print(show(call_two.signatures[0]))
"""


def compiled(processor: str, features: str, form: str, *flags: str) -> str:
    environment = {**os.environ, "NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": features}
    command = [sys.executable, "-c", COMPILED, form, *flags]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@X86
@pytest.mark.parametrize(
    ("processor", "features", "form", "instruction"),
    [
        ("sapphirerapids", "+avx512f,+avx512bw,+avx512vl,+avx512vnni", "int8", r"vpdpbusd\t.*%zmm"),
        ("alderlake", "+avx2,+avxvnni", "int8", r"vpdpbusd\t.*%ymm"),
        ("skylake-avx512", "+avx512f,+avx512bw,+avx512vl", "int16", r"vpmaddwd\t.*%zmm"),
        ("haswell", "+avx2,+fma", "int16", r"vpmaddwd\t.*%ymm"),
        ("haswell", "+avx2,+fma", "float32", r"vfmadd\d+ps\t.*%ymm"),
    ],
)
def test_it_is_compiled_to_the_instruction_it_is_made_for(
    processor: str, features: str, form: str, instruction: str
) -> None:
    code = compiled(processor, features, form)
    depth = 6 if "avx512" in features else 4
    assert len(re.findall(instruction, code)) >= 2 * depth, code
    loop = code[code.index("lsr_tile") :]
    assert "(%rsp)" not in loop[: loop.index("ret")], "an accumulator does not fit the registers"


@X86
def test_it_can_be_lowered_for_aarch64() -> None:
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple("aarch64-unknown-linux-gnu")
    machine = target.create_target_machine(cpu="cortex-a72", opt=2)
    for form in FORMS:
        text = compiled("x86-64", "+sse2", form, "llvm")  # without an instruction of x86
        body = re.search(r"^define internal .*?void @lsr_tile.*?^}", text, re.MULTILINE | re.DOTALL)
        assert body is not None
        plain = re.sub(r" #\d+|, ![a-z.]+ !\d+", "", body[0]).replace("define internal", "define")
        declared = "\n".join(re.findall(r"^declare.*@llvm\.(?!x86).*$", text, re.MULTILINE))
        module = llvm.parse_assembly(re.sub(r" #\d+", "", declared) + "\n" + plain)
        module.triple = "aarch64-unknown-linux-gnu"
        assert "ret" in machine.emit_assembly(module)


@X86
def test_plain_processors_score_the_same() -> None:
    """Only what every x86-64 has: no AVX, no conversion of float16."""
    environment = {**os.environ, "NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2"}
    wanted = "test_scores_are_those_of_the_decoded_vectors and 97 and chosen"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CODECS), "-k", wanted]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "......" in done.stdout  # one for each codec
