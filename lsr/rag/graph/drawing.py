"""The drawing of a walk's neighbourhood, an inline SVG: seeds on the left, the passages that were found on the right."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lsr.eval.report import svg
from lsr.eval.report.markup import Markup, element, joined
from lsr.eval.report.texts import line
from lsr.rag.graph.neighbourhood import Edge, Neighbourhood, Node

__all__ = ["drawing", "legend", "percent", "times"]

# Lengths are in user units, about a pixel each where the page is wide.
_WIDTH, _TOP, _ROW, _MIDDLE_ROW = 944.0, 34.0, 58.0, 50.0
_BESIDE = 200.0  # for a name outside of the first and the last column, at most
_LETTER = 6.7  # the mean width of one
_LEAST, _MOST = 4.5, 15.0  # radius of a phrase, half the side of a passage
_SWEEPS = 8  # of ordering
_BETWEEN = 3  # columns between the first and the last one, at most

STYLE = """
.walk svg.plot { min-width: 47rem; }
.walk text { font-size: 12.5px; }
.walk text.about { font-weight: 400; font-size: 11px; fill: var(--muted); }
.walk text.times { font-size: 11.5px; font-weight: 680; text-anchor: middle; }
.walk .edge { fill: none; stroke-opacity: .75; }
.walk .faint { stroke-opacity: .3; }
.walk g:hover > .edge { stroke-opacity: 1; }
.walk .relation { stroke: var(--s1); }
.walk .mention { stroke: var(--s0); stroke-dasharray: 7 3; }
.walk .synonym { stroke: var(--s4); stroke-dasharray: .1 6; stroke-linecap: round; }
.walk .head { stroke: none; }
.walk .head.relation { fill: var(--s1); } .walk .head.mention { fill: var(--s0); } .walk .head.synonym { fill: var(--s4); }
.walk .node { stroke: var(--ground); stroke-width: 1.5; }
.walk .seed { fill: var(--s1); } .walk .passed { fill: var(--s0); } .walk .found { fill: var(--s2); }
.walk .weak { fill: var(--ground); stroke: var(--s1); stroke-width: 2; stroke-dasharray: 3 2.5; }
.walk .between { fill: var(--ground); stroke: var(--s2); stroke-width: 2; }
.walk .first { fill: none; stroke: var(--s2); stroke-width: 1.5; }
.walk .rank { font-weight: 680; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; list-style: none; padding: 0; margin-top: 1.25rem;
  font-size: .8125rem; color: var(--muted); }
.legend svg { width: 34px; height: 16px; margin-right: .5em; vertical-align: -.25em; }
"""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a node stands, and how large it is. side: -1 where its name is on the left, 1 on the right, 0 below."""

    x: float
    y: float
    radius: float
    side: int


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def drawing(shown: Neighbourhood) -> Markup:
    """The SVG. The names of nodes are cut where there is no room for them, and whole in their <title>."""
    columns = _columns(shown)
    places, width_of, height = _places(shown, columns)
    nodes = {node.number: node for node in shown.nodes}
    taken: list[_Box] = []
    names = [_name(node, places[node.number], width_of[node.number], taken) for node in shown.nodes]
    for place in places.values():
        taken.append(
            _Box(place.x - place.radius, place.y - place.radius, place.x + place.radius, place.y + place.radius)
        )
    strongest_last = sorted(shown.edges, key=lambda edge: (edge.way, edge.share, edge.source, edge.target))
    lines = [_edge(edge, places, nodes) for edge in strongest_last]
    marks = [_times(edge, places, taken) for edge in shown.edges if edge.weight != edge.stored]
    said = [_said(edge, places, nodes, taken) for edge in shown.edges if edge.way and edge.facts]
    told = "; ".join(_told(way.nodes, nodes) for way in shown.ways)
    return element(
        "svg",
        element("title", "The neighbourhood of the graph that mattered for the question", id="walk-title"),
        element("desc", f"Ways of the walk: {told}." if told else "No way leads to the passages.", id="walk-desc"),
        joined(*lines),
        joined(*(_mark(node, places[node.number]) for node in shown.nodes)),
        joined(*said),
        joined(*marks),
        joined(*names),
        xmlns="http://www.w3.org/2000/svg",
        class_="plot",
        viewBox=f"0 0 {_WIDTH:g} {height:g}",
        role="img",
        aria_labelledby="walk-title walk-desc",
    )


