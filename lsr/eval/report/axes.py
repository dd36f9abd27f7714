"""What the plots share: grids, named axes, the names of systems at the ends of their curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lsr.eval.report import svg
from lsr.eval.report.markup import Markup, element, joined
from lsr.eval.report.svg import WIDTH
from lsr.eval.report.texts import middle
from lsr.eval.report.view import Styled

__all__ = ["CURVES", "MARKS", "Frame", "curve_names", "horizontal_grid", "vertical_grid"]

_Write = Callable[[float], str]

_NAME = 15  # characters of a name beside a curve


@dataclass(frozen=True, slots=True)
class Frame:
    """A drawing of two axes: where they lie, and how high the drawing is."""

    left: float
    right: float
    top: float
    bottom: float
    height: float

    def axes(self, across: svg.Scale, up: svg.Scale, names: tuple[str, str], write: tuple[_Write, _Write]) -> Markup:
        """Grid, ticks and names, each given for the horizontal axis first."""
        middle_of = (self.left + self.right) / 2
        ticks = [
            svg.text(across.to(tick), self.bottom + 18, write[0](tick), anchor="middle", class_="tick")
            for tick in across.ticks
        ]
        return joined(
            horizontal_grid(up, self.left, self.right, write[1]),
            *ticks,
            svg.text(middle_of, self.bottom + 38, names[0], anchor="middle", class_="axis"),
            svg.text(0, 11, names[1], class_="axis"),
        )


# Names of systems stand right of curves, and beside marks.
CURVES = Frame(left=54, right=WIDTH - 120, top=28, bottom=250, height=294)
MARKS = Frame(left=54, right=WIDTH - 12, top=28, bottom=250, height=294)


def vertical_grid(scale: svg.Scale, top: float, bottom: float) -> Markup:
    """A line at each tick, its value below."""
    parts = []
    for tick in scale.ticks:
        x = scale.to(tick)
        parts.append(element("line", x1=x, x2=x, y1=top, y2=bottom, class_="grid"))
        parts.append(svg.text(x, bottom + 15, scale.written(tick), anchor="middle", class_="tick"))
    return joined(*parts)


def horizontal_grid(scale: svg.Scale, left: float, right: float, write: _Write) -> Markup:
    """A line at each tick, its value left of it."""
    parts = []
    for tick in scale.ticks:
        y = scale.to(tick)
        parts.append(element("line", x1=left, x2=right, y1=y, y2=y, class_="grid"))
        parts.append(svg.text(left - 7, y + 4, write(tick), anchor="end", class_="tick"))
    return joined(*parts)


def curve_names(view: Styled, ends: Sequence[tuple[int, float]], frame: Frame) -> list[Markup]:
    """The mark and name of each system at the end of its curve, moved apart where curves end close together."""
    placed = svg.spread([y for _, y in ends], 15, frame.top + 4, frame.bottom - 2)
    parts = []
    for (i, y), at in zip(ends, placed, strict=True):
        name, x = view.names[i], frame.right
        parts.append(element("line", x1=x + 1, x2=x + 8, y1=y, y2=at, class_="leader"))
        parts.append(svg.marker(view.style(i), x + 13, at))
        label = svg.text(x + 21, at + 4, middle(name, _NAME), class_="label")
        parts.append(element("g", element("title", name), label))
    return parts
