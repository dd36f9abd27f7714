"""Sparse teachers: any learned sparse encoder, its vectors kept on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache as once
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lsr.encoders import load_encoder
from lsr.encoders.libraries import checked_device
from lsr.encoders.rows import heaviest
from lsr.errors import InvalidInput
from lsr.sparse import SparseVectors
from lsr.training.cache import Cache, texts_hash
from lsr.training.teachers.teacher import MatrixTeacher, checked_texts

__all__ = ["SparseScores", "SparseTeacher", "cached_vectors", "check_max_terms"]

TEXTS = 2048  # encoded at a time
# Numbers of a batch of documents over the terms of the queries, held at a time.
NUMBERS = 1 << 27
# So many columns are made without asking the device how many there are, which would wait for it.
COLUMNS = 8192


@dataclass(frozen=True)
class _Padded:
    """Sparse vectors as two arrays [N, M], padded with the term `dim` of weight 0."""

    terms: torch.Tensor  # int32
    weights: torch.Tensor
    dim: int

    @classmethod
    def of(cls, vectors: SparseVectors, device: torch.device) -> _Padded:
        lengths = np.diff(vectors.indptr)
        width = max(int(lengths.max(initial=0)), 1)
        rows = np.repeat(np.arange(len(vectors)), lengths)
        columns = np.arange(vectors.nnz) - np.repeat(vectors.indptr[:-1], lengths)
        terms = np.full((len(vectors), width), vectors.dim, np.int32)
        weights = np.zeros((len(vectors), width), np.float32)
        terms[rows, columns], weights[rows, columns] = vectors.indices, vectors.values
        half = device.type != "cpu" and vectors.values.max(initial=0) < 6e4  # in a float16's range
        kept = torch.from_numpy(weights)
        return cls(torch.from_numpy(terms).to(device), (kept.half() if half else kept).to(device), vectors.dim)

    def __getitem__(self, rows: torch.Tensor) -> _Padded:
        rows = rows.to(self.terms.device)
        return _Padded(self.terms[rows], self.weights[rows], self.dim)

    def scattered(self, columns: torch.Tensor, width: int) -> torch.Tensor:
        """float32 [N, width]: the weights of the terms that have a column (int64 [dim + 1]; `width` where they have none)."""
        spread = torch.zeros((len(self.terms), width + 1), device=self.terms.device)
        # The terms of a row are distinct, but for the padding, whose weight is 0; what shares the last column is thrown away.
        spread.scatter_(1, columns[self.terms.long()], self.weights.float())
        return spread[:, :width]


class SparseScores(MatrixTeacher):
    """Products of sparse vectors on a device: what `SparseTeacher` and `BM25Teacher` have in common.

    Only the terms of the queries asked about are spread out, so that nothing of the size of the vocabulary is multiplied.
    """

    floor = 0.0

    def __init__(self, device: str | torch.device) -> None:
        self.device = checked_device(device)
        self._sides: tuple[_Padded, _Padded] | None = None

    def keep(self, queries: SparseVectors, documents: SparseVectors) -> None:
        """Brings the vectors to the device: float16 on a GPU, float32 on the CPU."""
        self._sides = _Padded.of(queries, self.device), _Padded.of(documents, self.device)

    @property
    def vectors(self) -> tuple[SparseVectors, SparseVectors]:
        """The vectors of queries and documents as they are kept."""
        queries, documents = self._kept()
        return _unpadded(queries), _unpadded(documents)

    def weights(self, documents: torch.Tensor) -> torch.Tensor:
        """The vectors of documents (rows int64 [n] on the device), float32 [n, V]."""
        found = self._kept()[1][documents]
        return found.scattered(torch.arange(found.dim + 1, device=self.device), found.dim)

    def matrix(self, queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        all_queries, all_documents = self._kept()
        asked = all_queries[queries]
        used = torch.zeros(asked.dim + 1, dtype=torch.bool, device=self.device)
        used[asked.terms.reshape(-1).long()] = True
        numbers = used.cumsum(0)
        width = min(asked.terms.numel(), asked.dim)
        if width > COLUMNS:
            width = max(int(numbers[-1]), 1)
        columns = torch.where(used, numbers - 1, width)
        left = asked.scattered(columns, width)
        step = max(NUMBERS // (width + 1), 1)
        parts = [
            left @ all_documents[documents[first : first + step]].scattered(columns, width).T
            for first in range(0, len(documents), step)
        ]
        return torch.cat(parts, dim=1) if parts else torch.zeros((len(queries), 0), device=self.device)

    def _kept(self) -> tuple[_Padded, _Padded]:
        if self._sides is None:
            raise InvalidInput(f"the teacher {self.name} has no vectors yet: prepare comes first")
        return self._sides


class SparseTeacher(SparseScores):
    """Scores of a learned sparse encoder, siamese or inference-free.

    model: name, folder or hub id, as `lsr.load_encoder` takes it. max_terms: the heaviest terms of a text that are kept.
    max_length: tokens that are read of a document. precision: see `lsr.load_encoder`.

    Raises as `lsr.load_encoder` does.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str | torch.device,
        max_terms: int = 256,
        precision: str | None = None,
        max_length: int | None = None,
        trust_remote_code: bool = False,
        cache: Cache | None = None,
    ) -> None:
        super().__init__(device)
        check_max_terms(max_terms)
        self._max_terms, self._cache = max_terms, cache or Cache(None)
        encoder = load_encoder(model, trust_remote_code=trust_remote_code)
        exported, self.vocabulary = encoder.is_export, encoder.vocabulary
        self._options: Mapping[str, Any] = {
            "device": None if exported else str(self.device),  # an export, as lsr-tiny is, runs on the CPU
            "precision": precision,
            "max_length": max_length,
            "trust_remote_code": trust_remote_code,
        }
        self._model = model
        self.name = load_encoder(model, **self._options).name

    def prepare(self, queries: Sequence[str], documents: Sequence[str]) -> None:
        encoder = load_encoder(
            self._model, **self._options
        )  # its networks are read when they are used, and go at the end
        facts = {"encoder": encoder.hash, "name": self.name, **encoder.reading, "max_terms": self._max_terms}

        def encoded(side: str, texts: list[str]) -> SparseVectors:
            if side == "query":
                return heaviest(encoder.encode_query(texts), self._max_terms)
            parts = (texts[first : first + TEXTS] for first in range(0, len(texts), TEXTS))
            return heaviest(SparseVectors.concat(list(encoder.encode_parts(parts))), self._max_terms)

        kept, keys = [], {}
        for side, texts in (("query", queries), ("document", documents)):
            checked = checked_texts(texts, f"{side} texts")
            keys[side] = {"what": "sparse vectors", **facts, "side": side, "texts": texts_hash(checked)}
            kept.append(cached_vectors(self._cache, keys[side], encoder.dim, partial(encoded, side, checked)))
        self.keep(*kept)
        self.key = {"what": "sparse scores", **keys}


def cached_vectors(
    cache: Cache, key: Mapping[str, Any], dim: int | None, make: Callable[[], SparseVectors]
) -> SparseVectors:
    """Sparse vectors as three arrays of a cache, and their dim where the caller does not know it (None) as a fourth."""
    made = once(make)
    indptr, indices, values = (
        cache.array({**key, "part": part}, lambda p=part: getattr(made(), p))  # type: ignore[misc]
        for part in ("indptr", "indices", "values")
    )
    if dim is None:
        dim = int(cache.array({**key, "part": "dim"}, lambda: np.array([made().dim]))[0])
    return SparseVectors(indptr=indptr, indices=indices, values=values, dim=dim)


def check_max_terms(max_terms: int) -> None:
    if max_terms < 1:
        raise InvalidInput(f"max_terms is {max_terms}: it must be 1 or more")


def _unpadded(padded: _Padded) -> SparseVectors:
    terms, weights = padded.terms.cpu().numpy(), padded.weights.float().cpu().numpy()
    real = weights > 0  # a float16 may have lost what is too small for it
    indptr = np.concatenate([[0], np.cumsum(real.sum(axis=1))])
    return SparseVectors(indptr=indptr, indices=terms[real], values=weights[real], dim=padded.dim)
