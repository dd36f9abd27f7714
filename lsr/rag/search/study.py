"""A search: an algorithm is asked for pipelines, they are raced, and it is told what came of them.

Everything that decides is fixed before a batch of pipelines begins, and they are told in the order they were asked. So
neither the number of workers nor their speed changes the result, and a study that was killed goes on by asking the
algorithm the same again, with the answers that it has on disk. What may change it are limits in seconds, and latency as an
objective: they are measured.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lsr import disk
from lsr.errors import EvaluationError, InvalidInput, StorageError
from lsr.rag.search.algorithms import DEFAULT, Algorithm, Settings, algorithm_settings, fitness, make_algorithm
from lsr.rag.search.budget import LIMITS, Budget, Costs, too_small
from lsr.rag.search.evaluated import Evaluated, Evaluator, Objectives, Outcomes, cost_of, tokens_of
from lsr.rag.search.racing import COMPLETE, FAILED, RACED_OUT, STOPPED, Race, Racing, race
from lsr.rag.search.selection import Verdict, verdict
from lsr.rag.search.space import Choice, Space
from lsr.rag.search.store import Record, Spent, Store, locked
from lsr.rag.types import Failure, Usage

__all__ = ["Ended", "Study"]


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
        self._costs = Costs(space, baseline, len(self.questions))

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
        finished. When it is interrupted (SIGINT) the blocks of questions that run are finished, and KeyboardInterrupt is
        raised; all candidates that are finished are kept. Interrupted again, it does not wait.

        Raises `OutputExists` for a folder that holds a study, unless it is resumed; `InvalidInput` for one of another
        configuration, or a budget too small for one pipeline; `EvaluationError` where the baseline fails, or a pipeline
        for a reason that may pass (an endpoint that is down): it has no record then, and resuming tries it again;
        `IndexLocked` where another process searches there.
        """
        if workers < 1:
            raise InvalidInput(f"workers is {workers}: it must be 1 or more")
        algorithm_name, settings, seed, known = self._make
        algorithm = make_algorithm(
            algorithm_name, self.space, seed=seed, known=known, costs=len(self.objectives.costs), settings=settings
        )
        try:
            disk.make_folder(self.store.folder, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self.store.folder}: cannot be made ({error.strerror or error})") from None
        self._stop.clear()
        with locked(self.store.folder), _stopped_by_signal(self._stop):
            try:
                self.store.begin(self.config(), resume=resume)
                return self._search(algorithm, budget or Budget(), workers, progress or (lambda record: None))
            finally:
                self.store.close()

    def stages(self, record: Record) -> dict[str, Any]:
        """The stages of a candidate, by family."""
        return self.space.stages(self.baseline if record.number == 0 else self.space.from_json(record.choice))

    def judge(self, ended: Ended, holdout: Sequence[str], *, confidence: float = 0.95, seed: int = 0) -> Verdict:
        """The winner beside the baseline on questions that nothing was chosen by; kept in the study. Raises as `verdict`
        does, and `InvalidInput` for a question that the search has seen."""
        seen = sorted(set(holdout) & set(self.questions))
        if seen:
            raise InvalidInput(f"holdout question {seen[0]!r} is one of the search: what it chose was chosen by it")
        winner, baseline = self.stages(ended.winner), self.space.stages(self.baseline)
        found = verdict(self.evaluator, winner, baseline, holdout, self.objectives, confidence=confidence, seed=seed)
        with locked(self.store.folder):
            try:
                self.store.note("verdict", {"winner": ended.winner.number, **found.to_json()})
            finally:
                self.store.close()
        return found

    def _search(self, algorithm: Algorithm, budget: Budget, workers: int, progress: Callable[[Record], None]) -> Ended:
        records = self.store.records()
        history: list[Record] = []
        self._begin(records, history, budget, progress)
        if self.baseline in self.space:
            algorithm.tell(self.baseline, history[0].values)
        best, stale = fitness(history[0].values or ()), 0
        while True:
            self._check()
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
            left = _left(budget, self.store.spent())
            raced = self._race(self.baseline, None, (), left, bool(left))
            self._check()
            if raced.state == STOPPED:
                name, spent = raced.reason or "", self.store.spent()
                needed = getattr(spent, name) / max(1, spent.questions) * len(self.questions)
                raise InvalidInput(too_small(name, getattr(budget, name), needed, spent.questions))
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
        finished = [record.outcomes for record in complete]
        reason: str | None = None

        def work(number: int) -> Race:
            return self._race(batch[number - first], incumbent.outcomes, finished, *allowances[number])

        def keep(number: int, raced: Race) -> None:
            nonlocal reason
            if raced.state == STOPPED:
                reason = f"budget of {raced.reason}"
                return
            records[number] = self._finished(number, batch[number - first].to_json(), raced, incumbent)
            progress(records[number])

        while todo and reason is None:
            known = [record for number, record in records.items() if number < first + len(batch)]
            left = _left(budget, self.store.spent())
            allowances, short = self._costs.admitted({n: batch[n - first] for n in todo}, known, left, self._speed())
            if not allowances:
                reason = short
            todo = [number for number in todo if number not in allowances]
            self._all(list(allowances), work, keep, workers)
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
                self._check()
                keep(number, work(number))
            self._check()
            return
        with ThreadPoolExecutor(workers) as pool:
            running: dict[Future[Race], int] = {pool.submit(work, number): number for number in numbers}
            try:
                while running:
                    for done in wait(running, return_when=FIRST_COMPLETED).done:
                        keep(running.pop(done), done.result())
                    self._check()
            except BaseException:
                self._stop.set()  # blocks that run are waited for, and what they finish is kept
                pool.shutdown(wait=True, cancel_futures=True)
                for done, number in running.items():
                    if not done.cancelled() and done.exception() is None:
                        keep(number, done.result())
                raise

    def _check(self) -> None:
        if self._stop.is_set():
            raise KeyboardInterrupt

    def _speed(self) -> float:
        """Seconds a question, mean: the first pipeline that uses a model waits for it."""
        spent = self.store.spent()
        return spent.seconds / max(1, spent.questions)

    def _race(
        self,
        choice: Mapping[str, Any],
        incumbent: Outcomes | None,
        finished: Sequence[Outcomes],
        limits: Mapping[str, float],
        probe: bool,
    ) -> Race:
        metered = _Metered(self.evaluator, self.store, self._stop, limits)
        return race(
            self.space.stages(choice),
            self.questions,
            metered,
            self.objectives,
            self.racing,
            incumbent=incumbent,
            finished=finished,
            may_go_on=metered.may_go_on,
            probe=probe,
        )

    def _finished(self, number: int, choice: Mapping[str, Any], raced: Race, incumbent: Record | None) -> Record:
        if raced.transient:
            raise EvaluationError(f"{raced.reason}; this may pass: resume the search then, nothing is lost")
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


