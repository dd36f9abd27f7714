"""A cross-encoder as a teacher: query and document through one network, a pair at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import xxhash

from lsr.encoders.libraries import fingerprint, named, open_cross_encoder
from lsr.errors import InvalidInput
from lsr.training.cache import Cache, texts_hash
from lsr.training.teachers.teacher import Floats, PairTeacher, Rows, checked_texts

__all__ = ["CACHED_FROM", "CrossEncoderTeacher"]

CACHED_FROM = 4096  # pairs asked for at once: fewer are those of a training step, which never come again


class CrossEncoderTeacher(PairTeacher):
    """Scores are the logits of a cross-encoder of sentence-transformers, before any activation.

    model: a folder, or a hub id (owner/name, owner/name@revision). max_length: tokens of a pair that are read; the model's
    own limit when None. precision: as `DenseTeacher`. Calls of 4,096 pairs or more are kept in the cache.

    Raises `EncoderNotFound`, `EncoderError` for a model of another kind or one with several outputs, `InvalidInput`,
    `MissingExtra`.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str | torch.device,
        precision: str | None = None,
        batch: int = 64,
        max_length: int | None = None,
        trust_remote_code: bool = False,
        cache: Cache | None = None,
    ) -> None:
        folder, self.name, there, dtype = named(
            model, device, precision, batch, max_length, trust_remote_code=trust_remote_code
        )
        self._score = open_cross_encoder(folder, there, dtype, max_length, trust_remote_code=trust_remote_code)
        self._batch, self._cache = batch, cache or Cache(None)
        self._facts = {"what": "cross-encoder scores", "model": fingerprint(folder), "name": self.name}
        self._facts |= {"max_length": str(max_length), "precision": str(dtype)}
        self._queries: list[str] = []
        self._documents: list[str] = []

    def prepare(self, queries: Sequence[str], documents: Sequence[str]) -> None:
        self._queries = checked_texts(queries, "query texts")
        self._documents = checked_texts(documents, "document texts")
        self.key = {**self._facts, "queries": texts_hash(self._queries), "documents": texts_hash(self._documents)}

    def pairs(self, queries: Rows, documents: Rows) -> Floats:
        if not self._documents:
            raise InvalidInput(f"the teacher {self.name} has no texts yet: prepare comes first")
        if len(queries) < CACHED_FROM:
            return self._scores(queries, documents)
        asked = xxhash.xxh3_128_hexdigest(np.ascontiguousarray(np.stack([queries, documents]), "<i8").tobytes())
        return self._cache.array({**self.key, "pairs": asked}, partial(self._scores, queries, documents))

    def _scores(self, queries: Rows, documents: Rows) -> Floats:
        if not len(queries):
            return np.zeros(0, np.float32)
        asked = [
            (self._queries[query], self._documents[document])
            for query, document in zip(queries.tolist(), documents.tolist(), strict=True)
        ]
        scores = self._score(asked, self._batch)
        if not np.isfinite(scores).all():
            raise InvalidInput(f"{self.name}: gives scores that are no numbers; try precision 'fp32'")
        return scores
