"""What a token store is filled from: batches of ids and token vectors, checked one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.rerank.codecs import Codec
from lsr.rerank.store.segment import SegmentWriter
from lsr.rerank.token_vectors import TokenVectors
from lsr.sparse_rules import checked_ids

__all__ = ["Batch", "Batches", "Vectors", "append", "given", "made"]

# Vectors of a batch, or what makes them: not called for documents that an interrupted build had written.
Vectors: TypeAlias = TokenVectors | Callable[[], TokenVectors]
# Of each document a hash of its text (`Index.text_hashes`), by which it is told later whether the vectors are of its text.
Hashes: TypeAlias = Sequence[int] | npt.NDArray[np.uint64]
Batches: TypeAlias = Iterable[tuple[Sequence[str], Vectors] | tuple[Sequence[str], Vectors, Hashes]]


class Batch(NamedTuple):
    """A batch that fits together: ids [n], hashes of texts uint64 [n] (0 for a text that is not known), and vectors."""

    ids: tuple[str, ...]
    hashes: npt.NDArray[np.uint64]
    vectors: TokenVectors


def given(batch: Any) -> tuple[tuple[str, ...], npt.NDArray[np.uint64], Vectors]:
    """Ids and hashes of a batch, and what its vectors are made of. Raises `InvalidInput` for what is none."""
    if not isinstance(batch, tuple) or len(batch) not in (2, 3):
        raise InvalidInput("a batch is (ids, TokenVectors), or (ids, TokenVectors, hashes of the texts)")
    ids = checked_ids(batch[0], len(batch[0]))
    hashes = np.zeros(len(ids), np.uint64) if len(batch) == 2 else np.asarray(batch[2])
    if hashes.shape != (len(ids),) or (hashes.dtype.kind not in "iu" and len(ids)):
        raise InvalidInput(f"a batch has {len(ids)} ids, and hashes of texts {hashes.dtype} {hashes.shape}")
    return ids, hashes.astype(np.uint64), batch[1]


def made(
    ids: tuple[str, ...], hashes: npt.NDArray[np.uint64], vectors: Vectors | TokenVectors, dim: int | None
) -> Batch:
    """With the vectors of a batch. Raises `InvalidInput` where they do not fit its ids, or the dim."""
    found = vectors() if callable(vectors) else vectors
    if not isinstance(found, TokenVectors):
        raise InvalidInput(f"a batch is (ids, TokenVectors), not (ids, {type(found).__name__})")
    if len(found) != len(ids):
        raise InvalidInput(f"a batch has {len(ids)} ids and token vectors of {len(found)} documents")
    if dim is not None and found.dim != dim:
        raise InvalidInput(f"token vectors have {found.dim} dimensions: the token store has {dim}")
    return Batch(ids, hashes, found)


def append(writer: SegmentWriter, codec: Codec, batch: Batch, first: int = 0) -> None:
    """Encodes and writes the documents of a batch from `first` on. Raises `DuplicateId`, `InvalidInput`."""
    offsets = batch.vectors.offsets[first:]
    codes = codec.encode(batch.vectors.vectors[offsets[0] : offsets[-1]])
    writer.append(batch.ids[first:], batch.hashes[first:], np.diff(offsets), codes)
