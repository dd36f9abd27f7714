"""`lsr search --graph`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import lsr
from lsr.rag.graph.extractors.given import GivenTriples
from lsr.rag.graph.store import Graph
from lsr.rerank import FunctionReranker
from tests.cli import commands
from tests.rag.graph.graph_index import built, indexed
from tests.rag.graph.test_store_search import DOCUMENTS, QUESTION, TRIPLES

WAY = "vertigo directed by alfred hitchcock"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graph")
    (folder / "triples.jsonl").write_text(TRIPLES.strip())
    index = lsr.Index.build(DOCUMENTS, folder / "my.idx")
    Graph.build(index, GivenTriples(folder / "triples.jsonl"))
    return folder / "my.idx"


def objects(*arguments: object) -> list[dict[str, Any]]:
    done = commands.lsr(*arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_documents_are_ranked_by_the_walk(path: Path) -> None:
    (found,) = objects("search", path, QUESTION, "--graph", "-k", 2, "--json")
    graph = Graph.open(lsr.Index.open(path))
    (hits,) = graph.hits(graph.search(QUESTION, 2))
    assert (found["query_id"], found["query"], found["fell_back"]) == ("1", QUESTION, None)
    assert [(hit["rank"], hit["id"]) for hit in found["hits"]] == [(1, hits.ids[0]), (2, hits.ids[1])]
    assert {hit["id"] for hit in found["hits"]} == {"film", "man"}
    done = commands.lsr("search", path, QUESTION, "--graph", "-k", 1)
    assert hits.ids[0] in done.stdout
    assert done.stderr == ""


def test_each_hit_is_explained_by_the_way_to_it(path: Path) -> None:
    done = commands.lsr("search", path, QUESTION, "--graph", "--explain")
    assert done.returncode == 0, done.stderr
    assert "--mention" in done.stdout
    assert "--> man" in done.stdout, "passages are called by their ids"
    assert "product" not in done.stdout, "the score is no sum of products of terms"
    (found,) = objects("search", path, QUESTION, "--graph", "--explain", "--json")
    (man,) = [hit for hit in found["hits"] if hit["id"] == "man"]
    strength = man["way"]["seed_share"]
    for step in man["way"]["steps"]:
        strength *= step["share"]
    assert man["way"]["strength"] == pytest.approx(strength)
    assert man["way"]["steps"][-1]["target"] == "man"


def test_a_question_that_leads_nowhere_has_the_hits_of_the_index_and_says_so(path: Path) -> None:
    question = "potatoes, leeks, soup"
    done = commands.lsr("search", path, question, "--graph", "--json", "--explain")
    found = json.loads(done.stdout)
    (plain,) = objects("search", path, question, "--json")
    assert [(hit["id"], hit["score"]) for hit in found["hits"]] == [(hit["id"], hit["score"]) for hit in plain["hits"]]
    assert "no fact of the graph is like the question" in found["fell_back"]
    assert found["hits"][0]["way"] is None
    assert done.stderr.count("\n") == 1
    assert f"{question}: no fact of the graph is like the question" in done.stderr
    assert "no way leads here" in commands.lsr("search", path, question, "--graph", "--explain").stdout


def test_a_file_of_questions_becomes_a_run(path: Path, tmp_path: Path) -> None:
    (tmp_path / "q.tsv").write_text(f"q1\t{QUESTION}\nq2\tWhat is Leytonstone part of?\n")
    options = ("--graph", "--queries", tmp_path / "q.tsv", "-k", 2)
    done = commands.lsr("search", path, *options, "--run", tmp_path / "out.trec")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in (tmp_path / "out.trec").read_text().splitlines()]
    assert [(line[0], line[2]) for line in lines] == [
        (found["query_id"], hit["id"]) for found in objects("search", path, *options, "--json") for hit in found["hits"]
    ]


def test_a_walk_is_drawn(path: Path, tmp_path: Path) -> None:
    page = tmp_path / "walk.html"
    done = commands.lsr("search", path, QUESTION, "--graph", "--picture", page)
    assert done.returncode == 0, done.stderr
    assert str(page) in done.stderr
    html = page.read_text()
    assert "alfred hitchcock" in html
    assert QUESTION in html
    line = commands.one_line(commands.lsr("search", path, QUESTION, "--graph", "--picture", tmp_path / "no" / "x.html"))
    assert "x.html" in line


def test_a_second_stage_orders_what_the_walk_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shortest(query: str, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        return np.array([-float(len(text)) for text in texts])

    monkeypatch.setattr("lsr.rerank.text_reranker", lambda name, candidates: FunctionReranker(shortest, name))
    (found,) = objects("search", path, QUESTION, "--graph", "--rerank", "shortest", "-k", 2, "--json", "--explain")
    assert [hit["id"] for hit in found["hits"]] == ["town", "man"]
    assert all(hit["way"] is not None for hit in found["hits"])


# -- wrong input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        ("--graph", "--exact"),
        ("--graph", "--recall", "0.9"),
        ("--graph", "--filter", "year > 2000"),
        ("--picture", "x.html"),
        ("--graph", "--picture", "x.html", "another question"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(options: tuple[str, ...], path: Path) -> None:
    assert commands.lsr("search", path, QUESTION, *options).returncode == 2


def test_an_index_without_a_graph_says_how_to_make_one(tmp_path: Path) -> None:
    lsr.Index.build(DOCUMENTS, tmp_path / "my.idx")
    line = commands.one_line(commands.lsr("search", tmp_path / "my.idx", QUESTION, "--graph"))
    assert f"has no graph; `lsr graph build {tmp_path / 'my.idx'}` makes one" in line


def test_a_graph_that_is_behind_is_refused_with_the_command(tmp_path: Path) -> None:
    index = lsr.Index.build(DOCUMENTS, tmp_path / "my.idx")
    assert commands.lsr("graph", "build", index.path, "--extractor", "names").returncode == 0
    index.delete(["soup"])
    line = commands.one_line(commands.lsr("search", index.path, QUESTION, "--graph"))
    assert f"behind its index (1 are gone); `lsr graph build {index.path} --resume` brings it up" in line
    assert commands.lsr("graph", "build", index.path, "--resume").returncode == 0
    assert commands.lsr("search", index.path, QUESTION, "--graph").returncode == 0


def test_the_graph_of_another_index_is_refused(path: Path, tmp_path: Path) -> None:
    other = indexed(tmp_path / "other.idx")
    shutil.copytree(path / "graph", other.path / "graph")
    line = commands.one_line(commands.lsr("search", other.path, QUESTION, "--graph"))
    assert "belongs to another index" in line
    assert f"`lsr graph build {other.path} --overwrite`" in line


def test_an_index_of_bare_vectors_without_an_encoder_is_refused(tmp_path: Path) -> None:
    index = indexed(tmp_path / "my.idx")
    built(index)
    line = commands.one_line(commands.lsr("search", index.path, QUESTION, "--graph"))
    assert "keeps no encoder" in line
