"""Texts to sparse vectors through a network: tokens, windows of long texts, batches of like length, every worker busy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.encoders.batching import (
    FEW_TEXTS,
    TEXTS_PER_TOKENIZATION,
    Threads,
    batches,
    padded_lengths,
    run_now,
    start_of,
)
from lsr.encoders.idf import TokenCounts
from lsr.encoders.model import Engine, Vector
from lsr.encoders.rows import lexical, places_of_heaviest
from lsr.encoders.tokenizer import load_tokenizer, special_ids, tokenizing, valid_text
from lsr.errors import InvalidInput
from lsr.sparse import SparseVectors, term_type

__all__ = ["LONG", "DocumentEncoder"]

IdArray = npt.NDArray[np.int64]

# What becomes of a text that is longer than the network reads.
LONG = ("truncate", "windows")
# Texts of one call that are worked on at a time: enough of each length for full batches.
TEXTS_PER_PART = 4096


class _Tokens(NamedTuple):
    """Some texts as the network reads them.

    ids int64 [tokens] of all windows, one after the other; starts int64 [windows + 1]: where each begins; owners int64
    [windows]: the text that each belongs to, rising.
    """

    texts: int
    ids: IdArray
    starts: IdArray
    owners: IdArray
    counted: list[IdArray]  # of each text the tokens read, special ones not among them; empty unless they are asked for
    truncated: int


class _Started(NamedTuple):
    """A part under way: its tokens, a place for the vector of each window, and the batches that fill them."""

    tokens: _Tokens
    rows: list[Vector | None]
    batches: list[Future[None]]


class DocumentEncoder:
    """Turns texts into sparse vectors with an `Engine`. Thread-safe.

    `max_length` counts the tokens that are read at a time, special ones included. What becomes of a longer text says `long`:
    "truncate" leaves the rest out, "windows" reads it in windows that begin `stride` tokens apart and keeps each term's
    largest weight. `prompt` is put before each text. `table` float32 [dim], when given, weighs the terms that stand in the
    text and drops all others. `top_terms` limits what is left of several windows.

    With an engine whose `mixes` is false the vector of a text is a function of that text alone: batches hold texts of one
    padded length, integer products are exact, and each run has one thread.
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
        with tokenizing:
            self._tokenizer.enable_truncation(max_length, stride=self._overlap)
        self._special = np.zeros(max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=0) + 1, bool)
        self._special[sorted(special_ids(self._tokenizer))] = True
        self._engine, self._table, self._top_terms = engine, table, top_terms
        self._id_type = term_type(self.dim)

    def encode(self, texts: Sequence[str], counts: TokenCounts | None = None) -> SparseVectors:
        """The vectors of the texts in input order; a text without a word gives an empty one.

        `counts` is added to: documents, tokens read and document frequencies, and how many texts were longer than
        `max_length`. Memory grows with the number of texts and terms found, not with the vocabulary. Raises `InvalidInput`
        when a text is not a str.
        """
        if isinstance(texts, str):
            raise InvalidInput("encode takes a list of texts, not one text: put it in a list")
        if len(texts) <= FEW_TEXTS:
            return self._finished(self._start(texts, run_now, counts is not None), counts)
        size = max(TEXTS_PER_PART, self._engine.token_budget // 32)
        parts = (texts[first : first + size] for first in range(0, len(texts), size))
        return SparseVectors.concat(list(self.encode_parts(parts, counts)))

    def encode_parts(
        self, parts: Iterable[Sequence[str]], counts: TokenCounts | None = None
    ) -> Iterator[SparseVectors]:
        """`encode` for each part. While one is computed the next is read, tokenised, and waits behind it for the workers."""
        with (
            Threads(self._engine.workers, "lsr-encode") as workers,
            Threads(1, "lsr-tokenize") as tokenizing,
        ):
            waiting: Future[_Started] | None = None
            for texts in parts:  # read here: a source that blocks can be interrupted
                following = tokenizing.submit(self._start, texts, workers.submit, counts is not None)
                if waiting is not None:
                    yield self._finished(waiting.result(), counts)
                waiting = following
            if waiting is not None:
                yield self._finished(waiting.result(), counts)

    def count(self, texts: Sequence[str], counts: TokenCounts) -> None:
        """Adds the tokens of texts to `counts`, as `encode` does, without encoding them."""
        tokens = self._tokenized(texts, True)
        counts.add(tokens.counted, tokens.truncated)

    def _start(
        self, texts: Sequence[str], submit: Callable[[Callable[[], None]], Future[None]], counting: bool
    ) -> _Started:
        tokens = self._tokenized(texts, counting)
        rows: list[Vector | None] = [None] * len(tokens.owners)

        def encode_batch(batch: IdArray) -> None:
            for row, vector in zip(batch.tolist(), self._run(tokens, batch), strict=True):
                rows[row] = vector

        padded, engine = self._padded(np.diff(tokens.starts)), self._engine
        chosen = batches(padded, engine.token_budget, mixes=engine.mixes)
        return _Started(tokens, rows, [submit(partial(encode_batch, batch)) for batch in chosen])

    def _finished(self, started: _Started, counts: TokenCounts | None) -> SparseVectors:
        tokens, rows, batches = started
        for batch in batches:
            batch.result()
        nothing: Vector = (np.zeros(0, self._id_type), np.zeros(0, np.float32))
        first = np.searchsorted(tokens.owners, np.arange(tokens.texts + 1))
        vectors = self._joined([self._merged(rows[a:b]) or nothing for a, b in pairwise(first.tolist())])
        if counts is not None:  # at the end, so that a failure leaves them as they were
            counts.add(tokens.counted, tokens.truncated)
        return vectors

    def _tokenized(self, texts: Sequence[str], counting: bool) -> _Tokens:
        if isinstance(texts, str):
            raise InvalidInput("encode takes a list of texts, not one text: put it in a list")
        parts: list[IdArray] = []
        lengths: list[int] = []
        owners: list[int] = []
        counted: list[IdArray] = []
        truncated = 0
        for start in range(0, len(texts), TEXTS_PER_TOKENIZATION):
            part = [self._prompt + valid_text(text) for text in texts[start : start + TEXTS_PER_TOKENIZATION]]
            cut = self.long == "truncate"
            heads = [start_of(text, self.max_length) for text in part] if cut else part
            with tokenizing:
                encodings = self._tokenizer.encode_batch_fast(heads)
            found: list[list[int]] = []
            for row, (text, head, encoding) in enumerate(zip(part, heads, encodings, strict=True), start):
                if len(head) < len(text) and not encoding.overflowing:
                    encoding = self._tokenizer.encode(text)  # few tokens in many characters: read all of it
                windows = [encoding.ids]
                if encoding.overflowing:
                    truncated += 1
                    windows += [] if cut else [window.ids for window in encoding.overflowing]
                if counting:
                    counted.append(self._plain(windows))
                if len(windows[0]) > self._added:
                    found += windows
                    owners += [row] * len(windows)
            lengths += map(len, found)
            parts.append(np.fromiter(chain.from_iterable(found), np.int64))
        ids = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        starts = np.cumsum([0, *lengths], dtype=np.int64)
        return _Tokens(len(texts), ids, starts, np.array(owners, np.int64), counted, truncated)

    def _plain(self, windows: Sequence[list[int]]) -> IdArray:
        """The tokens of a text, special ones left out, what windows share once."""
        found = [np.array(ids, np.int64) for ids in windows]
        found = [ids[~self._special[ids]] for ids in found]
        return np.concatenate([found[0], *(ids[self._overlap :] for ids in found[1:])])

    def _padded(self, lengths: IdArray) -> IdArray:
        return padded_lengths(lengths, self.max_length)

    def _run(self, tokens: _Tokens, batch: IdArray) -> Sequence[Vector]:
        """The vectors of some windows."""
        starts, lengths = tokens.starts[batch], np.diff(tokens.starts)[batch]
        ids = np.zeros((len(batch), int(self._padded(lengths).max())), np.int64)
        real = np.arange(ids.shape[1]) < lengths[:, None]
        row, place = np.nonzero(real)
        ids[row, place] = tokens.ids[starts[row] + place]
        vectors = self._engine.encode(ids, lengths)
        if self._table is None:
            return vectors
        return [lexical(vector, ids[i, : lengths[i]], self._table) for i, vector in enumerate(vectors)]

    def _merged(self, windows: Sequence[Vector | None]) -> Vector | None:
        """The largest weight of each term in the windows of one text."""
        found = [window for window in windows if window is not None]
        if len(found) < 2:
            return found[0] if found else None
        terms, inverse = np.unique(np.concatenate([terms for terms, _ in found]), return_inverse=True)
        weights = np.zeros(len(terms), np.float32)
        np.maximum.at(weights, inverse, np.concatenate([weights for _, weights in found]))
        if self._top_terms is not None and len(terms) > self._top_terms:
            kept = places_of_heaviest(weights, self._top_terms)
            terms, weights = terms[kept], weights[kept]
        return terms, weights

    def _joined(self, rows: Sequence[Vector]) -> SparseVectors:
        indptr = np.cumsum([0, *(len(terms) for terms, _ in rows)], dtype=np.int64)
        indices = np.concatenate([np.zeros(0, self._id_type), *(terms for terms, _ in rows)])
        values = np.concatenate([np.zeros(0, np.float32), *(weights for _, weights in rows)])
        return SparseVectors(indptr=indptr, indices=indices, values=values, dim=self.dim)
