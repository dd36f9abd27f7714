"""The terms of an encoder: their texts, which of them are no terms, and where they stand in a text."""

from __future__ import annotations

from functools import cached_property

from lsr.encoders.tokenizer import check_numbers, load_tokenizer, special_ids, tokenizing, unknown_id, valid_text
from lsr.errors import EncoderError
from lsr.limits import MAX_DIM

__all__ = ["Vocabulary"]


class Vocabulary:
    """The tokens of a tokenizer, as terms.

    `dim` is the number of terms, that of the tokens when None. Models may have more: they pad their vocabulary; such terms,
    and ids that the tokenizer leaves out, get a number for a name. With `named` false no term has a name: the latents of an
    autoencoder are no tokens.

    Raises `EncoderError` when the tokenizer is unreadable, or has more tokens than `dim`.
    """

    def __init__(self, tokenizer_json: str, dim: int | None = None, *, named: bool = True) -> None:
        self.tokenizer_json = tokenizer_json
        self._tokenizer = load_tokenizer(tokenizer_json)
        ids = self._tokenizer.get_vocab(with_added_tokens=True) if named else {}
        size = max(ids.values(), default=-1) + 1
        self.dim = size if dim is None else dim
        check_numbers(len(ids), size)
        if self.dim > MAX_DIM:
            raise EncoderError(f"{self.dim:,} terms: an encoder has at most {MAX_DIM:,}")
        if size > self.dim:
            raise EncoderError(f"the tokenizer has {size} tokens, but there are {self.dim} terms")
        self._ids = ids
        self._names = {i: token for token, i in ids.items()}
        self.named = named
        self.special = special_ids(self._tokenizer) if named else frozenset[int]()
        self.unknown = unknown_id(self._tokenizer) if named else None

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The name of each term [dim]."""
        return tuple(map(self.token, range(self.dim)))

    @cached_property
    def hash(self) -> str:
        """xxh3-128 in hex over the tokens in the order of their ids, each followed by a NUL."""
        from xxhash import xxh3_128_hexdigest

        return xxh3_128_hexdigest("".join(f"{token}\0" for token in self.tokens).encode("utf-8", "surrogatepass"))

    def token(self, term: int) -> str:
        """The token with that id, as the tokenizer has it: pieces within a word start with ##, or words with Ġ or ▁."""
        return self._names.get(term, f"[{term}]")

    def id_of(self, token: str) -> int | None:
        """The id of a token; None when there is none."""
        return self._ids.get(token)

    def spans(self, text: str) -> list[tuple[int, int, int]]:
        """(term id, start, end) of each token in the order of the text: text[start:end] is what it stands for.

        Special tokens and unknown words are left out.
        """
        if not self.named:
            return []
        with tokenizing:
            encoding = self._tokenizer.encode(valid_text(text), add_special_tokens=False)
        pairs = zip(encoding.ids, encoding.offsets, strict=True)
        return [(term, start, end) for term, (start, end) in pairs if term not in self.special]
