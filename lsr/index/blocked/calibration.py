"""Measuring, at build time, what recall costs, so that nobody has to tune.

The queries are the user's own sample, or made from documents: some of the heavier terms of a document, weighted as the
index's queries will be (short queries), or as the document weighs them (long ones, what an expanding encoder makes). The
document itself does not count as a hit. What 800 real queries of each kind then reached on 391,934 documents was at most
0.008 less than was asked for (docs/performance.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.index.blocked.curves import DEPTHS, SHORT, Curve, Point
from lsr.index.blocked.engine import BlockedEngine, Work
from lsr.index.blocked.parameters import SearchSettings
from lsr.index.exact import ExactEngine
from lsr.index.storage.segment import Segment
from lsr.processors import available_cores
from lsr.sparse import SparseVectors

__all__ = ["calibrate"]

SAMPLES = {10: 320, 100: 64}  # queries, by k: what is counted is hits, and there are k a query
LEAST = 50  # queries of a kind in the user's sample, for it to be used for that kind
_CUTS = (0.8, 0.9, 1.0)
_BLOCKS = tuple(round(40 * 2 ** (step / 2)) for step in range(13))  # 40 to 2560
_CANDIDATES = (1.5, 2, 3, 6)  # for each hit
_LEAST_RECALL = 0.7
_STEP = 0.004  # of recall, between points
_GAIN = 0.001  # of recall: where half as many blocks again gain less, still more are not tried
_TIMED = 64  # queries, one after another on one thread
_CAUTION = 1.05  # more hits are missed with real queries than with those made from documents
_SEED = 20240711
_LEVEL = 1 - 1e-6  # scores that differ by less are level

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True)
class _Sample:
    """Queries, and the row that each was made from: -1 for none."""

    queries: SparseVectors
    sources: npt.NDArray[np.int64]

    @property
    def made(self) -> bool:
        return len(self.sources) > 0 and bool(self.sources[0] >= 0)

    def first(self, size: int) -> _Sample:
        return _Sample(self.queries[:size], self.sources[:size])


def calibrate(
    segment: Segment,
    dim: int,
    sample: SparseVectors | None,
    term_weights: npt.NDArray[np.float32] | None,
    progress: Progress,
) -> tuple[Curve, ...]:
    """Curves for short and for long queries, for each of `DEPTHS`.

    sample: queries like those to come; term_weights [dim]: of the query side, the inverse document frequency for None.
    """
    if segment.documents < 2:
        return ()
    exact, blocked = ExactEngine(segment, dim), BlockedEngine(segment)
    rng = np.random.default_rng(_SEED)
    curves: list[Curve] = []
    stages = len(DEPTHS) * 2
    for short in (True, False):
        queries = _of_kind(sample, short) or _made(segment, dim, short, term_weights, rng)
        for k in DEPTHS:
            progress("calibrating", len(curves), stages)
            curves.append(_curve(exact, blocked, queries.first(SAMPLES[k]), short, min(k, segment.documents - 1), k))
    progress("calibrating", stages, stages)
    return tuple(curve for curve in curves if curve.points)


# -- queries -----------------------------------------------------------------------------------------------------------


def _of_kind(sample: SparseVectors | None, short: bool) -> _Sample | None:
    if sample is None:
        return None
    lengths = np.diff(sample.indptr)
    rows = np.flatnonzero((lengths > 0) & ((lengths <= SHORT) == short))
    if len(rows) < LEAST:
        return None
    return _Sample(SparseVectors.from_scipy(sample.to_scipy()[rows]), np.full(len(rows), -1))


def _made(
    segment: Segment, dim: int, short: bool, term_weights: npt.NDArray[np.float32] | None, rng: np.random.Generator
) -> _Sample:
    """Queries made from documents; see the module."""
    wanted = min(max(SAMPLES.values()), segment.documents)
    sources = np.sort(rng.choice(segment.documents, wanted, replace=False))
    rng.shuffle(sources)
    weigh = _weights(segment, dim, term_weights) if short else None
    heavy, (least, most) = (24, (3, SHORT + 1)) if short else (64, (SHORT + 1, 30))
    queries = []
    for row in sources.tolist():
        terms, weights = segment.document(row)
        size = min(int(rng.integers(least, most)), len(terms))
        best = np.argsort(-weights, kind="stable")[:heavy]
        share = weights[best].astype(np.float64)
        chosen = (
            np.sort(rng.choice(best, min(size, len(best)), replace=False, p=share / share.sum())) if size else best[:0]
        )
        queries.append((terms[chosen], weights[chosen] if weigh is None else weigh[terms[chosen].astype(np.int64)]))
    terms = np.concatenate([part for part, _ in queries])
    values = np.concatenate([part for _, part in queries]).astype(np.float32)
    indptr = np.cumsum([0] + [len(part) for part, _ in queries])
    return _Sample(SparseVectors(indptr=indptr, indices=terms, values=np.maximum(values, 1e-6), dim=dim), sources)


def _weights(segment: Segment, dim: int, term_weights: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32]:
    if term_weights is not None:
        return term_weights
    frequencies = np.zeros(dim, np.int64)
    for first in range(0, len(segment.forward_terms), 1 << 24):
        frequencies += np.bincount(segment.forward_terms[first : first + (1 << 24)], minlength=dim)
    idf: npt.NDArray[np.float32] = np.log1p(segment.documents / (frequencies + 0.5)).astype(np.float32)
    return idf


# -- measuring ---------------------------------------------------------------------------------------------------------


def _curve(exact: ExactEngine, blocked: BlockedEngine, sample: _Sample, short: bool, k: int, depth: int) -> Curve:
    queries, threads = sample.queries, available_cores()
    truth = _without_sources(exact.search(queries, k + 1, threads), sample.sources)
    least = -np.sort(-truth, axis=1)[:, :k]  # true scores, falling
    wanted = np.count_nonzero(least > 0, axis=1)
    last = np.where(wanted > 0, least[np.arange(len(least)), np.maximum(wanted - 1, 0)], np.inf) * _LEVEL
    limit = exact.nanoseconds(queries)
    if limit <= blocked.least_nanoseconds(queries):
        return Curve(short, depth, 0.0, ())
    tried = []
    for cut, candidates in product(_CUTS, _CANDIDATES):
        before = -1.0
        for blocks in _BLOCKS:
            settings = SearchSettings(query_cut=cut, n_blocks=blocks, candidates=int(k * candidates))
            work = np.zeros(4, np.int64)
            top = blocked.search(queries, k + 1, settings, threads, work=work)
            cost = blocked.nanoseconds(queries, Work(*work.tolist()))
            if cost >= limit:  # more blocks cost more
                break
            found = np.minimum(np.count_nonzero(_without_sources(top, sample.sources) >= last[:, None], axis=1), wanted)
            missed = 1 - float(found.sum() / max(1, wanted.sum()))
            tried.append((cost, 1 - missed * (_CAUTION if sample.made else 1.0), settings))
            if 1 - missed < before + _GAIN:
                break
            before = 1 - missed
    points: list[Point] = []
    for _, recall, settings in sorted(tried, key=lambda one: (one[0], -one[1])):
        if recall >= (points[-1].recall + _STEP if points else _LEAST_RECALL):
            points.append(Point(recall, 0.0, settings))
    few = queries[:_TIMED]
    timed = []
    for point in points:
        search = partial(blocked.search, few, k, point.settings)
        timed.append(Point(round(point.recall, 4), _microseconds(search, len(few)), point.settings))
    return Curve(short, depth, _microseconds(partial(exact.search, few, k), len(few)), tuple(timed))


def _without_sources(top: tuple[Any, ...], sources: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """The scores [queries, k + 1]; 0 for the document that a query was made from, and where there is no hit."""
    scores, rows, counts = top
    scores = np.where(np.arange(scores.shape[1]) < counts[:, None], scores, 0).astype(np.float32)
    scores[rows == sources[:, None]] = 0
    return scores


def _microseconds(work: Callable[[], object], queries: int) -> float:
    """A query, the better of two runs, on one thread."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return round(min(times) / queries * 1e6, 1)
