"""What a cheap codec decides is decided: the answer is that of scoring every document exactly."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.errors import InvalidInput
from lsr.rerank import best_by_bounds, codec_class, document_errors, score_errors
from tests.rerank.naive import collection

NAMES = ["f16", "int8", "int4", "residual2", "pq"]


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(NAMES), st.sampled_from(["f32", "f16", "int8"]), st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_the_answer_is_that_of_scoring_all(cheap_name: str, exact_name: str, seed: int, k: int) -> None:
    vectors, offsets = collection(40, 24, seed, longest=8)
    vectors = np.concatenate([vectors, vectors])  # each document twice: ties
    offsets = np.concatenate([offsets, offsets[1:] + offsets[-1]])
    cheap, exact = (codec_class(name).train(vectors) for name in (cheap_name, exact_name))
    cheap_codes, exact_codes = cheap.encode(vectors), exact.encode(vectors)
    # What is exact may lose something too: a query's last step, at least.
    errors = document_errors(cheap, exact.decode(exact_codes), cheap_codes, offsets)
    query = np.random.default_rng(seed).standard_normal((9, 24)).astype(np.float32)
    rough, fine = cheap.over(cheap_codes, offsets).query(query), exact.over(exact_codes, offsets).query(query)
    rows = np.random.default_rng(seed).permutation(80)[:50]
    scores = fine(rows)
    found = best_by_bounds(rough, fine, rows, errors, k)
    np.testing.assert_array_equal(found.order, np.lexsort((rows, -scores))[:k])
    np.testing.assert_array_equal(found.scores, scores[found.order])
    assert k <= found.scored <= 50


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("whole", [False, True])
def test_scores_are_off_by_no_more_than_the_bound(name: str, whole: bool) -> None:
    """whole: of vectors that int8 keeps as they are, so that only what the query loses is left."""
    vectors, offsets = collection(30, 24, 1, longest=3)
    if whole:
        vectors = np.random.default_rng(1).integers(-127, 128, vectors.shape).astype(np.float32) / np.float32(128)
        vectors[:, 0] = 127 / 128
    codec = codec_class(name).train(vectors)
    codes = codec.encode(vectors)
    errors = document_errors(codec, vectors, codes, offsets)
    exact = codec_class("f32").train(vectors)
    stored = exact.encode(vectors)
    for seed in range(20):
        query = np.random.default_rng(seed).standard_normal((3, 24)).astype(np.float32)
        scorer, rows = codec.over(codes, offsets).query(query), np.arange(30)
        off = np.abs(scorer(rows).astype(float) - exact.score(stored, offsets, rows, query))
        bound = score_errors(scorer, rows, errors)
        assert np.all(off <= bound)
        assert name == "f16" or off.max() > bound.max() / 30  # the bound means something


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_of_a_document_is_its_worst_vector(name: str) -> None:
    vectors, offsets = collection(30, 48, 1)
    codec = codec_class(name).train(vectors)
    codes = codec.encode(vectors)
    errors = document_errors(codec, vectors, codes, offsets)
    lost = np.linalg.norm(vectors.astype(float) - codec.decode(codes), axis=1)
    for i, (first, last) in enumerate(pairwise(offsets.tolist())):
        largest = lost[first:last].max(initial=0)
        assert largest < errors.lost[i] <= largest * (1 + 1e-6) + 1e-40  # rounded up
    assert errors.lost[0] <= 1e-40  # a document without tokens


def test_few_documents_are_scored_exactly_where_scores_lie_apart() -> None:
    vectors, offsets = collection(400, 64, 3)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cheap, exact = (codec_class(name).train(vectors) for name in ("int8", "f32"))
    codes = cheap.encode(vectors)
    errors = document_errors(cheap, vectors, codes, offsets)
    rough, fine = (
        cheap.over(codes, offsets).query(vectors[:8]),
        exact.over(exact.encode(vectors), offsets).query(vectors[:8]),
    )
    assert best_by_bounds(rough, fine, np.arange(400), errors, 10).scored < 60


def test_offsets_of_other_vectors_are_refused() -> None:
    vectors, offsets = collection(5, 8, 0)
    codec = codec_class("int8").train(vectors)
    codes = codec.encode(vectors)
    for wrong in (offsets[:-1], offsets[2:], offsets[::-1], offsets[:0]):
        with pytest.raises(InvalidInput, match="offsets must rise from 0"):
            document_errors(codec, vectors, codes, wrong)
