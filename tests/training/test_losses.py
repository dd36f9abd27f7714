"""Losses against the formulas, row by row; what is not there; gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lsr.training import losses

B, K, V = 6, 5, 30
ABSENT = -float("inf")


def scores(seed: int, rows: int = B, columns: int = K) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * 3


def with_gaps(targets: Tensor) -> Tensor:
    """Row 0 whole, 1 and 2 with gaps, 3 with one target, 4 with none."""
    gaps = targets.clone()
    gaps[1, 2:] = ABSENT
    gaps[2, 0] = ABSENT
    gaps[3, 1:] = ABSENT
    gaps[4] = ABSENT
    return gaps


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_kl_divergence_is_that_of_torch_over_the_documents_that_are_there(temperature: float) -> None:
    student, targets = scores(0), with_gaps(scores(1))
    expected = torch.zeros(())
    for row in (0, 1, 2, 5):
        there = targets[row].isfinite()
        found = (student[row, there] / temperature).log_softmax(0)
        expected = expected + functional.kl_div(found, targets[row, there].softmax(0), reduction="sum")
    torch.testing.assert_close(losses.kl_divergence(student, targets, temperature), expected)


def test_kl_divergence_of_equal_scores_is_0() -> None:
    targets = with_gaps(scores(1))
    student = torch.where(targets.isfinite(), targets + 7, 0.0)
    torch.testing.assert_close(losses.kl_divergence(student, targets), torch.zeros(()), atol=1e-5, rtol=0)


def test_margin_mse_is_the_mean_over_the_others_summed_over_rows() -> None:
    student, targets = scores(0), with_gaps(scores(1))
    reference = torch.tensor([0, 1, 3, 0, 0, 2])
    expected = torch.zeros(())
    for row in (0, 1, 2, 5):  # row 3 has its reference alone
        first = int(reference[row])
        others = [k for k in range(K) if k != first and targets[row, k].isfinite()]
        margins = torch.stack([student[row, first] - student[row, k] for k in others])
        wanted = torch.stack([targets[row, first] - targets[row, k] for k in others])
        expected = expected + functional.mse_loss(margins, wanted)
    torch.testing.assert_close(losses.margin_mse(student, targets, reference), expected)


def test_margin_mse_without_the_score_of_the_reference_is_0() -> None:
    targets = scores(1)
    targets[:, 2] = ABSENT
    assert losses.margin_mse(scores(0), targets, torch.full((B,), 2)) == 0


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_contrastive_is_cross_entropy_over_the_positive_and_the_negatives(temperature: float) -> None:
    student = scores(0)
    positive = torch.tensor([0, 4, -1, 2, 1, -1])
    there = torch.rand(B, K, generator=torch.Generator().manual_seed(2)) < 0.6
    there[1, 4] = False  # the positive counts whether it is called a negative or not
    expected = torch.zeros(())
    for row in range(B):
        place = int(positive[row])
        if place < 0:
            continue
        columns = [k for k in range(K) if k == place or there[row, k]]
        own = student[row, columns][None] / temperature
        expected = expected + functional.cross_entropy(own, torch.tensor([columns.index(place)]))
    torch.testing.assert_close(losses.contrastive(student, positive, there, temperature), expected)


def test_contrastive_over_a_batch_is_info_nce() -> None:
    """Query i's positive is document i of its own K: the others of the batch are negatives."""
    block = scores(0, B, B * K)
    places = torch.arange(B) * K
    found = losses.contrastive(block, places, torch.ones(B, B * K, dtype=torch.bool))
    torch.testing.assert_close(found, functional.cross_entropy(block, places, reduction="sum"))


def test_term_recall_is_the_mean_squared_error_over_the_terms_of_the_text() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(B, V, generator=generator) * 2
    query = (torch.rand(B, V, generator=generator) < 0.2).float()
    occurs = (torch.rand(B, V, generator=generator) < 0.5).float()
    occurs[3] = 0
    expected = torch.zeros(())
    for row in range(B):
        terms = occurs[row].nonzero()[:, 0]
        if len(terms):
            expected = expected + functional.mse_loss(weights[row, terms], query[row, terms])
    torch.testing.assert_close(losses.term_recall(weights, query, occurs), expected)


def of_kl(student: Tensor) -> Tensor:
    return losses.kl_divergence(student, with_gaps(scores(1)).to(student.dtype))


def of_margins(student: Tensor) -> Tensor:
    return losses.margin_mse(student, with_gaps(scores(1)).to(student.dtype), torch.zeros(B, dtype=torch.int64))


def of_contrast(student: Tensor) -> Tensor:
    return losses.contrastive(student, torch.tensor([0, -1, 1, 2, -1, 3]), with_gaps(scores(1)).isfinite())


LOSSES = [of_kl, of_margins, of_contrast]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: str(loss.__name__))
@pytest.mark.parametrize("size", [1.0, 1e4, 0.0])
def test_gradients_are_numbers_and_0_where_nothing_is(loss: Callable[[Tensor], Tensor], size: float) -> None:
    student = (scores(0) * size).requires_grad_()
    value = loss(student)
    value.backward()  # type: ignore[no-untyped-call]
    assert value.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert (student.grad[4] == 0).all()
    assert (student.grad[1, 2:] == 0).all()
    if size == 1.0:
        assert (student.grad[0] != 0).any()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: str(loss.__name__))
def test_gradients_are_those_of_finite_differences(loss: Callable[[Tensor], Tensor]) -> None:
    student = scores(0).double().requires_grad_()
    assert torch.autograd.gradcheck(loss, (student,))


def test_a_loss_is_a_sum_over_rows() -> None:
    """So that processes may each do a part of the batch."""
    student, targets = scores(0), with_gaps(scores(1))
    reference = torch.zeros(B, dtype=torch.int64)
    parts = [
        losses.kl_divergence(student[i : i + 2], targets[i : i + 2])
        + losses.margin_mse(student[i : i + 2], targets[i : i + 2], reference[i : i + 2])
        for i in range(0, B, 2)
    ]
    torch.testing.assert_close(torch.stack(parts).sum(), of_kl(student) + of_margins(student))
