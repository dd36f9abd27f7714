"""A benchmark from vectors to report: truth, indexes, sweep, rounds, pages."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lsr.errors import EvaluationError, InvalidInput, OutputExists, StorageError
from lsr.eval.bench.assemble import report_of
from lsr.eval.bench.indexes import Indexes
from lsr.eval.bench.measure import Measurement, Progress, QuerySet
from lsr.eval.bench.peers import OURS, PEERS, lacks, load_peer
from lsr.eval.bench.peers.peer import Peer
from lsr.eval.bench.report import PAGES, write_benchmark
from lsr.eval.bench.truth import Answers, Truth
from lsr.eval.timing import available_mib
from lsr.sparse import SparseVectors

__all__ = ["Benchmark", "Outcome", "bench"]

_SHARE = 0.7  # of the memory that is free, for indexes: the processes that hold them need some, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """What to measure, and how.

    peers: names of `PEERS`, or places "module:Class" of others; all that are installed by default.
    ks: how many documents are asked for. rounds: how often each setting is timed with all queries, engines taking turns.
    warm_ups: searches before the first round. sweep_queries: of each set, for choosing settings from the grids.
    build_threads: that an index may be built with. indexes: a folder where the peers' indexes stay and are used again;
    by default they are built in a temporary one below the output. memory_mib: for the indexes that are open at once, by
    default most of what is free; where they need more, some are closed and opened again between rounds.
    """

    name: str = "vectors"
    peers: Sequence[str] | None = None
    ks: Sequence[int] = (10, 100)
    rounds: int = 5
    warm_ups: int = 200
    sweep_queries: int = 100
    build_threads: int = 1
    indexes: Path | None = None
    memory_mib: float | None = None
    overwrite: bool = False
    command: Sequence[str] = ("lsr", "bench")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The report as written, and its pages."""

    report: dict[str, Any]
    pages: list[Path]


def bench(
    documents: SparseVectors,
    queries: Mapping[str, SparseVectors],
    output: Path,
    benchmark: Benchmark,
    progress: Progress,
) -> Outcome:
    """Measures lsr and its peers on the same vectors and writes report.json, report.md and report.html into a folder.

    queries: sets by name. Queries without terms are left out. A peer that is not installed is named in the report and
    skipped; what fails is named there too, and stops nothing else.

    Raises `InvalidInput` for vectors and options that do not fit, `OutputExists` when there is a report already,
    `EvaluationError` when nothing could be measured.
    """
    peers, skipped = _peers(benchmark)
    asked = _checked(documents, queries, benchmark)
    _make_room(output, benchmark.overwrite)
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=output) as work:
        inputs = Path(work) / "inputs"
        inputs.mkdir()
        sets = _sets(documents, asked, inputs, benchmark, progress)
        folder = Path(work) / "indexes" if benchmark.indexes is None else benchmark.indexes
        first = next(iter(asked.values()))
        indexes = Indexes(folder, inputs, documents, first, benchmark.build_threads)
        measurement = Measurement(
            indexes,
            sets,
            rounds=benchmark.rounds,
            warm_ups=benchmark.warm_ups,
            progress=progress,
            budget_mib=_budget(benchmark),
        )
        for place, peer in peers.items():
            measurement.sweep(peer, place, len(documents))
        measurement.measure(_stored(measurement, documents, asked, benchmark.ks))
    if not measurement.measured:
        reasons = "; ".join(f"{name}: {error}" for name, error in measurement.failed.items())
        raise EvaluationError(f"nothing could be measured: {reasons}")
    report = report_of(documents, asked, measurement, skipped, benchmark)
    return Outcome(report, write_benchmark(report, output))


