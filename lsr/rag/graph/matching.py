"""What of a graph a question is about: facts that are like it, and phrases that it names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lsr.corpus.stop_words import STOP_WORDS
from lsr.encoders import Encoder
from lsr.index import Index
from lsr.rag.graph.normal import normal_form
from lsr.rag.graph.types import GraphArrays

__all__ = ["FactMatches", "Matcher"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_WORD = re.compile(r"\w+(?:['’.&-]\w+)*")
_LONGEST = 8  # words of a phrase that a question names


class FactMatches:
    """The likeness of questions and facts: products of the query's and the fact's sparse vectors, as a share of the most
    that any document could have for the query's own words. Kept as an index of the facts, made in `folder` where it is
    not there."""

    def __init__(self, graph: GraphArrays, encoder: Encoder, folder: Path) -> None:
        self._count = len(graph.subjects)
        self._index: Index | None = None
        if self._count:
            from lsr.errors import LsrError

            try:
                self._index = Index.open(folder, encoder)
                if len(self._index) != self._count:
                    self._index = None
            except LsrError:
                self._index = None
            if self._index is None:
                texts = (
                    f"{graph.phrases[s]} {p} {graph.phrases[o]}"
                    for s, p, o in zip(graph.subjects.tolist(), graph.predicates, graph.objects.tolist(), strict=True)
                )
                self._index = Index.build(texts, folder, encoder=encoder, keep_text=False, overwrite=True)

    def best(self, questions: Sequence[str], k: int) -> list[tuple[Ints, Floats]]:
        """For each question the k facts that are likest, and their likeness, best first."""
        if self._index is None:
            return [(np.zeros(0, np.int64), np.zeros(0)) for _ in questions]
        hits = self._index.search(list(questions), k=min(k, self._count), recall=1)
        return [(found.rows.astype(np.int64), found.scores.astype(np.float64)) for found in hits]


class Matcher:
    """Phrases by their normal forms."""

    def __init__(self, graph: GraphArrays) -> None:
        self._numbers = {phrase: number for number, phrase in enumerate(graph.phrases)}

    def named(self, question: str) -> list[int]:
        """The phrases that a question names: the longest runs of its words that are phrases, from left to right; not
        those of stop words alone, nor lower-case words of common speech by themselves."""
        words = list(_WORD.finditer(question))
        found: list[int] = []
        at = 0
        while at < len(words):
            for size in range(min(_LONGEST, len(words) - at), 0, -1):
                text = question[words[at].start() : words[at + size - 1].end()]
                number = self._numbers.get(normal_form(text))
                if number is not None and self._says(words[at : at + size], question):
                    found.append(number)
                    at += size
                    break
            else:
                at += 1
        return list(dict.fromkeys(found))

    @staticmethod
    def _says(words: Sequence[re.Match[str]], question: str) -> bool:
        texts = [question[word.start() : word.end()] for word in words]
        if all(text.casefold() in STOP_WORDS for text in texts):
            return False
        # A single word counts as a name where it is written as one, or is a number.
        return len(texts) > 1 or not texts[0].islower()
