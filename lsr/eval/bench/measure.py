"""Measuring: build each index, sweep each grid with few queries, measure what is left well, engines taking turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import EvaluationError
from lsr.eval.bench.built import Built
from lsr.eval.bench.grid import front, worth_measuring
from lsr.eval.bench.indexes import Indexes
from lsr.eval.bench.peers.peer import Peer, Rows, Search
from lsr.eval.bench.pool import Pool, open_index
from lsr.eval.bench.truth import Answers
from lsr.eval.bench.worker import Worker

__all__ = ["Measurement", "Point", "QuerySet"]

Progress = Callable[[str, int, int | None], None]
_SETTLING = 50  # searches before each round: they bring back what other engines pushed out of the caches
_BUSY = 1.2  # processors; more than one thread is at work above that


@dataclass(frozen=True, slots=True)
class QuerySet:
    """Queries by name: their file, and what belongs in the top k of each, by k. `sample` are the numbers of the sweep's."""

    name: str
    path: Path
    count: int
    answers: Mapping[int, Answers]
    sample: Sequence[int]


@dataclass(slots=True)
class Point:
    """One setting of one index on one set of queries at one k. Times in microseconds; rounds [rounds, queries]."""

    built: Built
    search: Search
    queries: str
    k: int
    recall: float
    mean_us: float
    stored_recall: float | None = None
    processors: float = 0.0
    rounds: list[npt.NDArray[np.float64]] = field(default_factory=list)
    rows: list[Rows] = field(default_factory=list)

    @property
    def series(self) -> tuple[str, str, int]:
        return self.search.series, self.queries, self.k

    def percentiles(self) -> dict[str, float]:
        """p50, p95 and p99, each the median over the rounds."""
        values = np.median(np.percentile(np.stack(self.rounds), [50, 95, 99], axis=1), axis=1)
        return dict(zip(("p50_us", "p95_us", "p99_us"), values.tolist(), strict=True))


