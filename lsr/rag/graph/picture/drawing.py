"""The drawing of a walk's neighbourhood, an inline SVG."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lsr.eval.report import svg
from lsr.eval.report.markup import Markup, element, joined
from lsr.eval.report.texts import line
from lsr.rag.graph.picture.layout import WIDTH, Layout, Place, about, cut, label, layout, percent, wide
from lsr.rag.graph.picture.neighbourhood import Edge, Neighbourhood, Node

__all__ = ["STYLE", "drawing", "legend", "times"]

_SAID = 110.0  # for what a fact says, on an edge

# Beside report.css. The kinds of edges differ in their dashes, those of nodes in their shapes and outlines.
STYLE = """
.walk svg.plot { min-width: 47rem; }
.walk text { font-size: 12.5px; }
.walk text.about { font-size: 11px; fill: var(--muted); }
.walk text.times { font-size: 11.5px; font-weight: 680; text-anchor: middle; }
.walk .rank { font-weight: 680; }
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
.walk .named { fill: var(--ground); stroke: var(--s1); stroke-width: 2; stroke-dasharray: 3 2.5; }
.walk .between { fill: var(--ground); stroke: var(--s2); stroke-width: 2; }
.walk .first { fill: none; stroke: var(--s2); stroke-width: 1.5; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.5rem; list-style: none; padding: 0; margin-top: 1.5rem;
  font-size: .8125rem; color: var(--muted); }
.legend svg { height: 16px; margin-right: .5em; vertical-align: -.25em; }
"""

_Point = tuple[float, float]
_Curve = list[tuple[_Point, _Point, _Point, _Point]]  # Bézier curves, one after the other


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
    laid = layout(shown)
    nodes = {node.number: node for node in shown.nodes}
    curves = {(edge.source, edge.target): _curve(edge, laid) for edge in shown.edges}
    taken = [
        _Box(place.x - place.radius, place.y - place.radius, place.x + place.radius, place.y + place.radius)
        for place in laid.places.values()
    ]
    names = [_name(node, laid.places[node.number], taken) for node in shown.nodes]
    weakest_first = sorted(shown.edges, key=lambda edge: (edge.way, edge.share, edge.source, edge.target))
    lines = [_edge(edge, curves[edge.source, edge.target], nodes) for edge in weakest_first]
    marks = [
        _times(edge, curves[edge.source, edge.target], taken) for edge in shown.edges if edge.weight != edge.stored
    ]
    said = [
        _said(edge, curves[edge.source, edge.target], nodes, taken)
        for edge in shown.edges
        if edge.way and edge.kind == "relation" and edge.facts
    ]
    told = "; ".join(" → ".join(line(nodes[node].text) for node in way.nodes) for way in shown.ways)
    return element(
        "svg",
        element("title", "The neighbourhood of the graph that mattered for the question", id="walk-title"),
        element("desc", f"Ways of the walk: {told}." if told else "No way leads to the passages.", id="walk-desc"),
        joined(*lines),
        joined(*(_mark(node, laid.places[node.number]) for node in shown.nodes)),
        joined(*said),
        joined(*marks),
        joined(*names),
        xmlns="http://www.w3.org/2000/svg",
        class_="plot",
        viewBox=f"0 0 {WIDTH:g} {laid.height:.0f}",
        role="img",
        aria_labelledby="walk-title walk-desc",
    )


def legend() -> Markup:
    """What the lines and marks of the drawing mean."""
    keys = [
        (34, element("line", x1=1, x2=33, y1=8, y2=8, class_=f"edge {kind}", stroke_width=3), kind)
        for kind in ("relation", "mention", "synonym")
    ] + [
        (16, element("circle", cx=8, cy=8, r=6, class_="node seed"), "phrase of a matched fact"),
        (16, element("circle", cx=8, cy=8, r=6, class_="node named"), "named by the question"),
        (16, element("circle", cx=8, cy=8, r=6, class_="node passed"), "other phrase"),
        (16, element("rect", x=2, y=2, width=12, height=12, rx=2, class_="node found"), "passage that was found"),
        (16, element("rect", x=2, y=2, width=12, height=12, rx=2, class_="node between"), "other passage"),
        (16, element("rect", x=1, y=1, width=14, height=14, rx=3, class_="first"), "outlined: of the first stage too"),
        (28, svg.text(14, 12, "×3.5", class_="times"), "weight that the question changed"),
    ]
    return element(
        "ul",
        joined(
            *(
                element("li", element("svg", key, viewBox=f"0 0 {width} 16", width=width, aria_hidden="true"), said)
                for width, key, said in keys
            )
        ),
        class_="legend",
    )


def times(edge: Edge) -> str:
    """By how much the question changed the weight of an edge: ×3.5."""
    return f"×{edge.weight / edge.stored:.2g}"


# -- nodes -------------------------------------------------------------------------------------------------------------


def _mark(node: Node, place: Place) -> Markup:
    title = element("title", f"{line(node.text)}\n{about(node)}")
    if not node.passage:
        class_ = "named" if node.named else "seed" if node.seed > 0 else "passed"
        return element("circle", title, cx=place.x, cy=place.y, r=place.radius, class_=f"node {class_}")

    def square(half: float, class_: str, *inner: Markup) -> Markup:
        at = {"x": place.x - half, "y": place.y - half, "width": 2 * half, "height": 2 * half}
        return element("rect", *inner, **at, rx=3, class_=class_)

    mark = square(place.radius, "node found" if node.rank is not None else "node between", title)
    return joined(mark, square(place.radius + 2.5, "first")) if node.seed > 0 else mark


def _name(node: Node, place: Place, taken: list[_Box]) -> Markup:
    """The name beside a node with its figures, or the name alone below it; `taken` gains what it covers."""
    rank, name, width = label(node, place.room)
    if place.side:
        x, y = place.x + place.side * (place.radius + 9), place.y - 2
        anchor, left, bottom = ("start", x, y + 18) if place.side > 0 else ("end", x - width, y + 18)
    else:
        x, y, width = place.x, place.y + place.radius + 14, wide(rank + name)
        anchor, left, bottom = "middle", x - width / 2, y + 4
    taken.append(_Box(left - 2, y - 12, left + width + 2, bottom))
    title, parts = element("title", line(node.text)), [element("tspan", rank, class_="rank"), name] if rank else [name]
    return joined(
        element("text", title, *parts, x=x, y=y, text_anchor=anchor, class_="name"),
        svg.text(x, y + 14, about(node), anchor=anchor, class_="about") if place.side else "",
    )


# -- edges -------------------------------------------------------------------------------------------------------------


def _curve(edge: Edge, laid: Layout) -> _Curve:
    """Leaves and enters nodes at their sides."""
    one, other = laid.places[edge.source], laid.places[edge.target]
    if one.x == other.x:  # bulges towards the middle
        way = -1 if one.side > 0 else 1
        bulge = 30 + 0.18 * abs(other.y - one.y)
        start, end = (one.x + way * one.radius, one.y), (other.x + way * (other.radius + 3), other.y)
        return [(start, (start[0] + way * bulge, one.y), (end[0] + way * bulge, other.y), end)]
    way = 1 if other.x > one.x else -1
    points = [
        (one.x + way * one.radius, one.y),
        *laid.passing[edge.source, edge.target],
        (other.x - way * (other.radius + 3), other.y),
    ]
    curve = []
    for start, end in itertools.pairwise(points):
        bend = way * 0.45 * abs(end[0] - start[0])
        curve.append((start, (start[0] + bend, start[1]), (end[0] - bend, end[1]), end))
    return curve


def _edge(edge: Edge, curve: _Curve, nodes: Mapping[int, Node]) -> Markup:
    thick = (1 + 7 * edge.share if edge.way else 1 + 3 * edge.share) + (edge.kind == "synonym")
    changed = f" in the graph, {edge.weight:.3g} for this question" if edge.weight != edge.stored else ""
    title = [
        f"{line(nodes[edge.source].text)} → {line(nodes[edge.target].text)}",
        f"{edge.kind}, {percent(edge.share)} of what leaves, weight {edge.stored:.3g}{changed}",
        *map(line, edge.facts),
    ]
    bends = " ".join("C " + " ".join(f"{x:.1f} {y:.1f}" for x, y in part[1:]) for part in curve)
    path = element(
        "path",
        d=f"M {curve[0][0][0]:.1f} {curve[0][0][1]:.1f} {bends}",
        class_=f"edge {edge.kind}" + ("" if edge.way else " faint"),
        stroke_width=thick,
    )
    return element("g", element("title", "\n".join(title)), path, _head(edge, curve, thick) if edge.way else "")


def _head(edge: Edge, curve: _Curve, thick: float) -> Markup:
    (before, _), (x, y) = curve[-1][2:]
    back = -1 if x > before else 1
    base, half = x + back * (5 + thick), 2.5 + 0.7 * thick
    points = f"{x - back * 3:.1f},{y:.1f} {base:.1f},{y - half:.1f} {base:.1f},{y + half:.1f}"
    return element("polygon", points=points, class_=f"head {edge.kind}")


def _times(edge: Edge, curve: _Curve, taken: list[_Box]) -> Markup:
    """How the question changed an edge's weight, on the edge."""
    said = times(edge)
    x, y = _spot(curve, wide(said), taken) or _along(curve)[0]
    return svg.text(x, y + 4, said, class_="times")


