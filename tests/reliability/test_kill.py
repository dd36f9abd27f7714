"""A process that changes an index is killed, at each step: the index is then what it was, or what it was to become."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsr import Index
from lsr.index.storage.manifest import Manifest
from tests.reliability.changes import CHANGES, NAME, make, state, works
from tests.reliability.children import run_module
from tests.reliability.report import report

ENGINES = ["exact", "blocked"]


def killed(every: int, index: Path, engine: str, change: str, folder: Path) -> list[tuple[str, Path]]:
    """Copies of the index, each left by a process that was killed within the change: where, and the folder."""
    done = run_module("tests.reliability.victim", index, engine, change, every, folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert all(line.endswith(" killed") for line in lines), done.stdout
    return [(line, folder / line.split()[0] / NAME) for line in lines]


def check_every(points: int, engine: str, change: str, folder: Path) -> None:
    index = make(folder, engine, change)
    (folder / "points").mkdir()
    before = None if change == "build" else state(index)
    left = killed(points, index, engine, change, folder / "points")
    after = state(folder / "points" / "whole" / NAME)
    seen = set()
    for where, path in left:
        found = state(path)
        assert found in (before, after), where
        seen.add("no index" if found is None else Manifest.read(path).segments)
        works(path, engine)
    assert len(seen) == 2, "points before the commit and after it"
    report("killed", change=change, engine=engine, points=len(left))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_killed_change_is_done_or_not_done(change: str, engine: str, tmp_path: Path) -> None:
    check_every(5, engine, change, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_change_killed_at_any_step_is_done_or_not_done(change: str, engine: str, tmp_path: Path) -> None:
    check_every(1, engine, change, tmp_path)


def test_a_killed_compaction_goes_on_where_it_was(tmp_path: Path) -> None:
    index = make(tmp_path, "blocked", "compact")
    (tmp_path / "points").mkdir()
    left = killed(9, index, "blocked", "compact", tmp_path / "points")
    wanted = Manifest.read(tmp_path / "points" / "whole" / NAME)
    begun_with = set()
    for where, path in left:
        if Manifest.read(path).generation == wanted.generation:
            continue  # it was done, but for clearing away
        stages: list[str] = []

        def note(stage: str, done: int, total: int | None, stages: list[str] = stages) -> None:
            stages.append(stage)

        Index.open(path).compact(refresh=True, progress=note)
        assert Manifest.read(path) == wanted, where
        begun_with.add(stages[0])
    assert begun_with >= {"copying documents", "clustering", "pruning lists"}
