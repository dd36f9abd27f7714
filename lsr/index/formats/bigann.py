"""The .csr files of the sparse track of BigANN 2023 (NeurIPS'23, big-ann-benchmarks): a CSR matrix, little-endian.

int64 rows, columns, nnz; int64 indptr [rows + 1]; int32 indices [nnz]; float32 data [nnz].
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lsr.corpus.streams import shown
from lsr.errors import CorpusError, InvalidInput
from lsr.index.formats.bytes_in import mapped
from lsr.index.formats.outgoing import Outgoing
from lsr.index.formats.vector_file import ROWS, Batch, ReadOptions, VectorFile, checked_batch, checked_dim

__all__ = ["open_bigann", "write_bigann"]

_HEADER = 24  # bytes


def open_bigann(path: Path, options: ReadOptions) -> VectorFile:
    """Maps a .csr file. Terms need not rise within a row: they are sorted, and repeated ones summed, as SciPy does."""
    name, data = shown(path), mapped(path)
    if len(data) < _HEADER:
        raise CorpusError(f"{name}: {len(data)} bytes, fewer than the header of a .csr file has; is the file complete?")
    rows, columns, nnz = data[:_HEADER].view("<i8").tolist()
    size = _HEADER + 8 * (rows + 1) + 8 * nnz
    if min(rows, columns, nnz) < 0 or size != len(data):
        raise CorpusError(
            f"{name}: claims {rows:,} rows and {nnz:,} weights, which are {size:,} bytes; it has {len(data):,}: is the file"
            " complete, and a .csr of BigANN?"
        )
    dim = checked_dim(columns, options, name)
    split = _HEADER + 8 * (rows + 1)
    indptr, indices = data[_HEADER:split].view("<i8"), data[split : split + 4 * nnz].view("<i4")
    values = data[split + 4 * nnz :].view("<f4")
    if indptr[0] != 0 or indptr[-1] != nnz:
        raise CorpusError(f"{name}: its row offsets go from {indptr[0]:,} to {indptr[-1]:,}, not from 0 to {nnz:,}")

    def read() -> Iterator[Batch]:
        for first in range(0, rows, ROWS):
            part = indptr[first : first + ROWS + 1]
            if np.any(part[1:] < part[:-1]) or part[-1] > nnz:  # differences could overflow
                raise CorpusError(f"{name}: the row offsets fall, or leave the file, after row {first:,}")
            inside = slice(int(part[0]), int(part[-1]))
            yield Batch(
                checked_batch(
                    np.diff(part),
                    indices[inside],
                    values[inside],
                    dim,
                    place=lambda row, first=first: f"{name}: row {first + row:,}",  # type: ignore[misc]
                    scale=options.scale,
                )
            )

    return VectorFile(name=name, dim=dim, read=read, documents=rows)


def write_bigann(file: BinaryIO, out: Outgoing) -> None:
    """Writes a .csr file. Ids are lost: a document is known by its row."""
    if out.dim > 1 << 31:
        raise InvalidInput(f"{out.name}: {out.dim:,} dimensions; BigANN's .csr holds up to {1 << 31:,}")
    file.write(np.array([out.documents, out.dim, out.nnz], "<i8").tobytes())
    file.write(out.indptr().astype("<i8").tobytes())
    for vectors in out.batches():
        file.write(vectors.indices.astype("<i4").tobytes())
    for vectors in out.batches():
        file.write(vectors.values.astype("<f4").tobytes())
