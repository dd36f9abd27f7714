"""Who may change an index, and which generations are being read: locks of the operating system on open files.

Such a lock is gone when its owner closes the file or dies, however it dies, so none is ever left behind.

A writer holds `LOCK`, which is never deleted: were it, two writers could hold two files of that name. A reader holds the
manifest of its generation (`Pin`), and a writer deletes a manifest only while it can lock it.
"""

from __future__ import annotations

import json
import os
import socket
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from lsr import disk
from lsr.errors import IndexLocked, IndexNotFound, StorageError
from lsr.index.storage.generations import Generation, newest
from lsr.index.storage.regular import open_regular, unopened

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "AVAILABLE",
    "LOCK",
    "Pin",
    "claimed",
    "is_claimed",
    "open_newest",
    "remove_unless_pinned",
    "writing",
]

Stored = TypeVar("Stored", bound=Generation)

AVAILABLE = fcntl is not None
LOCK = "LOCK"
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_TRIES = 100  # a manifest may be collected between finding and opening it, when two commits come in between


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Holds the lock of the one writer. Raises `IndexLocked`, which says who holds it, or `StorageError`."""
    if fcntl is None:
        raise StorageError(f"{folder}: cannot be changed on this system, which has no flock; build it again")
    path = folder / LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o666)
    except OSError as error:
        raise StorageError(f"{path}: cannot be opened, so nothing can be changed ({error.strerror})") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise IndexLocked(
                f"{folder}: {_holder(descriptor)} is changing it; wait until that is done and try again"
                " (the lock is free as soon as its owner ends)"
            ) from None
        except OSError as error:
            raise StorageError(f"{path}: cannot be locked, so nothing can be changed ({error.strerror})") from error
        try:
            note = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            with suppress(OSError):  # it is for people: a full disk says so elsewhere
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(note).encode(), 0)
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # also for children that inherited the file
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    """Who holds the lock, as far as the file tells."""
    try:
        note = json.loads(os.pread(descriptor, 4096, 0))
        host = "" if note["host"] == socket.gethostname() else f" on {note['host']}"
        said = f"process {int(note['process'])}{host} (since {note['since']})"
        return said if said.isprintable() else "another process"
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return "another process"


class Pin:
    """Keeps the files of a generation from being collected, as long as it lives."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.release = weakref.finalize(self, os.close, descriptor)

    def is_at(self, manifest: Path) -> bool:
        """Whether the manifest that is held is the one at a path: it is another where the folder was replaced as a whole."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), manifest.stat(follow_symlinks=False))
        except FileNotFoundError:
            return False


def open_newest(folder: Path, kind: type[Stored]) -> tuple[Stored, Pin | None]:
    """The newest manifest, which is of that kind, and a pin on its generation. Raises as `newest` and its `parse` do."""
    for _ in range(_TRIES):
        path = newest(folder, kind.form)
        try:
            descriptor = open_regular(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise unopened(path, error, kind.form.remedy) from None
        pin = Pin(descriptor)
        if fcntl is not None:
            # A file system without locks: what is mapped stays readable all the same when it is collected.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_SH)
        if os.fstat(descriptor).st_nlink == 0:
            pin.release()
            continue
        return kind.parse(path), pin
    raise IndexNotFound(f"{folder}: its manifests come and go faster than they can be read; is it being replaced?")


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Marks a folder that is worked in, as long as the block runs or its process lives: `is_claimed` tells."""
    if not AVAILABLE:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY | _FLAGS)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def is_claimed(folder: Path) -> bool:
    """Whether someone may still be working in a folder."""
    if not AVAILABLE:
        return True
    descriptor = os.open(folder, os.O_RDONLY | _FLAGS)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def remove_unless_pinned(manifest: Path) -> bool:
    """Removes a manifest that no reader holds. Returns whether it is gone."""
    assert fcntl is not None
    descriptor = open_regular(manifest)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        disk.remove(manifest)  # while it is locked: a reader that comes now sees that it is gone
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
