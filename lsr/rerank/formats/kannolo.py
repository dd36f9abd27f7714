"""kANNolo's folders of token vectors, as its `hnsw_rerank_search` reads them.

    doclens.npy             int32 [documents]: tokens of each document
    documents.npy           [tokens, dim]: the bits of float16 as uint16, or numbers that say what they are

and with two-level product quantisation, instead of the latter,

    centroids.npy           float32 [centroids, dim]
    index_assignment.npy    uint64 [tokens]: the centroid of each
    pq_centroids.npy        float32 [parts * 256 * dim / parts], flat
    residuals.npy           uint8 [tokens, parts]

where a vector is its centroid plus its parts; nothing is brought to unit length.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from lsr.corpus.streams import shown
from lsr.errors import CorpusError
from lsr.rerank.codecs.scoring import Floats
from lsr.rerank.formats.token_file import TokenFile, checked_lengths, read_npy

__all__ = ["open_kannolo", "open_kannolo_pq"]


def open_kannolo(folder: Path) -> TokenFile:
    """The plain form."""
    lengths, path = _lengths(folder), folder / "documents.npy"
    vectors = read_npy(path, "fu", 2)
    if vectors.dtype == np.uint16:
        vectors = vectors.view(np.float16)
    if vectors.dtype.kind != "f":
        raise CorpusError(
            f"{shown(path)}: is {vectors.dtype}; it must be float32, float16, or the bits of float16 as uint16"
        )
    _check_tokens(len(vectors), lengths, path)

    def read(first: int, last: int) -> Floats:
        return np.asarray(vectors[first:last], np.float32)

    return TokenFile(shown(folder), "kANNolo", vectors.shape[1], lengths, read)


def open_kannolo_pq(folder: Path) -> TokenFile:
    """The form with two-level product quantisation."""
    lengths = _lengths(folder)
    centroids = np.asarray(read_npy(folder / "centroids.npy", "f", 2), np.float32)
    assignment = read_npy(folder / "index_assignment.npy", "iu", 1)
    codes = read_npy(folder / "residuals.npy", "u", 2)
    numbers = np.asarray(read_npy(folder / "pq_centroids.npy", "f", 1), np.float32)
    dim, parts = centroids.shape[1], codes.shape[1]
    if codes.dtype != np.uint8 or parts == 0 or dim % parts or len(numbers) != 256 * dim:
        raise CorpusError(
            f"{shown(folder)}: {len(numbers):,} numbers in pq_centroids.npy, and {parts} parts of {codes.dtype} in"
            f" residuals.npy, do not fit {dim} dimensions: 256 centroids a part make {256 * dim:,}"
        )
    _check_tokens(len(assignment), lengths, folder / "index_assignment.npy")
    _check_tokens(len(codes), lengths, folder / "residuals.npy")
    table = numbers.reshape(parts, 256, dim // parts)

    def read(first: int, last: int) -> Floats:
        near = assignment[first:last]
        if len(near) and not 0 <= int(near.min()) <= int(near.max()) < len(centroids):
            raise CorpusError(
                f"{shown(folder / 'index_assignment.npy')}: names a centroid that is none of {len(centroids):,}"
            )
        rest = table[np.arange(parts), codes[first:last]].reshape(len(near), dim)
        vectors: Floats = centroids[near.astype(np.int64)] + rest
        return vectors

    return TokenFile(shown(folder), "kANNolo, two-level PQ", dim, lengths, read)


def _lengths(folder: Path) -> npt.NDArray[np.int64]:
    path = folder / "doclens.npy"
    return checked_lengths(read_npy(path, "iu", 1), shown(path))


def _check_tokens(found: int, lengths: npt.NDArray[np.int64], path: Path) -> None:
    if found != lengths.sum():
        raise CorpusError(
            f"{shown(path)}: holds {found:,} tokens, and doclens.npy of {int(lengths.sum()):,}; the folder is not whole, copy"
            " it again"
        )
