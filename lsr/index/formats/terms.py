"""From the tokens of a file to terms: by a vocabulary that was given, or by one made of the file's own tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lsr.errors import CorpusError, InvalidInput, InvalidVectors
from lsr.sparse_rules import checked_dim

__all__ = ["Terms"]

_MOST_DIGITS = len(str(1 << 32))


class Terms:
    """The term of each token.

    `tokens` is the text of each term, where it was made of the file's own words; None where the vocabulary was given, and
    where tokens are the numbers of their terms. `dropped` counts the unknown tokens left out, as often as they were met.
    """

    def __init__(self, of: dict[str, int], dim: int, tokens: tuple[str, ...] | None, *, drop: bool = False) -> None:
        self._of, self.dim, self.tokens, self._drop = of, dim, tokens, drop
        self.dropped = 0

    @classmethod
    def given(cls, vocabulary: Sequence[str] | Mapping[str, int], dim: int | None, *, drop: bool) -> Terms:
        """Those of a vocabulary: the token of each term, or the term of each token. Raises `InvalidInput` for a token
        that is given twice, and a term outside of dim."""
        if isinstance(vocabulary, str | bytes):
            raise InvalidInput(
                "the vocabulary is one text: give the token of each term, or a mapping of tokens to terms"
            )
        pairs = vocabulary.items() if isinstance(vocabulary, Mapping) else ((t, i) for i, t in enumerate(vocabulary))
        of = dict(pairs)
        if len(of) != len(vocabulary):
            seen: set[str] = set()
            twice = next(token for token in vocabulary if token in seen or seen.add(token))  # type: ignore[func-returns-value]
            raise InvalidInput(f"the vocabulary has the token {twice!r} twice: each term needs one of its own")
        highest = max(of.values(), default=-1)
        if min(of.values(), default=0) < 0 or (dim is not None and highest >= dim):
            raise InvalidInput(f"the vocabulary has terms outside of 0 to {'dim' if dim is None else dim - 1}")
        return cls(of, _dim(max(highest + 1, 1) if dim is None else dim), None, drop=drop)

    @classmethod
    def found(cls, tokens: Iterable[str], dim: int | None, name: str) -> Terms:
        """Those of all the distinct tokens of a file, in sorted order; numbers where all of them are numbers."""
        distinct = sorted(set(tokens))
        if all(map(_is_number, distinct)):
            of = {token: int(token) for token in distinct}
            highest = max(of.values(), default=0)
            if dim is not None and highest >= dim:
                raise CorpusError(
                    f"{name}: has the term {highest:,}, outside of the {dim:,} that it should have (--dim)"
                )
            return cls(of, highest + 1 if dim is None else dim, None)
        if dim is not None:
            raise InvalidInput(
                f"{name}: its terms are words, so --dim {dim} says nothing: name the encoder whose vocabulary they are"
                " (--encoder, vocabulary=), or leave it out"
            )
        return cls({token: term for term, token in enumerate(distinct)}, len(distinct), tuple(distinct))

    def __call__(self, tokens: Iterable[str], place: str) -> list[int]:
        """The terms of tokens; -1 for those that are unknown and dropped, else `CorpusError` that names place and token."""
        of = self._of
        try:
            return [of[token] for token in tokens]
        except KeyError as unknown:
            if not self._drop:
                raise CorpusError(
                    f"{place}: the token {unknown.args[0][:60]!r} is not in the vocabulary; is it that of this encoder?"
                    " --drop-unknown leaves such tokens out"
                ) from None
        terms = [of.get(token, -1) for token in tokens]
        self.dropped += terms.count(-1)
        return terms


def _is_number(token: str) -> bool:
    """Whether a token is the number of a term, as `lsr export` writes them."""
    plain = token.isascii() and token.isdecimal() and len(token) <= _MOST_DIGITS
    return plain and (token == "0" or token[0] != "0") and int(token) < 1 << 32


def _dim(dim: int) -> int:
    try:
        return checked_dim(dim)
    except InvalidVectors as error:
        raise InvalidInput(str(error)) from None
