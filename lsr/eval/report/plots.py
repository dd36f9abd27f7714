"""The plots of the report, each an inline SVG: quality, latency, recall against latency, differences by query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from lsr.eval.report import formats as f
from lsr.eval.report import svg
from lsr.eval.report.markup import Markup, element, joined
from lsr.eval.report.svg import WIDTH
from lsr.eval.report.texts import middle, short
from lsr.eval.report.view import View

__all__ = ["differences_plot", "latency_plot", "quality_plot", "recall_plot", "style_of", "tradeoff_plot"]

# At most so many bars: with more queries a bar is the mean of neighbours in the order of the differences.
MOST_BARS = 300
_ROW = 40.0
_LABEL = 15  # characters of a name beside a curve
_SIDE = 120.0  # room for such names


def style_of(view: View, index: int) -> int:
    """The number of a system's colour and shape: 0 for the baseline, then 1, 2, ... in the order of the report."""
    if view.names[index] == view.baseline:
        return 0
    return 1 + sum(name != view.baseline for name in view.names[:index])


def quality_plot(view: View, measure: str) -> Markup:
    """A row a system: a mark at the mean, a whisker over the 95 % interval; a dashed line at the baseline's mean."""
    rows = [(i, name, view.score(name, measure), view.interval(name, measure)) for i, name in enumerate(view.names)]
    rows = [row for row in rows if row[2] is not None]
    ends = [end for *_, score, interval in rows for end in (score, *(interval or ())) if end is not None]
    low, high = min(ends), max(ends)
    margin = (high - low) * 0.04 or 0.02
    scale = svg.linear(low - margin, high + margin, 8, WIDTH - 8, ticks=7)
    bottom = len(rows) * _ROW + 6
    parts = [_vertical_grid(scale, 0, bottom)]
    if view.baseline is not None and (theirs := view.score(view.baseline, measure)) is not None and len(rows) > 1:
        x = scale.to(theirs)
        parts.append(element("line", x1=x, x2=x, y1=0, y2=bottom, class_="reference"))
    said = []
    for at, (i, name, score, interval) in enumerate(rows):
        assert score is not None
        y, style = at * _ROW, style_of(view, i)
        parts.append(svg.text(8, y + 14, middle(name, 44), class_="name"))
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


def latency_plot(view: View) -> Markup | None:
    """A curve a system: the time that a share of the queries stays below, on a logarithmic axis."""
    timed = [(i, s["latency_ms"]["quantiles"]) for i, s in enumerate(view.systems) if s.get("latency_ms")]
    positive = [value for _, quantiles in timed for value in quantiles if value > 0]
    if not positive:
        return None
    height, left, right = 276.0, 54.0, WIDTH - _SIDE
    top, bottom = 10.0, height - 44
    across = svg.linear(0, 100, left, right)
    up = svg.logarithmic(min(positive), max(positive), bottom, top)
    parts = [_horizontal_grid(up, left, right, f.tick_milliseconds)]
    parts += [
        svg.text(across.to(share), bottom + 18, f"{share} %", anchor="middle", class_="tick")
        for share in (0, 25, 50, 75, 100)
    ]
    parts.append(
        svg.text((left + right) / 2, bottom + 38, "share of queries answered within", anchor="middle", class_="axis")
    )
    ends = []
    for i, quantiles in timed:
        points = " ".join(f"{across.to(share):.1f},{up.to(value):.1f}" for share, value in enumerate(quantiles))
        parts.append(element("polyline", points=points, **svg.stroke(style_of(view, i))))
        ends.append((i, up.to(quantiles[95]), up.to(quantiles[100])))
    parts += _labels(view, [(i, at_end) for i, _, at_end in ends], right, top, bottom)
    said = [
        f"{view.names[i]}: half within {f.milliseconds(q[50])}, 95 % within {f.milliseconds(q[95])}, all within "
        f"{f.milliseconds(q[100])}"
        for i, q in timed
    ]
    return svg.figure("latency", height, "Time for one query", "; ".join(said) + ".", *parts)


