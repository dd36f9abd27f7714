"""The runner: nothing is computed twice, a failure is not kept and ends one question only, no result depends on it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from lsr.corpus import Document
from lsr.errors import InvalidInput, StorageError
from lsr.rag.blobs import Blobs
from lsr.rag.pipeline import Pipeline
from lsr.rag.resources import Resources, TextMemory
from lsr.rag.runner import Outcome, Runner
from lsr.rag.stages.base import Evidence, Filter, Results, stage
from lsr.rag.stages.retrieval import Bm25Retrieval
from lsr.rag.types import Failure, Made, Usage
from lsr.sparse import SparseVectors
from tests.rag.corpus import DOCUMENTS, QUESTIONS

FULL: dict[str, Any] = {
    "chunk": {"kind": "paragraphs", "words": 30},
    "prepare": "headers",
    "query": "rm3",
    "retrieve": {"kind": "fusion"},
    "filter": {"kind": "top-k", "k": 3},
    "augment": "neighbours",
    "compress": {"kind": "extractive", "share": 0.7},
}


@stage("filter", "test-fragile")
@dataclass(frozen=True)
class Fragile(Filter):
    """Fails for questions with a word in it, as often as it is asked."""

    word: str = "Vesuvius"
    asked: list[str] = field(default_factory=list, compare=False)

    def parameters(self) -> dict[str, Any]:
        return {"word": self.word}

    def filter(self, questions: Sequence[str], found: Sequence[Evidence], resources: Resources) -> Results[Evidence]:
        self.asked.extend(questions)
        used = Usage(calls=1, tokens_in=7, seconds=0.5)
        return [
            Failure(self.name, "cannot", transient=True, usage=used) if self.word in question else Made(pieces, used)
            for question, pieces in zip(questions, found, strict=True)
        ]


def values(outcomes: Sequence[Outcome]) -> list[Any]:
    return [(outcome.found, outcome.prompt, outcome.answer, outcome.failure) for outcome in outcomes]


@pytest.fixture
def cache(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "cache" / "stages.sqlite")


def test_the_cache_changes_no_result_and_spares_all_work_the_second_time(resources: Resources, cache: Blobs) -> None:
    questions = list(QUESTIONS)
    pipeline = Pipeline.from_mapping(FULL)
    plain = Runner(DOCUMENTS, resources).run(pipeline, questions)
    first, again = Runner(DOCUMENTS, resources, cache), Runner(DOCUMENTS, resources, cache)
    assert values(first.run(pipeline, questions)) == values(plain)
    outcomes = again.run(pipeline, questions)
    assert values(outcomes) == values(plain)
    assert again.stage_hits == first.stage_runs - 1, (
        "all but making the passages, which costs little without a generator"
    )
    assert all(step.cached for outcome in outcomes for step in outcome.steps)
    assert outcomes[0].seconds == pytest.approx(first.run(pipeline, questions)[0].seconds), (
        "what it took when it was done"
    )


def test_pipelines_share_what_comes_before_the_stage_in_which_they_differ(resources: Resources, cache: Blobs) -> None:
    questions = list(QUESTIONS)
    runner = Runner(DOCUMENTS, resources, cache)
    runner.run(Pipeline.from_mapping(FULL), questions)
    runs = runner.stage_runs
    runner.run(Pipeline.from_mapping({**FULL, "compress": "none"}), questions)
    # prompt and generate are made anew for what was not compressed
    assert runner.stage_runs - runs == 2 * len(questions)


def test_after_a_stage_that_made_no_difference_nothing_is_computed_again(resources: Resources, cache: Blobs) -> None:
    questions = list(QUESTIONS)
    runner = Runner(DOCUMENTS, resources, cache)
    one = runner.run(Pipeline.from_mapping({**FULL, "filter": {"kind": "top-k", "k": 1000}}), questions)
    runs = runner.stage_runs
    everything = {"kind": "threshold", "share": 0, "k": 1000}
    other = runner.run(Pipeline.from_mapping({**FULL, "filter": everything}), questions)
    assert runner.stage_runs - runs == len(questions)
    assert values(one) == values(other)


def test_an_answer_depends_on_what_is_told_and_not_on_how_it_was_found(resources: Resources, cache: Blobs) -> None:
    runner = Runner(DOCUMENTS, resources, cache)
    whole = {"chunk": "documents", "filter": {"kind": "top-k", "k": 1}}
    question = "What does the waggle dance tell?"
    runner.run(Pipeline.from_mapping({**whole, "retrieve": "bm25"}), [question])
    runs = runner.stage_runs
    (outcome,) = runner.run(Pipeline.from_mapping({**whole, "retrieve": "sparse"}), [question])
    assert [step.stage for step in outcome.steps if step.cached] == ["generate: extractive"]
    assert runner.stage_runs - runs == 3


def test_other_documents_other_results(resources: Resources, cache: Blobs) -> None:
    pipeline = Pipeline.from_mapping({"retrieve": "bm25"})
    question = "What does the waggle dance tell?"
    Runner(DOCUMENTS, resources, cache).run(pipeline, [question])
    changed = {**DOCUMENTS, "bee": Document("bee", "The waggle dance tells nothing.", "Bees")}
    (outcome,) = Runner(changed, resources, cache).run(pipeline, [question])
    assert outcome.found[0].text == "The waggle dance tells nothing."


def test_equal_questions_are_asked_once(resources: Resources) -> None:
    runner = Runner(DOCUMENTS, resources)
    one, other = runner.run(Pipeline.from_mapping({"retrieve": "bm25"}), ["Who printed?", "Who printed?"])
    assert values([one]) == values([other])
    assert runner.stage_runs == 3


def test_a_failure_ends_its_question_and_no_other_and_is_never_kept(resources: Resources, cache: Blobs) -> None:
    fragile = Fragile()
    pipeline = Pipeline([*Pipeline.from_mapping({"retrieve": "bm25"}).stages[:2], fragile]).complete()
    runner = Runner(DOCUMENTS, resources, cache)
    failed, *fine = runner.run(pipeline, list(QUESTIONS))
    assert failed.failure == Failure("filter: test-fragile", "cannot", True, Usage(calls=1, tokens_in=7, seconds=0.5))
    assert failed.answer is None
    assert failed.found, "what came before is there"
    assert failed.usage.tokens_in == 7, "what failed has cost something too"
    assert all(outcome.answer is not None and outcome.failure is None for outcome in fine)
    assert fine[0].steps[1].seconds == 0.5, "waiting for a generator is a question's own"
    fragile.asked.clear()
    runner.run(pipeline, list(QUESTIONS))
    assert fragile.asked == ["Who watched the eruption of Vesuvius?"]


def test_running_may_end_before_an_answer(resources: Resources) -> None:
    (outcome,) = Runner(DOCUMENTS, resources).run(Pipeline.from_mapping(FULL), ["Who printed?"], until="prompt")
    assert outcome.prompt is not None
    assert outcome.answer is None
    assert [step.stage for step in outcome.steps][-1] == "prompt: list"


def test_no_documents_and_documents_without_text_are_refused(resources: Resources) -> None:
    with pytest.raises(InvalidInput, match="the corpus is empty"):
        Runner({}, resources)
    runner = Runner({"d": Document("d", " \n")}, resources)
    with pytest.raises(InvalidInput, match="makes no passage"):
        runner.run(Pipeline.from_mapping({"chunk": "sentences", "retrieve": "bm25"}), ["?"])


def test_what_is_timed_is_tried_before_its_first_time_counts(resources: Resources) -> None:
    runner = Runner(DOCUMENTS, resources)
    fragile = Fragile(word="nothing")
    stages, asked = Pipeline.of(Bm25Retrieval(), fragile), list(QUESTIONS)
    runner.run(stages, asked[:2], timed=True)
    assert fragile.asked == [asked[0], *asked[:2]]
    runner.run(stages, asked[2:], timed=True)
    assert fragile.asked == [asked[0], *asked], "once"


def test_what_is_remembered_of_texts_counts_as_long_as_it_took_to_make() -> None:
    vectors = SparseVectors(indptr=[0, 1, 2], indices=[3, 4], values=[1.0, 2.0], dim=9)
    memory = TextMemory(lambda texts: vectors[: len(texts)])
    first, spared = memory.of(["a", "bb"])
    assert spared == 0
    again, spared = memory.of(["bb", "a"])
    assert spared > 0
    assert [[part.tolist() for part in again[text]] for text in first] == [[[3], [1.0]], [[4], [2.0]]]


def test_indexes_that_were_not_used_for_long_are_let_go(tmp_path: Path) -> None:
    with Resources(folder=tmp_path) as resources:
        runner = Runner(DOCUMENTS, resources)
        passages = runner.passages(Pipeline.from_mapping({"retrieve": "bm25"}))
        first = resources.bm25(passages, 0.5, 0.5)
        for step in range(60):
            resources.bm25(passages, 1 + step / 100, 0.5)
            if step < 20:
                assert resources.bm25(passages, 0.5, 0.5) is first
        assert resources.bm25(passages, 0.5, 0.5) is not first


def test_threads_that_want_the_same_passages_have_them_made_once(resources: Resources) -> None:
    runner = Runner(DOCUMENTS, resources)
    pipeline = Pipeline.from_mapping({"retrieve": "bm25", "prepare": "headers"})
    found: list[Any] = []
    threads = [Thread(target=lambda: found.append(runner.passages(pipeline))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(passages is found[0] for passages in found)
    assert runner.stage_runs == 1


# -- the store ---------------------------------------------------------------------------------------------------------


def test_a_bounded_store_drops_what_was_not_used_for_the_longest(tmp_path: Path) -> None:
    store = Blobs(tmp_path / "s.sqlite", limit=10_000)
    noise = [np.random.default_rng(number).bytes(900) for number in range(12)]
    for number in range(10):
        store.put({bytes([number]): noise[number]})
        store.get([b"\x00"])
    store.put({bytes([10]): noise[10], bytes([11]): noise[11]})
    assert store.size <= 10_000
    assert store.get([b"\x00"]), "used each time"
    assert not store.get([b"\x01"])
    assert store.get([bytes([11])]) == {bytes([11]): noise[11]}


def test_a_damaged_store_is_set_aside_and_begun_anew(
    resources: Resources, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "stages.sqlite"
    path.write_bytes(b"this is no database, and long enough to be one. " * 100)
    runner = Runner(DOCUMENTS, resources, Blobs(path))
    assert "set aside" in caplog.text
    assert (tmp_path / "stages.sqlite.damaged").exists()
    (outcome,) = runner.run(Pipeline.from_mapping({"retrieve": "bm25"}), ["Who printed?"])
    assert outcome.answer is not None


def test_an_entry_that_was_altered_is_made_again(resources: Resources, tmp_path: Path) -> None:
    path = tmp_path / "stages.sqlite"
    pipeline = Pipeline.from_mapping({"retrieve": "bm25"})
    store = Blobs(path)
    plain = Runner(DOCUMENTS, resources, store).run(pipeline, ["Who printed?"])
    store.close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE entries SET value = x'00ff'")
    database.close()
    assert values(Runner(DOCUMENTS, resources, Blobs(path)).run(pipeline, ["Who printed?"])) == values(plain)


def test_a_full_disk_ends_the_storing_and_not_the_work(
    resources: Resources, cache: Blobs, caplog: pytest.LogCaptureFixture
) -> None:
    cache._open().execute("PRAGMA max_page_count = 1")  # no more pages than there are
    for seed in range(3):
        cache.put({b"large": np.random.default_rng(seed).bytes(100_000)})
    runner = Runner(DOCUMENTS, resources, cache)
    for _ in range(2):
        (outcome,) = runner.run(Pipeline.from_mapping({"retrieve": "bm25"}), ["Who printed?"])
        assert outcome.answer is not None
    assert caplog.text.count("nothing more is stored there") == 1


def test_indexes_that_are_damaged_are_made_again(tmp_path: Path) -> None:
    pipeline, question = Pipeline.from_mapping({"retrieve": "sparse"}), "Who printed with movable type?"

    def found() -> Evidence:
        with Resources(folder=tmp_path / "indexes") as resources:
            return Runner(DOCUMENTS, resources).run(pipeline, [question])[0].found

    right = found()
    files = [path for path in (tmp_path / "indexes").rglob("*") if path.is_file() and path.stat().st_size]
    assert len(files) > 10
    for path in files:
        path.write_bytes(bytes(byte ^ 0x5A for byte in path.read_bytes()))
        assert found() == right, path.name


def test_indexes_that_cannot_be_kept_serve_one_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "indexes").touch()
    with Resources(folder=tmp_path / "indexes") as resources:
        (outcome,) = Runner(DOCUMENTS, resources).run(Pipeline.from_mapping({"retrieve": "sparse"}), ["Who printed?"])
    assert outcome.found[0].passages == ("printing",)
    assert "it is kept for this run alone" in caplog.text


def test_a_file_in_the_way_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(StorageError, match="the cache folder cannot be made"):
        Blobs(tmp_path / "cache" / "stages.sqlite")


def test_threads_and_several_stores_of_one_file_share_it(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    stores = [Blobs(path), Blobs(path)]

    def work(store: Blobs, first: int) -> None:
        for number in range(first, first + 40):
            store.put({number.to_bytes(4, "little"): bytes([number % 256]) * 50})

    threads = [Thread(target=work, args=(stores[i % 2], i * 40)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = stores[0].get(number.to_bytes(4, "little") for number in range(160))
    assert found == {number.to_bytes(4, "little"): bytes([number % 256]) * 50 for number in range(160)}