def legend() -> Markup:
    """What the marks and lines of the drawing mean."""
    lines = [
        (element("line", x1=1, x2=33, y1=8, y2=8, class_=f"edge {kind}", stroke_width=3), kind)
        for kind in ("relation", "mention", "synonym")
    ]
    marks = [
        (element("circle", cx=17, cy=8, r=6, class_="node seed"), "phrase of a matched fact"),
        (element("circle", cx=17, cy=8, r=6, class_="node weak"), "weak anchor: named by the question"),
        (element("circle", cx=17, cy=8, r=6, class_="node passed"), "phrase on the way"),
        (element("rect", x=11, y=2, width=12, height=12, rx=2, class_="node found"), "passage found"),
        (element("rect", x=11, y=2, width=12, height=12, rx=2, class_="node between"), "other passage"),
        (element("rect", x=10, y=1, width=14, height=14, rx=3, class_="first"), "of the first stage too"),
        (
            svg.text(17, 12, "×3.5", class_="times"),
            "the question changed the weight of the edge",
        ),
    ]
    keys = (
        element("li", element("svg", drawn, viewBox="0 0 34 16", aria_hidden="true"), said)
        for drawn, said in lines + marks
    )
    return element("ul", joined(*keys), class_="legend")


def percent(part: float) -> str:
    """31 %, 0.4 %."""
    return f"{100 * part:.1f} %" if 0 < part < 0.0095 else f"{100 * part:.0f} %"


def times(edge: Edge) -> str:
    """By how much the question changed the weight of an edge: ×3.5."""
    return f"×{edge.weight / edge.stored:.2g}"


# -- where things stand ------------------------------------------------------------------------------------------------


def _columns(shown: Neighbourhood) -> list[list[int]]:
    """Nodes from left to right: seeds, what lies between by the number of steps from them, passages that were found."""
    steps: dict[int, int] = {}
    for way in shown.ways:
        for at, node in enumerate(way.nodes):
            steps[node] = min(steps.get(node, at), at)
    column: dict[int, int] = {}
    for node in shown.nodes:
        if node.rank is not None:
            column[node.number] = _BETWEEN + 1
        elif node.seed > 0 and not node.passage:
            column[node.number] = 0
        else:
            column[node.number] = min(max(1, steps.get(node.number, 1)), _BETWEEN)
    present = sorted(set(column.values()))
    return [[node.number for node in shown.nodes if column[node.number] == at] for at in present]


def _places(shown: Neighbourhood, columns: Sequence[list[int]]) -> tuple[dict[int, _Place], dict[int, float], float]:
    """Where nodes stand, the width that there is for their names, and the height of the drawing."""
    nodes = {node.number: node for node in shown.nodes}
    most = max((node.score for node in shown.nodes), default=0.0)
    outer = [all(nodes[node].rank is not None for node in column) for column in columns]
    begin = [at == 0 and not outer[at] for at in range(len(columns))]
    inside = [at for at in range(len(columns)) if not outer[at] and not begin[at]]
    left, right = _margins(shown, columns, outer)
    apart = (right - left) / (len(inside) + 1)
    height = 2 * _TOP + max(
        (_MIDDLE_ROW if at in inside else _ROW) * (len(column) - 1) for at, column in enumerate(columns)
    )
    height = max(height, 2 * _TOP + 3 * _ROW)
    ys = _heights(shown, columns, height, [_MIDDLE_ROW if at in inside else _ROW for at in range(len(columns))])
    places, width_of = {}, {}
    for at, column in enumerate(columns):
        side = 1 if outer[at] else -1 if begin[at] else 0
        x = right if outer[at] else left if begin[at] else left + apart * (inside.index(at) + 1)
        for number in column:
            radius = _LEAST + (_MOST - _LEAST) * math.sqrt(nodes[number].score / most if most else 0.0)
            places[number] = _Place(x, ys[number], radius, side)
            width_of[number] = _BESIDE if side else apart - 24
    return places, width_of, height


def _margins(shown: Neighbourhood, columns: Sequence[list[int]], outer: Sequence[bool]) -> tuple[float, float]:
    """Where the first and the last column stand: their names are outside of them."""
    nodes = {node.number: node for node in shown.nodes}
    outside = _MOST + 12
    left = max((_label(nodes[node], _BESIDE)[2] for node in columns[0]), default=0.0) if not outer[0] else 0.0
    right = max((_label(nodes[node], _BESIDE)[2] for node in columns[-1]), default=0.0) if outer[-1] else 0.0
    return left + outside, _WIDTH - right - outside


