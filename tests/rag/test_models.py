"""Stages and measures over models of sentence-transformers: their figures are those of the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsr.errors import EncoderError, LsrError
from lsr.rag.judging.similarity import DenseSimilarity, answer_similarity
from lsr.rag.pipeline import Pipeline
from lsr.rag.resources import Resources
from lsr.rag.runner import Runner
from tests.rag.corpus import DOCUMENTS, QUESTIONS
from tests.training import models

QUESTION = "What does the waggle dance tell?"


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("dense")
    return str(models.dense(folder / "model", work=folder, prompts={"query": "query: ", "document": "passage: "}))


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(models.cross_encoder(tmp_path_factory.mktemp("cross") / "model"))


def library(dense: str) -> Any:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    return sentence_transformers.SentenceTransformer(dense, device="cpu")


def test_dense_retrieval_has_the_cosines_of_the_library(resources: Resources, dense: str) -> None:
    pipeline = Pipeline.from_mapping({"retrieve": {"kind": "dense", "model": dense}})
    (outcome,) = Runner(DOCUMENTS, resources).run(pipeline, [QUESTION])
    model = library(dense)
    query = model.encode_query([QUESTION], normalize_embeddings=True)
    texts = [f"{document.title} {document.text}" for document in DOCUMENTS.values()]
    scores = (query @ model.encode_document(texts, normalize_embeddings=True).T)[0]
    order = np.argsort(-scores)
    assert [piece.passages[0] for piece in outcome.found] == [list(DOCUMENTS)[at] for at in order]
    assert [piece.score for piece in outcome.found] == pytest.approx(scores[order].tolist(), abs=1e-5)


def test_three_searches_can_be_fused(resources: Resources, dense: str) -> None:
    fusion = {"kind": "fusion", "of": ["sparse", "bm25", "dense"], "model": dense, "weights": [1, 1, 0.1]}
    outcomes = Runner(DOCUMENTS, resources).run(Pipeline.from_mapping({"retrieve": fusion}), list(QUESTIONS))
    assert [outcome.found[0].spans[0].document for outcome in outcomes] == list(QUESTIONS.values())


def test_a_cross_encoder_orders_by_its_scores(resources: Resources, cross_encoder: str) -> None:
    rerank = {"kind": "cross-encoder", "model": cross_encoder}
    (outcome,) = Runner(DOCUMENTS, resources).run(
        Pipeline.from_mapping({"retrieve": "sparse", "rerank": rerank}), [QUESTION]
    )
    sentence_transformers = pytest.importorskip("sentence_transformers")
    model = sentence_transformers.CrossEncoder(cross_encoder, device="cpu")
    import torch

    pairs = [(QUESTION, piece.content) for piece in outcome.found]
    scores = model.predict(pairs, activation_fn=torch.nn.Identity())
    assert [piece.score for piece in outcome.found] == pytest.approx(scores.tolist(), abs=1e-4)
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)


def test_a_mixture_counts_both(resources: Resources, cross_encoder: str, tmp_path: Path) -> None:
    maxsim = str(models.multi_vector(tmp_path / "model", work=tmp_path / "backbone"))

    def scores(share: float) -> dict[str, float]:
        rerank = {"kind": "mixture", "maxsim": maxsim, "cross_encoder": cross_encoder, "share": share}
        (outcome,) = Runner(DOCUMENTS, resources).run(
            Pipeline.from_mapping({"retrieve": "sparse", "rerank": rerank}), [QUESTION]
        )
        return {piece.passages[0]: piece.score for piece in outcome.found}

    one, half, other = scores(1.0), scores(0.5), scores(0.0)
    for passage, score in half.items():
        assert score == pytest.approx((one[passage] + other[passage]) / 2)


def test_dense_similarity_is_the_librarys_and_says_whose_it_is(dense: str) -> None:
    similarity = DenseSimilarity(dense)
    said, right = ["in the year 79", "bees"], [("79", "the year 79"), ("honey bees",)]
    values = answer_similarity(said, right, similarity)
    model = library(dense)

    def cosine(a: str, b: str) -> float:
        one, other = model.encode([a, b], normalize_embeddings=True)
        return max(0.0, float(one @ other))

    best = max(cosine(said[0], right[0][0]), cosine(said[0], right[0][1]))
    assert values == pytest.approx([best, cosine(said[1], right[1][0])], abs=1e-5)
    assert "model" in similarity.name


def test_another_model_in_the_same_folder_is_another_result(
    resources: Resources, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("dense")
    path = models.dense(folder / "model", work=folder)
    stage = Pipeline.from_mapping({"retrieve": {"kind": "dense", "model": str(path)}}).get("retrieve")
    assert stage is not None
    with Resources() as one:
        before = stage.identity(one)
    config = path / "README.md"
    config.write_text("other words about it")
    with Resources() as other:
        assert stage.identity(other) == before, "what is written about a model changes nothing"
    weights = next(path.rglob("model.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with Resources() as third:
        assert stage.identity(third) != before


def test_a_model_of_another_kind_is_refused(resources: Resources, cross_encoder: str) -> None:
    with pytest.raises(EncoderError):
        Runner(DOCUMENTS, resources).run(
            Pipeline.from_mapping({"retrieve": {"kind": "dense", "model": cross_encoder}}), [QUESTION]
        )
    with pytest.raises(LsrError, match="nowhere/at-all"):
        Runner(DOCUMENTS, resources).run(
            Pipeline.from_mapping({"retrieve": "bm25", "rerank": {"kind": "maxsim", "model": "nowhere/at-all"}}),
            [QUESTION],
        )
