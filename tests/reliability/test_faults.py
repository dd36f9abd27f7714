"""The disk is full, fails, or the system gives no more files: one error that names the place, the old generation is served,
and work goes on when the cause is gone."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lsr import Index, disk
from lsr.errors import CorruptIndex, StorageError
from tests.conftest import REPOSITORY
from tests.reliability.changes import CHANGES, NAME, add, make, state, works
from tests.reliability.report import report

ENGINES = ["exact", "blocked"]
FAULTS = [errno.ENOSPC, errno.EIO, errno.EMFILE, errno.EDQUOT, errno.EROFS]


@contextmanager
def hooked(hook: Callable[[str, Path, disk.Detail], None]) -> Iterator[None]:
    disk.hook = hook
    try:
        yield
    finally:
        disk.hook = None


def failing_from(point: int, number: int) -> Callable[[str, Path, disk.Detail], None]:
    """Every step from a point on fails, but for removing files: so a full disk does."""
    count = 0

    def fail(step: str, path: Path, detail: disk.Detail) -> None:
        nonlocal count
        count += 1
        if count > point and step != "remove":
            raise OSError(number, os.strerror(number))

    return fail


def leftovers(path: Path) -> list[str]:
    inside = [one.name for one in path.iterdir()] if path.exists() else []
    beside = [one.name for one in path.parent.iterdir() if one != path]
    return [name for name in [*inside, *beside] if name.startswith(("tmp-", "unfinished-", "."))]


def check_every(points: int, engine: str, change: str, folder: Path) -> None:
    index = make(folder, engine, change)
    whole = folder / "whole"
    whole.mkdir()
    if change != "build":
        shutil.copytree(index, whole / NAME)
    before, count = state(whole / NAME), 0

    def counted(step: str, path: Path, detail: disk.Detail) -> None:
        nonlocal count
        count += 1

    with hooked(counted):
        CHANGES[change](whole / NAME, engine)
    after = state(whole / NAME)
    tried = range(0, count, points)
    for at, point in enumerate(tried):
        path = folder / f"{point}" / NAME
        path.parent.mkdir()
        if change != "build":
            shutil.copytree(index, path)
        reader = None if before is None else Index.open(path)
        fault = FAULTS[at % len(FAULTS)]
        raised = None
        with hooked(failing_from(point, fault)):
            try:
                CHANGES[change](path, engine)
            except StorageError as error:
                raised = error
        where = f"step {point} of {count}: {raised}"
        found = state(path)
        if raised is None:
            assert found == after, where  # only what is no longer needed could not be cleared away
        else:
            assert found in (before, after), where
            assert str(path.parent) in str(raised), where
            assert os.strerror(fault) in str(raised), where
            assert "\n" not in str(raised), where
            assert not isinstance(raised, CorruptIndex), where
            assert leftovers(path) == [], where
        if reader is not None:
            assert before is not None
            assert [reader.id_of(row) for row in range(len(reader))] == [identifier for identifier, _ in before]
        works(path, engine)
    report("faults", change=change, engine=engine, points=len(tried))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_disk_that_fails_costs_nothing(change: str, engine: str, tmp_path: Path) -> None:
    check_every(13, engine, change, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_disk_that_fails_at_any_step_costs_nothing(change: str, engine: str, tmp_path: Path) -> None:
    check_every(1, engine, change, tmp_path)


@pytest.mark.parametrize("engine", ENGINES)
def test_too_few_files_are_no_damage(engine: str, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="limits are set by the resource module")
    if not Path("/proc/self/fd").exists():
        pytest.skip("open files are counted in /proc")
    path = make(tmp_path, engine, "upsert")
    add(path, engine)  # everything is imported and compiled
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = state(path)
    for more in range(1, 60):
        # The number of a new file must be below the limit: free ones may lie between those that are open.
        used = sorted(int(one.name) for one in Path("/proc/self/fd").iterdir())
        free = [number for number in range(used[-1] + 100) if number not in used]
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[more], hard))
        raised = None
        try:
            Index.open(path).delete(["new1"])
        except StorageError as error:
            raised = error
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if raised is None:
            break
        assert not isinstance(raised, CorruptIndex), raised
        assert os.strerror(errno.EMFILE) in str(raised), raised
        assert state(path) == before
    assert raised is None, "sixty files are enough"
    assert more > 1, "one file is not"
    assert state(path) != before
    works(path, engine)


def test_a_full_disk_is_no_loss(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    script = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -m tests.reliability.full_disk "$1"'
    inside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    try:
        allowed = subprocess.run(
            [*inside, 'mount -t tmpfs tmpfs "$1"', "sh", place], check=False, capture_output=True
        ).returncode
    except FileNotFoundError:
        allowed = 1
    if allowed != 0:
        pytest.skip("a small disk cannot be mounted here (unshare, mount)")
    done = subprocess.run(
        [*inside, script, "sh", place, sys.executable],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
