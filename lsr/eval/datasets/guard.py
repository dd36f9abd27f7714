"""ir_datasets kept from the network and from pickles while it reads for us.

ir_datasets 0.6 downloads whatever is missing on first use, and unpickles caches of documents that it finds or makes
(`docs.pklz4`): some of its collections are read in no other way even when one only iterates. Both are stopped by replacing
its functions while one of its iterators is advanced, and putting them back after.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from logging import CRITICAL, Logger
from pathlib import Path
from threading import RLock
from typing import Any, NoReturn

from lsr.errors import MissingExtra

__all__ = ["NotHere", "PickledCache", "guarded", "imported"]

# Modules of ir_datasets that unpickle.
PICKLING = (
    "indices.lz4_pickle",
    "indices.zpickle_docstore",
    "indices.indexed_tsv_docstore",
    "datasets.aol_ia",
    "datasets.c4",
)
_lock = RLock()  # the functions are replaced for the whole process: one thread at a time


class NotHere(Exception):
    """A file is not on this machine. `url` is where it is from, `path` where ir_datasets looks for it."""

    def __init__(self, url: str, path: str | None) -> None:
        self.url, self.path = url, path
        super().__init__(f"{url} as {path}" if path else url)


class PickledCache(Exception):
    """Documents could be had only from a pickle."""


def imported(purpose: str) -> Any:
    """The module ir_datasets. Raises `MissingExtra` when it is not installed."""
    try:
        return importlib.import_module("ir_datasets")
    except ImportError:
        raise MissingExtra("ir_datasets", "eval", purpose) from None


@contextmanager
def guarded(ir: Any, *, download: bool) -> Iterator[None]:
    """While it is open, `ir` (the module) downloads nothing unless `download`, and unpickles nothing.

    Raises `NotHere` out of ir_datasets where it would download, `PickledCache` where it would unpickle. Without
    downloads it is also silent: it logs and draws bars for steps that take no time. All is as before afterwards.
    """
    with _lock, ExitStack() as stack:
        _read_documents_from_their_source(ir, stack)
        if not download:
            _refuse_downloads(ir, stack)
            _silence(ir, stack)
        yield


def _replace(stack: ExitStack, owner: Any, name: str, replacement: Any) -> None:
    before = vars(owner)[name]
    stack.callback(setattr, owner, name, before)
    setattr(owner, name, replacement)


def _read_documents_from_their_source(ir: Any, stack: ExitStack) -> None:
    """Stores of documents look as if they were never built, and iterate over what they would be built from."""
    store = ir.indices.PickleLz4FullStore
    _replace(stack, store, "built", lambda self: False)
    _replace(stack, store, "__iter__", lambda self: iter(self.init_iter_fn()))
    for name in PICKLING:
        module = importlib.import_module(f"ir_datasets.{name}")
        if hasattr(module, "pickle"):
            _replace(stack, module, "pickle", _NoPickle())


class _NoPickle:
    def __getattr__(self, name: str) -> NoReturn:
        raise PickledCache("its documents are kept in a pickled store, which lsr does not read")


def _refuse_downloads(ir: Any, stack: ExitStack) -> None:
    downloads = importlib.import_module("ir_datasets.util.download")
    local = downloads.LocalDownload
    path_of: Callable[..., Any] = vars(downloads.Download)["path"]

    def path(self: Any, force: bool = True) -> Any:
        cached = self._cache_path
        if force and self._path is None and not (cached is not None and Path(cached).exists()):
            copies = [mirror._path for mirror in self.mirrors if isinstance(mirror, local)]
            if not any(copy.exists() for copy in copies):
                wanted = cached if cached is not None else next(iter(copies), None)
                raise NotHere(_origin(self.mirrors, local), None if wanted is None else str(wanted))
        return path_of(self, force)

    def refused(self: Any) -> NoReturn:
        raise NotHere(_origin([self], local), None)

    _replace(stack, downloads.Download, "path", path)
    for kind in (downloads.RequestsDownload, downloads.GoogleDriveDownload, downloads.GoogleCloudBucketStream):
        _replace(stack, kind, "stream", refused)
    _replace(stack, downloads.RequestsDownload, "__iter__", refused)


def _origin(mirrors: list[Any], local: type) -> str:
    """Where a file comes from: an address, or for data that one must ask for the words of ir_datasets."""
    for mirror in mirrors:
        if not isinstance(mirror, local):
            return str(getattr(mirror, "url", None) or getattr(mirror, "uri", None) or mirror)
    said = [str(message) for mirror in mirrors if (message := getattr(mirror, "_message", None))]
    return " ".join(said[0].split()) if said else "the file"


def _silence(ir: Any, stack: ExitStack) -> None:
    logger = importlib.import_module("ir_datasets.log").Logger
    _replace(stack, logger, "logger", lambda self: _SILENT)
    _replace(stack, logger, "pbar", lambda self, it, *args, **kwargs: iter(it))
    _replace(stack, logger, "pbar_raw", _no_bar)


_SILENT = Logger("lsr", CRITICAL + 1)


class _NoBar:
    """Takes what is done with a progress bar, and draws none."""

    n = 0

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None


@contextmanager
def _no_bar(self: Any, *args: Any, **kwargs: Any) -> Iterator[_NoBar]:
    yield _NoBar()
