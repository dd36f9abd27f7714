"""Exact search gives what brute force gives: the same documents, the same scores, the same order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lsr
from lsr import Hits, Index, SparseVectors
from lsr.index.storage.segment import WINDOW
from tests.conftest import random_vectors


def brute_force(documents: SparseVectors, queries: SparseVectors, k: int) -> list[list[tuple[int, float]]]:
    """(row, score) of the best k documents with a score above 0, by a dense product; equal scores in document order."""
    scores = (queries.to_scipy() @ documents.to_scipy().T).toarray()
    result = []
    for line in scores:
        order = np.lexsort((np.arange(len(line)), -line))[:k]
        result.append([(int(row), float(line[row])) for row in order if line[row] > 0])
    return result


def found(hits: Hits) -> list[tuple[int, float]]:
    return list(zip(hits.rows.tolist(), hits.scores.tolist(), strict=True))


def build(vectors: SparseVectors, folder: Path) -> Index:
    return Index.build(vectors, folder / "my.idx", overwrite=True)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> tuple[SparseVectors, Index]:
    """Whole-number weights, stored without loss: every score is exact in float32, and ties are many."""
    vectors = random_vectors(3_000, 500, 20, seed=1, levels=4)
    return vectors, build(vectors, tmp_path_factory.mktemp("exact"))


@pytest.mark.parametrize("k", [1, 2, 10, 100, 2_999, 10_000])
def test_top_k_equals_brute_force_with_ties_in_document_order(collection: tuple[SparseVectors, Index], k: int) -> None:
    documents, index = collection
    queries = random_vectors(40, 500, 6, seed=2, levels=3)
    for hits, expected in zip(index.search(queries, k), brute_force(documents, queries, k), strict=True):
        assert found(hits) == expected


def test_rare_terms_are_found_through_their_postings_alone(collection: tuple[SparseVectors, Index]) -> None:
    documents, index = collection
    queries = SparseVectors(indptr=[0, 1, 3], indices=[499, 490, 497], values=[1.0, 2.0, 1.0], dim=500)
    for hits, expected in zip(index.search(queries, 10), brute_force(documents, queries, 10), strict=True):
        assert len(expected) > 0
        assert found(hits) == expected


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 200),
    dim=st.integers(1, 60),
    terms=st.floats(0, 12),
    levels=st.integers(1, 255),
    k=st.integers(1, 250),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_small_collection_equals_brute_force(
    tmp_path: Path, rows: int, dim: int, terms: float, levels: int, k: int, seed: int
) -> None:
    documents = random_vectors(rows, dim, terms, seed, levels=levels)
    queries = random_vectors(5, dim, 4, seed + 1, levels=7)
    index = build(documents, tmp_path)
    for hits, expected in zip(index.search(queries, k), brute_force(documents, queries, k), strict=True):
        assert found(hits) == expected


def test_documents_in_several_windows_keep_their_order(tmp_path: Path) -> None:
    n = 2 * WINDOW + 700
    generator = np.random.default_rng(3)
    # Term 0 in every document (a dense row), 1 in a tenth, 2 in five documents far apart.
    rare = [3, WINDOW - 1, WINDOW, 2 * WINDOW, n - 1]
    tenth = np.flatnonzero(generator.random(n) < 0.1)
    indptr, indices, values = [0], [], []
    in_tenth = set(tenth.tolist())
    for row in range(n):
        terms = [0] + ([1] if row in in_tenth else []) + ([2] if row in rare else [])
        indices += terms
        values += generator.integers(1, 4, len(terms)).tolist()
        indptr.append(len(indices))
    documents = SparseVectors(indptr=indptr, indices=indices, values=values, dim=3)
    index = build(documents, tmp_path)
    queries = SparseVectors(indptr=[0, 1, 2, 3, 6], indices=[0, 1, 2, 0, 1, 2], values=[1, 1, 1, 1, 2, 3], dim=3)
    for k in (3, 50):
        for hits, expected in zip(index.search(queries, k), brute_force(documents, queries, k), strict=True):
            assert found(hits) == expected
    assert index.search(queries, 10)[2].rows.tolist() == [row for row, _ in brute_force(documents, queries, 10)[2]]


def test_scores_are_float32_sums_in_term_order_of_the_stored_weights(tmp_path: Path) -> None:
    documents = random_vectors(800, 300, 25, seed=4)  # float weights: quantised when stored
    index = build(documents, tmp_path)
    queries = random_vectors(20, 300, 8, seed=5)
    for query, hits in zip(queries, index.search(queries, 50), strict=True):
        for hit in hits:
            assert hit.score == ordered_sum(index, query, hit.row)


def ordered_sum(index: Index, query: tuple[npt.NDArray[np.uint16], npt.NDArray[np.float32]], row: int) -> float:
    """The score of a document by its explanation's arithmetic, one float32 addition after the other."""
    return index.explain(query[0], query[1], row).score


def test_scores_of_stored_weights_are_near_those_of_the_float_weights(tmp_path: Path) -> None:
    documents = random_vectors(800, 300, 25, seed=6)
    index = build(documents, tmp_path)
    assert index.info()["weight_bits"] == 8
    queries = random_vectors(20, 300, 8, seed=7)
    half_step = float(documents.values.max()) / 255 / 2
    for query, hits, line in zip(
        queries, index.search(queries, 20), (queries.to_scipy() @ documents.to_scipy().T).toarray(), strict=True
    ):
        allowed = half_step * float(query[1].sum()) + 1e-4
        for row, score in found(hits):
            assert abs(score - line[row]) <= allowed


