"""Mining is exact, and what is drawn of it is what was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from lsr.errors import InvalidInput
from lsr.sparse import SparseVectors
from lsr.training.batches import Batches
from lsr.training.cache import Cache
from lsr.training.candidates import Candidates, mine
from lsr.training.teachers import BM25Teacher, MatrixTeacher, SparseScores
from tests.conftest import random_vectors
from tests.training.models import DOCUMENTS

Rows = npt.NDArray[np.int64]


class Cosines(MatrixTeacher):
    """Random unit vectors."""

    cosine = True

    def __init__(self, queries: int, documents: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.name, self.key, self.device, self.asked = f"cosines {seed}", {"seed": seed}, torch.device("cpu"), 0
        sides = (random.normal(size=(n, 12)) for n in (queries, documents))
        self.sides = [torch.from_numpy(s / np.linalg.norm(s, axis=1, keepdims=True)).float() for s in sides]

    def matrix(self, queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        self.asked += 1
        return self.sides[0][queries] @ self.sides[1][documents].T

    def whole(self) -> npt.NDArray[np.float32]:
        return (self.sides[0] @ self.sides[1].T).numpy()


class Sparse(SparseScores):
    name = "sparse"

    def __init__(self, queries: SparseVectors, documents: SparseVectors) -> None:
        super().__init__("cpu")
        self.keep(queries, documents)

    def whole(self) -> npt.NDArray[np.float32]:
        queries, documents = self.vectors
        return np.asarray((queries.to_scipy() @ documents.to_scipy().T).toarray())


def best(scores: npt.NDArray[np.float32], depth: int, floor: float = -np.inf) -> npt.NDArray[np.int64]:
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    return np.where(np.take_along_axis(scores, rows, 1) > floor, rows, -1)


class TestMining:
    @pytest.mark.parametrize("block", [1 << 16, 37, 5])
    def test_the_best_by_the_sum_of_cosines(self, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("lsr.training.candidates.SCORES_ON_CPU", 400)  # several parts of the queries
        teachers = [Cosines(23, 150, 0), Cosines(23, 150, 1)]
        found = mine(teachers, 23, 150, 10, block=block)
        assert found.dtype == np.int32
        assert np.array_equal(found, best(teachers[0].whole() + teachers[1].whole(), 10))
        assert np.array_equal(mine(teachers[:1], 23, 150, 10, block=block), best(teachers[0].whole(), 10))

    @pytest.mark.parametrize("block", [1 << 16, 37])
    def test_what_shares_no_term_was_not_found(self, block: int) -> None:
        teacher = Sparse(random_vectors(20, 400, 3), random_vectors(120, 400, 6, seed=1, skew=0.5))
        found = mine([teacher], 20, 120, 50, block=block)
        assert np.array_equal(found, best(teacher.whole(), 50, floor=0))
        assert (found < 0).any()

    def test_by_an_index_of_the_vectors(self) -> None:
        teacher = Sparse(random_vectors(20, 400, 5), random_vectors(300, 400, 20, seed=1))
        found, scores = mine([teacher], 20, 300, 20, index_from=1), teacher.whole()
        # Weights of 8 bits: documents of nearly one score may change places.
        mined = np.sort(np.where(found >= 0, np.take_along_axis(scores, found.astype(np.int64), 1), 0), axis=1)
        exact = np.sort(np.maximum(np.take_along_axis(scores, best(scores, 20), 1), 0), axis=1)
        assert mined == pytest.approx(exact, rel=0.02, abs=0.02)
        assert (np.diff(np.sort(found, axis=1), axis=1)[np.sort(found, axis=1)[:, 1:] >= 0] > 0).all()

    def test_other_scores_are_joined_by_rank(self) -> None:
        # So deep that a document in both lists may stand behind one that is high in one of them.
        dense, sparse = Cosines(20, 200, 0), Sparse(random_vectors(20, 99, 5), random_vectors(200, 99, 9, seed=1))
        lists = [best(dense.whole(), 90), best(sparse.whole(), 90, floor=0)]
        expected = np.full((20, 90), -1)
        for query in range(20):
            shares: dict[int, float] = {}
            for rows in lists:
                for rank, row in enumerate(rows[query].tolist(), 1):
                    if row >= 0:
                        shares[row] = shares.get(row, 0) + 1 / (60 + rank)
            ordered = sorted(shares, key=lambda row: (-shares[row], row))[:90]
            expected[query, : len(ordered)] = ordered
        found = mine([dense, sparse], 20, 200, 90)
        assert np.array_equal(found, expected)
        twice = [mine(order, 20, 200, 90) for order in ([dense, sparse, dense], [dense, dense, sparse])]
        assert np.array_equal(twice[0], twice[1])

    def test_fewer_documents_than_asked_for(self) -> None:
        found = mine([Cosines(3, 4, 0)], 3, 4, 10)
        assert (found[:, 4:] == -1).all()
        assert np.array_equal(np.sort(found[:, :4], axis=1), np.tile(np.arange(4), (3, 1)))

    def test_words_find_the_texts_that_have_them(self) -> None:
        teacher = BM25Teacher(device="cpu")
        teacher.prepare(["rivers of foxes", "zebra"], DOCUMENTS)
        found = mine([teacher], 2, len(DOCUMENTS), 5)
        assert {DOCUMENTS[row] for row in found[0, :2]} < {
            text for text in DOCUMENTS if "river" in text or "fox" in text
        }
        assert (found[1] == -1).all()

    def test_the_cache_keeps_them(self, tmp_path: Path) -> None:
        teacher = Cosines(5, 30, 0)
        first = mine([teacher], 5, 30, 4, cache=Cache(tmp_path))
        asked = teacher.asked
        assert np.array_equal(mine([teacher], 5, 30, 4, cache=Cache(tmp_path)), first)
        assert teacher.asked == asked
        mine([teacher], 5, 30, 5, cache=Cache(tmp_path))
        assert teacher.asked > asked

    def test_arguments_out_of_range(self) -> None:
        for teachers, depth in (([], 5), ([Cosines(1, 1, 0)], 0), ([Cosines(1, 1, 0)], 10_001)):
            with pytest.raises(InvalidInput, match="depth lie between 1 and 10,000"):
                mine(teachers, 1, 1, depth)


def ranked(queries: int, depth: int, documents: int, seed: int = 0) -> Rows:
    random = np.random.default_rng(seed)
    return np.stack([random.permutation(documents)[:depth] for _ in range(queries)])


def distinct(drawn: Rows) -> bool:
    ordered = np.sort(drawn, axis=1)
    return not ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any()


class TestDrawing:
    STRATA = ((1, 10, 4), (11, 30, 3))

    @pytest.mark.parametrize("documents", [60, 5000])
    def test_so_many_of_each_stratum(self, documents: int) -> None:
        rows = ranked(200, 30, documents)
        candidates = Candidates(rows, np.full(200, -1), self.STRATA, 2, n_documents=documents)
        assert candidates.per_query == 9
        drawn = candidates.sample(np.arange(200), np.random.default_rng(0))
        assert drawn.dtype == np.int64
        assert drawn.shape == (200, 9)
        for row, own in zip(drawn, rows, strict=True):
            assert set(row[:4]) <= set(own[:10])
            assert set(row[4:7]) <= set(own[10:])
        assert distinct(drawn)
        assert ((drawn >= 0) & (drawn < documents)).all()

    def test_every_document_of_a_stratum_comes_up_alike(self) -> None:
        candidates = Candidates(np.arange(20)[None], np.array([-1]), [(3, 12, 4)], 1, n_documents=3000)
        drawn = candidates.sample(np.zeros(5000, np.int64), np.random.default_rng(0))
        counts = np.bincount(drawn[:, :4].ravel(), minlength=20)
        assert not counts[[0, 1, *range(12, 20)]].any()
        assert counts[2:12] == pytest.approx(np.full(10, 2000), rel=0.1)
        assert drawn[:, 4].mean() == pytest.approx(1500, rel=0.05)

    def test_the_positive_takes_the_first_place_where_it_was_not_drawn(self) -> None:
        rows = ranked(300, 30, 100)
        positives = np.where(np.arange(300) % 2, rows[:, 0], np.random.default_rng(1).integers(100, size=300))
        candidates = Candidates(rows, positives, self.STRATA, 2, n_documents=100)
        drawn = candidates.sample(np.arange(300), np.random.default_rng(0))
        assert (drawn == positives[:, None]).any(axis=1).all()
        assert distinct(drawn)
        elsewhere = drawn[:, 0] != positives
        assert elsewhere.any()
        for row, own in zip(drawn[elsewhere], rows[elsewhere], strict=True):
            assert row[0] in own[:10]  # nothing was put in its place

    def test_without_candidates_there_are_the_positive_and_random_ones(self) -> None:
        rows = np.full((4, 30), -1)
        rows[1, :2] = [7, 8]
        candidates = Candidates(rows, np.array([5, -1, -1, 9]), self.STRATA, 1, n_documents=2000)
        drawn = candidates.sample(np.array([0, 1, 2, 3]), np.random.default_rng(0))
        assert drawn[0, 0] == 5
        assert sorted(drawn[1, :4].tolist()) == [-1, -1, 7, 8]
        assert (drawn[[0, 2], 1:7] == -1).all()
        assert (drawn[:, 7] >= 0).all()
        assert candidates.without().tolist() == [2]

    def test_only_random_ones_and_the_positive(self) -> None:
        candidates = Candidates(np.full((50, 1), -1), np.arange(50), [], 3, n_documents=2000)
        drawn = candidates.sample(np.arange(50), np.random.default_rng(0))
        assert drawn[:, 0].tolist() == list(range(50))
        assert distinct(drawn)

    def test_too_few_documents_for_all_places(self) -> None:
        candidates = Candidates(np.array([[0, 1]]), np.array([2]), [(1, 2, 2)], 4, n_documents=4)
        (drawn,) = candidates.sample(np.array([0]), np.random.default_rng(0))
        assert drawn[0] == 2
        assert drawn[1] in (0, 1)
        assert sorted(drawn[2:].tolist())[:2] == [-1, -1]
        assert sorted(drawn[drawn >= 0].tolist()) == [0, 1, 2, 3]

    def test_many_random_ones_are_distinct(self) -> None:
        candidates = Candidates(ranked(40, 30, 1100), np.full(40, -1), self.STRATA, 100, n_documents=1100)
        assert distinct(candidates.sample(np.arange(40), np.random.default_rng(0)))

    def test_the_generator_decides(self) -> None:
        candidates = Candidates(ranked(9, 30, 5000), np.full(9, -1), self.STRATA, 1, n_documents=5000)
        first, again, other = (candidates.sample(np.arange(9), np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)

    @pytest.mark.parametrize(
        ("strata", "random", "message"),
        [
            ([(1, 10, 4), (10, 20, 3)], 1, "strata must not overlap"),
            ([(0, 10, 4)], 1, "the stratum of ranks 0 to 10"),
            ([(1, 31, 4)], 1, r"ranks are 1 to 30 \(the depth of mining\)"),
            ([(1, 3, 4)], 1, "nor ask for more documents than they have"),
            ([], 0, "one must be drawn at least"),
        ],
    )
    def test_strata_that_cannot_be_drawn(self, strata: list[tuple[int, int, int]], random: int, message: str) -> None:
        with pytest.raises(InvalidInput, match=message):
            Candidates(ranked(3, 30, 100), np.full(3, -1), strata, random, n_documents=100)

    def test_rows_that_cannot_be(self) -> None:
        rows, none = ranked(3, 30, 100), np.full(3, -1)
        for wrong, positives, message in (
            (rows, none[:2], "positives"),
            (rows[0], none, "candidates are"),
            (rows, np.array([0, 100, 1]), "there are 100"),
            (rows + 99, none, "there are 100"),
            (np.where(np.arange(30) == 4, rows[:, :1], rows), none, "query 0 has a document twice"),
        ):
            with pytest.raises(InvalidInput, match=message):
                Candidates(wrong, positives, self.STRATA, 1, n_documents=100)


def test_the_seed_and_the_step_decide_what_is_drawn() -> None:
    """So any step can be had again, in any order; another seed or step has other queries, and other documents."""
    queries, steps = 32, 6
    # One list for all queries: whichever query stands in a row, its documents say what was drawn there.
    rows = np.tile(ranked(1, 30, 5000), (queries, 1))
    candidates = Candidates(rows, np.full(queries, -1), TestDrawing.STRATA, 1, n_documents=5000)

    def batches(seed: int) -> list[tuple[Rows, Rows]]:
        kinds = np.zeros(queries, np.uint8)
        made = Batches(np.arange(queries), kinds, [None], candidates, steps=steps, batch=queries, seed=seed)
        found = {step: made.at(step) for step in reversed(range(steps))}
        return [found[step] for step in range(steps)]

    first, again, other = batches(1), batches(1), batches(2)
    for step in range(steps):
        for found, expected in zip(again[step], first[step], strict=True):
            assert np.array_equal(found, expected)
        assert np.array_equal(np.sort(first[step][0]), np.arange(queries))
        for drawn in (other[step], *first[:step]):
            assert not np.array_equal(drawn[0], first[step][0])
            # 4 of 10 and 3 of 20 documents are seldom the same; a random one of 5,000 hardly ever.
            assert (drawn[1][:, :-1] == first[step][1][:, :-1]).all(axis=1).mean() < 0.1
            assert (drawn[1][:, -1] == first[step][1][:, -1]).mean() < 0.1
