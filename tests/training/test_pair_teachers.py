"""Teachers that are asked for pairs score as the libraries that their models come from do; files of scores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from lsr.errors import CorpusError, EncoderError, InvalidInput
from lsr.training.cache import Cache
from lsr.training.teachers import CrossEncoderTeacher, MultiVectorTeacher, ScoreFile
from tests.encoders import families
from tests.training import models

QUERIES, DOCUMENTS = models.QUERIES, models.DOCUMENTS


def every_pair() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    rows, columns = np.meshgrid(np.arange(len(QUERIES)), np.arange(len(DOCUMENTS)), indexing="ij")
    return rows.ravel(), columns.ravel()


class TestCrossEncoder:
    def test_scores_are_logits(self, cross_encoder_folder: Path) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        teacher = CrossEncoderTeacher(cross_encoder_folder, device="cpu", batch=4)
        teacher.prepare(QUERIES, DOCUMENTS)
        rows, columns = np.array([3, 0, 0]), np.array([1, 9, 4])
        found = teacher.pairs(rows, columns)
        with families.quiet():
            tokenizer = AutoTokenizer.from_pretrained(str(cross_encoder_folder))
            model = AutoModelForSequenceClassification.from_pretrained(str(cross_encoder_folder)).eval()
        asked = [[QUERIES[i] for i in rows], [DOCUMENTS[i] for i in columns]]
        with torch.no_grad():
            expected = model(**tokenizer(*asked, padding=True, return_tensors="pt")).logits[:, 0]
        assert found.dtype == np.float32
        assert found == pytest.approx(expected.numpy(), abs=1e-5)
        assert len(teacher.pairs(rows[:0], columns[:0])) == 0

    def test_many_pairs_are_kept(
        self, cross_encoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("lsr.training.teachers.cross_encoder.CACHED_FROM", 10)
        teacher = CrossEncoderTeacher(cross_encoder_folder, device="cpu", cache=Cache(tmp_path))
        teacher.prepare(QUERIES, DOCUMENTS)
        rows, columns = every_pair()
        first = teacher.pairs(rows, columns)
        assert not np.array_equal(teacher.pairs(rows, columns[::-1]), first)
        monkeypatch.setattr(teacher, "_scores", lambda *_: pytest.fail("scored again"))
        assert np.array_equal(teacher.pairs(rows, columns), first)

    def test_what_gives_no_score_is_refused(self, splade_folder: Path, tmp_path: Path) -> None:
        with pytest.raises(EncoderError, match="gives 3 numbers a pair"):
            CrossEncoderTeacher(models.cross_encoder(tmp_path / "three", labels=3), device="cpu")
        with pytest.raises(EncoderError, match="no cross-encoder model"):
            CrossEncoderTeacher(splade_folder, device="cpu")
        # It says that it has a classifier, and has none: transformers would make one up.
        shutil.copytree(splade_folder, tmp_path / "liar")
        config = json.loads((splade_folder / "config.json").read_text()) | {
            "architectures": ["BertForSequenceClassification"]
        }
        (tmp_path / "liar" / "config.json").write_text(json.dumps(config))
        with pytest.raises(EncoderError, match=r"its weights lack .*classifier"):
            CrossEncoderTeacher(tmp_path / "liar", device="cpu")


class TestMultiVector:
    def test_scores_are_maxsim_of_the_tokens(self, multi_vector_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from sentence_transformers import MultiVectorEncoder

        monkeypatch.setattr("lsr.training.teachers.multivector.NUMBERS", 5000)  # several parts
        teacher = MultiVectorTeacher(multi_vector_folder, device="cpu", batch=3)
        teacher.prepare(QUERIES, DOCUMENTS)
        with families.quiet():
            model = MultiVectorEncoder(str(multi_vector_folder), device="cpu")
        asked = model.encode_query(QUERIES, convert_to_numpy=True)
        found = model.encode_document(DOCUMENTS, convert_to_numpy=True)
        expected = np.array([[(q @ d.T).max(1).sum() for d in found] for q in asked])
        rows, columns = every_pair()
        assert teacher.pairs(rows, columns) == pytest.approx(expected[rows, columns], rel=1e-4)
        assert len(teacher.pairs(rows[:0], columns[:0])) == 0

    def test_stanfords_layout_by_hand(self, tmp_path: Path) -> None:
        from safetensors.torch import load_file
        from transformers import AutoModel, AutoTokenizer

        folder = models.stanford_colbert(tmp_path / "colbert")
        teacher = MultiVectorTeacher(folder, device="cpu")
        teacher.prepare(QUERIES, DOCUMENTS)
        with families.quiet():
            tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
        projection = load_file(folder / "model.safetensors")["linear.weight"]

        def vectors(text: str, side: str) -> torch.Tensor:
            length, asked = models.STANFORD_LENGTHS[side], f"{models.STANFORD_MARKERS[side]} {text}"
            ids = tokenizer(asked, truncation=True, max_length=length).input_ids
            # A query is filled up with [MASK], which nobody looks at and which is scored.
            more = length - len(ids) if side == "query" else 0
            seen = torch.tensor([[1] * len(ids) + [0] * more])
            with torch.no_grad():
                filled = torch.tensor([ids + [tokenizer.mask_token_id] * more])
                hidden = network(filled, attention_mask=seen).last_hidden_state[0]
            return torch.nn.functional.normalize(hidden @ projection.T, dim=1)

        expected = [
            float((vectors(query, "query") @ vectors(text, "document").T).amax(1).sum())
            for query in QUERIES
            for text in DOCUMENTS
        ]
        assert teacher.pairs(*every_pair()) == pytest.approx(np.array(expected), rel=1e-4)

    def test_vectors_come_from_the_cache(
        self, multi_vector_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = MultiVectorTeacher(multi_vector_folder, device="cpu", cache=Cache(tmp_path))
        first.prepare(QUERIES, DOCUMENTS)
        monkeypatch.setattr(
            "lsr.training.teachers.multivector.open_model", lambda *_, **__: pytest.fail("encoded again")
        )
        again = MultiVectorTeacher(multi_vector_folder, device="cpu", cache=Cache(tmp_path))
        again.prepare(QUERIES, DOCUMENTS)
        assert np.array_equal(again.pairs(*every_pair()), first.pairs(*every_pair()))

    def test_max_length_cuts_documents(self, multi_vector_folder: Path) -> None:
        teacher = MultiVectorTeacher(multi_vector_folder, device="cpu", max_length=8)
        teacher.prepare(
            QUERIES, ["the river the river the river the river", "the river the river the river rain dollars"]
        )
        first, second = teacher.pairs(np.array([0, 0]), np.array([0, 1]))
        assert first == second

    def test_another_kind_is_refused(self, splade_folder: Path, dense_folder: Path) -> None:
        with pytest.raises(EncoderError, match="no multi-vector model"):
            MultiVectorTeacher(splade_folder, device="cpu").prepare(QUERIES, DOCUMENTS)
        with pytest.raises(EncoderError, match="a dense model, and is asked for as a multi-vector one"):
            MultiVectorTeacher(dense_folder, device="cpu").prepare(QUERIES, DOCUMENTS)


class TestScoreFile:
    IDS: tuple[dict[str, int], dict[str, int]] = ({"q1": 0, "q2": 1}, {"d1": 0, "d2": 1, "7": 2})
    FORMS = (
        '{"query_id": "q1", "document_id": "d2", "score": 1.5}\n\n{"query": "q2", "doc_id": 7, "score": -3}\n'
        '{"query": "other", "doc_id": "d1", "score": 0}\n',
        "q1\td2\t1.5\nq2\t7\t-3\nq2\tother\t4\n",
        "q1 Q0 d2 1 1.5 tag\n\nq2 Q0 7 1 -3 tag\nother Q0 d1 1 3 tag\n",
    )

    @pytest.mark.parametrize("content", FORMS)
    def test_forms(self, content: str, tmp_path: Path) -> None:
        path = tmp_path / "scores"
        path.write_text(content)
        teacher = ScoreFile(path, *self.IDS)
        teacher.prepare(["", ""], ["", "", ""])
        rows, columns = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 2, 0, 1, 2])
        found = teacher.pairs(rows, columns)
        assert found.dtype == np.float32
        assert np.array_equal(found, [np.nan, 1.5, np.nan, np.nan, np.nan, -3], equal_nan=True)
        assert np.isnan(teacher.pairs(np.array([0]), np.array([5]))).all()  # past the documents that were named
        assert teacher.skipped == 1

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ('{"query": "q1", "doc_id": "d1", "score": 1}\n{"query": "q1"', ":2: malformed JSON"),
            ('{"query": "q1", "score": 1}\n', ":1: no document_id or doc_id"),
            ('{"query": "q1", "doc_id": "d1", "score": true}\n', ":1: the score 'True' is not a finite number"),
            ("q1\td1\t1\nq1\td1\n", ":2: 2 columns"),
            ("q1\td1\tnan\n", ":1: the score 'nan' is not a finite number"),
            ("q1 Q0 d1 1 1e39 tag\n", ":1: the score '1e39' is not a finite number of 32 bits"),
            ("q1\td1\t1\nq1\td2\t1\nq1\td1\t2\n", ":3: another score for the pair of line 1"),
        ],
    )
    def test_damage_is_named_by_line(self, content: str, message: str, tmp_path: Path) -> None:
        path = tmp_path / "scores"
        path.write_text(content)
        with pytest.raises(CorpusError, match=message):
            ScoreFile(path, *self.IDS)

    def test_a_file_about_other_texts(self, tmp_path: Path) -> None:
        (tmp_path / "scores").write_text("a\tb\t1\n")
        with pytest.raises(InvalidInput, match="none of its pairs is of the training set"):
            ScoreFile(tmp_path / "scores", *self.IDS)
        with pytest.raises(CorpusError, match="cannot be opened"):
            ScoreFile(tmp_path / "nothing", *self.IDS)