def _heights(
    shown: Neighbourhood, columns: Sequence[list[int]], height: float, rows: Sequence[float]
) -> dict[int, float]:
    """Nodes near those that they are joined with, so that few edges cross; passages that were found in their order."""
    fixed = {node.number for node in shown.nodes if node.rank is not None}
    joined_with: dict[int, list[tuple[int, float]]] = {node.number: [] for node in shown.nodes}
    for edge in shown.edges:
        pull = edge.share * (4 if edge.way else 1)
        joined_with[edge.source].append((edge.target, pull))
        joined_with[edge.target].append((edge.source, pull))
    ys = {}
    for column in columns:
        for at, number in enumerate(column):
            ys[number] = _TOP + (height - 2 * _TOP) * (at + 0.5) / len(column)
    for _ in range(_SWEEPS):
        for column, row in zip(reversed(columns), reversed(rows), strict=True):
            wanted = {
                number: ys[number] if number in fixed else _drawn_to(joined_with[number], ys, ys[number])
                for number in column
            }
            order = column if fixed.issuperset(column) else sorted(column, key=lambda number: (wanted[number], number))
            placed = svg.spread(
                [wanted[number] + 1e-6 * at for at, number in enumerate(order)], row, _TOP, height - _TOP
            )
            ys.update(zip(order, placed, strict=True))
    return ys


def _drawn_to(others: Sequence[tuple[int, float]], ys: Mapping[int, float], now: float) -> float:
    total = sum(pull for _, pull in others)
    return sum(ys[number] * pull for number, pull in others) / total if total > 0 else now


# -- nodes -------------------------------------------------------------------------------------------------------------


def _mark(node: Node, place: _Place) -> Markup:
    title = element("title", "\n".join([line(node.text), *_about(node)]))
    if not node.passage:
        class_ = "weak" if node.weak else "seed" if node.seed > 0 else "passed"
        return element("circle", title, cx=place.x, cy=place.y, r=place.radius, class_=f"node {class_}")

    def square(half: float, class_: str, *inner: Markup) -> Markup:
        at = {"x": place.x - half, "y": place.y - half, "width": 2 * half, "height": 2 * half}
        return element("rect", *inner, **at, rx=3, class_=class_)

    mark = square(place.radius, "node found" if node.rank is not None else "node between", title)
    return joined(mark, square(place.radius + 2.5, "first")) if node.seed > 0 else mark


def _about(node: Node) -> list[str]:
    said = [f"walk {percent(node.score)}"]
    if node.seed > 0:
        kind = "first stage" if node.passage else "weak anchor" if node.weak else "seed"
        said.insert(0, f"{kind} {percent(node.seed)}")
    return said


def _name(node: Node, place: _Place, width: float, taken: list[_Box]) -> Markup:
    """The name beside or below a node, with its figures where there is room; `taken` gains what it covers."""
    rank, name, wide = _label(node, width)
    about = " · ".join(_about(node)) if place.side else ""
    if not about:
        wide = _wide(name)
    if place.side:
        x, y = place.x + place.side * (place.radius + 9), place.y - 2
        anchor, left = ("start", x) if place.side > 0 else ("end", x - wide)
    else:
        x, y = place.x, place.y + place.radius + 14
        anchor, left = "middle", x - wide / 2
    taken.append(_Box(left - 2, y - 12, left + wide + 2, y + (18 if about else 4)))
    parts = [element("tspan", rank, class_="rank"), name] if rank else [name]
    return joined(
        element("text", element("title", line(node.text)), *parts, x=x, y=y, text_anchor=anchor),
        element("text", about, x=x, y=y + 14, text_anchor=anchor, class_="about") if about else "",
    )


def _label(node: Node, width: float) -> tuple[str, str, float]:
    """Rank and name as they are written, and how wide they are with the figures below."""
    rank = f"{node.rank} " if node.rank is not None else ""
    name = _cut(node.text, width - len(rank) * _LETTER)
    return rank, name, max(_wide(rank + name), 0.9 * _wide(" · ".join(_about(node))))


def _wide(text: str) -> float:
    """About how wide a text is: East Asian letters are twice as wide as others."""
    return _LETTER * sum(1.9 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _cut(text: str, width: float) -> str:
    """The beginning of a text in one line, with an ellipsis where there is more than fits."""
    text = line(text)
    if _wide(text) <= width:
        return text
    while text and _wide(text) + _LETTER > width:
        text = text[:-1]
    return text.rstrip() + "…"


# -- edges -------------------------------------------------------------------------------------------------------------

_Curve = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]


