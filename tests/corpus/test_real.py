"""Real collections, as they are published."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from lsr.corpus import Query, read_documents, read_queries


@pytest.mark.parametrize(
    ("name", "documents", "queries"),
    [
        ("scifact", 5183, 300),
        ("nfcorpus", 3395, 323),
        ("cacm", 3204, 52),
        ("squad-dev", 2067, 10_570),
        ("msmarco-5k", 5000, 43),
    ],
)
def test_beir_folders(shared: Path, name: str, documents: int, queries: int) -> None:
    folder = shared / "data" / name
    found = list(read_documents(folder))
    asked = list(read_queries(folder))
    assert len({d.id for d in found}) == len(found)
    assert len(found) == documents
    assert len(asked) == queries
    assert all(d.text or d.title for d in found)


def test_a_document_of_scifact(shared: Path) -> None:
    document = next(read_documents(shared / "data" / "scifact"))
    assert document.id == "4983"
    assert document.title.startswith("Microstructural development of human newborn cerebral white matter")
    assert document.content.startswith(document.title + " Alterations of the architecture")
    assert document.where.endswith("scifact/corpus.jsonl.gz:1")


def test_questions_in_tsv_without_a_header(shared: Path) -> None:
    asked = list(read_queries(shared / "data" / "train" / "trivia-dev-questions.tsv"))
    assert asked[0] == Query("0", "The VS-300 was a type of what?")
    assert len(asked) == 8837
    assert len(list(read_queries(shared / "data" / "queries" / "msmarco-dev.tsv"))) == 6980


def test_a_compressed_file_of_passages_by_line(shared: Path) -> None:
    passages = read_documents(shared / "data" / "passages" / "techdocs-392k.txt.xz")
    found = list(itertools.islice(passages, 1000))
    assert [d.id for d in found[:3]] == ["0", "1", "2"]
    assert found[0].text.startswith("NLM enumerations.")
    assert found[999].where.endswith("techdocs-392k.txt.xz:1000")


def test_named_fields_of_training_pairs(shared: Path) -> None:
    pairs = shared / "data" / "train" / "medquad.jsonl.gz"
    document = next(read_documents(pairs, text_fields=["positive"]))
    assert document.id == "0"
    assert set(document.metadata) == {"query", "source"}
    assert next(read_queries(pairs)).text == document.metadata["query"]


def test_a_folder_of_pages(shared: Path) -> None:
    found = list(read_documents(shared / "data" / "ragsmith"))  # its own README, and that of each collection
    assert {d.metadata["path"] for d in found} >= {"README.md", "finance/README.md", "law/README.md"}
    for document in found:
        lines = (shared / "data" / "ragsmith" / document.metadata["path"]).read_text().splitlines()
        assert document.text.splitlines()[0] in lines[document.metadata["line"] - 1]
        assert len(document.text.split()) <= 400
