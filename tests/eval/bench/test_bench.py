"""A benchmark from vectors to report: what is measured, what is skipped, what fails alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsr import SparseVectors
from lsr.errors import EvaluationError, InvalidInput, OutputExists
from lsr.eval.bench import Benchmark, bench
from lsr.eval.bench.indexes import Indexes
from lsr.eval.bench.peers import load_peer
from lsr.eval.bench.worker import Worker
from tests.conftest import random_vectors
from tests.eval.bench.conftest import HERE, HOSTILE, Run


def curve(report: dict[str, Any], series: str, queries: str, k: int) -> dict[str, Any]:
    found: dict[str, Any] = next(
        c for c in report["curves"] if (c["series"], c["queries"], c["k"]) == (series, queries, k)
    )
    return found


def recall_by_hand(run: Run, queries: str, k: int, seen: int) -> float:
    """Of an engine that looks at the first documents only. The weights are random: there are no ties."""
    scores = (run.queries[queries].to_scipy() @ run.documents.to_scipy().T).toarray()
    shares = []
    for line in scores:
        wanted = {row for row in np.argsort(-line)[:k].tolist() if line[row] > 0}
        found = np.argsort(-line[:seen], kind="stable")[:k].tolist()
        shares.append(len(wanted & set(found)) / len(wanted))
    return float(np.mean(shares))


def test_the_exact_engine_finds_all_and_says_how_long_it_took(run: Run) -> None:
    for queries in run.queries:
        for k in (1, 5):
            (point,) = curve(run.report, "lsr exact", queries, k)["points"]
            assert point["stored_recall"] == 1
            assert point["recall"] > 0.9  # its stored weights are rounded to 8 bits
            assert 0 < point["p50_us"] <= point["p95_us"] <= point["p99_us"]
            assert point["mean_us"] > 0
            (bare,) = curve(run.report, "lsr exact bare", queries, k)["points"]
            assert bare["recall"] == point["recall"]


def test_recall_is_measured_with_all_queries_and_swept_with_few(run: Run) -> None:
    for queries in run.queries:
        found = curve(run.report, "partial", queries, 5)
        swept = [
            (run.report["indexes"][p["index"]]["settings"]["share"], p["settings"]["of_these"]) for p in found["swept"]
        ]
        assert swept == [(0.5, 0.2), (0.5, 0.6), (0.5, 1.0), (1.0, 0.2), (1.0, 0.6), (1.0, 1.0)]
        for point in found["points"]:
            share = run.report["indexes"][point["index"]]["settings"]["share"]
            seen = int(int(300 * share) * point["settings"]["of_these"])
            assert point["recall"] == pytest.approx(recall_by_hand(run, queries, 5, seen))
        assert max(point["recall"] for point in found["points"]) == 1


def test_points_are_a_front(run: Run) -> None:
    for found in run.report["curves"]:
        times, recalls = ([point[key] for point in found["points"]] for key in ("mean_us", "recall"))
        assert times == sorted(set(times))
        assert recalls == sorted(set(recalls))


def test_at_each_level_engines_are_compared_by_what_reaches_it(run: Run) -> None:
    assert [level["recall"] for level in run.report["levels"]] == [0.9, 0.95, 0.98, 0.99] * 4
    for level in run.report["levels"]:
        for series, point in level["engines"].items():
            points = curve(run.report, series, level["queries"], level["k"])["points"]
            reaching = [p["mean_us"] for p in points if p["recall"] >= level["recall"]]
            assert (point is None) == (not reaching)
            if point is not None:
                assert point["mean_us"] == min(reaching)
        found = [level["engines"][name] for name in ("lsr exact", "lsr blocked")]
        ours, peer = (
            min((point["mean_us"] for point in found if point is not None), default=None),
            level["engines"]["partial"],
        )
        if peer is not None:
            expected = None if ours is None else pytest.approx(ours / peer["mean_us"])
            assert peer["ratio"] == expected


def test_each_index_says_what_it_cost(run: Run) -> None:
    costs = {(index["peer"], index["settings"].get("share")): index for index in run.report["indexes"]}
    assert set(costs) == {("lsr", None), ("partial", 0.5), ("partial", 1.0)}
    for index in costs.values():
        assert index["build_s"] > 0
        assert index["open_s"] > 0
        assert index["disk_bytes"] > 0
        assert index["resident_mib"] is None or index["resident_mib"] >= 0
    small, large = costs["partial", 0.5]["disk_bytes"], costs["partial", 1.0]["disk_bytes"]
    assert 1.6 < large / small < 2.1


def test_who_is_not_installed_is_skipped_by_name_and_who_fails_fails_alone(run: Run) -> None:
    assert run.report["skipped"] == [{"name": "bmp", "reason": "not here"}]
    failed = {one["name"]: one["error"] for one in run.report["failed"]}
    assert failed == {
        "fails (share=0.5)": "RuntimeError: no index of this kind",
        "fails (share=1.0)": "RuntimeError: no index of this kind",
        "ends (share=1.0)": "its process ended with status 7: thread 'main' panicked",
    }
    assert [series["name"] for series in run.report["series"]] == [
        "lsr exact",
        "lsr exact bare",
        "lsr blocked",
        "lsr blocked bare",
        "partial",
    ]


def test_the_report_says_what_was_measured_and_how(run: Run) -> None:
    report = run.report
    assert (report["schema_version"], report["kind"]) == ("1.0", "benchmark")
    assert report["collection"] == {"name": "small", "documents": 300, "nnz": run.documents.nnz, "dim": 80}
    assert [(q["name"], q["queries"]) for q in report["query_sets"]] == [("plain", 12), (HOSTILE, 7)]  # one has no term
    assert report["method"]["k"] == [1, 5]
    assert report["provenance"]["threads"] == 1
    assert "pyseismic-lsr" in report["provenance"]["packages"]
    assert {"finding the truth", "partial: building and sweeping", "measuring plain, top 5"} <= set(run.stages)


def test_nothing_but_the_report_stays(run: Run) -> None:
    assert sorted(path.name for path in run.folder.iterdir()) == ["report.html", "report.json", "report.md"]


def test_kept_indexes_are_used_again_unless_something_changed(run: Run, tmp_path: Path) -> None:
    place, asked = f"{HERE}:Partial", run.queries["plain"]
    peer = load_peer(place)
    settings = peer.builds(300)[0]
    same = Indexes(run.indexes, tmp_path, run.documents, asked, threads=1)
    folder, cost = same.build(peer, place, settings)
    (folder / "mark").touch()
    assert same.build(peer, place, settings) == (folder, cost)
    assert (folder / "mark").exists()
    assert (
        Indexes(run.indexes, tmp_path, run.documents[:200], asked, threads=1).build(peer, place, settings)[0] != folder
    )
    assert Indexes(run.indexes, tmp_path, run.documents, asked, threads=2).build(peer, place, settings)[0] != folder
    index = next(index for index in run.report["indexes"] if index["peer"] == "partial")
    assert (index["build_s"], index["disk_bytes"]) == (cost["seconds"], cost["disk_bytes"])  # of the first time


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"peers": ["fast"]}, "peer 'fast' is not known: choose from seismic, sindi"),
        ({"ks": (10, 51)}, "k is 10, 51: it must be from 1 to the number of documents, 50"),
        ({"ks": ()}, "k is not given"),
        ({"rounds": 0}, "at least 1"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_built(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    documents, queries = random_vectors(50, 20, 5), random_vectors(3, 20, 5)
    with pytest.raises(InvalidInput, match=says):
        bench(documents, {"q": queries}, tmp_path / "r", replace(Benchmark(ks=(1,)), **changes), lambda *_: None)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("queries", "says"),
    [
        (random_vectors(3, 21, 5), "q: the queries have 21 dimensions, the documents 20"),
        (SparseVectors(indptr=[0, 0], indices=[], values=[], dim=20), "q: no query has a term"),
    ],
)
def test_queries_that_do_not_fit_are_refused(tmp_path: Path, queries: SparseVectors, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        bench(random_vectors(50, 20, 5), {"q": queries}, tmp_path, Benchmark(peers=[], ks=(1,)), lambda *_: None)


def test_a_report_is_not_overwritten_unasked(run: Run) -> None:
    benchmark = Benchmark(peers=[], ks=(1,))
    with pytest.raises(OutputExists, match=r"holds report\.json already; --overwrite replaces it"):
        bench(run.documents, run.queries, run.folder, benchmark, lambda *_: None)
    with pytest.raises(OutputExists, match="a file"):
        bench(run.documents, run.queries, run.folder / "report.md", benchmark, lambda *_: None)


def test_where_memory_is_short_indexes_are_opened_again_and_found_the_same(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without lsr's own engine, which takes longer to open than all else here."""
    monkeypatch.setattr("lsr.eval.bench.run.OURS", f"{HERE}:Partial")
    benchmark = Benchmark(peers=[], ks=(5,), rounds=2, warm_ups=1, sweep_queries=5, indexes=run.indexes, memory_mib=0.0)
    report = bench(run.documents, {"plain": run.queries["plain"]}, tmp_path, benchmark, lambda *_: None).report
    assert run.report["method"]["reopened"] == 0
    assert report["method"]["reopened"] >= 2
    assert report["failed"] == []
    recalls = [
        [point["recall"] for point in curve(one, "partial", "plain", 5)["points"]] for one in (run.report, report)
    ]
    assert max(recalls[0]) == max(recalls[1]) == 1
    assert "closed and opened again" in (tmp_path / "report.md").read_text(encoding="utf-8")


