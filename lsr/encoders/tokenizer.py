"""Tokenizers as lsr uses them: from the text of a tokenizer.json, never truncating or padding on their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsr.errors import EncoderError, InvalidInput, one_line

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["load_tokenizer", "special_ids", "valid_text", "vocabulary", "vocabulary_hash"]


def load_tokenizer(tokenizer_json: str) -> Tokenizer:
    """The tokenizer described by the text of a tokenizer.json. Raises `EncoderError` when it is none."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(tokenizer_json)
    except Exception as error:  # tokenizers raises bare Exceptions
        raise EncoderError(f"the tokenizer cannot be read ({one_line(error)}); it must be a tokenizer.json") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def special_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """Ids that carry no term: tokens marked as special, and the token of unknown words."""
    ids = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    unknown = getattr(tokenizer.model, "unk_token", None)
    if isinstance(unknown, str) and (i := tokenizer.token_to_id(unknown)) is not None:
        ids.add(i)
    return frozenset(ids)


def vocabulary(tokenizer: Tokenizer) -> list[str]:
    """Tokens in the order of their ids. Raises `EncoderError` when the ids have gaps."""
    tokens = sorted((i, token) for token, i in tokenizer.get_vocab(with_added_tokens=True).items())
    if [i for i, _ in tokens] != list(range(len(tokens))):
        raise EncoderError(f"the tokenizer has {len(tokens)} tokens, but their ids are not 0 to {len(tokens) - 1}")
    return [token for _, token in tokens]


def vocabulary_hash(tokens: list[str]) -> str:
    """xxh3-128 in hex over the tokens in the order of their ids, each followed by a NUL."""
    from xxhash import xxh3_128_hexdigest

    return xxh3_128_hexdigest("".join(f"{token}\0" for token in tokens).encode("utf-8", "surrogatepass"))


def valid_text(text: str) -> str:
    """The text with lone surrogates, which JSON can carry and tokenizers refuse, replaced; pairs of them are joined."""
    if not isinstance(text, str):
        raise InvalidInput(f"a text to encode is a {type(text).__name__}: it must be a str")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
