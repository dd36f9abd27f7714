"""What may be asked of an index: the arguments of a search, checked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lsr.errors import InvalidInput
from lsr.index.blocked.parameters import SearchSettings
from lsr.limits import Limits, raising
from lsr.sparse import SparseVectors

__all__ = ["check_queries", "check_search", "checked_texts"]


def check_search(
    k: int, recall: float | None, threads: int | None, settings: SearchSettings | None, limits: Limits
) -> None:
    """Raises `InvalidInput` for an argument that is out of range or of another kind, or two that exclude each other."""
    if not isinstance(k, int | np.integer) or not 1 <= k <= limits.k:
        raise InvalidInput(
            f"k is {k}: it must be a whole number from 1 to {limits.k:,} ({raising('k')} raises the limit)"
        )
    if recall is not None and not 0 < recall <= 1:
        raise InvalidInput(f"recall is {recall}: it must be above 0 and at most 1")
    if threads is not None and threads < 1:
        raise InvalidInput(f"threads is {threads}: it must be at least 1")
    if settings is not None and recall is not None:
        raise InvalidInput("recall and settings both say how to search: give one of them")


def checked_texts(query: str | Sequence[str]) -> list[str]:
    """The texts of queries. Raises `InvalidInput` for what is none."""
    texts = [query] if isinstance(query, str) else list(query)
    for text in texts:
        if not isinstance(text, str):
            raise InvalidInput(f"a query is a {type(text).__name__}: give texts or SparseVectors")
    return texts


def check_queries(queries: SparseVectors, dim: int, limits: Limits) -> None:
    """Raises `InvalidInput` for queries of another dim than the index has, or one of too many terms."""
    if queries.dim != dim:
        raise InvalidInput(f"the queries have {queries.dim:,} dimensions, the index {dim:,}")
    most = limits.query_terms
    if queries.nnz > most and (longest := int(np.diff(queries.indptr).max())) > most:
        raise InvalidInput(
            f"a query has {longest:,} terms: at most {most:,} are searched; keep the heaviest, or raise"
            f" {raising('query_terms')}"
        )
