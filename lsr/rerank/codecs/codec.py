"""Codec: token vectors as a few bytes each, and back. What all have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.rerank.codecs.scoring import Bytes, Floats, Layout, StoredTokens, checked_vectors, frozen

__all__ = ["MAX_DIM", "Codec", "Parameters", "checked_parameter", "float16_of", "float16_to_bytes", "scales_of"]

Parameters = dict[str, npt.NDArray[Any]]

MAX_DIM = 1 << 14  # sums of byte products of so many dimensions stay below 2^31
_CHUNK = 1 << 14  # vectors that are encoded at a time


class Codec(ABC):
    """Token vectors as codes: rows of `bytes_per_token` bytes.

    `train` chooses what a codec needs to know of the vectors to come; `parameters` are that, as plain arrays, and
    `from_parameters` makes the codec again. Vectors need not be of unit length: every codec keeps their lengths.
    """

    name: ClassVar[str]

    def __init__(self, dim: int) -> None:
        if not 0 < dim <= MAX_DIM:
            raise InvalidInput(f"dim is {dim}: it must be between 1 and {MAX_DIM}")
        self.dim = dim

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dim={self.dim}, {self.bytes_per_token} bytes a token)"

    @classmethod
    def train(
        cls, sample: npt.ArrayLike, tokens: npt.ArrayLike | None = None, seed: int = 0, *, size: int | None = None
    ) -> Self:
        """A codec for vectors like those of the sample.

        sample: float32 [n, dim]; tokens: the wordpiece of each, uint32 [n], for codecs that use it; seed: the same sample
        and seed give the same codec, on all machines; size: the centroids of residual2, the parts of pq; None for what is
        usual, and for codecs of one size. Raises `InvalidInput`.
        """
        vectors = checked_vectors(sample, None, "the sample's vectors")
        if tokens is not None and np.shape(tokens) != (len(vectors),):
            raise InvalidInput(f"{np.size(tokens)} token ids for {len(vectors)} vectors: there must be one for each")
        if len(vectors) == 0:
            raise InvalidInput("the sample holds no vectors: a codec is trained on some")
        return cls._train(vectors, None if tokens is None else np.asarray(tokens), np.random.default_rng(seed), size)

    @classmethod
    @abstractmethod
    def _train(
        cls, sample: Floats, tokens: npt.NDArray[Any] | None, generator: np.random.Generator, size: int | None
    ) -> Self: ...

    @property
    @abstractmethod
    def bytes_per_token(self) -> int: ...

    def encode(self, vectors: npt.ArrayLike) -> Bytes:
        """Codes of vectors, float32 [n, dim] to uint8 [n, bytes_per_token]. Raises `InvalidInput`."""
        checked = checked_vectors(vectors, self.dim, "the vectors")
        out = np.empty((len(checked), self.bytes_per_token), np.uint8)
        for first in range(0, len(checked), _CHUNK):
            self._encode(checked[first : first + _CHUNK], out[first : first + _CHUNK])
        return out

    def decode(self, codes: Bytes) -> Floats:
        """The vectors that codes stand for, uint8 [n, bytes_per_token] to float32 [n, dim]. Raises `InvalidInput`."""
        if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != self.bytes_per_token:
            wanted = f"uint8 [n, {self.bytes_per_token}]"
            raise InvalidInput(f"codes are {codes.dtype} {codes.shape}: they must be {wanted}")
        return self._decode(np.asarray(codes))

    @abstractmethod
    def _encode(self, vectors: Floats, out: Bytes) -> None: ...

    @abstractmethod
    def _decode(self, codes: Bytes) -> Floats: ...

    @abstractmethod
    def parameters(self) -> Parameters:
        """What the codec knows, as arrays to be kept with the codes; empty where that is nothing."""

    @classmethod
    @abstractmethod
    def from_parameters(cls, dim: int, parameters: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The codec with these parameters. Raises `InvalidInput` where they are not its own."""

    @abstractmethod
    def layout(self) -> Layout:
        """How the kernel reads the codes."""

    def over(self, codes: Bytes, offsets: npt.NDArray[np.int64]) -> StoredTokens:
        """Stored codes, ready to be scored: uint8 [tokens, bytes_per_token], may be a memory map; offsets [documents + 1]."""
        return StoredTokens(self.layout(), self.dim, self.bytes_per_token, codes, offsets)

    def score(self, codes: Bytes, offsets: npt.NDArray[np.int64], rows: npt.ArrayLike, query: npt.ArrayLike) -> Floats:
        """MaxSim of a query, float32 [tokens, dim], and each of the documents `rows`: float32 [len(rows)].

        Documents without tokens score 0. Raises `InvalidInput`.
        """
        return self.over(codes, offsets).score(query, rows)

    def score_many(
        self,
        codes: Bytes,
        offsets: npt.NDArray[np.int64],
        rows: Sequence[npt.ArrayLike],
        queries: Sequence[npt.ArrayLike],
        threads: int = 1,
    ) -> list[Floats]:
        """The same for query i and the documents rows[i], one query a thread at a time."""
        return self.over(codes, offsets).score_many(queries, rows, threads)


def scales_of(wanted: Floats) -> npt.NDArray[np.float16]:
    """Scales as they are kept. Raises `InvalidInput` for vectors too long for float16."""
    with np.errstate(over="ignore"):
        scales = wanted.astype(np.float16)
    if not np.isfinite(scales).all():
        raise InvalidInput(f"a vector has a scale of {float(wanted.max()):.3g}, above float16: scale the vectors down")
    return scales


def float16_to_bytes(scales: npt.NDArray[np.float16]) -> Bytes:
    """[n] to uint8 [n, 2], little-endian."""
    return scales.astype("<f2").view(np.uint8).reshape(-1, 2)


def float16_of(pairs: Bytes) -> Floats:
    """uint8 [n, 2] to float32 [n]."""
    return np.ascontiguousarray(pairs).view("<f2")[:, 0].astype(np.float32)


def checked_parameter(
    codec: str,
    parameters: Mapping[str, npt.NDArray[Any]],
    name: str,
    dtype: npt.DTypeLike,
    shape: tuple[int | None, ...],
) -> npt.NDArray[Any]:
    """A parameter of this type and shape (None: any length of at least 1), read-only."""
    array = parameters.get(name)
    if array is None:
        raise InvalidInput(f"codec {codec}: the parameter {name!r} is missing")
    fits = len(array.shape) == len(shape) and all(
        size == wanted or (wanted is None and size > 0) for size, wanted in zip(array.shape, shape, strict=True)
    )
    if array.dtype != np.dtype(dtype) or not fits:
        form = ", ".join("any" if size is None else str(size) for size in shape)
        found = f"{array.dtype} {list(array.shape)}"
        raise InvalidInput(f"codec {codec}: the parameter {name!r} is {found}: it must be {np.dtype(dtype)} [{form}]")
    return frozen(array, dtype)
