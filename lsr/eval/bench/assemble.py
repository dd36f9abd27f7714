"""From measurements to report.json.

    {"schema_version": "1.0", "kind": "benchmark", "created", "command", "collection": {name, documents, nnz, dim},
     "query_sets": [{name, queries, mean_terms}], "method": {k, rounds, warm_ups, sweep_queries, build_threads, threads,
     reopened},
     "skipped": [{name, reason}], "failed": [{name, error}],
     "indexes": [{peer, settings, build_s, build_peak_mib, disk_bytes, open_s, resident_mib}],
     "series": [{name, peer, version, ours, bare, measured, several_threads}],
     "curves": [{series, queries, k, points: [{index, settings, recall, stored_recall, mean_us, p50_us, p95_us, p99_us}],
                 swept: [{index, settings, recall, mean_us}]}],
     "levels": [{queries, k, recall, engines: {series: {...a point, "ratio"} or null}}],
     "provenance": as in the reports of `lsr eval`}

`index` is a position in "indexes". Points are the Pareto front of what was measured, rising in time; `swept` is the whole
grid with few queries. `ratio` is the mean time of the fastest engine of lsr that reaches the level, over that of the engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lsr.eval.bench.grid import LEVELS, cheapest, front
from lsr.eval.bench.measure import Measurement, Point
from lsr.eval.bench.peers import PEERS, load_peer, version_of
from lsr.eval.provenance import now, provenance
from lsr.sparse import SparseVectors

if TYPE_CHECKING:
    from lsr.eval.bench.run import Benchmark

__all__ = ["report_of"]


def report_of(
    documents: SparseVectors,
    queries: Mapping[str, SparseVectors],
    measurement: Measurement,
    skipped: Mapping[str, str],
    benchmark: Benchmark,
) -> dict[str, Any]:
    """The whole report; the module says in which form."""
    packages = [package for name in PEERS if (package := load_peer(name).package) is not None]
    return {
        "schema_version": "1.0",
        "kind": "benchmark",
        "created": now(),
        "command": list(benchmark.command),
        "collection": {
            "name": benchmark.name,
            "documents": len(documents),
            "nnz": documents.nnz,
            "dim": documents.dim,
        },
        "query_sets": [
            {"name": name, "queries": len(vectors), "mean_terms": vectors.nnz / len(vectors)}
            for name, vectors in queries.items()
        ],
        "method": {
            "k": list(benchmark.ks),
            "rounds": benchmark.rounds,
            "warm_ups": benchmark.warm_ups,
            "sweep_queries": benchmark.sweep_queries,
            "build_threads": benchmark.build_threads,
            "threads": 1,
            "reopened": measurement.reopened,
        },
        "skipped": [{"name": name, "reason": reason} for name, reason in skipped.items()],
        "failed": [{"name": name, "error": error} for name, error in measurement.failed.items()],
        "indexes": [
            {
                "peer": built.peer.name,
                "settings": dict(built.settings),
                "build_s": built.build_s,
                "build_peak_mib": built.peak_mib,
                "disk_bytes": built.disk_bytes,
                "open_s": built.open_s,
                "resident_mib": built.resident_mib,
            }
            for built in measurement.built
        ],
        "series": _series(measurement),
        "curves": [_curve(key, points, measurement) for key, points in _by_series(measurement.measured).items()],
        "levels": _levels(measurement),
        "provenance": provenance(None, [], packages=packages, threads=1),
    }


def _by_series(points: Sequence[Point]) -> dict[tuple[str, str, int], list[Point]]:
    grouped: dict[tuple[str, str, int], list[Point]] = {}
    for point in points:
        grouped.setdefault(point.series, []).append(point)
    return grouped


def _series(measurement: Measurement) -> list[dict[str, Any]]:
    busy = measurement.busy()
    found = {point.search.series: point for point in measurement.measured}
    return [
        {
            "name": name,
            "peer": point.built.peer.name,
            "version": version_of(point.built.peer),
            "ours": point.built.peer.package is None,
            "bare": point.search.bare,
            "measured": point.built.peer.measured,
            "several_threads": name in busy,
        }
        for name, point in found.items()
    ]


def _curve(key: tuple[str, str, int], points: Sequence[Point], measurement: Measurement) -> dict[str, Any]:
    series, queries, k = key
    return {
        "series": series,
        "queries": queries,
        "k": k,
        "points": [_point(point, measurement) for point in front(points)],
        "swept": [
            {
                "index": _number(point, measurement),
                "settings": dict(point.search.settings),
                "recall": point.recall,
                "mean_us": point.mean_us,
            }
            for point in measurement.swept
            if point.series == key
        ],
    }


def _point(point: Point, measurement: Measurement) -> dict[str, Any]:
    return {
        "index": _number(point, measurement),
        "settings": dict(point.search.settings),
        "recall": point.recall,
        "stored_recall": point.stored_recall,
        "mean_us": point.mean_us,
        **point.percentiles(),
    }


def _levels(measurement: Measurement) -> list[dict[str, Any]]:
    """At each level of recall the fastest setting of each series that reaches it."""
    grouped = _by_series(measurement.measured)
    levels = []
    for queries, k in dict.fromkeys((queries, k) for _, queries, k in grouped):
        for recall in LEVELS:
            reaching = {
                series: cheapest(points, recall) for (series, *of), points in grouped.items() if of == [queries, k]
            }
            ours = [point for point in reaching.values() if point is not None and _is_lsr(point)]
            best = min((point.mean_us for point in ours), default=None)
            engines = {
                series: None
                if point is None
                else {**_point(point, measurement), "ratio": None if best is None else best / point.mean_us}
                for series, point in reaching.items()
            }
            levels.append({"queries": queries, "k": k, "recall": recall, "engines": engines})
    return levels


def _number(point: Point, measurement: Measurement) -> int:
    return next(i for i, built in enumerate(measurement.built) if built is point.built)


def _is_lsr(point: Point) -> bool:
    """Whether a point is of lsr as users call it."""
    return point.built.peer.package is None and not point.search.bare
