"""A bounded store of bytes by key, in one SQLite file that several processes and threads may share.

What is in it can always be made again: so a file that is damaged is set aside, and a disk that is full ends the storing,
not the work. Both are said once, by logging."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import zstandard

from lsr import disk
from lsr.errors import StorageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Blobs"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

_VERSION = 1
_CHUNK = 500  # keys of a statement
_KEPT = 0.9  # of the limit, when old entries are dropped
_WAIT = 30.0  # seconds for another process that writes
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Blobs:
    """Values by key (bytes each). path: the file, made with its folder when it is not there. limit: bytes of values that
    are kept; those that were not used for the longest are dropped first.

    Raises `StorageError` for a folder that cannot be made, or a damaged file that cannot be moved away.
    """

    def __init__(self, path: str | Path, limit: int = 1 << 30) -> None:
        self.path, self.limit = Path(path), limit
        self._lock = threading.Lock()
        self._stored = True
        self._room = 0  # bytes that may be put before all are counted, which reads the whole file
        self._database: sqlite3.Connection | None = None
        self._process = 0
        self._parents: sqlite3.Connection | None = None
        _make_folders(self.path.parent)
        self._done(lambda _: None)

    def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The values that are there."""
        wanted = list(dict.fromkeys(keys))

        def read(database: sqlite3.Connection) -> dict[bytes, bytes]:
            found: dict[bytes, bytes] = {}
            for first in range(0, len(wanted), _CHUNK):
                some = wanted[first : first + _CHUNK]
                marks = ",".join("?" * len(some))
                found.update(database.execute(f"SELECT key, value FROM entries WHERE key IN ({marks})", some))
            return found

        packed = self._done(read) or {}
        if packed:
            self._touch(packed)
        unpack = zstandard.ZstdDecompressor().decompress
        values = {}
        for key, value in packed.items():
            try:
                values[key] = unpack(value)
            except zstandard.ZstdError:
                logger.warning("%s: an entry is damaged; it is made again", self.path)
        return values

    def put(self, values: Mapping[bytes, bytes]) -> None:
        """Keeps values, in place of those that have their keys."""
        if not values or not self._stored:
            return
        pack = zstandard.ZstdCompressor(level=3).compress
        packed = [(key, data, len(data)) for key, data in ((key, pack(value)) for key, value in values.items())]

        def write(database: sqlite3.Connection) -> None:
            with database:
                (now,) = database.execute("SELECT coalesce(max(used), 0) + 1 FROM entries").fetchone()
                rows = [(key, value, size, now) for key, value, size in packed]
                database.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", rows)
            self._room -= sum(size for _, _, size in packed)
            if self._room < 0:
                self._shrink(database)

        self._done(write)

    def __len__(self) -> int:
        return self._done(lambda database: int(database.execute("SELECT count(*) FROM entries").fetchone()[0])) or 0

    @property
    def size(self) -> int:
        """Bytes of the values that are kept."""
        return self._done(_total) or 0

    def close(self) -> None:
        with self._lock:
            self._close()

    # -- the database --------------------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        """The open file of this process."""
        if self._database is None or self._process != os.getpid():
            self._parents = self._database  # what another process opened is neither used nor closed
            self._database, self._process = self._opened(), os.getpid()
        return self._database

    def _close(self) -> None:
        if self._database is not None and self._process == os.getpid():
            self._database.close()
        self._database = None

    def _opened(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=_WAIT, check_same_thread=False)
        try:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise _OtherVersion(f"of version {version}")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")  # a crash may lose the last entries, which are made again
            database.execute(
                "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB, size INTEGER, used INTEGER)"
            )
            database.execute("CREATE INDEX IF NOT EXISTS by_use ON entries (used)")
            database.execute(f"PRAGMA user_version = {_VERSION}")
            database.commit()
        except BaseException:
            database.close()
            raise
        return database

    def _done(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """What `work` returns, with a new file where this one is damaged; None, with a line in the log, where the disk does
        not allow it."""
        with self._lock:
            for _ in range(2):
                try:
                    return work(self._open())
                except sqlite3.Error as error:
                    if _is_damage(error):
                        self._close()
                        self._set_aside(error)
                        continue
                    if self._stored:  # a full disk, no right to write, a lock that is not given up
                        logger.warning("%s: nothing more is stored there (%s)", self.path, error)
                    self._stored = False
                    return None
            return None

    def _touch(self, keys: Iterable[bytes]) -> None:
        if not self._stored:
            return

        def write(database: sqlite3.Connection) -> None:
            with database:
                (now,) = database.execute("SELECT coalesce(max(used), 0) + 1 FROM entries").fetchone()
                database.executemany("UPDATE entries SET used = ? WHERE key = ?", [(now, key) for key in keys])

        self._done(write)

    def _shrink(self, database: sqlite3.Connection) -> None:
        total = _total(database)
        self._room = (self.limit - total) // 4  # others put too
        if total <= self.limit:
            return
        with closing(database.execute("SELECT key, size FROM entries ORDER BY used, rowid")) as rows:
            dropped = []
            for key, size in rows:
                if total <= self.limit * _KEPT:
                    break
                dropped.append((key,))
                total -= size
        with database:
            database.executemany("DELETE FROM entries WHERE key = ?", dropped)

    def _set_aside(self, error: sqlite3.Error) -> None:
        """Moves a damaged file away, unless another process or thread has done so: then there is a good one by now."""
        aside = self.path.with_name(f"{self.path.name}.damaged")
        try:
            with self._alone():
                if self._is_good():
                    return
                for ending in ("-wal", "-shm"):  # before it: afterwards they are those of a new one
                    self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
                self.path.replace(aside)
        except OSError as failed:
            raise StorageError(f"{self.path}: is damaged and cannot be moved away ({failed.strerror})") from None
        logger.warning("%s: cannot be read (%s); it is set aside as %s, and begun anew", self.path, error, aside.name)

    def _is_good(self) -> bool:
        try:
            with closing(self._opened()) as database:
                return bool(database.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
        except sqlite3.Error as error:
            return not _is_damage(error)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """For one at a time, of all processes (but where the system has no such locks)."""
        with self.path.with_name(f"{self.path.name}.lock").open("wb") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


class _OtherVersion(sqlite3.DatabaseError):
    """A store that another version of lsr made."""


def _is_damage(error: sqlite3.Error) -> bool:
    return isinstance(error, _OtherVersion) or getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def _total(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT coalesce(sum(size), 0) FROM entries").fetchone()[0])


def _make_folders(folder: Path) -> None:
    disk.check_name(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: the cache folder cannot be made ({error.strerror or error})") from None
