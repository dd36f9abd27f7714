"""Every change to an index folder: making and writing files, syncing, renaming, removing. Nothing else touches the disk.

One place, so that one rule holds: a file is made under a name that nobody has (never through a link), what is to last is
synced before it is named, and a sync that failed is never tried again, since the system may have dropped what it could not
write.

`hook`, when set, is called before each step as hook(step, path), with the step "create", "write", "sync", "rename" or
"remove": tests raise an error there, or kill the process.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import BinaryIO

import xxhash

from lsr.errors import StorageError

__all__ = [
    "Deferred",
    "SyncFailed",
    "create",
    "deferred",
    "make_folder",
    "remove",
    "remove_tree",
    "rename",
    "sync",
    "sync_folder",
    "write",
    "write_new",
]

hook: Callable[[str, Path], None] | None = None
_later: ContextVar[Deferred | None] = ContextVar("later", default=None)
_OPEN = 128  # files that wait open, at most


class SyncFailed(StorageError):
    """The disk did not take what was written. Whether any of it arrived cannot be known, so nothing is tried again."""


def _step(step: str, path: Path) -> None:
    if hook is not None:
        hook(step, path)


class Deferred:
    """Files that were written and closed, and are to be synced later, or never where they turn out to be thrown away."""

    def __init__(self) -> None:
        self._files: list[tuple[int, Path]] = []

    def take(self, file: BinaryIO, path: Path) -> None:
        if len(self._files) >= _OPEN:
            self.sync()
        self._files.append((os.dup(file.fileno()), path))

    def sync(self) -> None:
        """What was deferred so far is on the disk when this returns. Raises `SyncFailed`."""
        while self._files:
            # Of the same open file: one that is opened anew may not be told that writing failed.
            descriptor, path = self._files.pop()
            try:
                _sync(path, partial(os.fsync, descriptor))
            finally:
                os.close(descriptor)

    def close(self) -> None:
        for descriptor, _ in self._files:
            os.close(descriptor)
        self._files = []


@contextmanager
def deferred() -> Iterator[Deferred]:
    """Within it files are not synced before the caller says so (`Deferred.sync`)."""
    later = Deferred()
    token = _later.set(later)
    try:
        yield later
    finally:
        _later.reset(token)
        later.close()


def create(path: Path) -> BinaryIO:
    """Opens a new file for writing. Raises FileExistsError when there is anything by that name, a link included."""
    _step("create", path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), "wb")


def write(file: BinaryIO, path: Path, data: bytes | memoryview) -> None:
    _step("write", path)
    file.write(data)


def sync(file: BinaryIO, path: Path) -> None:
    """What was written to a file is on the disk when this returns. Raises `SyncFailed`."""
    file.flush()
    later = _later.get()
    if later is not None:
        later.take(file, path)
    else:
        _sync(path, partial(os.fsync, file.fileno()))


def sync_folder(folder: Path) -> None:
    """Makes renames and new names in a folder durable. A no-op where folders cannot be opened (Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _sync(folder, partial(os.fsync, descriptor))
    finally:
        os.close(descriptor)


def _sync(path: Path, run: Callable[[], None]) -> None:
    try:
        _step("sync", path)
        run()
    except OSError as error:
        raise SyncFailed(
            f"{path}: the disk did not take it ({error.strerror or error}); look after the disk, then open the index again,"
            " which shows what is there"
        ) from error


def write_new(path: Path, data: bytes) -> str:
    """Writes a file as a whole under a temporary name beside it, syncs, and renames it to `path`, which must not exist.

    The folder is the caller's to sync. Returns the checksum (xxh3_128) of the data.
    """
    temporary = path.with_name(f"tmp-{path.name}")
    with suppress(FileNotFoundError):
        remove(temporary)  # of a run that was killed
    with create(temporary) as file:
        write(file, temporary, data)
        sync(file, temporary)
    rename(temporary, path)
    return xxhash.xxh3_128_hexdigest(data)


def rename(old: Path, new: Path) -> None:
    """Raises FileExistsError where something is at the new name, rather than replace it."""
    _step("rename", new)
    if os.path.lexists(new):
        raise FileExistsError(17, "something is there already", str(new))
    old.rename(new)


def make_folder(path: Path) -> None:
    _step("create", path)
    path.mkdir()


def remove(path: Path) -> None:
    _step("remove", path)
    path.unlink()


def remove_tree(path: Path) -> None:
    _step("remove", path)
    shutil.rmtree(path)
