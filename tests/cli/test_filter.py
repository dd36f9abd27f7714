"""`lsr search --filter`, end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import lsr, one_line

DOCUMENTS: list[dict[str, Any]] = [
    {"_id": "a", "text": "rotate a log file", "year": 2019, "lang": "en", "draft": False},
    {"_id": "b", "text": "rotate a log file by size", "year": 2020, "lang": "de", "draft": True},
    {"_id": "c", "text": "write a log file", "year": 2021, "lang": "fr", "draft": False},
    {"_id": "d", "text": "sort a list", "year": 2022, "lang": "en"},
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filter")
    (folder / "docs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in DOCUMENTS))
    done = lsr("index", folder / "docs.jsonl", "-o", folder / "docs.idx", "--no-keep-text", "--no-corpus-idf")
    assert done.returncode == 0, done.stderr
    lsr("search", folder / "docs.idx", "log", "--filter", "draft")  # kernels are compiled now, if they were not
    return folder / "docs.idx"


def test_only_what_the_filter_allows_is_found(index: Path) -> None:
    done = lsr(
        "search", index, "log file", "list", "--json", "--filter", 'year >= 2020 and lang in ("fr", "en") and not draft'
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(line)["hits"] for line in done.stdout.splitlines())
    assert [hit["id"] for hit in first] == ["c"]
    assert [hit["id"] for hit in second] == ["d"]


def test_scores_are_those_without_a_filter(index: Path) -> None:
    whole = json.loads(lsr("search", index, "log file", "--json").stdout)["hits"]
    part = json.loads(lsr("search", index, "log file", "--json", "--filter", "id in ('c', 'b')").stdout)["hits"]
    assert [(hit["id"], hit["score"]) for hit in part] == [
        (hit["id"], hit["score"]) for hit in whole if hit["id"] in ("b", "c")
    ]


def test_a_run_of_many_queries_is_filtered(index: Path, tmp_path: Path) -> None:
    (tmp_path / "q.tsv").write_text("q1\tlog file\nq2\tsort a list\n")
    run = tmp_path / "out.trec"
    done = lsr("search", index, "--queries", tmp_path / "q.tsv", "--run", run, "--filter", "lang == 'en'")
    assert done.returncode == 0, done.stderr
    assert {tuple(line.split()[0:3:2]) for line in run.read_text().splitlines()} == {("q1", "a"), ("q2", "d")}


def test_no_hit_names_the_filter(index: Path) -> None:
    done = lsr("search", index, "log file", "--filter", "year > 2100")
    assert "No hits: no document that the filter allows shares a term with the query" in done.stdout


def test_info_lists_the_fields(index: Path) -> None:
    facts = json.loads(lsr("info", index, "--json").stdout)["fields"]
    assert facts == {
        "draft": {"type": "bool", "documents": 3, "lists": False},
        "lang": {"type": "string", "documents": 4, "lists": False},
        "year": {"type": "int", "documents": 4, "lists": False},
    }
    assert "type bool, documents 3" in lsr("info", index).stdout
    assert "fields: 3" in lsr("check", index, "--full").stdout


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("yaer >= 2020", "no field 'yaer'; the fields are draft (bool), lang (string), year (int)"),
        ("year >= '2020'", "of type int and cannot be compared with the string '2020'"),
        ("year >= 2020 und draft", "belongs at character 14, before 'und draft'"),
    ],
)
def test_a_wrong_filter_is_one_line(index: Path, text: str, says: str) -> None:
    assert says in one_line(lsr("search", index, "log file", "--filter", text))


def test_brackets_in_the_name_of_a_field_are_no_markup(tmp_path: Path) -> None:
    (tmp_path / "docs.jsonl").write_text(json.dumps({"_id": "a", "text": "a log file", "[/b]": 1}) + "\n")
    assert lsr("index", tmp_path / "docs.jsonl", "-o", tmp_path / "my.idx").returncode == 0
    done = lsr("info", tmp_path / "my.idx")
    assert done.returncode == 0, done.stderr
    assert "fields [/b]" in done.stdout
