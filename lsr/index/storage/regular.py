"""Opening what must be a regular file: never through a link, and never waiting for whoever is at the other end of a pipe."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from lsr.errors import CorruptIndex, StorageError

__all__ = ["REMEDY", "open_regular", "unopened"]

REMEDY = "`lsr repair` it, build it again or restore a copy"  # of an index that is damaged

_FLAGS = os.O_RDONLY
for _name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    _FLAGS |= getattr(os, _name, 0)


def open_regular(path: Path) -> int:
    """A descriptor for reading. Raises OSError as `os.open` does, and for a link, folder, pipe or device."""
    descriptor = os.open(path, _FLAGS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def unopened(path: Path, error: OSError, remedy: str = REMEDY) -> StorageError:
    """Why a file cannot be read: something else than a file is in its place, or the system is to blame."""
    if error.errno in (errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO, errno.ENOTDIR):
        return CorruptIndex(f"{path}: not a regular file; {remedy}")
    return StorageError(f"{path}: cannot be read ({error.strerror}); put that right, and open it again")
