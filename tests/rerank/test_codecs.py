"""Codecs: what they keep, what they cost, and that stored codes score as what they decode to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.errors import InvalidInput
from lsr.rerank.codecs import CODECS, Codec, codec_class, scoring
from tests.rerank.naive import as_bytes, collection, maxsim

NAMES = list(CODECS)
INTEGERS = [name for name in NAMES if not name.startswith("f")]


def trained(name: str, dim: int, seed: int = 0) -> Codec:
    return codec_class(name).train(collection(40, dim, 1000)[0], seed=seed)


@pytest.fixture(params=["as chosen", "bytes", "pairs"])
def packed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both forms of a query, whichever this processor is given: bytes are slow where there is no VNNI, and as right."""
    if request.param != "as chosen":
        kind = np.int8 if request.param == "bytes" else np.int16
        monkeypatch.setattr(scoring, "_packed_type", lambda integers: kind if integers else np.float32)


@pytest.mark.usefixtures("packed")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dim", [1, 7, 48, 97, 128])
def test_scores_are_those_of_the_decoded_vectors(name: str, dim: int) -> None:
    vectors, offsets = collection(40, dim, dim)
    codec = trained(name, dim)
    codes = codec.encode(vectors)
    codes.flags.writeable = False  # as a memory map is
    rows = np.random.default_rng(0).permutation(40)
    for tokens in (1, 5, 16, 17, 33, 40):  # of the query: below and above what registers hold
        query = np.random.default_rng(tokens).standard_normal((tokens, dim)).astype(np.float32)
        given = as_bytes(query) if name in INTEGERS else query
        expected = maxsim(given, codec.decode(codes), offsets)[rows]
        np.testing.assert_allclose(codec.score(codes, offsets, rows, query), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", INTEGERS)
def test_scores_of_integer_codecs_are_the_same_in_both_forms(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, offsets = collection(40, 96, 3)
    codec = trained(name, 96)
    codes, query = codec.encode(vectors), np.random.default_rng(5).standard_normal((32, 96)).astype(np.float32)
    found = []
    for kind in (np.int8, np.int16):
        monkeypatch.setattr(scoring, "_packed_type", lambda integers, kind=kind: kind)
        found.append(codec.score(codes, offsets, np.arange(40), query))
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize(
    ("name", "size", "error"),
    [
        ("f32", 512, 0.0),
        ("f16", 256, 4e-4),
        ("int8", 130, 0.012),
        ("int4", 66, 0.11),
        ("residual2", 36, 0.2),
        ("pq", 34, 0.35),
    ],
)
def test_what_a_codec_costs_and_loses(name: str, size: int, error: float) -> None:
    """Bytes of a token, and the length of what is lost over that of the vector, of clustered vectors."""
    vectors, _ = collection(400, 128, 1)
    codec = codec_class(name).train(vectors)
    assert codec.bytes_per_token == size
    lost = np.linalg.norm(codec.decode(codec.encode(vectors)) - vectors, axis=1) / np.linalg.norm(vectors, axis=1)
    assert lost.mean() <= error
    assert name == "f32" or lost.mean() > error / 4  # the bound means something


@pytest.mark.parametrize("name", ["residual2", "pq"])
def test_decoded_vectors_are_as_long_as_they_were(name: str) -> None:
    vectors, _ = collection(60, 48, 2)
    codec = trained(name, 48)
    lengths = np.linalg.norm(codec.decode(codec.encode(vectors)), axis=1)
    np.testing.assert_allclose(lengths, np.linalg.norm(vectors, axis=1), rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dim", [1, 100])
def test_parameters_make_the_codec_again(name: str, dim: int) -> None:
    codec = trained(name, dim)
    vectors, offsets = collection(20, dim, 9)
    again = codec_class(name).from_parameters(dim, codec.parameters())
    codes = codec.encode(vectors)
    np.testing.assert_array_equal(again.encode(vectors), codes)
    query = vectors[:5]
    rows = np.arange(20)
    np.testing.assert_array_equal(again.score(codes, offsets, rows, query), codec.score(codes, offsets, rows, query))


@pytest.mark.parametrize("name", NAMES)
def test_training_depends_on_the_seed_alone(name: str) -> None:
    first, second = trained(name, 48, seed=7).parameters(), trained(name, 48, seed=7).parameters()
    assert first.keys() == second.keys()
    for key, array in first.items():
        np.testing.assert_array_equal(array, second[key])
    if first:
        other = trained(name, 48, seed=8).parameters()
        assert any(not np.array_equal(array, other[key]) for key, array in first.items())


def test_clusters_within_wordpieces_lose_less_where_these_differ() -> None:
    generator = np.random.default_rng(0)
    tokens = generator.choice(40, 8000, p=np.arange(40, 0, -1) / 820).astype(np.uint32)
    centres = generator.standard_normal((40, 3, 32))
    vectors = centres[tokens, generator.integers(0, 3, 8000)] + 0.4 * generator.standard_normal((8000, 32))
    codec = codec_class("residual2").train(vectors, tokens, size=120)
    assert codec.parameters()["centroids"].shape == (120, 32)
    lost = np.linalg.norm(codec.decode(codec.encode(vectors)) - vectors, axis=1) / np.linalg.norm(vectors, axis=1)
    assert lost.mean() < 0.17


@pytest.mark.parametrize("name", NAMES)
def test_vectors_of_zeros_and_of_few_samples_are_no_trouble(name: str) -> None:
    vectors = np.zeros((3, 8), np.float32)
    vectors[1, 2] = 1.0
    codec = codec_class(name).train(vectors)
    codes = codec.encode(vectors)
    assert not codec.decode(codes)[0].any()
    np.testing.assert_allclose(codec.decode(codes), vectors, atol=2e-3)
    offsets = np.array([0, 1, 2, 2, 3])
    scores = codec.score(codes, offsets, [0, 1, 2, 3], -vectors[1:2])
    np.testing.assert_allclose(scores, [0, -1, 0, 0], atol=2e-3)
    assert codec.encode(np.zeros((0, 8))).shape == (0, codec.bytes_per_token)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(NAMES), st.integers(0, 2**32 - 1), st.integers(1, 80), st.integers(0, 40))
def test_any_shape_scores_right(name: str, seed: int, dim: int, tokens: int) -> None:
    vectors, offsets = collection(12, dim, seed, longest=9)
    codec = codec_class(name).train(vectors if len(vectors) else np.ones((1, dim)))
    codes = codec.encode(vectors)
    query = np.random.default_rng(seed).standard_normal((tokens, dim)).astype(np.float32)
    rows = np.random.default_rng(seed).integers(0, 12, 7)
    given = as_bytes(query) if name in INTEGERS and tokens else query
    expected = maxsim(given, codec.decode(codes), offsets)[rows]
    np.testing.assert_allclose(codec.score(codes, offsets, rows, query), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_many_queries_over_threads_score_as_one_by_one(name: str) -> None:
    vectors, offsets = collection(60, 48, 4)
    codec = trained(name, 48)
    codes = codec.encode(vectors)
    generator = np.random.default_rng(0)
    queries = [generator.standard_normal((size, 48)).astype(np.float32) for size in range(20)]
    rows = [generator.integers(0, 60, size) for size in range(20)]
    alone = [codec.score(codes, offsets, row, query) for row, query in zip(rows, queries, strict=True)]
    for threads in (1, 4):
        together = codec.score_many(codes, offsets, rows, queries, threads)
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one, other)


def test_codes_are_read_from_a_memory_map(tmp_path: Path) -> None:
    vectors, offsets = collection(30, 48, 4)
    codec = trained("int8", 48)
    codes = codec.encode(vectors)
    codes.tofile(tmp_path / "codes")
    mapped = np.memmap(tmp_path / "codes", np.uint8, "r", shape=codes.shape)
    query, rows = vectors[:8], np.arange(30)
    np.testing.assert_array_equal(codec.score(mapped, offsets, rows, query), codec.score(codes, offsets, rows, query))


# -- wrong input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("offsets", "row", "message"),
    [
        ([0, 2, 5], 2, "there is no document 2: the store has 2"),
        ([0, 2, 5], -1, "there is no document -1"),
        ([0, 2, 6], 1, "the tokens 2 to 6 of 5"),
        ([0, 2, 2**62], 1, "the offsets are damaged"),
        ([-1, 2, 5], 0, "the tokens -1 to 2 of 5"),
        ([0, 4, 2], 1, "the tokens 4 to 2 of 5"),
        ([0], 0, "there is no document 0: the store has 0"),
    ],
)
def test_nothing_outside_of_the_codes_is_read(name: str, offsets: list[int], row: int, message: str) -> None:
    codec = trained(name, 16)
    vectors = collection(3, 16, 1, longest=9)[0][:5]
    codes = codec.encode(vectors)
    with pytest.raises(InvalidInput, match=message):
        codec.score(codes, np.array(offsets), [row], vectors)


def test_a_centroid_that_is_not_there_is_refused() -> None:
    codec = codec_class("residual2").train(collection(40, 16, 1)[0], size=4)
    codes = codec.encode(collection(40, 16, 2)[0][:6])
    codes[4, :2] = 4, 0
    query, offsets = np.ones((1, 16)), np.array([0, 3, 6])
    codec.score(codes, offsets, [0], query)
    with pytest.raises(InvalidInput, match="document 1 names a centroid"):
        codec.score(codes, offsets, [0, 1], query)
    with pytest.raises(InvalidInput, match="centroid 4 of 4"):
        codec.decode(codes)


@pytest.mark.parametrize("name", NAMES)
def test_arrays_of_another_form_are_refused(name: str) -> None:
    codec = trained(name, 16)
    vectors = collection(3, 16, 1, longest=9)[0][:5]
    codes, offsets = codec.encode(vectors), np.array([0, 5])
    wrong: Any
    for wrong in (codes[:, 1:], codes.astype(np.int8), codes.reshape(-1)):
        with pytest.raises(InvalidInput, match="codes are"):
            codec.score(wrong, offsets, [0], vectors)
        with pytest.raises(InvalidInput, match="codes are"):
            codec.decode(wrong)
    for wrong in (offsets.astype(np.int32), offsets[:0], offsets[None]):
        with pytest.raises(InvalidInput, match="offsets are"):
            codec.score(codes, wrong, [0], vectors)
    with pytest.raises(InvalidInput, match="rows are"):
        codec.score(codes, offsets, [0.5], vectors)
    with pytest.raises(InvalidInput, match="have 15 dimensions: they must have 16"):
        codec.score(codes, offsets, [0], vectors[:, 1:])
    with pytest.raises(InvalidInput, match="row 1 holds a number that is not finite"):
        codec.score(codes, offsets, [0], np.where(np.arange(5)[:, None] == 1, np.nan, vectors))
    with pytest.raises(InvalidInput, match="1 queries and 2 lists"):
        codec.score_many(codes, offsets, [[0], [0]], [vectors])


@pytest.mark.parametrize("name", NAMES)
def test_vectors_that_cannot_be_kept_are_refused(name: str) -> None:
    codec = trained(name, 16)
    with pytest.raises(InvalidInput, match="not finite"):
        codec.encode([[np.inf] * 16])
    if name != "f32":
        with pytest.raises(InvalidInput, match="scale the vectors down"):
            codec.encode([[1e30] * 16])
    with pytest.raises(InvalidInput, match="the sample holds no vectors"):
        codec_class(name).train(np.zeros((0, 16)))
    with pytest.raises(InvalidInput, match="2 token ids for 1 vectors"):
        codec_class(name).train(np.ones((1, 16)), [1, 2])
    with pytest.raises(InvalidInput, match=r"size|left out|leave size out"):
        codec_class(name).train(np.ones((3, 16)), size=10**6)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_of_another_codec_are_refused(name: str) -> None:
    given = trained("pq" if name == "residual2" else "residual2", 16).parameters()
    with pytest.raises(InvalidInput, match=f"codec {name}: .*parameter"):
        codec_class(name).from_parameters(16, given)


def test_parameters_of_a_wrong_form_are_refused() -> None:
    good = trained("residual2", 16).parameters()
    for key, wrong in (
        ("centroids", good["centroids"][:0]),
        ("centroids", good["centroids"][:, 1:]),
        ("numbers", good["numbers"][1:]),
        ("numbers", good["numbers"].astype(np.int16)),
        ("step", np.array([0], np.float32)),
        ("step", np.array([np.nan], np.float32)),
    ):
        with pytest.raises(InvalidInput, match="codec residual2: "):
            codec_class("residual2").from_parameters(16, {**good, key: wrong})
    pieces = trained("pq", 16).parameters()
    with pytest.raises(InvalidInput, match="3 parts of 4 dimensions, of 16: there must be 4"):
        codec_class("pq").from_parameters(16, {**pieces, "pieces": pieces["pieces"][1:]})


def test_an_unknown_codec_is_named_with_those_there_are() -> None:
    with pytest.raises(InvalidInput, match="no codec 'int2': there are f32, f16, int8, int4, residual2, pq"):
        codec_class("int2")
