"""The indexes that are open for measuring: all at once where memory allows, else as many as fit."""

from __future__ import annotations

from pathlib import Path

from lsr.eval.bench.built import Built
from lsr.eval.bench.worker import Worker

__all__ = ["Pool", "open_index"]


class Pool:
    """Workers with an open index each. Beyond `budget_mib` (None: no limit) others are closed for one that is opened: those
    used last, since engines take turns and theirs come last. `reopened` counts what was opened again.

    small: paths of the documents and queries that a worker tries first.
    """

    def __init__(self, small: dict[str, str], budget_mib: float | None) -> None:
        self._small, self._budget = small, budget_mib
        self._workers: dict[int, tuple[Built, Worker]] = {}  # by identity, the one used last at the end
        self._asked: dict[int, Path] = {}
        self._known: set[int] = set()
        self.reopened = 0

    def get(self, built: Built, queries: Path) -> tuple[Worker, bool]:
        """The worker of an index with these queries prepared, and whether it was opened just now."""
        kept = self._workers.pop(id(built), None)
        if kept is None:
            self._make_room(built)
            kept = built, Worker()
            self.reopened += id(built) in self._known
            self._known.add(id(built))
        built, worker = self._workers[id(built)] = kept
        fresh = id(built) not in self._asked
        if fresh:
            open_index(worker, built, self._small)
        if self._asked.get(id(built)) != queries:
            worker.call("ask", queries=str(queries))
            self._asked[id(built)] = queries
        return worker, fresh

    def _make_room(self, built: Built) -> None:
        if self._budget is None:
            return
        while self._workers and _mib(built) + sum(_mib(other) for other, _ in self._workers.values()) > self._budget:
            self.close(next(reversed(self._workers.values()))[0])

    def close(self, built: Built) -> None:
        """Closes an index, if it is open."""
        kept = self._workers.pop(id(built), None)
        self._asked.pop(id(built), None)
        if kept is not None:
            kept[1].close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for built, _worker in list(self._workers.values()):
            self.close(built)


def open_index(worker: Worker, built: Built, small: dict[str, str]) -> None:
    """Opens an index in a worker and notes how long it took."""
    arguments = {"peer": built.place, "folder": str(built.folder), "settings": dict(built.settings)}
    built.open_s = worker.call("open", small=small, **arguments)


def _mib(built: Built) -> float:
    return built.resident_mib or 0.0
