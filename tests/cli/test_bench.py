"""`lsr bench` as people run it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lsr import Index
from tests.cli.commands import lsr, lsr_process
from tests.conftest import random_vectors

# As the command runs where kannolo is not installed.
WITHOUT_KANNOLO = "import sys; sys.modules['kannolo'] = None; from lsr.cli import main; main()"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Documents, of which an index is made, and queries."""
    documents, queries = tmp_path / "docs.idx", tmp_path / "asked.npz"
    Index.build(random_vectors(300, 60, 10, seed=1), documents)
    random_vectors(9, 60, 4, seed=2).save(queries)
    return documents, queries


def test_from_vectors_to_report(files: tuple[Path, Path], tmp_path: Path) -> None:
    documents, queries = files
    options = ["-o", tmp_path / "r", "--rounds", 1, "-k", 5, "--peer", "kannolo"]
    done = lsr_process("bench", documents, "--queries", queries, *options, code=WITHOUT_KANNOLO)
    assert done.returncode == 0, done.stderr
    assert "lsr exact" in done.stdout
    assert "Skipped kannolo: not installed: pip install kannolo" in done.stderr
    assert f"Report: {tmp_path / 'r' / 'report.html'}" in done.stderr
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert report["collection"]["documents"] == 300
    assert {curve["points"][-1]["recall"] for curve in report["curves"]} == {1}
    assert report["skipped"] == [{"name": "kannolo", "reason": "not installed: pip install kannolo"}]
    assert {path.name for path in (tmp_path / "r").iterdir()} == {"report.json", "report.md", "report.html"}


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["DOCUMENTS", "-o", "r"], 2, "--queries"),
        (["DOCUMENTS", "--queries", "QUERIES"], 2, "--output"),
        (["DOCUMENTS", "--queries", "QUERIES", "-o", "r", "--peer", "fast"], 2, "choose from seismic, sindi, bmp"),
        (["DOCUMENTS", "--queries", "QUERIES", "--queries", "QUERIES", "-o", "r"], 2, "the same name"),
        (["DOCUMENTS", "--queries", "QUERIES", "-o", "r", "-k", "301"], 1, "1 to the number of documents, 300"),
        (["none.npz", "--queries", "QUERIES", "-o", "r"], 1, "none.npz: no such file"),
        (["QUERIES", "--queries", "DOCUMENTS", "-o", "r"], 1, "not a file of sparse vectors"),
    ],
)
def test_mistakes_are_one_line_that_helps(
    files: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    names = dict(zip(("DOCUMENTS", "QUERIES"), map(str, files), strict=True))
    done = lsr("bench", *[names.get(argument, argument) for argument in arguments])
    assert done.returncode == status, done.stderr
    assert says in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "r").exists()
