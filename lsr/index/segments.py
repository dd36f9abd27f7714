"""Several segments as one collection: whose row a document is, and the top-k of all from the top-k of each.

A document's row is its place among all documents that were not deleted, in the order in which they were added. So rows, ids
and ties are those of an index that was built of the remaining documents at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.index.blocked.parameters import SearchSettings
from lsr.index.engines import TopK
from lsr.index.filters.columns import Mask
from lsr.index.filters.expression import Filter
from lsr.index.filters.masks import Masks
from lsr.index.searcher import Searcher, take
from lsr.index.storage.manifest import SegmentEntry
from lsr.index.storage.segment import Segment
from lsr.sparse import SparseVectors

__all__ = ["Part", "Remaining", "search_parts"]

Rows = npt.NDArray[np.int64]

_HITS = 1 << 20  # merged at a time
MORE = 8  # hits asked for beyond k where some documents are deleted


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

    @cached_property
    def is_left(self) -> npt.NDArray[np.bool_]:
        """For each row whether it was not deleted [documents]."""
        left = np.ones(self.entry.documents, bool)
        left[self.deleted] = False
        return left

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
    masks = None if filter is None else [part.masks.allowed(filter) for part in parts]  # all of them: it may be wrong
    tops = []
    for number, part in enumerate(parts):
        asked = _Asked(k, recall, threads, settings if part.searcher.blocked is not None else None)
        if masks is not None:
            top = _search(part, queries, asked, masks[number])
        elif len(part.deleted):
            top = _search_undeleted(part, queries, asked)
        else:
            top = _search(part, queries, asked, None)
        tops.append((top[0], part.rows(top[1]), top[2]))
    if not tops:
        return (
            np.empty((len(queries), 0), np.float32),
            np.empty((len(queries), 0), np.int64),
            np.zeros(len(queries), np.int64),
        )
    return tops[0] if len(tops) == 1 else _merged(tops, len(queries), k)


class _Asked(NamedTuple):
    k: int
    recall: float
    threads: int
    settings: SearchSettings | None


def _search(part: Part, queries: SparseVectors, asked: _Asked, mask: Mask | None) -> TopK:
    k, recall, threads, settings = asked
    return part.searcher.search(queries, k, recall, threads, settings, mask)


def _search_undeleted(part: Part, queries: SparseVectors, asked: _Asked) -> TopK:
    """Top-k of what is left of a part.

    The exact engine is asked for some more, among which those that are left are looked for: a mask would cost it as much as
    the search itself. Only where too few are left is it asked with the mask. The hits are the same.
    """
    k, deleted = asked.k, len(part.deleted)
    more = k + MORE + 2 * k * deleted // max(1, part.live)
    approximate = part.searcher.blocked is not None and (asked.recall < 1 or asked.settings is not None)
    if approximate or more > 4 * k + MORE:
        return _search(part, queries, asked, part.masks.undeleted)
    scores, rows, counts = _search(part, queries, asked._replace(k=more), None)
    if len(queries) == 1:  # waits for every line of Python
        size = int(counts[0])
        kept = np.flatnonzero(part.is_left[rows[0, :size]])
        if len(kept) >= k or size < scores.shape[1]:
            kept = kept[:k]
            return scores[:, kept], rows[:, kept], np.array([len(kept)])
    width = rows.shape[1]
    left = np.zeros(rows.shape, bool)
    there = np.arange(width) < counts[:, None]
    left[there] = part.is_left[rows[there]]
    found = np.count_nonzero(left, axis=1)
    first = np.argsort(~left, axis=1, kind="stable")[:, :k]
    scores, rows = np.take_along_axis(scores, first, axis=1), np.take_along_axis(rows, first, axis=1)
    few = np.flatnonzero((found < k) & (counts == width))
    counts = np.minimum(found, k)
    if len(few):
        some = _search(part, take(queries, few), asked, part.masks.undeleted)
        width = some[0].shape[1]
        scores[few, :width], rows[few, :width], counts[few] = some
    return scores, rows, counts


def _merged(tops: Sequence[TopK], queries: int, k: int) -> TopK:
    """The best of the hits of each part. Parts come in the order of their rows, and each has its hits in the right order, so
    a stable sort by score alone breaks ties by row."""
    width = sum(scores.shape[1] for scores, _, _ in tops)
    k = min(k, width)
    if queries == 1:  # a single query waits for every line of Python
        scores = np.concatenate([scores[0, : counts[0]] for scores, _, counts in tops])
        rows = np.concatenate([rows[0, : counts[0]] for _, rows, counts in tops])
        best = np.argsort(-scores, kind="stable")[:k]
        return scores[best][None], rows[best][None], np.array([len(best)])
    all_scores, all_rows = np.empty((queries, k), np.float32), np.empty((queries, k), np.int64)
    counts = np.minimum(sum((counts for _, _, counts in tops), np.zeros(queries, np.int64)), k)
    step = max(1, _HITS // max(1, width))
    for first in range(0, queries, step):
        part = slice(first, first + step)
        scores = np.concatenate([_or_nothing(top, part) for top in tops], axis=1)
        rows = np.concatenate([top[1][part] for top in tops], axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        all_scores[part] = np.take_along_axis(scores, best, axis=1)
        all_rows[part] = np.take_along_axis(rows, best, axis=1)
    return all_scores, all_rows, counts


def _or_nothing(top: TopK, part: slice) -> npt.NDArray[np.float32]:
    """The scores of some queries, below all others where there is no hit."""
    scores, _, counts = top
    there = np.arange(scores.shape[1]) < counts[part, None]
    return np.where(there, scores[part], np.float32(-1))
