"""A process that changes an index is killed, at each step: the index is then what it was, or what it was to become."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lsr import Index
from lsr.index.storage.check import check_index
from tests.conftest import REPOSITORY
from tests.reliability.collections import Doc, source
from tests.reliability.victim import CHANGES

DOCUMENTS = [Doc(f"d{number}", {number % 7: 1 + number % 5, 9: 2}, {"year": 2000 + number}) for number in range(30)]


def state(index: Index) -> list[tuple[str, str | None]]:
    """Ids and texts of all documents, in order."""
    records = ((index.id_of(row), index.record_of(row)) for row in range(len(index)))
    return [(identifier, record and record.text) for identifier, record in records]


@pytest.fixture(scope="module", params=["exact", "blocked"])
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of several generations: with a deletion, and in blocks with a second segment."""
    path = tmp_path_factory.mktemp("victim") / "my.idx"
    built = Index.build(source(DOCUMENTS[:20]), path, engine=request.param)
    built.add(source(DOCUMENTS[20:]))
    built.delete(["d3", "d25"])
    return path


def check_every(points: int, index: Path, change: str, tmp_path: Path) -> None:
    (tmp_path / "killed").mkdir()
    command = [sys.executable, "-m", "tests.reliability.victim", index, change, str(points), tmp_path / "killed"]
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, cwd=REPOSITORY, check=False, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    before = state(Index.open(index))
    after = state(changed(index, change, tmp_path / "whole"))
    seen = set()
    for line in done.stdout.splitlines():
        point, *_, end = line.split()
        assert end == "killed", line
        path = tmp_path / "killed" / point
        opened = Index.open(path)
        found = state(opened)
        assert found in (before, after), line
        seen.add(opened.generation)
        # The lock is free, what is half done is cleared away, and work goes on.
        opened.upsert(source([Doc("later", {3: 4})]))
        assert state(opened) == [*found, ("later", "the text of later")], line
        list(check_index(path, full=True))
        kept = {name.partition("/")[0] for file in opened.manifest.files() for name in [file.name]}
        stray = [one.name for one in path.iterdir() if one.name.startswith("tmp-")]
        assert not stray, line
        assert kept <= {one.name for one in path.iterdir()}
    assert len(seen) == 2, "points before the commit and after it"


def changed(index: Path, change: str, path: Path) -> Index:
    shutil.copytree(index, path)
    opened = Index.open(path)
    CHANGES[change](opened)
    return opened


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_killed_change_is_done_or_not_done(index: Path, change: str, tmp_path: Path) -> None:
    check_every(5 if change == "delete" else 19, index, change, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_change_killed_at_any_step_is_done_or_not_done(index: Path, change: str, tmp_path: Path) -> None:
    check_every(1, index, change, tmp_path)
