"""`lsr rag`: pipelines from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.commands import lsr, one_line
from tests.rag.corpus import DOCUMENTS

QUESTION = "Who printed with movable type?"


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    lines = [json.dumps({"_id": d.id, "title": d.title, "text": d.text}) for d in DOCUMENTS.values()]
    (tmp_path / "docs.jsonl").write_text("\n".join(lines))
    path = tmp_path / "pipeline.yaml"
    path.write_text("corpus: docs.jsonl\npipeline:\n  chunk: {kind: paragraphs, words: 30}\n  retrieve: sparse\n")
    return path


def test_a_question_is_answered_with_what_it_rests_on(pipeline: Path, tmp_path: Path) -> None:
    done = lsr("rag", "run", pipeline, QUESTION, "--cache", tmp_path / "cache", "--trace")
    assert done.returncode == 0, done.stderr
    assert "Johannes Gutenberg printed with movable type in Mainz about 1450." in done.stdout
    assert "[1] Printing  (printing:" in done.stdout
    assert "retrieve: sparse" in done.stdout


def test_an_answer_is_one_line_however_long_it_is(pipeline: Path, tmp_path: Path) -> None:
    pipeline.write_text(pipeline.read_text() + "  generate: {kind: extractive, sentences: 9}\n")
    done = lsr("rag", "run", pipeline, QUESTION, "--cache", tmp_path / "cache")
    answer, *_ = done.stdout.splitlines()
    assert len(answer) > 200


def test_json_is_one_object_a_question_and_nothing_else(pipeline: Path, tmp_path: Path) -> None:
    done = lsr("rag", "run", pipeline, QUESTION, "How do bees keep warm?", "--cache", tmp_path / "cache", "--json")
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["question"] == QUESTION
    (cited,) = first["citations"]
    span = first["context"][cited - 1]["spans"][0]
    assert DOCUMENTS[span["document"]].text[span["start"] : span["end"]] == first["context"][cited - 1]["text"]
    assert "trace" not in second


def test_wrong_input_is_one_line(pipeline: Path, tmp_path: Path) -> None:
    assert "no such file" in one_line(lsr("rag", "run", tmp_path / "gone.yaml", "?")).lower()
    assert "no such" in one_line(lsr("rag", "run", pipeline, "?", "--corpus", tmp_path / "gone")).lower()
    pipeline.write_text(pipeline.read_text() + "  generate: llm\n")
    assert "needs a generator" in one_line(lsr("rag", "run", pipeline, "?", "--cache", tmp_path / "cache"))


def test_an_endpoint_that_is_down_is_named_and_the_command_fails(pipeline: Path, tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/v1"  # the discard port: nobody listens
    pipeline.write_text(
        f"generator: {{kind: endpoint, url: '{url}', model: m, retries: 0}}\n{pipeline.read_text()}  generate: llm\n"
    )
    done = lsr("rag", "run", pipeline, "Who printed?", "--cache", tmp_path / "cache")
    assert done.returncode == 1
    assert url in done.stderr
    assert "Traceback" not in done.stderr


def test_a_search_says_what_it_found_and_its_report_is_written_again(pipeline: Path, tmp_path: Path) -> None:
    questions = [
        {"question": "Who printed with movable type?", "answers": ["Johannes Gutenberg"], "gold": ["printing"]},
        {"question": "What does the waggle dance tell?", "answers": ["direction and distance"], "gold": ["bee"]},
        {"question": "Who watched the eruption?", "answers": ["Pliny the Younger"], "gold": ["volcano"]},
        {"question": "What do tiltmeters show?", "answers": ["how the ground swells"], "gold": ["volcano"]},
    ]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, questions)))
    config = tmp_path / "search.yaml"
    config.write_text(
        "corpus: docs.jsonl\nquestions: questions.jsonl\n"
        "space:\n  retrieve: [bm25, sparse]\n  filter: [{kind: top-k, k: [1, 2]}]\n"
    )
    cache = ("--cache", tmp_path / "cache")
    dry = lsr("rag", "search", config, "--dry-run", *cache)
    assert dry.returncode == 0, dry.stderr
    assert "4 legal pipelines" in dry.stderr
    assert not (tmp_path / "study").exists()
    done = lsr("rag", "search", config, "-o", tmp_path / "study", *cache)
    assert done.returncode == 0, done.stderr
    assert "every legal pipeline was evaluated" in done.stdout
    asked = lsr("rag", "run", tmp_path / "study" / "winner.yaml", QUESTION, *cache)
    assert "Gutenberg" in asked.stdout
    page = tmp_path / "study" / "report.html"
    written = page.read_bytes()
    page.unlink()
    assert lsr("rag", "report", tmp_path / "study").returncode == 0
    assert page.read_bytes() == written
    assert "holds a study" in one_line(lsr("rag", "search", config, "-o", tmp_path / "study", *cache))


def test_a_study_that_is_not_finished_and_a_folder_without_one_are_told_apart(tmp_path: Path) -> None:
    assert "holds no study" in one_line(lsr("rag", "report", tmp_path))
    assert lsr("rag", "search", tmp_path / "search.yaml").returncode == 2
