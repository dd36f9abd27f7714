"""Measuring time: the one place that does, for reports and benchmarks.

What is measured is said with every figure: threads, warm-ups, repeats. Nothing is pinned, no priority changed, the garbage
collector stays on: a user's machine does none of that either. Queries are asked one at a time, each when the one before is
answered (a closed loop): figures hold for an idle server, not for a queue.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import EvaluationError

__all__ = [
    "WARM_UPS",
    "Memory",
    "StageTimes",
    "Stopwatch",
    "available_mib",
    "fresh_process",
    "most_resident_mib",
    "peak_memory",
    "resident_mib",
    "throughput",
    "time_stages",
]

WARM_UPS = 200
REPEATS = 3
MOST_REPEATS = 1000
SECONDS = 2.0

Stage = tuple[str, Callable[[Any], Any]]


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Milliseconds of each query in each stage: `stages` float64 [repeats, queries] by name, in the order they run."""

    stages: Mapping[str, npt.NDArray[np.float64]]
    warm_ups: int

    @property
    def total(self) -> npt.NDArray[np.float64]:
        """All stages of a query together, [repeats, queries]."""
        total: npt.NDArray[np.float64] = np.sum(list(self.stages.values()), axis=0)
        return total

    def latency(self) -> dict[str, Any]:
        """The part "latency_ms" of a report: percentiles of each round, of which the median over rounds is given."""
        total = self.total
        quantiles = np.median(np.percentile(total, np.arange(101), axis=1), axis=1)
        return {
            **_percentiles(total),
            "queries": total.shape[1],
            "warmups": self.warm_ups,
            "threads": 1,
            "repeats": total.shape[0],
            "quantiles": quantiles.tolist(),
        }

    def by_stage(self) -> dict[str, dict[str, float]]:
        """The part "stages_ms" of a report."""
        return {name: _percentiles(taken) for name, taken in self.stages.items()}


def time_stages(
    stages: Sequence[Stage],
    inputs: Sequence[Any],
    *,
    warm_ups: int = WARM_UPS,
    repeats: int = REPEATS,
    seconds: float = SECONDS,
) -> StageTimes:
    """Times a chain of functions, the output of one being the input of the next, on one input at a time in one thread.

    Before the first round at least `warm_ups` inputs go through all stages, from the start again when they are fewer. There
    are at least `repeats` rounds, and more until `seconds` have passed: a few hundred fast queries are over in the time of
    one disturbance.
    """
    if not inputs or not stages:
        raise EvaluationError("there is nothing to time: give at least one query and one stage")
    functions = [function for _, function in stages]
    for number in range(warm_ups):
        value = inputs[number % len(inputs)]
        for function in functions:
            value = function(value)
    clock = time.perf_counter_ns
    rounds: list[npt.NDArray[np.float64]] = []
    until = clock() + int(seconds * 1e9)
    while len(rounds) < repeats or (clock() < until and len(rounds) < MOST_REPEATS):
        taken = np.empty((len(stages), len(inputs)))
        for number, value in enumerate(inputs):
            for stage, function in enumerate(functions):
                started = clock()
                value = function(value)
                taken[stage, number] = clock() - started
        rounds.append(taken / 1e6)
    return StageTimes({name: np.stack([taken[i] for taken in rounds]) for i, (name, _) in enumerate(stages)}, warm_ups)


def _percentiles(taken: npt.NDArray[np.float64]) -> dict[str, float]:
    p50, p95, p99, top = np.median(np.percentile(taken, [50, 95, 99, 100], axis=1), axis=1).tolist()
    return {"p50": p50, "p95": p95, "p99": p99, "max": top, "mean": float(taken.mean())}


def throughput(
    answer: Callable[[int], object], count: int, threads: Sequence[int], *, repeats: int = REPEATS
) -> list[dict[str, float]]:
    """Queries a second by number of threads. `answer(threads)` answers all `count` queries; the median run counts."""
    rates: list[dict[str, float]] = []
    for number in threads:
        answer(number)
        seconds = []
        for _ in range(repeats):
            with Stopwatch() as watch:
                answer(number)
            seconds.append(watch.seconds)
        rates.append({"threads": number, "queries_per_second": count / max(float(np.median(seconds)), 1e-9)})
    return rates


class Stopwatch:
    """Seconds of a block of code."""

    seconds = 0.0

    def __enter__(self) -> Stopwatch:
        self._started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._started


def fresh_process(code: str, arguments: Sequence[str], *, empty_cache: bool = False) -> dict[str, Any]:
    """Runs Python code in a process of its own, which prints one JSON object last; returns that object.

    Starting costs show only there. empty_cache: Numba compiles all anew, as on a machine that never ran lsr.
    Raises `EvaluationError` when the process fails.
    """
    with tempfile.TemporaryDirectory() as cache:
        environment = dict(os.environ)
        if empty_cache:
            environment.update(NUMBA_CACHE_DIR=cache, LSR_CACHE=cache)
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, check=False
        )
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise EvaluationError(f"a fresh process for timing ended with status {done.returncode}: {last}")
    found: dict[str, Any] = json.loads(done.stdout.strip().rpartition("\n")[2])
    return found


# -- memory ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Memory:
    """The most memory (resident, MiB) that this process held during a block; None where the system does not tell."""

    peak_mib: float | None = None


@contextmanager
def peak_memory(interval: float = 0.02) -> Iterator[Memory]:
    """Watches the resident memory of this process, memory-mapped files included, every `interval` seconds."""
    memory, done = Memory(), threading.Event()
    if resident_mib() is None:
        yield memory
        return

    def watch() -> None:
        while True:
            memory.peak_mib = max(memory.peak_mib or 0.0, resident_mib() or 0.0)
            if done.wait(interval):
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield memory
    finally:
        done.set()
        watcher.join()


def resident_mib() -> float | None:
    """Resident memory of this process in MiB, pages of mapped files that it read included; None where Linux does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def available_mib() -> float | None:
    """Memory in MiB that new work can have without swapping, as Linux estimates it; None elsewhere."""
    try:
        facts = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", facts, re.MULTILINE)
    return None if found is None else int(found[1]) / 1024


def most_resident_mib() -> float | None:
    """The most that `resident_mib` ever was, as Linux keeps it: no thread has to watch. None elsewhere."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    # Not getrusage's ru_maxrss: in a new process that begins with what its parent held.
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return None if found is None else int(found[1]) / 1024
