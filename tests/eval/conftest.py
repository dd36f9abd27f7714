"""A collection small enough to know by heart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.training import models

DOCUMENTS = {
    "d1": ("Log files", "Rotate a log file with logging.handlers, by size or by time."),
    "d2": ("", "The cat sat on the mat and looked at the moon."),
    "d3": ("Random", "Shuffle a list in place with random.shuffle."),
    "d4": ("Sorting", "Sort a list of numbers with sorted, which keeps equal items in order."),
    "d5": ("Moon", "The moon goes round the earth in a month."),
    "d6": ("Threads", "A lock protects data that several threads change."),
}
QUERIES = {"q1": "how to rotate a log file", "q2": "moon", "q3": "sort a list", "q4": "xyzzy plugh"}
QRELS = {"q1": {"d1": 2}, "q2": {"d5": 1, "d2": 1}, "q3": {"d4": 1, "d3": 0}, "q4": {"d6": 1}}


def write_collection(folder: Path, *, name: str = "small") -> Path:
    path = folder / name
    (path / "qrels").mkdir(parents=True)
    (path / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": i, "title": t, "text": x}) + "\n" for i, (t, x) in DOCUMENTS.items())
    )
    (path / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": i, "text": text}) + "\n" for i, text in QUERIES.items())
    )
    lines = [f"{query}\t{document}\t{grade}" for query, judged in QRELS.items() for document, grade in judged.items()]
    (path / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    return path


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    return write_collection(tmp_path)


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    """A run with ties, a query that is not judged, and none of q4."""
    path = tmp_path / "other.trec"
    path.write_text(
        "q1 Q0 d2 1 3.5 x\nq1 Q0 d1 2 3.25 x\nq2 Q0 d1 1 1.0 x\nq2 Q0 d5 2 1.0 x\nq3 Q0 d4 1 9 x\nq9 Q0 d1 1 1 x\n"
    )
    return path


@pytest.fixture(scope="session")
def colbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small multivector model with random weights."""
    folder = tmp_path_factory.mktemp("colbert")
    return models.multi_vector(folder / "model", work=folder / "backbone")
