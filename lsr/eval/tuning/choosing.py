"""What can be chosen among, and how: a grid of policies, those worth measuring, and the cheapest that is good enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from lsr.errors import InvalidInput
from lsr.rerank import Policy

__all__ = ["Configuration", "Grid", "best_unpruned", "chosen", "front"]

_ROUNDING = 1e-12  # means of the same values, added up in another order


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Values to try of each setting of a `Policy`; the defaults are those of Martinico et al. 2026, and more kappas.

    kappas below the k that is asked for are left out. None is a setting left out, which must be among alphas and betas:
    loss is measured against what is not pruned.
    """

    kappas: tuple[int, ...] = (10, 15, 20, 30, 50, 100, 200)
    alphas: tuple[float | None, ...] = (None, 0.015, 0.03, 0.05)
    betas: tuple[int | None, ...] = (None, 2, 3, 4)
    weights: tuple[float | None, ...] = (None, 0.1, 0.2, 0.3, 0.4, 0.5)

    def __post_init__(self) -> None:
        if not (self.kappas and self.weights and None in self.alphas and None in self.betas):
            raise InvalidInput("a grid needs a kappa, a weight (None is one), and None among its alphas and betas")
        for kappa, alpha, beta, weight in product(self.kappas, self.alphas, self.betas, self.weights):
            Policy(kappa=kappa, alpha=alpha, beta=beta, weight=weight)

    def policies(self, k: int) -> Iterator[Policy]:
        """Every combination for k hits, simple ones and few candidates first."""
        kappas = sorted({kappa for kappa in self.kappas if kappa >= k}) or [k]
        for weight, kappa, alpha, beta in product(self.weights, kappas, self.alphas, self.betas):
            yield Policy(kappa=kappa, alpha=alpha, beta=beta, weight=weight)


@dataclass(frozen=True, slots=True)
class Configuration:
    """A row of the table: a codec and a policy.

    quality: mean of the measure over the queries that are chosen by. scored: documents scored a query, mean. ms: median
    milliseconds of the second stage's scoring, None where it was not measured. simulated: the codec is not the store's.
    """

    codec: str
    policy: Policy
    quality: float
    scored: float
    ms: float | None = None
    simulated: bool = False

    @property
    def pruned(self) -> bool:
        return self.policy.alpha is not None or self.policy.beta is not None


def best_unpruned(table: Sequence[Configuration]) -> float:
    """The highest quality of what scores all its candidates."""
    return max(row.quality for row in table if not row.pruned)


def front(table: Sequence[Configuration]) -> list[int]:
    """Places of the rows that no other row of the same codec beats: none is as good and scores fewer, nor better with as few.

    Of equal rows the first stands. In the order of codecs, and of documents scored.
    """
    found: list[int] = []
    for codec in dict.fromkeys(row.codec for row in table):
        places = [place for place, row in enumerate(table) if row.codec == codec]
        best = float("-inf")
        for place in sorted(places, key=lambda place: (table[place].scored, -table[place].quality, place)):
            if table[place].quality > best + _ROUNDING:
                best = table[place].quality
                found.append(place)
    return found


def chosen(timed: Sequence[Configuration], best: float, max_ms: float | None, max_loss: float) -> Configuration:
    """The cheapest of the measured rows that is good enough, and fast enough where that is asked for.

    Good enough is not more than `max_loss` below the best unpruned quality, or below the best that the time allows. Within a
    codec fewer documents scored are cheaper, which does not hang on how busy the machine was; between codecs, milliseconds.

    Raises `InvalidInput` when nothing is fast enough.
    """
    fast = [row for row in timed if max_ms is None or (row.ms is not None and row.ms <= max_ms)]
    if not fast:
        fastest = min(row.ms for row in timed if row.ms is not None)
        raise InvalidInput(
            f"no policy takes at most {max_ms:g} ms: the fastest takes {fastest:.3g}; allow more, or try smaller kappas"
        )
    enough = min(best, max(row.quality for row in fast)) - max_loss - _ROUNDING
    cheapest: dict[str, Configuration] = {}
    for row in sorted(fast, key=lambda row: row.scored):
        if row.quality >= enough:
            cheapest.setdefault(row.codec, row)
    return min(cheapest.values(), key=lambda row: row.ms or 0.0)
