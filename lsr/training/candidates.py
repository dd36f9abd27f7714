"""Candidates: which documents of a query a student is shown. Mined once by teachers, sampled anew for each step."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lsr.errors import InvalidInput
from lsr.index import Index
from lsr.training.cache import Cache
from lsr.training.teachers import MatrixTeacher, SparseScores

__all__ = ["Candidates", "Stratum", "mine"]

Rows = npt.NDArray[np.int64]
Mined = npt.NDArray[np.int32]
Stratum = tuple[int, int, int]  # from rank, to rank (from 1, both included), how many

BLOCK = 1 << 16  # documents
# Scores held at a time, on a GPU and on the CPU.
SCORES_ON_GPU, SCORES_ON_CPU = 1 << 27, 1 << 24
# On the CPU an index answers for sparse teachers from so many documents: products of all with all would take hours.
INDEX_FROM = 20_000
# Reciprocal rank fusion: Cormack et al. 2009.
RANK_CONSTANT = 60
FEW = 1024  # documents: so few are drawn from all at once

logger = logging.getLogger(__name__)


def mine(
    teachers: Sequence[MatrixTeacher],
    n_queries: int,
    n_documents: int,
    depth: int = 100,
    *,
    block: int = BLOCK,
    index_from: int = INDEX_FROM,
    cache: Cache | None = None,
) -> Mined:
    """The best `depth` documents of each query, best first: int32 [Q, depth], padded with -1.

    One teacher, or several whose scores are cosines: by the exact sum of scores, as a running top-k over blocks of documents.

    Others are joined by reciprocal rank (1 / (60 + rank), Cormack et al. 2009) in each one's own exact top `depth`. Sums of
    their scores would need a common measure: a BM25 score has no bound, is 0 for nearly all documents, and its maximum for a
    query says how rare a word is; dividing by it weighs the teachers by that, and takes a second pass. Ranks do not ask.
    What a sparse teacher gives 0 it did not find.

    block: documents scored at a time. index_from: on the CPU a sparse or BM25 teacher of so many documents or more is asked
    through an index of its vectors (`lsr.Index`, exact over weights of 8 bits) instead of block by block.

    Raises `InvalidInput` for arguments out of range.
    """
    if not teachers or not 1 <= depth <= 10_000 or block < 1 or n_queries < 1 or n_documents < 1:
        raise InvalidInput(
            f"mining by {len(teachers)} teachers, depth {depth}, for {n_queries} queries in {n_documents} documents: there "
            "must be one of each at least, and depth lie between 1 and 10,000"
        )

    def make() -> Mined:
        started = time.monotonic()
        if len(teachers) > 1 and all(teacher.cosine for teacher in teachers):
            found = _by_blocks(teachers, n_queries, n_documents, depth, block)
        else:
            lists = [_list(teacher, n_queries, n_documents, depth, block, index_from) for teacher in teachers]
            found = lists[0] if len(lists) == 1 else _fused(lists, depth)
        logger.info("mined %d candidates for %d queries in %.1f s", depth, n_queries, time.monotonic() - started)
        return found

    if cache is None:
        return make()
    key = {"what": "candidates", "teachers": [dict(teacher.key) for teacher in teachers], "depth": depth}
    return cache.array({**key, "block": block, "index_from": index_from}, make)


def _list(teacher: MatrixTeacher, n_queries: int, n_documents: int, depth: int, block: int, index_from: int) -> Mined:
    """The best documents of one teacher."""
    if isinstance(teacher, SparseScores) and teacher.device.type == "cpu" and n_documents >= index_from:
        return _by_index(teacher, n_queries, depth)
    return _by_blocks([teacher], n_queries, n_documents, depth, block)


@torch.no_grad()
def _by_blocks(teachers: Sequence[MatrixTeacher], n_queries: int, n_documents: int, depth: int, block: int) -> Mined:
    """By the sum of scores. What is not above the floor of one teacher alone is left out."""
    device = teachers[0].device
    floor = teachers[0].floor if len(teachers) == 1 else -float("inf")
    block = min(block, n_documents)
    step = max((SCORES_ON_CPU if device.type == "cpu" else SCORES_ON_GPU) // block, 1)
    found = np.full((n_queries, depth), -1, np.int32)
    for first in range(0, n_queries, step):
        queries = torch.arange(first, min(first + step, n_queries), device=device)
        best = torch.full((len(queries), 0), 0.0, device=device)
        rows = torch.full((len(queries), 0), 0, device=device, dtype=torch.int64)
        for start in range(0, n_documents, block):
            documents = torch.arange(start, min(start + block, n_documents), device=device)
            scores = torch.stack([t.matrix(queries, documents).to(device) for t in teachers]).sum(0)
            top, places = scores.topk(min(depth, len(documents)), dim=1)
            best, rows = torch.cat([best, top], 1), torch.cat([rows, places + start], 1)
            best, order = best.topk(min(depth, best.shape[1]), dim=1)
            rows = rows.gather(1, order)
        rows = torch.where(best > floor, rows, -1)
        found[first : first + len(queries), : rows.shape[1]] = rows.cpu().numpy()
    return found


def _by_index(teacher: SparseScores, n_queries: int, depth: int) -> Mined:
    queries, documents = teacher.vectors
    found = np.full((n_queries, depth), -1, np.int32)
    with tempfile.TemporaryDirectory(prefix="lsr-mining-") as folder:
        index = Index.build(documents, Path(folder) / "index", engine="exact")
        for row, hits in enumerate(index.search(queries[:n_queries], k=depth, recall=1.0)):
            found[row, : len(hits)] = hits.rows
        del index, hits  # its files are mapped, and the folder goes
    return found


def _fused(lists: Sequence[Mined], depth: int) -> Mined:
    """Lists [Q, depth] joined by reciprocal rank; of equals the first document."""
    found = np.full((len(lists[0]), depth), -1, np.int32)
    shares = np.tile(1.0 / (RANK_CONSTANT + 1 + np.arange(depth)), len(lists))
    for first in range(0, len(found), 4096):
        rows = np.concatenate([part[first : first + 4096] for part in lists], axis=1)
        order = np.argsort(rows, axis=1, kind="stable")
        rows = np.take_along_axis(rows, order, 1)
        each = shares[order]
        # A document stands beside itself now, once for each list that has it: all goes to the first.
        total = each.copy()
        for apart in range(1, len(lists)):
            same = rows[:, apart:] == rows[:, :-apart]
            total[:, :-apart] += np.where(same, each[:, apart:], 0)
        total[:, 1:][rows[:, 1:] == rows[:, :-1]] = -1
        total[rows < 0] = -1
        best = np.argsort(-total, axis=1, kind="stable")[:, :depth]
        chosen = np.where(np.take_along_axis(total, best, 1) > 0, np.take_along_axis(rows, best, 1), -1)
        found[first : first + len(rows), : chosen.shape[1]] = chosen
    return found


class Candidates:
    """Mined documents of each query, and the draws from them.

    rows: int [Q, depth], best first, padded with -1. positives: int [Q], the document a query was made from or judged
    with, -1 where there is none. strata: (from rank, to rank, how many) that do not overlap. random: documents
    drawn from all.

    Raises `InvalidInput` for rows out of range, a document that a query has twice, and strata that cannot be drawn.
    """

    def __init__(
        self,
        rows: npt.NDArray[Any],
        positives: npt.NDArray[Any],
        strata: Sequence[Stratum] = ((1, 10, 4), (11, 100, 3)),
        random: int = 1,
        *,
        n_documents: int,
    ) -> None:
        self.rows, self.positives = rows, np.asarray(positives, np.int64)
        self.strata, self.random, self.n_documents = tuple(strata), random, n_documents
        self._check()

    @property
    def per_query(self) -> int:
        """K: how many documents are drawn for a query."""
        return sum(count for _, _, count in self.strata) + self.random

    def without(self) -> Rows:
        """The queries int64 that have neither a candidate nor a positive."""
        return np.flatnonzero((np.asarray(self.rows) < 0).all(axis=1) & (self.positives < 0))

    def sample(self, queries: Rows, rng: np.random.Generator) -> Rows:
        """Documents int64 [B, K] for queries int64 [B], each once in a row: so many of each stratum, the random ones last.

        The positive takes the first place where it was not drawn. -1 stands where a query has too few candidates.
        """
        mined = np.asarray(self.rows[queries], np.int64)
        parts = [_drawn(mined[:, first - 1 : last], count, rng) for first, last, count in self.strata]
        chosen = np.concatenate([np.full((len(queries), 0), -1), *parts], axis=1)
        positives = self.positives[queries]
        missing = (positives >= 0) & ~(chosen == positives[:, None]).any(axis=1)
        if chosen.shape[1]:
            chosen[missing, 0] = positives[missing]
        drawn = self._random(np.concatenate([chosen, positives[:, None]], axis=1), rng)
        if not chosen.shape[1]:
            drawn[missing, 0] = positives[missing]
        return np.concatenate([chosen, drawn], axis=1)

    def _random(self, taken: Rows, rng: np.random.Generator) -> Rows:
        """Documents [B, random] that are not among those taken; -1 where there are not enough."""
        shape = (len(taken), self.random)
        if not self.random:
            return np.zeros(shape, np.int64)
        if self.n_documents <= FEW or self.n_documents <= 4 * (taken.shape[1] + self.random):
            free = np.ones((len(taken), self.n_documents + 1), bool)
            np.put_along_axis(free, taken, False, axis=1)  # -1 is the column that is no document
            every = np.where(free[:, :-1], np.arange(self.n_documents), -1)
            return _drawn(every, self.random, rng)
        drawn = rng.integers(self.n_documents, size=shape)
        while True:
            every = np.concatenate([taken, drawn], axis=1)
            # Whether a place to the left has the same document.
            left = np.tri(every.shape[1], k=-1, dtype=bool)[taken.shape[1] :]
            again = ((drawn[:, :, None] == every[:, None, :]) & left).any(axis=2)
            if not again.any():
                return drawn
            drawn[again] = rng.integers(self.n_documents, size=int(again.sum()))

    def _check(self) -> None:
        rows, positives = self.rows, self.positives
        if rows.ndim != 2 or rows.dtype.kind not in "iu" or positives.shape != (len(rows),):
            raise InvalidInput(
                f"candidates are {rows.dtype} {list(rows.shape)} and positives {list(positives.shape)}: they must be whole "
                "numbers [queries, depth] and [queries]"
            )
        if self.random < 0 or self.per_query < 1 or self.n_documents < 1:
            raise InvalidInput(f"strata {self.strata} and {self.random} random documents: one must be drawn at least")
        end = 0
        for first, last, count in sorted(self.strata):
            if not (end < first <= last and 0 < count <= last - first + 1 and last <= rows.shape[1]):
                raise InvalidInput(
                    f"the stratum of ranks {first} to {last} with {count} draws: ranks are 1 to {rows.shape[1]} (the depth "
                    "of mining), strata must not overlap, nor ask for more documents than they have"
                )
            end = last
        for what, given in (("positives", positives), ("candidates", rows)):
            if len(given) and not (int(given.min(initial=-1)) >= -1 and int(given.max(initial=-1)) < self.n_documents):
                raise InvalidInput(
                    f"{what} name documents from {given.min()} to {given.max()}: there are {self.n_documents}"
                )
        for first in range(0, len(rows), 1 << 16):
            part = np.sort(np.asarray(rows[first : first + (1 << 16)]), axis=1)
            twice = ((part[:, 1:] == part[:, :-1]) & (part[:, 1:] >= 0)).any(axis=1)
            if twice.any():
                raise InvalidInput(f"query {first + int(np.argmax(twice))} has a document twice among its candidates")


def _drawn(documents: Rows, count: int, rng: np.random.Generator) -> Rows:
    """`count` distinct places of each row [B, W], -1 where a row has fewer documents."""
    keys = rng.random(documents.shape)
    keys[documents < 0] = 2
    if count < documents.shape[1]:
        places = np.argpartition(keys, count - 1, axis=1)[:, :count]
    else:
        places = np.broadcast_to(np.arange(documents.shape[1]), documents.shape)
    found = np.take_along_axis(documents, places, 1)
    missing = count - found.shape[1]
    return np.pad(found, ((0, 0), (0, missing)), constant_values=-1) if missing > 0 else found
