"""The plots of a benchmark: recall against the time of a query, a curve an engine, each an inline SVG."""

from __future__ import annotations

import math

from lsr.eval.bench.report.view import BenchmarkView, microseconds
from lsr.eval.report import formats as f
from lsr.eval.report import svg
from lsr.eval.report.axes import CURVES, curve_names
from lsr.eval.report.markup import Markup, element

__all__ = ["TIMES", "recall_plot"]

TIMES = {"p50_us": "median", "p95_us": "95th percentile", "p99_us": "99th percentile"}
_TICKS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 1.0)
_MISSED = 5e-4  # the share missed that stands at the end of the axis, where 1 is written
_LOW = 0.8  # recall that the axis begins at, unless all is below


def recall_plot(view: BenchmarkView, queries: str, k: int, time: str) -> Markup | None:
    """The fronts of all engines: what they find, on an axis that widens towards 1, and one of `TIMES`. None without any."""
    drawn = []
    for i, series in enumerate(view.series):
        points = view.points(series["name"], queries, k)
        if points and not series["bare"]:
            drawn.append((i, points))
    if not drawn:
        return None
    low = _LOW if any(p["recall"] >= _LOW for _, points in drawn for p in points) else 0.0
    drawn = [(i, kept) for i, points in drawn if (kept := [p for p in points if p["recall"] >= low])]
    across = _recalls(low, CURVES.left + 8, CURVES.right - 8)
    times = [p[time] / 1000 for _, points in drawn for p in points]
    up = svg.logarithmic(min(times), max(times), CURVES.bottom, CURVES.top)
    names = (f"recall@{k}", f"{TIMES[time]} of the time of a query")
    parts = [CURVES.axes(across, up, names, (lambda recall: f"{recall:g}", f.tick_milliseconds))]
    said = []
    for i, points in drawn:
        style = view.style(i)
        path = " ".join(f"{across.to(p['recall']):.1f},{up.to(p[time] / 1000):.1f}" for p in points)
        parts.append(element("polyline", points=path, **svg.stroke(style)))
        for p in points:
            tip = f"{view.names[i]}: recall {f.score(p['recall'])}, {microseconds(p[time])}"
            setting = view.setting(p)
            title = f"{tip} ({setting})" if setting else tip
            parts.append(svg.marker(style, across.to(p["recall"]), up.to(p[time] / 1000), title))
            said.append(tip)
    parts += curve_names(view, [(i, up.to(points[-1][time] / 1000)) for i, points in drawn], CURVES)
    name = f"recall-{view.queries.index(queries)}-{k}-{time.removesuffix('_us')}"
    return svg.figure(name, CURVES.height, f"Recall@{k} against time", "; ".join(said) + ".", *parts)


def _recalls(low: float, start: float, end: float) -> svg.Scale:
    """Places by the logarithm of what is missed: .98 and .99 differ as much as .9 and .95."""
    first, last = -math.log10(1 - low), -math.log10(_MISSED)

    def to(recall: float) -> float:
        at = -math.log10(max(1 - recall, _MISSED))
        return start + (at - first) / (last - first) * (end - start)

    return svg.Scale(to, [tick for tick in _TICKS if tick >= low])