class _Metered:
    """The evaluator for one pipeline: what it takes is written down, and compared with what it may."""

    def __init__(self, evaluator: Evaluator, store: Store, stop: threading.Event, limits: Mapping[str, float]) -> None:
        self._evaluator, self._store, self._stop, self._limits = evaluator, store, stop, limits
        self._used, self._most = dict.fromkeys(LIMITS, 0.0), dict.fromkeys(LIMITS, 0.0)

    def evaluate(self, stages: Mapping[str, Any], question_ids: Sequence[str]) -> Evaluated | Failure:
        started = time.monotonic()
        result = self._evaluator.evaluate(stages, question_ids)
        seconds = time.monotonic() - started
        outcomes = [result] if isinstance(result, Failure) else list(result.outcomes.values())
        tokens, costs = list(map(tokens_of, outcomes)), list(map(cost_of, outcomes))
        before = Usage() if isinstance(result, Failure) else result.preparation
        spent = (seconds, sum(tokens) + before.tokens_in + before.tokens_out, sum(costs) + before.cost)
        self._store.spend(*spent, len(question_ids))
        each = (seconds / len(question_ids), max(tokens, default=0), max(costs, default=0.0))
        for name, value, one in zip(LIMITS, spent, each, strict=True):
            self._used[name] += value
            self._most[name] = max(self._most[name], one)
        return result

    def may_go_on(self, outcomes: Outcomes, size: int) -> str | None:
        """No, where that many questions as dear as the dearest so far would take too much."""
        if self._stop.is_set():
            return "interrupted"
        for name, limit in self._limits.items():
            if self._used[name] + self._most[name] * size > limit:
                return name
        return None


@contextmanager
def _stopped_by_signal(stop: threading.Event) -> Iterator[None]:
    """The first SIGINT sets `stop`, the second raises KeyboardInterrupt: raised anywhere, it could leave a lock held.

    Where the program has a handler of its own, or in another thread than the main one, nothing is changed.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def handle(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _left(budget: Budget, spent: Spent) -> dict[str, float]:
    """What may still be spent, of all that is limited."""
    return {name: getattr(budget, name) - getattr(spent, name) for name in LIMITS if getattr(budget, name) is not None}


def _json(choice: Mapping[str, Any]) -> dict[str, Any]:
    return Choice(tuple((family, stage) for family, stage in choice.items())).to_json()
