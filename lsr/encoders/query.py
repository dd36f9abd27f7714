"""Inference-free query encoding: the distinct wordpieces of the text, each with its weight from a table. No model runs.

Geng et al., "Towards Competitive Search Relevance For Inference-Free Learned Sparse Retrievers" (2024), section 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.encoders.tokenizer import load_tokenizer, special_ids, valid_text, vocabulary, vocabulary_hash
from lsr.errors import EncoderError
from lsr.sparse import SparseVectors, term_type, trusted_vectors

__all__ = ["QueryEncoder"]

TermArray = npt.NDArray[Any]  # uint16 or uint32


class QueryEncoder:
    """Turns query texts into sparse vectors with a tokenizer and one weight a term. Safe to share between threads.

    `tokenizer_json` is the text of a tokenizer.json; what it says about truncation and padding is ignored.
    `weights` is float [dim], usually an inverse document frequency. A term counts once, however often the query has it.
    Special tokens and [UNK] weigh 0 whatever the table says (sentence-transformers gives [UNK] its entry in the table,
    OpenSearch 0). Terms with a weight of 0 or below leave the vector.

    Raises `EncoderError` when the tokenizer is unreadable, or the table has another length than its vocabulary or holds
    a NaN or infinity.
    """

    def __init__(self, tokenizer_json: str, weights: npt.ArrayLike) -> None:
        self.tokenizer_json = tokenizer_json
        self._tokenizer = load_tokenizer(tokenizer_json)
        self._tokens = vocabulary(self._tokenizer)
        self._special = special_ids(self._tokenizer)
        table = np.array(weights, dtype=np.float32)  # a copy: the caller's array may change
        if table.shape != (len(self._tokens),):
            raise EncoderError(f"the weights have shape {table.shape}: the tokenizer has {len(self._tokens)} tokens")
        if not np.isfinite(table).all():
            raise EncoderError(f"the weight of token {int(np.argmin(np.isfinite(table)))} is not a finite number")
        table[sorted(self._special)] = 0
        np.maximum(table, 0, out=table)
        table.flags.writeable = False
        self._weights = table
        self._dropped = frozenset(np.flatnonzero(table == 0).tolist())
        self._id_type = term_type(self.dim)
        self._hash = vocabulary_hash(self._tokens)

    @property
    def dim(self) -> int:
        """Number of terms in the vocabulary."""
        return len(self._tokens)

    @property
    def vocabulary_hash(self) -> str:
        """xxh3-128 in hex over the vocabulary in the order of the ids."""
        return self._hash

    @property
    def weights(self) -> npt.NDArray[np.float32]:
        """The weight of each term, float32 [dim], read-only; 0 for special tokens."""
        return self._weights

    def encode(self, text: str) -> tuple[TermArray, npt.NDArray[np.float32]]:
        """Term ids, rising, and weights of one query. An empty text, or one without known words, gives empty arrays.

        Raises `InvalidInput` when the text is not a str.
        """
        # For a handful of terms a set and a list are faster than any numpy way to sort and deduplicate.
        ids = np.array(sorted(self._terms(text)), dtype=self._id_type)
        return ids, self._weights[ids]

    def encode_batch(self, texts: Iterable[str]) -> SparseVectors:
        """Queries as a batch of sparse vectors, in input order."""
        rows = [sorted(self._terms(text)) for text in texts]
        indptr = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        indices = np.fromiter((term for row in rows for term in row), self._id_type, count=int(indptr[-1]))
        # Distinct rising terms with weights above 0 by construction: checking them would take longer than encoding.
        return trusted_vectors(indptr, indices, self._weights[indices], self.dim, None)

    def spans(self, text: str) -> list[tuple[int, int, int]]:
        """(term id, start, end) of each wordpiece in the order of the text: text[start:end] is what it stands for.

        Special tokens and unknown words are left out; words with a weight of 0 are not.
        """
        encoding = self._tokenizer.encode(valid_text(text), add_special_tokens=False)
        pairs = zip(encoding.ids, encoding.offsets, strict=True)
        return [(term, start, end) for term, (start, end) in pairs if term not in self._special]

    def token(self, term: int) -> str:
        """The wordpiece with that id; pieces that continue a word start with ##."""
        return self._tokens[term]

    def _terms(self, text: str) -> set[int]:
        try:
            encoding: Any = self._tokenizer.encode(text, add_special_tokens=False)
        except (TypeError, ValueError):  # not a str, or lone surrogates; looked at only now, for speed
            encoding = self._tokenizer.encode(valid_text(text), add_special_tokens=False)
        return set(encoding.ids).difference(self._dropped)
