"""BM25 as the baseline: bm25s, with the settings that published figures use."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lsr.corpus import Query
from lsr.errors import InvalidInput, MissingExtra
from lsr.eval.systems.system import TIMED, UnderTest
from lsr.eval.timing import Stage, Stopwatch, peak_memory
from lsr.run_file import Ranking

__all__ = ["Bm25System"]

_BATCH = 4096  # documents tokenised at a time


class Bm25System:
    """BM25 in Lucene's form (Kamphuis et al. 2020) by bm25s (Lù 2024), title and text as one field.

    English stop words, Snowball's English stemmer. k1 and b are those of Pyserini's published figures, 0.9 and 0.4.
    """

    kind = "bm25"
    models: Sequence[Mapping[str, str | None]] = ()
    threads: Sequence[int] = (1,)
    timed = TIMED

    def __init__(self, name: str = "bm25", k1: float = 0.9, b: float = 0.4) -> None:
        if not (0 <= k1 < 1e6 and 0 <= b <= 1):
            raise InvalidInput(f"bm25(k1={k1:g}, b={b:g}): k1 must be 0 or more, and b lie between 0 and 1")
        try:
            import bm25s
            import Stemmer
        except ImportError as error:
            raise MissingExtra(error.name or "bm25s", "eval", "BM25 as a baseline") from None
        self.name, self.k1, self.b = name, k1, b
        self.description = "BM25 (Lucene's form) by bm25s, English stop words, Snowball stemmer"
        self._version = bm25s.__version__
        stemmer = Stemmer.Stemmer("english")
        self._tokenizer: Any = bm25s.tokenization.Tokenizer(stemmer=stemmer, stopwords="en")
        self._engine: Any = bm25s.BM25(method="lucene", k1=k1, b=b, backend="numba")
        self._ids: list[str] = []
        self._index: dict[str, Any] = {}

    @property
    def settings(self) -> Mapping[str, str | float | bool | None]:
        return {"k1": self.k1, "b": self.b, "stop words": "English", "stemmer": "Snowball English"}

    def fingerprint(self) -> str:
        return json.dumps(["bm25s", self._version, dict(self.settings)])

    def prepare(self, test: UnderTest) -> None:
        with peak_memory() as memory, Stopwatch() as watch:
            tokens: list[list[int]] = []
            batch: list[str] = []
            for document in test.dataset.documents():
                self._ids.append(document.id)
                batch.append(document.content)
                if len(batch) == _BATCH:
                    tokens += self._tokens(batch, grow=True)
                    batch.clear()
                    test.progress(f"{self.name}: tokenising", len(self._ids), test.facts.documents)
            tokens += self._tokens(batch, grow=True)
            # Words of the last documents are in no earlier vocabulary; the empty word is for documents without any.
            self._engine.index((tokens, self._tokenizer.get_vocab_dict()), show_progress=False)
        arrays = ("data", "indices", "indptr")
        total = sum(int(np.asarray(self._engine.scores[name]).nbytes) for name in arrays)
        self._index = {
            "bytes": {"postings": total, "total": total},
            "bytes_per_document": total / len(self._ids),
            "build_s": watch.seconds,
            "documents_per_s": len(self._ids) / watch.seconds,
            "peak_mib": memory.peak_mib,
        }

    def search(self, queries: Sequence[Query], k: int) -> dict[str, Ranking]:
        return {query.id: self._retrieve(self._tokenise(query.text), k) for query in queries}

    def stages(self, k: int) -> Sequence[Stage]:
        return [("tokenise", self._tokenise), ("search", lambda tokens: self._retrieve(tokens, k))]

    def answer(self, texts: Sequence[str], k: int, threads: int) -> None:
        for text in texts:
            self._retrieve(self._tokenise(text), k)

    def costs(self, test: UnderTest) -> dict[str, Any]:
        return {"index": self._index}

    def close(self) -> None:
        self._engine = self._tokenizer = None
        self._ids = []

    def _tokens(self, texts: Sequence[str], *, grow: bool) -> list[list[int]]:
        found = self._tokenizer.tokenize(
            list(texts), update_vocab=grow, return_as="ids", show_progress=False, allow_empty=grow
        )
        return [list(map(int, line)) for line in found]

    def _tokenise(self, text: str) -> list[int]:
        return self._tokens([text], grow=False)[0]

    def _retrieve(self, tokens: list[int], k: int) -> Ranking:
        if not tokens:
            return Ranking((), ())
        rows, scores = self._engine.retrieve([tokens], k=min(k, len(self._ids)), show_progress=False)
        # Documents without a word of the query fill up the list with scores of 0.
        found = int(np.count_nonzero(scores[0] > 0))
        ids = self._ids
        return Ranking(tuple([ids[row] for row in rows[0, :found].tolist()]), tuple(scores[0, :found].tolist()))
