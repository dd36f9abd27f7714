"""One zstd frame, decompressed a block at a time.

A frame is a header, blocks that say how long they are, and a checksum (RFC 8878). The decompressor is given one block after
the other, and a block becomes at most 128 KiB: so memory is bounded whatever a few bytes claim to become, and the end of
the frame is known to the byte, which the readers of the library do not tell: they take a file that was cut off for one that
is at its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import zstandard

from lsr.corpus.streams import RATIO_FROM
from lsr.errors import CorruptIndex, StorageError, one_line

__all__ = ["Frame", "too_much"]

_MAGIC = b"\x28\xb5\x2f\xfd"
_LONGEST_HEADER = 18
_BLOCK = 128 << 10  # bytes that a block may have and become
_WINDOW = 8 << 20  # bytes that the decompressor keeps: what the RFC asks every reader to allow
_UNUSED = 0x10  # the bit of the header that means nothing
_RLE, _RESERVED = 1, 3


class Frame:
    """Reads the only frame of a file, from its start. Raises `CorruptIndex` for one that is damaged, or goes on after it.

    `size` is that of the file, `ratio` how many bytes one of it may become (not asked for the first 10 MB).
    """

    def __init__(self, file: BinaryIO, name: str, size: int, ratio: int) -> None:
        self._file, self._name = file, name
        self._limit, self._ratio = max(RATIO_FROM, ratio * size), ratio
        self._produced, self._block, self._at, self._last = 0, b"", 0, False
        start = self._read(_LONGEST_HEADER)
        if not start.startswith(_MAGIC):
            raise CorruptIndex(f"{name}: not compressed by zstd, so no snapshot of an index")
        try:
            parameters = zstandard.get_frame_parameters(start)
            length = zstandard.frame_header_size(start)
        except zstandard.ZstdError as error:
            raise self.damaged(one_line(error)) from None
        if start[4] & _UNUSED:
            raise self.damaged("has a header that zstd does not write")
        if parameters.window_size > _WINDOW:
            raise StorageError(
                f"{name}: needs a window of {parameters.window_size:,} bytes to be unpacked, more than the {_WINDOW:,} of"
                " a snapshot; export it again"
            )
        self._checksum = 4 if parameters.has_checksum else 0
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
        self._file.seek(length)
        self._decompress(start[:length])

    def damaged(self, what: str) -> CorruptIndex:
        return CorruptIndex(f"{self._name}: {what}; the file is damaged or no snapshot: copy or export it again")

    def pieces(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes, in pieces of up to 128 KiB."""
        while size:
            if self._at == len(self._block):
                self._next()
                continue
            piece = self._block[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            yield piece

    def read(self, size: int) -> bytes:
        """The next `size` bytes, all of them."""
        return b"".join(self.pieces(size))

    def end(self) -> None:
        """Raises unless all was read, and the file ends where the frame does."""
        while self._at == len(self._block) and not self._last:
            self._next()
        if self._at < len(self._block) or self._read(1):
            raise self.damaged("goes on after its end")

    def _next(self) -> None:
        """Decompresses a block."""
        if self._last:
            raise self.damaged("ends too early")
        data = self._take(3)
        header = int.from_bytes(data, "little")
        self._last, kind, length = bool(header & 1), header >> 1 & 3, header >> 3
        if kind == _RESERVED or length > _BLOCK:
            raise self.damaged("has a block that zstd does not write")
        data += self._take(1 if kind == _RLE else length)
        if self._last:
            data += self._take(self._checksum)
        self._block, self._at = self._decompress(data), 0
        self._produced += len(self._block)
        if self._produced > self._limit:
            raise too_much(self._name, self._ratio)

    def _decompress(self, data: bytes) -> bytes:
        try:
            block: bytes = self._decompressor.decompress(data)
        except (zstandard.ZstdError, MemoryError) as error:
            raise self.damaged(one_line(error)) from None
        return block

    def _take(self, size: int) -> bytes:
        data = self._read(size)
        if len(data) < size:
            raise self.damaged("is cut off")
        return data

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise StorageError(f"{self._name}: cannot be read ({error.strerror or error})") from None


def too_much(name: str, ratio: int) -> StorageError:
    return StorageError(
        f"{name}: one byte of it becomes more than {ratio}; if that is right, raise the limit:"
        " Index.from_snapshot(..., limits=Limits(archive_ratio=...))"
    )
