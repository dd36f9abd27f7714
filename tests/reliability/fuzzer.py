"""Loaders on mutated files, in a process of their own: `python -m tests.reliability.fuzzer LOADER [NUMBER]` shows one case.

A case is a loader and a number: they are the seed of all that is random in it. The process has a limit of memory, and each
case one of processor time and one of time; passing these, as a fault of a native library, ends it by a signal. The parent
then knows the number, reports it, and begins anew behind it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.conftest import REPOSITORY

__all__ = ["Failure", "Outcome", "fuzz"]

PROCESSOR_SECONDS = 10  # of one case: all threads together, so that a busy machine changes nothing
SECONDS = 120  # of one case that does nothing: waiting for what never comes
MEMORY = 2 << 30  # bytes of address space above what the valid files need
LONGEST = 2100  # characters of a message
CASES = 2000  # of one process, so that what a case leaves behind does not add up


@dataclass(frozen=True, slots=True)
class Failure:
    """What must not happen, and the case in which it did."""

    loader: str
    number: int
    what: str


@dataclass(slots=True)
class Outcome:
    """`read` of the cases gave a value, `refused` one of lsr's errors."""

    loader: str
    cases: int = 0
    read: int = 0
    refused: int = 0
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)


# -- the parent --------------------------------------------------------------------------------------------------------


def fuzz(*loaders: str, cases: int = 0, seconds: float = 0, first: int = 0) -> list[Outcome]:
    """Runs so many cases of each loader, or as many as there is time for."""
    return (
        [outcome for name in loaders for outcome in _timed(name, seconds, first)]
        if seconds
        else _counted(loaders, cases)
    )


def _counted(loaders: Sequence[str], cases: int) -> list[Outcome]:
    outcomes = {name: Outcome(name) for name in loaders}
    left = [(name, 0, cases) for name in loaders]
    while left:
        left = _some(outcomes, left, 0)
    return list(outcomes.values())


def _timed(name: str, seconds: float, first: int) -> Iterator[Outcome]:
    outcome, began = Outcome(name), time.monotonic()
    while (left := seconds - (time.monotonic() - began)) > 0:
        _some({name: outcome}, [(name, first + outcome.cases, CASES)], left)
    outcome.seconds = round(time.monotonic() - began, 1)
    yield outcome


Work = tuple[str, int, int]  # loader, number of the first case, how many


def _some(outcomes: Mapping[str, Outcome], work: list[Work], seconds: float) -> list[Work]:
    """Cases in one process; returns what is left to do when it did not come to its end."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as errors:
        environment |= {"TMPDIR": folder, "LSR_CACHE": f"{folder}/cache", "HF_HOME": f"{folder}/hub", "HOME": folder}
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.fuzzer", "--child", json.dumps([work, seconds]), folder],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=REPOSITORY,
            env=environment,
            encoding="utf-8",
        )
        assert child.stdout is not None
        name, number = "", -1
        with child.stdout as lines:
            for line in lines:
                kind, _, rest = line.rstrip("\n").partition(" ")
                if kind == "case":
                    if outcomes[name := json.loads(rest)[0]].cases == 0:
                        began = time.monotonic()
                    number = json.loads(rest)[1]
                    continue
                outcome = outcomes[name]
                outcome.cases += 1
                outcome.read += kind == "read"
                outcome.refused += kind == "refused"
                outcome.seconds = round(time.monotonic() - began, 1)
                if kind == "failed":
                    outcome.failures.append(Failure(name, number, json.loads(rest)))
        code = child.wait()
        errors.seek(0)
        said = errors.read()
    if code == 0:
        return []
    if not name:
        raise AssertionError(f"{work[0][0]}: the fuzzer itself ended with {code}\n{said[-4000:]}")
    outcomes[name].cases += 1
    signalled = signal.Signals(-code).name if code < 0 else str(code)
    reasons = {"SIGPROF": f"more than {PROCESSOR_SECONDS} s of work", "SIGALRM": f"nothing for {SECONDS} s"}
    what = f"the process ended: {reasons.get(signalled, signalled)}\n{said[-1500:]}"
    outcomes[name].failures.append(Failure(name, number, what))
    at = [one[0] for one in work].index(name)
    done = number + 1 - work[at][1]
    return [(name, number + 1, work[at][2] - done), *work[at + 1 :]]


# -- the child ---------------------------------------------------------------------------------------------------------


def _broken(name: str) -> Any:
    """A loader for the test of the fuzzer: valid files it reads, and with others does what must not happen."""
    from tests.reliability import test_parsers
    from tests.reliability.loaders import Loader, make_runs

    does = getattr(test_parsers, name.removeprefix("broken:"))
    valid = iter((True, True))  # as many as `make_runs` writes
    return Loader(make=make_runs, load=lambda path: None if next(valid, False) else does(path))


class _Cases:
    """The valid files of a loader in memory, and a folder in which one after the other is changed."""

    def __init__(self, name: str, folder: Path) -> None:
        from tests.reliability.loaders import LOADERS

        self.name, self.loader = name, LOADERS.get(name) or _broken(name)
        self.folder = folder / "files"
        self.folder.mkdir(parents=True)
        self.loader.make(self.folder)
        self.seeds = {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }
        self.entries = sorted({name.partition("/")[0] for name in self.seeds})

    def try_valid(self) -> None:
        """Valid files are read: otherwise nothing would be tested behind the first check."""
        for entry in self.entries:
            self.loader.load(self.folder / entry)

    @contextlib.contextmanager
    def case(self, number: int) -> Iterator[Path]:
        """The path to load; what was changed is put back in the end."""
        from tests.reliability.byte_mutations import mutated

        random = Random(f"{self.name}:{number}")
        entry = self.entries[number % len(self.entries)]
        inside = [name for name in self.seeds if name.partition("/")[0] == entry]
        name = random.choice(inside)
        kind = Path(name).suffix
        others = [content for other, content in self.seeds.items() if Path(other).suffix == kind]
        path = self.folder / name
        # A new file each time: the old one may still be mapped.
        path.unlink()
        if len(inside) == 1 or random.random() < 0.98:
            path.write_bytes(mutated(name, self.seeds[name], others, random))
            if self.loader.repair is not None:
                self.loader.repair(self.folder / entry, Path(name).name, random)
        try:
            yield self.folder / entry
        finally:
            for changed in {name, *(other for other in inside if self.loader.repair is not None)}:
                (self.folder / changed).unlink(missing_ok=True)
                (self.folder / changed).write_bytes(self.seeds[changed])


def _problem(error: BaseException) -> str | None:
    """What is wrong with an error; None for one of lsr's whose message can be shown."""
    from lsr.errors import LsrError

    if not isinstance(error, LsrError):
        return "".join(traceback.format_exception(error)[-12:])
    message = str(error)
    if not message.isprintable() or not message.strip():
        return f"{type(error).__name__}: the message is not one line that can be shown: {message[:300]!r}"
    if len(message) > LONGEST:
        return f"{type(error).__name__}: a message of {len(message):,} characters: {message[:300]}"
    return None


