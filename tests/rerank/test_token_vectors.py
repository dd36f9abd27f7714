"""TokenVectors: its rules, one line for each way to break them, joining, looking at one text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.errors import InvalidVectors
from lsr.rerank import TokenVectors


def batch(lengths: list[int], dim: int = 3, seed: int = 0, tokens: bool = True) -> TokenVectors:
    generator = np.random.default_rng(seed)
    total = sum(lengths)
    return TokenVectors(
        offsets=np.cumsum([0, *lengths]),
        vectors=generator.standard_normal((total, dim)).astype(np.float32),
        tokens=generator.integers(0, 1000, total).astype(np.uint32) if tokens else None,
    )


def test_texts_are_views_and_may_be_empty() -> None:
    found = batch([2, 0, 3])
    assert (len(found), found.dim, found.lengths.tolist()) == (3, 3, [2, 0, 3])
    assert [len(found.of(i)) for i in range(3)] == [2, 0, 3]
    assert np.shares_memory(found.of(2), found.vectors)
    assert np.array_equal(found.of(-1), found.vectors[2:])
    assert found.tokens is not None
    assert np.array_equal(found.tokens_of(2), found.tokens[2:])
    assert "3 texts x 3" in repr(found)
    with pytest.raises(IndexError):
        found.of(3)


def test_numbers_of_other_types_are_converted_and_right_ones_kept() -> None:
    found = TokenVectors([0, 1, 2], [[1, 2], [3, 4]], [7, 8])  # type: ignore[arg-type]
    assert found.offsets.dtype == np.int64
    assert found.vectors.dtype == np.float32
    assert found.tokens is not None
    assert found.tokens.dtype == np.uint32
    vectors = np.ones((2, 2), np.float32)
    assert TokenVectors(np.array([0, 2]), vectors).vectors is vectors


def test_no_text_is_a_batch_too() -> None:
    empty = TokenVectors(np.array([0]), np.zeros((0, 4), np.float32))
    assert (len(empty), empty.dim) == (0, 4)


GOOD: dict[str, Any] = {"offsets": [0, 1, 2], "vectors": [[1.0, 2.0], [3.0, 4.0]], "tokens": [1, 2]}


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"offsets": []}, "start with 0"),
        ({"offsets": [1, 2]}, "start with 0"),
        ({"offsets": [0, 2, 1, 2]}, "falls after text 1"),
        ({"offsets": [0, 1, 3]}, "ends at 3 but there are 2"),
        ({"offsets": [0.0, 2.0]}, "integers"),
        ({"offsets": [[0, 2]]}, "dimensions"),
        ({"vectors": [1.0, 2.0]}, "dim"),
        ({"vectors": np.zeros((2, 0))}, "dim"),
        ({"vectors": [[1.0], [2.0, 3.0]]}, "no array"),
        ({"vectors": [["a", "b"], ["c", "d"]]}, "real numbers"),
        ({"vectors": [[1.0, 2.0], [np.nan, 4.0]]}, "text 1 has a vector with NaN"),
        ({"vectors": [[1.0, np.inf], [3.0, 4.0]]}, "text 0"),
        ({"vectors": [[1.0, 2.0], [3.0, 1e300]]}, "text 1"),
        ({"tokens": [1]}, "1 tokens for 2 vectors"),
        ({"tokens": [1, -2]}, "from -2 to 1"),
        ({"tokens": [1, 1 << 32]}, "from 0 to"),
        ({"tokens": [1.0, 2.0]}, "integers"),
    ],
)
def test_each_rule_has_one_line(broken: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidVectors, match=says) as raised:
        TokenVectors(**(GOOD | broken))
    assert "\n" not in str(raised.value)


@given(st.lists(st.lists(st.integers(0, 4), max_size=4), min_size=1, max_size=5), st.data())
def test_joining_keeps_texts_in_order(lengths: list[list[int]], data: st.DataObject) -> None:
    with_tokens = [data.draw(st.booleans()) for _ in lengths]
    parts = [batch(each, seed=i, tokens=with_tokens[i]) for i, each in enumerate(lengths)]
    joined = TokenVectors.concatenate(parts)
    texts = [part.of(i) for part in parts for i in range(len(part))]
    assert len(joined) == len(texts)
    for i, text in enumerate(texts):
        assert np.array_equal(joined.of(i), text)
    assert (joined.tokens is not None) == all(with_tokens)
    assert (joined == TokenVectors(joined.offsets, joined.vectors)) == (joined.tokens is None)


def test_what_cannot_be_joined() -> None:
    with pytest.raises(InvalidVectors, match="at least one"):
        TokenVectors.concatenate([])
    with pytest.raises(InvalidVectors, match="different dim"):
        TokenVectors.concatenate([batch([1], dim=2), batch([1], dim=3)])
    with pytest.raises(InvalidVectors, match="no tokens"):
        batch([1], tokens=False).tokens_of(0)


def test_equality_is_that_of_all_arrays() -> None:
    assert batch([1, 2]) == batch([1, 2])
    assert batch([1, 2]) != batch([2, 1])
    assert batch([1, 2]) != batch([1, 2], seed=1)
    assert batch([1, 2]) != batch([1, 2], tokens=False)
    assert batch([1, 2]) != "vectors"
