"""MaxSim kernels side by side, in one run on one thread: `python -m benchmarks.maxsim [--documents N] [--tokens N] ...`.

Each repeat draws candidates anew from a store that is larger than the caches, and times every way on them in turn; medians
count, and ratios are of them. Beside lsr's codecs: a matrix product of numpy over the gathered vectors, and the package
maxsim-cpu where it is installed. "Error" is the mean distance to the exact score over the scores' standard deviation, "top
10" the share of the exact ten best; both on synthetic vectors, so they say little about real ones. A second table is about
rules, bounds and several queries.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.eval.machine import describe
from lsr.processors import available_cores
from lsr.rerank import CODECS, Policy, best_by_bounds, document_errors, rerank
from lsr.rerank.kernels.tile import DEPTH, LANES, VNNI

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
K = 10
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1")


def unit_vectors(count: int, dim: int, generator: np.random.Generator) -> Floats:
    """Around a thousand centres, as token vectors lie: with neighbours at a cosine of about .8."""
    centres = generator.standard_normal((1000, dim))
    vectors = centres[generator.integers(0, 1000, count)] + 0.5 * generator.standard_normal((count, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def gathered(vectors: Floats, query: Floats, rows: Rows) -> Floats:
    """numpy: the candidates' vectors [documents, tokens, dim] copied together, one matrix product, maxima and sums."""
    chosen = vectors[rows]
    products = chosen.reshape(-1, chosen.shape[2]) @ query.T
    scores: Floats = products.reshape(*chosen.shape[:2], len(query)).max(axis=1).sum(axis=1)
    return scores


