"""The power fails within a change, and what was not synced is lost or torn: the index is what it was, or was to become."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from lsr import disk
from tests.reliability.changes import CHANGES, NAME, make, state, works
from tests.reliability.powerloss import Disk, Record
from tests.reliability.report import report, scaled

ENGINES = ["exact", "blocked"]


def check_states(states: int, change: str, engine: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder / "disk"
    root.mkdir()
    path = root / NAME if change == "build" else make(root, engine, change)
    before = state(path)
    shutil.copytree(root, folder / "copy")
    record = Record()
    with monkeypatch.context() as patch:
        patch.setattr(disk, "hook", record)
        CHANGES[change](path, engine)
    after = state(path)
    chance = random.Random(f"{change} {engine}")
    last = len(record.steps)
    names = [path.name for _, path, _ in record.steps]
    commit = max(step for step, name in enumerate(names) if name.startswith("manifest-") or name == NAME)
    near = [min(last, max(0, commit + chance.randint(-4, 4))) for _ in range(states // 2)]  # most is decided there
    points = sorted([*near, *(chance.randint(0, last) for _ in range(states - len(near) - 1)), last])
    done, ends = 0, []
    # Replayed on a copy of what was there before, whose paths are those of the record.
    shutil.rmtree(root)
    shutil.move(folder / "copy", root)
    replayed = Disk(root)
    for number, point in enumerate(points):
        for step in record.steps[done:point]:
            replayed.do(*step)
        done = point
        target = folder / f"{number}"
        replayed.fail(target, chance)
        found = state(target / NAME)
        where = f"{number}: after step {point} of {last}"
        assert found in (before, after), where
        assert found == after or point < last, f"{where}: what was acknowledged is lost"
        ends.append(found == after)
        works(target / NAME, engine)
        shutil.rmtree(target)
    report("power", change=change, engine=engine, states=len(ends), done=sum(ends), steps=last)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("change", sorted(CHANGES))
def test_what_was_acknowledged_outlives_the_power(
    change: str, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_states(17, change, engine, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("change", sorted(CHANGES))
def test_what_was_acknowledged_outlives_the_power_at_any_step(
    change: str, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_states(scaled(420), change, engine, tmp_path, monkeypatch)
