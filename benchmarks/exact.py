"""Exact top-k engines side by side: same vectors, same queries, same run, one thread, one query at a time.

    python benchmarks/exact.py [--documents 5000 391934] [--queries 800] [--peer bm25s --peer splade-index] [--json FILE]

Engines take turns, over several rounds; a figure is the median over the rounds. Before its first round an engine answers
200 queries unmeasured, so kernels are compiled and its index is in memory. What is measured is one call with a query vector
in the form that the engine wants it (numpy arrays, Python lists of ints, `SparseVectors` of one row), made beforehand.

Quality is measured against float64 scores of the unquantised vectors: overlap@k is the share of an engine's top k that
belongs there, any of several documents with the same score being as good as the other.

How the peers are set up:

- bm25s scores a document by adding up precomputed weights: they are set from our document weights. It has no query
  weights. The inference-free queries weigh a term the same in every query, so there the weights are multiplied into the
  index; the expanded queries it answers as if all weights were 1, with the same number of additions, and its overlap shows
  it. Timed is `BM25.retrieve` with token ids, with its numba and its numpy backend.
- splade-index gets our vectors as its score matrix. Its `retrieve` takes only texts and runs the model: timed is what it
  calls with the encoded query, the numba backend's retrieval function.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_array

os.environ.setdefault("NUMBA_NUM_THREADS", "1")  # before anyone imports numba
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a script, Python looks only beside it

from benchmarks.vectors import QUERY_SETS, documents, queries
from lsr.eval.machine import describe
from lsr.sparse import SparseVectors

Rows = npt.NDArray[np.integer[Any]]
WARM_UP = 200  # queries
MEBI = 1 << 20


class Engine(ABC):
    """One way to search. Made from document vectors; making it is the build that is timed."""

    name: str

    @abstractmethod
    def prepare(self, batch: SparseVectors) -> list[Any]:
        """Queries in the form that `search` takes. Not timed."""

    @abstractmethod
    def search(self, query: Any, k: int) -> Any:
        """What is timed."""

    @abstractmethod
    def rows(self, answer: Any) -> Rows:
        """Document numbers of an answer, best first. Not timed."""

    @abstractmethod
    def sizes(self) -> tuple[int, int]:
        """Bytes that searching reads, bytes of the whole index."""

    def close(self) -> None:
        return


class Lsr(Engine):
    """`Index.search` with one query vector."""

    name = "lsr"

    def __init__(self, vectors: SparseVectors) -> None:
        import lsr

        self._folder = tempfile.mkdtemp(prefix="lsr-benchmark-")
        self._index: Any = lsr.Index.build(vectors, Path(self._folder) / "vectors.idx", engine="exact")

    def prepare(self, batch: SparseVectors) -> list[Any]:
        return [batch[i : i + 1] for i in range(len(batch))]

    def search(self, query: Any, k: int) -> Any:
        return self._index.search(query, k, threads=1)

    def rows(self, answer: Any) -> Rows:
        return np.asarray(answer[0].rows)

    def sizes(self) -> tuple[int, int]:
        sizes = self._index.info()["bytes"]
        return sizes["postings"], sizes["total"]

    def close(self) -> None:
        shutil.rmtree(self._folder)


class LsrKernel(Lsr):
    """The engine below `Index.search`: arrays out, no Hits."""

    name = "lsr (engine)"

    def __init__(self, other: Lsr) -> None:
        self._index = other._index

    def search(self, query: Any, k: int) -> Any:
        return self._index._engine.search(query, k)

    def rows(self, answer: Any) -> Rows:
        _scores, rows, counts = answer
        found: Rows = rows[0, : counts[0]]
        return found

    def close(self) -> None:
        return


class Bm25s(Engine):
    """bm25s with its scores set to ours."""

    def __init__(self, vectors: SparseVectors, backend: str) -> None:
        import bm25s

        self.name = f"bm25s ({backend})"
        self._weights, indices, indptr = columns(vectors)
        self._model: Any = bm25s.BM25(backend=backend)
        # One more column, empty: the token that stands for a query of unknown tokens.
        empty = len(indptr) - 1
        indptr = np.append(indptr, indptr[-1])
        self._model.scores = {"data": self._weights, "indices": indices, "indptr": indptr, "num_docs": len(vectors)}
        self._model.vocab_dict = {"": empty}
        self._model.unique_token_ids_set = set(np.flatnonzero(np.diff(indptr)).tolist())
        self._model.nonoccurrence_array = None

    def prepare(self, batch: SparseVectors) -> list[Any]:
        fixed = fixed_weights(batch)
        scores = self._model.scores
        if fixed is None:
            scores["data"] = self._weights
        else:
            lengths = np.diff(scores["indptr"])[: len(fixed)]
            scores["data"] = self._weights * np.repeat(fixed, lengths)
        return [[terms.tolist()] for terms, _ in batch]

    def search(self, query: Any, k: int) -> Any:
        return self._model.retrieve(query, k=k, show_progress=False)

    def rows(self, answer: Any) -> Rows:
        return np.asarray(answer.documents[0])

    def sizes(self) -> tuple[int, int]:
        scores = self._model.scores
        size = sum(scores[part].nbytes for part in ("data", "indices", "indptr"))
        return size, size


class SpladeIndex(Engine):
    """splade-index with its score matrix set to our vectors."""

    name = "splade-index (numba)"

    def __init__(self, vectors: SparseVectors) -> None:
        from splade_index.numba.retrieve_utils import _retrieve_numba_functional

        data, indices, indptr = columns(vectors)
        self._retrieve: Callable[..., Any] = _retrieve_numba_functional
        self._scores: dict[str, Any] = {
            "data": data,
            "indices": indices,
            "indptr": indptr,
            "num_docs": len(vectors),
        }

    def prepare(self, batch: SparseVectors) -> list[Any]:
        return [([terms.astype(np.int32)], [weights.copy()]) for terms, weights in batch]

    def search(self, query: Any, k: int) -> Any:
        terms, weights = query
        return self._retrieve(terms, weights, self._scores, k=k, show_progress=False)

    def rows(self, answer: Any) -> Rows:
        return np.asarray(answer[0][0])

    def sizes(self) -> tuple[int, int]:
        size = sum(self._scores[part].nbytes for part in ("data", "indices", "indptr"))
        return size, size


PEERS: dict[str, list[Callable[[SparseVectors], Engine]]] = {
    "bm25s": [lambda v: Bm25s(v, "numba"), lambda v: Bm25s(v, "numpy")],
    "splade-index": [SpladeIndex],
}


def columns(vectors: SparseVectors) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """(weights, documents, column pointers) term by term, as bm25s and splade-index keep them."""
    matrix = csc_array(vectors.to_scipy())
    return matrix.data, matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)


def fixed_weights(batch: SparseVectors) -> npt.NDArray[np.float32] | None:
    """The weight of each term where it has the same in all queries (1 for other terms), None where it has not."""
    fixed = np.ones(batch.dim, np.float32)
    fixed[batch.indices] = batch.values  # of several writes to a place, any one stays
    return fixed if np.array_equal(fixed[batch.indices], batch.values) else None


# -- the truth ---------------------------------------------------------------------------------------------------------


class Truth:
    """Float64 scores of all documents, by scipy."""

    def __init__(self, vectors: SparseVectors) -> None:
        self._matrix = csc_array(vectors.to_scipy())

    def scores(self, terms: npt.NDArray[Any], weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        wanted = self._matrix[:, terms.astype(np.int64)].astype(np.float64)
        return np.asarray(wanted @ weights.astype(np.float64))

    def overlap(self, batch: SparseVectors, answers: Sequence[Rows], k: int) -> float:
        """Mean share of the top k that was found. Documents that share no term with a query are not part of it."""
        shares = []
        for (terms, weights), rows in zip(batch, answers, strict=True):
            scores = self.scores(terms, weights)
            last = np.partition(scores, -k)[-k]
            size = min(k, int((scores > 0).sum()))
            # As good as the last one up to rounding in float32.
            good = scores[np.unique(rows)] >= max(last, np.finfo(np.float32).tiny) * (1 - 1e-6)
            shares.append(min(int(good.sum()), size) / size if size else 1.0)
        return float(np.mean(shares))


# -- measuring ---------------------------------------------------------------------------------------------------------


def latencies(engine: Engine, prepared: Sequence[Any], k: int) -> npt.NDArray[np.float64]:
    """Microseconds of each query."""
    taken = np.empty(len(prepared))
    search = engine.search
    for i, query in enumerate(prepared):
        start = time.perf_counter_ns()
        search(query, k)
        taken[i] = time.perf_counter_ns() - start
    return taken / 1e3


def build(makers: Sequence[Callable[[SparseVectors], Engine]], vectors: SparseVectors) -> list[tuple[Engine, float]]:
    """The engines, each with the seconds that its build took."""
    engines = []
    for make in makers:
        make(vectors[:100]).close()  # imports and compiles
        start = time.perf_counter()
        engine = make(vectors)
        engines.append((engine, time.perf_counter() - start))
    return engines


def compare(
    engines: Sequence[tuple[Engine, float]], truth: Truth, name: str, batch: SparseVectors, k: int, rounds: int
) -> list[dict[str, Any]]:
    """One line of results an engine."""
    prepared = {engine.name: engine.prepare(batch) for engine, _ in engines}
    quantiles: dict[str, list[npt.NDArray[np.float64]]] = {engine.name: [] for engine, _ in engines}
    warm_up = {engine.name: (prepared[engine.name] * (WARM_UP // len(batch) + 1))[:WARM_UP] for engine, _ in engines}
    for turn in range(rounds):
        for engine, _ in engines:
            # Later rounds need only what the engines between pushed out of the caches.
            latencies(engine, warm_up[engine.name][: WARM_UP if turn == 0 else 50], k)
            taken = latencies(engine, prepared[engine.name], k)
            quantiles[engine.name].append(np.percentile(taken, [50, 95, 99]))
    lines = []
    for engine, seconds in engines:
        answers = [engine.rows(engine.search(query, k)) for query in prepared[engine.name]]
        p50, p95, p99 = np.median(quantiles[engine.name], axis=0).tolist()
        searched, whole = engine.sizes()
        lines.append(
            {
                "engine": engine.name,
                "queries": name,
                "k": k,
                "p50_us": round(p50, 1),
                "p95_us": round(p95, 1),
                "p99_us": round(p99, 1),
                "overlap": round(truth.overlap(batch, answers, k), 4),
                "build_s": round(seconds, 2),
                "bytes_searched": searched,
                "bytes": whole,
            }
        )
    return lines


def table(lines: Sequence[dict[str, Any]]) -> str:
    head = [
        "queries",
        "k",
        "engine",
        "p50 us",
        "p95 us",
        "p99 us",
        "overlap@k",
        "build s",
        "MiB searched",
        "MiB in all",
    ]
    rows = [head, ["---", "---:", "---", *["---:"] * 7]]
    rows += [
        [
            line["queries"],
            str(line["k"]),
            line["engine"],
            f"{line['p50_us']:,.0f}",
            f"{line['p95_us']:,.0f}",
            f"{line['p99_us']:,.0f}",
            f"{line['overlap']:.4f}",
            f"{line['build_s']:.1f}",
            f"{line['bytes_searched'] / MEBI:,.0f}",
            f"{line['bytes'] / MEBI:,.0f}",
        ]
        for line in lines
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def run(size: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """All engines on the first `size` documents."""
    vectors = documents(size)
    ours: list[Callable[[SparseVectors], Engine]] = [] if arguments.peers_only else [Lsr]
    engines = build([*ours, *(make for peer in arguments.peer for make in PEERS[peer])], vectors)
    if not arguments.peers_only:
        first = engines[0]
        assert isinstance(first[0], Lsr)
        engines.insert(1, (LsrKernel(first[0]), first[1]))
    truth = Truth(vectors)
    lines = []
    for name in QUERY_SETS:
        batch = queries(name, arguments.queries)
        for k in arguments.k:
            print(f"{size:,} documents, {name}, k={k}", file=sys.stderr)
            lines += compare(engines, truth, name, batch, k, arguments.rounds)
    for engine, _ in engines:
        engine.close()
    return {"documents": len(vectors), "nnz": vectors.nnz, "results": lines}


def main() -> None:
    parser = argparse.ArgumentParser(description="Exact top-k engines side by side.")
    parser.add_argument("--documents", type=int, nargs="+", default=[5_000, 391_934], metavar="N")
    parser.add_argument("--queries", type=int, default=800, metavar="N", help="of each set")
    parser.add_argument("--k", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="append", choices=sorted(PEERS), help="may be repeated; all by default")
    parser.add_argument("--peers-only", action="store_true", help="leave lsr out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    arguments = parser.parse_args()
    arguments.peer = arguments.peer if arguments.peer is not None else sorted(PEERS)
    report = {
        "machine": describe(["bm25s", "splade-index"]),
        "queries": arguments.queries,
        "rounds": arguments.rounds,
        "sizes": [run(size, arguments) for size in arguments.documents],
    }
    print(", ".join(f"{fact} {value}" for fact, value in report["machine"].items()))
    for size in report["sizes"]:
        print(f"\n{size['documents']:,} documents, {size['nnz']:,} weights, one thread, one query at a time:\n")
        print(table(size["results"]))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
