"""What eight times as many documents cost the blocked engine, beside pyseismic-lsr if its indexes are there.

    python -m benchmarks.growth SMALL.idx LARGE.idx [--seismic SMALL.seismic LARGE.seismic] [--queries 400]

The indexes are of `documents()` and of `grown(8)` of benchmarks/vectors.py: `lsr.Index.build(grown(8), "large.idx")` takes
some minutes and 8 GB. For each recall the cheapest setting of a grid that reaches it counts, against the exact hits on
the same index; indexes take turns, times are the better of three rounds, one query at a time, one thread.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.vectors import QUERY_SETS, queries
from lsr.index import Index
from lsr.index.blocked.parameters import SearchSettings
from lsr.sparse import SparseVectors

LEVELS = (0.90, 0.95, 0.98)
K = 10
Rows = npt.NDArray[np.int64]


class Way(NamedTuple):
    """One setting: a search for a query by its number, the rows of an answer, and its name."""

    search: Callable[[int], Any]
    rows: Callable[[Any], Rows]
    name: str


def ours(index: Index, asked: SparseVectors) -> list[Way]:
    engine = index._snapshot.parts[0].searcher.blocked
    assert engine is not None
    one = [asked[i : i + 1] for i in range(len(asked))]

    def search(settings: SearchSettings, i: int) -> Any:
        return engine.search(one[i], K, settings)

    grid = product((0.8, 0.9, 1.0), (160, 320, 640, 1280, 2560, 5120), (20, 30, 60))
    return [
        Way(
            partial(search, SearchSettings(query_cut=cut, n_blocks=blocks, candidates=candidates)),
            lambda answer: answer[1][0, : answer[2][0]],
            f"query_cut {cut} n_blocks {blocks} candidates {candidates}",
        )
        for cut, blocks, candidates in grid
    ]


def seismic(path: str, asked: SparseVectors) -> list[Way]:
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    from seismic import SeismicIndexRaw

    index = SeismicIndexRaw.load(path)
    one = [(terms.astype(np.int32), weights.copy()) for terms, weights in asked]

    def search(cut: int, factor: float, i: int) -> Any:
        return index.search(*one[i], K, cut, factor, 0, False)

    return [
        Way(
            partial(search, cut, factor),
            lambda answer: np.array([int(hit[1]) for hit in answer], np.int64),
            f"query_cut {cut} heap_factor {factor}",
        )
        for cut, factor in product((3, 4, 5, 6, 8, 10, 12), (0.6, 0.7, 0.8, 0.9))
    ]


def cheapest(ways: Sequence[Way], truth: tuple[Rows, Rows], size: int) -> dict[float, str]:
    """By recall level: the time of the cheapest way that reaches it, and which it is."""
    rows, counts = truth
    best: dict[float, tuple[float, str]] = {}
    for search, found, name in ways:
        shares = [np.isin(rows[i, : counts[i]], found(search(i))).mean() for i in range(size) if counts[i]]
        recall, times = float(np.mean(shares)), []
        for _ in range(3):
            start = time.perf_counter()
            for i in range(size):
                search(i)
            times.append((time.perf_counter() - start) / size * 1e6)
        for level in LEVELS:
            if recall >= level and min(times) < best.get(level, (np.inf, ""))[0]:
                best[level] = (min(times), f"{min(times):,.0f} us ({recall:.4f}; {name})")
    return {level: text for level, (_, text) in best.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("indexes", nargs=2, metavar="INDEX")
    parser.add_argument("--seismic", nargs=2, metavar="INDEX")
    parser.add_argument("--queries", type=int, default=400)
    options = parser.parse_args()
    for name in QUERY_SETS:
        asked = queries(name, options.queries)
        for at, path in enumerate(options.indexes):
            index = Index.open(path)
            _, rows, counts = index._snapshot.parts[0].searcher.exact.search(asked, K, 2)
            print(
                f"{name}, {len(index):,} documents, lsr: {cheapest(ours(index, asked), (rows, counts), len(asked))}",
                flush=True,
            )
            if options.seismic:
                ways = seismic(options.seismic[at], asked)
                print(
                    f"{name}, {len(index):,} documents, seismic: {cheapest(ways, (rows, counts), len(asked))}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
