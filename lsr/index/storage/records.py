"""Ids and texts of the documents of a segment.

Ids are one run of UTF-8 bytes with offsets, and a table of their hashes for looking one up. Texts (for display) are
compressed in blocks of `BLOCK` documents, so that reading one costs one small block: line i of a block is the JSON of
document i, `[title, text, metadata]`. Beside them stands a hash of what of each document is encoded (`text_hash`): what was
made of a text and is kept elsewhere, as token vectors are, can tell by it whether it is still that text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash
import zstandard

from lsr.corpus import Document
from lsr.errors import CorpusError, CorruptIndex, DuplicateId
from lsr.index.storage.arrays import AppendFile, write_array
from lsr.index.storage.manifest import FileEntry

__all__ = ["Ids", "IdsWriter", "Record", "Texts", "TextsWriter", "decompressed", "text_hash"]

BLOCK = 16
_KEPT = 1 << 20  # bytes of a decompressed block that is kept for the next document; of larger ones the last alone is
_BLOCK_LIMIT = 256 << 20  # bytes of one decompressed block; a frame that claims more is hostile
_LINE_LIMIT = _BLOCK_LIMIT // BLOCK - 1  # bytes of one document in it, without the line end
_RECENT = 1 << 16


class Record(NamedTuple):
    """What is shown of a document."""

    title: str
    text: str
    metadata: Mapping[str, Any]

    @property
    def content(self) -> str:
        """Title and text as encoders read them."""
        return Document(id="", text=self.text, title=self.title).content


def text_hash(content: str) -> int:
    """xxh3-64 of title and text as encoders read them; never 0, which stands for a text that is not known."""
    return _hash(content.encode("utf-8", "surrogatepass")) or 1


def _hash(identifier: bytes) -> int:
    return xxhash.xxh3_64_intdigest(identifier)


# -- ids ---------------------------------------------------------------------------------------------------------------


class IdsWriter:
    """Appends ids, and refuses one that was there before. Holds 28 bytes a document in memory, whatever the ids are.

    `first` is the number of the first document in messages: 1 as lines of files are counted, 0 for Python objects.
    """

    def __init__(self, folder: Path, segment: str, *, first: int = 1) -> None:
        self._folder, self._segment, self._first = folder, segment, first
        self._file = AppendFile(folder, f"{segment}/ids_bytes")
        self._offsets: list[npt.NDArray[np.int64]] = [np.zeros(1, np.int64)]
        self._rows = 0
        self._recent: dict[int, int] = {}  # hash -> row, of the ids not yet in a run
        self._runs: list[tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]] = []  # sorted hashes, their rows

    def append(self, ids: Sequence[str], wheres: Sequence[str] = ()) -> None:
        """Raises `DuplicateId`, naming the place of the second (from `wheres`, if given) and the number of the first."""
        encoded = [identifier.encode() for identifier in ids]
        hashes = [_hash(identifier) for identifier in encoded]
        for i, row in enumerate(self._earlier(encoded, hashes)):
            if row is not None:
                where = f"{wheres[i]}: " if wheres and wheres[i] else ""
                raise DuplicateId(
                    f"{where}the id {ids[i]!r} is also that of document {self._first + row:,}; make ids distinct,"
                    " or choose another field with --id-field"
                )
        self._add(encoded, hashes)

    def append_new(self, ids: Sequence[str]) -> list[bool]:
        """Appends those that were not there before, and says of each whether it is one of them."""
        encoded = [identifier.encode() for identifier in ids]
        hashes = [_hash(identifier) for identifier in encoded]
        new = [row is None for row in self._earlier(encoded, hashes)]
        self._add(
            [one for one, fresh in zip(encoded, new, strict=True) if fresh],
            [one for one, fresh in zip(hashes, new, strict=True) if fresh],
        )
        return new

    def _earlier(self, encoded: Sequence[bytes], hashes: Sequence[int]) -> Iterator[int | None]:
        """The row of an id that came before, here or among these, or None."""
        earlier = self._find_in_runs(np.array(hashes, np.uint64))
        fresh: dict[bytes, int] = {}
        for i, (identifier, hashed) in enumerate(zip(encoded, hashes, strict=True)):
            row = fresh.get(identifier)
            if row is None:
                candidates = [*earlier.get(i, ()), *([self._recent[hashed]] if hashed in self._recent else [])]
                row = next((r for r in candidates if self._read(r) == identifier), None)
            yield row
            fresh.setdefault(identifier, self._rows + i)

    def _add(self, encoded: Sequence[bytes], hashes: Sequence[int]) -> None:
        if not encoded:
            return
        self._file.append(b"".join(encoded))
        lengths = np.fromiter((len(identifier) for identifier in encoded), np.int64, len(encoded))
        self._offsets.append(self._offsets[-1][-1] + np.cumsum(lengths))
        for i, hashed in enumerate(hashes):
            self._recent.setdefault(hashed, self._rows + i)
        self._rows += len(encoded)
        if len(self._recent) >= _RECENT:
            self._add_run()

    def finish(self) -> list[FileEntry]:
        self._add_run()
        hashes, rows = self._merge(self._runs)
        offsets = np.concatenate(self._offsets) if self._rows else np.zeros(1, np.int64)
        return [
            self._file.finish("|u1", (self._file.bytes,)),
            write_array(self._folder, f"{self._segment}/ids_offsets", offsets),
            write_array(self._folder, f"{self._segment}/ids_hashes", hashes),
            write_array(self._folder, f"{self._segment}/ids_rows", rows),
        ]

    def close(self) -> None:
        self._file.close()

    def _find_in_runs(self, hashes: npt.NDArray[np.uint64]) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for run, rows in self._runs:
            at = np.searchsorted(run, hashes)
            at[at == len(run)] = 0
            for i in np.flatnonzero(run[at] == hashes).tolist():
                found.setdefault(i, []).append(int(rows[at[i]]))
        return found

    def _read(self, row: int) -> bytes:
        if len(self._offsets) > 1:
            self._offsets = [np.concatenate(self._offsets)]
        start, end = self._offsets[0][row : row + 2].tolist()
        self._file.sync()
        with self._file.path.open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    def _add_run(self) -> None:
        if not self._recent:
            return
        hashes = np.fromiter(self._recent.keys(), np.uint64, len(self._recent))
        rows = np.fromiter(self._recent.values(), np.uint32, len(self._recent))
        order = np.argsort(hashes, kind="stable")
        self._runs.append((hashes[order], rows[order]))
        self._recent = {}
        # Runs of like size are merged, as in a binary counter: few runs to look into, each id sorted log(n) times.
        while len(self._runs) > 1 and len(self._runs[-1][0]) * 2 > len(self._runs[-2][0]):
            self._runs[-2:] = [self._merge(self._runs[-2:])]

    @staticmethod
    def _merge(
        runs: list[tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]],
    ) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
        if not runs:
            return np.zeros(0, np.uint64), np.zeros(0, np.uint32)
        hashes = np.concatenate([run[0] for run in runs])
        rows = np.concatenate([run[1] for run in runs])
        order = np.argsort(hashes, kind="stable")
        return hashes[order], rows[order]


class Ids:
    """Ids of a segment: row -> id, id -> row."""

    def __init__(
        self,
        data: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.int64],
        hashes: npt.NDArray[np.uint64],
        rows: npt.NDArray[np.uint32],
    ) -> None:
        self._data, self._offsets, self._hashes, self._rows = data, offsets, hashes, rows

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def hashes(self) -> npt.NDArray[np.uint64]:
        """The hash of each id, by row [n]."""
        found = np.zeros(len(self), np.uint64)
        inside = self._rows < len(self)
        found[self._rows[inside]] = self._hashes[inside]
        return found

    def __getitem__(self, row: int) -> str:
        start, end = self._offsets[row : row + 2].tolist()
        try:
            return self._data[start:end].tobytes().decode()
        except UnicodeDecodeError:
            raise CorruptIndex(f"the id of document {row} is damaged; run `lsr check --full`") from None

    def encoded(self, rows: npt.NDArray[np.int64]) -> list[bytes]:
        """The ids in some rows as they are stored: what is quick to compare."""
        data, offsets = self._data, self._offsets
        bounds = zip(offsets[rows].tolist(), offsets[rows + 1].tolist(), strict=True)
        return [data[start:end].tobytes() for start, end in bounds]

    def find(self, identifier: str) -> int | None:
        """The row of an id, or None."""
        hashed = np.uint64(_hash(identifier.encode("utf-8", "surrogatepass")))
        at = int(np.searchsorted(self._hashes, hashed))
        while at < len(self._hashes) and self._hashes[at] == hashed:
            row = int(self._rows[at])
            if row < len(self) and self[row] == identifier:
                return row
            at += 1
        return None

    def check(self) -> None:
        """Raises `CorruptIndex` where an id is damaged, or that of two documents. Reads all of them."""
        for row in range(len(self)):
            if self.find(self[row]) != row:
                raise CorruptIndex(f"the id of document {row} is damaged or given twice; run `lsr check --full`")

    def find_all(self, identifiers: Iterable[str]) -> npt.NDArray[np.int64]:
        """The rows of those ids that there are, in the order given."""
        rows = self.find_each(identifiers)
        return rows[rows >= 0]

    def find_each(self, identifiers: Iterable[str]) -> npt.NDArray[np.int64]:
        """The row of each id, -1 where there is none."""
        encoded = [identifier.encode("utf-8", "surrogatepass") for identifier in identifiers]
        hashes = np.fromiter(map(_hash, encoded), np.uint64, len(encoded))
        low = np.searchsorted(self._hashes, hashes).tolist()
        high = np.searchsorted(self._hashes, hashes, side="right").tolist()
        found = np.full(len(encoded), -1, np.int64)
        for i, (identifier, first, last) in enumerate(zip(encoded, low, high, strict=True)):
            for row in self._rows[first:last].tolist() if last > first else ():
                if row < len(self):
                    start, end = self._offsets[row : row + 2].tolist()
                    if self._data[start:end].tobytes() == identifier:
                        found[i] = row
        return found


# -- texts -------------------------------------------------------------------------------------------------------------


class TextsWriter:
    """Appends the texts of documents, compressed in blocks."""

    def __init__(self, folder: Path, segment: str) -> None:
        self._folder, self._segment = folder, segment
        self._file = AppendFile(folder, f"{segment}/text_blocks")
        self._hashes = AppendFile(folder, f"{segment}/text_hashes")
        self._documents = 0
        self._ends = [0]
        self._lines: list[str] = []
        self._compressor = zstandard.ZstdCompressor(level=6)

    def append(self, documents: Sequence[Document]) -> None:
        """Raises `CorpusError` for a document that would make its block larger than a reader accepts."""
        for document in documents:
            record = [document.title, document.text, dict(document.metadata)]
            line = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
            if 4 * len(line) > _LINE_LIMIT and len(line.encode()) > _LINE_LIMIT:
                raise CorpusError(
                    f"{document.where or repr(document.id)}: title, text and metadata are longer than {_LINE_LIMIT:,}"
                    " bytes; split the text, leave metadata out, or keep no texts (--no-keep-text)"
                )
            self._lines.append(line)
            if len(self._lines) == BLOCK:
                self._flush()
        self._hashes.append(np.array([text_hash(document.content) for document in documents], "<u8"))
        self._documents += len(documents)

    def finish(self) -> list[FileEntry]:
        self._flush()
        return [
            self._file.finish("|u1", (self._file.bytes,)),
            write_array(self._folder, f"{self._segment}/text_offsets", np.array(self._ends, np.int64)),
            self._hashes.finish("<u8", (self._documents,)),
        ]

    def close(self) -> None:
        self._file.close()
        self._hashes.close()

    def _flush(self) -> None:
        if self._lines:
            self._file.append(self._compressor.compress("\n".join(self._lines).encode()))
            self._ends.append(self._file.bytes)
            self._lines = []


class Texts:
    """Texts of a segment: row -> Record. Safe from several threads.

    Few bytes on disk may become many: up to `_BLOCK_LIMIT` are decompressed, of which up to `_LINE_LIMIT` are parsed.
    """

    def __init__(self, blocks: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], documents: int) -> None:
        self._blocks, self._offsets, self._documents = blocks, offsets, documents
        self._small = lru_cache(maxsize=64)(self._read_small)
        self._large: tuple[int, bytes] = (-1, b"")  # the last one

    def __getitem__(self, row: int) -> Record:
        if not 0 <= row < self._documents:
            raise IndexError(f"document {row} of {self._documents}")
        try:
            title, text, metadata = json.loads(self._line(row // BLOCK, row % BLOCK).decode())
            if not (isinstance(title, str) and isinstance(text, str) and isinstance(metadata, dict)):
                raise ValueError("not a record")  # noqa: TRY004 - becomes CorruptIndex below
        except (ValueError, TypeError, RecursionError, zstandard.ZstdError, MemoryError) as error:
            raise CorruptIndex(f"the text of document {row} is damaged ({error}); run `lsr check --full`") from None
        return Record(title, text, metadata)

    def _line(self, block: int, number: int) -> bytes:
        data = self._small(block)
        if data is None:
            last, data = self._large
            if last != block:
                data = decompressed(self._frame(block))
                self._large = block, data
        start = 0
        for _ in range(number):
            start = data.index(b"\n", start) + 1  # ValueError where there are fewer
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        if end - start > _LINE_LIMIT:
            raise ValueError("a line longer than any")
        return data[start:end]

    def _read_small(self, block: int) -> bytes | None:
        """A block, None where it claims to be larger than what is kept."""
        frame = self._frame(block)
        return None if zstandard.frame_content_size(frame) > _KEPT else decompressed(frame)

    def _frame(self, block: int) -> bytes:
        start, end = self._offsets[block : block + 2].tolist()
        return self._blocks[start:end].tobytes()


def decompressed(frame: bytes) -> bytes:
    """What is in a zstd frame. Raises `ValueError`, `zstandard.ZstdError` or `MemoryError`."""
    if zstandard.frame_content_size(frame) > _BLOCK_LIMIT:
        raise ValueError("a block that claims to be larger than any")
    # A decompressor each time: they are cheap, and not safe to share between threads.
    return bytes(zstandard.ZstdDecompressor().decompress(frame))