def _curve(edge: Edge, places: Mapping[int, _Place]) -> _Curve:
    """A Bézier curve that leaves and enters nodes at their sides."""
    one, other = places[edge.source], places[edge.target]
    if one.x == other.x:  # bulges towards the middle
        way = -1 if one.side > 0 else 1
        bulge = 30 + 0.18 * abs(other.y - one.y)
        start, end = (one.x + way * one.radius, one.y), (other.x + way * (other.radius + 3), other.y)
        return start, (start[0] + way * bulge, one.y), (end[0] + way * bulge, other.y), end
    way = 1 if other.x > one.x else -1
    start = one.x + way * one.radius, one.y
    end = other.x - way * (other.radius + 3), other.y
    bend = way * max(30.0, abs(end[0] - start[0]) * 0.45)
    return start, (start[0] + bend, start[1]), (end[0] - bend, end[1]), end


def _edge(edge: Edge, places: Mapping[int, _Place], nodes: Mapping[int, Node]) -> Markup:
    curve = _curve(edge, places)
    thick = (1 + 7 * edge.share if edge.way else 1 + 3 * edge.share) + (edge.kind == "synonym")
    points = " ".join(f"{x:.1f} {y:.1f}" for x, y in curve[1:])
    changed = f" in the graph, {edge.weight:.3g} for this question" if edge.weight != edge.stored else ""
    title = [
        f"{line(nodes[edge.source].text)} → {line(nodes[edge.target].text)}",
        f"{edge.kind}, {percent(edge.share)} of what leaves, weight {edge.stored:.3g}{changed}",
        *map(line, edge.facts),
    ]
    path = element(
        "path",
        d=f"M {curve[0][0]:.1f} {curve[0][1]:.1f} C {points}",
        class_=f"edge {edge.kind}" + ("" if edge.way else " faint"),
        stroke_width=thick,
    )
    return element("g", element("title", "\n".join(title)), path, _head(edge, curve, thick) if edge.way else "")


def _head(edge: Edge, curve: _Curve, thick: float) -> Markup:
    (before, _), (x, y) = curve[2], curve[3]
    back = -1 if x > before else 1
    length, half = 5 + thick, 2.5 + 0.7 * thick
    points = (
        f"{x + back * -3:.1f},{y:.1f} {x + back * length:.1f},{y - half:.1f} {x + back * length:.1f},{y + half:.1f}"
    )
    return element("polygon", points=points, class_=f"head {edge.kind}")


def _times(edge: Edge, places: Mapping[int, _Place], taken: list[_Box]) -> Markup:
    """How the question changed an edge's weight, on the edge."""
    said = times(edge)
    x, y = _spot(edge, places, _wide(said), taken) or _at(_curve(edge, places), 0.5)
    return svg.text(x, y + 4, said, class_="times")


def _said(edge: Edge, places: Mapping[int, _Place], nodes: Mapping[int, Node], taken: list[_Box]) -> Markup:
    """What a fact says of a relation, on the edge where there is room."""
    ends = nodes[edge.source].text, nodes[edge.target].text
    one, other = ends if edge.facts[0].startswith(f"{ends[0]} ") else (ends[1], ends[0])
    said = _cut(edge.facts[0][len(one) + 1 : -len(other) - 1], 110)
    spot = _spot(edge, places, 0.9 * _wide(said), taken)
    return Markup() if spot is None else svg.text(spot[0], spot[1] + 4, said, anchor="middle", class_="about")


def _spot(edge: Edge, places: Mapping[int, _Place], width: float, taken: list[_Box]) -> tuple[float, float] | None:
    """The place on an edge nearest its middle that has room for a text; `taken` gains it."""
    curve = _curve(edge, places)
    for step in (10, 9, 11, 8, 12, 7, 13, 6, 14, 5, 15, 4, 16):
        x, y = _at(curve, step / 20)
        box = _Box(x - width / 2, y - 8, x + width / 2, y + 8)
        if not any(box.meets(other) for other in taken):
            taken.append(box)
            return x, y
    return None


def _at(curve: _Curve, t: float) -> tuple[float, float]:
    parts = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
    x, y = (sum(part * point[axis] for part, point in zip(parts, curve, strict=True)) for axis in (0, 1))
    return x, y


def _told(way: Sequence[int], nodes: Mapping[int, Node]) -> str:
    return " → ".join(line(nodes[node].text) for node in way)
