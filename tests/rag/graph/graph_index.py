"""Small indexes whose graphs are known: an extractor that reads words, and what a graph holds, to be compared."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

import lsr
from lsr.encoders import Encoder
from lsr.index.formats.vector_file import Batch, VectorFile
from lsr.rag.graph.arrays import Pairs, build_arrays
from lsr.rag.graph.store import Graph, GraphSyncReport
from lsr.rag.graph.types import Extracted, Fact, GraphArrays, Text
from lsr.rag.types import Failure
from lsr.sparse import SparseVectors
from tests.reliability.collections import DIM, vectors_of

__all__ = ["TEXTS", "Hashed", "Prefixes", "Words", "built", "content", "indexed", "made_anew", "source", "synced"]

TEXTS = {
    "a": "Ada wrote Notes",
    "b": "Babbage built Engine",
    "c": "Ada knew Babbage plus many Babbages",
    "d": "nothing to see here",
    "e": "Engine resembles Engines",
    "f": "Notes mention Engine",
}


class Words:
    """Words with a capital are phrases, and three words in a row of which the first and last are phrases a fact. `read` are
    the ids of what was read. failing: of passages on which it fails; hook: called with the id of each."""

    name = "words"

    def __init__(
        self, version: int = 1, *, failing: Sequence[str] = (), hook: Callable[[str], None] | None = None
    ) -> None:
        self.version, self.failing, self.hook = version, set(failing), hook
        self.read: list[str] = []

    def identity(self) -> Mapping[str, Any]:
        return {"extractor": "words", "version": self.version}

    def extract(self, texts: Sequence[Text]) -> Iterator[Extracted | Failure]:
        for text in texts:
            if self.hook is not None:
                self.hook(text.id)
            self.read.append(text.id)
            if text.id in self.failing:
                yield Failure("graph: words", f"cannot read {text.id}")
                continue
            words = text.text.split()
            facts = [
                Fact(one, f"{between} {self.version}", other)
                for one, between, other in zip(words, words[1:], words[2:], strict=False)
                if one[0].isupper() and other[0].isupper() and between.islower()
            ]
            yield Extracted(text.id, tuple(dict.fromkeys(word for word in words if word[0].isupper())), tuple(facts))


class Hashed:
    """An encoder of a few terms that loads at once: a word is a term, whatever its case. `encoded` are the texts that it was
    asked for. It has what a graph asks of an encoder."""

    name = source = hash = "hashed"
    dim = DIM

    def __init__(self, hash: str = "hashed") -> None:
        self.hash, self.reading = hash, {"max_length": 512}
        self.encoded: list[str] = []

    def encode_query(self, texts: Sequence[str]) -> SparseVectors:
        self.encoded += texts
        return vectors_of([Counter(zlib.crc32(word.lower().encode()) % DIM for word in text.split()) for text in texts])


class Prefixes:
    """Phrases that begin with the same six letters are synonyms."""

    def identity(self) -> Mapping[str, Any]:
        return {"prefix": 6}

    def pairs(self, phrases: Sequence[str]) -> Pairs:
        found = [
            (i, j)
            for j, other in enumerate(phrases)
            for i, one in enumerate(phrases[:j])
            if len(one) >= 6 and one[:6] == other[:6]
        ]
        table = np.array(found, np.int64).reshape(-1, 2)
        return table[:, 0], table[:, 1], np.full(len(table), 0.9, np.float32)


def source(texts: Mapping[str, str]) -> VectorFile:
    """Documents with vectors of their own, so that nothing is encoded."""

    def read() -> Iterator[Batch]:
        if texts:
            vectors = vectors_of([{len(text) % DIM: 1} for text in texts.values()], list(texts))
            yield Batch(vectors, [lsr.Document(id, text) for id, text in texts.items()])

    return VectorFile(name="made documents", dim=DIM, read=read, texts=True)


def indexed(path: Path, texts: Mapping[str, str] = TEXTS, **options: Any) -> lsr.Index:
    return lsr.Index.build(source(texts), path, **options)


def built(index: lsr.Index, extractor: Words | None = None, encoder: Hashed | None = None, **options: Any) -> Graph:
    return Graph.build(
        index, extractor or Words(), synonyms=Prefixes(), encoder=cast(Encoder, encoder or Hashed()), **options
    )


def synced(index: lsr.Index, extractor: Words | None = None, encoder: Hashed | None = None) -> GraphSyncReport:
    return Graph.sync(index, extractor or Words(), synonyms=Prefixes(), encoder=cast(Encoder, encoder or Hashed()))


def content(graph: Graph | GraphArrays, ids: Sequence[str] | None = None) -> dict[str, Any]:
    """All that a graph holds, as plain values; ids: of the passages."""
    if isinstance(graph, Graph):
        ids, graph = [graph.id_of(passage) for passage in range(graph.arrays.passages)], graph.arrays
    arrays = {
        name: getattr(graph, name).tolist()
        for name in (
            *("indptr", "targets", "weights", "kinds", "subjects", "objects"),
            *("fact_indptr", "fact_passages", "mentions"),
        )
    }
    return {"ids": ids, "phrases": list(graph.phrases), "predicates": list(graph.predicates), **arrays}


def made_anew(index: lsr.Index, version: int = 1, failing: Sequence[str] = ()) -> dict[str, Any]:
    """What the graph of an index should hold: of all its texts, in its order."""
    ids = [index.id_of(row) for row in range(len(index))]
    records = [index.record_of(row) for row in range(len(index))]
    texts = [Text(id, record.text) for id, record in zip(ids, records, strict=True) if record is not None]
    found = [one for one in Words(version, failing=failing).extract(texts) if isinstance(one, Extracted)]
    return content(build_arrays(found, ids, synonyms=Prefixes()), ids)
