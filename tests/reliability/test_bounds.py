"""No kernel reads or writes outside of an array: the engines run with every index checked, which Numba does when told so.

Compiled code is kept apart: Numba's cache does not tell checked code from other.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.reliability.children import run_module
from tests.reliability.report import report


def checked(cache: Path, module: str, *arguments: str, flag: str = "1") -> subprocess.CompletedProcess[str]:
    """Runs a module with every index checked."""
    return run_module(module, *arguments, NUMBA_BOUNDSCHECK=flag, NUMBA_CACHE_DIR=str(cache))


def test_engines_stay_inside_their_arrays(tmp_path: Path) -> None:
    done = checked(tmp_path, "tests.reliability.bounds_child", "4")
    assert done.returncode == 0, done.stderr[-3000:]
    compared, forged = map(int, done.stdout.split())
    assert forged > 40, "most arrays may hold anything and get past the opening"
    report("bounds checked", compared=compared, forged=forged)


def test_that_it_is_checked_is_checked(tmp_path: Path) -> None:
    done = checked(tmp_path, "tests.reliability.bounds_child", "0", flag="0")
    assert done.returncode == 1
    assert "indexes are not checked" in done.stderr


@pytest.mark.slow
def test_engines_stay_inside_their_arrays_for_long(tmp_path: Path) -> None:
    done = checked(tmp_path, "tests.reliability.bounds_child", "200")
    assert done.returncode == 0, done.stderr[-3000:]
    report("bounds checked, long", compared=int(done.stdout.split()[0]))


@pytest.mark.slow
def test_all_tests_of_indexes_pass_with_bounds_checked(tmp_path: Path) -> None:
    # Checked code cannot be lowered for another processor: how an index is out of range is told by Python's own functions.
    done = checked(tmp_path, "pytest", "tests/index", "-p", "no:cacheprovider", "-k", "not aarch64")
    assert done.returncode == 0, done.stdout[-5000:]
    report("tests/index with bounds checked", summary=done.stdout.splitlines()[-1])
