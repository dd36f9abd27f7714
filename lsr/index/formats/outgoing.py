"""What the writers of formats are given: an index, or vectors in memory, in the same clothes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.sparse import SparseVectors
from lsr.sparse_rules import is_text

if TYPE_CHECKING:
    from lsr.index.index import Index
    from lsr.index.segment_writer import Progress
    from lsr.index.storage.records import Record

__all__ = ["Outgoing"]

_ROWS = 1 << 12  # documents at a time


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """Vectors on their way into a file.

    `scale` is the step of the grid that the weights lie on, None where nobody knows one; `record` gives the texts of a
    document by its row, None where there are none.
    """

    name: str
    documents: int
    dim: int
    nnz: int
    parts: Callable[[], Iterator[SparseVectors]]
    progress: Progress
    vocabulary: Sequence[str] | None = None
    scale: float | None = None
    record: Callable[[int], Record | None] | None = None
    vectors: SparseVectors | None = None

    @classmethod
    def of(cls, source: SparseVectors | Index, vocabulary: Sequence[str] | None, progress: Progress) -> Outgoing:
        """An index with its own tokens, or vectors, with those of a vocabulary [dim] if one is given."""
        if vocabulary is not None and len(vocabulary) != (dim := source.dim):
            raise InvalidInput(f"the vocabulary has {len(vocabulary):,} tokens, the vectors {dim:,} dimensions")
        if isinstance(source, SparseVectors):
            return cls(
                name="the vectors given",
                documents=len(source),
                dim=source.dim,
                nnz=source.nnz,
                parts=lambda: (source[first : first + _ROWS] for first in range(0, len(source), _ROWS)),
                progress=progress,
                vocabulary=vocabulary,
                vectors=source,
            )
        return cls(
            name=str(source.path),
            documents=len(source),
            dim=source.dim,
            nnz=source.nnz,
            parts=lambda: source.batches(_ROWS),
            progress=progress,
            vocabulary=source.tokens if vocabulary is None else vocabulary,
            scale=source.scale,
            record=source.record_of if source.manifest.texts else None,
        )

    def batches(self) -> Iterator[SparseVectors]:
        """All vectors in order, some documents at a time."""
        done = 0
        for vectors in self.parts():
            self.progress("writing", done, self.documents)
            yield vectors
            done += len(vectors)
        self.progress("writing", done, self.documents)

    def indptr(self) -> npt.NDArray[np.int64]:
        """Where each document starts, and the end of the last [documents + 1]."""
        lengths = [np.diff(vectors.indptr) for vectors in self.parts()]
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate([np.zeros(0, np.int64), *lengths]))])

    def ids(self, vectors: SparseVectors, first: int) -> Sequence[str]:
        """The ids of a batch that starts at row `first`: row numbers where there are none."""
        return vectors.ids or [str(row) for row in range(first, first + len(vectors))]

    @cached_property
    def token(self) -> Callable[[int], str]:
        """The text of a term: its token, or its number where there is no vocabulary. Raises `InvalidInput` when two terms
        have the same token, or one has a token that is no text: nobody could tell them apart in the file."""
        if self.vocabulary is None:
            return str
        tokens = tuple(self.vocabulary)
        if len(set(tokens)) != len(tokens):
            seen: set[str] = set()
            twice = next(token for token in tokens if token in seen or seen.add(token))  # type: ignore[func-returns-value]
            raise InvalidInput(f"{self.name}: two terms have the token {twice!r}; give a vocabulary of distinct tokens")
        if broken := next((token for token in tokens if not is_text(token)), None):
            raise InvalidInput(f"{self.name}: the token {broken!r} cannot be written as UTF-8")
        return tokens.__getitem__
