"""`lsr add`, `lsr delete` and `lsr compact`, from build to search, and how they fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import lsr
from tests.cli.test_main_job import DOCUMENTS, write_lines
from tests.conftest import REPOSITORY

HOLD = """
import sys
from pathlib import Path
from lsr.index.storage.locks import writing
with writing(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def index(tmp_path: Path) -> Path:
    path = tmp_path / "docs.idx"
    assert lsr("index", write_lines(tmp_path / "docs.jsonl", DOCUMENTS[:3]), "-o", path).returncode == 0
    return path


def ids(index: Path, query: str) -> list[str]:
    done = lsr("search", index, query, "--json")
    assert done.returncode == 0, done.stderr
    return [hit["id"] for hit in json.loads(done.stdout)["hits"]]


def test_documents_come_and_go(index: Path, tmp_path: Path) -> None:
    more = write_lines(tmp_path / "more.jsonl", DOCUMENTS[3:])
    done = lsr("add", index, more)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "2 documents added in" in done.stderr
    assert f"5 in {index}" in done.stderr
    assert ids(index, "items of a list in order")[0] == "sort"

    again = lsr("add", index, more)
    assert again.returncode == 1
    assert again.stderr.count("\n") == 1
    assert "more.jsonl:1: the id 'sort' is in the index already" in again.stderr
    assert "--upsert" in again.stderr
    changed = write_lines(tmp_path / "changed.jsonl", [{"_id": "sort", "text": "Shuffle a deck of cards."}])
    done = lsr("add", index, changed, "--upsert", "--json")
    assert json.loads(done.stdout) == {"added": 1, "replaced": 1, "truncated": 0, "documents": 5, "generation": 3}
    assert ids(index, "shuffle cards")[0] == "sort"

    unknown = lsr("delete", index, "gzip", "nosuch")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (1, 1)
    assert "has no document 'nosuch'; nothing was deleted" in unknown.stderr
    done = lsr("delete", index, "gzip", "nosuch", "--missing-ok", "--json")
    assert json.loads(done.stdout) == {"deleted": 1, "documents": 4, "generation": 4}
    done = lsr("delete", index, "empty", "atexit")
    assert "2 documents deleted: 2 in" in done.stderr
    assert "lsr compact" in done.stderr
    assert "gzip" not in ids(index, "compress a file with gzip")

    facts = json.loads(lsr("info", index, "--json").stdout)
    assert (facts["documents"], facts["generation"]) == (2, 5)
    assert "deleted" in facts["compact"]
    done = lsr("compact", index, "--refresh", "--json")
    assert json.loads(done.stdout)["documents"] == 2
    assert json.loads(lsr("info", index, "--json").stdout)["compact"] is None
    assert "nothing to do" in lsr("compact", index).stderr
    assert lsr("check", index, "--full").returncode == 0
    assert ids(index, "shuffle cards")[0] == "sort"


def test_a_second_writer_is_told_who_is_at_work(index: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(index)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=REPOSITORY,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        done = lsr("delete", index, "gzip")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert f"process {holder.pid} " in done.stderr
        holder.kill()  # the lock goes with its owner
    assert lsr("delete", index, "gzip").returncode == 0


@pytest.mark.parametrize("command", [["add"], ["delete"], ["delete", "INDEX"], ["compact"], ["add", "INDEX"]])
def test_wrong_usage_ends_with_2(index: Path, command: list[str]) -> None:
    assert lsr(*[str(index) if part == "INDEX" else part for part in command]).returncode == 2


@pytest.mark.parametrize("command", [("add", "nowhere", "x.jsonl"), ("delete", "nowhere", "x"), ("compact", "nowhere")])
def test_what_is_no_index_is_not_made_one(tmp_path: Path, command: tuple[str, ...]) -> None:
    path = tmp_path / command[1]
    path.mkdir()
    done = lsr(command[0], path, *command[2:])
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "no index" in done.stderr
    assert list(path.iterdir()) == []
