"""Long documents as passages that are kept apart: each is read whole, and knows its document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lsr.encoders.tokenizer import load_tokenizer, valid_text
from lsr.errors import InvalidInput

if TYPE_CHECKING:
    from lsr.corpus import Document
    from lsr.encoders.encoder import Encoder

__all__ = ["passages"]

# However long the title, a passage has room for so many tokens of the text: a longer one loses its last words.
LEAST_ROOM = 16


def passages(documents: Iterable[Document], encoder: Encoder, stride: int | None = None) -> Iterator[Document]:
    """Documents cut into passages of at most the encoder's `max_length` tokens, title included, which each passage keeps.

    Passages begin about `stride` tokens apart, three quarters of a passage when None, at the beginning of a word; one that
    would hold no word more than the one before is left out. A document that fits stays as it is; the passages of another
    have the ids ID#1, ID#2, ... and the metadata "parent": ID.

    Raises `InvalidInput` when the stride is longer than a passage.
    """
    cutter = _Cutter(encoder)
    if stride is not None and not 1 <= stride <= cutter.limit:
        raise InvalidInput(f"stride is {stride}: a passage has {cutter.limit} tokens")
    for document in documents:
        if cutter.length(document.content) <= cutter.limit:
            yield document
            continue
        whole = replace(document, text=valid_text(document.text), title=cutter.title(valid_text(document.title)))
        for number, (start, end) in enumerate(cutter.cut(whole, stride), 1):
            metadata = {**document.metadata, "parent": document.id}
            yield replace(whole, id=f"{document.id}#{number}", text=whole.text[start:end], metadata=metadata)


class _Word(NamedTuple):
    """Where a word begins, and its number of tokens."""

    start: int
    tokens: int


class _Cutter:
    """Where texts are cut, for one encoder."""

    def __init__(self, encoder: Encoder) -> None:
        side = encoder.document_side
        self._tokenizer, self._prompt = load_tokenizer(side.tokenizer_json), side.prompt
        self.limit = encoder.max_length - self._tokenizer.num_special_tokens_to_add(False)
        self._least = min(LEAST_ROOM, self.limit)

    def length(self, text: str) -> int:
        """Tokens of a text, special ones not among them."""
        return len(self._tokenizer.encode(self._prompt + valid_text(text), add_special_tokens=False).ids)

    def title(self, title: str) -> str:
        """As much of a title as leaves room for text."""
        while title and self.length(title) > self.limit - self._least:
            title = title.rpartition(" ")[0]
        return title

    def cut(self, document: Document, stride: int | None) -> list[tuple[int, int]]:
        """(start, end) of each passage of the document's text."""
        room = max(self._least, self.limit - self.length(document.title and document.title + " "))
        step = min(stride or max(1, 3 * room // 4), room)
        words = self._words(document.text, room)
        starts = [word.start for word in words] + [len(document.text)]
        before = np.cumsum([0, *(word.tokens for word in words)])  # tokens before each word
        found: list[tuple[int, int]] = []
        first = covered = 0
        while first < len(words):
            last = _up_to(before, first, room)
            # In its place a word may have another number of tokens than in the text.
            while last > first + 1 and self._too_long(document, starts[first], starts[last]):
                last -= 1
            if last > covered:  # else cut short, it lies within the one before
                found.append((0 if first == 0 else starts[first], starts[last]))
                covered = last
            if last == len(words):
                break
            first = min(_up_to(before, first, step), last)
        return found

    def _too_long(self, document: Document, start: int, end: int) -> bool:
        return self.length(replace(document, text=document.text[start:end]).content) > self.limit

    def _words(self, text: str, room: int) -> list[_Word]:
        """The words of a text; one with more tokens than there is room for counts as several."""
        words: list[_Word] = []
        for start, end in self._tokenizer.encode(text, add_special_tokens=False).offsets:
            while start < end and text[start].isspace():  # some tokenizers count the space before a word to it
                start += 1
            continues = bool(words) and start > 0 and not text[start - 1].isspace()
            if continues and words[-1].tokens < room // 2:
                words[-1] = _Word(words[-1].start, words[-1].tokens + 1)
            else:
                words.append(_Word(start, 1))
        return words


def _up_to(before: np.ndarray, first: int, tokens: int) -> int:
    """The word after the last of those from `first` on that have at most so many tokens; at least one is taken."""
    return max(first + 1, int(np.searchsorted(before, before[first] + tokens, side="right")) - 1)
