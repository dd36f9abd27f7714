"""One list of hits from those of two segments."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]


@njit(nogil=True, cache=True)
def merge_hits(
    scores_a: Array,
    rows_a: Array,
    counts_a: Array,
    scores_b: Array,
    rows_b: Array,
    counts_b: Array,
    scores: Array,
    rows: Array,
    counts: Array,
) -> None:
    """The best of two lists of hits of each query, both best first; at equal scores those of the first list come first.

    scores float32 [queries, any], rows int64 alike, counts int64 [queries] say how many hits there are; in the last three
    go as many as fit.
    """
    for query in range(len(counts)):
        a = b = at = 0
        while at < scores.shape[1] and (a < counts_a[query] or b < counts_b[query]):
            if b == counts_b[query] or (a < counts_a[query] and scores_a[query, a] >= scores_b[query, b]):
                scores[query, at], rows[query, at] = scores_a[query, a], rows_a[query, a]
                a += 1
            else:
                scores[query, at], rows[query, at] = scores_b[query, b], rows_b[query, b]
                b += 1
            at += 1
        counts[query] = at
