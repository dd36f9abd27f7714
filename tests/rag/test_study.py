"""A study: it ends with the same winner however it is interrupted, and spends no more than it may."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lsr.errors import EvaluationError, IndexLocked, InvalidInput, OutputExists, StorageError
from lsr.rag.search.algorithms import algorithm_settings
from lsr.rag.search.budget import Budget, estimate
from lsr.rag.search.evaluated import Evaluated
from lsr.rag.search.racing import COMPLETE, FAILED, RACED_OUT, Racing
from lsr.rag.search.store import differences, locked, read_study
from lsr.rag.search.study import Ended, Study
from lsr.rag.types import Failure
from tests.rag.search_world import BASELINE, OBJECTIVES, Hyde, Sparse, Words, World, questions, space, tokens, worth

BUDGET = Budget(pipelines=50)


def study(folder: Path, world: World | None = None, **given: Any) -> Study:
    return Study(
        folder,
        space=given.pop("space", None) or space(),
        evaluator=world or World(),
        questions=given.pop("questions", questions(60)),
        baseline=given.pop("baseline", BASELINE),
        objectives=OBJECTIVES,
        algorithm=given.pop("algorithm", "genetic"),
        racing=given.pop("racing", Racing(block=15)),
        seed=given.pop("seed", 5),
        **given,
    )


def same(first: Ended, second: Ended) -> bool:
    return (first.winner, first.records, first.reason) == (second.winner, second.records, second.reason)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return study(tmp_path_factory.mktemp("study") / "whole").run(BUDGET)


def test_a_search_finds_a_good_pipeline_and_says_what_it_took(whole: Ended) -> None:
    assert whole.reason == "budget of 50 pipelines"
    assert [record.number for record in whole.records] == list(range(50))
    assert {record.state for record in whole.records} == {COMPLETE, RACED_OUT}
    assert len({json.dumps(record.choice) for record in whole.records}) == 50
    quality = [record.values[0] for record in whole.records if record.state == COMPLETE and record.values]
    assert whole.winner.values
    assert whole.winner.values[0] == max(quality)
    assert whole.winner.choice["rerank"]["candidates"] in (50, 100)
    assert whole.winner.choice["query"] is None
    asked = sum(len(record.outcomes) for record in whole.records)
    assert whole.spent.questions == asked < 50 * 60
    assert whole.spent.tokens == sum(
        len(record.outcomes) * (10 if record.choice.get("query") is None else 110) for record in whole.records
    )


def test_pipelines_that_were_raced_out_are_told_as_if_on_all_questions(whole: Ended) -> None:
    """Their own mean is one of the first questions, which may be easy."""
    some = space()
    by_json = {json.dumps(choice.to_json()): worth(choice) for choice in some.pipelines()}
    raced = [record for record in whole.records if record.state == RACED_OUT]
    offset = {record.number: record.values[0] - by_json[json.dumps(record.choice)] for record in raced if record.values}
    assert raced
    assert max(offset.values()) - min(offset.values()) < 0.1  # the noise of a pipeline alone, not that of questions


@pytest.mark.parametrize("algorithm", ["genetic", "tpe", "random"])
@pytest.mark.parametrize("workers", [2, 5])
def test_the_number_of_workers_changes_nothing(tmp_path: Path, algorithm: str, workers: int) -> None:
    first = study(tmp_path / "one", algorithm=algorithm).run(Budget(pipelines=30))
    second = study(tmp_path / "many", algorithm=algorithm).run(Budget(pipelines=30), workers=workers)
    assert same(first, second)


SCRIPT = """
import os, signal, sys
from pathlib import Path
from tests.rag.search_world import World
from tests.rag.test_study import BUDGET, study

signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the parent does with it

def before(call):
    if call == int(sys.argv[2]):
        os.kill(os.getpid(), getattr(signal, sys.argv[3]))

