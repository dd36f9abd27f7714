"""Tables of quality: systems x measures, comparisons with the baseline, the worst losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lsr.eval.report import formats as f
from lsr.eval.report import words
from lsr.eval.report.table import Cell, Column, Table
from lsr.eval.report.texts import short
from lsr.eval.report.view import View

__all__ = ["comparisons_table", "losses_table", "quality_table", "shown_order"]

_TITLE = 70  # characters of a title or text in the table of losses


def shown_order(view: View) -> list[str]:
    """The headline measure first, then as the report has them."""
    return [view.headline, *(measure for measure in view.measures if measure != view.headline)]


def quality_table(view: View) -> Table:
    """Systems x measures; the best of each measure strong, the interval of the headline measure beside it."""
    measures = shown_order(view)
    rows = []
    for i, name in enumerate(view.names):
        cells = [Cell(name, detail="baseline" if name == view.baseline else "", system=i)]
        for measure in measures:
            value, interval = view.score(name, measure), view.interval(name, measure)
            cells.append(
                Cell(
                    f.score(value),
                    detail=f.interval(interval) if measure == view.headline and interval else "",
                    strong=value is not None and round(value, 4) == view.best(measure),
                    standing=view.standing(name, measure),
                )
            )
        rows.append(cells)
    notes = [f"With {view.headline}: the 95 % bootstrap interval of the mean."] if _intervals(view) else []
    return Table(
        f"Quality on {view.title}: means over {f.counted(view.dataset['queries'], 'query', 'queries')}",
        [Column("system", number=False), *(Column(measure) for measure in measures)],
        rows,
        notes,
    )


def _intervals(view: View) -> bool:
    return any(view.interval(name, view.headline) for name in view.names)


def comparisons_table(view: View) -> Table | None:
    """Differences to the baseline, None when nothing was compared."""
    if not view.comparisons:
        return None
    several = len({comparison["measure"] for comparison in view.comparisons}) > 1
    rows = []
    for c in view.comparisons:
        standing = view.standing(c["system"], c["measure"])
        rows.append(
            [
                Cell(c["system"], system=view.names.index(c["system"]) if c["system"] in view.names else None),
                Cell(c["measure"]),
                Cell(f.signed(c["difference"]), standing=standing),
                Cell(f.interval(c["interval"], sign=True)),
                Cell(f.p_value(c["p"])),
                Cell(f.p_value(c["p_holm"]), strong=standing is not None),
                Cell(f.signed(c["effect_size"], 2)),
                Cell(f"{f.count(c['wins'])} / {f.count(c['ties'])} / {f.count(c['losses'])}"),
            ]
        )
    names = ["system", "measure", "difference", "95 % interval", "p", "p (Holm)", "effect size", "wins / ties / losses"]
    columns = [Column(name, number=i > 1) for i, name in enumerate(names)]
    measure = "" if several else f" in {view.comparisons[0]['measure']}"
    if not several:
        columns = [column for column in columns if column.name != "measure"]
        rows = [[row[0], *row[2:]] for row in rows]
    notes = [
        words.test_of(list(view.comparisons)),
        "Effect size: mean difference by the standard deviation of the differences (d_z).",
    ]
    baselines = " and ".join(sorted({c["baseline"] for c in view.comparisons}))
    return Table(f"Difference from {baselines}{measure}, query by query", columns, rows, notes)


def losses_table(view: View, system: str, losses: list[Mapping[str, Any]]) -> Table:
    """The worst losses of one system, a query a row."""
    depth = view.report["depth"]
    rows = []
    for loss in losses:
        relevant = "; ".join(f"{_named(doc)} ({words.found_at(doc['rank'], depth)})" for doc in loss["relevant"])
        query = short(loss["query"], 2 * _TITLE) if loss.get("query") else ""
        rows.append(
            [
                Cell(query or f"query {loss['query_id']}", detail=loss["query_id"] if query else ""),
                Cell(f.score(loss["score"])),
                Cell(f.score(loss["baseline_score"])),
                Cell(relevant or "none is relevant"),
                Cell("; ".join(_shown_instead(loss)) or "nothing was found"),
            ]
        )
    baseline = losses[0]["baseline"]
    columns = [
        Column("query", number=False),
        Column(system),
        Column(baseline or "baseline"),
        Column("relevant, and where it was", number=False),
        Column("shown instead", number=False),
    ]
    if baseline is None:
        del columns[2]
        rows = [[*row[:2], *row[3:]] for row in rows]
    return Table(f"{words.worst(view)} of {system}" + (f" to {baseline}" if baseline else ""), columns, rows)


def _shown_instead(loss: Mapping[str, Any]) -> Iterator[str]:
    """The first hits that are not relevant, at most two."""
    wrong = [hit for hit in loss["hits"] if not hit["grade"] or hit["grade"] < 0]
    for hit in wrong[:2]:
        yield f"{hit['rank']}. {_named(hit)}"


def _named(document: Mapping[str, Any]) -> str:
    heading = document.get("title") or document.get("text")
    name = short(document["id"], _TITLE)
    return f"{name} “{short(heading, _TITLE)}”" if heading else name
