"""What eight times as many documents cost the blocked engine, beside pyseismic-lsr where it is installed.

    python -m benchmarks.growth FOLDER [--factor 8] [--queries 400] [--no-seismic] [--threads 2]

The indexes, of `documents()` and of `grown(factor)` of benchmarks/vectors.py, are kept in FOLDER and used again. lsr's two
take some minutes and 8 GB of memory, Seismic's, with as many postings as `lsr bench` gives it, an hour on two cores. For each
recall the cheapest setting of a grid that reaches it counts, against the exact hits on the same index; times are the better
of three rounds, one query at a time through each one's own face, on one thread.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.vectors import QUERY_SETS, documents, grown, queries
from lsr.errors import IndexNotFound
from lsr.eval.bench.peers.seismic import Seismic
from lsr.index import Index
from lsr.index.blocked.parameters import SearchSettings
from lsr.sparse import SparseVectors

LEVELS = (0.90, 0.95, 0.98, 0.99)
K = 10
Rows = npt.NDArray[np.int64]


class Way(NamedTuple):
    """One setting: a search for a query by its number, the rows of an answer, and its name."""

    search: Callable[[int], Any]
    rows: Callable[[Any], Any]
    name: str


def ours(index: Index, asked: SparseVectors) -> list[Way]:
    one = [asked[i : i + 1] for i in range(len(asked))]

    def search(settings: SearchSettings | None, i: int) -> Any:
        return index.search(one[i], K, settings=settings, recall=1.0 if settings is None else None)

    grid = product((0.8, 0.9, 1.0), (80, 113, 160, 226, 320, 453, 640, 905, 1280, 2560), (15, 20, 30, 60))
    settings = [SearchSettings(query_cut=cut, n_blocks=blocks, candidates=most) for cut, blocks, most in grid]
    names = [f"query_cut {one.query_cut} n_blocks {one.n_blocks} candidates {one.candidates}" for one in settings]
    ways = [(None, "exact engine"), *zip(settings, names, strict=True)]
    return [Way(partial(search, setting), lambda answer: answer[0].rows, name) for setting, name in ways]


def seismic(folder: Path, asked: SparseVectors) -> list[Way]:
    peer = Seismic()
    opened = peer.open(folder, {})
    one = opened.prepare(asked)

    def search(find: Callable[[Any], Any], i: int) -> Any:
        return find(one[i])

    return [
        Way(partial(search, opened.searcher(found, K)), opened.rows, str(found.settings))
        for found in peer.searches({}, K)
    ]


def cheapest(ways: Sequence[Way], truth: tuple[Rows, Rows], size: int) -> dict[float, str]:
    """By recall level: the time of the cheapest way that reaches it, and which it is."""
    rows, counts = truth
    best: dict[float, tuple[float, str]] = {}
    for search, found, name in ways:
        shares = [np.isin(rows[i, : counts[i]], found(search(i))).mean() for i in range(size) if counts[i]]
        recall, times = float(np.mean(shares)), []
        if recall < LEVELS[0]:
            continue
        for _ in range(3):
            start = time.perf_counter()
            for i in range(size):
                search(i)
            times.append((time.perf_counter() - start) / size * 1e6)
        for level in LEVELS:
            if recall >= level and min(times) < best.get(level, (np.inf, ""))[0]:
                best[level] = (min(times), f"{min(times):,.0f} us ({recall:.4f}; {name})")
    return {level: text for level, (_, text) in best.items()}


def built(folder: Path, factor: int) -> Index:
    path = folder / f"{factor}.idx"
    try:
        return Index.open(path)
    except IndexNotFound:
        start = time.perf_counter()
        index = Index.build(documents() if factor == 1 else grown(factor), path, engine="blocked")
        print(f"lsr, {len(index):,} documents: built in {time.perf_counter() - start:.0f} s", flush=True)
        return index


def built_by_seismic(folder: Path, factor: int) -> Path:
    path = folder / f"{factor}.seismic"
    if not path.is_dir():
        peer, vectors, work = Seismic(), documents() if factor == 1 else grown(factor), path.with_suffix(".part")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        settings = peer.builds(len(vectors))[0]
        source = peer.convert(vectors, work)
        del vectors
        start = time.perf_counter()
        peer.build(source, work, settings)
        source[0].unlink()
        work.rename(path)
        print(f"seismic, {settings}: built in {time.perf_counter() - start:.0f} s", flush=True)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--factor", type=int, default=8)
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--no-seismic", action="store_true")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="that Seismic builds with")
    options = parser.parse_args()
    os.environ.setdefault("RAYON_NUM_THREADS", str(options.threads))
    options.folder.mkdir(parents=True, exist_ok=True)
    beside = not options.no_seismic and importlib.util.find_spec(Seismic.module) is not None
    for factor in (1, options.factor):
        index = built(options.folder, factor)
        peer = built_by_seismic(options.folder, factor) if beside else None
        for name in QUERY_SETS:
            asked = queries(name, options.queries)
            _, rows, counts = index._snapshot.parts[0].searcher.exact.search(asked, K, options.threads)
            told = f"{name}, {len(index):,} documents"
            print(f"{told}, lsr: {cheapest(ours(index, asked), (rows, counts), len(asked))}", flush=True)
            if peer:
                print(f"{told}, seismic: {cheapest(seismic(peer, asked), (rows, counts), len(asked))}", flush=True)


if __name__ == "__main__":
    main()
