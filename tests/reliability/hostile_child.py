"""Forged indexes, used in every way: `python -m tests.reliability.hostile_child SAMPLES SEED FIRST COUNT [OPTION...]`.

Cases run in forks, `BATCH` in each, with limits on memory and on the time of a case; a fork that dies takes one case with it.
A line of JSON for each case that did what it must not, and one with counts at the end. The case with number N of a seed is
always the same: `... SEED N 1 --say` says what is done to which index.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lsr import Index
from lsr.errors import LsrError
from lsr.index.blocked.parameters import SearchSettings
from lsr.index.filters.expression import Filter
from lsr.index.storage.check import check_index
from tests.reliability.forging import Forged
from tests.reliability.mutations import mutate
from tests.reliability.samples import sample_queries, some_documents

BATCH = 50
SECONDS = 10  # a case
CHANGED = 0.2  # of the cases: changes take most of the time
ASKED = 0.5  # of all that can be asked of an index
HEADROOM = 700 << 20  # bytes that a case may have in memory beside what is loaded before
LONGEST = 2000  # characters of a message
WEIGHTS = {
    "blocks": 4,
    "large_blocks": 3,
    "segments": 5,
    "exact": 3,
    "wide": 3,
    "words": 1,
    "encoder": 3,
    "windows": 0.2,
}

FILTERS: tuple[Filter, ...] = (
    {"year": {">=": 2005}},
    'lang in ("en", "de", "fr", "a", "b") or tags == "a"',
    "share > 3.5 and not open == true",
    'mixed == 7 or mixed == "seven"',
    'of.name != "x"',
    [f"d{number}" for number in range(0, 200, 3)],
)

Step = tuple[str, Callable[[], object]]


def read_steps(path: Path, index: Index) -> Iterator[Step]:
    """Everything that reads."""
    dim, documents = index.dim, len(index)
    queries = sample_queries(min(dim, 1 << 22))
    if queries.dim != dim:
        return
    one = queries[3:4]
    yield "search exactly", lambda: index.search(queries, 20, recall=1, threads=2)
    yield "search", lambda: index.search(queries, 10, threads=2)
    yield "search once", lambda: [looked_at(hits) for hits in index.search(one, 5)]
    yield "search for many", lambda: index.search(queries, 1000, recall=1, threads=1)
    if index._snapshot.has_blocks:
        settings = SearchSettings(query_cut=1.0, n_blocks=1000, candidates=1000)
        yield "search blocks", lambda: [looked_at(hits) for hits in index.search(queries, 30, settings=settings)]
        few = SearchSettings(query_cut=0.5, n_blocks=1, candidates=1)
        yield "search few blocks", lambda: index.search(queries, 3, settings=few, filter="year >= 2003")
    for asked in FILTERS:
        yield f"filter {asked}", partial(index.search, queries, 10, recall=1, filter=asked, threads=2)
        yield f"filter and search {asked}", partial(index.search, one, 10, filter=asked)
    yield "text query", lambda: [looked_at(hits) for hits in index.search(["w3 w4 unknown", "W7 ä [SEP]", ""], 5)]
    rows = [0, 1, documents - 1, documents // 2]
    yield "records", lambda: [index.record_of(row) for row in rows]
    yield "ids", lambda: [index.id_of(row) for row in rows]
    yield "row_of", lambda: [index.row_of(f"d{number}") for number in (0, 3, 77, 10**6)]
    yield "vectors", lambda: index.vectors(rows)
    yield "batches", lambda: list(index.batches(64 if documents < 5000 else 1 << 14))
    yield "statistics", index.statistics
    yield "info", lambda: json.dumps(index.info())
    yield "tokens", lambda: index.tokens
    yield "nnz", lambda: (index.nnz, index.scale, repr(index))
    if documents < 5000:
        yield "check", lambda: list(check_index(path, full=True))


def change_steps(path: Path, rng: random.Random) -> Iterator[Step]:
    """Everything that writes, in some order, and the index after each."""
    changes: list[Step] = [
        ("add", lambda: _change(path, "add", 1000, rng)),
        ("upsert", lambda: _change(path, "upsert", 0, rng)),
        ("add texts", lambda: Index.open(path).add(["w1 w2"])),
        ("delete", lambda: Index.open(path).delete(["d1", "d60", "nobody"], missing_ok=True)),
        ("compact", lambda: Index.open(path).compact()),
        ("refresh", lambda: Index.open(path).compact(refresh=True)),
    ]
    rng.shuffle(changes)
    for name, change in changes[: rng.choice([1, 1, 2, 6])]:
        yield name, change
        yield f"search after {name}", lambda: Index.open(path).search(sample_queries(Index.open(path).dim), 10)


def _change(path: Path, how: str, first: int, rng: random.Random) -> object:
    """Adds five documents, as vectors or with texts."""
    index = Index.open(path)
    made = some_documents(first, 5, dim=index.dim if 60 <= index.dim <= 1 << 17 else 60, seed=first)
    return getattr(index, how)(made.source() if rng.random() < 0.5 else made.vectors)


def looked_at(hits: Any) -> list[object]:
    return [(hit.id, hit.title, hit.text, hit.metadata, str(hit.explain()), hit.score) for hit in hits]


class Case:
    """One forged index; `faults` are the errors that are not lsr's own."""

    def __init__(self, samples: Path, work: Path, seed: int, number: int, say: bool = False) -> None:
        self.rng = random.Random(f"{seed}-{number}")
        there = [name for name in WEIGHTS if (samples / name).is_dir()]
        self.kind = self.rng.choices(there, [WEIGHTS[name] for name in there])[0]
        self.path = work / f"{number}.idx"
        self.faults: list[dict[str, str]] = []
        self.refused = self.answered = 0
        self._say = say
        shutil.copytree(samples / self.kind, self.path, copy_function=os.link)
        forged = Forged(self.path)
        self.said = mutate(forged, self.rng)
        if say:
            print(self.kind, self.said, flush=True)  # noqa: T201
        forged.save()

    def run(self) -> None:
        opened: list[Index] = []
        self._try("open", lambda: opened.append(Index.open(self.path)))
        if opened:
            for name, call in read_steps(self.path, opened[0]):
                if self.rng.random() < ASKED:
                    self._try(name, call)
        elif self.rng.random() < 0.2:
            self._try("check", lambda: list(check_index(self.path, full=True)))
        if self.kind != "windows" and self.rng.random() < (CHANGED if opened else CHANGED / 4):
            for step in change_steps(self.path, self.rng):
                self._try(*step)

    def _try(self, name: str, call: Callable[[], object]) -> None:
        if self._say:
            print(" ", name, end=" ", flush=True)  # noqa: T201
        try:
            call()
            self.answered += 1
            said = "answers"
        except LsrError as error:
            self.refused += 1
            said = f"{type(error).__name__}: {error}"
            if len(said.splitlines()) != 1 or len(said) > LONGEST:
                self.faults.append({"step": name, "error": f"a message of {len(said)} characters: {said[:300]!r}"})
        except BaseException as error:
            said = f"{type(error).__name__}: {str(error)[:200]}"
            where = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
            self.faults.append({"step": name, "error": said, "where": " < ".join(where[::-1][:6])})
            if self._say:
                traceback.print_exc()
        if self._say:
            print(said, flush=True)  # noqa: T201


