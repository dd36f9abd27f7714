"""The code that sums up the documents of a block for a term, and what it says about the largest of them.

Seismic's summaries (Bruch et al. 2024, section 5.3) hold the largest weight of each term in a block, a bound: the sum over
a query's terms is large where different documents have one term each. What is stored here is an estimate,

    255 * (sum over the documents of (code / 255) ** 10) ** (1 / 8),

the 10-norm, which is the largest code and a little more where several documents are near it (then one of them is more
likely to have the query's other terms too), to the power 1.25, which favours blocks with few heavy matches over those with
many light ones. The same hits lie in about a quarter fewer blocks so ranked; norms of 8 to 12 and powers of 1.2 to 1.5
do the same (docs/performance.md). Shared by the writing and the searching kernel (see `hits` on Numba's cache).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["REACH", "summary_code"]

Array = npt.NDArray[Any]
_POWERS = np.array([(code / 255) ** 10 for code in range(256)])
# No document of an entry has a code above that of the entry's summary: uint8 [256], by the code of the summary.
REACH = np.array([math.ceil(255 * (code / 255) ** 0.8 - 1e-9) for code in range(256)], np.uint8)


@njit(nogil=True, cache=True)
def summary_code(codes: Array, start: int, end: int) -> int:
    """The summary of codes[start:end], uint8 above 0: from 1 to 255."""
    total = 0.0
    for p in range(start, end):
        total += _POWERS[codes[p]]
    return min(255, max(1, math.ceil(255 * math.sqrt(math.sqrt(math.sqrt(total))) - 1e-9)))
