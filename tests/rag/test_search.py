"""A search from its file to its verdict: what is read and refused, what is written, and that a killed one ends as it
would have."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lsr.errors import EvaluationError, InvalidInput, LsrError
from lsr.rag import Rag, read_pipeline
from lsr.rag.report import read_report
from lsr.rag.search.config import as_choice, read_search
from lsr.rag.search.search import Found, open_search, pipeline_of, search_pipelines
from lsr.rag.search.store import read_study
from tests.rag.chat_server import chat_server, says
from tests.rag.corpus import DOCUMENTS

# Question, answer, document, and the words that answer it.
ASKED = [
    ("Who watched the eruption of Vesuvius?", "Pliny the Younger", "volcano", "Pliny the Younger watched the eruption"),
    ("When was Pompeii buried?", "in the year 79", "volcano", "Mount Vesuvius buried Pompeii in the year 79."),
    ("What do tiltmeters show?", "how the ground swells", "volcano", "Tiltmeters show how the ground swells"),
    ("What cools the climate after an eruption?", "sulfur dioxide", "volcano", "sulfur dioxide cools the climate"),
    ("What is a volcano?", "a rupture in the crust of a planet", "volcano", "A volcano is a rupture in the crust"),
    (
        "What does the waggle dance tell?",
        "direction and distance of flowers",
        "bee",
        "direction and distance of flowers",
    ),
    ("Who discovered the waggle dance?", "Karl von Frisch", "bee", "Karl von Frisch discovered"),
    ("How do bees keep warm in winter?", "They shiver", "bee", "They shiver to keep warm"),
    ("How many queens has a colony?", "one", "bee", "colonies of one queen"),
    (
        "Who printed with movable type?",
        "Johannes Gutenberg",
        "printing",
        "Johannes Gutenberg printed with movable type",
    ),
    ("How many lines has a page of the Bible?", "forty-two", "printing", "His Bible had forty-two lines a page"),
    ("What does offset printing transfer?", "ink", "printing", "Offset printing transfers ink from a plate"),
]

CONFIG: dict[str, Any] = {
    "corpus": "docs.jsonl",
    "questions": "questions.jsonl",
    "tokens": 120,
    "holdout": 0.5,
    "space": {
        "chunk": [{"kind": "paragraphs", "words": [30, 80]}],
        "retrieve": ["bm25", "sparse", "fusion"],
        "filter": [{"kind": "top-k", "k": [2, 4]}],
        "augment": ["none", "neighbours"],
    },
    "budget": {"pipelines": 9},
    "algorithm": {"name": "random", "batch": 2},
    "racing": {"block": 3},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    documents = [{"_id": d.id, "title": d.title, "text": d.text} for d in DOCUMENTS.values()]
    (tmp_path / "docs.jsonl").write_text("\n".join(map(json.dumps, documents)))
    questions = [
        {"question": asked, "answers": [answer], "gold": [{"document": document, "quote": quote}]}
        for asked, answer, document, quote in ASKED
    ]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, questions)))
    write(tmp_path)
    return tmp_path


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "search.yaml"
    path.write_text(json.dumps({**CONFIG, **changes}))
    return path


def found_by(folder: Path, study: str = "study", **options: Any) -> Found:
    with open_search(read_search(folder / "search.yaml"), folder / "cache") as search:
        return search_pipelines(search, folder / study, **options)


def test_a_search_ends_with_a_verdict_a_report_and_a_pipeline_that_runs(folder: Path) -> None:
    found = found_by(folder)
    assert len(found.ended.records) == 9
    assert found.view.legal == 24
    assert len(found.view.search.questions) == len(found.view.holdout.questions) == 6
    assert found.verdict.statement == found.view.verdict
    assert read_report(folder / "study" / "report.json") == found.view
    assert "<!doctype html>" in (folder / "study" / "report.html").read_text()
    written = read_pipeline(folder / "study" / "winner.yaml")
    assert written.pipeline == found.winner.pipeline == pipeline_of(found.ended.winner)
    with Rag.open(folder / "study" / "winner.yaml") as rag:
        outcome = rag.answer("Who printed with movable type?")
    assert outcome.answer is not None
    assert "Gutenberg" in outcome.answer.text


def test_the_winner_runs_also_where_the_search_was_named_by_a_relative_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, budget={"pipelines": 1})
    monkeypatch.chdir(folder)
    found_by(Path())
    with Rag.open("study/winner.yaml") as rag:
        assert rag.answer("Who printed with movable type?").answer is not None


def test_the_winner_has_the_best_mean_of_those_that_answered_all(folder: Path) -> None:
    found = found_by(folder)
    complete = [record for record in found.ended.records if record.state == "complete"]
    assert found.ended.winner.values == max((record.values for record in complete), key=lambda values: values or ())
    shown = {pipeline.name: pipeline.quality for pipeline in found.view.pipelines}
    assert shown[found.view.winner] == (found.ended.winner.values or (None,))[0]


def test_the_cache_and_workers_change_nothing(folder: Path) -> None:
    first = found_by(folder, "one")
    again = found_by(folder, "two", workers=3)
    assert [record.choice for record in again.ended.records] == [record.choice for record in first.ended.records]
    assert [record.values for record in again.ended.records] == [record.values for record in first.ended.records]
    assert again.winner == first.winner
    assert again.view.budget.hit_rate is not None
    assert again.view.budget.hit_rate > 0.9


def test_a_killed_search_goes_on_and_ends_with_the_same_winner(folder: Path) -> None:
    whole = found_by(folder, "whole")
    code = (
        "import os, signal, sys\n"
        "from lsr.rag.search.config import read_search\n"
        "from lsr.rag.search.search import open_search, search_pipelines\n"
        "def progress(stage, done, total):\n"
        "    if done == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "with open_search(read_search(sys.argv[1])) as search:\n"
        "    search_pipelines(search, sys.argv[2], progress=progress)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / "search.yaml"), str(folder / "killed")], check=False, env=os.environ
    )
    assert done.returncode == -signal.SIGKILL
    assert len(read_study(folder / "killed").records) == 5
    with pytest.raises(LsrError, match="holds a study"):
        found_by(folder, "killed")
    resumed = found_by(folder, "killed", resume=True)
    assert [record.values for record in resumed.ended.records] == [record.values for record in whole.ended.records]
    assert resumed.winner == whole.winner
    assert resumed.verdict.statement == whole.verdict.statement


def test_another_search_does_not_go_on_in_the_folder_of_one(folder: Path) -> None:
    found_by(folder)
    write(folder, seed=1)
    with pytest.raises(InvalidInput, match="another configuration"):
        found_by(folder, resume=True)


def test_a_search_does_not_go_on_with_another_generator_or_other_prompts(folder: Path) -> None:
    with chat_server() as server:
        server.acts = [says("Pliny the Younger [1].")]
        same: dict[str, Any] = {
            "space": {"retrieve": ["bm25"], "filter": ["top-k"], "generate": ["llm", "extractive"]},
            "generator": {"kind": "endpoint", "url": server.url, "model": "m"},
            "budget": {"pipelines": 2},
        }
        write(folder, **same)
        found_by(folder)
        write(folder, **{**same, "generator": {**same["generator"], "model": "other"}})
        with pytest.raises(InvalidInput, match=r"another configuration.*model"):
            found_by(folder, resume=True)
        (folder / "prompts").mkdir()
        (folder / "prompts" / "answer.txt").write_text("--- user\n{context} {question}")
        write(folder, prompts="prompts", **same)
        with pytest.raises(InvalidInput, match=r"another configuration.*answer"):
            found_by(folder, resume=True)


def test_the_objective_follows_from_what_questions_have(folder: Path) -> None:
    assert dict(_objectives(folder)) == {"retrieval": 1, "answers": 1}
    lines = (folder / "questions.jsonl").read_text().splitlines()
    (folder / "questions.jsonl").write_text("\n".join(lines).replace('"answers"', '"notes"'))
    assert dict(_objectives(folder)) == {"retrieval": 1}
    (folder / "questions.jsonl").write_text("\n".join(lines).replace('"gold"', '"notes"'))
    assert dict(_objectives(folder)) == {"answers": 1}


def _objectives(folder: Path) -> Any:
    config = read_search(folder / "search.yaml")
    return config.objectives(config.open_data()).quality


def test_the_first_options_are_the_baseline_where_none_is_named(folder: Path) -> None:
    config = read_search(folder / "search.yaml")
    assert config.baseline.to_mapping() == {
        "chunk": {"kind": "paragraphs", "words": 30},
        "retrieve": {"kind": "bm25", "k": 20, "k1": 0.9, "b": 0.4},
        "filter": {"kind": "top-k", "k": 2},
        "prompt": {"kind": "list", "tokens": 2000},
        "generate": {"kind": "extractive", "sentences": 1},
    }


@pytest.mark.parametrize("space", ["offline", "generator", "multi-hop"])
def test_built_in_spaces_can_be_read_and_their_first_pipelines_are_legal(folder: Path, space: str) -> None:
    endpoint = {"kind": "endpoint", "url": "http://127.0.0.1:9/v1", "model": "m"}
    config = read_search(write(folder, space=space, generator=endpoint))
    assert config.space.count() > 10_000
    assert config.space.why_illegal(as_choice(config.baseline)) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spaec": {}}, "unknown key 'spaec'|there is no key 'spaec'"),
        ({"space": "ofline"}, "must be offline, generator or multi-hop, or a mapping"),
        ({"space": {"retrieve": ["bm52"]}}, "did you mean bm25"),
        ({"space": {"retrieve": ["bm25"], "generate": ["llm"]}}, "needs a generator, and none is configured"),
        ({"objectives": {"quality": {"retrieval": 0}}}, "must be a weight above 0"),
        ({"objectives": {"quality": {"retrieval": float("inf")}}}, "must be a weight above 0"),
        ({"objectives": {"costs": ["latncy"]}}, "latency"),
        ({"budget": {"pipelines": 0}}, "budget.pipelines is 0"),
        ({"algorithm": "genetics"}, "genetic"),
        ({"corpus": None}, "names no data"),
        ({"baseline": {"retrieve": "bm25", "rerank": "maxsim"}}, "baseline.rerank: maxsim: needs model"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_place(folder: Path, changes: dict[str, Any], message: str) -> None:
    path = write(folder, **changes)
    with pytest.raises(InvalidInput, match=message) as error:
        read_search(path)
    assert str(path) in str(error.value)


def test_gold_that_is_not_in_the_corpus_is_listed(folder: Path) -> None:
    with (folder / "questions.jsonl").open("a") as file:
        file.write('\n{"question": "Where?", "answers": ["x"], "gold": ["vulcano"]}')
    with pytest.raises(EvaluationError, match="vulcano"), open_search(read_search(folder / "search.yaml")):
        pass


def test_an_objective_that_the_questions_cannot_give_is_refused_before_anything_runs(folder: Path) -> None:
    with (folder / "questions.jsonl").open("a") as file:
        file.write('\n{"question": "Where?", "answers": ["x"]}')
    config = read_search(write(folder, objectives={"quality": "retrieval"}))
    with pytest.raises(EvaluationError, match="1 of 13 questions have no gold"), open_search(config):
        pass


def test_a_question_without_an_answer_has_no_support_and_ends_no_search(folder: Path) -> None:
    with (folder / "questions.jsonl").open("a") as file:
        file.writelines(f'\n{{"question": "{word}?", "answers": ["x"]}}' for word in ("Zzyzx", "Qwrt"))
    write(folder, objectives={"quality": {"support": 1}}, budget={"pipelines": 2})
    assert {pipeline.state for pipeline in found_by(folder).view.pipelines} == {"complete"}


def test_a_measure_that_does_not_exist_is_named_with_the_nearest(folder: Path) -> None:
    write(folder, objectives={"quality": {"RougeL": 1}})
    with pytest.raises(LsrError, match="ROUGE-L"):
        found_by(folder)


def test_a_budget_too_small_for_one_pipeline_is_refused_with_the_least_that_is_needed(folder: Path) -> None:
    write(folder, budget={"seconds": 1e-6})
    with (
        open_search(read_search(folder / "search.yaml")) as search,
        pytest.raises(InvalidInput, match="too small for one pipeline"),
    ):
        search.estimate()


# -- with a generator --------------------------------------------------------------------------------------------------


def test_answers_of_the_best_are_judged_beside_the_baseline_on_questions_apart(folder: Path) -> None:
    with chat_server() as server:
        server.acts = [says("Both are good.\nVERDICT: A")]  # a judge that minds places alone
        judge = {"generator": {"kind": "endpoint", "url": server.url, "model": "m"}, "pipelines": 2}
        write(folder, judge=judge)
        said: list[str] = []
        found = found_by(folder, say=said.append)
    assert "compared with the baseline" in said[0]
    assert [one.opponent for one in found.view.judged] == ["baseline", "baseline"]
    for one in found.view.judged:
        assert one.wins == one.losses == 0, "what goes with the place is no win"
        assert one.checked == one.flipped == 6
    assert found.view.judge is not None
    assert "flipped with the order" in (folder / "study" / "report.html").read_text()


def test_what_preparing_passages_takes_is_spent_once_and_not_counted_to_questions(folder: Path) -> None:
    with chat_server() as server:
        server.acts = [says("About a thing.", usage=(100, 10))]
        write(
            folder,
            generator={"kind": "endpoint", "url": server.url, "model": "m"},
            space={"prepare": ["llm-headers"], "retrieve": ["sparse", "bm25"], "filter": ["top-k"]},
            objectives={"quality": "retrieval"},
        )
        found = found_by(folder)
    asked = len(server.requests) - 1  # one of them asks whether the endpoint is there
    assert asked == len(DOCUMENTS)
    assert found.ended.spent.tokens == 110 * asked
    assert all(pipeline.tokens is None for pipeline in found.view.pipelines)


def test_a_judge_needs_a_generator(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="judge needs a generator"):
        read_search(write(folder, judge={}))


def test_a_language_model_writes_answers_with_citations_and_what_it_takes_is_an_objective(folder: Path) -> None:
    with chat_server() as server:
        server.acts = [says("Pliny the Younger [1].")]
        write(
            folder,
            generator={"kind": "endpoint", "url": server.url, "model": "m"},
            space={"retrieve": ["sparse", "bm25"], "filter": ["top-k"], "generate": ["llm", "extractive"]},
            budget={"pipelines": 4},
        )
        found = found_by(folder)
    by_kind = {pipeline.name: dict(pipeline.choice)["generate"].split()[0] for pipeline in found.view.pipelines}
    tokens = {
        by_kind[pipeline.name]: pipeline.tokens for pipeline in found.view.pipelines if pipeline.state == "complete"
    }
    assert (tokens["llm"] or 0) > 0
    assert tokens["extractive"] is None
    written = read_pipeline(folder / "study" / "winner.yaml")
    assert written.surroundings.generator is not None
    assert "OPENAI" not in (folder / "study" / "report.json").read_text()
