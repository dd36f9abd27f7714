"""What recall costs: curves measured when an index is built, and the settings chosen from them when it is searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lsr.index.blocked.parameters import SearchSettings

__all__ = ["DEPTHS", "MOST_TERMS", "SHORT", "Curve", "Point", "choose"]

DEPTHS = (10, 100)  # the k for which curves are measured; a search for more than the largest is exact
SHORT = 12  # terms of a short query, at most: what an inference-free encoder makes of a question
# The 16-bit sums of a longer query leave its terms 31 steps or less: blocks are told apart badly, and its search is exact.
MOST_TERMS = 1_024


@dataclass(frozen=True, slots=True)
class Point:
    """Settings, and what they came to: recall@k against the exact engine, and time a query on the machine of the build."""

    recall: float
    microseconds: float
    settings: SearchSettings


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of rising recall and cost, of short (up to `SHORT` terms) or long queries; and the exact engine beside them."""

    short: bool
    k: int
    exact_microseconds: float
    points: tuple[Point, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Curve:
        """Raises KeyError, TypeError, ValueError or `InvalidInput` for what is none."""
        points = tuple(
            Point(float(point["recall"]), float(point["microseconds"]), SearchSettings(**point["settings"]))
            for point in found["points"]
        )
        return cls(bool(found["short"]), int(found["k"]), float(found["exact_microseconds"]), points)


def choose(curves: Sequence[Curve], terms: int, k: int, recall: float) -> SearchSettings | None:
    """The cheapest settings that reach a recall for a query of so many terms; None where the exact engine is to be used.

    Points that cost more than the exact engine are not on a curve.
    """
    if terms > MOST_TERMS:
        return None
    for curve in curves:
        if curve.short == (terms <= SHORT) and k <= curve.k:
            return next((point.settings for point in curve.points if point.recall >= recall), None)
    return None
