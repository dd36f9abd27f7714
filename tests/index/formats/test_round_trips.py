"""What is written in a format is read back, to the last weight where the format holds it; losses are what the docs say."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lsr
from lsr import Index, SparseVectors
from lsr.errors import InvalidInput, OutputExists
from lsr.index.formats import FORMATS, open_vectors, read_vectors, write_vectors
from lsr.index.formats.vector_file import ROWS
from tests.conftest import random_vectors
from tests.index.formats.collections import COLLECTIONS, WHOLE_NUMBERS, WITH_IDS, WRITTEN, vectors_path, with_ids

in_tmp_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


def there_and_back(vectors: SparseVectors, folder: Path, form: str) -> SparseVectors:
    path = vectors_path(folder, form)
    written = write_vectors(vectors, path, form, overwrite=True)
    return read_vectors(path, form, dim=vectors.dim, scale=written.scale or 1.0)


def same(found: SparseVectors, expected: SparseVectors) -> bool:
    """Whether the vectors are equal, ids aside."""
    return (
        found.dim == expected.dim
        and np.array_equal(found.indptr, expected.indptr)
        and np.array_equal(found.indices, expected.indices)
        and np.array_equal(found.values, expected.values)
    )


# -- vectors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COLLECTIONS)
@pytest.mark.parametrize("form", WRITTEN)
def test_any_collection_is_read_back_as_it_was(tmp_path: Path, form: str, name: str) -> None:
    found = there_and_back(COLLECTIONS[name], tmp_path, form)
    assert same(found, COLLECTIONS[name])
    assert found.ids == (COLLECTIONS[name].ids if form in WITH_IDS else None)


@pytest.mark.parametrize("form", sorted(set(WRITTEN) - WHOLE_NUMBERS))
@in_tmp_path
@given(
    weights=st.lists(st.floats(0, exclude_min=True, allow_infinity=False, width=32), min_size=1, max_size=8),
    dim=st.sampled_from([8, 65_536, 1 << 24]),
)
def test_any_float32_weight_is_kept_to_the_last_bit(tmp_path: Path, form: str, weights: list[float], dim: int) -> None:
    n = len(weights)
    vectors = SparseVectors(indptr=[0, n], indices=np.arange(n), values=weights, dim=dim)
    assert same(there_and_back(vectors, tmp_path, form), vectors)


@pytest.mark.parametrize("form", sorted(WITH_IDS))
@in_tmp_path
@given(
    ids=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), unique=True)
)
def test_any_id_is_kept(tmp_path: Path, form: str, ids: list[str]) -> None:
    rows = len(ids) or 1
    vectors = with_ids(random_vectors(rows, 9, 2, levels=3), ids or ["0"])
    assert there_and_back(vectors, tmp_path, form).ids == vectors.ids


@pytest.mark.parametrize("form", WRITTEN)
def test_more_documents_than_are_held_at_a_time(tmp_path: Path, form: str) -> None:
    vectors = with_ids(SparseVectors.concat([random_vectors(60, 30, 1, seed=9, levels=255)] * 300))
    assert len(vectors) > ROWS
    found = there_and_back(vectors, tmp_path, form)
    assert same(found, vectors)
    assert found.ids == (vectors.ids if form in WITH_IDS else None)


@pytest.mark.parametrize("form", WRITTEN)
def test_the_format_is_found_by_the_ending_of_the_name(tmp_path: Path, form: str) -> None:
    path = vectors_path(tmp_path, form)
    write_vectors(COLLECTIONS["ordinary"], path, form)
    assert same(read_vectors(path, dim=500), COLLECTIONS["ordinary"])


@pytest.mark.parametrize("form", ["scipy", "seismic-jsonl", "anserini"])
def test_or_by_its_first_bytes(tmp_path: Path, form: str) -> None:
    write_vectors(COLLECTIONS["ordinary"], tmp_path / "vectors", form)
    assert same(read_vectors(tmp_path / "vectors", dim=500), COLLECTIONS["ordinary"])


@pytest.mark.parametrize("form", WRITTEN)
def test_the_same_vectors_give_the_same_bytes(tmp_path: Path, form: str) -> None:
    for name in ("a", "b"):
        write_vectors(COLLECTIONS["ordinary"], tmp_path / name, form)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_lines_are_compressed_where_the_name_says_so(tmp_path: Path) -> None:
    for name in ("v.jsonl", "v.jsonl.gz"):
        write_vectors(COLLECTIONS["ordinary"], tmp_path / name)
    assert gzip.decompress((tmp_path / "v.jsonl.gz").read_bytes()) == (tmp_path / "v.jsonl").read_bytes()
    assert same(read_vectors(tmp_path / "v.jsonl.gz", dim=500), COLLECTIONS["ordinary"])


# -- weights as whole numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", sorted(WHOLE_NUMBERS))
def test_float_weights_become_whole_numbers_of_a_stated_scale(tmp_path: Path, form: str) -> None:
    vectors = random_vectors(200, 100, 10, seed=10)
    path = vectors_path(tmp_path, form)
    written = write_vectors(vectors, path, form)
    assert written.scale is not None
    assert written.scale == pytest.approx(float(vectors.values.max()) / 255)
    assert written.largest == 255
    found = read_vectors(path, form, dim=100, scale=written.scale)
    assert found.nnz == written.nnz == vectors.nnz - written.dropped
    assert np.abs((found.to_scipy() - vectors.to_scipy()).toarray()).max() <= written.scale / 2 + 1e-6
    whole = read_vectors(path, form, dim=100).values
    np.testing.assert_array_equal(whole, np.rint(whole))


@pytest.mark.parametrize("form", sorted(WHOLE_NUMBERS))
def test_the_scale_may_be_given(tmp_path: Path, form: str) -> None:
    vectors = SparseVectors(indptr=[0, 3, 4], indices=[0, 1, 2, 0], values=[1.26, 0.04, 3.0, 0.01], dim=3)
    path = vectors_path(tmp_path, form)
    written = write_vectors(vectors, path, form, scale=0.1)
    assert (written.scale, written.largest, written.dropped) == (0.1, 30, 1)
    # 0.04 is nearest to 0 and goes; 0.01 is all that its document has, and stays.
    assert read_vectors(path, form, dim=3).to_scipy().toarray().tolist() == [[13, 0, 30], [1, 0, 0]]


def test_a_scale_is_only_for_whole_numbers_and_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="seismic-bin holds the weights as they are"):
        write_vectors(COLLECTIONS["ordinary"], tmp_path / "v.bin", scale=0.5)
    for scale in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidInput, match="scale is"):
            write_vectors(COLLECTIONS["ordinary"], tmp_path / "v.ciff", scale=scale)
    with pytest.raises(InvalidInput, match="over 2,147,483,647 times the scale"):
        write_vectors(COLLECTIONS["ordinary"], tmp_path / "v.ciff", scale=1e-9)
    assert list(tmp_path.iterdir()) == []


# -- an index ----------------------------------------------------------------------------------------------------------

TEXTS = [
    {"id": "a", "title": "Logs", "text": "rotate a log file"},
    {"id": "b", "text": "sort a list of naïve “words”"},
    {"id": "empty", "text": ""},
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return Index.build(TEXTS, tmp_path_factory.mktemp("index") / "docs.idx")


def stored(index: Index) -> SparseVectors:
    return index.vectors(range(len(index)))


@pytest.mark.parametrize("form", WRITTEN)
def test_the_codes_of_an_index_come_back_exactly(index: Index, tmp_path: Path, form: str) -> None:
    path = vectors_path(tmp_path, form)
    written = write_vectors(index, path, form)
    assert (written.documents, written.nnz, written.dropped) == (len(index), index.nnz, 0)
    assert index.tokens is not None
    found = read_vectors(path, form, vocabulary=index.tokens, scale=written.scale or 1.0)
    assert same(found, stored(index))
    if form in WHOLE_NUMBERS:
        codes = read_vectors(path, form, vocabulary=index.tokens).values
        np.testing.assert_array_equal(codes, np.rint(stored(index).values / index.scale))


@pytest.mark.parametrize("form", WRITTEN)
def test_an_imported_index_answers_as_the_first_one_did(index: Index, tmp_path: Path, form: str) -> None:
    path, encoder = vectors_path(tmp_path, form), lsr.load_encoder()
    written = write_vectors(index, path, form)
    opened = open_vectors(path, form, vocabulary=encoder.vocabulary.tokens, scale=written.scale or 1.0)
    again = Index.build(opened, tmp_path / "again.idx", encoder=encoder)
    # Queries of the encoder itself: those of the first index were adapted to its documents.
    queries = encoder.encode_query(["rotate the log", "sorted words", ""])
    for before, after in zip(index.search(queries), again.search(queries), strict=True):
        assert before.rows.tolist() == after.rows.tolist()
        np.testing.assert_allclose(before.scores, after.scores, rtol=1e-6)
    assert again.search("log")[0].id == ("a" if form in WITH_IDS else "0")


@pytest.mark.parametrize("form", ["seismic-jsonl", "anserini"])
def test_titles_and_texts_travel_with_the_vectors(index: Index, tmp_path: Path, form: str) -> None:
    write_vectors(index, tmp_path / "docs.jsonl", form)
    again = Index.build(open_vectors(tmp_path / "docs.jsonl"), tmp_path / "again.idx")
    for row, document in enumerate(TEXTS):
        record = again.record_of(row)
        assert record is not None
        assert (record.title, record.text) == (document.get("title", ""), document["text"])
    bare = Index.build(open_vectors(tmp_path / "docs.jsonl"), tmp_path / "bare.idx", keep_text=False)
    assert bare.record_of(0) is None


def test_words_of_an_index_are_those_of_its_encoder(index: Index, tmp_path: Path) -> None:
    write_vectors(index, tmp_path / "docs.jsonl")
    first = json.loads((tmp_path / "docs.jsonl").read_text().splitlines()[0])
    assert index.tokens is not None
    terms, weights = stored(index).row(0)
    assert first["vector"] == {
        index.tokens[term]: float(str(weight)) for term, weight in zip(terms, weights, strict=True)
    }
    assert {"rotate", "log", "file"} <= first["vector"].keys()


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_a_file_that_is_there_stays_unless_told_to_replace_it(tmp_path: Path) -> None:
    path = tmp_path / "v.ciff"
    path.write_text("mine")
    with pytest.raises(OutputExists, match="overwrite=True"):
        write_vectors(COLLECTIONS["ordinary"], path)
    assert path.read_text() == "mine"
    with pytest.raises(OutputExists, match="a folder"):
        write_vectors(COLLECTIONS["ordinary"], tmp_path, "ciff", overwrite=True)
    write_vectors(COLLECTIONS["ordinary"], path, overwrite=True)
    assert len(read_vectors(path)) == 300


def test_formats_that_are_not_written_or_not_known(tmp_path: Path) -> None:
    for path, form, says in (
        ("v.pt", None, "torch is only read, .* write safetensors"),
        ("v.xyz", None, "its ending is that of no format; name one: scipy, bigann"),
        ("v.bin", "faiss", "format 'faiss' is not known: choose one of scipy, bigann"),
        ("v.ciff.gz", None, r"ciff is read and written as it is; .* leave \.gz out"),
    ):
        with pytest.raises(InvalidInput, match=says):
            write_vectors(COLLECTIONS["ordinary"], tmp_path / path, form)
    assert list(tmp_path.iterdir()) == []
    assert {name for name, entry in FORMATS.items() if not entry.writes} == {"torch"}


def test_a_vocabulary_must_name_each_term_once(tmp_path: Path) -> None:
    vectors = COLLECTIONS["one document"]
    with pytest.raises(InvalidInput, match="the vocabulary has 2 tokens, the vectors 40 dimensions"):
        write_vectors(vectors, tmp_path / "v.jsonl", vocabulary=["a", "b"])
    with pytest.raises(InvalidInput, match="two terms have the token 'a'"):
        write_vectors(vectors, tmp_path / "v.jsonl", vocabulary=["a"] * 40)
    with pytest.raises(InvalidInput, match="cannot be written as UTF-8"):
        write_vectors(vectors, tmp_path / "v.jsonl", vocabulary=["\ud800", *map(str, range(39))])
    assert list(tmp_path.iterdir()) == []
