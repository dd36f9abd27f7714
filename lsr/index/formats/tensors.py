"""Sparse tensors of torch, as sentence-transformers' SparseEncoder gives them: .pt read, .safetensors read and written.

A .pt file (`torch.save`) is a pickle: it is read with torch's own reader of weights, which makes tensors and nothing else,
and never written. A .safetensors file holds the parts of one tensor, by the names that torch gives them:

    crow_indices int64 [n + 1], col_indices int64 [nnz], values float32 [nnz], size int64 [2]     a CSR tensor
    indices int64 [2, nnz], values, size                                                          a COO tensor
    id_bytes uint8, id_offsets int64 [n + 1]                                                      the ids, optional
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from lsr.corpus.streams import reason, shown
from lsr.errors import CorpusError, InvalidVectors
from lsr.index.formats.bytes_in import mapped
from lsr.index.formats.outgoing import Outgoing
from lsr.index.formats.scipy_npz import id_arrays
from lsr.index.formats.vector_file import ReadOptions, VectorFile, adapted, in_memory
from lsr.sparse import SparseVectors, decoded_ids
from lsr.torch_tensors import from_parts, import_torch, parts_of

__all__ = ["open_safetensors", "open_torch", "write_safetensors"]

_PARTS = ("crow_indices", "col_indices", "indices", "values", "size", "id_bytes", "id_offsets")


# -- .pt ---------------------------------------------------------------------------------------------------------------


def open_torch(path: Path, options: ReadOptions) -> VectorFile:
    """Reads a tensor [n, dim] (COO, CSR or dense), or a list of tensors [dim], that `torch.save` wrote. Needs torch."""
    name, size = shown(path), len(mapped(path))
    torch = import_torch(f"{name}: reading a tensor of torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that sparse tensors are new to torch, and unchecked: they are checked here
        try:
            given = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # what an unpickler of foreign bytes raises has no end
            raise CorpusError(f"{name}: torch cannot read it as tensors alone ({reason(error)[:150]})") from None
        try:
            numbers = sum(part.numel() * part.element_size() for part in parts_of(given))
            if numbers > size:  # a few numbers, repeated by strides
                raise InvalidVectors(f"its tensors claim {numbers:,} bytes in a file of {size:,}")
            _check_rows(given.shape[0] if isinstance(given, torch.Tensor) and given.ndim == 2 else 0, size)
            vectors = SparseVectors.from_torch(given)
        except InvalidVectors as error:
            raise CorpusError(f"{name}: {error}") from None
    return in_memory(adapted(vectors, options, name), name)


def _check_rows(rows: int, size: int) -> None:
    if rows > size:  # empty rows take no bytes in a COO tensor, but memory here
        raise InvalidVectors(f"it claims {rows:,} rows in a file of {size:,} bytes")


# -- .safetensors ------------------------------------------------------------------------------------------------------


def open_safetensors(path: Path, options: ReadOptions) -> VectorFile:
    """Reads the parts of a sparse tensor."""
    from safetensors import SafetensorError, safe_open

    name, size = shown(path), len(mapped(path))
    try:
        with safe_open(path, framework="numpy") as file:
            parts = {part: file.get_tensor(part) for part in file.keys() if part in _PARTS}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise CorpusError(f"{name}: not a safetensors file that can be read ({reason(error)})") from None
    try:
        vectors = _from_parts(parts, size)
    except (InvalidVectors, ValueError, TypeError) as error:
        raise CorpusError(f"{name}: {reason(error)}") from None
    return in_memory(adapted(vectors, options, name), name)


def _from_parts(parts: dict[str, npt.NDArray[Any]], size: int) -> SparseVectors:
    if "size" not in parts or parts["size"].shape != (2,) or parts["size"].dtype.kind not in "iu":
        raise InvalidVectors("it holds no sparse tensor: there is no 'size' of two whole numbers")
    rows, dim = map(int, parts["size"])
    _check_rows(rows, size)
    names = ("crow_indices", "col_indices", "values") if "crow_indices" in parts else ("indices", "values")
    if missing := [name for name in names if name not in parts]:
        raise InvalidVectors(f"it holds no sparse tensor: there is no {missing[0]!r}")
    if parts["values"].dtype == np.float16:  # SciPy knows none
        parts["values"] = parts["values"].astype(np.float32)
    matrix = from_parts([parts[name] for name in names], (rows, dim))
    ids = decoded_ids(parts) if "id_bytes" in parts else None
    return SparseVectors.from_scipy(matrix, ids)


def write_safetensors(file: BinaryIO, out: Outgoing) -> None:
    """Writes the parts of a CSR tensor, in pieces."""
    id_bytes, id_offsets = id_arrays(out)
    columns: list[tuple[str, str, np.dtype[Any], tuple[int, ...], Iterable[npt.NDArray[Any]]]] = [
        ("crow_indices", "I64", np.dtype("<i8"), (out.documents + 1,), [out.indptr()]),
        ("col_indices", "I64", np.dtype("<i8"), (out.nnz,), (vectors.indices for vectors in out.batches())),
        ("id_offsets", "I64", np.dtype("<i8"), id_offsets.shape, [id_offsets]),
        ("size", "I64", np.dtype("<i8"), (2,), [np.array([out.documents, out.dim])]),
        ("values", "F32", np.dtype("<f4"), (out.nnz,), (vectors.values for vectors in out.batches())),
        ("id_bytes", "U8", np.dtype("|u1"), id_bytes.shape, [id_bytes]),
    ]
    header: dict[str, Any] = {"__metadata__": {"format": "pt", "layout": "torch.sparse_csr"}}
    end = 0
    for name, kind, dtype, shape, _ in columns:
        begin, end = end, end + dtype.itemsize * int(np.prod(shape))
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # numbers stand at multiples of their size
    file.write(len(text).to_bytes(8, "little") + text)
    for _, _, dtype, _, parts in columns:
        for part in parts:
            file.write(part.astype(dtype, copy=False).tobytes())
