"""Parsing in processes of their own, whose results come in the order of the texts.

spaCy's own processes send whole parses to each other, which takes longer than parsing does; these send what the rules
found, in lines of JSON. They are started as programs, not forked: that is safe beside threads, and asks nothing of the
user's main module.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from lsr.errors import EncoderError, one_line
from lsr.rag.graph.types import Extracted, Fact, Text

__all__ = ["read_beside"]

_AHEAD = 2  # batches for each process that are read before they are asked for


def read_beside(
    batches: Iterable[Sequence[Text]], *, relations: bool, processes: int
) -> Generator[Extracted, None, None]:
    """What `Parser.read` finds in each text, by so many processes. Raises `EncoderError` where one ends before its time."""
    waiting: deque[tuple[Sequence[Text], Future[list[Any]]]] = deque()
    with contextlib.ExitStack() as stack:
        workers = SimpleQueue[_Worker]()
        for _ in range(processes):
            workers.put(stack.enter_context(_Worker(relations)))
        pool = stack.enter_context(ThreadPoolExecutor(processes))
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)

        def read(batch: Sequence[Text]) -> list[Any]:
            worker = workers.get()
            try:
                return worker.read(batch)
            finally:
                workers.put(worker)

        for batch in batches:
            waiting.append((batch, pool.submit(read, batch)))
            if len(waiting) >= _AHEAD * processes:
                yield from _next(waiting)
        while waiting:
            yield from _next(waiting)


def _next(waiting: deque[tuple[Sequence[Text], Future[list[Any]]]]) -> Iterator[Extracted]:
    batch, future = waiting.popleft()
    for text, (phrases, facts) in zip(batch, future.result(), strict=True):
        yield Extracted(text.id, tuple(phrases), tuple(Fact(*fact) for fact in facts))


class _Worker:
    """The parent's end of a process."""

    def __init__(self, relations: bool) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, "facts" if relations else "phrases"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # One thread each: there are as many processes as processors. And nothing out of the folder that happens to be
            # the current one, unless this process looks there too.
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONSAFEPATH": "1",
                "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
            },
        )

    def read(self, batch: Sequence[Text]) -> list[Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = b""
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps([[text.text, text.title] for text in batch]).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            status = self._process.wait()
            raise EncoderError(f"a process that finds facts ended with status {status}; is there enough memory?")
        found: list[Any] | str = json.loads(line)
        if isinstance(found, str):
            raise EncoderError(f"a process that finds facts could not: {found}")
        return found

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # what was not yet sent to a process that has ended
                pipe.close()
        self._process.kill()  # it holds nothing that is worth the time to free it
        self._process.wait()


def main() -> None:
    """A worker: reads batches, writes what was found."""
    # spaCy would load torch, which it needs not here: half of the time that a worker takes to start.
    sys.modules["torch"] = None  # type: ignore[assignment]
    from lsr.rag.graph.extractors.rules import Parser

    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    parser, relations = Parser(alone=True), sys.argv[1] == "facts"
    for line in sys.stdin.buffer:
        texts = [Text("", text, title) for text, title in json.loads(line)]
        found: list[Any] | str
        try:
            found = [
                [one.phrases, [[fact.subject, fact.predicate, fact.object] for fact in one.facts]]
                for one in parser.read(texts, relations=relations)
            ]
        except Exception as error:  # told to the parent, which nobody could see here
            found = f"{type(error).__name__}: {one_line(error)}"
        answers.write(json.dumps(found).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
