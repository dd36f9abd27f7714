"""Tables of time and space. Each is None, or lacks the column, when nothing was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lsr.eval.report import formats as f
from lsr.eval.report.table import Cell, Column, Table, without_empty_columns
from lsr.eval.report.view import View

__all__ = ["approximation_table", "bytes_table", "cost_table", "latency_table", "sparsity_table", "start_table"]

_QUANTILES = ("p50", "p95", "p99", "max", "mean")
_POINT = {  # of the approximation: what it is called, and how it is written
    "recall_setting": ("recall setting", lambda x: "exact" if x is None else f"{x:g}"),
    "ndcg_change": ("change", f.signed),
    "max_score_error": ("largest score error", f.decimal),
    "p50_ms": ("p50", f.milliseconds),
}


def _systems(view: View, key: str) -> list[tuple[int, Mapping[str, Any], Any]]:
    """(number, system, what it has under a key) of those that have it."""
    return [(i, system, system[key]) for i, system in enumerate(view.systems) if system.get(key)]


def latency_table(view: View) -> Table | None:
    """Whole time a query, and its stages where they were timed apart."""
    timed = [
        (i, system) for i, system in enumerate(view.systems) if system.get("latency_ms") or system.get("stages_ms")
    ]
    if not timed:
        return None
    rows = []
    for i, system in timed:
        stages = dict(system.get("stages_ms") or {})
        parts: list[tuple[str, Mapping[str, Any]]] = [("all", system["latency_ms"])] if system.get("latency_ms") else []
        for stage, times in [*parts, *stages.items()]:
            name = Cell(system["name"], system=i) if (stage, times) == ([*parts, *stages.items()][0]) else Cell("")
            strong = stage == "all" and bool(stages)
            rows.append([name, Cell(stage), *(Cell(f.milliseconds(times.get(q)), strong=strong) for q in _QUANTILES)])
    columns = [Column("system", number=False), Column("stage", number=False), *map(Column, _QUANTILES)]
    return Table("Time for one query, from text to hits", columns, rows, _conditions(view))


def _conditions(view: View) -> list[str]:
    """How the times were taken: once when it was the same for all."""
    said: dict[str, list[str]] = {}
    for _, system, latency in _systems(view, "latency_ms"):
        how = (
            f"one query at a time, {f.counted(latency['threads'], 'thread')}; "
            f"{f.counted(latency['queries'], 'query', 'queries')}, {f.counted(latency['repeats'], 'repeat')}, "
            f"after {f.counted(latency['warmups'], 'warm-up')}"
        )
        said.setdefault(how, []).append(system["name"])
    if len(said) == 1:
        return [f"{how[0].upper()}{how[1:]}." for how in said]
    return [f"{', '.join(names)}: {how}." for how, names in said.items()]


def start_table(view: View) -> Table | None:
    """A fresh process, and throughput by threads."""
    threads = sorted({point["threads"] for _, _, points in _systems(view, "throughput") for point in points})
    starts = list(dict.fromkeys(key for _, _, start in _systems(view, "start_ms") for key in start))
    if not threads and not starts:
        return None
    rows = []
    for i, system in enumerate(view.systems):
        start = system.get("start_ms") or {}
        rates = {point["threads"]: point["queries_per_second"] for point in system.get("throughput") or ()}
        if start or rates:
            rows.append(
                [
                    Cell(system["name"], system=i),
                    *(Cell(f.milliseconds(start.get(key))) for key in starts),
                    *(Cell(f.per_second(rates.get(number))) for number in threads),
                ]
            )
    columns = [
        Column("system", number=False),
        *(Column(key.replace("_", " ")) for key in starts),
        *(Column(f"queries, {f.counted(number, 'thread')}") for number in threads),
    ]
    notes = []
    if starts:
        notes.append("Open and first query: a fresh process, from opening to the first answer.")
    if "compile" in starts:
        notes.append("Compile: paid once, in the first run on a machine.")
    return without_empty_columns(Table("Starting, and queries per second", columns, rows, notes))


def cost_table(view: View) -> Table | None:
    """What building cost and what it left on the disk."""
    rows = []
    for i, system, index in _systems(view, "index"):
        total = (index.get("bytes") or {}).get("total")
        rows.append(
            [
                Cell(system["name"], system=i),
                Cell(f.bytes_of(total)),
                Cell(f.bytes_of(index.get("bytes_per_document"))),
                Cell(f.seconds(index.get("build_s"))),
                Cell(f.decimal(index.get("documents_per_s"))),
                Cell(f.NONE if index.get("peak_mib") is None else f.bytes_of(index["peak_mib"] * 2**20)),
            ]
        )
    if not rows:
        return None
    names = ("index", "per document", "build time", "documents a second", "peak memory")
    columns = [Column("system", number=False), *map(Column, names)]
    notes = (
        ["Per document: the index without stored text. Peak memory: of the process, with what it held before building."]
        if any(row[2].text != f.NONE for row in rows)
        else []
    )
    return without_empty_columns(Table("Size and building", columns, rows, notes))


def bytes_table(view: View) -> Table | None:
    """The parts of each index; None when no more than the total is known."""
    parts = _keys(index.get("bytes") or {} for _, _, index in _systems(view, "index"))
    if set(parts) <= {"total"}:
        return None
    parts = [part for part in parts if part != "total"] + ["total"] * ("total" in parts)
    rows = [
        [Cell(system["name"], system=i), *(Cell(f.bytes_of((index.get("bytes") or {}).get(part))) for part in parts)]
        for i, system, index in _systems(view, "index")
        if index.get("bytes")
    ]
    columns = [Column("system", number=False), *(Column(part.replace("_", " ")) for part in parts)]
    return without_empty_columns(Table("Parts of the index", columns, rows))


def sparsity_table(view: View) -> Table | None:
    """Terms with a weight, and the multiplications of a query with a document."""
    rows = []
    for i, system, sparsity in _systems(view, "sparsity"):
        cells = [Cell(system["name"], system=i)]
        for side in ("documents", "queries"):
            terms = sparsity.get(side) or {}
            cells += [Cell(f.decimal(terms.get("mean"))), *(Cell(f.whole(terms.get(key))) for key in ("p50", "p99"))]
        rows.append([*cells, Cell(f.decimal(sparsity.get("flops")))])
    if not rows:
        return None
    columns = [
        Column("system", number=False),
        *(Column(f"{side}, {key}") for side in ("document", "query") for key in ("mean", "p50", "p99")),
        Column("FLOPS"),
    ]
    notes = ["FLOPS: expected products of a query and a document, the sum over terms of p(query) p(document)."]
    return without_empty_columns(Table("Terms that are not 0", columns, rows, notes))


def approximation_table(view: View) -> Table | None:
    """Search by the index beside brute force over the same vectors."""
    approximated = _systems(view, "approximation")
    if not approximated:
        return None
    keys = _keys(point for _, _, approximation in approximated for point in approximation["points"])
    keys = ["recall_setting", *(key for key in keys if key != "recall_setting")]
    rows = []
    for i, system, approximation in approximated:
        for nth, point in enumerate(approximation["points"]):
            name = Cell(system["name"], system=i) if nth == 0 else Cell("")
            rows.append([name, *(Cell(_writing(key)(point.get(key))) for key in keys)])
    columns = [Column("system", number=False), *(Column(_POINT[key][0] if key in _POINT else key) for key in keys)]
    notes = [
        "Overlap: share of the first hits of brute force over the stored vectors that the index finds; change: of nDCG "
        "against brute force."
    ]
    return without_empty_columns(Table("The index beside brute force", columns, rows, notes))


def _writing(key: str) -> Callable[[Any], str]:
    return _POINT[key][1] if key in _POINT else f.score


def _keys(objects: Iterable[Mapping[str, Any]]) -> list[str]:
    """All keys, in the order in which they first come."""
    return list(dict.fromkeys(key for one in objects for key in one))
