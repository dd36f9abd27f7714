"""SparseVectors: a validated batch of sparse vectors, the currency between the rooms of lsr."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidVectors, StorageError, UnsupportedVersion, one_line
from lsr.npz import UNREADABLE, read_arrays
from lsr.sparse_rules import (
    FloatArray,
    IntArray,
    check_structure,
    check_values,
    checked_dim,
    checked_ids,
    checked_integers,
    checked_weights,
)

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_array

__all__ = ["SparseVectors", "decoded_ids", "term_type", "trusted_vectors", "write_arrays"]

FILE_VERSION = 1


def term_type(dim: int) -> type[np.uint16] | type[np.uint32]:
    """The type of term ids in a vocabulary of `dim` terms: 16 bits for up to 65,536, else 32."""
    return np.uint16 if dim <= 1 << 16 else np.uint32


class SparseVectors:
    """A batch of n sparse vectors in compressed sparse row form.

    Row i holds the terms `indices[indptr[i]:indptr[i + 1]]` with the weights `values[indptr[i]:indptr[i + 1]]`.

    What always holds, and is checked when an object is made:

    - `indptr` int64 [n + 1], starts at 0, never falls, ends at nnz;
    - `indices` uint16 (dim <= 65,536) or uint32 [nnz], rising within a row, below `dim`;
    - `values` float32 [nnz], finite and above 0;
    - `ids`, when given, n distinct non-empty strings that can be written as UTF-8.

    An empty row is legal. Terms out of order, repeated terms, zeros and other number types are accepted by
    `from_scipy`, which sorts, sums and drops; the constructor itself only converts types. Arrays that have the
    right type already are kept, not copied.

    Raises `InvalidVectors` (a ValueError) that names the first row that breaks a rule.
    """

    __slots__ = ("dim", "ids", "indices", "indptr", "values")

    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
    values: FloatArray
    dim: int
    ids: tuple[str, ...] | None

    def __init__(
        self,
        *,
        indptr: npt.ArrayLike,
        indices: npt.ArrayLike,
        values: npt.ArrayLike,
        dim: int,
        ids: Sequence[str] | None = None,
    ) -> None:
        self.dim = checked_dim(dim)
        raw_indptr, raw_indices = checked_integers(indptr, "indptr"), checked_integers(indices, "indices")
        check_structure(raw_indptr, raw_indices, self.dim)
        self.indptr = np.ascontiguousarray(raw_indptr, dtype=np.int64)
        narrow: npt.NDArray[Any] = np.ascontiguousarray(raw_indices, dtype=term_type(self.dim))
        self.indices = narrow
        self.values = checked_weights(values)
        check_values(self.values, self.indptr)
        self.ids = None if ids is None else checked_ids(ids, len(self))

    # -- size and rows -------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def shape(self) -> tuple[int, int]:
        """(number of vectors, dim)."""
        return len(self), self.dim

    @property
    def nnz(self) -> int:
        """Number of stored weights in all rows together."""
        return len(self.indices)

    def row(self, i: int) -> tuple[npt.NDArray[Any], FloatArray]:
        """Term ids and weights of row i, as views."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        i %= len(self)
        start, end = self.indptr[i], self.indptr[i + 1]
        return self.indices[start:end], self.values[start:end]

    def __getitem__(self, rows: slice) -> SparseVectors:
        """A contiguous range of rows, ids included. Shares memory with this batch."""
        if not isinstance(rows, slice):
            raise TypeError("SparseVectors takes slices of rows; use row(i) for one row")
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise InvalidVectors(f"a slice of SparseVectors has step 1, not {step}")
        stop = max(start, stop)
        low, high = self.indptr[start], self.indptr[stop]
        return trusted_vectors(
            self.indptr[start : stop + 1] - low,
            self.indices[low:high],
            self.values[low:high],
            self.dim,
            None if self.ids is None else self.ids[start:stop],
        )

    def __iter__(self) -> Iterator[tuple[npt.NDArray[Any], FloatArray]]:
        return (self.row(i) for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SparseVectors):
            return NotImplemented
        return (
            self.dim == other.dim
            and self.ids == other.ids
            and np.array_equal(self.indptr, other.indptr)
            and np.array_equal(self.indices, other.indices)
            and np.array_equal(self.values, other.values)
        )

    __hash__ = None  # type: ignore[assignment]  # holds arrays

    def __repr__(self) -> str:
        mean = self.nnz / len(self) if len(self) else 0.0
        ids = "" if self.ids is None else ", with ids"
        return f"SparseVectors({len(self):,} x {self.dim:,}, {mean:.1f} terms a vector{ids})"

    # -- other forms ---------------------------------------------------------------------------------------------

    @classmethod
    def concat(cls, batches: Sequence[SparseVectors]) -> SparseVectors:
        """One batch from several of the same dim, rows in order. Ids are kept when every batch has them."""
        if not batches:
            raise InvalidVectors("concat needs at least one batch of vectors")
        dims = {batch.dim for batch in batches}
        if len(dims) > 1:
            raise InvalidVectors(f"cannot join vectors of different dim: {sorted(dims)}")
        ends = np.cumsum([0] + [batch.nnz for batch in batches])
        indptr = np.concatenate([[0]] + [batch.indptr[1:] + end for batch, end in zip(batches, ends[:-1], strict=True)])
        ids = None
        if all(batch.ids is not None for batch in batches):
            ids = checked_ids([i for batch in batches for i in batch.ids or ()], len(indptr) - 1)
        return trusted_vectors(
            indptr.astype(np.int64),
            np.concatenate([batch.indices for batch in batches]),
            np.concatenate([batch.values for batch in batches]),
            batches[0].dim,
            ids,
        )

    @classmethod
    def from_scipy(cls, matrix: Any, ids: Sequence[str] | None = None) -> SparseVectors:
        """Takes any scipy sparse matrix or array [n, dim]: terms are sorted, duplicates summed, zeros dropped."""
        from scipy.sparse import csr_array, issparse

        if not issparse(matrix):
            raise InvalidVectors(f"from_scipy takes a scipy sparse matrix, not {type(matrix).__name__}")
        if matrix.ndim != 2:
            raise InvalidVectors(f"from_scipy takes [n, dim], not {matrix.ndim} dimensions")
        if matrix.dtype.kind not in "biuf":
            raise InvalidVectors(f"weights have type {matrix.dtype}: they must be real numbers")
        if matrix.dtype not in (np.float32, np.float64):
            matrix = matrix.astype(np.float64)  # sums of small integers would wrap around
        csr = csr_array(matrix, copy=True)
        # Before scipy's compiled code sees them: it does not check bounds.
        check_structure(csr.indptr, csr.indices, csr.shape[1], rising=False)
        if csr.shape[1] >= 1 << 31:  # scipy would fail to hand such a size to a function of 32-bit ids
            csr.indptr, csr.indices = csr.indptr.astype(np.int64), csr.indices.astype(np.int64)
        csr.sum_duplicates()
        csr.data = checked_weights(
            csr.data
        )  # first: what is too small for a float32 becomes zero, and goes with the zeros
        csr.eliminate_zeros()
        return cls(indptr=csr.indptr, indices=csr.indices, values=csr.data, dim=csr.shape[1], ids=ids)

    def to_scipy(self) -> csr_array[np.float32]:
        """A scipy CSR array [n, dim], float32, in memory of its own."""
        from scipy.sparse import csr_array

        # scipy wants sizes as well as ids to fit the type.
        wide = np.int32 if max(self.nnz, self.dim, len(self)) < 1 << 31 else np.int64
        parts = (self.values.copy(), self.indices.astype(wide), self.indptr.astype(wide))
        return csr_array(parts, shape=self.shape)

    @classmethod
    def from_torch(cls, tensor: Any, ids: Sequence[str] | None = None) -> SparseVectors:
        """Takes what sentence-transformers' `SparseEncoder.encode` gives: a tensor [n, dim] (COO, CSR or dense), or a list
        of tensors [dim]. Terms are sorted, duplicates summed, zeros dropped. Needs torch (`MissingExtra`)."""
        from lsr.torch_tensors import from_tensor

        return cls.from_scipy(from_tensor(tensor), ids)

    def to_torch(self) -> torch.Tensor:
        """A coalesced sparse COO tensor [n, dim], float32, as sentence-transformers gives them. Needs torch
        (`MissingExtra`)."""
        from lsr.torch_tensors import to_tensor

        return to_tensor(self)

    def save(self, path: str | Path) -> None:
        """Writes an uncompressed .npz: indptr, indices, values, dim, lsr_version and, with ids, id_bytes and id_offsets.

        Nothing is pickled. The file appears whole or not at all. Raises `StorageError` when it cannot be written.
        """
        ids = None
        if self.ids is not None:
            # Not a numpy string array: those are as wide as the widest id, and drop trailing NULs.
            encoded = [i.encode() for i in self.ids]
            offsets = np.cumsum([0] + [len(e) for e in encoded], dtype=np.int64)
            ids = np.frombuffer(b"".join(encoded), np.uint8), offsets
        from lsr.disk import atomic_write

        with atomic_write(Path(path)) as file:
            write_arrays(file, self.indptr, self.indices, self.values, self.dim, ids)

    @classmethod
    def load(cls, path: str | Path) -> SparseVectors:
        """Reads what `save` wrote, and a .npz of scipy's `save_npz`, with ids where `lsr export` wrote it. Never unpickles.

        Raises `StorageError` when the file is missing or is neither, `UnsupportedVersion` when a newer lsr wrote it,
        `InvalidVectors` when its arrays break the rules.
        """
        try:
            return cls._from_arrays(read_arrays(Path(path)))
        except UnsupportedVersion as error:
            raise UnsupportedVersion(f"{path}: {error}") from None
        except InvalidVectors as error:
            raise InvalidVectors(f"{path}: {error}") from None
        except FileNotFoundError:
            raise StorageError(f"{path}: no such file; `lsr encode` writes one") from None
        except UNREADABLE as error:
            raise StorageError(f"{path}: not a file of sparse vectors ({one_line(error)})") from None

    @classmethod
    def _from_arrays(cls, arrays: dict[str, npt.NDArray[Any]]) -> SparseVectors:
        if "lsr_version" in arrays:
            version = operator.index(arrays["lsr_version"].item())
            if version > FILE_VERSION:
                raise UnsupportedVersion(
                    f"written by a newer lsr (vectors version {version}): pip install -U lsr-engine"
                )
            return cls(
                indptr=_array(arrays, "indptr"),
                indices=_array(arrays, "indices"),
                values=_array(arrays, "values"),
                dim=_array(arrays, "dim").item(),
                ids=decoded_ids(arrays) if "id_bytes" in arrays else None,
            )
        if "format" in arrays and "shape" in arrays:  # scipy.sparse.save_npz
            if arrays["format"].item() not in (b"csr", "csr"):
                raise InvalidVectors("a scipy file in another form than CSR: save matrix.tocsr()")
            from scipy.sparse import csr_array

            rows, dim = map(operator.index, arrays["shape"].tolist())
            indptr = checked_integers(_array(arrays, "indptr"), "indptr")
            indices = checked_integers(_array(arrays, "indices"), "indices")
            check_structure(indptr, indices, checked_dim(dim), rising=False)  # scipy does not check bounds
            matrix = csr_array((_array(arrays, "data"), indices, indptr), shape=(rows, dim))
            # scipy passes over arrays that it does not know: lsr export puts the ids there.
            return cls.from_scipy(matrix, decoded_ids(arrays) if "id_bytes" in arrays else None)
        raise ValueError("its arrays are " + (", ".join(sorted(arrays)) or "none"))


