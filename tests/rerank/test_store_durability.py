"""A change to a token store is interrupted, by death, the power or a disk that fails: it is done or not done."""

from __future__ import annotations

import errno
import os
import random
import shutil
from pathlib import Path

import pytest

from lsr import disk
from lsr.errors import CorruptIndex, StorageError
from lsr.rerank.store import TokenStore
from tests.reliability.changes import NAME
from tests.reliability.children import run_module
from tests.reliability.powerloss import Disk, Record
from tests.reliability.report import scaled
from tests.rerank.store_changes import CHANGES, batch, make, names, state, works

BUILDS = ("build", "build_resumed")


def start(folder: Path, change: str) -> Path:
    return folder / NAME if change in BUILDS else make(folder)


def killed_at(every: int, change: str, folder: Path) -> None:
    store = make(folder)
    (folder / "points").mkdir()
    arguments = (store, "", "build" if change in BUILDS else change, every, folder / "points")
    before = None if change in BUILDS else state(store)
    done = run_module("tests.reliability.victim", *arguments, "tests.rerank.store_changes")
    assert done.returncode == 0, done.stderr
    after = state(folder / "points" / "whole" / NAME)
    ends = set()
    for line in done.stdout.splitlines():
        assert line.endswith(" killed"), line
        path = folder / "points" / line.split()[0] / NAME
        found = state(path)
        assert found in (before, after), line
        ends.add(found == after)
        works(path)
    assert len(ends) == 2 or before == after, "points before the commit and after it"


@pytest.mark.parametrize("change", sorted({*CHANGES} - {"build_resumed"}))
def test_a_killed_change_is_done_or_not_done(change: str, tmp_path: Path) -> None:
    killed_at(7, change, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("change", sorted({*CHANGES} - {"build_resumed"}))
def test_a_change_killed_at_any_step_is_done_or_not_done(change: str, tmp_path: Path) -> None:
    killed_at(1, change, tmp_path)


def power_fails(states: int, change: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder / "disk"
    root.mkdir()
    path = start(root, change)
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
    commit = max(i for i, (_, at, _) in enumerate(record.steps) if at.name.startswith("manifest-") or at.name == NAME)
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
        if change == "build_resumed":  # whatever is left of it, it is gone on with, or begun anew
            if found is None:
                CHANGES[change](target / NAME, "")
            assert state(target / NAME) == after, where
        works(target / NAME)
        shutil.rmtree(target)


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_what_was_acknowledged_outlives_the_power(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    power_fails(17, change, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("change", sorted(CHANGES))
def test_what_was_acknowledged_outlives_the_power_at_any_step(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    power_fails(scaled(420), change, tmp_path, monkeypatch)


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_disk_that_fails_costs_nothing(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = start(tmp_path, change)
    before = state(path)
    reader = None if before is None else TokenStore.open(path)
    whole = tmp_path / "whole" / NAME
    whole.parent.mkdir()
    if before is not None:
        shutil.copytree(path, whole)
    CHANGES[change](whole, "")
    after, fault, failed = state(whole), errno.ENOSPC, 0
    for point in range(0, 60, 4):
        copy = tmp_path / str(point) / NAME
        copy.parent.mkdir()
        if before is not None:
            shutil.copytree(path, copy)
        count = 0

        def fail(step: str, path: Path, detail: disk.Detail, point: int = point) -> None:
            nonlocal count
            count += 1
            if count > point and step != "remove":
                raise OSError(fault, os.strerror(fault))

        with monkeypatch.context() as patch:
            patch.setattr(disk, "hook", fail)
            raised = None
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
        assert os.strerror(fault) in str(raised), where
        assert str(tmp_path) in str(raised), where
        works(copy)
    assert failed > 1
    if reader is not None:
        assert before is not None
        assert list(reader.ids()) == list(before)


def test_readers_keep_their_generation(tmp_path: Path) -> None:
    path = make(tmp_path)
    reader, wanted = TokenStore.open(path), state(path)
    assert wanted is not None
    writer = TokenStore.open(path)
    for number in range(4):
        writer.upsert([batch([f"d{number}"], number + 1)])
        writer.compact()
    found = list(reader.ids())
    offsets, vectors = reader.decoded(found)
    assert {name: vectors[offsets[i] : offsets[i + 1]].tolist() for i, name in enumerate(found)} == wanted
    assert reader.refresh()
    assert len(reader) == len(names(0, 30)) - 1  # d3 is there again
    del reader
    writer.compact()
    writer.delete("d9")
    assert len([one for one in path.iterdir() if one.name.startswith("manifest-")]) == 2
