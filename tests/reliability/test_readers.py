"""One process changes an index while eight read it: each answer is of one generation, and what nobody reads any more goes."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lsr import Index
from lsr.disk import atomic_write
from lsr.index.storage.check import check_index
from lsr.index.storage.manifest import Manifest
from tests.conftest import REPOSITORY
from tests.reliability.collections import source
from tests.reliability.history import History
from tests.reliability.readers import DONE, PUBLISHED
from tests.reliability.report import report

READERS = 8
SCALE = float(os.environ.get("LSR_RELIABILITY_SCALE", "1"))


def note(path: Path, generation: int) -> None:
    with atomic_write(path) as file:
        file.write(str(generation).encode())


def left(index: Path) -> set[str]:
    """The files in the folder of an index, those that stay as they are apart."""
    return {one.name for one in index.iterdir()} - {"LOCK"}


def needed(index: Index, generations: range) -> set[str]:
    """What some generations consist of."""
    manifests = [index.path / f"manifest-{generation:06}.json" for generation in generations]
    files = {file.name.partition("/")[0] for one in manifests for file in Manifest.parse(one).files()}
    return files | {one.name for one in manifests}


def change_while_others_read(folder: Path, commits: int, seconds: float, engine: str) -> None:
    """Changes an index so many times, and for so long, while eight processes read it."""
    history, path = History(), folder / "my.idx"
    index = Index.build(source(history.documents(1)), path, engine=engine)
    note(folder / PUBLISHED, 1)
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "tests.reliability.readers", str(path), str(READERS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=REPOSITORY,
    ) as readers:
        try:
            assert readers.stdout is not None
            assert [readers.stdout.readline() for _ in range(READERS)] == ["ready\n"] * READERS, readers.communicate()
            began, generation = time.monotonic(), 1
            while (generation <= commits or time.monotonic() < began + seconds) and readers.poll() is None:
                generation += 1
                history.change(generation).do(index)
                assert index.generation == generation
                note(folder / PUBLISHED, generation)
            took = time.monotonic() - began
        finally:
            note(folder / DONE, index.generation)
        output, errors = readers.communicate()
    assert readers.returncode == 0, errors
    told = [json.loads(line) for line in output.splitlines()]
    assert sorted(one["reader"] for one in told) == list(range(READERS))
    assert all(one["generations"] > 1 for one in told), "readers that saw changes"
    collected(index, history)
    keys = {key for one in told for key in one} - {"reader", "first", "last", "oldest", "generations"}
    report(
        f"one writer, {READERS} readers, {engine}",
        commits=generation - 1,
        seconds=round(took, 1),
        whole_seconds=round(time.monotonic() - started, 1),
        oldest=max(one["oldest"] for one in told),
        generations=[one["generations"] for one in told],
        **{key.replace(" ", "_"): sum(one.get(key, 0) for one in told) for key in sorted(keys)},
    )


def collected(index: Index, history: History) -> None:
    """When all readers are gone, one change more leaves the newest two generations, and nothing else."""
    gc.collect()
    generation = index.generation + 1
    history.change(generation).do(index)
    assert left(index.path) == needed(index, range(generation - 1, generation + 1))
    list(check_index(index.path, full=True))


def test_each_answer_is_of_one_generation(tmp_path: Path) -> None:
    change_while_others_read(tmp_path, 16, 0, "blocked")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["exact", "blocked"])
def test_each_answer_is_of_one_generation_for_long(engine: str, tmp_path: Path) -> None:
    change_while_others_read(tmp_path, 200, 300 * SCALE, engine)


# A reader that says which generation it has, and reads the texts of its hits when it is told to.
HOLDER = """
import sys
from lsr import Index
from tests.reliability.collections import vectors_of
index = Index.open(sys.argv[1])
(hits,) = index.search(vectors_of([{0: 1}]), 100)
print(index.generation, flush=True)
for _ in sys.stdin:
    print(sorted(hit.text for hit in hits), flush=True)
"""


def test_a_reader_that_is_killed_leaves_no_pin(tmp_path: Path) -> None:
    history, path = History(), tmp_path / "my.idx"
    index = Index.build(source(history.documents(1)), path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=REPOSITORY,
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        assert reader.stdout.readline() == "1\n"
        for generation in range(2, 6):
            history.change(generation).do(index)
        # What it reads stays; of the others there are the newest two.
        gc.collect()
        assert left(path) == needed(index, range(1, 2)) | needed(index, range(4, 6))
        print("read", file=reader.stdin, flush=True)
        assert reader.stdout.readline() == f"{texts_of(history, 1)}\n"
        reader.kill()
        reader.wait()
    collected(index, history)


def texts_of(history: History, generation: int) -> list[Any]:
    return sorted(one.text for one in history.documents(generation) if 0 in one.weights)
