"""Dense, sparse and BM25 teachers score as the libraries that their models come from do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from lsr.encoders import load_encoder
from lsr.encoders.libraries import fingerprint
from lsr.errors import EncoderError, EncoderNotFound, InvalidInput
from lsr.sparse import SparseVectors
from lsr.training.cache import Cache
from lsr.training.teachers import (
    BM25Teacher,
    CrossEncoderTeacher,
    DenseTeacher,
    MatrixTeacher,
    MultiVectorTeacher,
    SparseScores,
    SparseTeacher,
)
from tests.conftest import random_vectors
from tests.encoders import families
from tests.training import models

QUERIES, DOCUMENTS = models.QUERIES, models.DOCUMENTS
SOME_QUERIES = torch.tensor([2, 0])
SOME_DOCUMENTS = torch.tensor([5, 1, 1, 10, 0])


def whole(teacher: MatrixTeacher) -> npt.NDArray[np.float32]:
    return teacher.matrix(torch.arange(len(QUERIES)), torch.arange(len(DOCUMENTS))).numpy()


class TestDense:
    def test_scores_are_those_of_sentence_transformers_with_its_prompts(self, dense_folder: Path) -> None:
        from sentence_transformers import SentenceTransformer

        teacher = DenseTeacher(dense_folder, device="cpu", batch=3)
        teacher.prepare(QUERIES, DOCUMENTS)
        with families.quiet():
            model = SentenceTransformer(str(dense_folder), device="cpu")
        expected = model.encode_query(QUERIES) @ model.encode_document(DOCUMENTS).T
        without_prompts = model.encode(QUERIES) @ model.encode(DOCUMENTS).T
        assert whole(teacher) == pytest.approx(expected, abs=1e-5)
        assert whole(teacher) != pytest.approx(without_prompts, abs=1e-3)
        assert teacher.cosine

    def test_rows_are_picked_in_the_order_asked_for(self, dense_folder: Path) -> None:
        teacher = DenseTeacher(dense_folder, device="cpu")
        teacher.prepare(QUERIES, DOCUMENTS)
        found = teacher.matrix(SOME_QUERIES, SOME_DOCUMENTS)
        assert found.dtype == torch.float32
        assert found.numpy() == pytest.approx(whole(teacher)[SOME_QUERIES][:, SOME_DOCUMENTS], abs=1e-6)

    def test_dot_products_of_a_model_that_says_dot(self, dot_folder: Path) -> None:
        from sentence_transformers import SentenceTransformer

        teacher = DenseTeacher(dot_folder, device="cpu")
        cosines = DenseTeacher(dot_folder, device="cpu", similarity="cosine")
        for each in (teacher, cosines):
            each.prepare(QUERIES, DOCUMENTS)
        with families.quiet():
            model = SentenceTransformer(str(dot_folder), device="cpu")
        expected = model.encode(QUERIES) @ model.encode(DOCUMENTS).T
        assert whole(teacher) == pytest.approx(expected, rel=1e-4, abs=1e-4)
        assert not teacher.cosine
        assert cosines.cosine
        assert abs(whole(cosines)).max() < 1.0001

    def test_half_precision_is_near(self, dense_folder: Path) -> None:
        exact, half = (DenseTeacher(dense_folder, device="cpu", precision=p) for p in (None, "bf16"))
        for teacher in (exact, half):
            teacher.prepare(QUERIES, DOCUMENTS)
        assert whole(half) == pytest.approx(whole(exact), abs=0.05)
        assert (whole(half) != whole(exact)).any()

    def test_max_length_cuts_texts(self, dense_folder: Path) -> None:
        teacher = DenseTeacher(dense_folder, device="cpu", max_length=8)
        teacher.prepare(
            QUERIES, ["the river the river the river the river", "the river the river the river rain dollars"]
        )
        scores = teacher.matrix(torch.arange(2), torch.arange(2))
        assert torch.equal(scores[:, 0], scores[:, 1])
        with pytest.raises(InvalidInput, match="reads 40 tokens at most"):
            DenseTeacher(dense_folder, device="cpu", max_length=41).prepare(QUERIES, DOCUMENTS)

    def test_embeddings_come_from_the_cache_where_nothing_changed(
        self, dense_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache = Cache(tmp_path / "cache")
        first = DenseTeacher(dense_folder, device="cpu", cache=cache)
        first.prepare(QUERIES, DOCUMENTS)
        with monkeypatch.context() as patched:
            patched.setattr("lsr.training.teachers.dense.open_model", lambda *_, **__: pytest.fail("encoded again"))
            again = DenseTeacher(dense_folder, device="cpu", cache=cache)
            again.prepare(QUERIES, DOCUMENTS)
        assert np.array_equal(whole(again), whole(first))
        assert again.key == first.key
        shorter = DenseTeacher(dense_folder, device="cpu", max_length=8, cache=cache)
        shorter.prepare(QUERIES, DOCUMENTS)
        assert shorter.key != first.key
        assert (whole(shorter) != whole(first)).any()

    def test_a_fingerprint_follows_weights_and_settings(self, dense_folder: Path, tmp_path: Path) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(dense_folder, copy)
        assert fingerprint(copy) == fingerprint(dense_folder)
        (copy / "README.md").write_text("another one")
        assert fingerprint(copy) == fingerprint(dense_folder)
        weights = bytearray((copy / "model.safetensors").read_bytes())
        weights[-1] ^= 1
        (copy / "model.safetensors").write_bytes(weights)
        assert fingerprint(copy) != fingerprint(dense_folder)

    def test_what_is_no_dense_model_is_refused(self, splade_folder: Path, multi_vector_folder: Path) -> None:
        with pytest.raises(EncoderError, match=r"has no modules\.json"):
            DenseTeacher(splade_folder, device="cpu").prepare(QUERIES, DOCUMENTS)
        with pytest.raises(EncoderError, match="a multi-vector model, and is asked for as a dense one"):
            DenseTeacher(multi_vector_folder, device="cpu").prepare(QUERIES, DOCUMENTS)
        with pytest.raises(EncoderNotFound, match="give the path of a folder, or a hub id"):
            DenseTeacher("nowhere", device="cpu")

    def test_a_similarity_that_is_none_is_refused(self, dense_folder: Path) -> None:
        with pytest.raises(InvalidInput, match="similarity is 'near'"):
            DenseTeacher(dense_folder, device="cpu", similarity="near")

    def test_nothing_is_scored_before_it_is_prepared(self, dense_folder: Path) -> None:
        teacher = DenseTeacher(dense_folder, device="cpu")
        with pytest.raises(InvalidInput, match="prepare comes first"):
            teacher.matrix(SOME_QUERIES, SOME_DOCUMENTS)
        with pytest.raises(InvalidInput, match="a list of document texts, of one at least"):
            teacher.prepare(QUERIES, [])


class TestSparse:
    @pytest.mark.parametrize("kind", ["splade_folder", "inference_free_folder"])
    def test_scores_are_products_of_the_encoders_vectors(self, kind: str, request: pytest.FixtureRequest) -> None:
        folder = request.getfixturevalue(kind)
        teacher = SparseTeacher(folder, device="cpu")
        teacher.prepare(QUERIES, DOCUMENTS)
        encoder = load_encoder(folder)
        left, right = encoder.encode_query(QUERIES).to_scipy(), encoder.encode_documents(DOCUMENTS).to_scipy()
        expected = (left @ right.T).toarray()
        assert whole(teacher) == pytest.approx(expected, rel=1e-4, abs=1e-5)
        found = teacher.matrix(SOME_QUERIES, SOME_DOCUMENTS).numpy()
        assert found == pytest.approx(expected[SOME_QUERIES][:, SOME_DOCUMENTS], rel=1e-4, abs=1e-5)

    def test_only_the_heaviest_terms_are_kept(self, splade_folder: Path) -> None:
        teacher = SparseTeacher(splade_folder, device="cpu", max_terms=5)
        teacher.prepare(QUERIES, DOCUMENTS)
        queries, documents = teacher.vectors
        assert np.diff(queries.indptr).max() == np.diff(documents.indptr).max() == 5
        terms, weights = load_encoder(splade_folder).encode_documents(DOCUMENTS[:1]).row(0)
        assert sorted(documents.row(0)[0].tolist()) == sorted(terms[np.argsort(-weights)[:5]].tolist())
        assert whole(teacher) == pytest.approx((queries.to_scipy() @ documents.to_scipy().T).toarray(), rel=1e-4)

    def test_vectors_come_from_the_cache(
        self, splade_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache = Cache(tmp_path)
        first = SparseTeacher(splade_folder, device="cpu", cache=cache)
        first.prepare(QUERIES, DOCUMENTS)
        again = SparseTeacher(splade_folder, device="cpu", cache=cache)
        monkeypatch.setattr("lsr.encoders.Encoder.encode_parts", lambda *_: pytest.fail("encoded again"))
        again.prepare(QUERIES, DOCUMENTS)
        assert again.vectors == first.vectors

    @pytest.mark.parametrize("columns", [1 << 20, 0])
    @pytest.mark.parametrize("numbers", [1 << 27, 2000])
    def test_the_product_is_exact_however_it_is_cut(
        self, columns: int, numbers: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("lsr.training.teachers.sparse.COLUMNS", columns)
        monkeypatch.setattr("lsr.training.teachers.sparse.NUMBERS", numbers)
        queries, documents = random_vectors(30, 500, 8), random_vectors(200, 500, 40, seed=1)
        teacher = Given(queries, documents)
        expected = (queries.to_scipy() @ documents.to_scipy().T).toarray()
        found = teacher.matrix(torch.arange(30), torch.arange(200))
        assert found.numpy() == pytest.approx(expected, rel=1e-5, abs=1e-5)
        assert teacher.matrix(torch.arange(3), torch.arange(0)).shape == (3, 0)

    def test_texts_without_terms_score_nothing(self) -> None:
        nothing = SparseVectors(indptr=[0, 0, 0], indices=[], values=[], dim=50)
        teacher = Given(nothing, random_vectors(4, 50, 5))
        assert not teacher.matrix(torch.arange(2), torch.arange(4)).any()
        teacher = Given(random_vectors(4, 50, 5), nothing)
        assert not teacher.matrix(torch.arange(4), torch.arange(2)).any()

    def test_own_candidates(self) -> None:
        queries, documents = random_vectors(150, 60, 8), random_vectors(90, 60, 9, seed=1)
        columns = np.random.default_rng(0).integers(90, size=(150, 7))
        expected = np.take_along_axis((queries.to_scipy() @ documents.to_scipy().T).toarray(), columns, 1)
        found = Given(queries, documents).own(torch.arange(150), torch.from_numpy(columns))
        assert found.numpy() == pytest.approx(expected, rel=1e-5, abs=1e-6)


class Given(SparseScores):
    """A sparse teacher of given vectors."""

    name = "given"

    def __init__(self, queries: SparseVectors, documents: SparseVectors) -> None:
        super().__init__("cpu")
        self.keep(queries, documents)


class TestBM25:
    # Words that come twice in a query, in no document, stop words, a document of nothing but those.
    QUERIES = ("a river and the rivers", "jumping dogs jumped", "zebra quantum", "the")

    def test_stems_score_as_bm25s_does(self) -> None:
        import bm25s
        import Stemmer

        for k1, b in ((0.9, 0.4), (1.5, 0.75), (0, 0)):
            teacher = BM25Teacher(device="cpu", k1=k1, b=b)
            teacher.prepare(self.QUERIES, DOCUMENTS)
            tokenizer = bm25s.tokenization.Tokenizer(stemmer=Stemmer.Stemmer("english"), stopwords="en")
            tokens = tokenizer.tokenize(DOCUMENTS, update_vocab=True, show_progress=False, allow_empty=False)
            engine = bm25s.BM25(method="lucene", k1=k1, b=b)
            engine.index((tokens, tokenizer.get_vocab_dict()), show_progress=False)
            asked = tokenizer.tokenize(list(self.QUERIES), update_vocab=False, show_progress=False, allow_empty=False)
            expected = np.zeros((4, len(DOCUMENTS)))
            for row, ids in enumerate(asked):
                for token in ids:  # one by one: a word that comes twice counts twice
                    expected[row] += engine.get_scores_from_ids([token])
            assert whole(teacher) == pytest.approx(expected, rel=1e-5, abs=1e-6)
            assert expected.any()

    def test_wordpieces_score_by_the_formula(self, splade_folder: Path) -> None:
        from tokenizers import Tokenizer

        text = (splade_folder / "tokenizer.json").read_text()
        teacher = BM25Teacher(device="cpu", tokens="wordpieces", tokenizer_json=text)
        teacher.prepare(QUERIES, DOCUMENTS)
        tokenizer, special = Tokenizer.from_str(text), set(families.special(splade_folder))
        rows = [[i for i in tokenizer.encode(t, add_special_tokens=False).ids if i not in special] for t in DOCUMENTS]
        mean = np.mean([len(row) for row in rows])
        expected = np.zeros((len(QUERIES), len(DOCUMENTS)))
        for i, query in enumerate(QUERIES):
            for token in tokenizer.encode(query, add_special_tokens=False).ids:
                df = sum(token in row for row in rows)
                idf = np.log(1 + (len(rows) - df + 0.5) / (df + 0.5))
                for j, row in enumerate(rows):
                    tf = row.count(token) * (token not in special)
                    expected[i, j] += idf * tf / (tf + 0.9 * (0.6 + 0.4 * len(row) / mean))
        assert whole(teacher) == pytest.approx(expected, rel=1e-5, abs=1e-6)

    def test_terms_that_are_left_out_are_those_that_add_least(self) -> None:
        documents = ["river river river fox dog quantum", "river fox", "river dog", "river"]
        teacher = BM25Teacher(device="cpu", max_terms=1)
        teacher.prepare(["river", "quantum"], documents)
        scores = teacher.matrix(torch.arange(2), torch.arange(4))
        assert scores[0, 0] == 0  # often, but in all documents
        assert scores[1, 0] > 0

    def test_the_cache_knows_queries_and_documents(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def prepared(documents: list[str]) -> BM25Teacher:
            teacher = BM25Teacher(device="cpu", cache=Cache(tmp_path))
            teacher.prepare(self.QUERIES, documents)
            return teacher

        first, fewer = prepared(DOCUMENTS), prepared(DOCUMENTS[:5])
        monkeypatch.setattr("lsr.training.teachers.bm25._counted", lambda _: pytest.fail("counted again"))
        assert prepared(DOCUMENTS).vectors == first.vectors
        assert prepared(DOCUMENTS[:5]).vectors == fewer.vectors
        assert first.vectors[0] != fewer.vectors[0]  # the idf of other documents

    def test_arguments_out_of_range(self) -> None:
        for wrong in ({"k1": -1}, {"b": 2}, {"tokens": "letters"}, {"tokens": "wordpieces"}, {"max_terms": 0}):
            with pytest.raises(InvalidInput):
                BM25Teacher(device="cpu", **wrong)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_an_exported_encoder_teaches_from_the_cpu_for_a_gpu() -> None:
    teacher = SparseTeacher("lsr-tiny", device="cuda")
    teacher.prepare(["a query"], ["a document about a query"])
    assert float(teacher.matrix(torch.tensor([0]), torch.tensor([0]))[0, 0]) > 0


@pytest.mark.parametrize("teacher", [DenseTeacher, CrossEncoderTeacher, MultiVectorTeacher])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 0}, "batch is 0: it must be 1 or more"),
        ({"max_length": 0}, "max_length is 0: it must be 1 or more"),
        ({"precision": "fp8"}, "precision is 'fp8': it must be one of fp32, bf16, fp16, or None"),
        ({"device": "tpu9"}, "device is 'tpu9': torch finds no such device"),
    ],
    ids=str,
)
def test_arguments_that_all_models_have_are_checked(
    teacher: Any, arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Before the model is looked for."""
    with pytest.raises(InvalidInput, match=message):
        teacher(tmp_path / "none", **{"device": "cpu", **arguments})
    with pytest.raises(EncoderNotFound, match="no model"):
        teacher(tmp_path / "none", device="cpu")
