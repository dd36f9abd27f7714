"""The second stage as an index sees it: hits in, hits out.

    index.search("how do I rotate a log file?", k=10, rerank=CrossEncoderReranker("cross-encoder/ms-marco-MiniLM-L6-v2"))

`TextReranker` is the base of those that read the stored texts of candidates: `CrossEncoderReranker`, and `FunctionReranker`
for anything that can be called.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from lsr.corpus import Document
from lsr.errors import InvalidInput
from lsr.hits import Hits, HitSource
from lsr.rerank.fusion import FUSIONS, fused

__all__ = ["FunctionReranker", "TextReranker", "content_of"]

# Scores of texts for a query.
TextScorer = Callable[[str, Sequence[str]], Sequence[float] | npt.ArrayLike]


class TextReranker(ABC):
    """Orders the candidates of the first stage by what a scorer says of their texts.

    candidates: how many the first stage gives (at least k are asked for). fusion: what becomes of its scores
    (`lsr.rerank.fusion`); weight: that of the first stage in "interpolate".
    """

    def __init__(self, name: str, *, candidates: int = 50, fusion: str = "replace", weight: float = 0.5) -> None:
        if candidates < 1:
            raise InvalidInput(f"candidates is {candidates}: it must be 1 or more")
        if fusion not in FUSIONS:
            raise InvalidInput(f"there is no fusion {fusion!r}: there are {', '.join(FUSIONS)}")
        if not 0 <= weight <= 1:
            raise InvalidInput(f"weight is {weight}: it must be between 0 and 1")
        self.name, self.candidates, self.fusion, self.weight = name, candidates, fusion, weight

    @abstractmethod
    def scores(self, pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.float64]:
        """A score for each (query, text), higher is better."""

    def rerank(self, hits: Sequence[Hits], k: int) -> list[Hits]:
        """The k best of each query's candidates, in its new order; equal scores in the order of the first stage.

        Raises `InvalidInput` where queries are vectors, or the index keeps no texts, and for scores that are no numbers.
        """
        pairs = [pair for found in hits for pair in self._pairs(found)]
        scores = np.asarray(self.scores(pairs), np.float64) if pairs else np.zeros(0)
        if scores.shape != (len(pairs),):
            raise InvalidInput(
                f"{self.name}: gave scores of shape {scores.shape} for {len(pairs)} pairs of query and text"
            )
        if not (scores < np.inf).all():
            raise InvalidInput(
                f"{self.name}: gave a score that is no number; look at the texts, or choose another reranker"
            )
        result, at = [], 0
        for found in hits:
            mine = scores[at : at + len(found)]
            at += len(found)
            scored = fused(self.fusion, found.scores, mine, self.weight)
            order = np.argsort(-scored, kind="stable")[:k]
            result.append(found.reordered(order, scored[order]))
        return result

    def _pairs(self, found: Hits) -> list[tuple[str, str]]:
        if not len(found):
            return []
        if found.query is None:
            raise InvalidInput(f"{self.name} reads texts: ask with a text, not with a vector")
        return [(found.query, content_of(found.source, row)) for row in found.rows.tolist()]


class FunctionReranker(TextReranker):
    """Any function of (query, texts) that gives a score for each text."""

    def __init__(
        self,
        function: TextScorer,
        name: str = "function",
        *,
        candidates: int = 50,
        fusion: str = "replace",
        weight: float = 0.5,
    ) -> None:
        super().__init__(name, candidates=candidates, fusion=fusion, weight=weight)
        self._function = function

    def scores(self, pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.float64]:
        found = [np.zeros(0)]
        for query, texts in _by_query(pairs):
            given = np.asarray(self._function(query, texts), np.float64)
            if given.shape != (len(texts),):
                raise InvalidInput(f"{self.name}: gave scores of shape {given.shape} for {len(texts)} texts")
            found.append(given)
        return np.concatenate(found)


def content_of(source: HitSource, row: int) -> str:
    """Title and text of a document, as encoders read them. Raises `InvalidInput` where the index keeps no texts."""
    record = source.record_of(row)
    if record is None:
        raise InvalidInput("the index keeps no texts, which reranking needs: build it again with texts (--keep-text)")
    title, text, _ = record
    return Document(id="", text=text, title=title).content


def _by_query(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Neighbouring pairs of the same query together."""
    runs: list[tuple[str, list[str]]] = []
    for query, text in pairs:
        if not runs or runs[-1][0] != query:
            runs.append((query, []))
        runs[-1][1].append(text)
    return runs
