"""A process that dies at each step of a change to an index: `python -m tests.reliability.victim INDEX CHANGE EVERY FOLDER`.

For each point it copies the index into FOLDER, forks, and lets the child do the change up to that point. A line for each says
the number of the point, the step and the file, and how the child ended.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from lsr import Index, disk
from tests.reliability.collections import Doc, source

NEW = [Doc("new1", {0: 3, 5: 1}, {"year": 2030}), Doc("d1", {0: 9}, {"year": 2031})]


def add(index: Index) -> None:
    index.add(source(NEW[:1]))


def upsert(index: Index) -> None:
    index.upsert(source(NEW))


def delete(index: Index) -> None:
    index.delete(["d0", "d2"])


def compact(index: Index) -> None:
    index.compact(refresh=True)


CHANGES: dict[str, Callable[[Index], None]] = {f.__name__: f for f in (add, upsert, delete, compact)}


def steps(index: Path, change: str) -> int:
    """How many steps a change takes, when nobody interrupts it."""
    count = 0

    def counted(step: str, path: Path, detail: disk.Detail) -> None:
        nonlocal count
        count += 1

    opened = Index.open(index)
    disk.hook = counted
    CHANGES[change](opened)
    disk.hook = None
    return count


def die_at(point: int, index: Path, change: str, log: int) -> None:
    """Does the change up to a step; does not return."""
    count = 0

    def deadly(step: str, path: Path, detail: disk.Detail) -> None:
        nonlocal count
        if count == point:
            os.write(log, f"{step} {path.name}".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    opened = Index.open(index)
    disk.hook = deadly
    CHANGES[change](opened)
    os._exit(0)


def main(index: Path, change: str, every: int, folder: Path) -> None:
    rehearsal = folder / "rehearsal"
    shutil.copytree(index, rehearsal)
    total = steps(rehearsal, change)
    shutil.rmtree(rehearsal)
    for point in sorted({*range(0, total, every), total - 1}):  # the last: what is no longer needed is removed
        shutil.copytree(index, folder / str(point))
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            die_at(point, folder / str(point), change, writing)
        os.close(writing)
        step = os.read(reading, 1000).decode()
        os.close(reading)
        _, status = os.waitpid(child, 0)
        print(point, step, "killed" if os.WIFSIGNALED(status) else "lived", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
