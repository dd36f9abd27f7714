"""The plots of time: its distribution, quality against it, recall against it. Each is an inline SVG, or None."""

from __future__ import annotations

from lsr.eval.report import formats as f
from lsr.eval.report import svg
from lsr.eval.report.axes import CURVES, MARKS, curve_names
from lsr.eval.report.markup import Markup, element
from lsr.eval.report.texts import middle
from lsr.eval.report.view import View

__all__ = ["latency_plot", "recall_plot", "tradeoff_plot"]


def latency_plot(view: View) -> Markup | None:
    """A curve a system: the time that a share of the queries stays below, on a logarithmic axis."""
    timed = [(i, s["latency_ms"]["quantiles"]) for i, s in enumerate(view.systems) if s.get("latency_ms")]
    positive = [value for _, quantiles in timed for value in quantiles if value > 0]
    if not positive:
        return None
    across = svg.Scale(svg.linear(0, 100, CURVES.left, CURVES.right).to, (0, 25, 50, 75, 100), 0)
    up = svg.logarithmic(min(positive), max(positive), CURVES.bottom, CURVES.top)
    names = ("share of queries answered within that time", "time")
    parts = [CURVES.axes(across, up, names, (lambda share: f"{share:g} %", f.tick_milliseconds))]
    for i, quantiles in timed:
        points = " ".join(f"{across.to(share):.1f},{up.to(value):.1f}" for share, value in enumerate(quantiles))
        parts.append(element("polyline", points=points, **svg.stroke(view.style(i))))
    parts += curve_names(view, [(i, up.to(quantiles[100])) for i, quantiles in timed], CURVES)
    said = [
        f"{view.names[i]}: half within {f.milliseconds(q[50])}, 95 % within {f.milliseconds(q[95])}, all within "
        f"{f.milliseconds(q[100])}"
        for i, q in timed
    ]
    return svg.figure("latency", CURVES.height, "Time of a query", "; ".join(said) + ".", *parts)


def tradeoff_plot(view: View) -> Markup | None:
    """A mark a system: the headline measure against the median time of a query; None for fewer than two."""
    drawn = [
        (i, name, score, system["latency_ms"]["p50"])
        for i, (name, system) in enumerate(zip(view.names, view.systems, strict=True))
        if (score := view.score(name, view.headline)) is not None and (system.get("latency_ms") or {}).get("p50")
    ]
    if len(drawn) < 2:
        return None
    frame = MARKS
    scores, times = [row[2] for row in drawn], [row[3] for row in drawn]
    margin = (max(scores) - min(scores)) * 0.12 or 0.02
    up = svg.linear(min(scores) - margin, max(scores) + margin, frame.bottom, frame.top, ticks=6)
    across = svg.logarithmic(min(times), max(times), frame.left + 12, frame.right - 12)
    names = ("median time of a query", view.headline)
    parts = [frame.axes(across, up, names, (f.tick_milliseconds, up.written))]
    placed = svg.spread([up.to(score) for score in scores], 15, frame.top + 4, frame.bottom - 4)
    said = []
    for (i, name, score, time), at in zip(drawn, placed, strict=True):
        x = across.to(time)
        tip = f"{name}: {view.headline} {f.score(score)}, p50 {f.milliseconds(time)}"
        before = x > (frame.left + frame.right) / 2  # the name stands where there is more room
        place, anchor = (x - 10, "end") if before else (x + 10, None)
        parts.append(svg.text(place, at + 4, middle(name, 26), anchor=anchor, class_="label"))
        parts.append(svg.marker(view.style(i), x, up.to(score), tip))
        said.append(tip)
    return svg.figure("tradeoff", frame.height, f"{view.headline} against time", "; ".join(said) + ".", *parts)


def recall_plot(view: View) -> Markup | None:
    """A curve a system: overlap with exact search against the median time, a point a setting."""
    drawn = [(i, *curve) for i in range(len(view.systems)) if (curve := _settings(view, i)) is not None]
    if all(len(points) < 2 for _, _, points in drawn):  # exact search has one setting: the table says it all
        return None
    recalls = [recall for _, _, points in drawn for recall, _, _ in points]
    times = [time for _, _, points in drawn for _, time, _ in points]
    across = svg.linear(min(recalls) - 0.004, max(max(recalls), 1.0), CURVES.left + 8, CURVES.right - 8, ticks=6)
    up = svg.logarithmic(min(times), max(times), CURVES.bottom, CURVES.top)
    overlaps = " or ".join(sorted({of for _, of, _ in drawn}))
    names = (f"{overlaps} with exact search", "median time of a search")
    parts = [CURVES.axes(across, up, names, (across.written, f.tick_milliseconds))]
    said = []
    for i, of, points in drawn:
        style = view.style(i)
        path = " ".join(f"{across.to(recall):.1f},{up.to(time):.1f}" for recall, time, _ in points)
        parts.append(element("polyline", points=path, **svg.stroke(style)))
        for recall, time, setting in points:
            name = "exact" if setting is None else f"recall {setting:g}"
            tip = f"{view.names[i]}, {name}: {of} {f.score(recall)}, p50 {f.milliseconds(time)}"
            parts.append(svg.marker(style, across.to(recall), up.to(time), tip))
            said.append(tip)
    parts += curve_names(view, [(i, up.to(points[-1][1])) for i, _, points in drawn], CURVES)
    return svg.figure("recall", CURVES.height, "Recall against latency", "; ".join(said) + ".", *parts)


def _settings(view: View, index: int) -> tuple[str, list[tuple[float, float, float | None]]] | None:
    """The name of the overlap, and (overlap, median time in ms, recall setting) of each point, rising."""
    approximation = view.systems[index].get("approximation")
    if not approximation:
        return None
    of = f"overlap@{approximation['k']}"
    points = [
        (point[of], point["p50_ms"], point["recall_setting"])
        for point in approximation["points"]
        if point.get(of) is not None and point.get("p50_ms")
    ]
    return (of, sorted(points, key=lambda point: point[:2])) if points else None
