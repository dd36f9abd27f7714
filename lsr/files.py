"""Writing files so that a reader sees either the old content or the new one, never a half."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lsr.errors import LsrError, StorageError

__all__ = ["atomic_write", "sync_folder"]


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Opens a temporary file beside `path`; on success flushes it to the disk and renames it to `path`.

    On any failure the temporary file is removed and `path` is as it was. An OSError becomes a `StorageError` that names
    the path.
    """
    if not path.name or "\0" in str(path):
        raise StorageError(f"{str(path)!r}: not the name of a file")
    # Not made from path.name: that may be as long as the file system allows.
    temporary = path.with_name(f".lsr-{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except LsrError:
        raise  # some are OSErrors too, and say already what is wrong
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):  # gone when renamed; unreachable when the folder is a file
            temporary.unlink()


def sync_folder(folder: Path) -> None:
    """Makes renames and new names in a folder durable. A no-op where folders cannot be opened (Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
