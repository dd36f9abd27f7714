"""The plots of quality, each an inline SVG: means with intervals, and differences query by query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from lsr.eval.report import formats as f
from lsr.eval.report import svg
from lsr.eval.report.axes import horizontal_grid, vertical_grid
from lsr.eval.report.markup import Markup, element
from lsr.eval.report.svg import WIDTH
from lsr.eval.report.texts import middle, short
from lsr.eval.report.view import View

__all__ = ["MOST_BARS", "differences_plot", "quality_plot"]

# At most so many bars: with more queries a bar is the mean of neighbours in the order of the differences.
MOST_BARS = 300
_ROW = 40.0
_LONGEST = 38  # characters of a name above a row: what fits beside the score


def quality_plot(view: View, measure: str) -> Markup:
    """A row a system: a mark at the mean, a whisker over the 95 % interval; a dashed line at the baseline's mean."""
    rows = [(i, name, view.score(name, measure), view.interval(name, measure)) for i, name in enumerate(view.names)]
    rows = [row for row in rows if row[2] is not None]
    ends = [end for *_, score, interval in rows for end in (score, *(interval or ())) if end is not None]
    low, high = min(ends), max(ends)
    margin = (high - low) * 0.04 or 0.02
    scale = svg.linear(low - margin, high + margin, 8, WIDTH - 8, ticks=7)
    bottom = len(rows) * _ROW + 6
    parts = [vertical_grid(scale, 0, bottom)]
    if view.baseline is not None and (theirs := view.score(view.baseline, measure)) is not None and len(rows) > 1:
        x = scale.to(theirs)
        parts.append(element("line", x1=x, x2=x, y1=0, y2=bottom, class_="reference"))
    said = []
    for at, (i, name, score, interval) in enumerate(rows):
        assert score is not None
        y, style = at * _ROW, view.style(i)
        parts.append(svg.text(8, y + 14, middle(name, _LONGEST), class_="name"))
        parts.append(svg.text(WIDTH - 8, y + 14, f.score(score), anchor="end", class_="value"))
        tip = f"{name}: {f.score(score)}" + (f", 95 % interval {f.interval(interval)}" if interval else "")
        if interval:
            x1, x2 = (scale.to(end) for end in interval)
            colour = svg.stroke(style)["class_"]
            parts.append(element("line", x1=x1, x2=x2, y1=y + 27, y2=y + 27, class_=f"{colour} whisker"))
        parts.append(svg.marker(style, scale.to(score), y + 27, tip))
        said.append(tip)
    return svg.figure(
        f"quality-{view.measures.index(measure)}",
        bottom + 20,
        f"{measure} with 95 % intervals",
        "; ".join(said) + ".",
        *parts,
    )


def differences_plot(view: View, name: str, id: str | None = None) -> Markup | None:
    """A bar a query, best first: the score less the baseline's. The bar's title names the query. id: of the drawing, where a
    page has several of a system."""
    rows = view.differences(name)
    if not rows:
        return None
    height, left, right = 228.0, 44.0, WIDTH - 8
    top, bottom = 26.0, height - 30
    measure = view.report["per_query"]["measure"]
    most = max(max(abs(difference) for difference, *_ in rows), 0.01)
    up = svg.linear(-most, most, bottom, top, ticks=4)
    parts = [
        horizontal_grid(up, left, right, lambda value: f.signed(value, up.digits)),
        svg.text(0, 11, f"difference in {short(measure, 40)}", class_="axis"),
        *_bars(rows, view.baseline or "", up, left, right),
        element("line", x1=left, x2=right, y1=up.to(0), y2=up.to(0), class_="zero"),
    ]
    better, same, worse = view.tally(name, rows)
    parts += [
        svg.text(left, bottom + 20, f"▲ {f.count(better)} better", class_="up-text"),
        svg.text((left + right) / 2, bottom + 20, f"{f.count(same)} equal", anchor="middle", class_="tick"),
        svg.text(right, bottom + 20, f"{f.count(worse)} worse ▼", anchor="end", class_="down-text"),
    ]
    return svg.figure(
        id or f"differences-{view.names.index(name)}",
        height,
        f"{name} less {view.baseline}, {measure} by query",
        f"{f.count(better)} queries better, {f.count(same)} equal, {f.count(worse)} worse; from {f.signed(rows[0][0])} to "
        f"{f.signed(rows[-1][0])}.",
        *parts,
    )


def _bars(
    rows: Sequence[tuple[float, str, float, float]], baseline: str, up: svg.Scale, left: float, right: float
) -> Iterator[Markup]:
    groups = _groups(len(rows))
    width = (right - left) / len(groups)
    gap = min(1.0, width * 0.2)
    for at, (first, last) in enumerate(groups):
        part = rows[first:last]
        mean = sum(difference for difference, *_ in part) / len(part)
        if mean == 0:
            continue
        tip = _one_query(part[0], baseline) if len(part) == 1 else _many_queries(part, first)
        y = up.to(mean)
        yield element(
            "rect",
            element("title", tip),
            x=left + at * width,
            y=min(y, up.to(0)),
            width=width - gap,
            height=max(abs(y - up.to(0)), 0.5),
            class_="up" if mean > 0 else "down",
        )


def _groups(queries: int) -> list[tuple[int, int]]:
    """Neighbours that share a bar: (first, after the last)."""
    bars = min(queries, MOST_BARS)
    edges = [queries * i // bars for i in range(bars + 1)]
    return list(pairwise(edges))


def _one_query(row: tuple[float, str, float, float], baseline: str) -> str:
    difference, query, ours, theirs = row
    return f"{short(query, 60)}: {f.signed(difference)} ({f.score(ours)}, {short(baseline, 40)} {f.score(theirs)})"


def _many_queries(part: Sequence[tuple[float, str, float, float]], first: int) -> str:
    ids = ", ".join(short(query, 20) for _, query, *_ in part[:3])
    places = f"{f.count(first + 1)} to {f.count(first + len(part))}"
    return f"{places}: {f.signed(part[0][0])} to {f.signed(part[-1][0])} ({ids}, …)"
