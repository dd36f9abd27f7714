"""What a multivector model is, whatever folder it came from: a transformer, its projection, and how each side reads texts."""

from __future__ import annotations

from dataclasses import dataclass

from lsr.encoders.layouts import fingerprint
from lsr.encoders.model import VectorSide

__all__ = ["SIMILARITIES", "Expansion", "MultiVectorModel", "Skiplist"]

SIMILARITIES = ("maxsim", "meanmaxsim")  # the second is divided by the number of the query's vectors


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """Queries are filled up with a token to `length` tokens, and its vectors count (Khattab and Zaharia 2020, section 3.2).

    `attend`: whether the transformer sees those tokens. `fixed`: longer queries are cut to the length, otherwise to what the
    query side reads.
    """

    token: str
    length: int
    attend: bool = False
    fixed: bool = True


@dataclass(frozen=True, kw_only=True)
class Skiplist:
    """Tokens whose vectors are left out: those of `words`, on the sides that `tasks` names ("query", "document").

    `only`, when given, are the ids of the only tokens of documents that are kept.
    """

    words: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ("document",)
    only: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class MultiVectorModel:
    """A multivector model as a folder gives it: both sides share transformer, tokenizer and projection.

    `source` is the folder, or hub id@revision. The markers that a model puts before texts stand in the prompts of its sides,
    and its tokenizer knows them.
    """

    name: str
    source: str
    query: VectorSide
    document: VectorSide
    expansion: Expansion | None
    skiplist: Skiplist
    similarity: str = "maxsim"

    def fingerprint(self) -> str:
        """xxh3-128 in hex over all that the vectors depend on, length limits apart: weights, tokenizer, settings."""
        expansion = self.expansion
        return fingerprint(
            self.document,
            query_prompt=self.query.prompt,
            expansion=None if expansion is None else [expansion.token, expansion.attend, expansion.fixed],
            skiplist=[self.skiplist.words, self.skiplist.tasks, self.skiplist.only],
            similarity=self.similarity,
        )
