"""Several segments as one collection: whose row a document is, and the top-k of all from the top-k of each.

A document's row is its place among all documents that were not deleted, in the order in which they were added. So rows, ids and
ties are those of an index that was built of the remaining documents at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.index.blocked.parameters import SearchSettings
from lsr.index.engines import TopK
from lsr.index.filters.columns import Mask
from lsr.index.filters.expression import Filter
from lsr.index.filters.masks import Masks
from lsr.index.searcher import Searcher
from lsr.index.storage.manifest import SegmentEntry
from lsr.index.storage.segment import Segment
from lsr.sparse import SparseVectors

__all__ = ["Part", "Remaining", "search_parts"]

Rows = npt.NDArray[np.int64]

_ROW = np.uint64((1 << 32) - 1)
_HITS = 1 << 20  # merged at a time: 8 MiB of keys


@dataclass(frozen=True)
class Remaining:
    """A segment, and what is left of it: `deleted` are the rows, rising, that are gone."""

    entry: SegmentEntry
    segment: Segment
    deleted: Rows

    @property
    def live(self) -> int:
        """How many documents are left."""
        return self.entry.live

    def left(self, numbers: Rows) -> Rows:
        """The rows of those that are left, by their numbers among them, from 0."""
        return numbers + np.searchsorted(self._before, numbers, side="right") if len(self.deleted) else numbers

    @cached_property
    def _before(self) -> Rows:
        """For each deleted row, how many before it are left."""
        return self.deleted - np.arange(len(self.deleted))

    def find_all(self, identifiers: Sequence[str]) -> Rows:
        """The rows of those ids that are there and were not deleted."""
        found = self.segment.ids.find_all(identifiers)
        return found[~np.isin(found, self.deleted)] if len(self.deleted) else found

    def without(self, rows: Rows) -> Remaining:
        """The same without some rows more. No file says so yet."""
        deleted = np.union1d(self.deleted, rows)
        return Remaining(replace(self.entry, deleted=len(deleted), deletions=None), self.segment, deleted)


@dataclass(frozen=True)
class Part(Remaining):
    """A segment as a part of an index. `first` is the row in the index of the first document that is left."""

    searcher: Searcher
    masks: Masks
    first: int

    def rows(self, inside: Rows) -> Rows:
        """Rows of the index, from rows of the segment that were not deleted."""
        return inside + (self.first - (np.searchsorted(self.deleted, inside) if len(self.deleted) else 0))

    def allowed(self, filter: Filter | None) -> Mask | None:
        """The mask for an engine; None where all documents may be hits."""
        if filter is not None:
            return self.masks.allowed(filter)
        return self.masks.undeleted if len(self.deleted) else None


def search_parts(
    parts: Sequence[Part],
    queries: SparseVectors,
    k: int,
    recall: float,
    threads: int,
    settings: SearchSettings | None,
    filter: Filter | None,
) -> TopK:
    """Top-k of each query over all parts, by falling score, equal scores by rising row of the index."""
    masks = [part.allowed(filter) for part in parts]  # all of them first: a filter may be wrong
    tops = []
    for part, mask in zip(parts, masks, strict=True):
        chosen = settings if part.searcher.blocked is not None else None
        scores, rows, counts = part.searcher.search(queries, k, recall, threads, chosen, mask)
        tops.append((scores, part.rows(rows), counts))
    return _merged(tops, len(queries), min(k, sum(part.live for part in parts)))


def _merged(tops: Sequence[TopK], queries: int, k: int) -> TopK:
    scores, rows = np.empty((queries, k), np.float32), np.empty((queries, k), np.int64)
    counts = np.minimum(sum((counts for _, _, counts in tops), np.zeros(queries, np.int64)), k)
    step = max(1, _HITS // max(1, sum(top[0].shape[1] for top in tops)))
    for first in range(0, queries, step) if k else ():
        part = slice(first, first + step)
        keys = np.concatenate([_keys(top, part) for top in tops], axis=1)
        keys.sort(axis=1)
        best = keys[:, : -k - 1 : -1]
        scores[part, : best.shape[1]] = (best >> np.uint64(32)).astype(np.uint32).view(np.float32)
        rows[part, : best.shape[1]] = (_ROW - (best & _ROW)).astype(np.int64)
    return scores, rows, counts


def _keys(top: TopK, part: slice) -> npt.NDArray[np.uint64]:
    """A number for each hit, larger for one that ranks higher; 0 where there is none. Scores are above 0, and floats above 0
    are ordered as their bits are."""
    scores, rows, counts = (array[part] for array in top)
    there = np.arange(scores.shape[1]) < counts[:, None]
    keys: npt.NDArray[Any] = np.zeros(scores.shape, np.uint64)
    bits = np.ascontiguousarray(scores).view(np.uint32)[there].astype(np.uint64)
    keys[there] = (bits << np.uint64(32)) | (_ROW - rows[there].astype(np.uint64))
    return keys
