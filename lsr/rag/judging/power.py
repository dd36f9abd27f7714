"""How many judged items a difference needs, how sure a share of wins is, and a judge's bias taken out of it.

An advantage is the share of wins above one half, among the items where one side wins. Items that tell nothing (ties, or
equal verdicts on both systems) do not count in a sign test: `informativeness` is the share of those that do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from lsr.errors import EvaluationError, InvalidInput

__all__ = [
    "Corrected",
    "Power",
    "corrected_share",
    "detectable_advantage",
    "items_needed",
    "sign_test",
    "wilson_interval",
]

ALPHA, POWER, CONFIDENCE = 0.05, 0.8, 0.95


def items_needed(advantage: float, informativeness: float = 1.0, *, alpha: float = ALPHA, power: float = POWER) -> int:
    """Items for a one-sided sign test to show the advantage: n = ((z_alpha / 2 + z_beta sqrt(p (1 - p))) / (p - 1/2))^2
    with p = 1/2 + advantage, and N = n / informativeness, both rounded up (Dixon and Mood 1946; normal approximation).

    Raises `InvalidInput` unless 0 < advantage < 0.5, 0 < informativeness <= 1, and alpha and power lie in (0, 1).
    """
    if not 0 < advantage < 0.5:
        raise InvalidInput(f"the advantage is {advantage!r}; it must lie between 0 and 0.5, as 0.05 (5 points) does")
    if not 0 < informativeness <= 1:
        raise InvalidInput(f"the informativeness is {informativeness!r}; it must be above 0 and at most 1")
    return math.ceil(math.ceil(_informative(advantage, alpha, power)) / informativeness)


def detectable_advantage(
    items: int, informativeness: float = 1.0, *, alpha: float = ALPHA, power: float = POWER
) -> float | None:
    """The smallest advantage that so many items show; None where even one near 0.5 would need more."""
    low, high = 1e-6, 0.5 - 1e-9
    if items < items_needed(high, informativeness, alpha=alpha, power=power):
        return None
    for _ in range(60):
        middle = (low + high) / 2
        enough = items_needed(middle, informativeness, alpha=alpha, power=power) <= items
        low, high = (low, middle) if enough else (middle, high)
    return high


def _informative(advantage: float, alpha: float, power: float) -> float:
    if not 0 < alpha < 1 or not 0 < power < 1:
        raise InvalidInput(f"power ({power!r}) and alpha ({alpha!r}) must lie between 0 and 1, as 0.8 and 0.05 do")
    p, normal = 0.5 + advantage, NormalDist()
    z_alpha, z_beta = normal.inv_cdf(1 - alpha), normal.inv_cdf(power)
    return ((z_alpha / 2 + z_beta * math.sqrt(p * (1 - p))) / advantage) ** 2


@dataclass(frozen=True, slots=True)
class Power:
    """What judging so many items can show. informativeness: None where nothing was informative, or nothing is known."""

    items: int
    informativeness: float | None
    alpha: float = ALPHA
    power: float = POWER

    @property
    def detectable(self) -> float | None:
        if not self.informativeness or not self.items:
            return None
        return detectable_advantage(self.items, self.informativeness, alpha=self.alpha, power=self.power)

    def needed(self, advantage: float) -> int | None:
        if not self.informativeness:
            return None
        return items_needed(advantage, self.informativeness, alpha=self.alpha, power=self.power)

    def sentence(self) -> str:
        """What to say before judging."""
        if not self.informativeness:
            return f"No verdict told two systems apart in the screen: {self.items:,} questions will hardly show a difference."
        least = self.detectable
        shows = (
            f"show an advantage from {100 * least:.1f} points"
            if least is not None
            else "are too few to show any advantage"
        )
        return (
            f"{self.items:,} questions at an informativeness of {self.informativeness:.2f} {shows} (one-sided sign test, "
            f"alpha {self.alpha:g}, power {self.power:g}); 5 points need {self.needed(0.05):,} questions, 10 points "
            f"{self.needed(0.1):,}."
        )


def wilson_interval(wins: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927), 0 ... 1 without any items. Raises `InvalidInput` for wins above n."""
    if not 0 <= wins <= n:
        raise InvalidInput(f"{wins} wins of {n}: wins are some of the items")
    if n == 0:
        return 0.0, 1.0
    z = _z(confidence)
    share = wins / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def sign_test(wins: int, losses: int) -> float:
    """The one-sided p of at least so many wins when both are as likely; ties are no part of it. 1 without any."""
    n = wins + losses
    tail: int = sum(math.comb(n, k) for k in range(wins, n + 1))
    return float(tail / 2**n)


@dataclass(frozen=True, slots=True)
class Corrected:
    """A share of wins with the judge's bias taken out, its interval, and what the judge was found to be.

    specificity: share of the losses by people's labels that the judge called so; sensitivity: the same of wins.
    """

    share: float
    interval: tuple[float, float]
    specificity: float
    sensitivity: float


def corrected_share(
    wins: int, n: int, *, true_losses: tuple[int, int], true_wins: tuple[int, int], confidence: float = CONFIDENCE
) -> Corrected:
    """theta = (p + q0 - 1) / (q0 + q1 - 1): the share that people would have called wins, from that of the judge.

    wins, n: verdicts of the judge. true_losses: (items that the judge called losses, all items) among those that people
    labelled as losses, which gives q0; true_wins: (called wins, all), which gives q1.
    The interval is by the delta method over the three shares after Lee et al. (2025, "How to correctly report
    LLM-as-a-judge evaluations"): shares are drawn towards one half (z^2 / 2 items more of each kind for p, one for q0 and
    q1), since the plain one is too narrow near 0 and 1. Clipped to 0 ... 1.

    Raises `InvalidInput` for counts that are no counts, `EvaluationError` when the judge is no better than chance.
    """
    for what, (some, all_) in (("verdicts", (wins, n)), ("true_losses", true_losses), ("true_wins", true_wins)):
        if not 0 <= some <= all_ or all_ < 1:
            raise InvalidInput(f"{what} are {some} of {all_}: give counts of one labelled item at least")
    q0, q1 = (some / all_ for some, all_ in (true_losses, true_wins))
    if q0 + q1 <= 1:
        raise EvaluationError(
            f"the judge agrees with {q0:.0%} of the labelled losses and {q1:.0%} of the wins, no better than chance: its "
            "verdicts cannot be corrected; use another judge or prompt"
        )
    z = _z(confidence)
    p_, n_ = (wins + z * z / 2) / (n + z * z), n + z * z
    q0_, m0 = (true_losses[0] + 1) / (true_losses[1] + 2), true_losses[1] + 2
    q1_, m1 = (true_wins[0] + 1) / (true_wins[1] + 2), true_wins[1] + 2
    share = _clipped((wins / n + q0 - 1) / (q0 + q1 - 1))
    youden = q0_ + q1_ - 1
    if youden <= 0:
        return Corrected(share, (0.0, 1.0), q0, q1)
    theta = _clipped((p_ + q0_ - 1) / youden)
    variance = p_ * (1 - p_) / n_ + (1 - theta) ** 2 * q0_ * (1 - q0_) / m0 + theta**2 * q1_ * (1 - q1_) / m1
    half = z * math.sqrt(variance) / youden
    low, high = _clipped(theta - half), _clipped(theta + half)
    return Corrected(share, (min(low, share), max(high, share)), q0, q1)


def _clipped(value: float) -> float:
    return min(1.0, max(0.0, value))


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise InvalidInput(f"the confidence is {confidence!r}; it must lie between 0 and 1, as 0.95 does")
    return NormalDist().inv_cdf((1 + confidence) / 2)
