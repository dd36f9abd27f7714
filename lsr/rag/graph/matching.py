"""What of a graph a question is about: facts that are like it, and phrases that it names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import xxhash

from lsr.corpus.stop_words import STOP_WORDS
from lsr.encoders import Encoder
from lsr.errors import InvalidInput, LsrError
from lsr.index import Index
from lsr.limits import Limits
from lsr.rag.graph.normal import normal_form
from lsr.rag.graph.relations import fact_texts
from lsr.rag.graph.types import GraphArrays
from lsr.sparse import SparseVectors

__all__ = ["FactLikeness", "FactMatches", "FactVectors", "Likeness", "Matcher", "unit_vectors"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_WORD = re.compile(r"\w+(?:['’.&-]\w+)*")
_LONGEST = 8  # words of a phrase that a question names
_BATCH = 4096  # facts encoded at a time


class Likeness(Protocol):
    """How like facts are to questions, above 0."""

    def best(self, questions: Sequence[str], k: int) -> list[tuple[Ints, Floats]]:
        """For each question the k facts that are likest, and their likeness, best first."""
        ...

    def likeness(self, question: str, facts: Ints) -> Floats:
        """The likeness of these facts, float64 [n]; 0 where a fact shares nothing with the question."""
        ...


class FactVectors(Protocol):
    """The vectors of facts, each of length 1, as something keeps them."""

    @property
    def dim(self) -> int: ...

    def search(self, queries: SparseVectors, k: int) -> list[tuple[Ints, Floats]]:
        """For each query the k facts with the largest products, which are above 0, and these, best first."""
        ...

    def gather(self, facts: Ints) -> tuple[Ints, npt.NDArray[Any], npt.NDArray[np.float32]]:
        """The vectors of some facts as a CSR batch: indptr [facts + 1], terms and weights."""
        ...


class FactLikeness:
    """The likeness of questions and facts: the product of a question's sparse vector with that of a fact, brought to length
    1; so it orders facts as their cosine does. Both are encoded as queries are, without inference where the encoder allows
    that: facts encoded as documents were fifty times as slow, and found no more (docs/graph.md).

    vectors: of the facts, None where there are none; encode: questions to vectors, as the first stage does it.
    """

    def __init__(self, vectors: FactVectors | None, encode: Callable[[Sequence[str]], SparseVectors]) -> None:
        self._vectors, self._encode = vectors, encode

    def best(self, questions: Sequence[str], k: int) -> list[tuple[Ints, Floats]]:
        """For each question the k facts that are likest, and their likeness, best first."""
        if self._vectors is None:
            return [(np.zeros(0, np.int64), np.zeros(0)) for _ in questions]
        return self._vectors.search(self._encode(list(questions)), k)

    def likeness(self, question: str, facts: Ints) -> Floats:
        """The likeness of these facts, float64 [n]; 0 where a fact shares nothing with the question."""
        if self._vectors is None or not len(facts):
            return np.zeros(len(facts))
        asked = self._encode([question])
        weights = np.zeros(self._vectors.dim)
        weights[asked.indices] = asked.values
        indptr, terms, values = self._vectors.gather(facts)
        rows = np.repeat(np.arange(len(facts)), np.diff(indptr))
        return np.bincount(rows, weights[terms] * values, len(facts)).astype(np.float64)


class FactMatches(FactLikeness):
    """The likeness of facts that are kept as an index, made in `folder` where it is not there.

    encode: the encoder's own way to encode questions by default.
    """

    def __init__(
        self,
        graph: GraphArrays,
        encoder: Encoder,
        folder: Path,
        encode: Callable[[Sequence[str]], SparseVectors] | None = None,
    ) -> None:
        vectors = _IndexedFacts(graph, encoder, folder) if len(graph.subjects) else None
        super().__init__(vectors, encode or encoder.encode_query)


class _IndexedFacts:
    """An index of the vectors of facts."""

    def __init__(self, graph: GraphArrays, encoder: Encoder, folder: Path) -> None:
        self._count = len(graph.subjects)
        limits = replace(Limits.default(), k=max(Limits.default().k, self._count))
        try:
            index = Index.open(folder, limits=limits)
            # One with an encoder is of a version that kept vectors of other lengths.
            if len(index) != self._count or index.query_encoder is not None:
                raise InvalidInput("of something else")
        except (LsrError, OSError):  # not there, damaged, or of an earlier version: it can be made again
            parts = [
                unit_vectors(fact_texts(graph, first, first + _BATCH), encoder)
                for first in range(0, self._count, _BATCH)
            ]
            index = Index.build(SparseVectors.concat(parts), folder, overwrite=True, limits=limits)
        self._index = index

    @property
    def dim(self) -> int:
        return self._index.dim

    def search(self, queries: SparseVectors, k: int) -> list[tuple[Ints, Floats]]:
        hits = self._index.search(queries, k=min(k, self._count), recall=1)
        return [(found.rows.astype(np.int64), found.scores.astype(np.float64)) for found in hits]

    def gather(self, facts: Ints) -> tuple[Ints, npt.NDArray[Any], npt.NDArray[np.float32]]:
        stored = self._index.snapshot.vectors(facts)
        return stored.indptr, stored.indices, stored.values


def unit_vectors(texts: list[str], encoder: Encoder) -> SparseVectors:
    """The vectors of texts as queries, in their order, brought to length 1."""
    vectors = encoder.encode_query(texts)
    rows = np.repeat(np.arange(len(vectors)), np.diff(vectors.indptr))
    lengths = np.sqrt(np.bincount(rows, vectors.values.astype(np.float64) ** 2, len(vectors)))
    values = (vectors.values / lengths[rows]).astype(np.float32)
    return SparseVectors(indptr=vectors.indptr, indices=vectors.indices, values=values, dim=vectors.dim)


class Matcher:
    """Phrases by their normal forms: through hashes, 16 bytes a phrase, for a large graph has millions."""

    def __init__(self, graph: GraphArrays) -> None:
        self._phrases = graph.phrases
        hashes = np.fromiter(map(_hash, graph.phrases), np.uint64, len(graph.phrases))
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    def number(self, phrase: str) -> int | None:
        """The number of the phrase that has the same normal form, None where there is none."""
        form = normal_form(phrase)
        wanted = np.uint64(_hash(form))
        for at in range(int(np.searchsorted(self._hashes, wanted)), len(self._hashes)):
            if self._hashes[at] != wanted:
                break
            if self._phrases[int(self._order[at])] == form:
                return int(self._order[at])
        return None

    def named(self, question: str) -> list[int]:
        """The phrases that a question names: the longest runs of its words that are phrases, from left to right. A run has a
        name in it: a word with a capital, or a number, that is no stop word. In a question without any, every run counts
        that is not of stop words alone: people who type so write names small too."""
        places = [word.span() for word in _WORD.finditer(_with_letters(question))]
        words = [question[start:end] for start, end in places]
        names = [_is_name(word) for word in words]
        small = not any(names)
        found: list[int] = []
        at = 0
        while at < len(words):
            for size in range(min(_LONGEST, len(words) - at), 0, -1):
                if not any(names[at : at + size]) and not (small and _says(words[at : at + size])):
                    continue
                number = self.number(question[places[at][0] : places[at + size - 1][1]])
                if number is not None:
                    found.append(number)
                    at += size
                    break
            else:
                at += 1
        return list(dict.fromkeys(found))


def _hash(form: str) -> int:
    return xxhash.xxh3_64_intdigest(form.encode("utf-8", "surrogatepass"))


def _is_name(word: str) -> bool:
    return not word[0].islower() and word.casefold() not in STOP_WORDS


def _says(words: Sequence[str]) -> bool:
    """Whether a run of words in small letters says something: more than one, and not stop words alone."""
    return len(words) > 1 and any(word.casefold() not in STOP_WORDS for word in words)


def _with_letters(text: str) -> str:
    """A text of the same length in which marks are letters, as they are in the words that hold them."""
    return "".join("a" if unicodedata.category(sign)[0] == "M" else sign for sign in text)
