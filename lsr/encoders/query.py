"""Inference-free query encoding: the distinct tokens of the text, each with its weight from a table. No model runs.

Geng et al., "Towards Competitive Search Relevance For Inference-Free Learned Sparse Retrievers" (2024), section 3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.encoders.rows import places_of_heaviest
from lsr.encoders.tokenizer import load_tokenizer, tokenizing, valid_text
from lsr.encoders.vocabulary import Vocabulary
from lsr.encoders.words import word_pieces
from lsr.errors import EncoderError, InvalidInput
from lsr.sparse import SparseVectors, term_type, trusted_vectors

__all__ = ["QueryEncoder"]

TermArray = npt.NDArray[Any]  # uint16 or uint32
POLICIES = {"unknown": ("drop", "table"), "special": ("drop", "table"), "repeated": ("once", "count")}


class QueryEncoder:
    """Turns query texts into sparse vectors with a tokenizer and one weight a term. Safe to share between threads.

    `tokenizer_json` is the text of a tokenizer.json; what it says about truncation and padding is ignored.
    `weights` is float [dim], usually an inverse document frequency. Terms with a weight of 0 or below leave the vector.

    What counts is said by policies, for those who trained the models did not agree:

    - `unknown` words and `special` tokens that the text spells out ("[SEP]"): "drop" gives them no weight (OpenSearch),
      "table" their entry in the table (sentence-transformers);
    - `repeated` tokens: "once" (presence, as all inference-free models are trained), or "count" (weight x occurrences);
    - `max_length`: the number of tokens that are read (sentence-transformers stops at the tokenizer's limit), None for all;
    - `top_k`: the number of terms that are kept, the heaviest, of equals the first; None for all;
    - `prompt` is put before each text.

    Raises `EncoderError` when the tokenizer is unreadable, or the table is shorter than its vocabulary or holds a NaN or
    infinity; `InvalidInput` for an unknown policy.
    """

    def __init__(
        self,
        tokenizer_json: str,
        weights: npt.ArrayLike,
        *,
        unknown: str = "drop",
        special: str = "drop",
        repeated: str = "once",
        max_length: int | None = None,
        top_k: int | None = None,
        prompt: str = "",
        dim: int | None = None,
    ) -> None:
        self.policy: dict[str, Any] = {
            "unknown": unknown,
            "special": special,
            "repeated": repeated,
            "max_length": max_length,
            "top_k": top_k,
            "prompt": prompt,
        }
        for name, known in POLICIES.items():
            if self.policy[name] not in known:
                raise InvalidInput(f"{name} is {self.policy[name]!r}: it must be {' or '.join(known)}")
        for name, least in (("max_length", 0), ("top_k", 1)):
            value = self.policy[name]
            if value is not None and not (type(value) is int and least <= value < 1 << 32):
                raise InvalidInput(f"{name} is {value!r}: it must be a whole number from {least}, or None")
        if not isinstance(prompt, str):
            raise InvalidInput(f"prompt is {prompt!r}: it must be a text")
        self.vocabulary = Vocabulary(tokenizer_json, dim)
        self._tokenizer = load_tokenizer(tokenizer_json)
        self._pieces = word_pieces(self._tokenizer) or _unknown
        if max_length is not None:
            self._tokenizer.enable_truncation(max_length)
        table = np.array(weights, dtype=np.float32)  # a copy: the caller's array may change
        if table.shape != (self.dim,):
            raise EncoderError(f"the weights have shape {table.shape}: the tokenizer has {self.dim} tokens")
        if not np.isfinite(table).all():
            raise EncoderError(f"the weight of token {int(np.argmin(np.isfinite(table)))} is not a finite number")
        if special == "drop":
            table[sorted(self.vocabulary.special - {self.vocabulary.unknown})] = 0
        if unknown == "drop" and self.vocabulary.unknown is not None:
            table[self.vocabulary.unknown] = 0
        np.maximum(table, 0, out=table)
        table.flags.writeable = False
        self._weights = table
        self._dropped = frozenset(np.flatnonzero(table == 0).tolist())
        self._id_type = term_type(self.dim)
        self._prompt, self._counts, self._max_length, self._top_k = prompt, repeated == "count", max_length, top_k

    @property
    def dim(self) -> int:
        """Number of terms in the vocabulary."""
        return self.vocabulary.dim

    @property
    def tokenizer_json(self) -> str:
        """The text of the tokenizer.json."""
        return self.vocabulary.tokenizer_json

    @property
    def weights(self) -> npt.NDArray[np.float32]:
        """The weight of each term, float32 [dim], read-only; 0 for what the policies drop."""
        return self._weights

    def encode(self, text: str) -> tuple[TermArray, npt.NDArray[np.float32]]:
        """Term ids, rising, and weights of one query. An empty text, or one without known words, gives empty arrays.

        Raises `InvalidInput` when the text is not a str.
        """
        found = self._ids(text)
        # For a handful of terms a set and a list are faster than any numpy way to sort and deduplicate.
        ids = np.array(sorted(set(found).difference(self._dropped)), dtype=self._id_type)
        weights = self._weights[ids]
        if self._counts:
            counts = Counter(found)
            weights *= np.array([counts[i] for i in ids.tolist()], np.float32)
        if self._top_k is not None and len(ids) > self._top_k:
            kept = places_of_heaviest(weights, self._top_k)
            ids, weights = ids[kept], weights[kept]
        return ids, weights

    def encode_batch(self, texts: Iterable[str]) -> SparseVectors:
        """Queries as a batch of sparse vectors, in input order."""
        rows = [self.encode(text) for text in texts]
        if len(rows) == 1:  # as most are: nothing to join
            ids, weights = rows[0]
            return trusted_vectors(np.array((0, len(ids))), ids, weights, self.dim, None)
        indptr = np.cumsum([0, *(len(ids) for ids, _ in rows)], dtype=np.int64)
        indices = np.concatenate([np.zeros(0, self._id_type), *(ids for ids, _ in rows)])
        values = np.concatenate([np.zeros(0, np.float32), *(weights for _, weights in rows)])
        # Distinct rising terms with weights above 0 by construction: checking them would take longer than encoding.
        return trusted_vectors(indptr, indices, values, self.dim, None)

    def spans(self, text: str) -> list[tuple[int, int, int]]:
        """See `Vocabulary.spans`; words with a weight of 0 are not left out."""
        return self.vocabulary.spans(text)

    def token(self, term: int) -> str:
        """See `Vocabulary.token`."""
        return self.vocabulary.token(term)

    def _ids(self, text: str) -> list[int]:
        with tokenizing:
            try:
                asked = self._prompt + text
                found = self._pieces(asked)
                if found is not None:
                    return found[: self._max_length]
                encoding: Any = self._tokenizer.encode(asked, add_special_tokens=False)
            except (TypeError, ValueError):  # not a str, or lone surrogates; looked at only now, for speed
                encoding = self._tokenizer.encode(self._prompt + valid_text(text), add_special_tokens=False)
        ids: list[int] = encoding.ids
        return ids


def _unknown(text: str) -> None:
    """For tokenizers whose words are not looked up."""
