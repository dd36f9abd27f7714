"""A process that holds one engine alone: it builds an index, or opens one and searches it when told to.

Processes of their own keep engines apart: the number of threads is set before a library is loaded, memory is that of one
index, and an engine that ends its process, as some do, ends nothing else. Idle ones wait for a line, and take no time.

Parent and worker talk in lines of JSON. What libraries print goes to the log: a worker keeps the descriptor that it answers
on to itself.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lsr.errors import EvaluationError, one_line

if TYPE_CHECKING:
    from lsr.eval.bench.peers.peer import Opened

__all__ = ["Session", "Worker"]

THREADS = ("RAYON", "OMP", "OPENBLAS", "MKL", "NUMBA")
SMALL = (
    100  # documents of the index that is built and searched first, so that libraries are loaded and kernels compiled
)


class Worker:
    """The parent's end. `call(name, **arguments)` runs a method of `Session` there; threads: what libraries may use.

    Raises `EvaluationError`, with the last line of the log where the process has ended.
    """

    def __init__(self, threads: int = 1) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`
        environment = {**os.environ, **{f"{name}_NUM_THREADS": str(threads) for name in THREADS}}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lsr.eval.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
        )

    def call(self, method: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps([method, arguments]).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = b""
        if not line:
            raise EvaluationError(f"its process ended with status {self._process.wait()}{self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise EvaluationError(answer["error"])
        return answer["result"]

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").replace("\r", "\n").split("\n")
        written = [line.strip() for line in lines if line.strip()]
        return f": {written[-1][:200]}" if written else ""

    def close(self) -> None:
        """Ends the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:  # what was not yet sent to a process that has ended
                continue
        self._process.kill()  # it holds nothing that is worth the time to free it
        self._process.wait()
        self._log.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Session:
    """What a worker can do. Paths and settings come as JSON brings them."""

    def __init__(self) -> None:
        self._opened: Opened | None = None
        self._prepared: list[Any] = []
        self._before = 0.0

    def build(self, peer: str, vectors: str, folder: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Builds an index: seconds, and the most memory that the process held (MiB), its input included."""
        from lsr.eval.bench.peers import load_peer
        from lsr.eval.timing import Stopwatch, most_resident_mib
        from lsr.sparse import SparseVectors

        engine, documents = load_peer(peer), SparseVectors.load(vectors)
        with tempfile.TemporaryDirectory(dir=Path(folder).parent) as scratch:
            small, files = Path(scratch) / "small", Path(scratch) / "files"
            small.mkdir()
            files.mkdir()
            engine.build(engine.convert(documents[:SMALL], files), small, settings)
            source = engine.convert(documents, files)
            del documents  # unless the source is made of it
            gc.collect()
            with Stopwatch() as watch:
                engine.build(source, Path(folder), settings)
            return {"seconds": watch.seconds, "peak_mib": most_resident_mib()}

    def open(self, peer: str, folder: str, settings: dict[str, Any], small: dict[str, str]) -> float:
        """Opens an index; seconds. A small one is searched first. `small`: paths of its documents and queries."""
        from lsr.eval.bench.peers import load_peer
        from lsr.eval.timing import Stopwatch, resident_mib
        from lsr.sparse import SparseVectors

        engine = load_peer(peer)
        with tempfile.TemporaryDirectory(dir=Path(folder).parent) as scratch:
            index, files = Path(scratch) / "small", Path(scratch) / "files"
            index.mkdir()
            files.mkdir()
            engine.build(engine.convert(SparseVectors.load(small["documents"]), files), index, settings)
            first = engine.open(index, settings)
            queries = first.prepare(SparseVectors.load(small["queries"]))
            for search in engine.searches(settings, 1):
                first.searcher(search, 1)(queries[0])
            del first, queries
        gc.collect()
        self._before = resident_mib() or 0.0
        with Stopwatch() as watch:
            self._opened = engine.open(Path(folder), settings)
        return watch.seconds

    def ask(self, queries: str) -> int:
        """Prepares the queries of a file, for the searches that follow."""
        from lsr.sparse import SparseVectors

        self._prepared = self._engine.prepare(SparseVectors.load(queries))
        return len(self._prepared)

    def rows(self, search: dict[str, Any], k: int, queries: Sequence[int] | None = None) -> list[list[int]]:
        """The rows found for each query, or for those named."""
        find = self._searcher(search, k)
        return [self._engine.rows(find(query)).tolist() for query in self._chosen(queries)]

    def time(
        self, search: dict[str, Any], k: int, warm_ups: int, queries: Sequence[int] | None = None
    ) -> dict[str, Any]:
        """Microseconds of each query, after so many that do not count, and the processors that were busy meanwhile."""
        find, chosen = self._searcher(search, k), self._chosen(queries)
        for number in range(warm_ups):
            find(chosen[number % len(chosen)])
        clock, taken = time.perf_counter_ns, [0] * len(chosen)
        began, busy = clock(), time.process_time_ns()
        for number, query in enumerate(chosen):
            started = clock()
            find(query)
            taken[number] = clock() - started
        busy, passed = time.process_time_ns() - busy, clock() - began
        return {"us": [nanoseconds / 1000 for nanoseconds in taken], "processors": busy / max(passed, 1)}

    def memory(self) -> float | None:
        """MiB by which the process grew since before it opened the index; None where the system does not tell."""
        from lsr.eval.timing import resident_mib

        gc.collect()
        now = resident_mib()
        return None if now is None else max(0.0, now - self._before)

    @property
    def _engine(self) -> Opened:
        assert self._opened is not None, "open comes first"
        return self._opened

    def _searcher(self, search: dict[str, Any], k: int) -> Callable[[Any], Any]:
        from lsr.eval.bench.peers.peer import Search

        return self._engine.searcher(Search(**search), k)

    def _chosen(self, queries: Sequence[int] | None) -> list[Any]:
        return self._prepared if queries is None else [self._prepared[number] for number in queries]


def _serve(commands: IO[bytes], answers: IO[bytes]) -> None:
    session = Session()
    for line in commands:
        method, arguments = json.loads(line)
        try:
            answer = {"result": getattr(session, method)(**arguments)}
        except KeyboardInterrupt:  # the parent has it too, and closes the pipe
            return
        except BaseException as error:  # a panic of a Rust library is not an Exception
            answer = {"error": f"{type(error).__name__}: {one_line(error)[:300]}"}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _main() -> None:
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        _serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    _main()
