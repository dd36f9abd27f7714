"""One process at a time compiles kernels, or loads them from Numba's cache.

Numba's cache has an index and a file for each type of a function. Each file is replaced as a whole, but not both together,
and the number of a new file is chosen without a lock. Two processes that compile a function for different types at once
choose the same number: the code of one is then found under the types of the other, now and ever after.

The lock is a flock on a file beside the cache. It is gone with the process that holds it, however it ends. Where it cannot be
had (no flock on this system or file system, nothing may be written there, a process that holds it was stopped), work goes on
without.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["cache_folder", "caching"]

NAME = "lsr-kernels.lock"
PATIENCE = 600.0  # seconds: compiling all kernels for all types takes a slow machine some minutes
_STEP = 0.02  # seconds between two tries
_FLAGS = os.O_RDONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)

# The descriptor that holds the lock, in this process.
_held: list[int] = []
_watched: list[bool] = []


def cache_folder() -> Path | None:
    """Where Numba keeps the code of the kernels: `__pycache__`, NUMBA_CACHE_DIR or the user's cache; None for nowhere."""
    from lsr.index.kernels.hits import find_term

    stats = getattr(find_term, "stats", None)  # none of a function that is not compiled (NUMBA_DISABLE_JIT)
    path = getattr(stats, "cache_path", None)
    return None if path is None else Path(path)


@contextmanager
def caching() -> Iterator[bool]:
    """Holds the lock, and says whether it does. One thread at a time may ask for it."""
    descriptor = _locked()
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            _held.clear()
            with suppress(OSError):
                # Also for a child that was forked meanwhile and has the file open.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _locked() -> int | None:
    folder = cache_folder() if fcntl is not None else None
    if folder is None:
        return None
    try:
        descriptor = os.open(folder / NAME, _FLAGS | getattr(os, "O_NONBLOCK", 0), 0o666)
    except OSError:
        return None
    _watch_forks()
    until = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(_STEP)
                continue
        except OSError:
            pass
        else:
            _held.append(descriptor)
            return descriptor
        os.close(descriptor)
        return None


def _watch_forks() -> None:
    if not _watched:
        _watched.append(True)
        os.register_at_fork(after_in_child=_forget)


def _forget() -> None:
    """A forked child does not hold what a thread of its parent does: with the file open, it would when its parent dies."""
    while _held:
        with suppress(OSError):
            os.close(_held.pop())
