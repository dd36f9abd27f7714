"""What a filter costs: searches at every selectivity, and turning expressions into masks.

    python -m benchmarks.filters [--queries 400] [--documents 391934] [--k 10]

One thread, one query at a time. For each share of documents that a filter leaves, scattered over the index or side by side:
the median time of a search over the postings, of scoring the documents that are left, and of what `ExactEngine` chose,
queries taking turns over the three, each the best of 3 rounds. All three give the same hits, which is checked. The mask is
ready: it is kept between queries. Then, for columns of that many documents, the time to make one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

os.environ.setdefault("NUMBA_NUM_THREADS", "1")

from benchmarks.vectors import QUERY_SETS, documents, queries
from lsr import Index, SparseVectors
from lsr.eval.machine import describe
from lsr.index.exact import ExactEngine
from lsr.index.filters.columns import Column, FieldEntry, Fields, FieldTable
from lsr.index.filters.masks import Masks

SHARES = (0.00001, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.1, 0.5, 1.0)
Mask = npt.NDArray[np.uint8]


def masks(n: int) -> dict[tuple[str, float], Mask]:
    generator = np.random.default_rng(1)
    found = {}
    for share in SHARES:
        count = max(1, round(share * n))
        scattered, together = np.zeros(n, np.uint8), np.zeros(n, np.uint8)
        scattered[generator.permutation(n)[:count]] = 1
        start = (n - count) // 2
        together[start : start + count] = 1
        found["scattered", share], found["together", share] = scattered, together
    for mask in found.values():
        mask.flags.writeable = False
    return found


def ways(engine: ExactEngine, mask: Mask, k: int) -> dict[str, Callable[[SparseVectors], Any]]:
    rows = np.flatnonzero(mask)

    def postings(query: SparseVectors) -> Any:
        engine._survivors._ns, kept = float("inf"), engine._survivors._ns
        try:
            return engine.search(query, k, 1, mask)
        finally:
            engine._survivors._ns = kept

    found = {"postings": postings, "chosen": lambda query: engine.search(query, k, 1, mask)}
    if len(rows) <= 20_000:
        found["documents"] = lambda query: engine._survivors.search(query, k, rows)
    return found


def medians(asked: dict[str, Callable[[SparseVectors], Any]], batch: list[SparseVectors]) -> dict[str, float]:
    """Microseconds."""
    best = {name: np.full(len(batch), np.inf) for name in asked}
    for _ in range(3):
        for i, query in enumerate(batch):
            answers = []
            for name, search in asked.items():
                started = time.perf_counter()
                answers.append(search(query))
                best[name][i] = min(best[name][i], time.perf_counter() - started)
            for scores, rows, counts in answers:
                first = answers[0]
                same = counts[0] == first[2][0] and (rows[0, : counts[0]] == first[1][0, : counts[0]]).all()
                assert same, "other documents"
                assert (scores[0, : counts[0]] == first[0][0, : counts[0]]).all(), "other scores"
    return {name: float(np.median(times)) * 1e6 for name, times in best.items()}


def searches(index: Index, count: int, k: int) -> None:
    engine = index._snapshot.parts[0].searcher.exact
    print("| queries | documents left | share | postings, us | documents, us | chosen, us |\n|---|---|--:|--:|--:|--:|")
    for name in QUERY_SETS:
        found = queries(name, count)
        batch = [found[i : i + 1] for i in range(len(found))]
        plain = medians({"none": lambda query: engine.search(query, k)}, batch)["none"]
        print(f"| {name} | no filter | | {plain:,.0f} | | |")
        for (where, share), mask in masks(len(index)).items():
            times = medians(ways(engine, mask, k), batch)
            documents_way = f"{times['documents']:,.0f}" if "documents" in times else ""
            print(
                f"| {name} | {where} | {share:.3%} | {times['postings']:,.0f} | {documents_way} | {times['chosen']:,.0f} |",
                flush=True,
            )


def expressions(index: Index) -> None:
    n = len(index)
    generator = np.random.default_rng(2)
    half = np.flatnonzero(generator.random(n) < 0.5).astype(np.uint32)
    columns = {
        "year": Column("int", generator.integers(1990, 2026, n), None, None),
        "draft": Column("bool", (generator.random(n) < 0.2).astype(np.uint8), None, None),
        "price": Column("float", generator.random(len(half)), half, None),
    }
    entries = [FieldEntry(name, n, False, {column.kind: column.rows is None}) for name, column in columns.items()]
    fields = Fields(FieldTable(entries), [[column] for column in columns.values()])
    made = Masks(fields, index._snapshot.parts[0].segment.ids, index._snapshot.parts[0].segment.rows_of)
    ids = generator.permutation(n)[:10_000].astype(str).tolist()
    print("\n| filter | first time, us | again, us |\n|---|--:|--:|")
    for label, asked in (
        ("year >= 2020", "year >= 2020"),
        ("price < .5, which half of the documents have", "price < .5"),
        ("year >= 2020 and price < .5 and not draft", "year >= 2020 and price < .5 and not draft"),
        ("10,000 ids", ids),
    ):
        first: list[float] = []
        again: list[float] = []
        for _ in range(7):
            made._kept.cache_clear()
            for times in (first, again):
                started = time.perf_counter()
                made.allowed(asked)
                times.append(time.perf_counter() - started)
        print(f"| {label} | {np.median(first) * 1e6:,.0f} | {np.median(again) * 1e6:,.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--documents", type=int)
    parser.add_argument("--k", type=int, default=10)
    options = parser.parse_args()
    print(describe(), file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        index = Index.build(documents(options.documents), Path(folder) / "my.idx", engine="exact")
        searches(index, options.queries, options.k)
        expressions(index)


if __name__ == "__main__":
    main()
