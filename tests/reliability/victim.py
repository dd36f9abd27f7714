"""A process that dies at each step of a change: `python -m tests.reliability.victim INDEX ENGINE CHANGE EVERY FOLDER`.

For each point it copies the index into a folder in FOLDER, forks, and lets the child do the change up to that point. A line
for each says the number of the point, the step and the file, and how the child ended. A
sixth argument is the module that has the changes, if it is another than `changes`.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from lsr import disk
from tests.reliability.changes import NAME

Change = Callable[[Path, str], None]


def steps(path: Path, engine: str, change: Change) -> int:
    """How many steps a change takes, when nobody interrupts it."""
    count = 0

    def counted(step: str, path: Path, detail: disk.Detail) -> None:
        nonlocal count
        count += 1

    disk.hook = counted
    change(path, engine)
    disk.hook = None
    return count


def die_at(point: int, path: Path, engine: str, change: Change, log: int) -> None:
    """Does the change up to a step; does not return."""
    count = 0

    def deadly(step: str, path: Path, detail: disk.Detail) -> None:
        nonlocal count
        if count == point:
            os.write(log, f"{step} {path.name}".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    disk.hook = deadly
    change(path, engine)
    os._exit(0)


def copy(index: Path, change: str, folder: Path) -> Path:
    """The index in a folder of its own, where it is before the change."""
    folder.mkdir()
    if change != "build":
        shutil.copytree(index, folder / NAME)
    return folder / NAME


def main(index: Path, engine: str, change: str, every: int, folder: Path, module: str) -> None:
    do: Change = import_module(module).CHANGES[change]
    total = steps(copy(index, change, folder / "whole"), engine, do)
    for point in sorted({*range(0, total, every), total - 1}):  # the last: what is no longer needed is removed
        path = copy(index, change, folder / str(point))
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            die_at(point, path, engine, do, writing)
        os.close(writing)
        step = os.read(reading, 1000).decode()
        os.close(reading)
        _, status = os.waitpid(child, 0)
        print(point, step, "killed" if os.WIFSIGNALED(status) else "lived", flush=True)  # noqa: T201


if __name__ == "__main__":
    where = sys.argv[6] if len(sys.argv) > 6 else "tests.reliability.changes"
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), Path(sys.argv[5]), where)
