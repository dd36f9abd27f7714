"""Replies kept on the disk, so that no text is paid for twice: an SQLite file that processes and threads may share."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lsr.rag.generators.accounting import Wrapper
from lsr.rag.generators.base import Generator, Reply, Request
from lsr.rag.types import Failure, Usage

__all__ = ["CachedGenerator", "Replies"]

NAME = "replies.sqlite3"
# The number is that of the form of a row.
_TABLE = "replies_1"
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PATIENCE = 10.0  # seconds that another process may take to write
_PARTS = 64  # requests that are asked for before their replies are written

logger = logging.getLogger(__name__)


class Replies:
    """Replies by key in `folder`/replies.sqlite3, made where it is not there.

    What is wrong with the file stops no work: each is a warning of the logger, once. A damaged file is renamed to
    replies.sqlite3.damaged (and a number) and a new one begun; where nothing can be written (a full disk) what is there is
    still read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / NAME
        self._lock = threading.Lock()
        self._file: sqlite3.Connection | None = None
        self._parents: sqlite3.Connection | None = None
        self._of: tuple[int, int] | None = None  # process, and number of the file, that the connection is of
        self._told: set[str] = set()

    def get(self, keys: Sequence[str]) -> dict[str, Reply]:
        """Those of the keys that there are replies for."""
        found: dict[str, Reply] = {}

        def read(file: sqlite3.Connection) -> None:
            for key in keys:
                row = file.execute(f"SELECT reply FROM {_TABLE} WHERE key = ?", (key,)).fetchone()
                if row is not None and (reply := _read(row[0])) is not None:
                    found[key] = reply

        self._do("read", read)
        return found

    def put(self, replies: Mapping[str, Reply]) -> None:
        rows = [(key, json.dumps(asdict(replace(reply, cached=False)))) for key, reply in replies.items()]

        def write(file: sqlite3.Connection) -> None:
            with file:
                file.executemany(f"INSERT OR REPLACE INTO {_TABLE} VALUES (?, ?)", rows)

        if rows:
            self._do("written", write)

    def close(self) -> None:
        with self._lock:
            self._close()

    def _do(self, what: str, work: Callable[[sqlite3.Connection], None]) -> None:
        """Works with the open file, one thread at a time; a damaged one is set aside, and it is done with the new one."""
        with self._lock:
            for _ in range(2):
                try:
                    work(self._open())
                except sqlite3.Error as error:
                    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED and self._set_aside(error):
                        continue
                    self._warn(what, str(error))
                except OSError as error:
                    self._warn(what, str(error.strerror or error))
                return

    def _open(self) -> sqlite3.Connection:
        if self._file is not None and self._of is not None and self._of[0] == os.getpid():
            return self._file
        self._parents, self._file = self._file, None  # of the parent of this process: not to be touched, nor closed
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = sqlite3.connect(self.path, timeout=_PATIENCE, check_same_thread=False)
        try:
            self._of = os.getpid(), self.path.stat().st_ino
            # Readers and a writer at a time. A power cut may cost the last replies, never the file.
            file.execute("PRAGMA journal_mode = WAL").fetchall()
            file.execute("PRAGMA synchronous = NORMAL")
            file.execute(
                f"CREATE TABLE IF NOT EXISTS {_TABLE} (key TEXT PRIMARY KEY, reply TEXT NOT NULL) WITHOUT ROWID"
            )
        except BaseException:
            file.close()
            raise
        self._file = file
        return file

    def _set_aside(self, error: sqlite3.Error) -> bool:
        """Whether there is a new file now, or may be."""
        self._close()
        try:
            if self._of is None or self.path.stat().st_ino != self._of[1]:
                return True  # another process did it before
            number = 1
            while (aside := self.path.with_name(f"{NAME}.damaged{number}")).exists():
                number += 1
            self.path.rename(aside)
            for rest in ("-wal", "-shm"):
                self.path.with_name(NAME + rest).unlink(missing_ok=True)
        except OSError as reason:
            self._warn("renamed", str(reason.strerror or reason))
            return False
        logger.warning("%s: damaged (%s); it is now %s, and a new one is begun", self.path, error, aside.name)
        return True

    def _close(self) -> None:
        if self._file is not None and self._of is not None and self._of[0] == os.getpid():
            self._file.close()
        self._file = None

    def _warn(self, what: str, reason: str) -> None:
        if what not in self._told:
            self._told.add(what)
            logger.warning("%s: cannot be %s (%s); work goes on, replies are asked for again", self.path, what, reason)


class CachedGenerator(Wrapper):
    """A generator that is asked only for what `replies` does not hold; equal requests of a batch are asked once.

    Only texts are kept, never failures. sampled: also those of a temperature above 0, so that a run can be repeated; where
    False, each such request is written anew.
    """

    def __init__(self, generator: Generator, replies: Replies, *, sampled: bool = True) -> None:
        super().__init__(generator)
        self.replies, self._sampled = replies, sampled

    def generate(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        identity = self.identity()
        keys = [self._key(request, at, identity) for at, request in enumerate(requests)]
        known: dict[str, Reply | Failure] = dict(self.replies.get([key for key in keys if key]))
        kept = set(known)
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in known}
        asked = list(missing)
        for start in range(0, len(asked), _PARTS):
            part = asked[start : start + _PARTS]
            new = dict(zip(part, self.generator.generate([missing[key] for key in part]), strict=True))
            self.replies.put({k: r for k, r in new.items() if isinstance(r, Reply) and not k.startswith(_ANEW)})
            known.update(new)
        return list(self._handed_out(keys, known, kept))

    def _handed_out(
        self, keys: Sequence[str], known: Mapping[str, Reply | Failure], kept: set[str]
    ) -> Iterator[Reply | Failure]:
        seen = set(kept)
        for key in keys:
            reply = known[key]
            yield replace(reply, cached=True) if key in seen and isinstance(reply, Reply) else reply
            seen.add(key)

    def _key(self, request: Request, at: int, identity: Mapping[str, Any]) -> str:
        heat = identity.get("temperature", request.temperature)
        if heat > 0 and not self._sampled:
            return f"{_ANEW}{at}"
        said = json.dumps([identity, asdict(request)], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(said.encode()).hexdigest()


# How the key of a request begins that is written anew each time.
_ANEW = "anew "


def _read(row: str) -> Reply | None:
    """A reply as it was written; None where the row is none."""
    try:
        values = json.loads(row)
        text, usage, cut = values["text"], Usage(**values["usage"]), values["cut"]
    except (ValueError, TypeError, KeyError):
        return None
    return Reply(text, usage, cut=bool(cut), cached=True) if isinstance(text, str) else None