study(Path(sys.argv[1]), World(before=before)).run(BUDGET, workers=int(sys.argv[4]), resume=True)
"""


def interrupted(folder: Path, call: int, name: str, workers: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, str(folder), str(call), name, str(workers)]
    root = Path(__file__).resolve().parent.parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, env=environment)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_killed_study_resumes_and_ends_with_the_same_winner(tmp_path: Path, workers: int, whole: Ended) -> None:
    folder = tmp_path / "study"
    for call in (2, 35, 40):  # in the baseline, in a batch, in another one
        assert interrupted(folder, call, "SIGKILL", workers).returncode == -signal.SIGKILL
    world = World()
    ended = study(folder, world).run(BUDGET, resume=True, workers=workers)
    assert same(ended, whole)
    assert world.asked < whole.spent.questions
    assert ended.spent.questions >= whole.spent.questions  # what was lost was spent all the same


@pytest.mark.parametrize("workers", [1, 3])
def test_an_interrupted_study_keeps_all_that_was_finished(tmp_path: Path, workers: int, whole: Ended) -> None:
    folder = tmp_path / "study"
    done = interrupted(folder, 40, "SIGINT", workers)
    assert done.returncode != 0
    assert "KeyboardInterrupt" in done.stderr
    records = read_study(folder).records
    assert records
    assert all(record in whole.records for record in records)
    assert same(study(folder).run(BUDGET, resume=True), whole)


def test_an_evaluator_that_breaks_ends_the_search_and_what_was_finished_stays(tmp_path: Path, whole: Ended) -> None:
    def before(call: int) -> None:
        if call == 50:
            raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        study(tmp_path / "study", World(before=before)).run(BUDGET, workers=2)
    assert same(study(tmp_path / "study").run(BUDGET, resume=True, workers=2), whole)


def test_a_finished_study_goes_on_with_a_larger_budget_as_if_it_had_had_it_at_once(
    tmp_path: Path, whole: Ended
) -> None:
    for pipelines in (1, 7, 33):
        ended = study(tmp_path / "study").run(Budget(pipelines=pipelines), resume=True)
        assert len(ended.records) == pipelines
    world = World()
    assert same(study(tmp_path / "study", world).run(BUDGET, resume=True), whole)
    calls = world.calls
    assert same(study(tmp_path / "study", world).run(BUDGET, resume=True), whole)
    assert world.calls == calls


def test_a_study_of_another_configuration_is_refused_with_what_differs(tmp_path: Path) -> None:
    study(tmp_path, about={"corpus": "a1"}).run(Budget(pipelines=2))
    with pytest.raises(OutputExists, match="holds a study; resume it, or give another folder"):
        study(tmp_path, about={"corpus": "a1"}).run(Budget(pipelines=2))
    with pytest.raises(InvalidInput, match=r"about\.corpus is \"b2\", it was \"a1\""):
        study(tmp_path, about={"corpus": "b2"}).run(Budget(pipelines=2), resume=True)
    with pytest.raises(InvalidInput, match=r"algorithm\.seed is 6, it was 5"):
        study(tmp_path, about={"corpus": "a1"}, seed=6).run(Budget(pipelines=2), resume=True)
    with pytest.raises(InvalidInput, match="questions has 59 entries, it had 60"):
        study(tmp_path, about={"corpus": "a1"}, questions=questions(59)).run(Budget(pipelines=2), resume=True)
    forbid = [{"when": {"query": "any"}, "reason": "no"}]
    with pytest.raises(InvalidInput, match=re.escape("space.constraints has 6 entries, it had 5")):
        study(tmp_path, about={"corpus": "a1"}, space=space(forbid=forbid)).run(Budget(pipelines=2), resume=True)


def test_differences_are_told_by_their_place() -> None:
    assert differences({"a": {"b": [1, 2]}, "c": 1}, {"a": {"b": [1, 3]}, "d": 1}) == [
        "a.b[1] is 3, it was 2",
        "c is null, it was 1",
        "d is 1, it was null",
    ]


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("limit", [700, 5000, 12_345])
def test_tokens_are_never_overspent(tmp_path: Path, limit: int, workers: int) -> None:
    ended = study(tmp_path, World(spread=0.5)).run(Budget(tokens=limit), workers=workers)
    assert ended.reason == "budget of tokens"
    assert ended.spent.tokens <= limit
    assert study(tmp_path).run(Budget(tokens=limit), resume=True).spent.tokens <= limit


def test_a_budget_too_small_for_one_pipeline_says_the_minimum(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="tokens 200 is too small for one pipeline, which needs about 600"):
        study(tmp_path).run(Budget(tokens=200))
    assert study(tmp_path).run(Budget(tokens=5000), resume=True).spent.tokens <= 5000


def test_the_estimate_says_what_a_search_would_take() -> None:
    some, world = space(), World()
    found = estimate(some, world, some.stages({**BASELINE, "query": Hyde()}), questions(60), BUDGET, sample=6)
    assert world.asked == 6
    assert (found.legal, found.pipelines, found.questions, found.sample) == (288, 50, 60, 6)
    assert found.stages_asking == pytest.approx(0.5)
    assert found.stages_asking_measured == 1
    assert found.tokens == pytest.approx(110 * 60)
    found.check(Budget(tokens=6600))
    with pytest.raises(InvalidInput, match="tokens 6,599 is too small for one pipeline, which needs about 6,600"):
        found.check(Budget(tokens=6599))
    unknown = estimate(some, world, some.stages(BASELINE), questions(60), BUDGET)
    assert unknown.tokens is None
    with pytest.raises(EvaluationError, match="fails at chunk: test-words: cannot be built"):
        estimate(some, World(broken=lambda stages: True), some.stages(BASELINE), questions(6))


def test_failures_are_recorded_with_their_reason_and_never_win(tmp_path: Path) -> None:
    """What would be best fails: on some questions, or as a whole."""

    def broken(stages: Any) -> bool:
        return isinstance(stages["chunk"], Words) and stages["chunk"].words == 100

    def fails(stages: Any, question: str) -> bool:
        return stages["rerank"] is not None and stages["rerank"].candidates == 50 and int(question[1:]) % 3 == 0

    ended = study(tmp_path, World(broken=broken, fails=fails)).run(Budget(pipelines=80))
    failed = [record for record in ended.records if record.state == FAILED]
    reasons = {record.reason for record in failed}
    assert "chunk: test-words: cannot be built" in reasons
    assert any("questions failed, the first at retrieve: test-sparse" in str(reason) for reason in reasons)
    assert all(record.values is None for record in failed)
    assert ended.winner.state == COMPLETE
    assert ended.winner.choice["chunk"]["words"] != 100
    outcomes = [outcome for record in failed for outcome in record.outcomes.values()]
    assert any(isinstance(outcome, Failure) for outcome in outcomes)
    assert read_study(tmp_path).records == ended.records


def test_an_endpoint_that_is_down_ends_the_search_and_is_no_failure_of_the_pipeline(
    tmp_path: Path, whole: Ended
) -> None:
    class Down(World):
        def evaluate(self, stages: Any, question_ids: Any) -> Any:
            if self.calls > 60:
                return Evaluated(dict.fromkeys(question_ids, Failure("query: test-hyde", "no answer", transient=True)))
            return super().evaluate(stages, question_ids)

    for workers in (1, 3):
        with pytest.raises(EvaluationError, match="query: test-hyde: no answer; this may pass: resume the search then"):
            study(tmp_path / str(workers), Down()).run(BUDGET, workers=workers)
        records = read_study(tmp_path / str(workers)).records
        assert {record.state for record in records} == {COMPLETE, RACED_OUT}
        assert same(study(tmp_path / str(workers)).run(BUDGET, resume=True), whole)


def test_the_verdict_is_by_questions_that_the_search_has_not_seen_and_is_kept(tmp_path: Path) -> None:
    searching = study(tmp_path)
    ended = searching.run(BUDGET)
    with pytest.raises(InvalidInput, match="holdout question 'q1' is one of the search"):
        searching.judge(ended, ["q1", "q100"])
    found = searching.judge(ended, [f"q{number}" for number in range(100, 160)])
    assert found.statement == "better than the baseline"
    assert searching.stages(ended.winner)["rerank"] is not None
    kept = read_study(tmp_path).notes["verdict"]
    assert kept == json.loads(json.dumps({"winner": ended.winner.number, **found.to_json()}))


def test_a_baseline_that_fails_is_an_error_and_one_outside_of_the_space_is_compared_all_the_same(
    tmp_path: Path,
) -> None:
    with pytest.raises(EvaluationError, match="the baseline cannot be evaluated: chunk: test-words: cannot be built"):
        study(tmp_path / "a", World(broken=lambda stages: True)).run(BUDGET)
    outside = {"chunk": Words(77), "retrieve": Sparse()}
    ended = study(tmp_path / "b", baseline=outside).run(Budget(pipelines=20))
    assert ended.records[0].choice["chunk"]["words"] == 77
    assert ended.records[0].state == COMPLETE


def test_a_search_ends_when_the_space_is_at_its_end_or_nothing_better_comes(tmp_path: Path) -> None:
    forbid = [{"when": {"chunk": {"not": {"kind": "test-words", "words": 50}}}, "reason": "small"}]
    ended = study(tmp_path / "a", space=space(forbid=forbid)).run(Budget(pipelines=None))
    assert (ended.reason, len(ended.records)) == ("every legal pipeline was evaluated", 96)
    settings = algorithm_settings("genetic", {"batch": 4})
    ended = study(tmp_path / "b", settings=settings).run(Budget(pipelines=None, stale=3))
    assert ended.reason == "3 batches brought nothing better"
    assert len(ended.records) < 288
    assert (len(ended.records) - 1) % 4 == 0


def test_two_processes_do_not_search_in_one_folder(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(IndexLocked, match="is changing it"):
        study(tmp_path).run(BUDGET)


def test_a_damaged_study_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.sqlite").write_bytes(b"this is no database, though it is long enough to be one" * 100)
    with pytest.raises(StorageError, match=r"study.sqlite: is damaged"):
        study(tmp_path).run(BUDGET, resume=True)
    with pytest.raises(StorageError, match=r"study.sqlite: is damaged"):
        read_study(tmp_path)
    with pytest.raises(StorageError, match="holds no study"):
        read_study(tmp_path / "elsewhere")


def test_a_history_that_the_algorithm_does_not_repeat_is_refused(tmp_path: Path) -> None:
    study(tmp_path).run(Budget(pipelines=20))
    with sqlite3.connect(tmp_path / "study.sqlite") as database:
        rows = dict(database.execute("select number, choice from candidates where number in (3, 4)").fetchall())
        database.execute("update candidates set choice = ? where number = 3", (rows[4],))
    database.close()
    with pytest.raises(StorageError, match="asks for another candidate 3 than it did before"):
        study(tmp_path).run(BUDGET, resume=True)


def test_wrong_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="needs one or more questions, none of them twice"):
        study(tmp_path, questions=["a", "a"])
    with pytest.raises(InvalidInput, match="workers is 0"):
        study(tmp_path).run(BUDGET, workers=0)
    assert tokens(BASELINE) == 10
