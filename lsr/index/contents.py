"""What an open index holds: the part of `Index` that only tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.hits import Explanation
from lsr.index.facts import facts_of
from lsr.index.query_side import QuerySide
from lsr.index.snapshot import Snapshot
from lsr.index.storage.manifest import Manifest
from lsr.index.storage.records import Record
from lsr.sparse import SparseVectors

__all__ = ["Contents"]


class Contents:
    """Tells of the generation that is open, `_snapshot`. Each answer is of one generation, whatever others do meanwhile."""

    _snapshot: Snapshot

    @property
    def snapshot(self) -> Snapshot:
        """The generation that is open."""
        return self._snapshot

    @property
    def manifest(self) -> Manifest:
        """What the folder says about the generation that is open."""
        return self._snapshot.manifest

    @property
    def generation(self) -> int:
        """The number of the generation that is open: 1 after `build`, one more after each change."""
        return self.manifest.generation

    def __len__(self) -> int:
        """Number of documents."""
        return self._snapshot.documents

    @property
    def dim(self) -> int:
        return self.manifest.dim

    @property
    def nnz(self) -> int:
        """Number of stored weights in all documents together."""
        return self._snapshot.nnz

    @property
    def scale(self) -> float:
        """The step of the stored weights: each is a whole number of them (see docs/architecture.md)."""
        return self._snapshot.scale

    @property
    def tokens(self) -> tuple[str, ...] | None:
        """The text of each term [dim]: the vocabulary of the encoder, or the words of the file that was imported; None for
        an index of bare vectors."""
        return self._snapshot.tokens

    @property
    def query_encoder(self) -> QuerySide | None:
        """The query side of the encoder, as the index keeps it; None for an index made from bare vectors."""
        return self._snapshot.query_encoder

    def vectors(self, rows: Sequence[int] | npt.NDArray[np.integer[Any]]) -> SparseVectors:
        """The stored vectors of documents, by row number, with their ids."""
        return self._snapshot.vectors(np.asarray(rows, np.int64))

    def batches(self, size: int = 1 << 14) -> Iterator[SparseVectors]:
        """The stored vectors of all documents with their ids, in document order, up to `size` documents at a time."""
        snapshot = self._snapshot
        for first in range(0, snapshot.documents, size):
            yield snapshot.vectors(np.arange(first, min(first + size, snapshot.documents)))

    def statistics(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Terms of each document [documents], and documents of each term [dim]: what sparsity is measured from."""
        return self._snapshot.statistics()

    def text_hashes(self, rows: Sequence[int] | npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint64]:
        """A hash (xxh3-64) of title and text of each document, by row number; 0 where the index keeps no texts. It tells
        whether what was made of a text elsewhere is still of that text."""
        return self._snapshot.text_hashes(np.asarray(rows, np.int64))

    def row_of(self, identifier: str) -> int | None:
        """The row number of a document, None when there is no document with that id.

        Rows count the documents in the order in which they were added; a change to the index may give a document another."""
        return self._snapshot.find(identifier)

    def id_of(self, row: int) -> str:
        """The id of the document in a row."""
        return self._snapshot.id_of(row)

    def record_of(self, row: int) -> Record | None:
        """Title, text and metadata of the document in a row; None when the index keeps no texts."""
        return self._snapshot.record_of(row)

    def explain(self, terms: npt.NDArray[Any], weights: npt.NDArray[np.float32], row: int) -> Explanation:
        """Why the document in a row has its score for a sparse query; see `Hit.explain`."""
        return self._snapshot.explain(terms, weights, row)

    def info(self) -> dict[str, Any]:
        """Counts, sizes and origin, as `lsr info --json` prints them.

        "compact" says why the index should be compacted, None where that would gain little.
        """
        return facts_of(self._snapshot)
