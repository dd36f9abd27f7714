"""What changing an index costs, and what it costs its searches: `python -m benchmarks.living [--documents N]`.

The vectors of benchmarks/vectors.py and its inference-free queries, one at a time: the median of 400, the best of 5 rounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--small", type=int, default=1000, help="additions of one document")
    options = parser.parse_args()
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
