"""What each vector of a text stands for: its token, and where that stands in the text."""

from __future__ import annotations

from typing import NamedTuple

from lsr.encoders.model import VectorSide
from lsr.encoders.tokenizer import load_tokenizer, tokenizing, valid_text
from lsr.encoders.vocabulary import Vocabulary
from lsr.rerank.encoders.reading import TextReader

__all__ = ["SpanReader", "TextToken"]


class TextToken(NamedTuple):
    """A token as the vocabulary has it, and its [start, end) in the text; None for one that is not of the text, as markers
    and those that queries are filled up with."""

    token: str
    span: tuple[int, int] | None


class SpanReader:
    """Reads texts as a `TextReader` of the same side does, and tells what was read. Thread-safe."""

    def __init__(self, side: VectorSide, reader: TextReader) -> None:
        self._prompt, self._reader = side.prompt, reader
        self._vocabulary = Vocabulary(side.tokenizer_json)
        self._tokenizer = load_tokenizer(side.tokenizer_json)
        with tokenizing:
            self._tokenizer.enable_truncation(side.max_length)

    def read(self, text: str) -> list[TextToken]:
        """The tokens of a text whose vectors are kept, in their order."""
        found = self._reader.read([text])
        whole = self._prompt + valid_text(text)
        with tokenizing:
            encoding = self._tokenizer.encode(whole)
        spans = [
            None if special else self._within(whole, *offsets)
            for offsets, special in zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
        ]
        spans += [None] * (len(found.ids) - len(spans))
        return [
            TextToken(self._vocabulary.token(token), span)
            for token, span, kept in zip(found.ids.tolist(), spans, found.scored.tolist(), strict=True)
            if kept
        ]

    def _within(self, whole: str, start: int, end: int) -> tuple[int, int] | None:
        """Places in the prompt and the text as places in the text, without white space around them."""
        start = max(start, len(self._prompt))
        while start < end and whole[start].isspace():
            start += 1
        while start < end and whole[end - 1].isspace():
            end -= 1
        return (start - len(self._prompt), end - len(self._prompt)) if start < end else None
