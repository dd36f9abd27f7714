"""Kernels that several processes use for the first time at once, each for types of its own."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lsr.index.kernels import cache_lock, compile_once
from lsr.index.kernels.cache_lock import cache_folder, caching
from tests.conftest import REPOSITORY
from tests.reliability.first_use import expected

TYPES = [f"{codes}-{terms}" for codes in ("uint8", "uint16") for terms in ("uint16", "uint32")]


def used(cache: Path, *processes: str) -> list[Any]:
    """What processes print that use the kernel for some types each, all at once."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.reliability.first_use", *processes],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=REPOSITORY,
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return sorted(map(json.loads, done.stdout.splitlines()), key=lambda one: one["number"])


def test_processes_that_compile_for_different_types_at_once_get_and_leave_the_right_code(tmp_path: Path) -> None:
    kinds = [*TYPES, *TYPES]
    first = used(tmp_path, *kinds)
    assert [one["written"] for one in first] == [[expected(kind)] for kind in kinds]
    assert sum(one["loaded"] for one in first) == 4, "of two that need the same, one compiles"
    (again,) = used(tmp_path, ",".join(TYPES))
    assert again["written"] == [expected(kind) for kind in TYPES]
    assert again["loaded"] == 4, "nothing was lost"
    (lock,) = tmp_path.rglob(cache_lock.NAME)
    assert lock.parent in {found.parent for found in tmp_path.rglob("*.nbi")}


# -- the lock ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """In place of the folder of Numba's cache."""
    monkeypatch.setattr(cache_lock, "cache_folder", lambda: tmp_path)
    yield tmp_path
    assert not cache_lock._held


def is_locked(folder: Path) -> bool:
    with (folder / cache_lock.NAME).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_kernels_are_compiled_under_a_lock_that_is_free_afterwards(folder: Path) -> None:
    seen = []
    compile_once("a test of the lock", lambda: seen.append(is_locked(folder)))
    compile_once("a test of the lock", lambda: seen.append(is_locked(folder)))
    assert seen == [True]
    assert not is_locked(folder)
    with pytest.raises(ZeroDivisionError):
        compile_once("another", lambda: 1 / 0)
    assert not is_locked(folder)


def folder_in_its_place(path: Path) -> None:
    path.mkdir()


def link_in_its_place(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")


def pipe_in_its_place(path: Path) -> None:
    os.mkfifo(path)


def no_folder(path: Path) -> None:
    path.parent.rmdir()


@pytest.mark.parametrize("spoil", [folder_in_its_place, link_in_its_place, pipe_in_its_place, no_folder])
def test_without_a_lock_work_goes_on(spoil: Callable[[Path], None], folder: Path) -> None:
    spoil(folder / cache_lock.NAME)
    done = []
    compile_once(spoil.__name__, lambda: done.append(True))
    assert done == [True]
    assert not (folder / "elsewhere").exists()


def test_a_process_that_holds_it_for_ever_is_not_waited_for_for_ever(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_lock, "PATIENCE", 0.05)
    with (folder / cache_lock.NAME).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with caching() as held:
            assert not held
    with caching() as held:
        assert held


def test_a_forked_child_holds_no_lock_of_its_parent_and_may_take_it(tmp_path: Path) -> None:
    """The parent dies in the middle of compiling, and its child, which has all its files open, compiles."""
    script = """
import os, signal, sys
from pathlib import Path
from lsr.index.kernels import cache_lock, compile_once
cache_lock.cache_folder = lambda: Path(sys.argv[1])
def compiling():
    if os.fork():
        os.kill(os.getpid(), signal.SIGKILL)
    compile_once("of the child", lambda: os.write(1, b"compiled"))
    os._exit(0)
compile_once("of the parent", compiling)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=REPOSITORY,
        check=False,
    )
    assert done.stdout == "compiled", done.stderr


def test_the_lock_is_where_numba_keeps_the_code() -> None:
    from lsr.index.kernels.exact import search

    assert str(cache_folder()) == search.stats.cache_path


@pytest.mark.slow
def test_no_kernel_is_compiled_without_the_lock(tmp_path: Path) -> None:
    """Where two kernels go by one name, the second would be: `compile_once` holds it for compiled."""
    (tmp_path / "cache").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.reliability.every_kernel", str(tmp_path)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=REPOSITORY,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["compiled"] > 100
    assert told["unlocked"] == []
