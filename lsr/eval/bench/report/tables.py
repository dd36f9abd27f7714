"""The tables of a benchmark."""

from __future__ import annotations

from lsr.eval.bench.report.view import BenchmarkView, microseconds, written
from lsr.eval.report import formats as f
from lsr.eval.report.table import Cell, Column, Table, without_empty_columns

__all__ = ["engines_table", "indexes_table", "levels_table", "method_table", "points_table"]

_MIB = 1 << 20


def levels_table(view: BenchmarkView, queries: str, k: int) -> Table:
    """Mean time at each level of recall, by the fastest setting that reaches it, and lsr's time over it."""
    levels = view.levels(queries, k)
    rows = []
    for i, series in enumerate(view.series):
        name, cells = series["name"], []
        for level in levels:
            point = level["engines"].get(name)
            compared = {n: p["mean_us"] for n, p in level["engines"].items() if p is not None and not _bare(view, n)}
            ratio = None if point is None else point["ratio"]
            cells.append(
                Cell(
                    microseconds(None if point is None else point["mean_us"]),
                    detail="" if series["ours"] or ratio is None else f"{ratio:.2f} ×",
                    strong=name in compared and len(compared) > 1 and compared[name] == min(compared.values()),
                )
            )
        points = view.points(name, queries, k)
        rows.append([Cell(name, system=i), *cells, Cell(f.score(max((p["recall"] for p in points), default=None)))])
    return Table(
        f"Mean time of a query at a recall@{k}, {queries}",
        [
            Column("engine", number=False),
            *(Column(f"{level['recall']:.2f}") for level in levels),
            Column("highest recall"),
        ],
        rows,
        (
            "The fastest measured setting that reaches the recall; nothing is interpolated. ×: the time of lsr, by its "
            "fastest engine that reaches it, over that of the peer; below 1 lsr is faster. Bold: the fastest, bare engines "
            "apart.",
        ),
    )


def _bare(view: BenchmarkView, name: str) -> bool:
    return bool(view.series[view.names.index(name)]["bare"])


def points_table(view: BenchmarkView, queries: str, k: int) -> Table:
    """Every setting on the front of each engine."""
    rows = []
    for i, name in enumerate(view.names):
        for number, point in enumerate(view.points(name, queries, k)):
            rows.append(
                [
                    Cell("" if number else name, system=None if number else i),
                    Cell(view.setting(point) or f.NONE),
                    Cell(f.score(point["recall"])),
                    Cell(f.score(point["stored_recall"])),
                    *(Cell(microseconds(point[key])) for key in ("mean_us", "p50_us", "p95_us", "p99_us")),
                ]
            )
    columns = [
        Column("engine", number=False),
        Column("index; search", number=False),
        *map(Column, (f"recall@{k}", "of stored weights", "mean", "p50", "p95", "p99")),
    ]
    notes = [
        f"Recall@{k}: the share found of the top {k} by float64 scores of the vectors as given, documents level with the "
        "last being as good as it."
    ]
    if any(row[3].text != f.NONE for row in rows):
        notes.append("Of stored weights: the same against scores of lsr’s stored weights.")
    return without_empty_columns(Table(f"Settings of {queries}, top {k}", columns, rows, notes))


def indexes_table(view: BenchmarkView) -> Table:
    """What each index cost."""
    rows, before = [], None
    for index in view.report["indexes"]:
        peer, resident, peak = index["peer"], index["resident_mib"], index["build_peak_mib"]
        rows.append(
            [
                Cell("" if peer == before else peer),
                Cell(written(index["settings"]) or f.NONE),
                Cell(f.seconds(index["build_s"])),
                Cell(f.bytes_of(None if peak is None else peak * _MIB)),
                Cell(f.bytes_of(index["disk_bytes"])),
                Cell(f.bytes_of(None if resident is None else resident * _MIB)),
                Cell(f.seconds(index["open_s"])),
            ]
        )
        before = peer
    columns = [
        Column("engine", number=False),
        Column("index", number=False),
        *map(Column, ("build", "memory to build", "on disk", "in memory", "open")),
    ]
    threads = f.counted(view.report["method"]["build_threads"], "thread")
    return Table(
        "Indexes",
        columns,
        rows,
        (
            f"Build: from vectors in the engine’s own form to the index on disk, {threads}. Memory to build: the most that "
            "the building process held, its input included. In memory: what a process grew by when it opened the index and "
            "answered the queries of the sweep, mapped files counted as far as they were read.",
        ),
    )


def engines_table(view: BenchmarkView) -> Table:
    """What is timed of each."""
    peers = {series["peer"]: series for series in view.series}
    rows = [
        [Cell(name), Cell(series["version"] or f.NONE), Cell(f"{series['measured']}.")]
        for name, series in peers.items()
    ]
    columns = [Column(name, number=False) for name in ("engine", "version", "what is timed")]
    return Table("Engines", columns, rows)


def method_table(view: BenchmarkView) -> Table:
    """Vectors, queries, and how they were measured."""
    collection, method = view.report["collection"], view.report["method"]
    terms = f.decimal(collection["nnz"] / max(1, collection["documents"]))
    documents = f"{f.count(collection['documents'])} of {terms} terms, {f.count(collection['dim'])} dimensions"
    timing = (
        f"one query at a time, one thread, every engine in a process of its own; {f.counted(method['rounds'], 'round')} in "
        f"which engines take turns, after {f.counted(method['warm_ups'], 'search', 'searches')} that do not count; mean and "
        "percentiles are medians over the rounds"
    )
    grids = (
        f"the whole grid of each engine with {f.count(method['sweep_queries'])} queries, then with all of them the settings "
        "on its front that matter"
    )
    asked = [
        (f"queries, {queries['name']}", f"{f.count(queries['queries'])} of {f.decimal(queries['mean_terms'])} terms")
        for queries in view.report["query_sets"]
    ]
    pairs = [("documents", documents), *asked, ("timing", timing), ("settings", grids)]
    columns = (Column("fact", number=False), Column("value", number=False))
    return Table("How it was measured", columns, [[Cell(name), Cell(value)] for name, value in pairs])
