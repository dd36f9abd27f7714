"""Seismic's inner format (.bin), which SeismicIndexRaw and kANNolo read: little-endian, one vector after the other.

uint32 number of vectors; for each: uint32 length, uint32 components [length] rising, float32 values [length].
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from lsr.corpus.streams import shown
from lsr.errors import CorpusError, InvalidInput
from lsr.index.formats.bytes_in import mapped
from lsr.index.formats.outgoing import Outgoing
from lsr.index.formats.vector_file import ROWS, Batch, ReadOptions, VectorFile, checked_batch, checked_dim

__all__ = ["open_seismic_bin", "write_seismic_bin"]

Words = npt.NDArray[np.uint32]


def open_seismic_bin(path: Path, options: ReadOptions) -> VectorFile:
    """Maps a .bin file. It does not say its dim: the largest component + 1, unless `options` say it."""
    name, data = shown(path), mapped(path)
    if len(data) < 4 or len(data) % 4:
        raise CorpusError(f"{name}: {len(data):,} bytes are no file of 4-byte numbers; is it complete, and Seismic's?")
    words: Words = data.view("<u4")
    starts = _starts(words, name)
    highest = max((int(terms.max()) for _, terms, _ in _parts(words, starts) if len(terms)), default=-1)
    dim = checked_dim(highest + 1, options, name)

    def read() -> Iterator[Batch]:
        first = 0
        for lengths, terms, weights in _parts(words, starts):
            yield Batch(
                checked_batch(
                    lengths,
                    terms,
                    weights,
                    dim,
                    place=lambda row, first=first: f"{name}: vector {first + row:,}",  # type: ignore[misc]
                    scale=options.scale,
                    rising=True,
                )
            )
            first += len(lengths)

    return VectorFile(name=name, dim=dim, read=read, documents=len(starts) - 1)


def _starts(words: Words, name: str) -> npt.NDArray[np.int64]:
    """Where each vector starts [n + 1], after all lengths were compared with the file."""
    count = words.item(0)
    if count >= len(words):
        raise CorpusError(
            f"{name}: claims {count:,} vectors in {4 * len(words):,} bytes; is it complete, and Seismic's?"
        )
    starts = np.empty(count + 1, np.int64)
    at = 1
    for vector in range(count):
        starts[vector] = at
        at += 1 + 2 * words.item(at) if at < len(words) else 1
        if at > len(words):
            raise CorpusError(f"{name}: ends within vector {vector:,} of {count:,}; is the file complete?")
    if at != len(words):
        raise CorpusError(f"{name}: {4 * (len(words) - at):,} bytes follow the last of its {count:,} vectors")
    starts[count] = at
    return starts


def _parts(
    words: Words, starts: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], Words, npt.NDArray[np.float32]]]:
    """(lengths, components, values) of some vectors at a time."""
    for first in range(0, len(starts) - 1, ROWS):
        part = starts[first : first + ROWS + 1]
        lengths = (np.diff(part) - 1) // 2
        block = np.array(words[part[0] : part[-1]])
        begins = part[:-1] - part[0] + 1
        inner = np.repeat(begins - (np.cumsum(lengths) - lengths), lengths) + np.arange(int(lengths.sum()))
        yield lengths, block[inner], block[inner + np.repeat(lengths, lengths)].view("<f4")


def write_seismic_bin(file: BinaryIO, out: Outgoing) -> None:
    """Writes a .bin file. Ids and dim are lost: a document is known by its place."""
    if out.documents >= 1 << 32:
        raise InvalidInput(f"{out.name}: {out.documents:,} documents; Seismic's .bin holds up to {(1 << 32) - 1:,}")
    file.write(np.array([out.documents], "<u4").tobytes())
    for vectors in out.batches():
        lengths = np.diff(vectors.indptr)
        block = np.empty(len(lengths) + 2 * vectors.nnz, "<u4")
        begins = np.arange(len(lengths)) + 2 * vectors.indptr[:-1]
        block[begins] = lengths
        inner = np.repeat(begins + 1 - vectors.indptr[:-1], lengths) + np.arange(vectors.nnz)
        block[inner] = vectors.indices
        block[inner + np.repeat(lengths, lengths)] = vectors.values.astype("<f4").view("<u4")
        file.write(block.tobytes())
