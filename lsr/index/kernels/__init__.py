"""Numba kernels: plain arrays in and out, no objects, no files. Import a module from here only where it is used.

Compiled code is kept by Numba in `__pycache__`, or in the user's cache folder where that is read-only.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["compile_once", "compiled_form"]

logger = logging.getLogger(__name__)

_SLOW = 3.0  # seconds; code from the cache loads in less, also on a busy machine
_ready: set[str] = set()
_locks: dict[int, threading.Lock] = {}


def _once() -> threading.Lock:
    """The lock of this process. A forked child has another: the thread that holds its parent's does not run in it."""
    return _locks.setdefault(os.getpid(), threading.Lock())


def compile_once(name: str, empty_call: Callable[[], object]) -> None:
    """Makes sure that a kernel is compiled, by calling it with nothing to do, once a process.

    Only one thread of one process compiles at a time (`cache_lock` says why), and when it turns out to take long, because no
    earlier process left the code in the cache, a log line says so.
    """
    if name in _ready:
        return
    from lsr.index.kernels.cache_lock import caching

    with _once():
        if name in _ready:
            return
        timer = threading.Timer(_SLOW, logger.warning, ["compiling the kernels: once on this machine, some seconds"])
        timer.daemon = True
        timer.start()
        try:
            with caching():
                empty_call()
        finally:
            timer.cancel()
        _ready.add(name)


def compiled_form(kernel: Any, arguments: Sequence[object]) -> Callable[..., None]:
    """The form of a compiled kernel for arguments of these types, to be called without looking the types up each time.

    That look-up takes 3 to 5 us with some forty arrays. The types of later arguments must be the same: nothing checks it.
    """
    from numba import typeof

    form: Callable[..., None] = kernel.get_overload(tuple(typeof(argument) for argument in arguments))
    return form
