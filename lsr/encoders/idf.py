"""Inverse document frequencies as query weights: from a corpus, from a shared table, or from both.

With N documents of which df contain a term, idf = ln(1 + (N - df + 0.5) / (df + 0.5)) = ln((N + 1) / (df + 0.5)), the
form of BM25 in Lucene and of the inference-free encoders of OpenSearch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput

__all__ = ["CORPUS_SHARE", "TokenCounts", "blend", "idf"]

# Share of the corpus in the weights of queries. nDCG@10 of the bundled encoder on training pairs (benchmarks/idf_sources.py;
# three collections at 200 to 20,000 texts, mean of 11 cases): corpus alone .7495, shared table alone .7476, half of each
# .7509. Half also loses least where another is best: at most .010, the corpus alone up to .028 (MedQuAD, whose questions
# differ in words that most answers hold), the table alone up to .017. Adding the table as the counts of 100 to 30,000 more
# documents gave .7488 to .7494 and lost up to .013 to .028.
CORPUS_SHARE = 0.5


def idf(df: npt.ArrayLike, n: float) -> npt.NDArray[np.float32]:
    """Inverse document frequency, float32, of terms that `df` of `n` documents contain."""
    frequencies = np.asarray(df, np.float64)
    return np.log1p((n - frequencies + 0.5) / (frequencies + 0.5)).astype(np.float32)


class TokenCounts:
    """In how many documents each term occurs, counted as the documents stream by.

    `documents` counts the documents, `df` int64 [dim] those that contain each term, `tokens` all tokens seen and
    `truncated` the documents that were longer than the encoder reads. Only what the encoder reads is counted; special
    tokens are not.
    """

    __slots__ = ("df", "documents", "tokens", "truncated")

    def __init__(self, dim: int) -> None:
        self.documents = 0
        self.df: npt.NDArray[np.int64] = np.zeros(dim, np.int64)
        self.tokens = 0
        self.truncated = 0

    @property
    def dim(self) -> int:
        """Number of terms in the vocabulary."""
        return len(self.df)

    def add(self, documents: Sequence[npt.NDArray[np.integer[Any]]], truncated: int = 0) -> None:
        """Counts documents given as their term ids, repeated as in the text."""
        self.documents += len(documents)
        self.truncated += truncated
        if not documents or not (total := sum(map(len, documents))):
            return
        self.tokens += total
        terms = np.concatenate(documents).astype(np.int64)
        if int(terms.max()) >= self.dim or int(terms.min()) < 0:
            raise InvalidInput(f"a document has term {int(terms.max())}: the counts are for {self.dim} terms")
        rows = np.repeat(np.arange(len(documents)), [len(d) for d in documents])
        self.df += np.bincount(np.unique(rows * self.dim + terms) % self.dim, minlength=self.dim)

    def to_json(self) -> dict[str, Any]:
        """The counts as JSON can say them."""
        return {name: getattr(self, name) for name in ("documents", "tokens", "truncated")} | {"df": self.df.tolist()}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> TokenCounts:
        """Counts that `to_json` gave. Raises ValueError for anything else."""
        counts, df = cls(0), facts.get("df")
        numbers = [facts.get(name) for name in ("documents", "tokens", "truncated")]
        if not isinstance(df, list) or any(type(one) is not int or not 0 <= one < 1 << 62 for one in (*numbers, *df)):
            raise ValueError("counts are no numbers")
        counts.documents, counts.tokens, counts.truncated = facts["documents"], facts["tokens"], facts["truncated"]
        counts.df = np.array(df, np.int64)
        return counts

    def __repr__(self) -> str:
        return f"TokenCounts({self.documents:,} documents, {self.tokens:,} tokens, {self.truncated:,} truncated)"


def blend(
    counts: TokenCounts, shared_table: npt.NDArray[np.float32], share: float = CORPUS_SHARE
) -> npt.NDArray[np.float32]:
    """Query weights float32 [dim]: `share` of the corpus's inverse document frequencies, the rest of a shared table.

    Share 1 is the corpus alone, 0 the shared table. Without documents there is only the table. A weight of 0 or below
    in the shared table becomes 0, whatever the corpus says: it marks what is no term.

    Raises `InvalidInput` when the share is not between 0 and 1 or the table has another length than the counts.
    """
    if not 0 <= share <= 1:
        raise InvalidInput(f"the share of the corpus is {share}: it must be between 0 and 1")
    if shared_table.shape != counts.df.shape:
        raise InvalidInput(f"the shared table has shape {shared_table.shape}: the counts have {counts.df.shape}")
    shared = np.maximum(np.asarray(shared_table, np.float32), np.float32(0))
    if counts.documents == 0:
        return shared
    weights: npt.NDArray[np.float32] = np.float32(share) * idf(counts.df, counts.documents)
    weights += np.float32(1 - share) * shared
    weights[shared == 0] = 0
    return weights
