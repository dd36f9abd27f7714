"""One generation of a graph, opened for reading: what was found in which passage, and whether it is of the present texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from lsr.errors import StoreMismatch
from lsr.index.snapshot import Snapshot
from lsr.index.storage.deletions import open_deletions
from lsr.index.storage.graph_files import GRAPH_FORM
from lsr.index.storage.locks import Pin
from lsr.rag.graph.store.manifest import GraphManifest
from lsr.rag.graph.store.records import Left, RecordSegment
from lsr.rag.graph.types import Extracted
from lsr.rerank.store import IndexIdentity

__all__ = ["Difference", "GraphSnapshot", "check_belongs", "documents_digest", "index_digest"]

Rows = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

_TOGETHER = 4096  # passages that are looked up at a time


class Difference(NamedTuple):
    """How a graph differs from its index. lacking: rows of the index, rising, of passages of whose text nothing is kept;
    failed: those on which the extractor failed; gone: ids that only the graph has."""

    lacking: Rows
    failed: Rows
    gone: list[str]


class GraphSnapshot:
    """The records of one generation. A passage's row in the graph is its segment's first row plus its row in there; rows of
    passages that went stay empty."""

    def __init__(self, path: Path, manifest: GraphManifest, pin: Pin | None = None) -> None:
        self.path, self.manifest, self._pin = path, manifest, pin
        self.parts = [
            Left(entry, RecordSegment(path, entry), open_deletions(path, entry, GRAPH_FORM.remedy))
            for entry in manifest.segments
        ]
        self._firsts = np.cumsum([0, *(part.entry.documents for part in self.parts)], dtype=np.int64)

    @property
    def passages(self) -> int:
        return sum(part.live for part in self.parts)

    @property
    def failed(self) -> int:
        """Passages on which the extractor failed."""
        return sum(int(np.count_nonzero(part.segment.failed[part.is_left])) for part in self.parts)

    def rows(self, ids: Sequence[str]) -> Rows:
        """Rows in the graph, -1 for passages that are not in it."""
        found = np.full(len(ids), -1, np.int64)
        for first, part in zip(self._firsts[:-1].tolist(), self.parts, strict=True):
            rows = part.segment.ids.find_each(ids)
            there = rows >= 0
            there[there] = part.is_left[rows[there]]
            found[there] = first + rows[there]
        return found

    def found(self, snapshot: Snapshot) -> Iterator[Extracted]:
        """What was found in each passage of a generation of the index, in its order; nothing where the extractor failed."""
        for first in range(0, snapshot.documents, _TOGETHER):
            ids = [snapshot.id_of(row) for row in range(first, min(first + _TOGETHER, snapshot.documents))]
            for passage, row in zip(ids, self.rows(ids).tolist(), strict=True):
                if row >= 0:
                    number = int(np.searchsorted(self._firsts, row, side="right")) - 1
                    found = self.parts[number].segment.found(row - int(self._firsts[number]), passage)
                    if found is not None:
                        yield found

    def difference(self, snapshot: Snapshot) -> Difference:
        """How it differs from a generation of its index, told by hashes of ids and of texts."""
        ids, texts = snapshot.hashes()
        none = np.zeros(0, np.uint64)
        kept = np.concatenate([none, *(part.segment.ids.hashes()[part.is_left] for part in self.parts)])
        of = np.concatenate([none, *(part.segment.hashes[part.is_left] for part in self.parts)])
        failed = np.concatenate([none, *(part.segment.failed[part.is_left] for part in self.parts)]) > 0
        rows = np.concatenate(
            [none.astype(np.int64), *(self._firsts[i] + np.flatnonzero(p.is_left) for i, p in enumerate(self.parts))]
        )
        order = np.argsort(kept, kind="stable")
        at = np.minimum(np.searchsorted(kept[order], ids), max(0, len(kept) - 1))
        if len(kept):
            mine = order[at]
            there = (kept[mine] == ids) & (of[mine] == texts)
            failing = there & failed[mine]
        else:
            there = failing = np.zeros(len(ids), bool)
        gone = rows[~np.isin(kept, ids)]
        return Difference(np.flatnonzero(~there), np.flatnonzero(failing), [self._id_of(row) for row in gone.tolist()])

    def _id_of(self, row: int) -> str:
        number = int(np.searchsorted(self._firsts, row, side="right")) - 1
        return self.parts[number].segment.ids[row - int(self._firsts[number])]


def documents_digest(snapshot: Snapshot) -> str:
    """A digest of the ids and texts of a generation of an index, in their order."""
    digest = xxhash.xxh3_128()
    for hashes in snapshot.hashes():
        digest.update(hashes.astype("<u8", copy=False).tobytes())
    return digest.hexdigest()


def index_digest(snapshot: Snapshot) -> str:
    """A digest of the manifest of a generation of an index: equal ones have the same documents."""
    return xxhash.xxh3_128_hexdigest(snapshot.manifest.to_json())


def check_belongs(path: Path, manifest: GraphManifest, snapshot: Snapshot) -> None:
    """Raises `StoreMismatch` where a graph was made for another index."""
    mine = IndexIdentity.of(snapshot.manifest)
    if not manifest.index.same(mine):
        raise StoreMismatch(
            f"{path}: belongs to another index, of {manifest.index.created[:40]}, where this one is of {mine.created[:40]};"
            f" `lsr graph build {snapshot.path} --overwrite` makes one of this"
        )
