"""Texts to sparse vectors through a network: tokens, windows of long texts, batches of one length, every worker busy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.encoders.idf import TokenCounts
from lsr.encoders.model import Engine, Vector
from lsr.encoders.rows import lexical
from lsr.encoders.tokenizer import load_tokenizer, special_ids, valid_text
from lsr.errors import InvalidInput
from lsr.sparse import SparseVectors, term_type

__all__ = ["LONG", "DocumentEncoder"]

IdArray = npt.NDArray[np.int64]

# What becomes of a text that is longer than the network reads.
LONG = ("truncate", "windows")
# Texts are padded to a multiple of this, whatever their company, so that a text's vector never depends on it.
LENGTH_STEP = 8
# Texts are cut after this many characters for each token that the model reads, before they are tokenised.
CHARACTERS_PER_TOKEN = 32
TEXTS_PER_TOKENIZATION = 512


class _Tokens(NamedTuple):
    """Some texts as the network reads them.

    windows: token ids of each window; owners int64 [windows]: the text that each belongs to, rising.
    """

    texts: int
    windows: list[IdArray]
    owners: IdArray
    counted: list[IdArray]  # of each text the tokens read, special ones not among them
    truncated: int


class DocumentEncoder:
    """Turns texts into sparse vectors with an `Engine`. Thread-safe.

    `max_length` counts the tokens that are read at a time, special ones included. What becomes of a longer text says `long`:
    "truncate" leaves the rest out, "windows" reads it in windows that begin `stride` tokens apart and keeps each term's
    largest weight. `prompt` is put before each text. `table` float32 [dim], when given, weighs the terms that stand in the
    text and drops all others. `top_terms` limits what is left of several windows.

    With the ONNX engine the vector of a text is a function of that text alone: batches hold texts of one padded length, the
    integer products are exact, and each run has one thread.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer_json: str,
        *,
        max_length: int,
        prompt: str = "",
        long: str = "truncate",
        stride: int | None = None,
        table: npt.NDArray[np.float32] | None = None,
        top_terms: int | None = None,
    ) -> None:
        self._tokenizer = load_tokenizer(tokenizer_json)
        self._added = self._tokenizer.num_special_tokens_to_add(False)
        room = max_length - self._added
        if long not in LONG:
            raise InvalidInput(f"long is {long!r}: it must be one of {', '.join(LONG)}")
        if stride is not None and (long != "windows" or not 1 <= stride <= room):
            raise InvalidInput(f"stride is {stride}: it goes with long='windows', and is 1 to {room}")
        self.dim = engine.dim
        self.max_length, self.long, self._prompt = max_length, long, prompt
        self._overlap = room - (stride or max(1, 3 * room // 4)) if long == "windows" else 0
        self._tokenizer.enable_truncation(max_length, stride=self._overlap)
        self._special = np.array(sorted(special_ids(self._tokenizer)), np.int64)
        self._engine, self._table, self._top_terms = engine, table, top_terms
        self._id_type = term_type(self.dim)

    def encode(self, texts: Sequence[str], counts: TokenCounts | None = None) -> SparseVectors:
        """The vectors of the texts in input order; a text without a word gives an empty one.

        `counts` is added to: documents, tokens read and document frequencies, and how many texts were longer than
        `max_length`. Memory grows with the tokens of the texts, not with the vocabulary: give a large corpus in parts of
        some thousand texts (`encode_parts`). Raises `InvalidInput` when a text is not a str.
        """
        return next(iter(self.encode_parts([texts], counts)))

    def encode_parts(
        self, parts: Iterable[Sequence[str]], counts: TokenCounts | None = None
    ) -> Iterator[SparseVectors]:
        """`encode` for each part; while one is computed the next is read and tokenised."""
        with ThreadPoolExecutor(1, thread_name_prefix="lsr-tokenize") as pool:
            rest = iter(parts)
            following = pool.submit(self._next, rest)
            while (tokens := following.result()) is not None:
                following = pool.submit(self._next, rest)
                vectors = self._encoded(tokens)
                if counts is not None:  # at the end, so that a failure leaves them as they were
                    counts.add(tokens.counted, tokens.truncated)
                yield vectors

    def _next(self, parts: Iterator[Sequence[str]]) -> _Tokens | None:
        texts = next(parts, None)
        return None if texts is None else self._tokenized(texts)

    def _tokenized(self, texts: Sequence[str]) -> _Tokens:
        if isinstance(texts, str):
            raise InvalidInput("encode takes a list of texts, not one text: put it in a list")
        windows: list[IdArray] = []
        owners: list[int] = []
        counted: list[IdArray] = []
        truncated = 0
        for start in range(0, len(texts), TEXTS_PER_TOKENIZATION):
            part = [self._prompt + valid_text(text) for text in texts[start : start + TEXTS_PER_TOKENIZATION]]
            cut = self.long == "truncate"
            heads = [_head(text, self.max_length * CHARACTERS_PER_TOKEN) for text in part] if cut else part
            encodings = self._tokenizer.encode_batch_fast(heads)
            for row, (text, head, encoding) in enumerate(zip(part, heads, encodings, strict=True), start):
                if len(head) < len(text) and not encoding.overflowing:
                    encoding = self._tokenizer.encode(text)  # few tokens in many characters: read all of it
                truncated += bool(encoding.overflowing)
                found = [np.array(encoding.ids, np.int64)]
                if not cut:
                    found += [np.array(window.ids, np.int64) for window in encoding.overflowing]
                plain = [ids[~np.isin(ids, self._special)] for ids in found]
                counted.append(np.concatenate([plain[0], *(ids[self._overlap :] for ids in plain[1:])]))
                if len(found[0]) > self._added:
                    windows += found
                    owners += [row] * len(found)
        return _Tokens(len(texts), windows, np.array(owners, np.int64), counted, truncated)

    def _encoded(self, tokens: _Tokens) -> SparseVectors:
        rows: list[Vector | None] = [None] * len(tokens.windows)

        def encode_batch(batch: IdArray) -> None:
            for row, vector in zip(batch.tolist(), self._run([tokens.windows[i] for i in batch]), strict=True):
                rows[row] = vector

        _in_threads(encode_batch, self._batches(tokens.windows), self._engine.workers)
        nothing: Vector = (np.zeros(0, self._id_type), np.zeros(0, np.float32))
        first = np.searchsorted(tokens.owners, np.arange(tokens.texts + 1))
        return self._joined([self._merged(rows[a:b]) or nothing for a, b in pairwise(first.tolist())])

    def _batches(self, windows: Sequence[IdArray]) -> list[IdArray]:
        """Rows of windows, those of one padded length together, longest first."""
        lengths = np.array([len(ids) for ids in windows], np.int64)
        padded = np.minimum(-(-lengths // LENGTH_STEP) * LENGTH_STEP, self.max_length)
        batches = []
        for length in np.unique(padded)[::-1].tolist():
            rows = np.flatnonzero(padded == length)
            size = max(1, self._engine.token_budget // length)
            batches += [rows[i : i + size] for i in range(0, len(rows), size)]
        return batches

    def _run(self, windows: Sequence[IdArray]) -> Sequence[Vector]:
        """The vectors of windows of one padded length."""
        lengths = np.array([len(ids) for ids in windows], np.int64)
        width = min(-(-int(lengths.max()) // LENGTH_STEP) * LENGTH_STEP, self.max_length)
        ids = np.zeros((len(windows), width), np.int64)
        for row, window in zip(ids, windows, strict=True):
            row[: len(window)] = window
        vectors = self._engine.encode(ids, lengths)
        if self._table is None:
            return vectors
        return [lexical(vector, window, self._table) for vector, window in zip(vectors, windows, strict=True)]

    def _merged(self, windows: Sequence[Vector | None]) -> Vector | None:
        """The largest weight of each term in the windows of one text."""
        found = [window for window in windows if window is not None]
        if len(found) < 2:
            return found[0] if found else None
        terms, inverse = np.unique(np.concatenate([terms for terms, _ in found]), return_inverse=True)
        weights = np.zeros(len(terms), np.float32)
        np.maximum.at(weights, inverse, np.concatenate([weights for _, weights in found]))
        if self._top_terms is not None and len(terms) > self._top_terms:
            heaviest = np.sort(np.argsort(-weights, kind="stable")[: self._top_terms])
            terms, weights = terms[heaviest], weights[heaviest]
        return terms, weights

    def _joined(self, rows: Sequence[Vector]) -> SparseVectors:
        indptr = np.cumsum([0, *(len(terms) for terms, _ in rows)], dtype=np.int64)
        indices = np.concatenate([np.zeros(0, self._id_type), *(terms for terms, _ in rows)])
        values = np.concatenate([np.zeros(0, np.float32), *(weights for _, weights in rows)])
        return SparseVectors(indptr=indptr, indices=indices, values=values, dim=self.dim)


def _head(text: str, characters: int) -> str:
    """The text, or its start up to a space: words stay whole, so it has the same tokens as far as it goes."""
    if len(text) <= characters:
        return text
    end = text.rfind(" ", 0, characters)
    return text if end < 0 else text[:end]


def _in_threads(work: Callable[[IdArray], None], batches: Sequence[IdArray], threads: int) -> None:
    """Calls work on each batch from several threads. The first failure, or Ctrl-C, drops what has not started."""
    if threads == 1 or len(batches) < 2:
        for batch in batches:
            work(batch)
        return
    pool = ThreadPoolExecutor(min(threads, len(batches)), thread_name_prefix="lsr-encode")
    try:
        for future in [pool.submit(work, batch) for batch in batches]:
            future.result()
    finally:
        pool.shutdown(cancel_futures=True)
