"""A segment of a graph: what was found in one write-once group of passages.

blocks         |u1                   zstd frames of lines of JSON, [phrases, [[subject, predicate, object], ...]] each, or
                                     null where the extractor failed
block_offsets  <i8 [blocks + 1]      where each frame begins
block_rows     <i8 [blocks + 1]      the first passage of each
hashes         <u8 [passages]        of the texts that were read (`Index.text_hashes`)
failed         |u1 [passages]        1 where the extractor failed: the next synchronisation asks it again
ids_*          see `lsr.index.storage.records`
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import zstandard

from lsr.errors import InvalidInput
from lsr.index.storage.arrays import AppendFile, write_array
from lsr.index.storage.graph_files import GRAPH_FORM
from lsr.index.storage.records import IdsWriter, decompressed
from lsr.index.storage.remaining import Remaining
from lsr.index.storage.segment_arrays import SegmentArrays
from lsr.limits import MAX_DOCUMENTS
from lsr.rag.graph.store.manifest import RecordSegmentEntry
from lsr.rag.graph.types import Extracted, Fact

__all__ = ["Left", "RecordSegment", "RecordWriter", "record_of"]

_BLOCK = 64  # records that are compressed together,
_BYTES = 1 << 20  # as long as they are no longer than that
_LONGEST = 64 << 20  # bytes of a record
_KEPT = 16  # blocks in memory
_FAILED = b"null"


def record_of(found: Extracted | None) -> bytes:
    """What was found in a passage as it is kept; None where the extractor failed. Raises `InvalidInput` for too much."""
    if found is None:
        return _FAILED
    facts = [[fact.subject, fact.predicate, fact.object] for fact in found.facts]
    line = json.dumps([list(found.phrases), facts], ensure_ascii=False, separators=(",", ":"))
    encoded = line.encode("utf-8", "surrogatepass")
    if len(encoded) > _LONGEST:
        raise InvalidInput(f"{found.passage!r}: more than {_LONGEST:,} bytes of phrases and facts; split the passage")
    return encoded


def _parsed(passage: str, line: bytes) -> Extracted | None:
    body = json.loads(line.decode("utf-8", "surrogatepass"))
    if body is None:
        return None
    phrases, facts = body
    found = Extracted(passage, tuple(phrases), tuple(Fact(*fact) for fact in facts))
    texts = (*found.phrases, *(part for fact in found.facts for part in (fact.subject, fact.predicate, fact.object)))
    if not all(isinstance(one, str) for one in texts):
        raise ValueError("not a record")
    return found


class RecordWriter:
    """Writes a segment below a folder. Memory grows with the passages, 28 bytes each."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self.name, self.documents = folder, name, 0
        self._ids = IdsWriter(folder, name, first=0)
        self._hashes = AppendFile(folder, f"{name}/hashes")
        self._failed = AppendFile(folder, f"{name}/failed")
        self._blocks = AppendFile(folder, f"{name}/blocks")
        self._ends, self._rows = [0], [0]
        self._lines: list[bytes] = []
        self._held = 0
        self._compressor = zstandard.ZstdCompressor(level=6)

    @property
    def size(self) -> int:
        """Bytes of the blocks so far."""
        return self._blocks.bytes

    def append(self, ids: Sequence[str], hashes: npt.NDArray[np.uint64], records: Sequence[bytes]) -> None:
        """Passages, the hash of each text, and what was found (`record_of`). Raises `DuplicateId`, `InvalidInput`."""
        if self.documents + len(ids) > MAX_DOCUMENTS:
            raise InvalidInput(f"a graph holds up to {MAX_DOCUMENTS:,} passages")
        self._ids.append(ids)
        self._hashes.append(hashes.astype("<u8"))
        self._failed.append(np.array([record == _FAILED for record in records], np.uint8))
        for record in records:
            self._lines.append(record)
            self._held += len(record)
            self.documents += 1
            if len(self._lines) == _BLOCK or self._held > _BYTES:
                self._flush()

    def copy(self, part: Left) -> None:
        """What is left of another segment."""
        rows = np.flatnonzero(part.is_left)
        for first in range(0, len(rows), _BLOCK):
            some = rows[first : first + _BLOCK]
            ids = [part.segment.ids[row] for row in some.tolist()]
            self.append(ids, part.segment.hashes[some], [part.segment.line(row) for row in some.tolist()])

    def finish(self) -> RecordSegmentEntry:
        self._flush()
        files = (
            *self._ids.finish(),
            self._hashes.finish("<u8", (self.documents,)),
            self._failed.finish("|u1", (self.documents,)),
            self._blocks.finish("|u1", (self._blocks.bytes,)),
            write_array(self._folder, f"{self.name}/block_offsets", np.array(self._ends, np.int64)),
            write_array(self._folder, f"{self.name}/block_rows", np.array(self._rows, np.int64)),
        )
        return RecordSegmentEntry(self.name, self.documents, files)

    def close(self) -> None:
        for file in (self._ids, self._hashes, self._failed, self._blocks):
            with suppress(OSError):
                file.close()

    def _flush(self) -> None:
        if self._lines:
            self._blocks.append(self._compressor.compress(b"\n".join(self._lines)))
            self._ends.append(self._blocks.bytes)
            self._rows.append(self.documents)
            self._lines, self._held = [], 0


class RecordSegment(SegmentArrays):
    """The mapped arrays of a segment. Opening checks types, sizes and that offsets rise; what records say is checked where
    they are read."""

    def __init__(self, folder: Path, entry: RecordSegmentEntry) -> None:
        super().__init__(folder, entry.name, entry.files, GRAPH_FORM.remedy)
        n = self.documents = entry.documents
        if n > MAX_DOCUMENTS:
            raise self.corrupt("manifest", f"{n:,} passages, more than a graph holds")
        self._blocks = self.take("blocks", None, np.uint8)
        self._offsets = self.take("block_offsets", None, np.int64)
        self.check_offsets("block_offsets", self._offsets, len(self._blocks))
        self._rows = self.take("block_rows", self._offsets.shape, np.int64)
        self.check_offsets("block_rows", self._rows, n)
        self.hashes = self.take("hashes", (n,), np.uint64)
        self.failed = self.take("failed", (n,), np.uint8)
        self.ids = self.open_ids(n)
        self._block = lru_cache(maxsize=_KEPT)(self._read)

    def line(self, row: int) -> bytes:
        """What is kept of a passage, by its row."""
        block = int(np.searchsorted(self._rows, row, side="right")) - 1
        return self._block(block)[row - int(self._rows[block])]

    def found(self, row: int, passage: str) -> Extracted | None:
        """What was found in a passage, by its row, under the id given; None where the extractor failed."""
        try:
            return _parsed(passage, self.line(row))
        except (ValueError, TypeError, RecursionError) as error:
            raise self.corrupt("blocks", f"passage {row} is damaged ({str(error)[:80]})") from None

    def _read(self, block: int) -> list[bytes]:
        start, end = self._offsets[block : block + 2].tolist()
        try:
            lines = decompressed(self._blocks[start:end].tobytes()).split(b"\n")
        except (ValueError, zstandard.ZstdError, MemoryError) as error:
            raise self.corrupt("blocks", f"block {block} is damaged ({str(error)[:80]})") from None
        if len(lines) != int(self._rows[block + 1] - self._rows[block]):
            raise self.corrupt("blocks", f"block {block} has {len(lines)} records")
        return lines


# A segment, and what is left of it.
Left = Remaining[RecordSegmentEntry, RecordSegment]
