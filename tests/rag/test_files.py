"""A pipeline as a file: what is read, where its paths point, what is written, and what `Rag` makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lsr.errors import CorpusError, InvalidInput, LsrError
from lsr.rag import Pipeline, PipelineFile, Rag, read_pipeline
from lsr.rag.files import Surroundings
from lsr.rag.generators import GeneratorConfig
from tests.rag.corpus import DOCUMENTS, QUESTIONS

YAML = """\
corpus: docs.jsonl
pipeline:
  chunk: {kind: paragraphs, words: 30}
  retrieve: fusion
  filter: {kind: top-k, k: 3}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [json.dumps({"_id": d.id, "title": d.title, "text": d.text}) for d in DOCUMENTS.values()]
    (tmp_path / "docs.jsonl").write_text("\n".join(lines))
    (tmp_path / "pipeline.yaml").write_text(YAML)
    return tmp_path


def test_a_file_answers_and_its_paths_are_relative_to_it(folder: Path) -> None:
    with Rag.open(folder / "pipeline.yaml", cache=folder / "cache") as rag:
        outcome = rag.answer("Who printed with movable type?")
        assert outcome.answer is not None
        assert outcome.answer.text == "Johannes Gutenberg printed with movable type in Mainz about 1450."
        assert outcome.citations[0].spans[0].document == "printing"
        several = rag.answer(list(QUESTIONS))
    assert [found.question for found in several] == list(QUESTIONS)
    with Rag.open(folder / "pipeline.yaml", cache=folder / "cache") as again:
        kept = again.answer(list(QUESTIONS))
    assert [found.answer for found in kept] == [found.answer for found in several]
    assert all(step.cached for found in kept for step in found.steps)


def test_what_is_written_is_read_as_the_same(tmp_path: Path) -> None:
    file = PipelineFile(
        Pipeline.from_mapping({"retrieve": {"kind": "fusion", "weights": [0.7, 0.3]}, "augment": "segments"}),
        Surroundings(
            corpus=str(tmp_path / "docs"),
            join="article_id",
            generator=GeneratorConfig("endpoint", "m", "http://localhost:1/v1", retries=2),
        ),
    )
    file.save(tmp_path / "winner.yaml", comment="Found by a search.\nTwo lines.")
    assert (tmp_path / "winner.yaml").read_text().startswith("# Found by a search.\n# Two lines.\n")
    assert read_pipeline(tmp_path / "winner.yaml") == file


def test_models_beside_the_file_are_found_there(folder: Path) -> None:
    (folder / "my-encoder").mkdir()
    (folder / "p.yaml").write_text("pipeline:\n  retrieve: {kind: sparse, encoder: my-encoder}\n")
    stage = read_pipeline(folder / "p.yaml").pipeline.get("retrieve")
    assert stage is not None
    assert stage.parameters()["encoder"] == str(folder / "my-encoder")


def test_an_encoder_from_a_folder_is_one_of_what_results_depend_on(folder: Path) -> None:
    (folder / "p.yaml").write_text(YAML.replace("fusion", "{kind: sparse, encoder: nowhere/at-all}"))
    with pytest.raises(LsrError, match="nowhere/at-all"), Rag.open(folder / "p.yaml") as rag:
        rag.answer("?")


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("retrieve: bm25\n", "has no 'pipeline'"),
        ("pipelin: {retrieve: bm25}\n", "has no 'pipeline'"),
        ("corpsu: x\npipeline: {retrieve: bm25}\n", "unknown key 'corpsu'; did you mean corpus?"),
        ("pipeline: {retrieve: bm2}\n", "pipeline.retrieve: there is no retrieve stage 'bm2'; did you mean bm25?"),
        ("pipeline: {retrieve: bm25}\ngenerator: {kind: endpoint, model: m}\n", "an endpoint needs a url"),
        ("pipeline: {retrieve: bm25}\n", "names no corpus; add corpus: to it, or give one"),
        ("pipeline: [\n", "not YAML"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_place(yaml: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(yaml)
    with pytest.raises(InvalidInput) as error:
        Rag.open(tmp_path / "p.yaml")
    assert str(error.value).startswith(f"{tmp_path / 'p.yaml'}")
    assert message in str(error.value)


def test_a_corpus_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(CorpusError, match=r"gone\.jsonl"):
        Rag.open(folder / "pipeline.yaml", corpus=folder / "gone.jsonl")


def test_a_stage_that_writes_needs_a_generator_and_says_so(folder: Path) -> None:
    (folder / "p.yaml").write_text(YAML + "  generate: llm\n")
    with Rag.open(folder / "p.yaml") as rag, pytest.raises(InvalidInput, match="generate: llm needs a generator"):
        rag.answer("?")
