"""The blocked engine: exact when it reads everything, near enough when it reads little, the same whatever the threads."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsr import Hits, Index, SparseVectors
from lsr.errors import CorruptIndex, InvalidInput
from lsr.index.blocked import ordering
from lsr.index.blocked.parameters import SearchSettings, default_block_size
from lsr.index.kernels.summaries import REACH, summary_code
from lsr.index.storage.check import check_index
from tests.conftest import random_vectors
from tests.index.test_exact import brute_force, found
from tests.index.test_storage import edit_manifest

EVERYTHING = SearchSettings(query_cut=1.0, n_blocks=1 << 20, candidates=1 << 20)


def topical(rows: int, topics: int, seed: int, *, own: float = 0.7, dim: int = 2_000) -> SparseVectors:
    """Documents of a few topics, as real ones are: most terms come from the document's topic. None has the last term."""
    generator = np.random.default_rng(seed)
    of_topic = [generator.choice(dim, 60, replace=False) for _ in range(topics)]
    indptr, indices, values = [0], [], []
    for _ in range(rows):
        pool = of_topic[int(generator.integers(topics))]
        mine = generator.choice(pool, int(generator.binomial(40, own)), replace=False)
        terms = np.union1d(mine, generator.choice(dim, 12, replace=False))
        indices.append(terms)
        values.append(generator.gamma(2.0, 0.5, len(terms)) + 0.05)
        indptr.append(indptr[-1] + len(terms))
    return SparseVectors(indptr=indptr, indices=np.concatenate(indices), values=np.concatenate(values), dim=dim + 1)


def recall(hits: list[Hits], truth: list[Hits]) -> float:
    """Share of the exact hits that were found, a document of equal score being as good."""
    shares = [
        np.count_nonzero(mine.scores >= best.scores[-1]) / len(best)
        for mine, best in zip(hits, truth, strict=True)
        if len(best)
    ]
    return float(np.mean(shares))


@pytest.fixture(scope="module")
def documents() -> SparseVectors:
    return topical(6_000, 40, seed=1)


@pytest.fixture(scope="module")
def index(documents: SparseVectors, tmp_path_factory: pytest.TempPathFactory) -> Index:
    return Index.build(documents, tmp_path_factory.mktemp("blocked") / "my.idx", engine="blocked")


