"""A segment of a token store: the codes of one write-once group of documents.

offsets   <i8 [documents + 1]                  the first token of each document, and how many there are
codes     |u1 [tokens * bytes_per_token]       as the codec made them
hashes    <u8 [documents]                      of the texts that the vectors were made of, 0 where they are not known
ids_*     see `lsr.index.storage.records`

What a codec knows is kept once a store, in codec/, a file a parameter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lsr.errors import CorruptIndex, InvalidInput, UnsupportedVersion
from lsr.index.storage.arrays import AppendFile, read_file
from lsr.index.storage.manifest import FileEntry
from lsr.index.storage.records import IdsWriter
from lsr.index.storage.remaining import Remaining
from lsr.index.storage.segment_arrays import SegmentArrays
from lsr.limits import MAX_DOCUMENTS
from lsr.rerank.codecs import CODECS, Codec
from lsr.rerank.store.manifest import REMEDY, TokenSegmentEntry

__all__ = ["PARAMETERS", "Left", "SegmentWriter", "TokenSegment", "read_codec", "write_parameters"]

Bytes = npt.NDArray[np.uint8]
Lengths = npt.NDArray[np.int64]

PARAMETERS = "codec"
_TYPES = frozenset({"|i1", "|u1", "<f4"})
_COPIED = 8 << 20  # bytes of codes that are copied at a time


class TokenSegment(SegmentArrays):
    """The mapped arrays of a segment. `codes` is uint8 [tokens, bytes_per_token].

    Opening checks types, sizes and that offsets rise, at a cost that grows with the documents, not with their tokens. What
    codes say is checked where they are scored.
    """

    def __init__(self, folder: Path, entry: TokenSegmentEntry, width: int) -> None:
        super().__init__(folder, entry.name, entry.files, REMEDY)
        n = self.documents = entry.documents
        if n > MAX_DOCUMENTS:
            raise self.corrupt("manifest", f"{n:,} documents, more than a store holds")
        self.offsets = self.take("offsets", (n + 1,), np.int64)
        self.check_offsets("offsets", self.offsets, entry.tokens)
        self.codes = self.take("codes", (entry.tokens * width,), np.uint8).reshape(-1, width)
        self.hashes = np.zeros(n, np.uint64)  # format 1.0 had none
        if "hashes" in self.arrays:
            self.hashes = self.take("hashes", (n,), np.uint64)
        self.ids = self.open_ids(n)


# A segment, and what is left of it.
Left = Remaining[TokenSegmentEntry, TokenSegment]


class SegmentWriter:
    """Writes a segment below a folder, batch after batch. Memory grows with the documents, 28 bytes each.

    kept: documents and tokens of an interrupted run, whose codes are there already; their ids come again (`record`).
    """

    def __init__(self, folder: Path, name: str, width: int, kept: tuple[int, int] = (0, 0)) -> None:
        self.name, self._width = name, width
        self.documents, self.tokens = kept
        self._ids = IdsWriter(folder, name, first=0)
        self._offsets = AppendFile(folder, f"{name}/offsets", keep=8 * (kept[0] + 1) if kept[0] else 0)
        self._codes = AppendFile(folder, f"{name}/codes", keep=kept[1] * width)
        self._hashes = AppendFile(folder, f"{name}/hashes", keep=8 * kept[0])
        if not kept[0]:
            self._offsets.append(np.zeros(1, "<i8"))

    @property
    def size(self) -> int:
        """Bytes of the codes so far."""
        return self.tokens * self._width

    @property
    def digests(self) -> list[str]:
        """Checksums of offsets, codes and hashes so far."""
        return [self._offsets.digest, self._codes.digest, self._hashes.digest]

    def record(self, ids: Sequence[str]) -> None:
        """Takes ids of documents whose codes are there. Raises `DuplicateId`."""
        self._ids.append(ids)

    def append(self, ids: Sequence[str], hashes: npt.NDArray[np.uint64], lengths: Lengths, codes: Bytes) -> None:
        """Documents: the hash of each text, uint64 [n], how many tokens each has, int64 [n], and the codes of all.

        Raises `DuplicateId`, `InvalidInput`.
        """
        if self.documents + len(ids) > MAX_DOCUMENTS:
            raise InvalidInput(f"a token store holds up to {MAX_DOCUMENTS:,} documents")
        self.record(ids)
        self._offsets.append((self.tokens + np.cumsum(lengths)).astype("<i8"))
        self._codes.append(np.ascontiguousarray(codes).reshape(-1))
        self._hashes.append(hashes.astype("<u8"))
        self.documents += len(ids)
        self.tokens += int(lengths.sum())

    def copy(self, part: Left) -> None:
        """What is left of another segment of the same codec."""
        for rows in _runs(part, self._width):
            offsets = part.segment.offsets[rows.start : rows.stop + 1]
            ids = [part.segment.ids[row] for row in rows]
            self.append(
                ids,
                part.segment.hashes[rows.start : rows.stop],
                np.diff(offsets),
                part.segment.codes[offsets[0] : offsets[-1]],
            )

    def sync(self) -> None:
        """What was appended so far is on the disk when this returns."""
        for file in (self._codes, self._offsets, self._hashes):
            file.sync()

    def finish(self) -> TokenSegmentEntry:
        files = (
            *self._ids.finish(),
            self._offsets.finish("<i8", (self.documents + 1,)),
            self._codes.finish("|u1", (self.tokens * self._width,)),
            self._hashes.finish("<u8", (self.documents,)),
        )
        return TokenSegmentEntry(self.name, self.documents, self.tokens, files)

    def close(self) -> None:
        for file in (self._ids, self._offsets, self._codes, self._hashes):
            with suppress(OSError):
                file.close()


def _runs(part: Left, width: int) -> Iterator[range]:
    """Rows that are left, as runs without a gap, of a size that fits into memory where a document does."""
    left = np.flatnonzero(part.is_left)
    if not len(left):
        return
    ends = np.append(np.flatnonzero(np.diff(left) > 1), len(left) - 1)
    offsets = part.segment.offsets
    first = 0
    for end in ends.tolist():
        start, stop = int(left[first]), int(left[end]) + 1
        first = end + 1
        while start < stop:
            reach = int(offsets[start]) + max(1, _COPIED // width)
            some = int(np.searchsorted(offsets[start + 1 : stop + 1], reach, side="right"))
            some = min(max(1, some), _COPIED // 64)
            yield range(start, start + some)
            start += some


# -- what a codec knows ------------------------------------------------------------------------------------------------


def write_parameters(folder: Path, codec: Codec) -> tuple[FileEntry, ...]:
    """Writes what a codec knows, a file a parameter."""
    entries = []
    for name, array in sorted(codec.parameters().items()):
        little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
        file = AppendFile(folder, f"{PARAMETERS}/{name}")
        file.append(little.reshape(-1))
        entries.append(file.finish(little.dtype.str, little.shape))
    return tuple(entries)


def read_codec(folder: Path, name: str, dim: int, files: Sequence[FileEntry]) -> Codec:
    """The codec with these parameters. They are small and everything rests on them: their checksums are compared.

    Raises `CorruptIndex`, or `UnsupportedVersion` for a codec that this lsr does not have.
    """
    kind = CODECS.get(name)
    if kind is None:
        raise UnsupportedVersion(f"{folder}: codec {name[:80]!r}, of a newer lsr: pip install --upgrade lsr-engine")
    parameters = {}
    for file in files:
        if file.dtype not in _TYPES or math.prod(file.shape) * np.dtype(file.dtype).itemsize != file.bytes:
            raise CorruptIndex(f"{folder / file.name}: of another form than a parameter of a codec; {REMEDY}")
        data = read_file(folder, file, remedy=REMEDY)
        parameters[file.name.rpartition("/")[2]] = np.frombuffer(data, file.dtype).reshape(file.shape)
    try:
        return kind.from_parameters(dim, parameters)
    except InvalidInput as error:
        raise CorruptIndex(f"{folder}: {error}; {REMEDY}") from None