def _peers(benchmark: Benchmark) -> tuple[dict[str, Peer], dict[str, str]]:
    """The engines to measure by place, lsr first, and why others are left out."""
    named = list(dict.fromkeys(PEERS if benchmark.peers is None else benchmark.peers))
    found, skipped = {OURS: load_peer(OURS)}, {}
    for name in named:
        peer = load_peer(name)
        reason = lacks(peer)
        if reason is None:
            found[name] = peer
        else:
            skipped[peer.name] = reason
    return found, skipped


def _checked(
    documents: SparseVectors, queries: Mapping[str, SparseVectors], benchmark: Benchmark
) -> dict[str, SparseVectors]:
    """The queries that have terms."""
    if not benchmark.ks or min(benchmark.ks) < 1 or max(benchmark.ks) > len(documents):
        raise InvalidInput(
            f"k is {', '.join(map(str, benchmark.ks)) or 'not given'}: it must be from 1 to the number of documents, "
            f"{len(documents):,}"
        )
    counts = (benchmark.rounds, benchmark.sweep_queries, benchmark.build_threads)
    if min(counts) < 1 or benchmark.warm_ups < 0:
        raise InvalidInput("rounds, queries of the sweep and threads are at least 1, warm-ups at least 0")
    asked = {}
    for name, vectors in queries.items():
        if vectors.dim != documents.dim:
            raise InvalidInput(f"{name}: the queries have {vectors.dim:,} dimensions, the documents {documents.dim:,}")
        kept = np.flatnonzero(np.diff(vectors.indptr)).tolist()
        if not kept:
            raise InvalidInput(f"{name}: no query has a term")
        asked[name] = vectors if len(kept) == len(vectors) else _rows(vectors, kept)
    if not asked:
        raise InvalidInput("there are no queries")
    return asked


def _rows(vectors: SparseVectors, rows: Sequence[int]) -> SparseVectors:
    return SparseVectors.concat([vectors[row : row + 1] for row in rows])


def _make_room(output: Path, overwrite: bool) -> None:
    there = [name for name in PAGES if (output / name).exists()]
    if output.exists() and not output.is_dir():
        raise OutputExists(f"{output}: a file; name a folder for the report")
    if there and not overwrite:
        raise OutputExists(f"{output}: holds {there[0]} already; --overwrite replaces it")
    try:
        output.mkdir(parents=True, exist_ok=True)
        for left in output.glob(".bench-*"):  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"{output}: cannot be made ({error.strerror or error}); name another folder") from error


def _budget(benchmark: Benchmark) -> float | None:
    if benchmark.memory_mib is not None:
        return benchmark.memory_mib
    free = available_mib()
    return None if free is None else free * _SHARE


def _sets(
    documents: SparseVectors,
    queries: Mapping[str, SparseVectors],
    folder: Path,
    benchmark: Benchmark,
    progress: Progress,
) -> list[QuerySet]:
    truth = Truth(documents)
    sets = []
    for number, (name, vectors) in enumerate(queries.items()):
        progress("finding the truth", number, len(queries))
        path = folder / f"queries-{number}.npz"
        vectors.save(path)
        answers = truth.answers(vectors, benchmark.ks)
        size = min(benchmark.sweep_queries, len(vectors))
        sample = np.linspace(0, len(vectors), size, endpoint=False).astype(int).tolist()  # neighbours may be alike
        sets.append(QuerySet(name, path, len(vectors), answers, sample))
    return sets


def _stored(
    measurement: Measurement, documents: SparseVectors, queries: Mapping[str, SparseVectors], ks: Sequence[int]
) -> dict[str, Mapping[int, Answers]]:
    """What belongs in the top k by the weights as lsr stores them; empty when they are those that were given."""
    ours = next((built for built in measurement.built if built.peer.package is None), None)
    vectors = None if ours is None else ours.peer.stored(ours.folder)
    if vectors is None or (
        np.array_equal(vectors.values, documents.values) and np.array_equal(vectors.indices, documents.indices)
    ):
        return {}
    truth = Truth(vectors)
    return {name: truth.answers(asked, ks) for name, asked in queries.items()}