class Measurement:
    """Sweeps one peer after the other, then measures all. An engine that fails is left out, and `failed` says why."""

    def __init__(
        self,
        indexes: Indexes,
        sets: Sequence[QuerySet],
        *,
        rounds: int,
        warm_ups: int,
        progress: Progress,
        budget_mib: float | None = None,
    ) -> None:
        """budget_mib: of memory for the indexes that are open at once; None for no limit."""
        self._indexes, self._sets, self._progress, self._budget = indexes, sets, progress, budget_mib
        self._rounds, self._warm_ups = rounds, warm_ups
        self.built: list[Built] = []
        self.swept: list[Point] = []
        self.measured: list[Point] = []
        self.failed: dict[str, str] = {}
        self.reopened = 0

    def sweep(self, peer: Peer, place: str, documents: int) -> None:
        """Builds all indexes of a peer and tries every setting of its grid on the samples of the queries."""
        several = peer.builds(documents)
        for number, settings in enumerate(several):
            self._progress(f"{peer.name}: building and sweeping", number, len(several))
            self._try(Built(peer, place, settings), self._sweep_one)

    def _sweep_one(self, built: Built) -> None:
        built.folder, cost = self._indexes.build(built.peer, built.place, built.settings)
        built.build_s, built.peak_mib, built.disk_bytes = cost["seconds"], cost["peak_mib"], cost["disk_bytes"]
        with Worker() as worker:
            open_index(worker, built, self._indexes.small)
            points = [point for queries in self._sets for point in self._sweep_set(built, worker, queries)]
            built.resident_mib = worker.call("memory")
        self.built.append(built)
        self.swept += points

    def _sweep_set(self, built: Built, worker: Worker, queries: QuerySet) -> Iterator[Point]:
        worker.call("ask", queries=str(queries.path))
        for k, answers in queries.answers.items():
            for search in built.peer.searches(built.settings, k):
                chosen = {"search": _sent(search), "k": k, "queries": list(queries.sample)}
                rows = worker.call("rows", **chosen)  # before it is timed: this warms up
                taken = worker.call("time", warm_ups=0, **chosen)["us"]
                recall = answers.recall(_arrays(rows), queries.sample)
                yield Point(built, search, queries.name, k, recall, float(np.mean(taken)))

    def measure(self, stored: Mapping[str, Mapping[int, Answers]]) -> None:
        """Times what the sweep found worth it, with all queries, the engines taking turns in each round.

        stored: what belongs in the top k of queries by the weights as lsr stores them, by set and k.
        """
        by_series: dict[tuple[str, str, int], list[Point]] = {}
        for point in self.swept:
            by_series.setdefault(point.series, []).append(point)
        chosen = [replace(point, rounds=[], rows=[]) for points in by_series.values() for point in _chosen(points)]
        order = {id(built): number for number, built in enumerate(self.built)}
        chosen.sort(key=lambda point: order[id(point.built)])  # each index once a round
        with Pool(self._indexes.small, self._budget) as pool:
            for queries in self._sets:
                self._measure_set(queries, pool, [point for point in chosen if point.queries == queries.name])
            self.reopened = pool.reopened
        for point in self.measured:
            if point.built.peer.package is None and point.queries in stored:
                point.stored_recall = stored[point.queries][point.k].recall(point.rows)

    def _measure_set(self, queries: QuerySet, pool: Pool, chosen: Sequence[Point]) -> None:
        for k in queries.answers:
            points = [point for point in chosen if point.k == k]
            for turn in range(self._rounds):
                self._progress(f"measuring {queries.name}, top {k}", turn, self._rounds)
                for point in points:
                    self._try(point.built, self._time, pool, point, queries, turn)
            for point in points:
                self._try(point.built, self._judge, pool, point, queries)
            for built in _indexes_of(points):
                if built.shown in self.failed:
                    pool.close(built)

    def _time(self, built: Built, pool: Pool, point: Point, queries: QuerySet, turn: int) -> None:
        worker, fresh = pool.get(built, queries.path)
        warm_ups = self._warm_ups if fresh or turn == 0 else min(self._warm_ups, _SETTLING)
        found = worker.call("time", search=_sent(point.search), k=point.k, warm_ups=warm_ups)
        point.rounds.append(np.array(found["us"]))
        point.processors = max(point.processors, found["processors"])

    def _judge(self, built: Built, pool: Pool, point: Point, queries: QuerySet) -> None:
        worker, _ = pool.get(built, queries.path)
        point.rows = _arrays(worker.call("rows", search=_sent(point.search), k=point.k))
        point.recall = queries.answers[point.k].recall(point.rows)
        point.mean_us = float(np.median([taken.mean() for taken in point.rounds]))
        self.measured.append(point)

    def _try(self, built: Built, work: Callable[..., Any], *arguments: Any) -> None:
        """A step of an index's measurement. What fails is noted, and no more is asked of that index."""
        if built.shown in self.failed:
            return
        try:
            work(built, *arguments)
        except EvaluationError as error:
            self.failed[built.shown] = str(error)

    def busy(self) -> list[str]:
        """The series that had more than one processor at work while they were timed."""
        return sorted({point.search.series for point in self.measured if point.processors > _BUSY})


def _indexes_of(points: Sequence[Point]) -> list[Built]:
    return list({id(point.built): point.built for point in points}.values())


def _chosen(points: Sequence[Point]) -> list[Point]:
    """What is worth measuring, and the best of each index: with few queries several may seem to find everything."""
    kept = {id(point): point for point in worth_measuring(points)}
    for built in _indexes_of(points):
        best = front([point for point in points if point.built is built])[-1]
        kept[id(best)] = best
    return list(kept.values())


def _sent(search: Search) -> dict[str, Any]:
    return {"series": search.series, "settings": dict(search.settings), "bare": search.bare}


def _arrays(rows: Sequence[Sequence[int]]) -> list[Rows]:
    return [np.array(found, np.int64) for found in rows]
