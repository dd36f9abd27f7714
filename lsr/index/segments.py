"""Several segments as one collection: whose row a document is, and the top-k of all from the top-k of each.

A document's row is its place among all documents that were not deleted, in the order in which they were added. So rows, ids
and ties are those of an index that was built of the remaining documents at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from lsr.index.blocked.parameters import SearchSettings
from lsr.index.engines import TopK
from lsr.index.filters.expression import Filter
from lsr.index.filters.masks import Masks
from lsr.index.kernels import compile_once
from lsr.index.searcher import Searcher, take
from lsr.index.storage.manifest import SegmentEntry
from lsr.index.storage.remaining import Remaining
from lsr.index.storage.segment import Segment
from lsr.sparse import SparseVectors

__all__ = ["Left", "Part", "search_parts"]

Rows = npt.NDArray[np.int64]

# A segment of an index, and what is left of it.
Left = Remaining[SegmentEntry, Segment]

_FEW = 256  # hits that are sorted as fast as a kernel is called
MORE = 8  # hits asked for beyond k where some documents are deleted


@dataclass(frozen=True)
class Part(Left):
    """A segment as a part of an index. `first` is the row in the index of the first document that is left."""

    searcher: Searcher
    masks: Masks
    first: int

    def rows(self, inside: Rows) -> Rows:
        """Rows of the index, from rows of the segment that were not deleted."""
        if self.entry.deleted:
            inside = inside - self.deleted.searchsorted(inside)
        return inside + self.first if self.first else inside


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
        chosen = settings if part.searcher.blocked is not None else None
        if masks is None and part.entry.deleted:
            top = _search_undeleted(part, queries, k, recall, threads, chosen)
        else:
            mask = None if masks is None else masks[number]
            top = part.searcher.search(queries, k, recall, threads, chosen, mask)
        tops.append((top[0], part.rows(top[1]), top[2]))
    if not tops:
        n = len(queries)
        return np.empty((n, 0), np.float32), np.empty((n, 0), np.int64), np.zeros(n, np.int64)
    return reduce(lambda best, top: _merged(best, top, k), tops)


def _search_undeleted(
    part: Part, queries: SparseVectors, k: int, recall: float, threads: int, settings: SearchSettings | None
) -> TopK:
    """Top-k of what is left of a part.

    The exact engine is asked for some more, among which those that are left are looked for: a mask would cost it as much as
    the search itself. Only where too few are left is it asked with the mask. The hits are the same.
    """
    deleted = len(part.deleted)
    more = k + MORE + 2 * k * deleted // max(1, part.live)
    approximate = part.searcher.blocked is not None and (recall < 1 or settings is not None)
    if approximate or more > 4 * k + MORE:
        return part.searcher.search(queries, k, recall, threads, settings, part.masks.undeleted)
    scores, rows, counts = part.searcher.search(queries, more, recall, threads)
    if len(queries) == 1:  # waits for every line of Python
        size = int(counts[0])
        left = part.is_left[rows[0, :size]]
        if left.all():
            size = min(size, k)
            return scores[:, :size], rows[:, :size], np.array([size])
        kept = left.nonzero()[0][:k]
        if len(kept) == k or size < scores.shape[1]:
            return scores[0, kept][None], rows[0, kept][None], np.array([len(kept)])
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
        some = part.searcher.search(take(queries, few), k, recall, threads, settings, part.masks.undeleted)
        width = some[0].shape[1]
        scores[few, :width], rows[few, :width], counts[few] = some
    return scores, rows, counts


def _merged(first: TopK, second: TopK, k: int) -> TopK:
    """The best of the hits of two parts. At equal scores those of the first part come first: its rows are the lower ones."""
    if len(first[2]) == 1 and k <= _FEW:  # waits for every line of Python
        a, b = int(first[2][0]), int(second[2][0])
        scores = np.concatenate((first[0][0, :a], second[0][0, :b]))
        rows = np.concatenate((first[1][0, :a], second[1][0, :b]))
        order = (-scores).argsort(kind="stable")[:k]
        return scores[order][None], rows[order][None], np.array([len(order)])
    from lsr.index.kernels.merge import merge_hits

    queries, width = len(first[2]), min(k, first[0].shape[1] + second[0].shape[1])
    best = np.empty((queries, width), np.float32), np.empty((queries, width), np.int64), np.empty(queries, np.int64)
    # One type each, so that the kernel is compiled once.
    given = [np.ascontiguousarray(array) for array in (*first, *second)]
    nothing = [array[:0] for array in given]
    compile_once("merge-hits", lambda: merge_hits(*nothing, *(array[:0] for array in best)))
    merge_hits(*given, *best)
    return best
