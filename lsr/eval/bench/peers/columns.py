"""The form that bm25s and splade-index keep an index in: the weights term by term, as the columns of a matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lsr.errors import EvaluationError
from lsr.sparse import SparseVectors

__all__ = ["load_columns", "save_columns"]

_PARTS = ("data", "indices", "indptr")


def save_columns(vectors: SparseVectors, folder: Path) -> None:
    """Makes the columns and writes them: float32 weights, int32 documents [nnz] and int32 column pointers [dim + 1]."""
    from scipy.sparse import csc_array

    if vectors.nnz >= 1 << 31:
        raise EvaluationError(f"{vectors.nnz:,} weights: both libraries count them in 32 bits")
    matrix = csc_array(vectors.to_scipy())
    np.save(folder / "data.npy", matrix.data)
    np.save(folder / "indices.npy", matrix.indices.astype(np.int32))
    np.save(folder / "indptr.npy", matrix.indptr.astype(np.int32))
    (folder / "documents").write_text(str(len(vectors)))


def load_columns(folder: Path) -> dict[str, Any]:
    """The score matrix as both libraries hold it, in memory."""
    arrays: dict[str, Any] = {part: np.load(folder / f"{part}.npy", allow_pickle=False) for part in _PARTS}
    return {**arrays, "num_docs": int((folder / "documents").read_text())}
