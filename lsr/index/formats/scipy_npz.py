"""SciPy's sparse matrices (.npz of `scipy.sparse.save_npz`), CSR. lsr's own .npz (`lsr encode`) is read as well."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from lsr.corpus.streams import shown
from lsr.errors import CorpusError, InvalidVectors, StorageError, UnsupportedVersion
from lsr.index.formats.outgoing import Outgoing
from lsr.index.formats.vector_file import ReadOptions, VectorFile, adapted, in_memory
from lsr.npz import write_streams
from lsr.sparse import SparseVectors

__all__ = ["id_arrays", "open_npz", "write_scipy_npz"]


def open_npz(path: Path, options: ReadOptions) -> VectorFile:
    """Reads a .npz into memory."""
    try:
        vectors = SparseVectors.load(path)
    except UnsupportedVersion:
        raise
    except (StorageError, InvalidVectors) as error:
        raise CorpusError(str(error)) from None
    name = shown(path)
    return in_memory(adapted(vectors, options, name), name)


def write_scipy_npz(file: BinaryIO, out: Outgoing) -> None:
    """Writes what `scipy.sparse.load_npz` reads as a csr_array, and ids beside it, which SciPy passes over."""
    wide: type[np.int32] | type[np.int64] = np.int32 if max(out.nnz, out.dim, out.documents) < 1 << 31 else np.int64
    id_bytes, id_offsets = id_arrays(out)
    arrays = {
        "format": np.array(b"csr"),
        "shape": np.array([out.documents, out.dim], np.int64),
        "_is_array": np.array(True),
        "indptr": out.indptr().astype(wide),
        "id_bytes": id_bytes,
        "id_offsets": id_offsets,
    }
    streams = {
        "indices": (wide, out.nnz, (vectors.indices for vectors in out.batches())),
        "data": (np.float32, out.nnz, (vectors.values for vectors in out.batches())),
    }
    write_streams(file, arrays, streams)


def id_arrays(out: Outgoing) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The ids as one run of UTF-8 bytes, and the offsets of each in it [documents + 1]."""
    parts: list[bytes] = []
    lengths: list[int] = [0]
    row = 0
    for vectors in out.parts():
        encoded = [identifier.encode() for identifier in out.ids(vectors, row)]
        parts.append(b"".join(encoded))
        lengths += map(len, encoded)
        row += len(vectors)
    return np.frombuffer(b"".join(parts), np.uint8), np.cumsum(np.array(lengths, np.int64))
