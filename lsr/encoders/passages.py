"""Long documents as passages that are kept apart: each is read whole, and knows its document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from lsr.encoders.tokenizer import load_tokenizer, valid_text
from lsr.errors import InvalidInput

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from lsr.corpus import Document
    from lsr.encoders.encoder import Encoder

__all__ = ["passages"]

# However long the title, a passage has room for so many tokens of the text.
LEAST_ROOM = 16


def passages(documents: Iterable[Document], encoder: Encoder, stride: int | None = None) -> Iterator[Document]:
    """Documents cut into passages of at most the encoder's `max_length` tokens, title included, which each passage keeps.

    Passages begin about `stride` tokens apart, three quarters of a passage when None, at the beginning of a word. A document
    that fits stays as it is; the passages of another have the ids ID#1, ID#2, ... and the metadata "parent": ID.

    Raises `InvalidInput` when the stride is longer than a passage.
    """
    from lsr.corpus import Document

    side = encoder.document_side
    tokenizer = load_tokenizer(side.tokenizer_json)
    added = tokenizer.num_special_tokens_to_add(False)
    for document in documents:
        before = tokenizer.encode(side.prompt + valid_text(document.title), add_special_tokens=False).ids
        room = max(LEAST_ROOM, encoder.max_length - added - len(before))
        if stride is not None and not 1 <= stride <= encoder.max_length - added:
            raise InvalidInput(f"stride is {stride}: a passage has {encoder.max_length - added} tokens")
        pieces = _cut(tokenizer, document.text, room, min(stride or max(1, 3 * room // 4), room))
        if len(pieces) == 1:
            yield document
            continue
        for number, (start, end) in enumerate(pieces, 1):
            yield Document(
                id=f"{document.id}#{number}",
                text=document.text[start:end],
                title=document.title,
                metadata={**document.metadata, "parent": document.id},
                where=document.where,
            )


def _cut(tokenizer: Tokenizer, text: str, room: int, stride: int) -> list[tuple[int, int]]:
    """(start, end) of pieces of at most `room` tokens: whole words, but for one that alone has more tokens than that."""
    shown = valid_text(text)
    offsets = tokenizer.encode(shown, add_special_tokens=False).offsets
    if len(offsets) <= room:
        return [(0, len(text))]
    begins = np.array([start for start, _ in offsets])
    # A piece that begins or ends within a word would be read as other tokens.
    words = np.flatnonzero([start == 0 or shown[start - 1].isspace() or shown[start].isspace() for start in begins])
    pieces = []
    at = 0
    while at < len(offsets):
        end = len(offsets) if at + room >= len(offsets) else _back_to(words, at, at + room)
        pieces.append((int(begins[at]), int(begins[end]) if end < len(offsets) else len(text)))
        if end == len(offsets):
            break
        at = min(_back_to(words, at, at + stride), end)
    return pieces


def _back_to(words: np.ndarray, after: int, at: int) -> int:
    """The last beginning of a word up to `at` and after `after`; `at` itself where there is none."""
    found = int(words[np.searchsorted(words, at, side="right") - 1]) if len(words) else 0
    return found if found > after else at