def limit() -> None:
    """Limits of this process, and of its own steps to the disk, which need not outlive it."""
    with Path("/proc/self/status").open() as file:
        used = next(int(line.split()[1]) << 10 for line in file if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (used + HEADROOM, used + HEADROOM))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.fsync = lambda fd: None


def batch(samples: Path, work: Path, seed: int, first: int, last: int, out: int) -> None:
    """Runs cases in this process, which is a fork; tells which one begins and what came of it."""
    limit()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for number in range(first, last):
        os.write(out, f"{number}\n".encode())
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        case = Case(samples, work, seed, number)
        case.run()
        signal.setitimer(signal.ITIMER_REAL, 0)
        result = {"kind": case.kind, "answered": case.answered, "refused": case.refused, "faults": case.faults[:3]}
        os.write(out, json.dumps({**result, "said": case.said}).encode() + b"\n")
        shutil.rmtree(case.path, ignore_errors=True)


def main(samples: Path, seed: int, first: int, count: int) -> None:
    work = Path(tempfile.mkdtemp(prefix="hostile-", dir=samples.parent))
    totals: Counter[str] = Counter()
    number, end = first, first + count
    while number < end:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            batch(samples, work, seed, number, min(number + BATCH, end), writing)
            os._exit(0)
        os.close(writing)
        began = number
        with os.fdopen(reading, "rb") as lines:
            for line in lines:
                if not line.startswith(b"{"):
                    began = int(line)
                    continue
                result = json.loads(line)
                totals["cases"] += 1
                totals["answered"] += result["answered"]
                totals["refused"] += result["refused"]
                totals[f"of {result['kind']}"] += 1
                totals["refused whole"] += result["answered"] == 0
                if result["faults"]:
                    totals["faults"] += 1
                    print(json.dumps({"case": began, **result}), flush=True)  # noqa: T201
                number = began + 1
        _, status = os.waitpid(child, 0)
        if status:
            how = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {status >> 8}"
            totals["cases"] += 1
            totals["faults"] += 1
            print(json.dumps({"case": began, "faults": [{"step": "?", "error": how}]}), flush=True)  # noqa: T201
            number = began + 1
    shutil.rmtree(work, ignore_errors=True)
    print(json.dumps({"seed": seed, **totals}), flush=True)  # noqa: T201


def warm(samples: Path) -> None:
    """Compiles what is used, before the time of cases is measured: kernels for all types of terms and codes."""
    for dim, largest in ((60, 9), (60, 900), (70_000, 9), (70_000, 900)):
        work = Path(tempfile.mkdtemp(prefix="warm-", dir=samples.parent))
        made = some_documents(0, 70, dim=dim, largest=largest).vectors
        index = Index.build(made, work / "my.idx", engine="blocked", block_size=32)
        for _, call in read_steps(index.path, index):
            run_quietly(call)
        shutil.rmtree(work)
    for path in sorted(samples.iterdir()):
        work = Path(tempfile.mkdtemp(prefix="warm-", dir=samples.parent))
        shutil.copytree(path, work / "my.idx")
        for _, call in read_steps(path, Index.open(path)):
            run_quietly(call)
        if path.name != "windows":
            for name in ("add", "compact", "refresh"):
                for step, call in change_steps(work / "my.idx", random.Random(name)):
                    del step
                    run_quietly(call)
        shutil.rmtree(work)


def run_quietly(call: Callable[[], object]) -> None:
    try:
        call()
    except LsrError:
        return


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    given = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    warm(given[0])  # type: ignore[arg-type]
    if "--say" in sys.argv:
        limit()
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        Case(given[0], Path(tempfile.mkdtemp()), given[1], given[2], say=True).run()  # type: ignore[arg-type]
    else:
        main(*given)  # type: ignore[arg-type]