def test_the_number_of_threads_changes_nothing(collection: tuple[SparseVectors, Index]) -> None:
    _, index = collection
    queries = random_vectors(300, 500, 6, seed=8)
    alone = [found(hits) for hits in index.search(queries, 20, threads=1)]
    assert [found(hits) for hits in index.search(queries, 20, threads=4)] == alone
    assert [found(index.search(queries[i : i + 1], 20)[0]) for i in range(300)] == alone


def test_one_index_is_searched_from_several_threads(collection: tuple[SparseVectors, Index]) -> None:
    _, index = collection
    queries = random_vectors(64, 500, 6, seed=9)
    expected = [found(hits) for hits in index.search(queries, 20, threads=1)]
    with ThreadPoolExecutor(8) as pool:
        for answers in pool.map(lambda _: index.search(queries, 20, threads=2), range(24)):
            assert [found(hits) for hits in answers] == expected


def test_empty_documents_and_queries_are_legal_and_find_nothing(tmp_path: Path) -> None:
    documents = SparseVectors(indptr=[0, 0, 1, 1], indices=[2], values=[1.0], dim=5)
    index = build(documents, tmp_path)
    queries = SparseVectors(indptr=[0, 0, 1, 2], indices=[2, 4], values=[1.0, 1.0], dim=5)
    nothing, one, unknown = index.search(queries)
    assert found(nothing) == []
    assert found(one) == [(1, 1.0)]
    assert found(unknown) == []
    assert len(index) == 3


def test_documents_without_any_term_make_a_legal_index(tmp_path: Path) -> None:
    index = build(SparseVectors(indptr=[0, 0, 0], indices=[], values=[], dim=5), tmp_path)
    queries = SparseVectors(indptr=[0, 1], indices=[2], values=[1.0], dim=5)
    assert found(index.search(queries)[0]) == []


def test_vocabularies_over_65536_terms(tmp_path: Path) -> None:
    documents = random_vectors(300, 200_000, 15, seed=10, levels=9, skew=0.3)
    index = build(documents, tmp_path)
    queries = documents[:20]
    for hits, expected in zip(index.search(queries, 10), brute_force(documents, queries, 10), strict=True):
        assert found(hits) == expected


@pytest.mark.parametrize("k", [0, -1, 10_001, 2.5, "10"])
def test_k_out_of_range_is_refused(collection: tuple[SparseVectors, Index], k: object) -> None:
    queries = random_vectors(1, 500, 6)
    with pytest.raises(lsr.errors.InvalidInput, match=r"k is .* from 1 to 10,000"):
        collection[1].search(queries, k)  # type: ignore[call-overload]


@pytest.mark.parametrize("recall", [0, -0.5, 1.5, float("nan")])
def test_recall_out_of_range_is_refused(collection: tuple[SparseVectors, Index], recall: float) -> None:
    with pytest.raises(lsr.errors.InvalidInput, match="recall is"):
        collection[1].search(random_vectors(1, 500, 6), recall=recall)


def test_queries_of_another_dim_are_refused(collection: tuple[SparseVectors, Index]) -> None:
    with pytest.raises(lsr.errors.InvalidInput, match="600 dimensions, the index 500"):
        collection[1].search(random_vectors(1, 600, 6))


def test_a_text_query_on_bare_vectors_says_what_to_do(collection: tuple[SparseVectors, Index]) -> None:
    with pytest.raises(lsr.errors.InvalidInput, match="search it with SparseVectors, or give encoder="):
        collection[1].search("a question")


def test_lists_that_cannot_lift_a_document_are_left_out_without_a_trace(tmp_path: Path) -> None:
    """Several windows, long lists of light terms beside short lists of heavy ones: where pruning sets in."""
    n, dim = 3 * WINDOW, 40
    generator = np.random.default_rng(12)
    shares = np.concatenate([[0.6, 0.4, 0.3, 0.25, 0.2], np.geomspace(0.1, 0.001, dim - 5)])
    has = generator.random((n, dim)) < shares
    indptr, indices = np.concatenate([[0], np.cumsum(has.sum(axis=1))]), np.nonzero(has)[1]
    values = np.where(indices < 5, generator.integers(1, 12, len(indices)), generator.integers(20, 255, len(indices)))
    documents = SparseVectors(indptr=indptr, indices=indices, values=values, dim=dim)
    queries = random_vectors(60, dim, 9, seed=13, skew=0.5)
    for engine in ("exact", "blocked"):
        index = Index.build(documents, tmp_path / f"{engine}.idx", engine=engine)
        asked = queries.to_scipy().astype(np.float64)
        truth = (asked @ documents.to_scipy().astype(np.float64).T).toarray()
        for k in (1, 10, 300):
            for hits, line in zip(index.search(queries, k, recall=1), truth, strict=True):
                least = np.partition(line, n - k)[n - k]
                assert len(hits) == min(k, int((line > 0).sum()))
                assert (line[hits.rows] >= least * (1 - 1e-6)).all()
                assert hits.scores.tolist() == sorted(hits.scores.tolist(), reverse=True)
                np.testing.assert_allclose(hits.scores, line[hits.rows], rtol=1e-5)
