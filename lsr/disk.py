"""Every change to the disk: making and writing files, syncing, renaming, removing. Nothing else in lsr does any of it to a
file that is to last.

One place, so that one rule holds: a file is made under a name that nobody has (never through a link), what is to last is
synced before it is named, and a sync that failed is never tried again, since the system may have dropped what it could not
write.

`hook`, when set, is called before each step as hook(step, path, detail): tests raise an error there, kill the process, or
keep a record. The steps are "create" (a file), "folder", "write" (detail: the data), "sync" (of a file or a folder), "rename"
(path: the new name, detail: the old one), "replace" (the same, where the new name may be taken), "exchange" (of two
names) and "remove" (a file, or a folder with all that is in it).
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import BinaryIO

import xxhash

from lsr.errors import LsrError, StorageError

__all__ = [
    "Deferred",
    "SyncFailed",
    "atomic_write",
    "check_name",
    "create",
    "deferred",
    "exchange",
    "exists",
    "make_folder",
    "remove",
    "remove_tree",
    "rename",
    "replace",
    "sync",
    "sync_folder",
    "write",
    "write_new",
]

Detail = bytes | memoryview | Path | None
hook: Callable[[str, Path, Detail], None] | None = None
_later: ContextVar[Deferred | None] = ContextVar("later", default=None)
_OPEN = 128  # files that wait open, at most


class SyncFailed(StorageError):
    """The disk did not take what was written. Whether any of it arrived cannot be known, so nothing is tried again."""


def _step(step: str, path: Path, detail: Detail = None) -> None:
    if hook is not None:
        hook(step, path, detail)


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


def exists(path: Path) -> bool:
    """Whether anything is there; no for what no file can be called: a name too long, or with NUL or half a character in it.

    Raises `StorageError` when the system does not say.
    """
    try:
        return path.exists()
    except ValueError:
        return False
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise StorageError(f"{path}: cannot be looked for ({error.strerror or error})") from None


def check_name(path: Path) -> None:
    """Raises `StorageError` when nothing can be made under that name, whatever the state of the disk."""
    try:
        os.lstat(path)
    except ValueError:
        raise StorageError(f"{str(path)!r}: not the name of a file") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise StorageError(f"{path}: {error.strerror}; give a shorter one") from None
    if not path.name:
        raise StorageError(f"{str(path)!r}: not the name of a file")


def create(path: Path) -> BinaryIO:
    """Opens a new file for writing. Raises FileExistsError when there is anything by that name, a link included."""
    _step("create", path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), "wb")


def write(file: BinaryIO, path: Path, data: bytes | memoryview) -> None:
    _step("write", path, data)
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
    _step("rename", new, old)
    if os.path.lexists(new):
        raise FileExistsError(17, "something is there already", str(new))
    old.rename(new)


def replace(old: Path, new: Path) -> None:
    """Gives a file a name that another file may have, which is then gone."""
    _step("replace", new, old)
    old.replace(new)


def exchange(first: Path, second: Path) -> bool:
    """Two folders take each other's name, in one step. Returns whether they did: not every system and file system can."""
    _step("exchange", first, second)
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # no such function; Windows has no such library
        return False
    here, exchanging = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    names = (ctypes.c_char_p(os.fsencode(first)), ctypes.c_char_p(os.fsencode(second)))
    return bool(renameat2(here, names[0], here, names[1], ctypes.c_uint(exchanging)) == 0)


def make_folder(path: Path, *, exist_ok: bool = False) -> None:
    if not (exist_ok and path.is_dir()):
        _step("folder", path)
        path.mkdir()


def remove(path: Path) -> None:
    _step("remove", path)
    path.unlink()


def remove_tree(path: Path) -> None:
    _step("remove", path)
    shutil.rmtree(path)


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Opens a temporary file beside `path`; on success flushes it to the disk and renames it to `path`.

    On any failure the temporary file is removed and `path` is as it was. An OSError becomes a `StorageError` that names
    the path.
    """
    check_name(path)
    if exists(path) and not (stat.S_ISREG(mode := path.stat().st_mode) or stat.S_ISDIR(mode)):
        raise StorageError(f"{path}: a device or a pipe, which a file would replace; give the name of a file")
    # Not made from path.name: that may be as long as the file system allows.
    temporary = path.with_name(f".lsr-{secrets.token_hex(8)}.tmp")
    try:
        with create(temporary) as file:
            yield file
            file.flush()
            _step("sync", temporary)
            os.fsync(file.fileno())
        replace(temporary, path)
        sync_folder(path.parent)
    except LsrError:
        raise  # some are OSErrors too, and say already what is wrong
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):  # gone when renamed; unreachable when the folder is a file
            temporary.unlink()
