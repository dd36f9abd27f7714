"""An index of another program's vectors keeps their words: to explain a hit, to read queries by, to write them again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import lsr
from lsr import Index, SparseVectors
from lsr.errors import CorruptIndex, InvalidInput
from lsr.index.formats import open_vectors, read_vectors, write_vectors
from lsr.index.storage.check import check_index
from tests.index.formats.collections import COLLECTIONS
from tests.index.test_storage import edit_manifest

LINES = [
    {"id": "a", "contents": "", "vector": {"run": 3, "naïve": 2, "": 1}},
    {"id": "b", "contents": "", "vector": {"dog": 5, "run": 1}},
]


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    path = tmp_path / "v.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return path


@pytest.fixture
def index(collection: Path) -> Index:
    return Index.build(open_vectors(collection), collection.with_name("my.idx"))


def test_its_words_are_those_of_the_file_in_sorted_order(index: Index) -> None:
    assert index.tokens == ("", "dog", "naïve", "run")
    assert Index.open(index.path).tokens == index.tokens
    assert index.query_encoder is None


def test_queries_of_the_same_program_are_read_by_its_words(index: Index, tmp_path: Path) -> None:
    (tmp_path / "queries.jsonl").write_text(
        json.dumps({"id": "q1", "vector": {"run": 2.0, "unheard-of": 9}})
        + "\n"
        + json.dumps({"id": "q2", "vector": {"dog": 1}})
    )
    assert index.tokens is not None
    queries = read_vectors(tmp_path / "queries.jsonl", vocabulary=index.tokens, drop_unknown=True)
    first, second = index.search(queries)
    assert [(hit.id, hit.score) for hit in first] == [("a", 6.0), ("b", 2.0)]
    assert [(hit.id, hit.score) for hit in second] == [("b", 5.0)]
    assert (first.query_id, second.query_id) == ("q1", "q2")


def test_a_hit_is_explained_in_its_words(index: Index) -> None:
    query = SparseVectors(indptr=[0, 2], indices=[2, 3], values=[1.0, 4.0], dim=4)
    terms = index.search(query)[0][0].explain().terms
    assert [(term.token, term.document_weight) for term in terms] == [("run", 3.0), ("naïve", 2.0)]


@pytest.mark.parametrize("form", ["seismic-jsonl", "anserini", "ciff"])
def test_they_are_written_again(index: Index, tmp_path: Path, form: str) -> None:
    write_vectors(index, tmp_path / "again", form)
    opened = open_vectors(tmp_path / "again", form)
    assert opened.tokens == index.tokens
    assert opened.vectors() == index.vectors(range(2))


def test_an_encoder_takes_their_place(collection: Path, tmp_path: Path) -> None:
    encoder = lsr.load_encoder()
    opened = open_vectors(collection, vocabulary=encoder.vocabulary.tokens, drop_unknown=True)
    index = Index.build(opened, tmp_path / "encoder.idx", encoder=encoder)
    assert index.tokens == encoder.vocabulary.tokens
    assert index.search("dog")[0].id == "b"
    with pytest.raises(InvalidInput, match=r"the vectors have 4 dimensions, the encoder lsr-tiny 30,522"):
        Index.build(open_vectors(collection), tmp_path / "other.idx", encoder=encoder)


def test_bare_vectors_have_none(tmp_path: Path) -> None:
    index = Index.build(COLLECTIONS["one document"], tmp_path / "my.idx")
    assert index.tokens is None
    write_vectors(index, tmp_path / "v.jsonl")
    vector = json.loads((tmp_path / "v.jsonl").read_text())["vector"]
    assert list(vector) == [str(term) for term in COLLECTIONS["one document"].indices]


def test_they_are_counted_checked_and_found_damaged(index: Index) -> None:
    assert index.info()["bytes"]["encoder"] == sum(len(token.encode()) for token in index.tokens or ()) + 5 * 8
    assert "vocabulary: 4 tokens can be read" in list(check_index(index.path, full=True))
    file = index.path / "vocabulary" / "token_bytes"
    file.write_bytes(file.read_bytes().replace("ï".encode(), b"\xff\xff"))
    with pytest.raises(CorruptIndex, match="the token of term 2 is damaged"):
        _ = Index.open(index.path).tokens
    with pytest.raises(CorruptIndex, match="altered since it was written"):
        list(check_index(index.path, full=True))
    file.unlink()
    with pytest.raises(CorruptIndex, match="token_bytes: missing"):
        Index.open(index.path)


def test_a_vocabulary_that_does_not_fit_is_refused_when_the_index_is_opened(index: Index) -> None:
    offsets = index.path / "vocabulary" / "token_offsets"
    whole = np.frombuffer(offsets.read_bytes(), "<i8")
    for place, value in ((0, 1), (1, 99), (4, 1 << 40)):
        wrong = whole.copy()
        wrong[place] = value
        offsets.write_bytes(wrong.tobytes())
        with pytest.raises(CorruptIndex, match="the offsets of its vocabulary do not rise"):
            Index.open(index.path)
    offsets.write_bytes(whole.tobytes())
    edit_manifest(index.path, lambda body: body["vocabulary"].pop())
    with pytest.raises(CorruptIndex, match="token_offsets' is not in its manifest"):
        Index.open(index.path)
