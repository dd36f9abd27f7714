"""BM25 as the baseline."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lsr.bm25 import Bm25
from lsr.corpus import Query
from lsr.eval.systems.system import TIMED, UnderTest
from lsr.eval.timing import Stage, Stopwatch, peak_memory
from lsr.run_file import Ranking

__all__ = ["Bm25System"]

BACKEND = "numba"  # of bm25s, the faster one


class Bm25System:
    """BM25 (`lsr.bm25`), title and text as one field."""

    kind = "bm25"
    models: Sequence[Mapping[str, str | None]] = ()
    threads: Sequence[int] = (1,)
    timed = TIMED

    def __init__(self, name: str = "bm25", k1: float = 0.9, b: float = 0.4) -> None:
        self._engine: Bm25 = Bm25(k1, b, backend=BACKEND)
        self.name = name
        self.description = "BM25 (Lucene's form) by bm25s, English stop words, Snowball stemmer"
        self.settings: Mapping[str, str | float | bool | None] = {
            "k1": k1,
            "b": b,
            "stop words": "English",
            "stemmer": "Snowball English",
        }
        self._ids: list[str] = []
        self._index: dict[str, Any] = {}

    def fingerprint(self) -> str:
        return json.dumps(["bm25s", self._engine.version, dict(self.settings)])

    def prepare(self, test: UnderTest) -> None:
        def contents() -> Iterator[str]:
            for document in test.dataset.documents():
                self._ids.append(document.id)
                yield document.content

        with peak_memory() as memory, Stopwatch() as watch:
            self._engine.index(
                contents(), lambda done: test.progress(f"{self.name}: tokenising", done, test.facts.documents)
            )
        total = self._engine.bytes
        self._index = {
            "bytes": {"postings": total, "total": total},
            "bytes_per_document": total / len(self._ids),
            "build_s": watch.seconds,
            "documents_per_s": len(self._ids) / watch.seconds,
            "peak_mib": memory.peak_mib,
        }

    def search(self, queries: Sequence[Query], k: int) -> dict[str, Ranking]:
        return {query.id: self._retrieve(self._engine.tokenise(query.text), k) for query in queries}

    def stages(self, k: int) -> Sequence[Stage]:
        return [("tokenise", self._engine.tokenise), ("search", lambda tokens: self._retrieve(tokens, k))]

    def answer(self, texts: Sequence[str], k: int, threads: int) -> None:
        for text in texts:
            self._retrieve(self._engine.tokenise(text), k)

    def costs(self, test: UnderTest) -> dict[str, Any]:
        return {"index": self._index}

    def close(self) -> None:
        self._engine = Bm25(self._engine.k1, self._engine.b, backend=BACKEND)
        self._ids = []

    def _retrieve(self, tokens: list[int], k: int) -> Ranking:
        rows, scores = self._engine.retrieve(tokens, k)
        ids = self._ids
        return Ranking(tuple([ids[row] for row in rows.tolist()]), tuple(scores.tolist()))