def _said(edge: Edge, curve: _Curve, nodes: Mapping[int, Node], taken: list[_Box]) -> Markup:
    """What a fact says of a relation, on the edge where there is room."""
    source, target = nodes[edge.source].text, nodes[edge.target].text
    one, other = (source, target) if edge.facts[0].startswith(f"{source} ") else (target, source)
    said = cut(edge.facts[0][len(one) + 1 : -len(other) - 1], _SAID)
    spot = _spot(curve, 0.9 * wide(said), taken)
    return Markup() if spot is None else svg.text(spot[0], spot[1] + 4, said, anchor="middle", class_="about said")


def _spot(curve: _Curve, width: float, taken: list[_Box]) -> _Point | None:
    """The place on an edge nearest its middle that has room for a text; `taken` gains it."""
    for x, y in _along(curve):
        box = _Box(x - width / 2, y - 8, x + width / 2, y + 8)
        if not any(box.meets(other) for other in taken):
            taken.append(box)
            return x, y
    return None


def _along(curve: _Curve) -> Sequence[_Point]:
    """Points of a curve, the middle first."""
    steps = (10, 9, 11, 8, 12, 7, 13, 6, 14, 5, 15, 4, 16, 3)
    return [_at(curve, len(curve) * step / 20) for step in steps]


def _at(curve: _Curve, at: float) -> _Point:
    part = curve[min(int(at), len(curve) - 1)]
    t = at - int(at)
    weights = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
    x, y = (sum(weight * point[axis] for weight, point in zip(weights, part, strict=True)) for axis in (0, 1))
    return x, y
