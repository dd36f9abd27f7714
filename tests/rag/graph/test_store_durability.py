"""A change to the graph of an index is interrupted, by death, the power or a disk that fails: it is done or not done."""

from __future__ import annotations

import errno
import os
import random
import shutil
from pathlib import Path

import pytest

from lsr import disk
from lsr.errors import CorruptIndex, StorageError
from lsr.index.storage.graph_files import GRAPH
from tests.rag.graph.store_changes import CHANGES, make, state, works
from tests.reliability.changes import NAME
from tests.reliability.children import run_module
from tests.reliability.powerloss import Disk, Record
from tests.reliability.report import scaled


def killed_at(every: int, change: str, folder: Path) -> None:
    path = make(folder, change)
    (folder / "points").mkdir()
    arguments = (path, "", change, every, folder / "points", "tests.rag.graph.store_changes")
    before = state(path)
    done = run_module("tests.reliability.victim", *arguments)
    assert done.returncode == 0, done.stderr
    after = state(folder / "points" / "whole" / NAME)
    assert change != "bring_up" or before == "behind"
    ends = set()
    for line in done.stdout.splitlines():
        assert line.endswith(" killed"), line
        copy = folder / "points" / line.split()[0] / NAME
        found = state(copy)
        assert found in (before, after), line
        ends.add(found == after)
        works(copy)
    assert len(ends) == 2 or before == after, "points before the commit and after it"


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_killed_change_is_done_or_not_done(change: str, tmp_path: Path) -> None:
    killed_at(53, change, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_change_killed_at_any_step_is_done_or_not_done(change: str, tmp_path: Path) -> None:
    killed_at(1, change, tmp_path)


def power_fails(states: int, change: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder / "disk"
    root.mkdir()
    path = make(root, change)
    before = state(path)
    shutil.copytree(root, folder / "copy")
    record = Record()
    with monkeypatch.context() as patch:
        patch.setattr(disk, "hook", record)
        CHANGES[change](path, "")
    after = state(path)
    shutil.rmtree(root)
    shutil.move(folder / "copy", root)
    chance, last = random.Random(change), len(record.steps)
    commit = max(i for i, (_, at, _) in enumerate(record.steps) if at.name.startswith("manifest-") or at.name == GRAPH)
    near = [min(last, max(0, commit + chance.randint(-4, 4))) for _ in range(states // 2)]  # most is decided there
    replayed, done = Disk(root), 0
    for number, point in enumerate(
        sorted([*near, *(chance.randint(0, last) for _ in range(states - len(near) - 1)), last])
    ):
        for step in record.steps[done:point]:
            replayed.do(*step)
        done = point
        target = folder / f"{number}"
        replayed.fail(target, chance)
        found = state(target / NAME)
        where = f"{number}: after step {point} of {last}"
        assert found in (before, after), where
        assert found == after or point < last, f"{where}: what was acknowledged is lost"
        works(target / NAME)
        shutil.rmtree(target)


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_what_was_acknowledged_outlives_the_power(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    power_fails(5, change, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("change", sorted(CHANGES))
def test_what_was_acknowledged_outlives_the_power_at_any_step(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    power_fails(scaled(420), change, tmp_path, monkeypatch)


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_full_disk_costs_nothing(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path, change)
    before = state(path)
    whole = tmp_path / "whole" / NAME
    whole.parent.mkdir()
    shutil.copytree(path, whole)
    CHANGES[change](whole, "")
    after, failed = state(whole), 0
    for point in (0, 8, 30, 80):
        copy = tmp_path / str(point) / NAME
        copy.parent.mkdir()
        shutil.copytree(path, copy)
        count = 0

        def fail(step: str, path: Path, detail: disk.Detail, point: int = point) -> None:
            nonlocal count
            count += 1
            if count > point and step != "remove":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        raised = None
        with monkeypatch.context() as patch:
            patch.setattr(disk, "hook", fail)
            try:
                CHANGES[change](copy, "")
            except StorageError as error:
                raised = error
        where = f"step {point}: {raised}"
        if raised is None:
            assert state(copy) == after, where  # only what is no longer needed could not be cleared away
            continue
        failed += 1
        assert state(copy) in (before, after), where
        assert not isinstance(raised, CorruptIndex), where
        assert os.strerror(errno.ENOSPC) in str(raised), where
        assert str(tmp_path) in str(raised), where
        works(copy)
    assert failed > 1
