"""Penalties that make vectors sparse, and the controller that holds a number of terms.

Each works on the vectors of all texts of a step, over all processes and chunks: its strength means the same for any number of
devices. With weights w [N, V]:

    flops       sum over terms of (mean over texts of w) squared (Paria et al. 2020); in SPLADE's form, not divided by groups
    l1          mean over texts of the sum of w
    df_flops    flops of w times 1 / (1 + (x ^ (log_alpha 2) - 1) ^ beta), x = share of texts with the term: it spares
    rare terms anti_zero   1 / (sum of w) squared, over all texts: keeps a side from dying out (Nguyen et al. 2023)

`idf_aware` divides w by the IDF of its term (relative to the mean): with the IDF in the match, a term is then charged
for what it adds to a score (Geng et al. 2024, section 3.2). `threshold` leaves out texts with fewer terms than that
(the l0 mask of the same line of models).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lsr.training.recipe import Regularizer

__all__ = ["Penalty"]

# A step of the controller: strength is multiplied by exp(GAIN x relative error), the error cut at 1. Its effect on the
# number of terms comes some hundred steps late, so a larger gain swings.
GAIN = 0.003
SMOOTHING = 0.98
RANGE = 1e4  # the strength stays within this factor of where it began
SMALLEST_IDF = 0.5


class Penalty:
    """One regularizer in a run of `steps`. `idf` float32 [V] when it is idf_aware, on the device of the vectors."""

    def __init__(self, choice: Regularizer, steps: int, idf: Tensor | None, device: torch.device) -> None:
        self.choice = choice
        self._ramp = max(1.0, choice.ramp * steps)
        self._factors: Tensor | None = None
        if choice.idf_aware:
            assert idf is not None
            known = idf.clamp(min=SMALLEST_IDF)
            self._factors = (known.mean() / known).to(device)
        # On the device, so that steering costs no synchronisation.
        self.strength = torch.full((), choice.strength, device=device)
        self.seen = torch.zeros((), device=device)
        self.shares: Tensor | None = None  # of texts with each term, smoothed, for df_flops
        self._seen_step = -1

    def ramp(self, step: int) -> float:
        """Share of the strength at a step: the square of the share of the ramp that is done."""
        return min(1.0, (step + 1) / self._ramp) ** 2

    def __call__(self, weights: Tensor, step: int) -> Tensor:
        """The penalty of the vectors of a step, float32 [N, V]. Called again for the same step, it gives the same."""
        again, self._seen_step = step == self._seen_step, step
        with torch.no_grad():
            active = weights > 0
            if self.choice.nnz is not None and not again:
                self._steer(active.sum(1, dtype=torch.float32).mean(), step)
            charged: Tensor | None = None
            if self.choice.threshold is not None:
                charged = (active.sum(1) > self.choice.threshold).to(weights.dtype)
            shares = self._shares(active, again) if self.choice.kind == "df_flops" else None
        strength = self.strength * self.ramp(step)
        if self.choice.kind == "anti_zero":
            return strength / weights.sum().square().clamp(min=1e-12)
        # Means over texts [V]; a product with the charged rows reads the vectors once.
        means = weights.mean(0) if charged is None else charged @ weights / len(weights)
        if self._factors is not None:
            means = means * self._factors
        if self.choice.kind == "l1":
            return strength * means.sum()
        if shares is not None:
            means = means * shares
        return strength * means.square().sum()

    def _steer(self, mean: Tensor, step: int) -> None:
        """Raises the strength while there are more terms than asked, lowers it while there are fewer; not on the first
        half of the ramp, whose strength is not that of the run."""
        assert self.choice.nnz is not None
        self.seen.copy_(mean if step == 0 else SMOOTHING * self.seen + (1 - SMOOTHING) * mean)
        if step < self._ramp / 2:
            return
        error = ((self.seen - self.choice.nnz) / self.choice.nnz).clamp(-1, 1)
        self.strength.mul_(torch.exp(GAIN * error))
        self.strength.clamp_(self.choice.strength / RANGE, self.choice.strength * RANGE)

    def _shares(self, active: Tensor, again: bool) -> Tensor:
        now = active.to(torch.float32).mean(0)
        if self.shares is None:
            self.shares = now
        elif not again:
            self.shares = torch.lerp(self.shares, now, 1 - SMOOTHING)
        # x ^ (log_alpha 2) is 2 at x = alpha, so the factor is a half there.
        x = self.shares.clamp(1e-9, 1).pow(math.log(2) / math.log(self.choice.alpha))
        return 1 / (1 + (x - 1).clamp(min=0).pow(self.choice.beta))

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        found = {"strength": self.strength, "seen": self.seen}
        return found if self.shares is None else found | {"shares": self.shares}

    def load(self, state: dict[str, Any]) -> None:
        """Goes on from what a checkpoint kept."""
        self.strength.copy_(state["strength"])
        self.seen.copy_(state["seen"])
        if "shares" in state:
            self.shares = state["shares"].to(self.strength.device)
