"""What changing an index costs, and what it costs its searches: `python -m benchmarks.living [--documents N]`.

The vectors of benchmarks/vectors.py and its inference-free queries, one at a time: the median of 400, the best of 5 rounds.
With `--blocked-segments N` instead: recall of an index whose documents came in N additions, each with blocks of its own,
beside one built of all of them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.vectors import documents, queries
from lsr import Index, SparseVectors

MORE = 1000


def named(vectors: SparseVectors, start: str) -> SparseVectors:
    names = [f"{start}{row}" for row in range(len(vectors))]
    return SparseVectors(
        indptr=vectors.indptr, indices=vectors.indices, values=vectors.values, dim=vectors.dim, ids=names
    )


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def told(what: str, index: Index, asked: list[SparseVectors], took: float = 0.0) -> None:
    rounds = [np.median([seconds(partial(index.search, query)) for query in asked]) for _ in range(5)]
    opening = min(seconds(lambda: Index.open(index.path)) for _ in range(9))
    print(
        f"| {what} | {took * 1e3:,.0f} | {float(min(rounds)) * 1e6:,.0f} | {opening * 1e3:.1f} |"
        f" {index.info()['segments']} |",
        flush=True,
    )


def share_found(index: Index, asked: SparseVectors, recall: float) -> float:
    """The share of the exact top 10 that a search for this recall finds."""
    exact = [set(hits.ids) for hits in index.search(asked, 10, recall=1)]
    found = [set(hits.ids) for hits in index.search(asked, 10, recall=recall)]
    return sum(len(one & other) for one, other in zip(exact, found, strict=True)) / sum(map(len, exact))


def blocked_segments(vectors: SparseVectors, count: int, folder: Path) -> None:
    edges = np.linspace(0, len(vectors), count + 1).astype(int).tolist()
    parts = [vectors[first:last] for first, last in pairwise(edges)]
    several = Index.build(parts[0], folder / "several.idx", engine="blocked")
    for part in parts[1:]:
        several.add(part)
    assert all(entry.block_size for entry in several.manifest.segments), "a part without blocks"
    assert len(several.manifest.segments) == count
    whole = Index.build(vectors, folder / "whole.idx", engine="blocked")
    asked = queries("inference-free", 2000)
    print("| asked for | one segment | several |\n|---|--:|--:|")
    for recall in (0.9, 0.95, 0.98, 0.99):
        print(f"| {recall} | {share_found(whole, asked, recall):.4f} | {share_found(several, asked, recall):.4f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--small", type=int, default=1000, help="additions of one document")
    parser.add_argument("--blocked-segments", type=int, default=0)
    options = parser.parse_args()
    if options.blocked_segments:
        with tempfile.TemporaryDirectory() as folder:
            blocked_segments(documents(options.documents), options.blocked_segments, Path(folder))
        return
    vectors = documents(options.documents + MORE)
    made, more = vectors[: options.documents], vectors[options.documents :]
    batch = queries("inference-free", 400)
    asked = [batch[row : row + 1] for row in range(len(batch))]
    with tempfile.TemporaryDirectory() as folder:
        index = Index.build(named(made, "d"), Path(folder) / "my.idx", engine=options.engine)
        print("| | took, ms | search, us | open, ms | segments |\n|---|--:|--:|--:|--:|")
        told("built", index, asked)
        told("1,000 added at once", index, asked, seconds(lambda: index.add(named(more, "a"))))
        small = named(more, "s")
        times = [seconds(partial(index.add, small[row : row + 1])) for row in range(options.small)]
        told(f"{options.small:,} added one by one, each", index, asked, float(np.median(times)))
        gone = [f"d{row}" for row in range(0, options.documents, 50)]
        told("2 % deleted", index, asked, seconds(lambda: index.delete(gone)))
        told("compacted", index, asked, seconds(index.compact))


if __name__ == "__main__":
    main()
