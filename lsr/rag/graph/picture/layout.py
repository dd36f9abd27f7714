"""Where the nodes of a neighbourhood stand: columns from the seeds on the left to the passages that were found on the right.

After Sugiyama, Tagawa and Toda (1981): an edge of a way that passes a column has a place of its own there, and within a
column all are ordered by the mean height of what they are joined with. The same neighbourhood always has the same layout.
"""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lsr.eval.report.texts import line
from lsr.rag.graph.picture.neighbourhood import Edge, Neighbourhood, Node

__all__ = ["LETTER", "WIDTH", "Layout", "Place", "about", "cut", "label", "layout", "percent", "wide"]

# Lengths are in user units, about a pixel each where the page is wide.
WIDTH = 944.0
LETTER = 6.7  # the width of one, somewhat more than the mean
_EDGE = 6.0  # above and below all
_BESIDE = 214.0  # for a name outside of the first and the last column, at most
_LEAST, _MOST = 4.5, 15.0  # radius of a phrase, half the side of a passage
_OUTER = 29.0  # half a row of the outer columns
_PASSING = 10.0  # half the room of an edge that passes
_SWEEPS = 12
_BETWEEN = 3  # columns between the first and the last one, at most

# A node, or where an edge passes a column: (source, target, column).
_Item = int | tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node stands, and how large it is. side: -1 where its name is on the left, 1 on the right, 0 below; room: the
    width that there is for the name."""

    x: float
    y: float
    radius: float
    side: int
    room: float


@dataclass(frozen=True, slots=True)
class Layout:
    """passing: by (source, target) of an edge, the points between that it goes through."""

    places: dict[int, Place]
    passing: dict[tuple[int, int], list[tuple[float, float]]]
    height: float


def layout(shown: Neighbourhood) -> Layout:
    """Names of nodes, when cut to the room that they have, do not overlap."""
    column_of = _columns(shown)
    last = max(column_of.values())
    chains = {(edge.source, edge.target): _chain(edge, column_of) for edge in shown.edges}
    columns: list[list[_Item]] = [[] for _ in range(last + 1)]
    for node in shown.nodes:
        columns[column_of[node.number]].append(node.number)
    for chain in chains.values():
        for item in chain[1:-1]:
            assert isinstance(item, tuple)
            columns[item[2]].append(item)
    xs = _across(shown, column_of, last)
    most = max(node.score for node in shown.nodes)
    radius = {
        node.number: _LEAST + (_MOST - _LEAST) * math.sqrt(node.score / most if most else 0.0) for node in shown.nodes
    }
    sides = {number: _side(shown, column, column_of) for number, column in column_of.items()}
    extents = {item: _extent(item, sides, radius) for column in columns for item in column}
    height = 2 * _EDGE + max(sum(sum(extents[item]) for item in column) for column in columns)
    ys = _heights(shown, columns, chains, extents, height)
    gap = xs[1] - xs[0] if last else WIDTH
    places = {
        number: Place(xs[column], ys[number], radius[number], sides[number], _BESIDE if sides[number] else gap - 24)
        for number, column in column_of.items()
    }
    passing = {
        ends: [(xs[item[2]], ys[item]) for item in chain[1:-1] if isinstance(item, tuple)]
        for ends, chain in chains.items()
    }
    return Layout(places, passing, height)


def _columns(shown: Neighbourhood) -> dict[int, int]:
    """The column of each node: seeds, what lies between by the number of steps from them, passages that were found."""
    steps: dict[int, int] = {}
    for way in shown.ways:
        for at, number in enumerate(way.nodes):
            steps[number] = min(steps.get(number, at), at)
    column: dict[int, int] = {}
    for node in shown.nodes:
        if node.rank is not None:
            column[node.number] = _BETWEEN + 1
        elif node.seed > 0 and not node.passage:
            column[node.number] = 0
        else:
            column[node.number] = min(max(1, steps.get(node.number, 1)), _BETWEEN)
    present = sorted(set(column.values()))
    return {number: present.index(at) for number, at in column.items()}


def _chain(edge: Edge, column_of: Mapping[int, int]) -> list[_Item]:
    """An edge with a place in each column that it passes; edges beside the ways have none, and go behind what is there."""
    start, end = column_of[edge.source], column_of[edge.target]
    step = 1 if end > start else -1
    between = range(start + step, end, step) if edge.way and abs(end - start) > 1 else ()
    return [edge.source, *((edge.source, edge.target, at) for at in between), edge.target]


def _side(shown: Neighbourhood, column: int, column_of: Mapping[int, int]) -> int:
    """The last column has names on the right where it is that of the passages found, the first one on the left."""
    ranked = any(node.rank is not None and column_of[node.number] == column for node in shown.nodes)
    return 1 if ranked else -1 if column == 0 else 0


def _across(shown: Neighbourhood, column_of: Mapping[int, int], last: int) -> list[float]:
    """Where columns stand; the names of the outer ones are outside of them."""
    margin = {-1: 0.0, 0: 0.0, 1: 0.0}
    for node in shown.nodes:
        side = _side(shown, column_of[node.number], column_of)
        margin[side] = max(margin[side], label(node, _BESIDE)[2])
    left, right = (margin[side] + _MOST + 12 for side in (-1, 1))
    return [left + (WIDTH - right - left) * at / max(1, last) for at in range(last + 1)]


def _extent(item: _Item, sides: Mapping[int, int], radius: Mapping[int, float]) -> tuple[float, float]:
    """The room that something takes above and below the height at which it stands."""
    if isinstance(item, tuple):
        return _PASSING, _PASSING
    return (_OUTER, _OUTER) if sides[item] else (radius[item] + 5, radius[item] + 23)


def _heights(
    shown: Neighbourhood,
    columns: Sequence[list[_Item]],
    chains: Mapping[tuple[int, int], list[_Item]],
    extents: Mapping[_Item, tuple[float, float]],
    height: float,
) -> dict[_Item, float]:
    """All near what they are joined with, so that few edges cross; passages that were found in their order."""
    fixed = {node.number for node in shown.nodes if node.rank is not None}
    beside: dict[_Item, list[tuple[_Item, float]]] = {item: [] for column in columns for item in column}
    for edge in shown.edges:
        pull = edge.share * (4 if edge.way else 1)
        chain = chains[edge.source, edge.target]
        for one, other in itertools.pairwise(chain):
            beside[one].append((other, pull))
            beside[other].append((one, pull))
    ys: dict[_Item, float] = {}
    for column in columns:
        ys.update((item, height * (at + 0.5) / len(column)) for at, item in enumerate(column))
    for _ in range(_SWEEPS):
        for column in reversed(columns):
            if fixed.issuperset(column):
                order, wanted = column, [ys[item] for item in column]
            else:
                drawn = {item: _mean(beside[item], ys, ys[item]) for item in column}
                # Equal heights: in the order in which they were chosen.
                order = sorted(column, key=drawn.__getitem__)
                wanted = [drawn[item] for item in order]
            placed = _spread(wanted, [extents[item] for item in order], height)
            ys.update(zip(order, placed, strict=True))
    return ys


def _mean(beside: Sequence[tuple[_Item, float]], ys: Mapping[_Item, float], now: float) -> float:
    total = sum(pull for _, pull in beside)
    return sum(ys[item] * pull for item, pull in beside) / total if total > 0 else now


def _spread(wanted: Sequence[float], extents: Sequence[tuple[float, float]], height: float) -> list[float]:
    """Heights near those wanted, in the same order, with the room that each takes."""
    placed, free = [], _EDGE
    for y, (above, below) in zip(wanted, extents, strict=True):
        placed.append(max(y, free + above))
        free = placed[-1] + below
    free = height - _EDGE
    for at in range(len(placed) - 1, -1, -1):
        above, below = extents[at]
        placed[at] = min(placed[at], free - below)
        free = placed[at] - above
    return placed


# -- names -------------------------------------------------------------------------------------------------------------


def label(node: Node, room: float) -> tuple[str, str, float]:
    """Rank and name as they are written, and how wide they are with the figures below."""
    rank = f"{node.rank} " if node.rank is not None else ""
    name = cut(node.text, room - len(rank) * LETTER)
    return rank, name, max(wide(rank + name), 0.9 * wide(about(node)))


def about(node: Node) -> str:
    """The figures of a node."""
    kind = "first stage" if node.passage else "named" if node.named else "seed"
    seed = f"{kind} {percent(node.seed)} · " if node.seed > 0 else ""
    return f"{seed}walk {percent(node.score)}"


def percent(part: float) -> str:
    """31 %, 0.4 %."""
    return f"{100 * part:.1f} %" if 0 < part < 0.0095 else f"{100 * part:.0f} %"


def wide(text: str) -> float:
    """About how wide a text is: East Asian letters are twice as wide as others."""
    return LETTER * sum(1.9 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def cut(text: str, room: float) -> str:
    """The beginning of a text in one line, with an ellipsis where there is more than fits."""
    text = line(text)
    if wide(text) <= room:
        return text
    widths = itertools.accumulate((wide(letter) for letter in text), initial=LETTER)  # with the ellipsis
    fits = sum(1 for _ in itertools.takewhile(lambda width: width <= room, widths)) - 1
    return text[: max(0, fits)].rstrip() + "…"
