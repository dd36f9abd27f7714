"""No kernel reads or writes outside of an array: the engines run with every index checked, which Numba does when told so.

Compiled code is kept apart: Numba's cache does not tell checked code from other.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.reliability.report import report


def checked(cache: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with every index checked."""
    settings = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(cache), **environment}
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **settings},
        check=False,
        encoding="utf-8",
    )


def test_engines_stay_inside_their_arrays(tmp_path: Path) -> None:
    done = checked(tmp_path, "-m", "tests.reliability.bounds_child", "4")
    assert done.returncode == 0, done.stderr[-3000:]
    compared, forged = map(int, done.stdout.split())
    assert forged > 40, "most arrays may hold anything and get past the opening"
    report("bounds checked", compared=compared, forged=forged)


def test_that_it_is_checked_is_checked(tmp_path: Path) -> None:
    done = checked(tmp_path, "-m", "tests.reliability.bounds_child", "0", NUMBA_BOUNDSCHECK="0")
    assert done.returncode == 1
    assert "indexes are not checked" in done.stderr


@pytest.mark.slow
def test_engines_stay_inside_their_arrays_for_long(tmp_path: Path) -> None:
    done = checked(tmp_path, "-m", "tests.reliability.bounds_child", "200")
    assert done.returncode == 0, done.stderr[-3000:]
    report("bounds checked, long", compared=int(done.stdout.split()[0]))


@pytest.mark.slow
def test_all_tests_of_indexes_pass_with_bounds_checked(tmp_path: Path) -> None:
    done = checked(tmp_path, "-m", "pytest", "tests/index", "-x", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout[-5000:]
    report("tests/index with bounds checked", summary=done.stdout.splitlines()[-1])
