"""Inverse document frequencies: counted over a corpus, and blended with a shared table."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.encoders import TokenCounts, blend
from lsr.encoders.idf import idf
from lsr.errors import InvalidInput

DIM = 12
documents = st.lists(st.lists(st.integers(0, DIM - 1), max_size=8).map(lambda d: np.array(d, np.int64)), max_size=8)


def counts_of(rows: list[np.ndarray]) -> TokenCounts:
    counts = TokenCounts(DIM)
    counts.add(rows)
    return counts


def test_idf_is_that_of_bm25() -> None:
    assert idf([3], 10)[0] == pytest.approx(math.log(1 + (10 - 3 + 0.5) / (3 + 0.5)))
    np.testing.assert_allclose(idf([0, 1, 10], 10), np.log(11 / (np.array([0, 1, 10]) + 0.5)), rtol=1e-6)


@given(rows=documents)
def test_df_counts_each_document_once(rows: list[np.ndarray]) -> None:
    counts = counts_of(rows)
    assert counts.documents == len(rows)
    assert counts.tokens == sum(map(len, rows))
    assert counts.df.tolist() == [sum(term in row for row in rows) for term in range(DIM)]


@given(rows=documents, cut=st.integers(0, 8))
def test_counts_of_parts_add_up(rows: list[np.ndarray], cut: int) -> None:
    whole, streamed = counts_of(rows), counts_of(rows[:cut])
    streamed.add(rows[cut:], truncated=2)
    assert (streamed.documents, streamed.tokens, streamed.truncated) == (whole.documents, whole.tokens, 2)
    np.testing.assert_array_equal(streamed.df, whole.df)


def test_counts_refuse_other_vocabularies() -> None:
    with pytest.raises(InvalidInput, match=f"term {DIM}: the counts are for {DIM} terms"):
        counts_of([np.array([DIM])])


@pytest.fixture
def counts() -> TokenCounts:
    return counts_of([np.array([1, 2]), np.array([1, 1, 3]), np.array([1])])


SHARED = np.array([0, *np.linspace(0.1, 9, DIM - 1)], np.float32)


def test_the_whole_share_is_the_corpus_alone(counts: TokenCounts) -> None:
    np.testing.assert_allclose(blend(counts, SHARED, 1)[1:], idf(counts.df, 3)[1:], rtol=1e-6)


def test_no_share_is_the_shared_table_alone(counts: TokenCounts) -> None:
    np.testing.assert_array_equal(blend(counts, SHARED, 0), SHARED)


@given(share=st.floats(0, 1))
def test_a_share_lies_between_in_proportion(share: float) -> None:
    counts = counts_of([np.array([1, 2]), np.array([1, 3])] * 50)
    corpus = blend(counts, SHARED, 1)
    np.testing.assert_allclose(blend(counts, SHARED, share), SHARED + share * (corpus - SHARED), rtol=1e-4, atol=1e-5)


def test_half_is_the_default(counts: TokenCounts) -> None:
    np.testing.assert_array_equal(blend(counts, SHARED), blend(counts, SHARED, 0.5))


def test_without_documents_there_is_only_the_table() -> None:
    np.testing.assert_array_equal(blend(TokenCounts(DIM), SHARED, 1), SHARED)


@pytest.mark.parametrize("mark", [0, -1])
def test_what_is_no_term_in_the_table_stays_without_weight(counts: TokenCounts, mark: float) -> None:
    table = SHARED.copy()
    table[1] = mark
    for share in (0, 0.5, 1):
        found = blend(counts, table, share)
        assert found[[0, 1]].tolist() == [0, 0]
        assert (found[2:] > 0).all()


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_out_of_range_is_refused(counts: TokenCounts, share: float) -> None:
    with pytest.raises(InvalidInput, match="it must be between 0 and 1"):
        blend(counts, SHARED, share)


def test_a_table_for_another_vocabulary_is_refused(counts: TokenCounts) -> None:
    with pytest.raises(InvalidInput, match="shape"):
        blend(counts, SHARED[:5], 1)
