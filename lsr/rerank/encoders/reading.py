"""Texts to token ids as a side of a multivector model reads them: marker, limit, expansion, and what of it is scored."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.encoders.batching import TEXTS_PER_TOKENIZATION, start_of
from lsr.encoders.model import VectorSide
from lsr.encoders.tokenizer import load_tokenizer, tokenizing, valid_text
from lsr.errors import EncoderError, InvalidInput
from lsr.rerank.encoders.model import Expansion, MultiVectorModel

__all__ = ["TextReader", "Texts", "reader"]

IdArray = npt.NDArray[np.int64]


class Texts(NamedTuple):
    """Some texts as the network reads them.

    ids int64 [tokens] of all texts, one after the other; starts int64 [n + 1]: where each begins; attended int64 [n]: how
    many of its first tokens are seen; scored bool [tokens]: which vectors are kept.
    """

    ids: IdArray
    starts: IdArray
    attended: IdArray
    scored: npt.NDArray[np.bool_]


class TextReader:
    """Reads texts for one side of a model. Thread-safe.

    dropped: ids of tokens whose vectors are left out; only: of the only ones that are kept, all when None.
    """

    def __init__(
        self, side: VectorSide, expansion: Expansion | None, dropped: IdArray, only: IdArray | None = None
    ) -> None:
        self._tokenizer = load_tokenizer(side.tokenizer_json)
        self._prompt, self._limit = side.prompt, side.max_length
        with tokenizing:
            self._tokenizer.enable_truncation(side.max_length)
        self._dropped, self._only = dropped, only
        self._expansion, self._filler = expansion, 0
        if expansion is not None:
            found = self._tokenizer.token_to_id(expansion.token)
            if found is None:
                raise EncoderError(
                    f"{side.folder}: queries are filled up with {expansion.token!r}, which is no token of its tokenizer; "
                    "copy the tokenizer of the model"
                )
            self._filler = found

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return self._limit if self._expansion is None else max(self._limit, self._expansion.length)

    def read(self, texts: Sequence[str]) -> Texts:
        """The tokens of the texts in input order. Raises `InvalidInput` when one is not a str."""
        if isinstance(texts, str):
            raise InvalidInput("encoding takes a list of texts, not one text: put it in a list")
        rows = [
            row
            for first in range(0, len(texts), TEXTS_PER_TOKENIZATION)
            for row in self._tokenized(texts[first : first + TEXTS_PER_TOKENIZATION])
        ]
        attended = np.array([len(row) for row in rows], np.int64)
        filled = np.zeros_like(attended)
        if self._expansion is not None:
            filled = np.maximum(self._expansion.length - attended, 0)
            rows = [row + [self._filler] * more for row, more in zip(rows, filled.tolist(), strict=True)]
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(attended + filled)])
        ids = np.fromiter(chain.from_iterable(rows), np.int64, int(starts[-1]))
        scored = ~np.isin(ids, self._dropped)
        if self._only is not None:
            scored &= np.isin(ids, self._only)
        if self._expansion is not None and self._expansion.attend:
            attended = attended + filled
        return Texts(ids, starts, attended, scored)

    def _tokenized(self, texts: Sequence[str]) -> list[list[int]]:
        whole = [self._prompt + valid_text(text) for text in texts]
        starts = [start_of(text, self._limit) for text in whole]
        with tokenizing:
            found = self._tokenizer.encode_batch_fast(starts)
            return [
                # Few tokens in many characters: all of it is read.
                (self._tokenizer.encode(text) if len(start) < len(text) and not encoding.overflowing else encoding).ids
                for text, start, encoding in zip(whole, starts, found, strict=True)
            ]


def reader(model: MultiVectorModel, task: str) -> TextReader:
    """The reader of one side, "query" or "document"."""
    side = model.query if task == "query" else model.document
    skiplist = model.skiplist
    words = skiplist.words if task in skiplist.tasks else ()
    only = skiplist.only if task == "document" else None
    return TextReader(
        side,
        model.expansion if task == "query" else None,
        _token_ids(side, words),
        np.array(only, np.int64) if only else None,
    )


def _token_ids(side: VectorSide, words: Sequence[str]) -> IdArray:
    """The ids of words that are one token; others, which would be the unknown token, have none."""
    tokenizer = load_tokenizer(side.tokenizer_json)
    found = [tokenizer.token_to_id(word) for word in words]
    return np.array(sorted({i for i in found if i is not None}), np.int64)
