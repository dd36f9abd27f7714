"""Scales, axes and marks: what every plot is drawn from. Lengths are in the user units of a drawing 460 wide."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lsr.eval.report.markup import Markup, element, joined, number

__all__ = [
    "SYSTEM_STYLES",
    "WIDTH",
    "Scale",
    "figure",
    "key",
    "linear",
    "logarithmic",
    "marker",
    "nice_step",
    "spread",
    "stroke",
    "text",
]

# One width for all: they stand two in a row on a wide screen, and alone on a phone, where their text is still legible.
WIDTH = 460.0
# Colours repeat after this many systems, with another shape and dash: see report.css.
SYSTEM_STYLES = 6
_CORNERS: dict[int, list[tuple[float, float]]] = {  # circles are drawn as such
    2: [(-4.3, -4.3), (4.3, -4.3), (4.3, 4.3), (-4.3, 4.3)],
    3: [(0, -6), (5.5, 4), (-5.5, 4)],
    4: [(0, -6.2), (6.2, 0), (0, 6.2), (-6.2, 0)],
    5: [(0, 6), (5.5, -4), (-5.5, -4)],
    6: [(-2, -6), (2, -6), (2, -2), (6, -2), (6, 2), (2, 2), (2, 6), (-2, 6), (-2, 2), (-6, 2), (-6, -2), (-2, -2)],
}
_FACTORS = ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))  # of powers of ten, on a logarithmic axis
_LEAST = 1e-12  # what is smaller stands at the end of a logarithmic axis
_DASHES = (None, "6 3", "2 3")


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to coordinates, and the values that the axis names."""

    to: Callable[[float], float]
    ticks: Sequence[float]
    digits: int = 2  # that tell the ticks apart

    def written(self, tick: float) -> str:
        """A tick of a linear scale."""
        return f"{tick:.{self.digits}f}"


def linear(low: float, high: float, start: float, end: float, ticks: int = 5) -> Scale:
    """Covers low to high; round ticks within."""
    if not high > low:
        margin = abs(low) * 0.05 or 0.05
        low, high = low - margin, high + margin
    step = nice_step(high - low, ticks)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    values = [i * step for i in range(first, last + 1)]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return Scale(lambda value: start + (value - low) / (high - low) * (end - start), values, digits)


def nice_step(span: float, ticks: int) -> float:
    """1, 2 or 5 times a power of ten, such that the span has about so many steps."""
    rough = span / ticks
    power = 10.0 ** math.floor(math.log10(rough))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= rough), 10 * power)


def logarithmic(low: float, high: float, start: float, end: float) -> Scale:
    """Covers low to high, both above 0, with ticks at the powers of ten, or at more places when those are few."""
    low, high = max(low, _LEAST) / 1.15, max(high, _LEAST) * 1.15
    if high / low < 3:
        middle = math.sqrt(low * high)
        low, high = min(low, middle / 1.8), max(high, middle * 1.8)
    span = math.log(high / low)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in _FACTORS:
        values = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
        ticks = [value for value in values if low <= value <= high]
        if len(ticks) >= 4:
            break
    return Scale(lambda value: start + math.log(max(value, low) / low) / span * (end - start), ticks)


def spread(places: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Places for labels near the given ones, in the same order, `apart` from each other, within low to high if they fit."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    placed = [0.0] * len(places)
    last = low - apart
    for i in order:
        last = placed[i] = max(places[i], last + apart)
    limit = high
    for i in reversed(order):
        placed[i] = min(placed[i], limit)
        limit = placed[i] - apart
    return placed


def text(x: float, y: float, words: str, *, anchor: str | None = None, class_: str | None = None) -> Markup:
    """Words at a place: anchor is start (unless given), middle or end."""
    return element("text", words, x=x, y=y, text_anchor=anchor, class_=class_)


def marker(style: int, x: float, y: float, title: str = "") -> Markup:
    """The mark of a system: its colour, and a shape of its own for those who do not see the colour. 0 is the baseline.

    After `SYSTEM_STYLES` systems the shapes come again, hollow, and then once more, filled.
    """
    inner = [element("title", title)] if title else []
    hollow = style == 0 or (style - 1) // SYSTEM_STYLES % 2 == 1
    class_ = f"{'hollow' if hollow else 'full'} s{_colour(style)}"
    shape = _colour(style)
    if shape <= 1:
        return element("circle", *inner, cx=x, cy=y, r=4.2 if hollow else 4.8, class_=class_)
    points = " ".join(f"{number(x + dx)},{number(y + dy)}" for dx, dy in _CORNERS[shape])
    return element("polygon", *inner, points=points, class_=class_)


def stroke(style: int) -> dict[str, str | None]:
    """Class and dash of the line of a system."""
    round_ = 0 if style == 0 else (style - 1) // SYSTEM_STYLES
    return {
        "class_": f"line s{_colour(style)}",
        "stroke_dasharray": "4 3" if style == 0 else _DASHES[round_ % len(_DASHES)],
    }


def key(style: int) -> Markup:
    """The mark alone, to stand before a name in a table."""
    return element("svg", marker(style, 7, 7), class_="key", viewBox="0 0 14 14", aria_hidden="true")


def figure(name: str, height: float, title: str, description: str, *parts: str) -> Markup:
    """A drawing with the title and description that screen readers read. `name` makes their ids unique."""
    return element(
        "svg",
        element("title", title, id=f"{name}-title"),
        element("desc", description, id=f"{name}-desc"),
        joined(*parts),
        class_="plot",
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
    )


def _colour(style: int) -> int:
    return 0 if style == 0 else (style - 1) % SYSTEM_STYLES + 1
