"""Which queries and documents a step has: a function of the seed and the step alone, so that any step can be had again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput

__all__ = ["Batches"]

Rows = npt.NDArray[np.int64]


class Draws(Protocol):
    """What candidates are drawn from: `lsr.training.candidates.Candidates`, or fixed ones."""

    def sample(self, queries: Rows, rng: np.random.Generator) -> Rows:
        """Documents int64 [B, K] for queries int64 [B]; -1 where one has too few."""


class Batches:
    """Batches of queries with their candidates.

    kind: uint8 [Q], the kind of each query; shares: of each kind in the batches, None by size. Of each kind all queries
    come up once before one comes up again.
    """

    def __init__(
        self,
        usable: Rows,
        kind: npt.NDArray[np.uint8],
        shares: Sequence[float | None],
        candidates: Draws,
        *,
        steps: int,
        batch: int,
        seed: int,
    ) -> None:
        self._candidates, self._batch, self._seed = candidates, batch, seed
        members = [usable[kind[usable] == i] for i in range(len(shares))]
        sizes = np.array([len(rows) for rows in members], np.float64)
        given = np.array([np.nan if share is None else share for share in shares])
        # Kinds without a share have what the others leave, by size; if nobody has one, all by size.
        rest = np.isnan(given)
        if rest.all():
            given = sizes
        else:
            left = max(0.0, 1.0 - float(np.nansum(given))) if rest.any() else 0.0
            given = np.where(rest, left * sizes / max(sizes[rest].sum(), 1), given)
        given = np.where(sizes > 0, given, 0.0)
        if not given.sum() > 0:
            raise InvalidInput("no queries to train on: the shares of all kinds that have queries are 0")
        self.shares = given / given.sum()
        rng = np.random.default_rng([seed, 0])
        drawn = rng.choice(len(shares), steps * batch, p=self.shares).astype(np.int8)
        self._order = np.empty(steps * batch, np.int32)
        for i, rows in enumerate(members):
            places = np.flatnonzero(drawn == i)
            if len(places):
                rounds = -(-len(places) // len(rows))
                shuffled = np.concatenate([rng.permutation(rows) for _ in range(rounds)])
                self._order[places] = shuffled[: len(places)]

    def at(self, step: int) -> tuple[Rows, Rows]:
        """Queries int64 [B] and their candidates int64 [B, K] at a step; -1 where a query has too few."""
        queries = self._order[step * self._batch : (step + 1) * self._batch].astype(np.int64)
        return queries, self._candidates.sample(queries, np.random.default_rng([self._seed, 1, step]))
