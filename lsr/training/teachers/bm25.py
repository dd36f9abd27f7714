"""BM25 as a teacher: what words alone tell, beside what networks tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache as once
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xxhash
from scipy.sparse import csr_array

from lsr.encoders.rows import heaviest
from lsr.encoders.tokenizer import load_tokenizer, tokenizing
from lsr.encoders.vocabulary import Vocabulary
from lsr.errors import InvalidInput, MissingExtra
from lsr.sparse import SparseVectors
from lsr.training.cache import Cache, texts_hash
from lsr.training.teachers.sparse import SparseScores, cached_vectors, check_max_terms
from lsr.training.teachers.teacher import checked_texts

__all__ = ["BM25Teacher"]

TEXTS = 4096  # tokenised at a time
TOKENS = ("stems", "wordpieces")

Tokenize = Callable[[Sequence[str]], Iterable[list[int]]]


class BM25Teacher(SparseScores):
    """BM25 in Lucene's form (Kamphuis et al. 2020) over the documents it is prepared with.

    A document weighs a term by tf / (tf + k1 (1 - b + b length / mean length)), a query by its number of occurrences times
    idf = log(1 + (N - df + 0.5) / (df + 0.5)), as bm25s (Lù 2024) does.

    tokens: "stems", the words of bm25s without English stop words, with Snowball's English stemmer; or "wordpieces" of the
      tokenizer whose tokenizer.json has the text `tokenizer_json`, special and unknown tokens left out.
    k1, b: those of Pyserini's published figures.
    max_terms: the terms of a document that are kept, those that can add most to a score.

    Raises `InvalidInput` for arguments out of range, `EncoderError` for an unreadable tokenizer, `MissingExtra` for stems
    without bm25s and PyStemmer.
    """

    def __init__(
        self,
        *,
        device: str | torch.device,
        k1: float = 0.9,
        b: float = 0.4,
        tokens: str = "stems",
        tokenizer_json: str | None = None,
        max_terms: int = 512,
        cache: Cache | None = None,
    ) -> None:
        super().__init__(device)
        if not (0 <= k1 < 1e6 and 0 <= b <= 1):
            raise InvalidInput(f"BM25 with k1 {k1:g} and b {b:g}: k1 must be 0 or more, and b lie between 0 and 1")
        if tokens not in TOKENS:
            raise InvalidInput(f"tokens is {tokens!r}: it must be one of {', '.join(TOKENS)}")
        if (tokenizer_json is not None) != (tokens == "wordpieces"):
            raise InvalidInput("a tokenizer_json goes with tokens='wordpieces', and wordpieces need one")
        check_max_terms(max_terms)
        self.name = f"BM25 on {tokens}"
        self._k1, self._b, self._max_terms, self._cache = k1, b, max_terms, cache or Cache(None)
        self._facts: dict[str, Any] = {"k1": k1, "b": b, "tokens": tokens, "max_terms": max_terms}
        if tokenizer_json is None:
            self._tokenizer: _Stems | _WordPieces = _Stems()
            self._facts["bm25s"] = self._tokenizer.version
        else:
            self._tokenizer = _WordPieces(tokenizer_json)
            self._facts["tokenizer"] = xxhash.xxh3_128_hexdigest(tokenizer_json.encode())

    def prepare(self, queries: Sequence[str], documents: Sequence[str]) -> None:
        asked, given = checked_texts(queries, "query texts"), checked_texts(documents, "document texts")
        # The weights of queries depend on the documents too.
        facts = {**self._facts, "queries": texts_hash(asked), "documents": texts_hash(given)}
        made = once(lambda: self._vectors(asked, given))
        kept = [
            cached_vectors(self._cache, {"what": "BM25 vectors", **facts, "side": side}, None, lambda at=at: made()[at])  # type: ignore[misc]
            for at, side in enumerate(("query", "document"))
        ]
        self.keep(*kept)
        self.key = {"what": "BM25 scores", **facts}

    def _vectors(self, queries: list[str], documents: list[str]) -> tuple[SparseVectors, SparseVectors]:
        counts = _counted(self._tokenizer.documents(documents))
        asked = _counted(self._tokenizer.queries(queries))
        dim = self._tokenizer.dim
        lengths = counts.sum(axis=1)
        mean = max(float(lengths.mean()), 1e-9)
        df = np.bincount(counts.indices, minlength=dim)
        idf = np.log1p((len(documents) - df + 0.5) / (df + 0.5))
        norms = np.repeat(self._k1 * (1 - self._b + self._b * lengths / mean), np.diff(counts.indptr))
        counts.data = counts.data / (counts.data + norms) * idf[counts.indices]
        # Chosen by what they can add to a score, then without the idf, which the query brings.
        chosen = heaviest(_sparse(counts, dim), self._max_terms)
        weights = chosen.values / idf[chosen.indices].astype(np.float32)
        asked.data = asked.data * idf[asked.indices]
        kept = SparseVectors(indptr=chosen.indptr, indices=chosen.indices, values=weights, dim=dim)
        return _sparse(asked, dim), kept


class _Stems:
    """Words by bm25s; a word that no document has is in no query."""

    def __init__(self) -> None:
        try:
            import bm25s
            import Stemmer
        except ImportError as error:
            raise MissingExtra(error.name or "bm25s", "train", "BM25 on stems as a teacher") from None
        self.version = str(bm25s.__version__)
        self._tokenizer: Any = bm25s.tokenization.Tokenizer(stemmer=Stemmer.Stemmer("english"), stopwords="en")

    @property
    def dim(self) -> int:
        return max(len(self._tokenizer.get_vocab_dict()), 1)

    def documents(self, texts: list[str]) -> Iterator[list[int]]:
        self._tokenizer.reset_vocab()
        yield from self._tokenizer.streaming_tokenize(texts, update_vocab=True, allow_empty=False)

    def queries(self, texts: list[str]) -> Iterator[list[int]]:
        yield from self._tokenizer.streaming_tokenize(texts, update_vocab=False, allow_empty=False)


class _WordPieces:
    def __init__(self, tokenizer_json: str) -> None:
        vocabulary = Vocabulary(tokenizer_json)
        self.dim, self._special = vocabulary.dim, vocabulary.special
        self._tokenizer = load_tokenizer(tokenizer_json)

    def documents(self, texts: list[str]) -> Iterator[list[int]]:
        for first in range(0, len(texts), TEXTS):
            with tokenizing:
                found: Any = self._tokenizer.encode_batch_fast(texts[first : first + TEXTS], add_special_tokens=False)
            yield from ([i for i in encoding.ids if i not in self._special] for encoding in found)

    queries = documents


def _counted(rows: Iterator[list[int]]) -> Any:
    """How often each row has each term: a scipy CSR array, its terms rising."""
    parts: list[npt.NDArray[np.int32]] = []
    lengths: list[int] = []
    batch: list[list[int]] = []
    for row in chain(rows, [None]):
        if row is not None:
            batch.append(row)
            lengths.append(len(row))
        if batch and (row is None or len(batch) == TEXTS):
            parts.append(np.fromiter(chain.from_iterable(batch), np.int32))
            batch = []
    indices = np.concatenate([np.zeros(0, np.int32), *parts])
    indptr = np.cumsum([0, *lengths], dtype=np.int64)
    width = int(indices.max(initial=0)) + 1
    counts: Any = csr_array((np.ones(len(indices)), indices, indptr), shape=(len(lengths), width))
    counts.sum_duplicates()
    return counts


def _sparse(matrix: Any, dim: int) -> SparseVectors:
    return SparseVectors(indptr=matrix.indptr, indices=matrix.indices, values=matrix.data, dim=dim)
