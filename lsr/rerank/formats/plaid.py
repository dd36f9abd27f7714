"""PLAID: a centroid and a residual of 1 to 8 bits a number, in chunks of documents.

ColBERT and PyLate keep tensors of torch, fast-plaid the same as arrays of numpy; from 1.7 on it keeps all chunks in one file,
padded at its end.

    metadata.json                                    num_chunks, num_embeddings, nbits (ColBERT: config.nbits)
    doclens.N.json                                   tokens of each document of chunk N
    centroids.pt | centroids.npy                     [centroids, dim]
    buckets.pt (cutoffs, weights) | bucket_weights.npy       [2^nbits]: what the bits of a number stand for
    N.codes.pt | N.codes.npy | merged_codes.npy      centroid of each token
    N.residuals.pt | N.residuals.npy | merged_residuals.npy  uint8 [tokens, dim * nbits / 8]

The numbers of a byte begin with its highest bits; in each the lowest bit stands first. A vector is centroid plus weights,
brought to unit length (Santhanam et al. 2022, section 3.3; `ResidualCodec` of the libraries).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.corpus.streams import shown
from lsr.errors import CorpusError
from lsr.rerank.codecs.scoring import Floats
from lsr.rerank.formats.token_file import TokenFile, checked_lengths, read_json, read_npy, read_pt

__all__ = ["open_fast_plaid", "open_plaid"]

LARGEST = 1 << 20  # chunks

Array = npt.NDArray[Any]
Chunk = tuple[Array, Array]  # codes [tokens], residuals uint8 [tokens, bytes]


def open_plaid(folder: Path) -> TokenFile:
    """A store of ColBERT, or of PyLate over it. Needs torch."""
    metadata = _metadata(folder)
    config = metadata.get("config")
    bits = config.get("nbits") if isinstance(config, dict) else None
    (centroids,) = read_pt(folder / "centroids.pt", [("f", 2)])
    _, weights = read_pt(folder / "buckets.pt", [("f", 1), ("f", 1)])

    def chunk(number: int) -> Chunk:
        (codes,) = read_pt(folder / f"{number}.codes.pt", [("iu", 1)])
        (residuals,) = read_pt(folder / f"{number}.residuals.pt", [("u", 2)])
        return codes, residuals

    return _opened(folder, "PLAID", metadata, _Decoder(folder, centroids, weights, bits), chunk)


def open_fast_plaid(folder: Path) -> TokenFile:
    """A store of fast-plaid, or of PyLate over it."""
    metadata = _metadata(folder)
    centroids = read_npy(folder / "centroids.npy", "f", 2)
    weights = read_npy(folder / "bucket_weights.npy", "f", 1)

    def chunk(number: int) -> Chunk:
        codes = read_npy(folder / f"{number}.codes.npy", "iu", 1)
        return codes, read_npy(folder / f"{number}.residuals.npy", "u", 2)

    def merged(_: int) -> Chunk:
        codes = read_npy(folder / "merged_codes.npy", "iu", 1)
        return codes, read_npy(folder / "merged_residuals.npy", "u", 2)

    decoder = _Decoder(folder, centroids, weights, metadata.get("nbits"))
    there = [(folder / f"{number}.codes.npy").exists() for number in range(metadata["num_chunks"])]
    if any(there) and not all(
        there
    ):  # what was written last is not merged yet: which rows are the newest, it alone knows
        raise CorpusError(
            f"{shown(folder)}: chunk {there.index(False)} is merged and others are not; open it with fast-plaid once"
        )
    if all(there):
        return _opened(folder, "fast-plaid", metadata, decoder, chunk)
    return _opened(folder, "fast-plaid", metadata, decoder, merged, merged=True)


def _metadata(folder: Path) -> dict[str, Any]:
    path = folder / "metadata.json"
    metadata = read_json(path)
    chunks = metadata.get("num_chunks") if isinstance(metadata, dict) else None
    if type(chunks) is not int or not 0 <= chunks <= LARGEST:
        raise CorpusError(f"{shown(path)}: does not say how many chunks there are (num_chunks)")
    found: dict[str, Any] = metadata
    return found


def _opened(
    folder: Path,
    layout: str,
    metadata: dict[str, Any],
    decoder: _Decoder,
    chunk: Callable[[int], Chunk],
    *,
    merged: bool = False,
) -> TokenFile:
    paths = [folder / f"doclens.{number}.json" for number in range(metadata["num_chunks"])]
    parts = [checked_lengths(read_json(path), shown(path)) for path in paths]
    lengths = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    # ColBERT's updater counts all tokens once more each time (num_embeddings), so there the codes alone are compared.
    counts = {"num_embeddings": int(lengths.sum()), "num_documents": len(lengths)} if layout == "fast-plaid" else {}
    for key, count in counts.items():
        claimed = metadata.get(key, count)
        if claimed != count:
            path = shown(folder / "metadata.json")
            raise CorpusError(f"{path}: {key} is {claimed!r}, and the doclens files come to {count:,}")
    sizes = [int(lengths.sum())] if merged else [int(part.sum()) for part in parts]
    padding = int(lengths.max()) if merged and len(lengths) else 0
    tokens = _ResidualTokens(folder, decoder, sizes, chunk, padding)
    return TokenFile(shown(folder), layout, decoder.dim, lengths, tokens.read)


class _Decoder:
    """Codes and residuals to vectors."""

    def __init__(self, folder: Path, centroids: Array, weights: Array, bits: Any) -> None:
        if type(bits) is not int or bits not in (1, 2, 4, 8):
            raise CorpusError(f"{shown(folder / 'metadata.json')}: nbits is {bits!r}: it must be 1, 2, 4 or 8")
        self.dim = int(centroids.shape[1])
        self.width = self.dim * bits // 8
        if self.dim == 0 or self.dim * bits % 8:
            raise CorpusError(f"{shown(folder)}: {self.dim} numbers of {bits} bits each are no whole bytes")
        if len(weights) != 1 << bits:
            raise CorpusError(
                f"{shown(folder)}: {len(weights)} bucket weights for {bits} bits: there must be {1 << bits}"
            )
        self._centroids = np.asarray(centroids, np.float32)
        bytes_ = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)  # [256, 8], highest bit first
        numbers = (bytes_.reshape(256, 8 // bits, bits).astype(np.int64) << np.arange(bits)).sum(axis=2)
        self._table = np.asarray(weights, np.float32)[numbers]  # [256, numbers of a byte]
        if not (np.isfinite(self._centroids).all() and np.isfinite(self._table).all()):
            raise CorpusError(f"{shown(folder)}: a centroid or a bucket weight is no finite number")

    def decode(self, codes: Array, residuals: Array, where: str) -> Floats:
        if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < len(self._centroids):
            wrong = codes.min() if codes.min() < 0 else codes.max()
            raise CorpusError(f"{where}: names centroid {wrong} of {len(self._centroids)}")
        vectors: Floats = self._centroids[codes] + self._table[residuals].reshape(len(codes), self.dim)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
        return vectors


class _ResidualTokens:
    """Tokens by their numbers over all chunks; one chunk is open at a time."""

    def __init__(
        self, folder: Path, decoder: _Decoder, sizes: list[int], chunk: Callable[[int], Chunk], padding: int
    ) -> None:
        self._folder, self._decoder, self._chunk, self._padding = folder, decoder, chunk, padding
        self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.array(sizes, np.int64))])
        self._open: tuple[int, Chunk] | None = None

    def read(self, first: int, last: int) -> Floats:
        parts = [np.zeros((0, self._decoder.dim), np.float32)]
        for number in range(len(self._starts) - 1):
            low, high = max(first, int(self._starts[number])), min(last, int(self._starts[number + 1]))
            if low < high:
                codes, residuals = self._opened(number)
                start = int(self._starts[number])
                rows = slice(low - start, high - start)
                parts.append(self._decoder.decode(codes[rows], residuals[rows], self._where(number)))
        return np.concatenate(parts)

    def _opened(self, number: int) -> Chunk:
        if self._open is None or self._open[0] != number:
            codes, residuals = self._chunk(number)
            tokens = int(self._starts[number + 1] - self._starts[number])
            if residuals.dtype != np.uint8 or residuals.shape[1] != self._decoder.width:
                form = f"{residuals.dtype} [.., {residuals.shape[1]}]"
                wanted = f"uint8 [.., {self._decoder.width}]"
                raise CorpusError(f"{self._where(number)}: residuals are {form}; they must be {wanted}")
            for name, array in (("codes", codes), ("residuals", residuals)):
                if not tokens <= len(array) <= tokens + self._padding:
                    raise CorpusError(
                        f"{self._where(number)}: {name} of {len(array):,} tokens, and doclens of {tokens:,}; the store is"
                        " not whole, copy it again"
                    )
            self._open = number, (codes, residuals)
        return self._open[1]

    def _where(self, number: int) -> str:
        return f"{shown(self._folder)}, {'merged chunks' if self._padding else f'chunk {number}'}"
