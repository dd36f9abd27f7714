"""Collections by name: the user's data folder, the zip of ir_datasets, its catalogue; never the network unasked."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Any, NoReturn

import ir_datasets
import pytest

from lsr.errors import DatasetNotFound, EvaluationError
from lsr.eval.datasets import open_dataset, survey
from lsr.eval.datasets.conventions import caveats, drops_self, relevance_threshold
from tests.eval.conftest import DOCUMENTS, QRELS, QUERIES, write_collection

IDENT = "lsr-tests/small"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "ir_home"))
    monkeypatch.delenv("LSR_DATA", raising=False)


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A collection that the catalogue of ir_datasets knows for these tests, with its own files."""
    folder = tmp_path_factory.mktemp("registered")
    (folder / "docs.tsv").write_text("".join(f"{i}\t{title} {text}\n" for i, (title, text) in DOCUMENTS.items()))
    (folder / "queries.tsv").write_text("".join(f"{i}\t{text}\n" for i, text in QUERIES.items()))
    (folder / "qrels").write_text("".join(f"{q} 0 {d} {g}\n" for q, judged in QRELS.items() for d, g in judged.items()))
    dataset = ir_datasets.create_dataset(
        docs_tsv=str(folder / "docs.tsv"), queries_tsv=str(folder / "queries.tsv"), qrels_trec=str(folder / "qrels")
    )
    ir_datasets.registry.register(IDENT, dataset)
    return IDENT


def test_an_id_of_ir_datasets(registered: str) -> None:
    dataset = open_dataset(registered)
    assert {query.id: query.text for query in dataset.queries} == QUERIES
    assert dataset.qrels == QRELS
    assert [document.id for document in dataset.documents()] == list(DOCUMENTS)
    facts = survey(dataset)
    assert (facts.documents, facts.queries, facts.judgments) == (6, 4, 6)
    assert "ir_datasets" in facts.source


def test_counts_are_counted_and_not_taken_from_metadata(registered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(ir_datasets.load(registered)), "docs_count", lambda self: 1_000_000, raising=False)
    assert survey(open_dataset(registered)).documents == 6


def test_the_zip_that_ir_datasets_keeps_is_read(tmp_path: Path) -> None:
    collection = write_collection(tmp_path)
    target = tmp_path / "ir_home" / "beir" / "scifact"
    target.mkdir(parents=True)
    shutil.make_archive(str(target / "source"), "zip", collection)
    dataset = open_dataset("beir/scifact/test")
    assert (dataset.name, dataset.split, len(dataset.queries)) == ("beir/scifact", "test", 4)


@pytest.mark.parametrize("below", ["", "beir"])
def test_a_collection_in_the_users_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str) -> None:
    write_collection(tmp_path / "data" / below)
    monkeypatch.setenv("LSR_DATA", str(tmp_path / "data"))
    dataset = open_dataset("beir/small")
    assert dataset.qrels == QRELS
    assert str(tmp_path) not in dataset.source


@pytest.mark.parametrize(
    "ident", ["msmarco-passage/trec-dl-2019/judged", "beir/scifact", "vaswani", "lotte/lifestyle/dev/search"]
)
def test_what_is_not_on_this_machine_is_not_downloaded(ident: str) -> None:
    with pytest.raises(DatasetNotFound, match=r"not on this machine.*use --download") as caught:
        open_dataset(ident)
    assert "\n" not in str(caught.value)
    assert "(its place is /" in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "nearest"),
    [
        ("beir/scifcat", "beir/scifact"),
        ("scifact", "beir/scifact"),
        ("msmarco-pasage/dev/small", "msmarco-passage/dev/small"),
    ],
)
def test_an_unknown_name_gives_the_nearest_ones(spec: str, nearest: str) -> None:
    with pytest.raises(DatasetNotFound, match="did you mean") as caught:
        open_dataset(spec)
    assert nearest in str(caught.value)


def test_an_id_without_judgments_is_refused() -> None:
    with pytest.raises((EvaluationError, DatasetNotFound), match="no judgments"):
        open_dataset("msmarco-passage/eval")


@pytest.mark.parametrize(
    ("name", "threshold"),
    [
        ("msmarco-passage/trec-dl-2019/judged", 2),
        ("msmarco-passage/trec-dl-2020", 2),
        ("msmarco-passage/dev/small", 1),
        ("beir/scifact/test", 1),
        ("msmarco-document/trec-dl-2019", 1),
    ],
)
def test_trec_deep_learning_counts_from_grade_2(name: str, threshold: int) -> None:
    assert relevance_threshold(name) == threshold


def test_the_two_sets_of_judgments_of_touche_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSR_DATA", str(tmp_path))
    first = write_collection(tmp_path / "beir", name="webis-touche2020")
    one = survey(open_dataset("beir/webis-touche2020"))
    assert any("two sets of judgments" in note for note in one.notes)
    qrels = first / "qrels" / "test.tsv"
    qrels.write_text(qrels.read_text().replace("\t2\n", "\t1\n"))
    assert survey(open_dataset("beir/webis-touche2020")).judgments_hash != one.judgments_hash
    assert caveats("beir/scifact") == ()


def test_collections_whose_queries_are_documents() -> None:
    assert drops_self("beir/arguana")
    assert drops_self("beir/quora/test")
    assert not drops_self("beir/scifact")