def tradeoff_plot(view: View) -> Markup | None:
    """A mark a system: the headline measure against the median time of a query; None for fewer than two."""
    drawn = [
        (i, name, score, system["latency_ms"]["p50"])
        for i, (name, system) in enumerate(zip(view.names, view.systems, strict=True))
        if (score := view.score(name, view.headline)) is not None and (system.get("latency_ms") or {}).get("p50")
    ]
    if len(drawn) < 2:
        return None
    height, left, right = 276.0, 54.0, WIDTH - 12
    top, bottom = 10.0, height - 44
    scores, times = [row[2] for row in drawn], [row[3] for row in drawn]
    margin = (max(scores) - min(scores)) * 0.12 or 0.02
    up = svg.linear(min(scores) - margin, max(scores) + margin, bottom, top, ticks=6)
    across = svg.logarithmic(min(times), max(times), left + 12, right - 12)
    parts = [_horizontal_grid(up, left, right, lambda value: f"{value:.{up.digits}f}")]
    parts += [
        svg.text(across.to(tick), bottom + 18, f.tick_milliseconds(tick), anchor="middle", class_="tick")
        for tick in across.ticks
    ]
    parts.append(svg.text((left + right) / 2, bottom + 38, "median time of a query", anchor="middle", class_="axis"))
    placed = svg.spread([up.to(score) for score in scores], 15, top + 4, bottom - 4)
    said = []
    for (i, name, score, time), at in zip(drawn, placed, strict=True):
        x = across.to(time)
        tip = f"{name}: {view.headline} {f.score(score)}, p50 {f.milliseconds(time)}"
        before = x > (left + right) / 2  # the name stands where there is more room
        label = svg.text(
            x - 10 if before else x + 10, at + 4, middle(name, 26), anchor="end" if before else None, class_="label"
        )
        parts += [label, svg.marker(style_of(view, i), x, up.to(score), tip)]
        said.append(tip)
    return svg.figure("tradeoff", height, f"{view.headline} against time", "; ".join(said) + ".", *parts)


def recall_plot(view: View) -> Markup | None:
    """A curve a system: overlap with exact search against the median time, a point a setting."""
    drawn = []
    for i, system in enumerate(view.systems):
        approximation = system.get("approximation")
        if not approximation:
            continue
        of = f"overlap@{approximation['k']}"
        points = [
            (point[of], point["p50_ms"], point["recall_setting"])
            for point in approximation["points"]
            if point.get(of) is not None and point.get("p50_ms")
        ]
        if points:
            drawn.append((i, of, sorted(points, key=lambda point: (point[0], point[1]))))
    if all(len(points) < 2 for _, _, points in drawn):  # exact search has one setting: the table says it all
        return None
    height, left, right = 276.0, 54.0, WIDTH - _SIDE
    top, bottom = 10.0, height - 44
    recalls = [recall for _, _, points in drawn for recall, _, _ in points]
    times = [time for _, _, points in drawn for _, time, _ in points]
    across = svg.linear(min(recalls) - 0.004, max(max(recalls), 1.0), left + 8, right - 8, ticks=6)
    up = svg.logarithmic(min(times), max(times), bottom, top)
    parts = [_horizontal_grid(up, left, right, f.tick_milliseconds)]
    parts += [
        svg.text(across.to(tick), bottom + 18, f"{tick:.{across.digits}f}", anchor="middle", class_="tick")
        for tick in across.ticks
    ]
    names = sorted({of for _, of, _ in drawn})
    parts.append(
        svg.text(
            (left + right) / 2, bottom + 38, f"{' or '.join(names)} with exact search", anchor="middle", class_="axis"
        )
    )
    said = []
    for i, of, points in drawn:
        style = style_of(view, i)
        path = " ".join(f"{across.to(recall):.1f},{up.to(time):.1f}" for recall, time, _ in points)
        parts.append(element("polyline", points=path, **svg.stroke(style)))
        for recall, time, setting in points:
            name = "exact" if setting is None else f"recall {setting:g}"
            tip = f"{view.names[i]}, {name}: {of} {f.score(recall)}, p50 {f.milliseconds(time)}"
            parts.append(svg.marker(style, across.to(recall), up.to(time), tip))
            said.append(tip)
    parts += _labels(view, [(i, up.to(points[-1][1])) for i, _, points in drawn], right, top, bottom)
    return svg.figure("recall", height, "Recall against latency", "; ".join(said) + ".", *parts)


