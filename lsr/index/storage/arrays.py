"""Raw little-endian arrays on disk: written once with a running checksum, mapped into memory read-only."""

from __future__ import annotations

import math
import mmap
import os
import weakref
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import xxhash

from lsr import disk
from lsr.errors import CorruptIndex, StorageError
from lsr.index.storage.manifest import FileEntry
from lsr.index.storage.regular import REMEDY, open_regular, unopened

__all__ = ["AppendFile", "checksum", "map_array", "read_file", "verified", "write_array", "write_bytes"]

Array = npt.NDArray[Any]
DTYPES = frozenset({"|u1", "<u2", "<u4", "<i8", "<u8", "<f4", "<f8"})
_CHUNK = 4 << 20


class AppendFile:
    """A file that grows by appending, hashed on the way.

    `keep` bytes of an interrupted run are kept and hashed again; fewer, where fewer are there. Whether they are what was
    written is for the caller to ask: `digest` tells.
    """

    def __init__(self, folder: Path, name: str, *, keep: int = 0) -> None:
        self.name = name
        self.path = folder / name
        disk.make_folder(self.path.parent, exist_ok=True)
        self._hash = xxhash.xxh3_128()
        self.bytes = 0
        self._file: BinaryIO
        if not (keep and self.path.exists()):
            if os.path.lexists(self.path):  # of a run that was interrupted
                disk.remove(self.path)
            self._file = disk.create(self.path)
            weakref.finalize(self, _close, self._file)
            return
        self._file = self.path.open("r+b")
        weakref.finalize(self, _close, self._file)
        if self.path.stat().st_size > keep:
            self._file.truncate(keep)
        for chunk in _chunks(self._file):
            self._hash.update(chunk)
            self.bytes += len(chunk)

    def append(self, data: bytes | Array) -> None:
        view = memoryview(data if isinstance(data, bytes) else np.ascontiguousarray(data).data).cast("B")
        self._hash.update(view)
        disk.write(self._file, self.path, view)
        self.bytes += view.nbytes

    @property
    def digest(self) -> str:
        """The checksum (xxh3_128) of all that was kept and appended so far."""
        return self._hash.hexdigest()

    def sync(self) -> None:
        """Everything appended so far is on the disk when this returns."""
        disk.sync(self._file, self.path)

    def close(self) -> None:
        self._file.close()

    def finish(self, dtype: str = "", shape: tuple[int, ...] = ()) -> FileEntry:
        """Syncs, closes, and says what was written. The shape is checked against the bytes."""
        self.sync()
        self.close()
        if dtype and math.prod(shape) * np.dtype(dtype).itemsize != self.bytes:
            raise AssertionError(f"{self.name}: {self.bytes} bytes are not {shape} of {dtype}")
        return FileEntry(self.name, self.bytes, dtype, shape, self.digest)


def _close(file: BinaryIO) -> None:
    """Closes a file that nobody will finish: another one, or the disk, failed."""
    with suppress(OSError):
        file.close()


def write_array(folder: Path, name: str, array: Array) -> FileEntry:
    """Writes a whole array, little-endian, in C order."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    file = AppendFile(folder, name)
    file.append(little)
    return file.finish(little.dtype.str, little.shape)


def write_bytes(folder: Path, name: str, data: bytes) -> FileEntry:
    file = AppendFile(folder, name)
    file.append(data)
    return file.finish()


def map_array(folder: Path, entry: FileEntry, remedy: str = REMEDY) -> Array:
    """Maps an array read-only, after its type, shape and size were compared with the file.

    remedy: what to do about a damaged file, as messages say it.

    Raises `CorruptIndex` when the file is missing, is no regular file, or has another size than the manifest says.
    """
    path = folder / entry.name
    if entry.dtype not in DTYPES:
        raise CorruptIndex(f"{path}: type {entry.dtype!r} is none that a file has; {remedy}")
    dtype = np.dtype(entry.dtype)
    if len(entry.shape) != 1 or entry.shape[0] * dtype.itemsize != entry.bytes:
        shape = str(entry.shape)[:40]
        raise CorruptIndex(f"{path}: shape {shape} does not fit {entry.bytes} bytes; {remedy}")
    descriptor = _open(path, entry, remedy)
    try:
        if entry.bytes == 0:  # cannot be mapped
            empty = np.zeros(entry.shape, dtype)
            empty.flags.writeable = False  # as the mapped ones are: Numba tells them apart
            return empty
        mapped = mmap.mmap(descriptor, entry.bytes, access=mmap.ACCESS_READ)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be mapped into memory ({error.strerror}); free some, and open it again"
        ) from None
    except ValueError as error:
        raise CorruptIndex(f"{path}: cannot be mapped into memory ({error})") from None
    finally:
        os.close(descriptor)
    return np.frombuffer(mapped, dtype).reshape(entry.shape)


def read_file(folder: Path, entry: FileEntry, limit: int = 64 << 20, remedy: str = REMEDY) -> bytes:
    """The content of a small file, its checksum verified."""
    path = folder / entry.name
    if entry.bytes > limit:
        raise CorruptIndex(f"{path}: {entry.bytes:,} bytes, more than the {limit:,} that it may have")
    descriptor = _open(path, entry, remedy)
    with os.fdopen(descriptor, "rb") as file:
        data = file.read()
    if xxhash.xxh3_128_hexdigest(data) != entry.xxh3_128:
        raise CorruptIndex(f"{path}: altered since it was written; {remedy}")
    return data


def checksum(folder: Path, entry: FileEntry, remedy: str = REMEDY) -> str:
    """The checksum that a file has now."""
    running = xxhash.xxh3_128()
    with os.fdopen(_open(folder / entry.name, entry, remedy), "rb") as file:
        for chunk in _chunks(file):
            running.update(chunk)
    return running.hexdigest()


def verified(folder: Path, entry: FileEntry, remedy: str = REMEDY) -> Iterator[bytes]:
    """The content of a file in pieces, and after the last one its checksum: raises `CorruptIndex` where it does not match."""
    path, running, size = folder / entry.name, xxhash.xxh3_128(), 0
    with os.fdopen(_open(path, entry, remedy), "rb") as file:
        pieces = iter(_chunks(file))
        while True:
            try:
                piece = next(pieces, None)
            except OSError as error:
                raise unopened(path, error, remedy) from None
            size += len(piece or b"")
            if piece is None or size > entry.bytes:  # it grows, and nobody should be writing to it
                break
            running.update(piece)
            yield piece
    if running.hexdigest() != entry.xxh3_128:
        raise CorruptIndex(f"{path}: altered since it was written; {remedy}")


def _chunks(file: BinaryIO) -> Iterable[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _open(path: Path, entry: FileEntry, remedy: str) -> int:
    try:
        if "/" in entry.name and path.parent.is_symlink():  # or all of its files would be outside of the index
            raise CorruptIndex(f"{path.parent}: a link, not a folder of the index; restore a copy")
        descriptor = open_regular(path)
    except FileNotFoundError:
        raise CorruptIndex(f"{path}: missing; {remedy}") from None
    except OSError as error:
        raise unopened(path, error, remedy) from None
    size = os.fstat(descriptor).st_size
    if size != entry.bytes:
        os.close(descriptor)
        raise CorruptIndex(f"{path}: {size:,} bytes where {entry.bytes:,} were written; {remedy}")
    return descriptor
