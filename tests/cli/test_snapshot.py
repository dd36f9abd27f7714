"""`lsr export INDEX -o FILE.tar.zst` and `lsr import FILE.tar.zst`, from index to index, and how they fail."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lsr import Index
from tests.cli.commands import lsr, one_line
from tests.cli.test_main_job import DOCUMENTS


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("snapshot") / "docs.idx"
    Index.build(DOCUMENTS, path).delete("empty")
    return path


def test_an_index_is_moved_as_one_file(index: Path, tmp_path: Path) -> None:
    file, again = tmp_path / "docs.tar.zst", tmp_path / "again.idx"
    done = lsr("export", index, "-o", file)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert re.search(rf"^4 documents, generation 2, [\d.]+ kB: {file}$", done.stderr, re.M)
    assert f"Next: lsr import {file} -o INDEX" in done.stderr
    done = lsr("import", file, "-o", again)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert re.search(rf"^4 documents, generation 2, [\d.]+ kB: {again}$", done.stderr, re.M)
    assert f'Next: lsr search {again} "your question"' in done.stderr
    queries = ("search", "compress a file", "run a function at exit", "--json")
    answers = [lsr(queries[0], path, *queries[1:]).stdout for path in (index, again)]
    assert answers[0] == answers[1]
    assert json.loads(answers[0].splitlines()[0])["hits"][0]["id"] == "gzip"
    assert lsr("check", again, "--full").returncode == 0

    assert "--overwrite" in one_line(lsr("import", file, "-o", again))
    assert lsr("import", file, "-o", again, "--overwrite").returncode == 0
    assert "--overwrite" in one_line(lsr("export", index, "-o", file))
    assert lsr("export", index, "-o", file, "--overwrite").returncode == 0
    named = tmp_path / "backup"
    assert lsr("export", index, "-o", named, "--format", "snapshot").returncode == 0
    assert named.read_bytes() == file.read_bytes()
    assert lsr("import", named, "-o", tmp_path / "named.idx", "--format", "snapshot").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.idx", "backup", "docs.tar.zst", "named.idx"]


def mistakes() -> Iterator[tuple[str, list[str], str]]:
    """(name, arguments, what the line says). {d} is a folder, {i} an index, {f} a file that is no snapshot."""
    out = ["-o", "{d}/out.tar.zst"]
    yield "no index", ["export", "{d}/none.idx", *out], r"none\.idx: no such index"
    yield "a model", ["export", "lsr-tiny", *out], "lsr-tiny: no such index"
    yield "a file", ["export", "{f}", *out], "a file, not an index"
    yield "options", ["export", "{i}", *out, "--scale", "2", "--adapts"], "--adapts, --scale: not with a snapshot"
    yield "unknown format", ["export", "{i}", *out, "--format", "x"], "choose one of scipy, .*snapshot, "
    yield "no snapshot", ["import", "{f}", "-o", "{d}/out.idx"], r"file\.tar\.zst: not compressed by zstd"
    yield "no file", ["import", "{d}/none.tar.zst", "-o", "{d}/out.idx"], r"none\.tar\.zst: no such file"
    yield (
        "options of vectors",
        ["import", "{f}", "-o", "{d}/out.idx", "--engine", "exact", "--dim", "3", "--no-keep-text"],
        "--engine, --dim, --no-keep-text: not with a snapshot",
    )
    yield "over an index", ["import", "{f}", "-o", "{i}"], "an index is there already; --overwrite"


@pytest.mark.parametrize(("name", "arguments", "says"), list(mistakes()), ids=[m[0] for m in mistakes()])
def test_a_mistake_is_one_line_and_leaves_nothing(
    index: Path, tmp_path: Path, name: str, arguments: list[str], says: str
) -> None:
    file = tmp_path / "file.tar.zst"
    file.write_text("no snapshot at all")
    for mark, place in {"{d}": str(tmp_path), "{i}": str(index), "{f}": str(file)}.items():
        arguments = [argument.replace(mark, place) for argument in arguments]
    assert re.search(says, line := one_line(lsr(*arguments))), line
    assert list(tmp_path.iterdir()) == [file]


def test_another_ending_needs_a_format(index: Path, tmp_path: Path) -> None:
    done = lsr("export", index, "-o", tmp_path / "docs.tar")
    assert done.returncode == 2
    assert "--format" in done.stderr
    assert ".tar.zst" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_help_names_the_format() -> None:
    for command in ("import", "export"):
        text = lsr(command, "--help").stdout
        assert "snapshot" in text
        assert ".tar.zst" in text
