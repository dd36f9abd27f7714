"""VectorFile: what a reader of a format gives, and how vectors of strangers are made to hold the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.errors import CorpusError, InvalidVectors
from lsr.sparse import SparseVectors

if TYPE_CHECKING:
    from lsr.corpus import Document
    from lsr.index.formats.terms import Terms

__all__ = ["ROWS", "Batch", "ReadOptions", "VectorFile", "adapted", "checked_batch", "checked_dim", "in_memory"]

ROWS = 1 << 14  # documents read at a time

Array = npt.NDArray[Any]


class Batch(NamedTuple):
    """Some documents: their vectors and, where the file has texts, what it says beside."""

    vectors: SparseVectors
    documents: Sequence[Document] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What the caller knows and the file may not tell; see `open_vectors`."""

    terms: Terms | None = None
    dim: int | None = None
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorFile:
    """Vectors of documents in a file, read in batches as often as asked.

    `dim` is the number of terms, `tokens` the text of each where the file has words and nobody gave a vocabulary; `texts`
    says whether batches have documents, `documents` how many there are, where that is known before all were read.
    """

    name: str
    dim: int
    read: Callable[[], Iterator[Batch]]
    tokens: tuple[str, ...] | None = None
    texts: bool = False
    documents: int | None = None
    terms: Terms | None = None
    whole: SparseVectors | None = None

    def batches(self) -> Iterator[Batch]:
        """All documents, in order, from the start. Raises `CorpusError` that names the place of what cannot be read."""
        return self.read()

    def vectors(self) -> SparseVectors:
        """All vectors in memory, with ids where the file has them."""
        if self.whole is not None:
            return self.whole
        batches = [batch.vectors for batch in self.batches()]
        if not batches:
            return SparseVectors(indptr=[0], indices=[], values=[], dim=self.dim)
        try:
            return SparseVectors.concat(batches)
        except InvalidVectors as error:  # the same id in two batches
            raise CorpusError(f"{self.name}: {error}") from None


def in_memory(vectors: SparseVectors, name: str) -> VectorFile:
    """Vectors that are in memory already, as a file that was read."""

    def read() -> Iterator[Batch]:
        step = 1 << 16
        return (Batch(vectors[first : first + step]) for first in range(0, len(vectors), step))

    return VectorFile(name=name, dim=vectors.dim, read=read, documents=len(vectors), whole=vectors)


def adapted(vectors: SparseVectors, options: ReadOptions, name: str) -> SparseVectors:
    """Vectors with the scale and the dim that the caller asked for."""
    dim = checked_dim(vectors.dim, options, name)
    if dim == vectors.dim and options.scale == 1:
        return vectors
    lengths = np.diff(vectors.indptr)
    return checked_batch(
        lengths,
        vectors.indices,
        vectors.values,
        dim,
        place=lambda row: f"{name}: document {row:,}",
        ids=vectors.ids,
        scale=options.scale,
    )


def checked_dim(found: int, options: ReadOptions, name: str) -> int:
    """The dim of a file that tells it; a larger one may be asked for. Raises `CorpusError` when none is possible."""
    if not 0 <= found <= 1 << 32:
        raise CorpusError(f"{name}: has {found:,} dimensions: between 1 and {1 << 32:,} are possible")
    if options.dim is not None and options.dim < found:
        raise CorpusError(
            f"{name}: has {found:,} dimensions, more than the {options.dim:,} that it should have (--dim)"
        )
    return max(found if options.dim is None else options.dim, 1)


def checked_batch(
    lengths: Array,
    terms: Array,
    weights: Array,
    dim: int,
    *,
    place: Callable[[int], str],
    ids: Sequence[str] | None = None,
    scale: float = 1.0,
    rising: bool = False,
) -> SparseVectors:
    """Rows of anyone as vectors: terms sorted, repeated ones summed, zeros dropped.

    lengths [n] terms of each row; terms (integers) and weights [their sum]; place(row) says where a row stands; with
    `rising` the format promises terms in rising order, and another order is refused. Weights are multiplied by `scale`.

    Raises `CorpusError` that names the place of the first row with a term out of range, or a weight that is NaN, infinite or
    negative.
    """
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])

    def refuse(bad: Array, what: str) -> None:
        if bad.any():
            at = int(np.argmax(bad))
            row = int(np.searchsorted(indptr, at, side="right")) - 1
            raise CorpusError(f"{place(row)}: " + what.format(term=int(terms[at]), weight=weights[at], dim=dim))

    refuse((terms < 0) | (terms >= dim), "term {term}: there are {dim:,}, counted from 0")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        values = (weights if scale == 1 else weights.astype(np.float64) * scale).astype(np.float32)
    refuse(~((values >= 0) & (values < np.inf)), "term {term} has weight {weight}: weights are finite and not negative")
    falls = np.zeros(len(terms), bool)
    falls[1:] = terms[1:] <= terms[:-1]
    falls[indptr[:-1][lengths > 0]] = False  # a new row may start anywhere
    if falls.any():
        if rising:
            refuse(falls, "term {term} stands after one that is not below it; terms must rise")
        terms, values, indptr = _sorted(terms, values, indptr, dim)
    if not values.all():
        keep = values > 0
        terms, values = terms[keep], values[keep]
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(keep)])[indptr]
    try:
        return SparseVectors(indptr=indptr, indices=terms, values=values, dim=dim, ids=ids)
    except InvalidVectors as error:  # of the ids
        raise CorpusError(f"{place(0)} and those after it: {error}") from None


def _sorted(
    terms: Array, values: Array, indptr: npt.NDArray[np.int64], dim: int
) -> tuple[Array, npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Terms sorted within their rows, those that stand there repeatedly summed, as SciPy does."""
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    keys = rows * dim + terms.astype(np.int64)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.concatenate([[True], keys[1:] != keys[:-1]])
    with np.errstate(over="ignore"):
        sums = np.add.reduceat(values[order].astype(np.float64), np.flatnonzero(first)).astype(np.float32)
    new_indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(first)])[indptr]
    return terms[order][first], sums, new_indptr