# -- workers -----------------------------------------------------------------------------------------------------------


def test_a_worker_uses_as_many_threads_as_it_is_told(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OMP_NUM_THREADS", "7")
    with Worker(threads=3) as worker:
        worker.call("memory")  # it is up
        variables = Path(f"/proc/{worker._process.pid}/environ")
        if not variables.exists():
            pytest.skip("this system does not show the environment of a process")
        told = dict(line.split(b"=", 1) for line in variables.read_bytes().split(b"\0") if b"=" in line)
    assert told[b"OMP_NUM_THREADS"] == told[b"RAYON_NUM_THREADS"] == told[b"NUMBA_NUM_THREADS"] == b"3"


def test_a_mistake_in_a_worker_is_an_error_and_not_its_end(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    random_vectors(9, 5, 3).save(tmp_path / "v.npz")
    with Worker() as worker:
        with pytest.raises(EvaluationError, match="no such file"):
            worker.call(
                "build", peer=f"{HERE}:Partial", vectors=str(tmp_path / "none.npz"), folder=str(tmp_path), settings={}
            )
        built = worker.call(
            "build",
            peer=f"{HERE}:Partial",
            vectors=str(tmp_path / "v.npz"),
            folder=str(tmp_path),
            settings={"share": 1},
        )
        assert built["seconds"] > 0