def write_arrays(
    file: BinaryIO,
    indptr: IntArray,
    indices: IntArray,
    values: FloatArray,
    dim: int,
    ids: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]] | None,
) -> None:
    """Writes the file that `SparseVectors.load` reads from arrays that keep its rules; ids as their bytes and offsets.

    Arrays may be mapped from disk: they are copied in pieces.
    """
    arrays: dict[str, npt.NDArray[Any]] = {
        "indptr": indptr,
        "indices": indices,
        "values": values,
        "dim": np.array(dim, np.int64),
        "lsr_version": np.array(FILE_VERSION, np.int64),
    }
    if ids is not None:
        arrays["id_bytes"], arrays["id_offsets"] = ids
    np.savez(file, **arrays)  # type: ignore[arg-type]


def _array(arrays: dict[str, npt.NDArray[Any]], name: str) -> npt.NDArray[Any]:
    if name not in arrays:
        raise ValueError(f"it has no array {name!r}")
    return arrays[name]


def decoded_ids(arrays: dict[str, npt.NDArray[Any]]) -> list[str]:
    """The ids in the arrays id_bytes and id_offsets. Raises ValueError when they do not fit each other."""
    raw = _array(arrays, "id_bytes").astype(np.uint8, casting="safe").tobytes()
    offsets = checked_integers(_array(arrays, "id_offsets"), "id_offsets").tolist()
    if not offsets or offsets[0] != 0 or offsets[-1] != len(raw) or sorted(offsets) != offsets:
        raise ValueError("its id_offsets do not fit its id_bytes")
    return [raw[a:b].decode() for a, b in itertools.pairwise(offsets)]


def trusted_vectors(
    indptr: npt.NDArray[np.int64],
    indices: npt.NDArray[Any],
    values: FloatArray,
    dim: int,
    ids: tuple[str, ...] | None,
) -> SparseVectors:
    """A batch from parts that are known to hold the rules: slices and joins of checked batches."""
    batch = SparseVectors.__new__(SparseVectors)
    batch.indptr, batch.indices, batch.values, batch.dim, batch.ids = indptr, indices, values, dim, ids
    return batch
