"""Looking inside vectors: where a term came from, what the terms are, and whether an encoder has collapsed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.encoders.model import Engine
from lsr.encoders.tokenizer import load_tokenizer, valid_text
from lsr.encoders.vocabulary import Vocabulary
from lsr.errors import InvalidInput
from lsr.sparse import SparseVectors

__all__ = ["Statistics", "TermOrigin", "decode", "explain", "flops", "statistics"]

# Documents of real encoders have 50 to 400 terms of 30,522; every 20th term of the vocabulary is no sparse vector any more.
DENSE_SHARE = 0.05
# Of texts with words in them; a text may well be "---".
DEAD_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class TermOrigin:
    """A term of a text with the position that gave it its weight.

    `position` counts tokens from 0, special ones included; `piece` is text[start:end], what that token stands for: empty for
    special tokens, and those of a prompt before the text. Latents of an autoencoder come from the whole text: their position
    is -1.
    """

    term: int
    token: str
    weight: float
    position: int
    piece: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """How sparse a batch of vectors is.

    `terms` is the mean number of terms a vector, `flops` the mean number of products when two of them are scored (sum over
    terms of the square of the share of vectors that have it: Paria et al. 2020), `empty` the number of empty vectors, `used`
    that of terms which occur at all.
    """

    vectors: int
    dim: int
    terms: float
    flops: float
    empty: int
    used: int

    @property
    def collapse(self) -> str | None:
        """What is wrong, when the vectors are dead or dense; None when they look sound."""
        if self.vectors and self.empty > DEAD_SHARE * self.vectors:
            return f"{self.empty:,} of {self.vectors:,} vectors are empty: is this the right model for the texts?"
        if self.terms > DENSE_SHARE * self.dim and self.terms > 1000:
            return (
                f"{self.terms:,.0f} terms a vector, of {self.dim:,}: nearly dense, so slow and large; is it a sparse model, "
                "with the right activation?"
            )
        return None


def statistics(vectors: SparseVectors) -> Statistics:
    """The statistics of a batch."""
    return counted(np.diff(vectors.indptr), np.bincount(vectors.indices, minlength=vectors.dim))


def counted(lengths: npt.NDArray[np.integer[Any]], frequencies: npt.NDArray[np.integer[Any]]) -> Statistics:
    """The statistics from the number of terms of each vector, and of vectors of each term [dim]."""
    n = len(lengths)
    share = frequencies / max(n, 1)
    return Statistics(
        vectors=n,
        dim=len(frequencies),
        terms=float(lengths.mean()) if n else 0.0,
        flops=float(share @ share),
        empty=int((lengths == 0).sum()),
        used=int((frequencies > 0).sum()),
    )


def flops(queries: SparseVectors, documents: SparseVectors) -> float:
    """Mean number of products when a query is scored against a document. Raises `InvalidInput` for different dim."""
    if queries.dim != documents.dim:
        raise InvalidInput(f"queries have {queries.dim:,} dimensions, documents {documents.dim:,}")
    a, b = (np.bincount(v.indices, minlength=v.dim) / max(len(v), 1) for v in (queries, documents))
    return float(a @ b)


def decode(vectors: SparseVectors, vocabulary: Vocabulary, top_k: int | None) -> list[list[tuple[str, float]]]:
    """The terms of each vector as text with their weights, heaviest first."""
    decoded = []
    for terms, weights in vectors:
        order = np.argsort(-weights, kind="stable")[:top_k]
        decoded.append([(vocabulary.token(int(terms[i])), float(weights[i])) for i in order])
    return decoded


def explain(
    engine: Engine,
    tokenizer_json: str,
    vocabulary: Vocabulary,
    text: str,
    max_length: int,
    prompt: str,
    top_k: int | None,
) -> list[TermOrigin]:
    """See `Encoder.explain`."""
    tokenizer = load_tokenizer(tokenizer_json)
    added = tokenizer.num_special_tokens_to_add(False)
    tokenizer.enable_truncation(max_length)
    read = valid_text(text)
    encoding = tokenizer.encode(prompt + read)
    if len(encoding.ids) <= added:
        return []
    ids = np.array(encoding.ids, np.int64)
    ((terms, weights),) = engine.encode(ids[None], np.array([len(ids)], np.int64))
    order = np.argsort(-weights, kind="stable")[:top_k]
    positions = engine.positions(ids, terms[order].astype(np.int64))
    origins = []
    for at, position in zip(order.tolist(), positions.tolist(), strict=True):
        start, end = encoding.offsets[position] if position >= 0 else (0, 0)
        start, end = (max(0, place - len(prompt)) for place in (start, end))  # (0, 0) for a token of the prompt
        origins.append(
            TermOrigin(
                term=int(terms[at]),
                token=vocabulary.token(int(terms[at])),
                weight=float(weights[at]),
                position=position,
                piece=read[start:end],
                start=start,
                end=end,
            )
        )
    return origins
