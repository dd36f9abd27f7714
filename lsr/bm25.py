"""BM25 by bm25s, with the settings that published figures use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput, MissingExtra

__all__ = ["Bm25"]

_BATCH = 4096  # texts tokenised at a time


class Bm25:
    """BM25 in Lucene's form (Kamphuis et al. 2020) by bm25s (Lù 2024), over texts in memory.

    English stop words, Snowball's English stemmer. k1 and b are those of Pyserini's published figures, 0.9 and 0.4.
    backend: of bm25s: "numpy" starts at once, "numba" compiles for some seconds in each process and is faster on large
    collections. extra: which extra of the package brings bm25s to whoever asks, for the message.

    Raises `InvalidInput` for settings out of range, `MissingExtra` without bm25s and PyStemmer.
    """

    def __init__(self, k1: float = 0.9, b: float = 0.4, *, backend: str = "numpy", extra: str = "eval") -> None:
        if not (0 <= k1 < 1e6 and 0 <= b <= 1):
            raise InvalidInput(f"BM25 with k1 {k1:g} and b {b:g}: k1 must be 0 or more, and b lie between 0 and 1")
        try:
            import bm25s
            import Stemmer
        except ImportError as error:
            raise MissingExtra(error.name or "bm25s", extra, "BM25") from None
        self.k1, self.b = k1, b
        self.version: str = bm25s.__version__
        stemmer = Stemmer.Stemmer("english")
        self._tokenizer: Any = bm25s.tokenization.Tokenizer(stemmer=stemmer, stopwords="en")
        self._engine: Any = bm25s.BM25(method="lucene", k1=k1, b=b, backend=backend)
        self._count = 0

    def __len__(self) -> int:
        """How many texts there are."""
        return self._count

    def index(self, texts: Iterable[str], progress: Callable[[int], None] | None = None) -> None:
        """Takes the texts to search, once."""
        tokens: list[list[int]] = []
        batch: list[str] = []
        for text in texts:
            self._count += 1
            batch.append(text)
            if len(batch) == _BATCH:
                tokens += self._tokens(batch, grow=True)
                batch.clear()
                if progress is not None:
                    progress(self._count)
        tokens += self._tokens(batch, grow=True)
        # Words of the last texts are in no earlier vocabulary; the empty word is for texts without any.
        self._engine.index((tokens, self._tokenizer.get_vocab_dict()), show_progress=False)

    @property
    def bytes(self) -> int:
        """Size of the postings in memory."""
        return sum(int(np.asarray(self._engine.scores[name]).nbytes) for name in ("data", "indices", "indptr"))

    def tokenise(self, query: str) -> list[int]:
        """The words of a query that any text has."""
        return self._tokens([query], grow=False)[0]

    def retrieve(self, tokens: list[int], k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Row numbers and scores of the k best texts, best first; fewer where fewer have a word of the query."""
        if not tokens or not self._count:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        rows, scores = self._engine.retrieve([tokens], k=min(k, self._count), show_progress=False)
        # Texts without a word of the query fill up the list with scores of 0.
        found = int(np.count_nonzero(scores[0] > 0))
        return rows[0, :found].astype(np.int64), scores[0, :found]

    def _tokens(self, texts: list[str], *, grow: bool) -> list[list[int]]:
        found = self._tokenizer.tokenize(
            list(texts), update_vocab=grow, return_as="ids", show_progress=False, allow_empty=grow
        )
        return [list(map(int, line)) for line in found]
