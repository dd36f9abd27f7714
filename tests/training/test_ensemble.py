"""Several teachers as one: min-max by hand, masks, what is unknown; and what `check_targets` finds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch

from lsr.errors import InvalidInput
from lsr.training.teachers import Ensemble, MatrixTeacher, PairTeacher, Teacher, check_targets

B, K, DOCUMENTS = 70, 6, 40  # more queries than share a product
Array = npt.NDArray[np.float64]


class Matrix(MatrixTeacher):
    """Says what stands in a table [queries, documents]."""

    def __init__(self, table: Array, name: str = "matrix") -> None:
        self.table, self.name, self.device = torch.from_numpy(table).float(), name, torch.device("cpu")

    def matrix(self, queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        return self.table[queries][:, documents]


class Pairs(PairTeacher):
    def __init__(self, table: Array, name: str = "pairs") -> None:
        self.table, self.name, self.asked = table.astype(np.float32), name, 0

    def pairs(self, queries: npt.NDArray[np.int64], documents: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        self.asked += len(queries)
        return self.table[queries, documents]


def tables(count: int, seed: int = 0) -> list[Array]:
    """Scores of several teachers, of different size and place."""
    random = np.random.default_rng(seed)
    return [random.normal(10 * i, 5.0**i, (B, DOCUMENTS)) for i in range(count)]


def candidates(seed: int = 0, missing: bool = True) -> torch.Tensor:
    random = np.random.default_rng(seed)
    rows = np.stack([random.permutation(DOCUMENTS)[:K] for _ in range(B)])
    if missing:
        rows[random.random((B, K)) < 0.2] = -1
    return torch.from_numpy(rows)


def by_hand(scores: Sequence[Array], weights: Sequence[float], documents: npt.NDArray[np.int64], scale: float) -> Array:
    """Min-max, average, scale, with loops. scores: of each teacher [B, documents], NaN where it says nothing."""
    found = np.full(documents.shape, -np.inf)
    for row, own in enumerate(documents):
        sums, total = np.zeros(len(own)), np.zeros(len(own))
        for table, weight in zip(scores, weights, strict=True):
            said = np.array([table[row, d] if d >= 0 else np.nan for d in own])
            known = ~np.isnan(said)
            if not known.any():
                continue
            low, high = said[known].min(), said[known].max()
            sums[known] += weight * ((said[known] - low) / (high - low) if high > low else 0)
            total[known] += weight
        found[row, total > 0] = scale * sums[total > 0] / total[total > 0]
    return found


ALL = torch.arange(B)


class TestMinMax:
    def test_own_candidates(self) -> None:
        first, second = tables(2)
        documents = candidates()
        ensemble = Ensemble([Matrix(first), Matrix(second)], weights=[1, 3], scale=20)
        expected = by_hand([first, second], [1, 3], documents.numpy(), 20)
        assert ensemble.own(ALL, documents).numpy() == pytest.approx(expected, abs=1e-3)

    def test_pairs_that_a_teacher_does_not_know_are_scored_by_the_others(self) -> None:
        first, second, third = tables(3)
        second[np.random.default_rng(1).random(second.shape) < 0.4] = np.nan
        second[3] = np.nan
        documents = candidates()
        # Weights follow their teachers, whatever their order.
        ensemble = Ensemble([Pairs(second), Matrix(first), Pairs(third)], weights=[2, 1, 0.5])
        expected = by_hand([first, second, third], [1, 2, 0.5], documents.numpy(), 30)
        assert ensemble.own(ALL, documents).numpy() == pytest.approx(expected, abs=1e-3)
        asked = ensemble.pair_scores(ALL.numpy(), documents.numpy())
        assert asked.shape == (2, B, K)
        given = ensemble.own(ALL, documents, torch.from_numpy(asked))
        assert torch.equal(given, ensemble.own(ALL, documents))

    def test_what_was_asked_before_is_not_asked_again(self) -> None:
        first, second = tables(2)
        teacher, documents = Pairs(second), candidates()
        ensemble = Ensemble([Matrix(first), teacher])
        asked = torch.from_numpy(ensemble.pair_scores(ALL.numpy(), documents.numpy()))
        assert teacher.asked == int((documents >= 0).sum())
        ensemble.own(ALL, documents, asked)
        assert teacher.asked == int((documents >= 0).sum())

    def test_pairs_that_nobody_knows_do_not_count(self) -> None:
        (table,) = tables(1)
        table[0, 5] = np.nan
        found = Ensemble([Pairs(table)]).own(torch.tensor([0]), torch.tensor([[5, 6, 7, -1]]))
        assert torch.isneginf(found[0, [0, 3]]).all()
        assert sorted(found[0, [1, 2]].tolist()) == [0, 30]

    def test_a_whole_batch_is_scored_by_the_matrix_teachers(self) -> None:
        first, second, third = tables(3)
        documents = torch.tensor([3, -1, 8, 3, 20, 21])
        ensemble = Ensemble([Matrix(first), Pairs(second), Matrix(third)], weights=[1, 5, 2])
        rows = documents.numpy()[None].repeat(B, 0)
        expected = by_hand([first, third], [1, 2], rows, 30)
        assert ensemble.block(ALL, documents).numpy() == pytest.approx(expected, abs=1e-3)
        with pytest.raises(InvalidInput, match="the others see single pairs"):
            Ensemble([Pairs(second)]).block(ALL, documents)

    def test_constant_scores_become_zero(self) -> None:
        (table,) = tables(1)
        level = np.full_like(table, 0.3)
        level[:, ::2] *= 1 + 1e-7  # what is left of it after rounding
        documents = candidates()
        alone = Ensemble([Matrix(level)]).own(ALL, documents)
        assert torch.equal(alone, torch.where(documents >= 0, 0.0, -torch.inf))
        both = Ensemble([Matrix(table), Matrix(level)]).own(ALL, documents)
        assert both.numpy() == pytest.approx(Ensemble([Matrix(table)], scale=15).own(ALL, documents).numpy(), abs=1e-4)

    def test_nothing_at_all(self) -> None:
        (table,) = tables(1)
        found = Ensemble([Matrix(table)]).own(torch.tensor([0, 1]), torch.full((2, 3), -1))
        assert torch.isneginf(found).all()


class TestOtherNormalisations:
    def test_none_leaves_scores_as_they_are(self) -> None:
        first, second = tables(2)
        documents = candidates(missing=False)
        ensemble = Ensemble([Matrix(first), Matrix(second)], weights=[3, 1], normalize="none", scale=2)
        expected = np.take_along_axis(2 * (0.75 * first + 0.25 * second), documents.numpy(), 1)
        assert ensemble.own(ALL, documents).numpy() == pytest.approx(expected, rel=1e-5, abs=1e-4)

    def test_affine_divides_by_one_number_for_each_teacher(self) -> None:
        first, second = tables(2)
        second[0] *= 0.01  # a query that the second is undecided about
        documents = candidates(missing=False)
        own = [np.take_along_axis(each, documents.numpy(), 1) for each in (first, second)]
        spreads = [np.sqrt(each.var(axis=1).mean()) for each in own]
        ensemble = Ensemble([Matrix(first), Pairs(second)], normalize="affine", scale=10)
        with pytest.raises(InvalidInput, match="call calibrate first"):
            ensemble.own(ALL, documents)
        ensemble.calibrate(ALL, documents)
        expected = 5 * sum((e - e.mean(1, keepdims=True)) / s for e, s in zip(own, spreads, strict=True))
        assert ensemble.own(ALL, documents).numpy() == pytest.approx(expected, abs=1e-3)

    def test_affine_passes_over_what_is_missing(self) -> None:
        (table,) = tables(1)
        full, documents = candidates(missing=False)[:, :3], candidates(missing=False)[:, :3]
        documents = torch.cat([documents, torch.full((B, 2), -1)], 1)
        ensembles = [Ensemble([Matrix(table)], normalize="affine") for _ in range(2)]
        for ensemble, given in zip(ensembles, (full, documents), strict=True):
            ensemble.calibrate(ALL, given)
        found = ensembles[1].own(ALL, documents)
        assert torch.allclose(found[:, :3], ensembles[0].own(ALL, full), atol=1e-4)
        assert torch.isneginf(found[:, 3:]).all()

    def test_a_teacher_that_never_differs_cannot_be_calibrated(self) -> None:
        with pytest.raises(InvalidInput, match="the teacher dull gives all candidates of each query the same score"):
            Ensemble([Matrix(np.ones((B, DOCUMENTS)), "dull")], normalize="affine").calibrate(ALL, candidates())


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"weights": [1.0]}, "one for each of 2 teachers"),
            ({"weights": [1.0, -1.0]}, "0 or more"),
            ({"weights": [0.0, 0.0]}, "not all 0"),
            ({"weights": [float("nan"), 1.0]}, "weights are"),
            ({"normalize": "softmax"}, "must be one of minmax, affine, none"),
            ({"scale": 0.0}, "scale is 0"),
        ],
    )
    def test_out_of_range(self, arguments: dict[str, object], message: str) -> None:
        with pytest.raises(InvalidInput, match=message):
            Ensemble([Matrix(table) for table in tables(2)], **arguments)  # type: ignore[arg-type]

    def test_teachers(self) -> None:
        for wrong in ([], [Teacher()]):
            with pytest.raises(InvalidInput, match="at least one teacher"):
                Ensemble(wrong)

    def test_pair_scores_of_another_shape(self) -> None:
        first, second = tables(2)
        with pytest.raises(InvalidInput, match="there are 1 pair teachers"):
            Ensemble([Matrix(first), Pairs(second)]).own(ALL, candidates(), torch.zeros(B, K))


class TestCheck:
    def related(self, count: int, noise: float = 0.5) -> list[Array]:
        """Scores of teachers that mean the same."""
        random = np.random.default_rng(2)
        truth = random.normal(size=(B, DOCUMENTS))
        return [truth + noise * random.normal(size=truth.shape) for _ in range(count)]

    def test_good_targets(self) -> None:
        ensemble = Ensemble([Matrix(table, f"teacher {i}") for i, table in enumerate(self.related(3))], scale=5)
        found = ensemble.check(ALL, candidates())
        assert (found.errors, found.warnings) == ([], [])
        found.refuse()

    def test_targets_that_do_not_tell_candidates_apart(self) -> None:
        found = Ensemble([Matrix(self.related(1)[0])], scale=0.1).check(ALL, candidates())
        (warning,) = found.warnings
        assert "softmax near uniform" in warning
        assert not found.errors

    def test_targets_with_all_weight_on_one(self) -> None:
        (warning,) = check_targets(torch.eye(K)[torch.arange(B) % K] * 50).warnings
        assert "all weight on one candidate" in warning

    @pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
    def test_targets_that_are_no_numbers(self, wrong: float) -> None:
        (table,) = self.related(1)
        table[7] = wrong
        found = Ensemble([Matrix(table, "broken")], scale=5).check(ALL, candidates(missing=False))
        assert any("are no numbers" in error for error in found.errors)
        with pytest.raises(InvalidInput, match="are no numbers"):
            found.refuse()

    def test_a_constant_teacher(self) -> None:
        dull, good = np.full((B, DOCUMENTS), 2.5), self.related(1)[0]
        found = Ensemble([Matrix(good, "good"), Matrix(dull, "dull")], scale=5).check(ALL, candidates())
        (error,) = found.errors
        assert "the teacher dull gives all candidates the same score for 100% of the queries" in error

    @pytest.mark.parametrize(("factor", "how"), [(-1, "is opposed"), (0, "is unrelated")])
    def test_a_teacher_that_ranks_otherwise(self, factor: int, how: str) -> None:
        first, second, third = self.related(3)
        random = np.random.default_rng(3).normal(size=third.shape)
        teachers = [Matrix(first, "a"), Matrix(second, "b"), Pairs(factor * third + (1 - abs(factor)) * random, "odd")]
        found = Ensemble(teachers, weights=[1, 1, 0.2], scale=5).check(ALL, candidates(missing=False))
        assert not found.errors
        (warning,) = found.warnings
        assert f"the teacher odd {how}" in warning

    def test_a_teacher_that_knows_few(self) -> None:
        first, second = self.related(2)
        second[: B - 10] = np.nan
        found = Ensemble([Matrix(first, "a"), Pairs(second, "scores.tsv")], scale=5).check(ALL, candidates())
        (warning,) = found.warnings
        assert "the teacher scores.tsv knows more than one candidate of 14% of the queries only" in warning

    def test_two_teachers_of_one_name_are_numbered(self) -> None:
        ensemble = Ensemble([Matrix(table, "twin") for table in self.related(2)])
        assert ensemble.names == ["twin (1)", "twin (2)"]

    def test_nothing_to_compare(self) -> None:
        (error,) = check_targets(torch.full((4, 3), -torch.inf)).errors
        assert "no query has two candidates" in error
