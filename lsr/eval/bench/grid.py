"""Which settings of a grid are worth measuring: those that nothing beats in both recall and time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

__all__ = ["LEVELS", "cheapest", "front", "worth_measuring"]

LEVELS = (0.90, 0.95, 0.98, 0.99)  # of recall, at which engines are compared
MOST = 14  # settings of a series that are measured


class _Measured(Protocol):
    @property
    def recall(self) -> float: ...

    @property
    def mean_us(self) -> float: ...


P = TypeVar("P", bound=_Measured)


def front(points: Sequence[P]) -> list[P]:
    """The Pareto front, rising in time and in recall: no other point is at least as fast and finds as much."""
    kept: list[P] = []
    for point in sorted(points, key=lambda point: (point.mean_us, -point.recall)):
        if not kept or point.recall > kept[-1].recall:
            kept.append(point)
    return kept


def cheapest(points: Sequence[P], recall: float) -> P | None:
    """The fastest point that reaches a recall; nothing is interpolated. None when no point does."""
    reaching = [point for point in points if point.recall >= recall]
    return min(reaching, key=lambda point: point.mean_us, default=None)


def worth_measuring(points: Sequence[P], levels: Sequence[float] = LEVELS, most: int = MOST) -> list[P]:
    """The points of a coarse sweep to measure well: around each level the first that reaches it and its neighbours on the
    front (few queries say which it is only roughly), both ends, and others of the front evenly until there are `most`.
    """
    on_front = front(points)
    wanted = {0, len(on_front) - 1} if on_front else set()
    for level in levels:
        first = next((i for i, point in enumerate(on_front) if point.recall >= level), None)
        if first is not None:
            wanted |= {i for i in (first - 1, first, first + 1) if 0 <= i < len(on_front)}
    others = [i for i in range(len(on_front)) if i not in wanted]
    room = max(0, most - len(wanted))
    if len(others) > room:
        others = [others[len(others) * i // room] for i in range(room)]
    return [on_front[i] for i in sorted(wanted | set(others))]
