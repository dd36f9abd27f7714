"""Tokens of short English texts without a call of the tokenizer: the pieces of each word are looked up and remembered.

A query of ten words costs the tokenizers library 40 microseconds, most of it not for the words. WordPiece cuts each word by
itself, so that the tokens of a text are those of its words one after the other; and for printable ASCII what BERT takes for a
word is plain: letters and digits in a row, or one mark. Other texts, and other tokenizers, go the usual way.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenizers import Tokenizer

__all__ = ["word_pieces"]

MOST_WORDS = 1 << 16  # remembered; a table of that many costs some 20 MB
LONGEST = 100  # characters of a word that is remembered


def word_pieces(tokenizer: Tokenizer) -> Callable[[str], list[int] | None] | None:
    """A function that gives the token ids of a text, special tokens not added, or None where it does not know.

    None instead of a function for a tokenizer that is not BERT's.
    """
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    normalizer = tokenizer.normalizer
    kinds = ((normalizer, BertNormalizer), (tokenizer.pre_tokenizer, BertPreTokenizer), (tokenizer.model, WordPiece))
    if not all(isinstance(part, kind) for part, kind in kinds):
        return None
    lowercase = bool(normalizer.lowercase)
    words = re.compile("[A-Za-z0-9]+|[^A-Za-z0-9 ]").findall
    # Added tokens are found before words are: a text that has one goes the usual way.
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    if not all(name and name.isascii() for name in added):
        return None
    has_added = re.compile("|".join(map(re.escape, added)) or "(?!)", re.IGNORECASE).search
    known: dict[str, list[int]] = {}

    def pieces(text: str) -> list[int] | None:
        if not (text.isascii() and text.isprintable()) or has_added(text):
            return None
        found: list[int] = []
        for word in words(text.lower() if lowercase else text):
            ids = known.get(word)
            if ids is None:
                ids = tokenizer.encode(word, add_special_tokens=False).ids
                if len(known) < MOST_WORDS and len(word) <= LONGEST:
                    known[word] = ids
            found += ids
        return found

    return pieces
