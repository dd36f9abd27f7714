"""`lsr graph build`, `lsr graph info`, and what other commands do about the graph of an index."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import lsr
from lsr.rag.graph.extractors.names import NameExtractor
from lsr.rag.graph.store import Graph
from tests.cli import commands

DOCUMENTS = {
    "a": "Marie Curie discovered Radium in Paris.",
    "b": "In Paris lived Anna Karenina.",
    "c": "nothing is written here",
}


def written(path: Path, documents: dict[str, str]) -> Path:
    path.write_text("\n".join(json.dumps({"_id": name, "text": text}) for name, text in documents.items()))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    lsr.Index.build([{"_id": name, "text": text} for name, text in DOCUMENTS.items()], tmp_path / "my.idx")
    return tmp_path / "my.idx"


def build(path: Path, *options: object) -> None:
    done = commands.lsr("graph", "build", path, *options)
    assert done.returncode == 0, done.stderr


def info(path: Path) -> dict[str, object]:
    done = commands.lsr("graph", "info", path, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def triples(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_a_graph_is_built_and_told_of(path: Path) -> None:
    done = commands.lsr("graph", "build", path, "--extractor", "names")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "1 of 3 passages have no phrase" in done.stderr
    assert "3 passages, 4 phrases, 0 facts" in done.stderr
    facts = info(path)
    assert (facts["passages"], facts["phrases"], facts["current"], facts["without_phrases"]) == (3, 4, True, 1)
    assert "names" in commands.lsr("graph", "info", path).stdout
    assert json.loads(commands.lsr("info", path, "--json").stdout)["graph"]["phrases"] == 4
    done = commands.lsr("check", path, "--full")
    assert "ok  graph: 3 of 3 passages have phrases and facts of their text\n" in done.stdout
    line = commands.one_line(commands.lsr("graph", "build", path, "--extractor", "names"))
    assert "--resume" in line
    assert "--overwrite" in line
    done = commands.lsr("graph", "build", path, "--overwrite", "--no-synonyms", "--extractor", "names", "--json")
    assert json.loads(done.stdout)["synonyms"] is None


def test_other_commands_keep_it_up(path: Path, tmp_path: Path) -> None:
    build(path, "--extractor", "names")
    more = written(tmp_path / "more.jsonl", {"d": "She met Albert Einstein."})
    done = commands.lsr("add", path, more)
    assert done.returncode == 0, done.stderr
    assert "1 documents read for the graph" in done.stderr
    assert info(path)["phrases"] == 5
    assert commands.lsr("delete", path, "a").returncode == 0
    facts = info(path)
    assert (facts["current"], facts["passages"]) == (True, 3)
    assert commands.lsr("compact", path).returncode == 0
    assert (info(path)["current"], info(path)["segments"]) == (True, 1)

    again = written(tmp_path / "again.jsonl", {"e": "Niels Bohr lived in Copenhagen."})
    done = commands.lsr("add", path, again, "--no-graph", "--json")
    assert "graph" not in json.loads(done.stdout)
    facts = info(path)
    assert (facts["current"], facts["behind"]) == (False, {"lacking": 1, "gone": 0})
    assert f"`lsr graph build {path} --resume` brings it up" in commands.lsr("check", path).stdout
    build(path, "--resume")
    assert (info(path)["current"], info(path)["passages"]) == (True, 4)


def test_a_graph_whose_extractor_must_be_given_is_said_to_be_behind(path: Path, tmp_path: Path) -> None:
    file = triples(tmp_path / "t.jsonl", {"passage_id": "a", "triples": [["Curie", "discovered", "Radium"]]})
    build(path, "--triples", file)
    done = commands.lsr("add", path, written(tmp_path / "more.jsonl", {"d": "She met Albert Einstein."}))
    assert done.returncode == 0
    update = f"`lsr graph build {path} --resume --extractor given --triples FILE.jsonl`"
    assert f"Its graph is behind it now: {update} brings it up" in done.stderr
    assert commands.lsr("delete", path, "d").returncode == 0
    assert info(path)["current"], "nothing is left to be read"
    assert commands.lsr("add", path, tmp_path / "more.jsonl").returncode == 0
    build(path, "--resume", "--extractor", "given", "--triples", file)
    assert info(path)["current"]
    assert commands.lsr("delete", path, "b").returncode == 0
    assert info(path)["current"], "what went needs no triples"
    line = commands.one_line(commands.lsr("graph", "build", path, "--resume", "--extractor", "names"))
    assert "made by triples of t.jsonl" in line


def test_malformed_triples_are_named_by_file_and_line_or_counted(path: Path, tmp_path: Path) -> None:
    file = triples(
        tmp_path / "t.jsonl",
        {"passage_id": "a", "triples": [["Curie", "discovered", "Radium"]]},
        {"passage_id": "b", "triples": [["Karenina", "lived in"]]},
    )
    line = commands.one_line(commands.lsr("graph", "build", path, "--extractor", "given", "--triples", file))
    assert "t.jsonl:2: " in line
    assert "is no triple" in line
    done = commands.lsr("graph", "build", path, "--triples", file, "--skip-bad")
    assert done.returncode == 0
    assert f"1 lines of {file} are no triples" in done.stderr
    assert info(path)["facts"] == 1


def test_a_missing_parser_is_told_with_the_command_that_brings_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    line = commands.one_line(commands.lsr("graph", "build", path))
    assert "pip install 'lsr-engine[graph]'" in line
    assert [one.name for one in path.iterdir() if "graph" in one.name] == []


def test_a_parser_that_is_gone_is_told_before_anything_is_added(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(path, "--extractor", "names")

    def gone(self: NameExtractor) -> dict[str, object]:
        return {"extractor": "names", "version": 99}

    monkeypatch.setattr(NameExtractor, "identity", gone)
    more = written(tmp_path / "more.jsonl", {"d": "She met Albert Einstein."})
    line = commands.one_line(commands.lsr("add", path, more))
    assert "or has other settings, files or versions" in line
    assert "--no-graph adds without" in line
    assert lsr.Index.open(path).generation == 1
    assert commands.lsr("add", path, more, "--no-graph").returncode == 0
    assert commands.lsr("delete", path, "d").returncode == 0, "nothing is left to be read"
    assert info(path)["current"]


def test_ctrl_c_in_a_build_is_said_and_gone_on_with(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsr.rag.graph.store.syncing.ROUND", 1)
    real, calls = NameExtractor.extract, list[str]()

    def extract(self: NameExtractor, texts: list[object]) -> object:
        calls.append("")
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, texts)  # type: ignore[arg-type]

    monkeypatch.setattr(NameExtractor, "extract", extract)
    done = commands.lsr("graph", "build", path, "--extractor", "names")
    assert done.returncode == 130
    assert "the same command with --resume goes on" in done.stderr
    build(path, "--extractor", "names", "--resume")
    assert len(calls) == 4, "the third alone is read again"
    assert Graph.open(lsr.Index.open(path)).info()["passages"] == 3


def test_a_language_model_finds_what_its_configuration_says(path: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.yaml"
    bare.write_text("corpus: docs/\n")
    line = commands.one_line(commands.lsr("graph", "build", path, "--extractor", "llm", "--config", bare))
    assert "bare.yaml: names no generator" in line


@pytest.mark.parametrize(
    "options",
    [
        ("--extractor", "llm"),
        ("--extractor", "given"),
        ("--extractor", "names", "--triples", "t.jsonl"),
        ("--extractor", "rules", "--config", "c.yaml"),
    ],
)
def test_options_that_belong_together_are_given_together(options: tuple[str, ...], path: Path) -> None:
    assert commands.lsr("graph", "build", path, *options).returncode == 2


def test_an_index_without_a_graph_says_how_to_make_one(path: Path, tmp_path: Path) -> None:
    line = commands.one_line(commands.lsr("graph", "info", path))
    assert f"has no graph; `lsr graph build {path}` makes one" in line
    line = commands.one_line(commands.lsr("graph", "build", path, "--extractor", "name"))
    assert "did you mean names?" in line
    commands.one_line(commands.lsr("graph", "build", tmp_path / "nowhere"))