def differences_plot(view: View, name: str) -> Markup | None:
    """A bar a query, best first: the score less the baseline's. The bar's title names the query."""
    rows = view.differences(name)
    if not rows:
        return None
    height, left, right = 210.0, 44.0, WIDTH - 8
    top, bottom = 8.0, height - 30
    most = max(max(abs(difference) for difference, *_ in rows), 0.01)
    up = svg.linear(-most, most, bottom, top, ticks=4)
    parts = [_horizontal_grid(up, left, right, lambda value: f.signed(value, up.digits))]
    groups = _groups(len(rows))
    width = (right - left) / len(groups)
    gap = min(1.0, width * 0.2)
    for at, (first, last) in enumerate(groups):
        part = rows[first:last]
        mean = sum(difference for difference, *_ in part) / len(part)
        if mean == 0:
            continue
        tip = _one_query(part[0], view.baseline or "") if len(part) == 1 else _many_queries(part, first)
        y = up.to(mean)
        parts.append(
            element(
                "rect",
                element("title", tip),
                x=left + at * width,
                y=min(y, up.to(0)),
                width=width - gap,
                height=max(abs(y - up.to(0)), 0.5),
                class_="up" if mean > 0 else "down",
            )
        )
    parts.append(element("line", x1=left, x2=right, y1=up.to(0), y2=up.to(0), class_="zero"))
    better, same, worse = view.tally(name, rows)
    parts += [
        svg.text(left, bottom + 20, f"▲ {f.count(better)} better", class_="up-text"),
        svg.text((left + right) / 2, bottom + 20, f"{f.count(same)} equal", anchor="middle", class_="tick"),
        svg.text(right, bottom + 20, f"{f.count(worse)} worse ▼", anchor="end", class_="down-text"),
    ]
    measure = view.report["per_query"]["measure"]
    return svg.figure(
        f"differences-{view.names.index(name)}",
        height,
        f"{name} less {view.baseline}, {measure} by query",
        f"{f.count(better)} queries better, {f.count(same)} equal, {f.count(worse)} worse; from {f.signed(rows[0][0])} to "
        f"{f.signed(rows[-1][0])}.",
        *parts,
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


def _labels(view: View, ends: Sequence[tuple[int, float]], x: float, top: float, bottom: float) -> list[Markup]:
    """The mark and name of each system at the end of its curve, moved apart where curves end close together."""
    placed = svg.spread([y for _, y in ends], 15, top + 4, bottom - 2)
    parts = []
    for (i, y), at in zip(ends, placed, strict=True):
        style = style_of(view, i)
        parts.append(element("line", x1=x + 1, x2=x + 8, y1=y, y2=at, class_="leader"))
        parts.append(svg.marker(style, x + 13, at))
        name = view.names[i]
        label = svg.text(x + 21, at + 4, middle(name, _LABEL), class_="label")
        parts.append(element("g", element("title", name), label))
    return parts


def _vertical_grid(scale: svg.Scale, top: float, bottom: float) -> Markup:
    parts = []
    for tick in scale.ticks:
        x = scale.to(tick)
        parts.append(element("line", x1=x, x2=x, y1=top, y2=bottom, class_="grid"))
        parts.append(svg.text(x, bottom + 15, f"{tick:.{scale.digits}f}", anchor="middle", class_="tick"))
    return joined(*parts)


def _horizontal_grid(scale: svg.Scale, left: float, right: float, write: Callable[[float], str]) -> Markup:
    parts = []
    for tick in scale.ticks:
        y = scale.to(tick)
        parts.append(element("line", x1=left, x2=right, y1=y, y2=y, class_="grid"))
        parts.append(svg.text(left - 7, y + 4, write(tick), anchor="end", class_="tick"))
    return joined(*parts)
