"""TokenVectors: a validated batch of texts' token vectors, the currency of the rerank room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput, InvalidVectors
from lsr.sparse_rules import FloatArray, checked_integers, checked_weights, row_of

__all__ = ["TokenVectors", "check_pool"]


@dataclass(frozen=True, eq=False)
class TokenVectors:
    """Vectors of the tokens of n texts, one text after the other.

    Text i has the vectors `vectors[offsets[i]:offsets[i + 1]]`. What always holds, and is checked when an object is made:

    - `offsets` int64 [n + 1], starts at 0, never falls, ends at T: a text may have no token;
    - `vectors` float32 [T, dim], finite, dim at least 1;
    - `tokens`, when given, uint32 [T]: the token of the vocabulary that each vector stands for.

    Other types of numbers are converted, where they hold the same numbers. Arrays that have the right type already are kept,
    not copied.

    Raises `InvalidVectors` (a ValueError) that names the first text that breaks a rule.
    """

    offsets: npt.NDArray[np.int64]
    vectors: FloatArray
    tokens: npt.NDArray[np.uint32] | None = None

    def __post_init__(self) -> None:
        offsets = _checked_offsets(self.offsets)
        vectors = checked_weights(self.vectors, "vectors")
        if vectors.ndim != 2 or vectors.shape[1] == 0:
            raise InvalidVectors(f"vectors has shape {vectors.shape}: it must be [tokens, dim], with dim 1 or more")
        if int(offsets[-1]) != len(vectors):
            raise InvalidVectors(f"offsets ends at {int(offsets[-1])} but there are {len(vectors)} vectors")
        if not np.isfinite(vectors).all():
            at = int(np.argmin(np.isfinite(vectors).all(axis=1)))
            raise InvalidVectors(f"text {row_of(offsets, at)} has a vector with NaN or infinity: numbers are finite")
        object.__setattr__(self, "offsets", offsets)
        object.__setattr__(self, "vectors", vectors)
        if self.tokens is not None:
            object.__setattr__(self, "tokens", _checked_tokens(self.tokens, len(vectors)))

    # -- size and texts ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def dim(self) -> int:
        """Numbers of a vector."""
        return int(self.vectors.shape[1])

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """How many vectors each text has, int64 [n]."""
        return np.diff(self.offsets)

    def of(self, i: int) -> FloatArray:
        """The vectors of text i, float32 [tokens, dim], as a view."""
        return self.vectors[self._places(i)]

    def tokens_of(self, i: int) -> npt.NDArray[np.uint32]:
        """The tokens of text i, uint32 [tokens], as a view. Raises `InvalidVectors` where no tokens were given."""
        if self.tokens is None:
            raise InvalidVectors("these vectors have no tokens: give tokens when they are made")
        return self.tokens[self._places(i)]

    def _places(self, i: int) -> slice:
        if not -len(self) <= i < len(self):
            raise IndexError(f"text {i} of {len(self)}")
        i %= len(self)
        return slice(int(self.offsets[i]), int(self.offsets[i + 1]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TokenVectors):
            return NotImplemented
        if (self.tokens is None) != (other.tokens is None):
            return False
        return all(
            np.array_equal(a, b)
            for a, b in ((self.offsets, other.offsets), (self.vectors, other.vectors), (self.tokens, other.tokens))
            if a is not None and b is not None
        )

    __hash__ = None  # type: ignore[assignment]  # holds arrays

    def __repr__(self) -> str:
        mean = len(self.vectors) / len(self) if len(self) else 0.0
        tokens = "" if self.tokens is None else ", with tokens"
        return f"TokenVectors({len(self):,} texts x {self.dim:,}, {mean:.1f} vectors a text{tokens})"

    # -- other forms ---------------------------------------------------------------------------------------------------

    def pooled(self, factor: int) -> TokenVectors:
        """Fewer vectors: 1 + (n - 1) // factor of the n of each text (Clavié, Chaffin and Adams 2024, section 3).

        The first stays as it is; the others are clustered by Ward's method on cosine distances, and each cluster becomes its
        mean, of length 1. Texts with up to factor + 1 vectors keep two. No vector stands for one token then, so there are no
        `tokens`. Factor 1 changes nothing.

        The same as `HierarchicalTokenPooling` of sentence-transformers 6, for vectors of length 1, as those of ColBERT are.
        Raises `InvalidInput` for a factor that is no whole number from 1 on.
        """
        from lsr.rerank.pooling import pool_tokens

        check_pool(factor)
        if factor == 1:
            return self
        found = [pool_tokens(self.of(i), factor) for i in range(len(self))]
        offsets = np.cumsum([0, *map(len, found)], dtype=np.int64)
        return TokenVectors(offsets, np.concatenate([self.vectors[:0], *found]))

    @classmethod
    def concatenate(cls, batches: Sequence[TokenVectors]) -> TokenVectors:
        """One batch from several of the same dim, texts in order. Tokens are kept when every batch has them."""
        if not batches:
            raise InvalidVectors("concatenate needs at least one batch of vectors")
        dims = {batch.dim for batch in batches}
        if len(dims) > 1:
            raise InvalidVectors(f"cannot join vectors of different dim: {sorted(dims)}")
        ends = np.cumsum([0] + [len(batch.vectors) for batch in batches], dtype=np.int64)
        offsets = [batch.offsets[1:] + end for batch, end in zip(batches, ends[:-1], strict=True)]
        tokens = [batch.tokens for batch in batches if batch.tokens is not None]
        return cls(
            offsets=np.concatenate([np.zeros(1, np.int64), *offsets]),
            vectors=np.concatenate([batch.vectors for batch in batches]),
            tokens=np.concatenate(tokens) if len(tokens) == len(batches) else None,
        )


def check_pool(factor: int) -> None:
    """Raises `InvalidInput` for what tokens cannot be pooled by."""
    if isinstance(factor, bool) or not isinstance(factor, int) or factor < 1:
        raise InvalidInput(f"tokens are pooled by {factor!r}: it must be a whole number, 1 for no pooling")


def _checked_offsets(offsets: npt.ArrayLike) -> npt.NDArray[np.int64]:
    found = checked_integers(offsets, "offsets")
    if len(found) == 0 or found[0] != 0:
        raise InvalidVectors("offsets must start with 0")
    falls = found[1:] < found[:-1]
    if falls.any():
        raise InvalidVectors(f"offsets falls after text {int(np.argmax(falls))}: it must never fall")
    return np.ascontiguousarray(found, dtype=np.int64)


def _checked_tokens(tokens: npt.ArrayLike, count: int) -> npt.NDArray[np.uint32]:
    found: npt.NDArray[Any] = checked_integers(tokens, "tokens")
    if len(found) != count:
        raise InvalidVectors(f"{len(found)} tokens for {count} vectors")
    if count and not 0 <= int(found.min()) <= int(found.max()) < 1 << 32:
        raise InvalidVectors(f"tokens go from {found.min()} to {found.max()}: they must be from 0 to {(1 << 32) - 1}")
    return np.ascontiguousarray(found, dtype=np.uint32)
