"""A second stage over an index: functions, cross-encoders, fusion, and the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lsr
from lsr.errors import EncoderError, InvalidInput
from lsr.rerank import CrossEncoderReranker, FunctionReranker, fused
from tests.cli import commands
from tests.training import models

TEXTS = {
    "a": "rotate the log file every night",
    "b": "a log of wood in the river, and a file of soldiers",
    "c": "the file system keeps a log",
    "d": "night falls over the river",
}
QUERY = "rotate a log file"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> lsr.Index:
    folder = tmp_path_factory.mktemp("stage")
    lines = [json.dumps({"_id": name, "title": name.upper(), "text": text}) for name, text in TEXTS.items()]
    (folder / "docs.jsonl").write_text("\n".join(lines))
    return lsr.Index.build(folder / "docs.jsonl", folder / "my.idx")


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.cross_encoder(tmp_path_factory.mktemp("cross") / "model")


def shortest_first(query: str, texts: Sequence[str]) -> list[float]:
    return [-float(len(text)) for text in texts]


# -- functions ---------------------------------------------------------------------------------------------------------


def test_candidates_get_the_order_and_the_scores_of_the_function(index: lsr.Index) -> None:
    first = index.search(QUERY, k=50)
    hits = index.search(QUERY, k=2, rerank=FunctionReranker(shortest_first))
    expected = sorted(first.ids, key=lambda name: len(f"{name.upper()} {TEXTS[name]}"))[:2]
    assert hits.ids == expected
    assert [hit.score for hit in hits] == [-len(f"{name.upper()} {TEXTS[name]}") for name in expected]
    assert [hit.rank for hit in hits] == [1, 2]
    assert hits[0].explain().terms == next(hit for hit in first if hit.id == expected[0]).explain().terms


def test_it_sees_as_many_candidates_as_it_asks_for_or_k(index: lsr.Index) -> None:
    seen = []

    def noting(query: str, texts: Sequence[str]) -> list[float]:
        seen.append((query, len(texts)))
        return [0.0] * len(texts)

    first = index.search(QUERY, k=50)
    assert len(first) >= 3
    for k, candidates in ((1, 2), (2, 1), (1, 50)):
        hits = index.search(QUERY, k=k, rerank=FunctionReranker(noting, candidates=candidates))
        assert hits.ids == first.ids[:k]  # equal scores keep their order
    assert seen == [(QUERY, 2), (QUERY, 2), (QUERY, len(first))]


def test_several_queries_keep_their_order_and_one_without_hits_stays_so(index: lsr.Index) -> None:
    queries = ["river", "zzzz", QUERY]
    found = index.search(queries, k=3, rerank=FunctionReranker(shortest_first))
    assert [hits.query for hits in found] == queries
    for query, hits in zip(queries, found, strict=True):
        assert hits.ids == index.search(query, k=3, rerank=FunctionReranker(shortest_first)).ids
    assert set(found[0].ids) == set(index.search("river", k=50).ids)


def test_it_reads_what_the_encoder_read(tmp_path: Path) -> None:
    documents = [{"_id": "a", "title": "river", "text": ""}, {"_id": "b", "title": "The", "text": "river"}]
    seen: list[str] = []

    def noting(query: str, texts: Sequence[str]) -> list[float]:
        seen.extend(texts)
        return [0.0] * len(texts)

    lsr.Index.build(documents, tmp_path / "my.idx").search("river", rerank=FunctionReranker(noting))
    assert sorted(seen) == ["The river", "river"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda query, texts: [1.0], r"gave scores of shape \(1,\) for \d texts"),
        (lambda query, texts: [float("nan")] * len(texts), "gave a score that is no number"),
        (lambda query, texts: [float("inf")] * len(texts), "gave a score that is no number"),
    ],
)
def test_scores_that_are_none_are_refused(index: lsr.Index, function: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        index.search(QUERY, rerank=FunctionReranker(function))  # type: ignore[arg-type]


def test_vectors_and_indexes_without_texts_are_refused(index: lsr.Index, tmp_path: Path) -> None:
    vectors = index.query_encoder.encode_batch([QUERY])  # type: ignore[union-attr]
    with pytest.raises(InvalidInput, match="ask with a text, not with a vector"):
        index.search(vectors, rerank=FunctionReranker(shortest_first))
    bare = lsr.Index.build([{"_id": "a", "text": TEXTS["a"]}], tmp_path / "bare.idx", keep_text=False)
    with pytest.raises(InvalidInput, match="keeps no texts, which reranking needs"):
        bare.search(QUERY, rerank=FunctionReranker(shortest_first))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"candidates": 0}, "candidates is 0"),
        ({"fusion": "sum"}, "there is no fusion 'sum': there are replace, interpolate, rrf"),
        ({"weight": 1.5}, "weight is 1.5"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        FunctionReranker(shortest_first, **settings)  # type: ignore[arg-type]


# -- fusion ------------------------------------------------------------------------------------------------------------

scores = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=12)


@given(scores, st.floats(0, 1))
def test_fused_scores_follow_their_definitions(first: list[float], weight: float) -> None:
    second = first[::-1]
    assert fused("replace", first, second).tolist() == second
    both = fused("interpolate", first, second, weight)
    assert both.min() >= 0
    assert both.max() <= 1
    if max(first) > min(first):
        np.testing.assert_allclose(
            both,
            (1 - weight) * (np.array(second) - min(second)) / (max(second) - min(second))
            + weight * (np.array(first) - min(first)) / (max(first) - min(first)),
            atol=1e-12,
        )
    if len(set(first)) == len(first):
        place = {score: rank for rank, score in enumerate(sorted(first, reverse=True), 1)}
        expected = [1 / (60 + place[a]) + 1 / (60 + place[b]) for a, b in zip(first, second, strict=True)]
        np.testing.assert_allclose(fused("rrf", first, second), expected)


def test_the_weight_decides_between_the_stages(index: lsr.Index) -> None:
    first = index.search(QUERY, k=4).ids
    other = index.search(QUERY, k=4, rerank=FunctionReranker(shortest_first)).ids
    assert first != other
    for weight, expected in ((1.0, first), (0.0, other)):
        stage = FunctionReranker(shortest_first, fusion="interpolate", weight=weight)
        assert index.search(QUERY, k=4, rerank=stage).ids == expected


# -- cross-encoders ----------------------------------------------------------------------------------------------------


def test_a_cross_encoder_scores_as_its_library_does(index: lsr.Index, cross_encoder: Path) -> None:
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    hits = index.search(QUERY, k=4, rerank=CrossEncoderReranker(cross_encoder, device="cpu", batch=2))
    pairs = [(QUERY, f"{name.upper()} {TEXTS[name]}") for name in hits.ids]
    expected = CrossEncoder(str(cross_encoder), device="cpu").predict(pairs, activation_fn=Identity())
    np.testing.assert_allclose(hits.scores, expected, atol=1e-5)
    assert hits.scores.tolist() == sorted(hits.scores.tolist(), reverse=True)


def test_models_of_other_kinds_are_refused(tmp_path: Path) -> None:
    several = models.cross_encoder(tmp_path / "several", labels=3)
    with pytest.raises(EncoderError, match="gives 3 numbers a pair; it must give one"):
        CrossEncoderReranker(several, device="cpu")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EncoderError, match="no cross-encoder model"):
        CrossEncoderReranker(tmp_path / "empty", device="cpu")


# -- the command line --------------------------------------------------------------------------------------------------


def test_search_takes_a_second_stage(index: lsr.Index, cross_encoder: Path) -> None:
    hits = index.search(QUERY, k=2, rerank=CrossEncoderReranker(cross_encoder, device="cpu"))
    done = commands.lsr("search", index.path, QUERY, "-k", 2, "--rerank", cross_encoder, "--json")
    found = json.loads(done.stdout)["hits"]
    assert [hit["id"] for hit in found] == hits.ids
    assert [hit["score"] for hit in found] == pytest.approx(hits.scores.tolist(), abs=1e-5)
    none = json.loads(commands.lsr("search", index.path, QUERY, "-k", 2, "--rerank", "none", "--json").stdout)["hits"]
    assert [hit["id"] for hit in none] == index.search(QUERY, k=2).ids


def test_a_second_stage_that_is_not_there_is_one_line(index: lsr.Index) -> None:
    done = commands.lsr("search", index.path, QUERY, "--rerank", "nowhere")
    assert "no model 'nowhere': give the path of a folder, or a hub id (owner/name)" in commands.one_line(done)
