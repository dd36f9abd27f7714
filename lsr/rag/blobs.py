"""A bounded store of bytes by key, in one SQLite file that several processes and threads may share.

What is in it can always be made again: so a file that is damaged is set aside, and a disk that is full ends the storing,
not the work. Both are said once, by logging."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import zstandard

from lsr import disk
from lsr.errors import StorageError

__all__ = ["Blobs"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

_VERSION = 1
_CHUNK = 500  # keys of a statement
_KEPT = 0.9  # of the limit, when old entries are dropped
_WAIT = 30.0  # seconds for another process that writes


class Blobs:
    """Values by key (bytes each). path: the file, made with its folder when it is not there. limit: bytes of values that
    are kept; those that were not used for the longest are dropped first.

    Raises `StorageError` for a folder that cannot be made, or a file that is something else.
    """

    def __init__(self, path: str | Path, limit: int = 1 << 30) -> None:
        self.path, self.limit = Path(path), limit
        self._lock = threading.Lock()
        self._stored = True
        _make_folders(self.path.parent)
        try:
            self._database = self._opened()
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
            self._database = self._opened()

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
            self._database.close()

    # -- the database --------------------------------------------------------------------------------------------------

    def _opened(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=_WAIT, check_same_thread=False)
        try:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise sqlite3.DatabaseError(f"of version {version}")
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
        """What `work` returns; None, with a line in the log, where the disk or the file does not allow it."""
        with self._lock:
            try:
                return work(self._database)
            except sqlite3.OperationalError as error:
                if self._stored:  # a full disk, no right to write, a lock that is not given up
                    logger.warning("%s: nothing more is stored there (%s)", self.path, error)
                self._stored = False
                return None
            except sqlite3.DatabaseError as error:
                self._database.close()
                self._set_aside(error)
                self._database = self._opened()
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
        aside = self.path.with_name(f"{self.path.name}.damaged")
        logger.warning("%s: cannot be read (%s); it is set aside as %s, and begun anew", self.path, error, aside.name)
        try:
            self.path.replace(aside)
            for ending in ("-wal", "-shm"):
                self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
        except OSError as failed:
            raise StorageError(f"{self.path}: is damaged and cannot be moved away ({failed.strerror})") from None


def _total(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT coalesce(sum(size), 0) FROM entries").fetchone()[0])


def _make_folders(folder: Path) -> None:
    disk.check_name(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: the cache folder cannot be made ({error.strerror or error})") from None
