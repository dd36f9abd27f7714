"""The plots of a search, each an inline SVG, or None where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lsr.eval.report import formats as f
from lsr.eval.report import svg
from lsr.eval.report.axes import MARKS, vertical_grid
from lsr.eval.report.markup import Markup, element
from lsr.eval.report.plots import differences_plot
from lsr.eval.report.svg import WIDTH
from lsr.eval.report.texts import middle, slug
from lsr.eval.report.view import View
from lsr.rag.report.view import COMPLETE, EffectView, PipelineView, SplitView, StudyView

__all__ = ["BASELINE_STYLE", "COSTS", "WINNER_STYLE", "effects_plot", "front_plot", "questions_plot"]

BASELINE_STYLE, WINNER_STYLE = 0, 2
_ROW = 38.0
_LONGEST = 40  # characters of an option above its row

_Cost = Callable[[PipelineView], float | None]
# What quality is drawn against: name, heading, value of a pipeline, how it is written.
COSTS: dict[str, tuple[str, _Cost, Callable[[float], str]]] = {
    "latency": ("p95 time of a question", lambda p: p.latency_ms, f.milliseconds),
    "tokens": ("tokens of a question", lambda p: p.tokens, f.whole),
    "cost": ("cost of a question", lambda p: p.cost, f.decimal),
}


def front_plot(study: StudyView, cost: str) -> Markup | None:
    """Complete pipelines by quality and one of `COSTS`; a line joins those that no other beats in both. None unless two
    differ."""
    heading, value, write = COSTS[cost]
    drawn = [
        (p, x, p.quality)
        for p in study.pipelines
        if p.state == COMPLETE and p.quality is not None and (x := value(p)) is not None
    ]
    if len({x for _, x, _ in drawn}) < 2:
        return None
    costs, qualities = [x for _, x, _ in drawn], [y for _, _, y in drawn]
    frame = MARKS
    margin = (max(qualities) - min(qualities)) * 0.08 or 0.02
    up = svg.linear(min(qualities) - margin, max(qualities) + margin, frame.bottom, frame.top, ticks=6)
    if min(costs) > 0:
        across = svg.logarithmic(min(costs), max(costs), frame.left + 12, frame.right - 12)
    else:
        across = svg.linear(0, max(costs), frame.left + 12, frame.right - 12)
    ticks = f.tick_milliseconds if cost == "latency" else lambda tick: f"{tick:,.6g}"
    parts = [frame.axes(across, up, (heading, study.quality), (ticks, up.written))]
    front = _front(drawn)
    points = " ".join(f"{across.to(x):.1f},{up.to(y):.1f}" for _, x, y in front)
    parts.append(element("polyline", points=points, **svg.stroke(1)))
    # The winner and the baseline are drawn last, over the others.
    for p, x, y in sorted(drawn, key=lambda row: row[0].name in (study.winner, study.baseline)):
        tip = f"{p.name}: {study.quality} {f.score(y)}, {write(x)}"
        at = across.to(x), up.to(y)
        if p.name in (study.winner, study.baseline):
            parts.append(svg.marker(WINNER_STYLE if p.name == study.winner else BASELINE_STYLE, *at, tip))
        else:
            parts.append(element("circle", element("title", tip), cx=at[0], cy=at[1], r=2.6, class_="full s1"))
    said = "; ".join(f"{p.name} {f.score(y)} at {write(x)}" for p, x, y in front)
    title = f"{study.quality} against {heading}"
    return svg.figure(f"front-{cost}", frame.height, title, f"On the front: {said}.", *parts)


def _front(drawn: Sequence[tuple[PipelineView, float, float]]) -> list[tuple[PipelineView, float, float]]:
    """Those that no other beats in both, the cheapest first."""
    kept: list[tuple[PipelineView, float, float]] = []
    for row in sorted(drawn, key=lambda row: (row[1], -row[2])):
        if not kept or row[2] > kept[-1][2]:
            kept.append(row)
    return kept


def effects_plot(effects: Sequence[EffectView], span: tuple[float, float]) -> Markup | None:
    """The effects of a family's options with their intervals, on an axis from span[0] to span[1]; the line is no effect."""
    told = [effect for effect in effects if effect.difference is not None]
    if not told:
        return None
    scale = svg.linear(*span, 8, WIDTH - 8, ticks=6)
    bottom = len(told) * _ROW + 6
    x = scale.to(0)
    parts = [vertical_grid(scale, 0, bottom), element("line", x1=x, x2=x, y1=0, y2=bottom, class_="reference")]
    said = []
    for row, effect in enumerate(told):
        assert effect.difference is not None
        y, style = row * _ROW, 1
        tip = f"{effect.option}: {f.signed(effect.difference)}"
        if effect.interval is not None:
            x1, x2 = (scale.to(end) for end in effect.interval)
            parts.append(element("line", x1=x1, x2=x2, y1=y + 26, y2=y + 26, class_=f"line s{style} whisker"))
            tip += f", 95 % interval {f.interval(effect.interval, sign=True)}"
        parts.append(svg.text(8, y + 14, middle(effect.option, _LONGEST), class_="name"))
        parts.append(svg.text(WIDTH - 8, y + 14, f.signed(effect.difference), anchor="end", class_="value"))
        parts.append(svg.marker(style, scale.to(effect.difference), y + 26, tip))
        said.append(tip)
    family = told[0].family
    return svg.figure(
        f"effects-{slug(family)}",
        bottom + 20,
        f"Effects of {family} beside {told[0].reference}",
        "; ".join(said) + ".",
        *parts,
    )


def questions_plot(study: StudyView, split: SplitView, id: str) -> Markup | None:
    """A bar a question: the winner's quality less the baseline's, best first. None where the two are one pipeline."""
    if study.winner == study.baseline:
        return None
    paired = [q for q in split.questions if q.baseline is not None and q.winner is not None]
    if not paired:
        return None
    better = sum((q.winner or 0) > (q.baseline or 0) for q in paired)
    worse = sum((q.winner or 0) < (q.baseline or 0) for q in paired)
    compared = {
        "system": study.winner,
        "measure": study.quality,
        "wins": better,
        "ties": len(paired) - better - worse,
        "losses": worse,
    }
    view = View(
        {
            "dataset": {"name": study.data},
            "systems": [{"name": study.baseline}, {"name": study.winner}],
            "headline": study.quality,
            "measures": [study.quality],
            "comparisons": [compared],
            "baseline": study.baseline,
            "per_query": {
                "measure": study.quality,
                "query_ids": [q.text or q.id for q in paired],
                "scores": {study.baseline: [q.baseline for q in paired], study.winner: [q.winner for q in paired]},
            },
        }
    )
    return differences_plot(view, study.winner, id)
