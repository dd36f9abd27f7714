"""What belongs in the top k, ties and all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr import SparseVectors
from lsr.eval.bench.truth import Answers, Truth
from tests.conftest import random_vectors


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 80),
    dim=st.integers(1, 30),
    levels=st.integers(1, 5),
    k=st.integers(1, 80),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_perfect_ranking_has_recall_1_however_it_breaks_ties(
    rows: int, dim: int, levels: int, k: int, seed: int
) -> None:
    documents = random_vectors(rows, dim, 5, seed, levels=levels)
    queries = random_vectors(4, dim, 3, seed + 1, levels=3)
    answers = Truth(documents).answers(queries, [k])[k]
    shuffled = np.random.default_rng(seed).permutation(rows)
    scores = (queries.to_scipy() @ documents.to_scipy().T).toarray()
    found = [shuffled[np.argsort(-line[shuffled], kind="stable")][:k] for line in scores]
    assert answers.recall(found) == 1
    assert [min(k, int((line > 0).sum())) for line in scores] == list(answers.wanted)


@pytest.fixture(scope="module")
def answers() -> Answers:
    """Scores 5, 4, 4, 3, 0: with k = 2 both documents of score 4 are as good as each other."""
    documents = SparseVectors(indptr=[0, 1, 2, 3, 4, 5], indices=[0, 0, 0, 0, 1], values=[5, 4, 4, 3, 9], dim=2)
    query = SparseVectors(indptr=[0, 1], indices=[0], values=[1.0], dim=2)
    return Truth(documents).answers(query, [2, 5])[2]


@pytest.mark.parametrize(
    ("found", "recall"),
    [
        ([0, 1], 1),
        ([2, 0], 1),
        ([1, 2], 1),
        ([0, 3], 0.5),
        ([3, 4], 0),
        ([0], 0.5),
        ([], 0),
        ([0, 0], 0.5),
        ([3, 4, 0, 1], 0),
    ],
)
def test_recall_is_the_share_of_k_that_belongs_there(answers: Answers, found: list[int], recall: float) -> None:
    assert answers.recall([np.array(found, np.int64)]) == recall


def test_documents_that_share_no_term_are_not_missed() -> None:
    documents = SparseVectors(indptr=[0, 1, 2, 3], indices=[0, 1, 1], values=[1, 1, 1], dim=3)
    queries = SparseVectors(indptr=[0, 1, 2], indices=[0, 2], values=[1.0, 1.0], dim=3)
    answers = Truth(documents).answers(queries, [3])[3]
    assert list(answers.wanted) == [1, 0]
    assert answers.recall([np.array([0]), np.array([], np.int64)]) == 1
    assert answers.recall([np.array([1]), np.array([2])]) == 0
    assert answers.recall([np.array([0])], [0]) == 1


def test_rounding_of_an_engine_is_no_loss() -> None:
    """Two documents whose scores differ by less than float32 can tell."""
    documents = SparseVectors(indptr=[0, 1, 2, 3], indices=[0, 0, 0], values=[1, 1 - 1e-7, 0.9], dim=1)
    query = SparseVectors(indptr=[0, 1], indices=[0], values=[1.0], dim=1)
    answers = Truth(documents).answers(query, [1])[1]
    assert answers.recall([np.array([1])]) == 1
    assert answers.recall([np.array([2])]) == 0
