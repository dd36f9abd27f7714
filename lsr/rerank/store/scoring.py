"""MaxSim over the segments of a token store as over one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.rerank.codecs import Exit, QueryScorer
from lsr.rerank.codecs.scoring import Floats
from lsr.rerank.policies import scored_until

if TYPE_CHECKING:
    from lsr.rerank.store.snapshot import StoreSnapshot

__all__ = ["SegmentsScorer"]


class SegmentsScorer(QueryScorer):
    """Scores documents by their rows in a token store for one query. Safe from several threads.

    A document without a token scores -inf, below any with one. A query without tokens scores 0 with all others.
    """

    def __init__(self, scorers: Sequence[QueryScorer], snapshot: StoreSnapshot) -> None:
        self._scorers, self._snapshot = scorers, snapshot

    def __len__(self) -> int:
        return len(self._scorers[0])

    @property
    def dim(self) -> int:
        return self._snapshot.codec.dim

    def errors(self) -> tuple[float, float]:
        return self._scorers[0].errors()

    def __call__(self, rows: npt.ArrayLike) -> Floats:
        wanted = _checked(rows)
        out = np.empty(len(wanted), np.float32)
        for number, places, inside in self._snapshot.by_segment(wanted):
            scores = self._scorers[number](inside)
            offsets = self._snapshot.parts[number].segment.offsets
            scores[offsets[inside + 1] == offsets[inside]] = -np.inf
            if len(scores) == len(out):  # one segment has all
                return scores
            out[places] = scores
        return out

    def until(self, rows: npt.ArrayLike, exit: Exit) -> Floats:
        wanted = _checked(rows)
        if len(self._scorers) == 1 and (self._snapshot.tokens(wanted) > 0).all():
            return self._scorers[0].until(wanted, exit)
        return scored_until(self, wanted, exit).astype(np.float32)


def _checked(rows: npt.ArrayLike) -> npt.NDArray[np.int64]:
    array = np.asarray(rows)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise InvalidInput(f"rows are {array.dtype} {array.shape}: they must be integers of one dimension")
    return array.astype(np.int64)