def peers(vectors: Floats) -> dict[str, Callable[[Floats, Rows], Any]]:
    ways: dict[str, Callable[[Floats, Rows], Any]] = {"numpy, gathered": partial(gathered, vectors)}
    if importlib.util.find_spec("maxsim_cpu") is None:
        print("maxsim-cpu is not installed: left out")
        return ways
    import maxsim_cpu  # type: ignore[import-not-found,unused-ignore]

    def together(query: Floats, rows: Rows) -> Any:
        return maxsim_cpu.maxsim_scores(query, vectors[rows])

    def apart(query: Floats, rows: Rows) -> Any:
        return maxsim_cpu.maxsim_scores_variable(query, [vectors[row] for row in rows])

    return {**ways, "maxsim-cpu, gathered": together, "maxsim-cpu, a list": apart}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--stored", type=int, default=2000, help="documents in the store")
    parser.add_argument("--documents", type=int, default=50, help="candidates of a query")
    parser.add_argument("--tokens", type=int, default=80, help="of a document")
    parser.add_argument("--query-tokens", type=int, default=32)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=300)
    given = parser.parse_args()
    if not ONE_THREAD.items() <= os.environ.items():  # numpy's threads are settled when it is loaded: once more, then
        command = [sys.executable, "-m", "benchmarks.maxsim", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **ONE_THREAD})
    print(describe(["maxsim-cpu"]))
    print(f"queries as {'bytes (VNNI)' if VNNI else '16-bit pairs (no VNNI)'}, tiles of {DEPTH} by 2 x {LANES}")
    generator = np.random.default_rng(0)
    vectors = unit_vectors(given.stored * given.tokens, given.dim, generator)
    offsets = np.arange(given.stored + 1) * given.tokens
    queries = [unit_vectors(given.query_tokens, given.dim, generator) for _ in range(given.repeats)]
    rows = [generator.permutation(given.stored)[: given.documents] for _ in range(given.repeats)]
    stores, sizes = {}, {}
    for name, codec in CODECS.items():
        trained = codec.train(vectors[generator.permutation(len(vectors))[:50_000]])
        stores[name], sizes[name] = trained.over(trained.encode(vectors), offsets), trained.bytes_per_token
    ways = peers(vectors.reshape(given.stored, given.tokens, given.dim))
    beside = set(ways)
    ways |= {name: store.score for name, store in stores.items()}

    times: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, list[Any]] = {name: [] for name in ways}
    for query, row in zip(queries, rows, strict=True):
        for name, way in ways.items():
            start = time.perf_counter()
            scores = way(query, row)
            times[name].append((time.perf_counter() - start) * 1e6)
            found[name].append(scores)
    warm = {name: taken[len(taken) // 10 :] for name, taken in times.items()}
    median = {name: float(np.median(taken)) for name, taken in warm.items()}
    exact = np.array(found["f32"])
    print(
        f"\n{given.documents} documents x {given.tokens} tokens, {given.query_tokens} query tokens, dim {given.dim}\n"
    )
    print("| way | bytes a token | us | least | ns a token | x numpy | x maxsim-cpu | x f32 | error | top 10 |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    package = min((median[name] for name in beside if name.startswith("maxsim")), default=float("nan"))
    for name, took in median.items():
        scores = np.array(found[name])
        error = np.abs(scores - exact).mean() / exact.std()
        best = [set(np.argsort(-line, kind="stable")[:K].tolist()) for line in exact]
        top = [set(np.argsort(-line, kind="stable")[:K].tolist()) for line in scores]
        overlap = np.mean([len(one & other) / K for one, other in zip(best, top, strict=True)])
        print(
            f"| {name} | {sizes.get(name, 4 * given.dim)} | {took:,.0f} | {min(warm[name]):,.0f}"
            f" | {took * 1e3 / given.documents / given.tokens:.0f}"
            f" | {took / median['numpy, gathered']:.2f} | {took / package:.2f} | {took / median['f32']:.2f}"
            f" | {error:.4f} | {overlap:.3f} |"
        )
    rules(stores, vectors, offsets, queries, rows)


def rules(stores: dict[str, Any], vectors: Floats, offsets: Rows, queries: list[Floats], rows: list[Rows]) -> None:
    """What pruning, bounds and threads change, with int8 codes and first-stage scores that agree with MaxSim to a degree."""
    generator = np.random.default_rng(1)
    store, exact = stores["int8"], stores["f32"]
    first = []
    for i, query in enumerate(queries):
        scores = store.score(query, rows[i])
        scores = scores + scores.std() * generator.standard_normal(len(scores))
        turn = np.argsort(-scores)
        rows[i], scores = rows[i][turn], scores[turn]
        first.append(scores.astype(np.float64))
    cheap = CODECS["int8"].train(vectors)
    errors = document_errors(cheap, vectors, cheap.encode(vectors), offsets)

    def bounded(i: int) -> Any:
        return best_by_bounds(store.query(queries[i]), exact.query(queries[i]), rows[i], errors, K)

    def ruled(policy: Policy, i: int) -> Any:
        return rerank(store.query(queries[i]), rows[i], first[i], K, policy)

    print("\n| one query | us | documents scored |\n|---|---|---|")
    ways: dict[str, Callable[[int], Any]] = {
        "int8, all": partial(ruled, Policy()),
        "int8, beta 4": partial(ruled, Policy(beta=4)),
        "int8, beta 2": partial(ruled, Policy(beta=2)),
        "int8, then f32 where undecided": bounded,
        "f32, all": lambda i: rerank(exact.query(queries[i]), rows[i], first[i], K, Policy()),
    }
    for name, way in ways.items():
        way(0)
        taken, scored = [], []
        for i in range(len(queries)):
            start = time.perf_counter()
            scored.append(way(i).scored)
            taken.append((time.perf_counter() - start) * 1e6)
        print(f"| {name} | {np.median(taken):,.0f} | {np.mean(scored):.1f} |")
    print("\n| all queries, int8 | us a query |\n|---|---|")
    for threads in sorted({1, available_cores()}):
        taken = []
        for _ in range(5):
            start = time.perf_counter()
            store.score_many(queries, rows, threads)
            taken.append((time.perf_counter() - start) * 1e6)
        print(f"| threads {threads} | {min(taken) / len(queries):,.0f} |")


if __name__ == "__main__":
    main()
