"""What a codec costs and loses, measured on a sample of the documents when a store is built."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lsr.errors import InvalidInput
from lsr.rerank.codecs import Codec, codec_class
from lsr.rerank.codecs.scoring import Floats
from lsr.rerank.token_vectors import TokenVectors

__all__ = ["CodecReport", "DocumentSample", "codec_report"]

_K = 10
_QUERIES = 50
_QUERY_TOKENS = 32
_DOCUMENTS = 500


@dataclass(frozen=True, slots=True)
class CodecReport:
    """A codec beside f16, on documents of the store as queries against others.

    documents, queries: of the sample; bytes_per_token; mean_score, mean_error, max_error: of MaxSim, the errors beside f16;
    overlap: the share of the ten best by f16 that are among the ten best.
    """

    documents: int
    queries: int
    bytes_per_token: int
    mean_score: float
    mean_error: float
    max_error: float
    overlap: float

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> CodecReport:
        """Raises KeyError, TypeError or ValueError for what is none."""
        values = {field.name: body[field.name] for field in fields(cls)}
        for name, value in values.items():
            whole = name in ("documents", "queries", "bytes_per_token")
            if (
                isinstance(value, bool)
                or not isinstance(value, int if whole else int | float)
                or not math.isfinite(value)
            ):
                raise ValueError(f"{name} {value!r}")
        return cls(**values)


class DocumentSample:
    """A sample of the documents that come by, each of which is as likely to be in it as any other (Vitter's algorithm R)."""

    def __init__(self, seed: int, size: int = _DOCUMENTS) -> None:
        self._generator, self._size, self._seen = np.random.default_rng(seed), size, 0
        self._held: list[Floats] = []

    def add(self, vectors: TokenVectors, first: int = 0) -> None:
        """Documents of a batch, from `first` on. Those without a token are passed over."""
        some = first + np.flatnonzero(np.diff(vectors.offsets[first:]))
        places = self._generator.integers(0, self._seen + 1 + np.arange(len(some)))
        for row, place in zip(some.tolist(), places.tolist(), strict=True):
            full = len(self._held) == self._size
            if not full or place < self._size:
                document = vectors.vectors[vectors.offsets[row] : vectors.offsets[row + 1]].copy()
                if full:
                    self._held[place] = document
                else:
                    self._held.append(document)
        self._seen += len(some)

    def vectors(self) -> TokenVectors | None:
        """The sample; None where it is empty."""
        if not self._held:
            return None
        offsets = np.cumsum([0, *map(len, self._held)], dtype=np.int64)
        return TokenVectors(offsets, np.concatenate(self._held))


def codec_report(
    codec: Codec, sample: TokenVectors, *, queries: int = _QUERIES, query_tokens: int = _QUERY_TOKENS
) -> CodecReport | None:
    """Scores the first tokens of the first documents of a sample against all others of it, by a codec and by f16.

    None where there are not two documents with tokens, or f16 cannot hold them.
    """
    filled = np.flatnonzero(np.diff(sample.offsets))
    if len(filled) < 2:
        return None
    try:
        exact = codec_class("f16")(sample.dim)
        known = exact.over(exact.encode(sample.vectors), sample.offsets)
    except InvalidInput:
        return None
    stored = codec.over(codec.encode(sample.vectors), sample.offsets)
    scores, errors, overlaps = [], [], []
    asked = filled[:queries].tolist()
    for row in asked:
        start, end = sample.offsets[row : row + 2].tolist()
        query, others = sample.vectors[start : min(end, start + query_tokens)], filled[filled != row]
        wanted, found = known.score(query, others), stored.score(query, others)
        best, ours = (set(np.argsort(-each, kind="stable")[:_K].tolist()) for each in (wanted, found))
        scores.append(wanted.astype(np.float64))
        errors.append(np.abs(found.astype(np.float64) - wanted))
        overlaps.append(len(best & ours) / len(best))
    return CodecReport(
        documents=len(filled),
        queries=len(asked),
        bytes_per_token=codec.bytes_per_token,
        mean_score=float(np.mean(np.concatenate(scores))),
        mean_error=float(np.mean(np.concatenate(errors))),
        max_error=float(np.max(np.concatenate(errors))),
        overlap=float(np.mean(overlaps)),
    )