def _tried(cases: _Cases, path: Path, aside: list[str]) -> tuple[str, str]:
    """("read" | "refused" | "failed", what is wrong)."""
    kind, wrong = "read", None
    try:
        cases.loader.load(path)
    except BaseException as error:  # a panic of Rust is no Exception
        kind, wrong = "refused", _problem(error)
        if isinstance(error, KeyboardInterrupt):
            raise
    if wrong is None and aside:
        wrong = aside[0]
    aside.clear()
    return ("failed", wrong) if wrong is not None else (kind, "")


def _limits() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _timers(on: bool) -> None:
    signal.setitimer(signal.ITIMER_PROF, PROCESSOR_SECONDS if on else 0)
    signal.setitimer(signal.ITIMER_REAL, SECONDS if on else 0)


def _noticed() -> list[str]:
    """Errors that nobody can catch, of destructors and threads, are collected here."""
    found: list[str] = []

    def unraisable(event: Any) -> None:
        found.append("".join(traceback.format_exception(event.exc_value)) + f"in {event.object!r}")

    sys.unraisablehook = unraisable
    threading.excepthook = unraisable  # the same attributes
    return found


def child(work: list[Work], seconds: float, folder: Path) -> None:
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print
    faulthandler.enable()
    aside = _noticed()
    warnings.simplefilter("error")
    os.chdir(folder)
    for name, first, number in work:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cases = _Cases(name, folder / name)
        cases.try_valid()
        _limits()
        began = time.monotonic()
        for at in range(first, first + number):
            if seconds and time.monotonic() - began > seconds:
                return
            print("case", json.dumps([name, at]), file=out, flush=True)
            with cases.case(at) as path:
                _timers(True)
                kind, wrong = _tried(cases, path, aside)
                _timers(False)
            print(kind, json.dumps(wrong), file=out, flush=True)
            if at % 100 == 0:
                gc.collect()


def show(name: str, number: int) -> None:
    """One case, its file kept."""
    kept = Path(tempfile.mkdtemp(prefix="case-"))
    with tempfile.TemporaryDirectory() as work:
        cases = _Cases(name, Path(work))
        aside = _noticed()
        with cases.case(number) as path:
            if path.is_dir():
                shutil.copytree(path, kept / path.name)
            else:
                shutil.copy(path, kept)
            print(kept / path.name, flush=True)  # noqa: T201
            warnings.simplefilter("error")
            _limits()
            _timers(True)
            print(*_tried(cases, path, aside))  # noqa: T201


if __name__ == "__main__":
    if sys.argv[1] == "--child":
        work, seconds = json.loads(sys.argv[2])
        child(work, seconds, Path(sys.argv[3]))
    else:
        show(sys.argv[1], int(sys.argv[2]))
