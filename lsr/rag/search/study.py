"""A search: an algorithm is asked for pipelines, they are raced, and it is told what came of them.

Everything that decides is fixed before a batch of pipelines begins, and they are told in the order they were asked. So
neither the number of workers nor their speed changes the result, and a study that was killed goes on by asking the
algorithm the same again, with the answers that it has on disk. What may change it are limits in seconds, and latency as an
objective: they are measured.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lsr import disk
from lsr.errors import EvaluationError, InvalidInput, StorageError
from lsr.rag.search.algorithms import DEFAULT, Algorithm, Settings, algorithm_settings, fitness, make_algorithm
from lsr.rag.search.budget import Budget, too_small
from lsr.rag.search.evaluated import Evaluated, Evaluator, Objectives, Outcomes, cost_of, tokens_of
from lsr.rag.search.racing import COMPLETE, FAILED, RACED_OUT, STOPPED, Race, Racing, race
from lsr.rag.search.space import Choice, Space
from lsr.rag.search.store import Record, Spent, Store, locked
from lsr.rag.types import Failure

__all__ = ["Ended", "Study", "read_study"]

LIMITS = ("seconds", "tokens", "cost")


@dataclass(frozen=True)
class Ended:
    """Why a search ended, what it took, and its best pipeline on the search questions."""

    reason: str
    winner: Record
    records: tuple[Record, ...]
    spent: Spent


class Study:
    """One search in a folder.

    questions: ids, in the order in which they are asked; baseline: the pipeline that all is compared with, of the space or
    not; known: good pipelines of the space, tried first; about: what results depend on beside all this (corpus, models), as
    JSON.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        space: Space,
        evaluator: Evaluator,
        questions: Sequence[str],
        baseline: Mapping[str, Any],
        objectives: Objectives,
        algorithm: str = DEFAULT,
        settings: Settings | None = None,
        seed: int = 0,
        known: Sequence[Mapping[str, Any]] = (),
        racing: Racing | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        if not questions or len(set(questions)) != len(questions):
            raise InvalidInput("a study needs one or more questions, none of them twice")
        self.store = Store(Path(folder))
        self.space, self.evaluator, self.objectives = space, evaluator, objectives
        self.questions = list(questions)
        self.baseline = baseline
        self.racing = racing or Racing()
        self._make = (algorithm, settings or algorithm_settings(algorithm), seed, list(known))
        self._about = dict(about or {})
        self._stop = threading.Event()

    def config(self) -> dict[str, Any]:
        """All that the result depends on: a study goes on only with the same."""
        algorithm, settings, seed, known = self._make
        return {
            "algorithm": {"name": algorithm, "seed": seed, **asdict(settings)},
            "objectives": self.objectives.to_json(),
            "racing": asdict(self.racing),
            "space": self.space.to_json(),
            "baseline": _json(self.baseline),
            "known": [_json(choice) for choice in known],
            "questions": self.questions,
            "about": self._about,
        }

    def run(
        self,
        budget: Budget | None = None,
        *,
        workers: int = 1,
        resume: bool = False,
        progress: Callable[[Record], None] | None = None,
    ) -> Ended:
        """Searches until the budget or the space is at its end.

        workers: pipelines evaluated at the same time, each in a thread. progress: called with each candidate that is
        finished. On KeyboardInterrupt all that is finished is kept, and the error goes on.

        Raises `OutputExists` for a folder that holds a study, unless it is resumed; `InvalidInput` for one of another
        configuration, or a budget too small for one pipeline; `EvaluationError` where the baseline fails; `IndexLocked`
        where another process searches there.
        """
        if workers < 1:
            raise InvalidInput(f"workers is {workers}: it must be 1 or more")
        algorithm_name, settings, seed, known = self._make
        algorithm = make_algorithm(
            algorithm_name, self.space, seed=seed, known=known, costs=len(self.objectives.costs), settings=settings
        )
        disk.make_folder(self.store.folder, exist_ok=True)
        with locked(self.store.folder):
            try:
                self.store.begin(self.config(), resume=resume)
                return self._search(algorithm, budget or Budget(), workers, progress or (lambda record: None))
            finally:
                self.store.close()

    def _search(self, algorithm: Algorithm, budget: Budget, workers: int, progress: Callable[[Record], None]) -> Ended:
        self._stop.clear()
        records = self.store.records()
        history: list[Record] = []
        self._begin(records, history, budget, progress)
        if self.baseline in self.space:
            algorithm.tell(self.baseline, history[0].values)
        best, stale = fitness(history[0].values or ()), 0
        while True:
            if budget.stale is not None and stale >= budget.stale:
                return self._ended(f"{stale} batches brought nothing better", history)
            if budget.pipelines is not None and len(history) >= budget.pipelines:
                return self._ended(f"budget of {budget.pipelines:,} pipelines", history)
            batch = algorithm.ask(algorithm.settings.batch)
            if not batch:
                return self._ended("every legal pipeline was evaluated", history)
            allowed = len(batch) if budget.pipelines is None else budget.pipelines - len(history)
            reason = self._evaluate(batch[:allowed], records, history, budget, workers, progress)
            if reason is not None:
                return self._ended(reason, history)
            if allowed < len(batch):
                continue
            for choice, record in zip(batch, history[-len(batch) :], strict=True):
                algorithm.tell(choice, record.values)
            found = max(fitness(record.values) for record in history if record.state == COMPLETE and record.values)
            best, stale = (found, 0) if found > best else (best, stale + 1)

    def _begin(
        self,
        records: dict[int, Record],
        history: list[Record],
        budget: Budget,
        progress: Callable[[Record], None],
    ) -> None:
        """The baseline, evaluated on all questions whatever it is like."""
        if 0 not in records:
            raced = self._race(self.baseline, None, (), budget, {})
            if raced.state == STOPPED:
                name, sample = raced.reason or "", len(raced.outcomes)
                limit = getattr(budget, name)
                used = self._used(self.store.spent(), name) if sample else 0.0
                raise InvalidInput(too_small(name, limit, used / max(1, sample) * len(self.questions), sample))
            if raced.state == FAILED:
                raise EvaluationError(f"the baseline cannot be evaluated: {raced.reason}")
            records[0] = self._finished(0, _json(self.baseline), raced, None)
            progress(records[0])
        history.append(records[0])

    def _evaluate(
        self,
        batch: Sequence[Choice],
        records: dict[int, Record],
        history: list[Record],
        budget: Budget,
        workers: int,
        progress: Callable[[Record], None],
    ) -> str | None:
        """Evaluates what has no record yet, and adds the batch to the history. Returns why it could not do all of it."""
        complete = [record for record in history if record.state == COMPLETE]
        incumbent = max(complete, key=lambda record: (fitness(record.values or ()), -record.number))
        first = len(history)
        todo: list[int] = []
        for number, choice in enumerate(batch, start=first):
            if number not in records:
                todo.append(number)
            elif records[number].choice != choice.to_json():
                raise StorageError(
                    f"{self.store.folder}: the algorithm asks for another candidate {number} than it did before;"
                    " was the study begun with another version of lsr, Python or Optuna? begin a new one"
                )
        allowances, reason = self._admitted(todo, history, budget)
        finished = [record.outcomes for record in complete]

        def work(number: int) -> Race:
            return self._race(batch[number - first], incumbent.outcomes, finished, budget, allowances[number])

        def keep(number: int, raced: Race) -> None:
            nonlocal reason
            if raced.state == STOPPED:
                reason = reason or f"budget of {raced.reason}"
                return
            records[number] = self._finished(number, batch[number - first].to_json(), raced, incumbent)
            progress(records[number])

        self._all([number for number in todo if number in allowances], work, keep, workers)
        for number in range(first, first + len(batch)):
            if number not in records:
                break
            history.append(records[number])
        return reason if len(history) < first + len(batch) else None

    def _all(
        self, numbers: Sequence[int], work: Callable[[int], Race], keep: Callable[[int, Race], None], workers: int
    ) -> None:
        if workers == 1:
            for number in numbers:
                keep(number, work(number))
            return
        with ThreadPoolExecutor(workers) as pool:
            running: dict[Future[Race], int] = {pool.submit(work, number): number for number in numbers}
            try:
                while running:
                    for done in wait(running, return_when=FIRST_COMPLETED).done:
                        keep(running.pop(done), done.result())
            except BaseException:
                # Blocks that run are waited for; what they finish is kept.
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                for done, number in running.items():
                    if not done.cancelled() and done.exception() is None:
                        keep(number, done.result())
                raise

    def _admitted(
        self, todo: Sequence[int], history: Sequence[Record], budget: Budget
    ) -> tuple[dict[int, dict[str, float]], str | None]:
        """The candidates that may start, with what each may spend; and the limit that keeps the others from it.

        A candidate is expected to take what the dearest complete one took for all questions. What is left over is shared out.
        """
        spent = self.store.spent()
        count, reason = len(todo), None
        rates = {name: self._rate(history, spent, name) * len(self.questions) for name in LIMITS}
        for name in LIMITS:
            limit = getattr(budget, name)
            if limit is None:
                continue
            left = limit - self._used(spent, name)
            fit = 0 if left <= 0 else count if rates[name] == 0 else int(left // rates[name])
            if fit < count:
                count, reason = fit, f"budget of {name}"
        allowed = {
            name: (getattr(budget, name) - self._used(spent, name)) / count
            for name in LIMITS
            if count and getattr(budget, name) is not None
        }
        return dict.fromkeys(todo[:count], allowed), reason

    def _rate(self, history: Sequence[Record], spent: Spent, name: str) -> float:
        """What a question of the dearest pipeline took; seconds are the mean, since the first to use a model waits for it."""
        if name == "seconds":
            return spent.seconds / max(1, spent.questions)
        of = tokens_of if name == "tokens" else cost_of
        return max(
            float(np.mean([of(outcome) for outcome in record.outcomes.values()]))
            for record in history
            if record.outcomes
        )

    @staticmethod
    def _used(spent: Spent, name: str) -> float:
        return float(getattr(spent, name))

    def _race(
        self,
        choice: Mapping[str, Any],
        incumbent: Outcomes | None,
        finished: Sequence[Outcomes],
        budget: Budget,
        allowance: Mapping[str, float],
    ) -> Race:
        used = dict.fromkeys(LIMITS, 0.0)
        store, stop = self.store, self._stop
        limits = allowance or {name: getattr(budget, name) for name in LIMITS if getattr(budget, name) is not None}

        class Counting:
            """The evaluator, with what it takes written down."""

            def evaluate(self, stages: Mapping[str, Any], question_ids: Sequence[str]) -> Evaluated | Failure:
                started = time.monotonic()
                result = evaluator.evaluate(stages, question_ids)
                seconds = time.monotonic() - started
                outcomes = [result] if isinstance(result, Failure) else list(result.outcomes.values())
                tokens, cost = sum(map(tokens_of, outcomes)), sum(map(cost_of, outcomes))
                store.spend(seconds, tokens, cost, len(question_ids))
                for name, value in zip(LIMITS, (seconds, tokens, cost), strict=True):
                    used[name] += value
                return result

        evaluator = self.evaluator

        def may_go_on(outcomes: Outcomes, size: int) -> str | None:
            if stop.is_set():
                return "interrupted"
            for name, limit in limits.items():
                expected = used[name] / len(outcomes) * size if outcomes else 0.0
                if used[name] + expected > limit:
                    return name
            return None

        return race(
            self.space.stages(choice),
            self.questions,
            Counting(),
            self.objectives,
            self.racing,
            incumbent=incumbent,
            finished=finished,
            may_go_on=may_go_on,
        )

    def _finished(self, number: int, choice: Mapping[str, Any], raced: Race, incumbent: Record | None) -> Record:
        values = None
        if raced.state == COMPLETE:
            values = self.objectives.values(raced.outcomes)
        elif raced.state == RACED_OUT and incumbent is not None and incumbent.values is not None:
            values = self._extrapolated(raced.outcomes, incumbent.outcomes, incumbent.values)
        record = Record(number, choice, raced.state, raced.reason, values, raced.outcomes)
        self.store.add(record)
        return record

    def _extrapolated(self, outcomes: Outcomes, incumbent: Outcomes, values: tuple[float, ...]) -> tuple[float, ...]:
        """What a pipeline that was raced out would have had on all questions: the incumbent's quality and the difference so
        far. Its own mean is one of other questions."""
        asked = list(outcomes)
        differences = self.objectives.qualities(outcomes, asked) - self.objectives.qualities(incumbent, asked)
        return (values[0] + float(np.nanmean(differences)), *self.objectives.values(outcomes)[1:])

    def _ended(self, reason: str, history: Sequence[Record]) -> Ended:
        complete = [record for record in history if record.state == COMPLETE]
        winner = max(complete, key=lambda record: (fitness(record.values or ()), -record.number))
        return Ended(reason, winner, tuple(history), self.store.spent())


def read_study(folder: str | Path) -> tuple[dict[str, Any], tuple[Record, ...], Spent]:
    """What a study was begun with, its candidates, and what was spent, also while it runs. Raises `StorageError` for none."""
    store = Store(Path(folder))
    try:
        config = store.config() if disk.exists(store.path) else None
        if config is None:
            raise StorageError(f"{folder}: holds no study")
        return config, tuple(store.records().values()), store.spent()
    finally:
        store.close()


def _json(choice: Mapping[str, Any]) -> dict[str, Any]:
    return Choice(tuple((family, stage) for family, stage in choice.items())).to_json()