# -- everything read: exact --------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 400),
    dim=st.integers(1, 60),
    terms=st.floats(0, 45),
    levels=st.integers(1, 255),
    k=st.integers(1, 450),
    block_size=st.sampled_from([32, 64, 128, 256]),
    energy=st.sampled_from([0.01, 0.5, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_reading_everything_equals_brute_force(
    tmp_path: Path,
    rows: int,
    dim: int,
    terms: float,
    levels: int,
    k: int,
    block_size: int,
    energy: float,
    seed: int,
) -> None:
    """Documents that share only pruned postings with a query are found by the exact engine, which fills up the hits."""
    documents = random_vectors(rows, dim, terms, seed, levels=levels)
    queries = random_vectors(5, dim, 4, seed + 1, levels=7)
    index = Index.build(
        documents, tmp_path / "my.idx", engine="blocked", block_size=block_size, postings_energy=energy, overwrite=True
    )
    expected = brute_force(documents, queries, k)
    assert [found(hits) for hits in index.search(queries, k, recall=1)] == expected
    if energy == 1.0:
        assert [found(hits) for hits in index.search(queries, k, settings=EVERYTHING)] == expected
    else:  # approximate: scores are right, and no hit is given twice
        for hits, best in zip(index.search(queries, k, settings=EVERYTHING), expected, strict=True):
            assert len(hits) == len(best)
            assert len(set(hits.rows.tolist())) == len(hits)
            assert all(hit.score == hit.explain().score for hit in hits)


def test_scores_and_order_are_those_of_the_exact_engine(documents: SparseVectors, tmp_path: Path) -> None:
    index = Index.build(documents, tmp_path / "my.idx", engine="blocked", postings_energy=1.0)
    queries = random_vectors(60, 2_001, 9, seed=3)
    for approximate, exact in zip(
        index.search(queries, 50, settings=EVERYTHING), index.search(queries, 50, recall=1), strict=True
    ):
        assert found(approximate) == found(exact)
        assert all(hit.score == hit.explain().score for hit in approximate)


def test_weights_of_16_bits_and_a_large_vocabulary(tmp_path: Path) -> None:
    dim = 200_000
    documents = random_vectors(2_000, 400, 30, seed=4, levels=60_000)
    spread = SparseVectors(
        indptr=documents.indptr, indices=documents.indices.astype(np.int64) * 499, values=documents.values, dim=dim
    )
    index = Index.build(spread, tmp_path / "my.idx", engine="blocked", postings_energy=1.0)
    assert index.info()["weight_bits"] == 16
    asked = random_vectors(20, 400, 6, seed=5, levels=3)
    queries = SparseVectors(
        indptr=asked.indptr, indices=asked.indices.astype(np.int64) * 499, values=asked.values, dim=dim
    )
    for hits, expected in zip(
        index.search(queries, 10, settings=EVERYTHING), brute_force(spread, queries, 10), strict=True
    ):
        assert hits.rows.tolist() == [row for row, _ in expected]


def test_documents_with_very_many_terms(tmp_path: Path) -> None:
    documents = random_vectors(80, 3_000, 1_500, seed=6, levels=200, skew=0.1)
    index = Index.build(documents, tmp_path / "my.idx", engine="blocked", postings_energy=1.0)
    queries = random_vectors(10, 3_000, 8, seed=7, levels=9)
    assert [found(hits) for hits in index.search(queries, 10, settings=EVERYTHING)] == brute_force(
        documents, queries, 10
    )


@pytest.mark.parametrize(
    "documents",
    [
        SparseVectors(indptr=[0, 1], indices=[0], values=[2.0], dim=1),
        SparseVectors(indptr=[0, 0, 0], indices=[], values=[], dim=5),
        SparseVectors(indptr=np.arange(101), indices=np.zeros(100, int), values=np.ones(100), dim=1),
    ],
    ids=["one document of one term", "empty documents", "all equal"],
)
def test_degenerate_collections(tmp_path: Path, documents: SparseVectors) -> None:
    index = Index.build(documents, tmp_path / "my.idx", engine="blocked")
    queries = SparseVectors(indptr=[0, 1], indices=[0], values=[1.0], dim=documents.dim)
    expected = brute_force(documents, queries, 10)
    assert [found(hits) for hits in index.search(queries, 10)] == expected
    assert [found(hits) for hits in index.search(queries, 10, settings=SearchSettings(n_blocks=1))] == expected


# -- little read: near enough ------------------------------------------------------------------------------------------


def test_reading_more_finds_more(index: Index, documents: SparseVectors) -> None:
    queries = topical(150, 40, seed=1, own=0.2)
    truth = index.search(queries, 10, recall=1)
    reached = [
        recall(index.search(queries, 10, settings=SearchSettings(n_blocks=blocks, candidates=40)), truth)
        for blocks in (1, 4, 16, 64)
    ]
    assert reached == sorted(reached)
    assert reached[0] < 0.9 < reached[-1]


def test_the_recall_asked_for_is_reached_by_queries_like_the_sample(tmp_path: Path) -> None:
    documents = topical(20_000, 100, seed=8)
    rows = np.random.default_rng(9).permutation(400)
    asked = topical(400, 100, seed=8, own=0.15)
    sample, unseen = (SparseVectors.from_scipy(asked.to_scipy()[part]) for part in (rows[:200], rows[200:]))
    index = Index.build(documents, tmp_path / "my.idx", engine="blocked", sample_queries=sample)
    truth = index.search(unseen, 10, recall=1)
    for wanted in (0.8, 0.9, 0.95, 0.98):
        assert recall(index.search(unseen, 10, recall=wanted), truth) >= wanted - 0.02


def test_a_large_k_is_filled(index: Index, documents: SparseVectors) -> None:
    queries = random_vectors(10, 2_001, 5, seed=10)
    for hits, best in zip(
        index.search(queries, 3_000, settings=SearchSettings(n_blocks=2)),
        brute_force(documents, queries, 3_000),
        strict=True,
    ):
        assert len(hits) == len(best)


def test_terms_that_no_document_has_change_nothing(index: Index) -> None:
    plain = random_vectors(20, 1_000, 5, seed=11)
    more = plain.to_scipy().tolil()
    more.resize((20, 2_001))
    more[:, 2_000] = 50.0
    with_unknown = SparseVectors.from_scipy(more.tocsr())
    plain = SparseVectors(indptr=plain.indptr, indices=plain.indices, values=plain.values, dim=2_001)
    chosen = SearchSettings(n_blocks=20)
    assert [found(hits) for hits in index.search(with_unknown, 10, settings=chosen)] == [
        found(hits) for hits in index.search(plain, 10, settings=chosen)
    ]


# -- threads, order, curves --------------------------------------------------------------------------------------------


def test_the_number_of_threads_changes_nothing(index: Index) -> None:
    queries = random_vectors(200, 2_001, 12, seed=12)
    for asked in ({"recall": 0.9}, {"settings": SearchSettings(n_blocks=30)}):
        alone = [found(hits) for hits in index.search(queries, 10, threads=1, **asked)]
        assert [found(hits) for hits in index.search(queries, 10, threads=3, **asked)] == alone
        assert [found(index.search(queries[i : i + 1], 10, **asked)[0]) for i in range(200)] == alone


def test_a_build_with_more_threads_gives_the_same_files(
    documents: SparseVectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = []
    for threads in (1, 3):
        for module in ("ordering", "writer"):
            monkeypatch.setattr(f"lsr.index.blocked.{module}.available_cores", lambda threads=threads: threads)
        path = tmp_path / f"{threads}.idx"
        Index.build(documents, path, engine="blocked", block_size=64)
        digests.append({file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in path.glob("segment-*/*")})
    assert digests[0] == digests[1]


def test_rows_ids_vectors_and_statistics_are_those_of_the_input(index: Index, documents: SparseVectors) -> None:
    rows = [0, 1, 2_345, 5_999]
    kept = index.vectors(rows)
    for (terms, weights), row in zip(kept, rows, strict=True):
        given_terms, given_weights = documents.row(row)
        assert set(terms.tolist()) <= set(given_terms.tolist())
        dense = dict(zip(given_terms.tolist(), given_weights.tolist(), strict=True))
        np.testing.assert_allclose(weights, [dense[term] for term in terms.tolist()], atol=0.05)
    assert kept.ids == ("0", "1", "2345", "5999")
    lengths, _ = index.statistics()
    assert lengths[2_345] == len(kept.row(2)[0])


def test_info_shows_what_recall_costs(index: Index) -> None:
    info = index.info()
    assert info["engine"] == "blocked"
    assert info["block_size"] == default_block_size(6_000) == 32
    for curve in info["curves"]:
        recalls = [point["recall"] for point in curve["points"]]
        assert recalls == sorted(recalls)


def test_auto_builds_blocks_for_large_collections_alone(documents: SparseVectors, tmp_path: Path) -> None:
    assert Index.build(documents, tmp_path / "small.idx").info()["engine"] == "exact"


# -- wrong input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"), [("block_size", 48), ("block_size", 512), ("postings_energy", 0.0), ("postings_energy", 1.1)]
)
def test_build_options_out_of_range_are_refused(
    documents: SparseVectors, tmp_path: Path, option: str, value: Any
) -> None:
    with pytest.raises(InvalidInput, match=option):
        Index.build(documents, tmp_path / "my.idx", engine="blocked", **{option: value})


@pytest.mark.parametrize(("name", "value"), [("query_cut", 0.0), ("query_cut", 2), ("n_blocks", 0), ("candidates", 0)])
def test_search_settings_out_of_range_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=f"{name} is .*default"):
        SearchSettings(**{name: value})


def test_settings_need_the_blocked_engine_and_no_recall(index: Index, documents: SparseVectors, tmp_path: Path) -> None:
    plain = Index.build(documents[:50], tmp_path / "plain.idx", engine="exact")
    with pytest.raises(InvalidInput, match="no blocked engine"):
        plain.search(documents[:1], settings=SearchSettings())
    with pytest.raises(InvalidInput, match="give one of them"):
        index.search(documents[:1], recall=0.9, settings=SearchSettings())


def test_sample_queries_that_do_not_fit_are_refused(documents: SparseVectors, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="30 dimensions"):
        Index.build(documents, tmp_path / "a.idx", engine="blocked", sample_queries=random_vectors(60, 30, 3))
    with pytest.raises(InvalidInput, match="no encoder"):
        Index.build(documents, tmp_path / "b.idx", engine="blocked", sample_queries=["what?"])


# -- damage ------------------------------------------------------------------------------------------------------------

VALUES = ("blocks_cells", "blocks_lists_codes", "blocks_rows_codes", "blocks_rows_largest")  # any value may be one
ARRAYS = [
    "cells",
    "lists_blocks",
    "lists_codes",
    "lists_offsets",
    "lists_terms",
    "rows_before",
    "rows_codes",
    "rows_largest",
    "rows_offsets",
    "rows_terms",
    "strip_masks",
    "strip_offsets",
]


@pytest.mark.parametrize("name", [*(f"blocks_{array}" for array in ARRAYS), "order_rows", "order_places"])
def test_damaged_arrays_are_refused_or_found_and_never_crash(tmp_path: Path, name: str) -> None:
    """With checksums made right again: as a hostile file is."""
    documents = topical(2_000, 10, seed=13)
    index = Index.build(documents, tmp_path / "my.idx", engine="blocked", block_size=64)
    file = index.path / "segment-0001" / name
    content = file.read_bytes()
    for value in (0xFF, 0x00, 0x5A):
        damaged = bytearray(content)
        damaged[len(damaged) // 3 : -len(damaged) // 3] = bytes([value]) * len(
            damaged[len(damaged) // 3 : -len(damaged) // 3]
        )
        file.write_bytes(damaged)

        def fix(body: dict[str, Any], damaged: bytearray = damaged) -> None:
            for entry in body["segments"][0]["files"]:
                if entry["name"].endswith("/" + name):
                    entry["xxh3_128"] = xxhash.xxh3_128_hexdigest(bytes(damaged))

        edit_manifest(index.path, fix)
        try:
            opened = Index.open(index.path)
        except CorruptIndex:
            continue
        opened.search(topical(30, 10, seed=13, own=0.2), 10, settings=SearchSettings(n_blocks=40))
        if name not in VALUES and damaged != content:
            with pytest.raises(CorruptIndex):
                list(check_index(index.path, full=True))


@pytest.mark.parametrize("fault", [{"points": 3}, {"points": [{"recall": 1}]}, {"k": "ten"}])
def test_a_curve_that_is_none_is_refused(documents: SparseVectors, tmp_path: Path, fault: dict[str, Any]) -> None:
    curve = {"short": True, "k": 10, "exact_microseconds": 1.0, "points": []}
    index = Index.build(documents[:100], tmp_path / "my.idx", engine="blocked")
    edit_manifest(index.path, lambda body: body["segments"][0].update(curves=[{**curve, **fault}]))
    with pytest.raises(CorruptIndex, match="curve"):
        Index.open(index.path)


def test_queries_of_very_many_terms_are_searched_exactly_beside_others_that_are_not(
    documents: SparseVectors, tmp_path: Path
) -> None:
    """16-bit sums do not tell their terms apart, whatever a curve, which is measured with shorter ones, promises."""
    index = Index.build(documents, tmp_path / "my.idx", engine="blocked")
    point = {"recall": 1.0, "microseconds": 1.0, "settings": {"query_cut": 1.0, "n_blocks": 3, "candidates": 10}}
    curve = {"short": False, "k": 10, "exact_microseconds": 9.0, "points": [point]}
    edit_manifest(index.path, lambda body: body["segments"][0].update(curves=[curve]))
    index = Index.open(index.path)
    queries = SparseVectors.concat([long_query(terms) for terms in (5, 1_024, 1_025, 40, 2_000)])
    exact = [found(hits) for hits in index.search(queries, 10, recall=1)]
    answers = [found(hits) for hits in index.search(queries, 10)]
    assert [one == best for one, best in zip(answers, exact, strict=True)] == [True, False, True, False, True]
    assert answers == [found(index.search(queries[row : row + 1], 10)[0]) for row in range(5)]


def long_query(terms: int) -> SparseVectors:
    generator = np.random.default_rng(terms)
    chosen = np.sort(generator.choice(2_000, terms, replace=False))
    return SparseVectors(indptr=[0, terms], indices=chosen, values=generator.gamma(2.0, 0.5, terms) + 0.05, dim=2_001)


# -- filters -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.3, 0.9, 1.0])
def test_filters_keep_recall_at_every_selectivity(index: Index, share: float) -> None:
    generator = np.random.default_rng(14)
    allowed = np.flatnonzero(generator.random(len(index)) < share)
    ids = [str(row) for row in allowed.tolist()]
    queries = topical(100, 40, seed=1, own=0.2)
    truth = index.search(queries, 10, recall=1, filter=ids)
    for hits in (index.search(queries, 10, filter=ids), index.search(queries, 10, filter=ids, settings=EVERYTHING)):
        assert set(np.concatenate([found.rows for found in hits]).tolist()) <= set(allowed.tolist())
        assert [len(found) for found in hits] == [len(best) for best in truth]
        if share:
            assert recall(hits, truth) > 0.95


def test_a_filter_is_heeded_before_documents_are_scored(index: Index, documents: SparseVectors) -> None:
    """With few blocks and candidates, the allowed documents take the places of the others."""
    ids = [str(row) for row in range(0, len(index), 2)]
    queries = topical(50, 40, seed=1, own=0.2)
    few = SearchSettings(n_blocks=64, candidates=30)
    assert (
        recall(index.search(queries, 10, settings=few, filter=ids), index.search(queries, 10, recall=1, filter=ids))
        > 0.9
    )


# -- the parts ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 255), min_size=1, max_size=256))
@settings(deadline=None)
def test_a_summary_reaches_every_code_and_rises_with_each(codes: list[int]) -> None:
    array = np.array(codes, np.uint8)
    summary = summary_code(array, 0, len(array))
    assert 1 <= summary <= 255
    assert max(codes) <= REACH[summary]
    assert summary_code(array, 0, len(array) - 1) <= summary or len(codes) == 1
    # In a row it is kept in 4 bits of the largest, rounded up.
    for top in (summary, (summary + 255) // 2, 255):
        assert max(codes) <= REACH[(top * ((summary * 15 + top - 1) // top) + 14) // 15]


@pytest.mark.parametrize("dim", [70, 2_000])
def test_the_order_brings_similar_documents_together_whatever_the_threads(
    dim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a small vocabulary, where fewer clusters are made, and where a cluster has several groups."""
    monkeypatch.setattr(ordering, "MAX_ADDS", 500)
    monkeypatch.setattr(ordering, "MAX_CLUSTERS", 20)
    documents = topical(3_000, 30, seed=21, dim=dim)
    parts = (documents.indptr, documents.indices, documents.values, documents.dim, lambda *_: None)
    orders = [ordering.order_documents(*parts, threads=threads) for threads in (1, 3)]
    np.testing.assert_array_equal(orders[0], orders[1])
    np.testing.assert_array_equal(np.sort(orders[0]), np.arange(3_000))

    def shared(order: npt.NDArray[np.uint32]) -> float:
        """The sum of the dot products of neighbours."""
        matrix = documents.to_scipy()[order]
        return float(matrix[:-1].multiply(matrix[1:]).sum())

    assert shared(orders[0]) > 1.1 * shared(np.arange(3_000, dtype=np.uint32))
