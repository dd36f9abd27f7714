"""Sparse vectors from and to torch tensors, the form in which sentence-transformers' SparseEncoder gives them.

torch is imported when a function is called. Nothing is handed to torch's own sparse operations before its indices were
checked here: they check no bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidVectors, MissingExtra
from lsr.sparse_rules import check_structure, checked_integers

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_array

    from lsr.sparse import SparseVectors

__all__ = ["from_parts", "from_tensor", "import_torch", "parts_of", "to_tensor"]

Array = npt.NDArray[Any]


def import_torch(purpose: str) -> Any:
    """The module torch. Raises `MissingExtra` where it is not installed."""
    try:
        import torch
    except ImportError:
        raise MissingExtra("torch", "torch", purpose) from None
    return torch


def to_tensor(vectors: SparseVectors) -> torch.Tensor:
    """A coalesced sparse COO tensor [n, dim], float32."""
    library = import_torch("a tensor of sparse vectors")
    rows = np.repeat(np.arange(len(vectors)), np.diff(vectors.indptr))
    indices = library.from_numpy(np.stack([rows, vectors.indices.astype(np.int64)]))
    values = library.from_numpy(vectors.values.copy())
    # What a SparseVectors promises is what torch would check.
    tensor: torch.Tensor = library.sparse_coo_tensor(
        indices, values, vectors.shape, is_coalesced=True, check_invariants=False
    )
    return tensor


def parts_of(given: Any) -> list[torch.Tensor]:
    """The plain tensors that hold the numbers of a tensor, or of each of a list of tensors.

    Raises `InvalidVectors` for a layout or a shape that holds no vectors.
    """
    library = import_torch("reading tensors")
    if isinstance(given, list | tuple):
        return [part for tensor in given for part in parts_of(tensor)]
    if not isinstance(given, library.Tensor):
        raise InvalidVectors(f"a {type(given).__name__} is no tensor: give one [n, dim], or a list of tensors [dim]")
    if given.layout == library.strided:
        return [given]
    if given.layout == library.sparse_coo:
        if given.dense_dim() != 0:
            raise InvalidVectors("a hybrid tensor, whose values are rows of numbers, holds no sparse vectors")
        return [given._indices(), given._values()]
    if given.layout == library.sparse_csr:
        return [given.crow_indices(), given.col_indices(), given.values()]
    raise InvalidVectors(f"a tensor of layout {given.layout}: give tensor.to_sparse_csr() or a COO tensor")


def from_tensor(given: Any) -> csr_array[np.float64]:
    """A scipy CSR array [n, dim] of a tensor [n, dim] or [dim] (COO, CSR or dense), or of a list of them.

    Raises `InvalidVectors` for other layouts, indices out of range, values that are no real numbers, and rows of different
    dim. Order and repetition of indices are as they were given.
    """
    from scipy.sparse import csr_array, vstack

    if isinstance(given, list | tuple):
        if not given:
            raise InvalidVectors("an empty list of tensors: nobody knows its dim")
        rows = [from_tensor(tensor) for tensor in given]
        if len({row.shape[1] for row in rows}) > 1:
            raise InvalidVectors(f"tensors of different dim: {sorted({row.shape[1] for row in rows})}")
        return csr_array(vstack(rows, format="csr"))
    parts = [_numbers(part) for part in parts_of(given)]
    if given.ndim not in (1, 2):
        raise InvalidVectors(f"a tensor of {given.ndim} dimensions: give [n, dim], or [dim]")
    shape = (1, given.shape[0]) if given.ndim == 1 else (given.shape[0], given.shape[1])
    return csr_array(parts[0].reshape(shape)) if len(parts) == 1 else from_parts(parts, shape)


def from_parts(parts: Sequence[Array], shape: tuple[int, int]) -> csr_array[np.float64]:
    """A scipy CSR array of the parts of a sparse tensor: (indices [2, nnz] or [1, nnz], values) of COO, or (crow_indices,
    col_indices, values) of CSR. Raises as `from_tensor`."""
    from scipy.sparse import csr_array

    if min(shape) < 0:
        raise InvalidVectors(f"a tensor of shape {list(shape)}")
    if len(parts) == 2:
        return _from_coo(parts[0], parts[1], shape)
    indptr, indices, values = (
        checked_integers(parts[0], "crow_indices"),
        checked_integers(parts[1], "col_indices"),
        parts[2],
    )
    if len(indptr) != shape[0] + 1 or values.shape != indices.shape:
        raise InvalidVectors(
            f"a CSR tensor of {shape[0]:,} rows with {len(indptr):,} offsets and {values.size:,} values"
        )
    check_structure(indptr, indices, shape[1], rising=False)
    return csr_array((values, indices, indptr), shape=shape)


def _from_coo(indices: Array, values: Array, shape: tuple[int, int]) -> csr_array[np.float64]:
    from scipy.sparse import csr_array

    if indices.ndim != 2 or len(indices) not in (1, 2) or values.shape != indices.shape[1:]:
        raise InvalidVectors(f"a COO tensor with indices of shape {indices.shape} and values of shape {values.shape}")
    columns = checked_integers(indices[-1], "indices")
    rows = checked_integers(indices[0], "indices") if len(indices) == 2 else np.zeros_like(columns)
    for name, found, limit in (("row", rows, shape[0]), ("term", columns, shape[1])):
        if len(found) and not (int(found.min()) >= 0 and int(found.max()) < limit):
            raise InvalidVectors(f"a COO tensor has a {name} out of range: its shape is {list(shape)}")
    order = np.argsort(rows, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows.astype(np.int64), minlength=shape[0]))])
    return csr_array((values[order], columns[order], indptr), shape=shape)


def _numbers(tensor: torch.Tensor) -> Array:
    """As a numpy array; 16-bit floats, of which numpy does not know all, as float32."""
    plain = tensor.detach().cpu()
    if plain.is_complex() or plain.is_quantized:
        raise InvalidVectors(f"a tensor of {plain.dtype}: weights are real numbers")
    if plain.is_floating_point() and plain.element_size() < 4:
        plain = plain.float()
    return np.asarray(plain.numpy())
