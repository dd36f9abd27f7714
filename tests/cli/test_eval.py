"""`lsr eval` as people run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import lsr
from tests.eval.conftest import write_collection


def test_from_collection_to_report(tmp_path: Path) -> None:
    collection = write_collection(tmp_path)
    done = lsr("eval", collection, "-o", tmp_path / "r", "--system", "lsr-tiny", "--baseline", "bm25", "--no-timing")
    assert done.returncode == 0, done.stderr
    assert "lsr-tiny" in done.stdout
    assert "nDCG@10" in done.stdout
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert report["command"][:2] == ["lsr", "eval"]
    assert [system["name"] for system in report["systems"]] == ["bm25", "lsr-tiny"]
    assert {path.name for path in (tmp_path / "r" / "runs").iterdir()} == {"bm25.trec", "lsr-tiny.trec"}
    again = lsr("eval", "--from", tmp_path / "r" / "report.json", "-o", tmp_path / "again", "--latex")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again" / "report.html").read_bytes() == (tmp_path / "r" / "report.html").read_bytes()
    assert (tmp_path / "again" / "report.tex").exists()


def test_a_collection_in_the_data_folder_is_found_by_name(tmp_path: Path) -> None:
    write_collection(tmp_path / "beir")
    done = lsr("eval", "beir/small", "-o", tmp_path / "r", "--system", "bm25", "--no-timing", LSR_DATA=str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_checking_reproductions(tmp_path: Path) -> None:
    collection = write_collection(tmp_path)
    entry = "- {name: NAME, dataset: DATA, system: bm25, source: by hand, expect: {RR@10: SCORE}}\n"
    file = tmp_path / "r.yaml"
    file.write_text(entry.replace("DATA", str(collection)).replace("SCORE", "0.75"))
    done = lsr("eval", "--check", file)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("matches ")
    file.write_text(file.read_text() + entry.replace("DATA", str(collection)).replace("SCORE", "0.5"))
    done = lsr("eval", "--check", file)
    assert done.returncode == 1
    assert "differs" in done.stdout
    assert "1 not reproduced" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([], 2, "give DATASETs"),
        (["DATA"], 2, "name the folder"),
        (["DATA", "--from", "x.json", "-o", "r"], 2, "give DATASETs"),
        (["DATA", "-o", "r", "--measure", "quality"], 1, "unknown measure 'quality'"),
        (["DATA", "-o", "r", "--system", "nobody"], 1, "no encoder 'nobody'"),
        (["DATA", "-o", "r", "--split", "dev"], 1, "test"),
        (["nowhere/at/all/", "-o", "r"], 1, "no such folder"),
        (["--from", "none.json"], 1, "no such file"),
        (["--check", "none"], 1, "no such file or folder"),
    ],
)
def test_mistakes_are_one_line_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int, says: str
) -> None:
    collection = write_collection(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = lsr("eval", *[str(collection) if argument == "DATA" else argument for argument in arguments])
    assert done.returncode == status
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    if status == 1:
        assert len(done.stderr.strip().splitlines()) == 1


def test_help_comes_without_heavy_imports() -> None:
    code = "import sys, lsr.cli.app; print([m for m in ('numpy', 'numba', 'torch', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
