"""Penalties against the formulas, and the controller that holds a number of terms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lsr.training.recipe import Regularizer
from lsr.training.regularizers import Penalty

N, V, STEPS = 12, 40, 100
CPU = torch.device("cpu")


def weights(seed: int = 0, rows: int = N) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    found = torch.rand(rows, V, generator=generator) * 2
    # Text i has about a share of i / rows of the terms.
    return found * (torch.rand(rows, V, generator=generator) < torch.arange(1, rows + 1)[:, None] / rows)


def penalty(idf: Tensor | None = None, **choice: Any) -> Penalty:
    return Penalty(Regularizer(**{"strength": 0.5, "ramp": 0.0, **choice}), STEPS, idf, CPU)


def test_flops_is_the_sum_over_terms_of_the_squared_mean() -> None:
    w = weights()
    expected = sum(float(w[:, t].sum() / N) ** 2 for t in range(V))
    assert float(penalty(kind="flops")(w, 0)) == pytest.approx(0.5 * expected, rel=1e-5)


def test_l1_is_the_mean_over_texts_of_the_sum() -> None:
    w = weights()
    assert float(penalty(kind="l1")(w, 0)) == pytest.approx(0.5 * float(w.abs().sum()) / N, rel=1e-5)


def test_anti_zero_is_one_over_the_squared_sum_of_all() -> None:
    w = weights()
    assert float(penalty(kind="anti_zero")(w, 0)) == pytest.approx(0.5 / float(w.sum()) ** 2, rel=1e-5)
    assert penalty(kind="anti_zero")(torch.zeros(N, V), 0).isfinite()


def test_df_flops_weighs_a_term_by_how_many_texts_have_it() -> None:
    w = weights()
    alpha, beta = 0.3, 10.0
    expected = 0.0
    for t in range(V):
        share = float((w[:, t] > 0).sum()) / N
        factor = 0.0
        if share > 0:
            x = share ** (math.log(2) / math.log(alpha))
            factor = 1 / (1 + max(0.0, x - 1) ** beta)
        expected += (float(w[:, t].mean()) * factor) ** 2
    found = penalty(kind="df_flops", alpha=alpha, beta=beta)(w, 0)
    assert float(found) == pytest.approx(0.5 * expected, rel=1e-4)


def test_df_flops_spares_rare_terms_and_halves_at_alpha() -> None:
    def charged(share: float) -> float:
        w = torch.zeros(100, 1)
        w[: round(100 * share)] = 1 / share  # the mean is 1, whatever the share
        found = Penalty(Regularizer(kind="df_flops", strength=1, ramp=0, alpha=0.1), STEPS, None, CPU)(w, 0)
        return math.sqrt(float(found))

    assert charged(0.1) == pytest.approx(0.5, abs=1e-3)
    assert charged(0.01) < 1e-3
    assert charged(0.5) > 0.999


def test_idf_aware_divides_by_the_idf_relative_to_its_mean() -> None:
    w, idf = weights(), torch.linspace(0.0, 8.0, V)  # IDFs below a half count as a half
    known = [max(0.5, float(value)) for value in idf]
    mean = sum(known) / V
    for kind in ("flops", "l1"):
        means = [float(w[:, t].mean()) * mean / known[t] for t in range(V)]
        expected = sum(m**2 if kind == "flops" else m for m in means)
        assert float(penalty(idf, kind=kind, idf_aware=True)(w, 0)) == pytest.approx(0.5 * expected, rel=1e-5)


def test_threshold_charges_texts_with_more_terms_alone() -> None:
    w = weights()
    lengths = (w > 0).sum(1)
    limit = int(lengths.median())
    charged = [i for i in range(N) if int(lengths[i]) > limit]
    assert 0 < len(charged) < N
    expected = sum(float(w[charged, t].sum() / N) ** 2 for t in range(V))
    assert float(penalty(kind="flops", threshold=limit)(w, 0)) == pytest.approx(0.5 * expected, rel=1e-5)
    assert penalty(kind="flops", threshold=V)(w, 0) == 0


def test_strength_grows_by_the_square_over_the_ramp() -> None:
    one = penalty(kind="flops", ramp=0.4)  # 40 of 100 steps
    full = float(penalty(kind="flops")(weights(), 0))
    for step, share in ((0, 1 / 40), (9, 10 / 40), (39, 1.0), (99, 1.0)):
        assert one.ramp(step) == pytest.approx(share**2)
        assert float(one(weights(), step)) == pytest.approx(full * share**2, rel=1e-5)


@pytest.mark.parametrize("kind", ["flops", "l1", "anti_zero"])
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    w = (weights().double() + 0.1).requires_grad_()
    one = Penalty(Regularizer(kind=kind, strength=0.5, ramp=0), STEPS, None, CPU)
    one.strength = one.strength.double()
    assert torch.autograd.gradcheck(lambda values: one(values, 0), (w,))


@pytest.mark.parametrize(
    "choice",
    [{"kind": "flops", "threshold": 5}, {"kind": "df_flops"}, {"kind": "flops", "idf_aware": True}],
    ids=["threshold", "df_flops", "idf"],
)
def test_what_is_counted_has_no_gradient(choice: dict[str, Any]) -> None:
    """Factors that come from counts are constants: the gradient is 2 x factor squared x mean / N."""
    w = weights().requires_grad_()
    value = penalty(torch.linspace(0.5, 8, V), **choice)(w, 0)
    (gradient,) = torch.autograd.grad(value, w)
    # The penalty is of second degree in the weights.
    assert float((gradient * w.detach()).sum()) == pytest.approx(2 * float(value.detach()), rel=1e-4)


def test_the_same_step_again_counts_once() -> None:
    """A step that a GPU had not the memory for is done again in smaller chunks."""
    once, twice = (penalty(kind="df_flops", nnz=3.0, strength=1.0) for _ in range(2))
    for step in range(5):
        w = weights(step)
        first = twice(w, step)
        assert torch.equal(first, once(w, step))
        assert torch.equal(twice(w, step), first)
    assert torch.equal(once.strength, twice.strength)
    assert once.shares is not None
    assert twice.shares is not None
    assert torch.equal(once.shares, twice.shares)


def test_a_penalty_goes_on_from_its_state() -> None:
    whole, first = (penalty(kind="df_flops", nnz=3.0, strength=1.0) for _ in range(2))
    for step in range(6):
        expected = whole(weights(step), step)
        if step == 3:
            kept = {key: value.clone() for key, value in first.state().items()}
            first = penalty(kind="df_flops", nnz=3.0, strength=1.0)
            first.load(kept)
        assert torch.equal(first(weights(step), step), expected)


# -- the controller ----------------------------------------------------------------------------------------------------


def settled(target: float | None, strength: float, steps: int = 4000) -> float:
    """The number of terms that a toy model comes to: weights that pull up alike and are pushed down by the penalty."""
    one = Penalty(Regularizer(kind="l1", strength=strength, ramp=0.1, nnz=target), steps, None, CPU)
    pull = torch.linspace(0.1, 2.0, 200)  # of each term, from what it is worth to the task
    logits = torch.nn.Parameter(torch.ones(200))
    optimizer = torch.optim.SGD([logits], lr=0.05)
    counted = []
    for step in range(steps):
        loss = 0.5 * (logits - pull).square().sum() + one(logits.relu()[None], step)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step >= 0.9 * steps:
            counted.append(int((logits > 1e-3).sum()))
    return sum(counted) / len(counted)


@pytest.mark.parametrize("strength", [0.02, 5.0])
def test_the_controller_brings_the_number_of_terms_to_the_target(strength: float) -> None:
    assert settled(60, strength) == pytest.approx(60, rel=0.05)
    assert settled(None, strength, 500) != pytest.approx(60, rel=0.2)


def test_the_strength_stays_within_its_range_and_waits_for_the_ramp() -> None:
    many, none = torch.ones(4, V), torch.zeros(4, V)
    for given, bound in ((many, 0.5e4), (none, 0.5e-4)):
        one = Penalty(Regularizer(strength=0.5, ramp=0.5, nnz=2), 2000, None, CPU)
        for step in range(500):
            one(given, step)
        assert float(one.strength) == pytest.approx(0.5)
        for step in range(500, 4100):
            one(given, step)
        assert float(one.strength) == pytest.approx(bound, rel=1e-3)
