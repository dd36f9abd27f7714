"""What a trainer works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lsr.training.batches import Batches
from lsr.training.development import Development
from lsr.training.teachers.ensemble import Ensemble
from lsr.training.vectors import Texts

__all__ = ["Materials"]

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Materials:
    """What a trainer works with, on its device. `pair_scores` gives those of teachers that see pairs: [P, B, K]."""

    documents: Texts
    queries: Texts
    batches: Batches
    ensemble: Ensemble | None
    positives: Rows  # [Q], -1 where a query has none
    development: Development | None
    pair_scores: Callable[[Rows, Rows], Tensor] | None = None
