"""What a token store is filled from: batches of ids and token vectors, checked one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np

from lsr.errors import InvalidInput
from lsr.rerank.codecs import Codec
from lsr.rerank.store.segment import SegmentWriter
from lsr.rerank.token_vectors import TokenVectors
from lsr.sparse_rules import checked_ids

__all__ = ["Batches", "Vectors", "append", "ids_of", "made"]

# Vectors of a batch, or what makes them: not called for documents that an interrupted build had written.
Vectors: TypeAlias = TokenVectors | Callable[[], TokenVectors]
Batches: TypeAlias = Iterable[tuple[Sequence[str], Vectors]]


def ids_of(ids: Sequence[str]) -> tuple[str, ...]:
    """Raises `InvalidInput` for what are no distinct, non-empty strings."""
    return checked_ids(ids, len(ids))


def made(ids: Sequence[str], given: Vectors, dim: int | None) -> TokenVectors:
    """The vectors of a batch. Raises `InvalidInput` where they do not fit its ids, or the dim."""
    vectors = given() if callable(given) else given
    if not isinstance(vectors, TokenVectors):
        raise InvalidInput(f"a batch is (ids, TokenVectors), not (ids, {type(vectors).__name__})")
    if len(vectors) != len(ids):
        raise InvalidInput(f"a batch has {len(ids)} ids and token vectors of {len(vectors)} documents")
    if dim is not None and vectors.dim != dim:
        raise InvalidInput(f"token vectors have {vectors.dim} dimensions: the token store has {dim}")
    return vectors


def append(writer: SegmentWriter, codec: Codec, ids: Sequence[str], vectors: TokenVectors, first: int = 0) -> None:
    """Encodes and writes the documents of a batch from `first` on. Raises `DuplicateId`, `InvalidInput`."""
    offsets = vectors.offsets[first:]
    codes = codec.encode(vectors.vectors[offsets[0] : offsets[-1]])
    writer.append(ids[first:], np.diff(offsets), codes)
