"""A study on disk: one SQLite file in a folder, which one process writes.

    study.sqlite    config (JSON), candidates in the order asked with what came of each question, what was spent, the
    verdict LOCK            held by the process that searches

A candidate is written when it is finished, in one transaction; what its questions consumed is written block by block, so
that a killed study has lost time but no account.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsr import disk
from lsr.errors import InvalidInput, OutputExists, StorageError
from lsr.index.storage.locks import AVAILABLE, writing
from lsr.rag.search.evaluated import Outcomes, read_outcome, to_json

__all__ = ["Read", "Record", "Spent", "Store", "differences", "locked", "read_study"]

FILE = "study.sqlite"
FORM = 1
_TABLES = """
create table study (form integer not null, config text not null);
create table candidates (
    number integer primary key, choice text not null, state text not null, reason text, told text, outcomes text not null
);
create table notes (name text primary key, value text not null);
create table spent (seconds real not null, tokens integer not null, cost real not null, questions integer not null);
"""


@dataclass(frozen=True)
class Record:
    """A candidate that was evaluated. number: in the order asked, 0 is the baseline; choice: stages as JSON by family;
    state: "complete", "raced out" or "failed", with its reason; values: quality and costs as told to the algorithm, of a
    failed one None.
    """

    number: int
    choice: Mapping[str, Any]
    state: str
    reason: str | None
    values: tuple[float, ...] | None
    outcomes: Outcomes


@dataclass(frozen=True)
class Spent:
    """What evaluating took so far, with what was never finished. seconds: of evaluating, added up over workers."""

    seconds: float = 0.0
    tokens: int = 0
    cost: float = 0.0
    questions: int = 0


class Store:
    """Raises `StorageError` for a file that is damaged, or a disk that is full."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / FILE
        self._lock = threading.Lock()  # threads of one process share the connection
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
                    self._connection.execute("pragma journal_mode = wal")
                yield self._connection
            except sqlite3.OperationalError as error:
                raise StorageError(
                    f"{self.path}: cannot be read or written ({error}); is the disk full or read-only?"
                ) from None
            except (sqlite3.DatabaseError, ValueError, KeyError, TypeError) as error:
                raise StorageError(f"{self.path}: is damaged ({error}); begin a new study in another folder") from None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._database() as database:
            database.execute("begin immediate")
            try:
                yield database
                database.execute("commit")
            except BaseException:
                if database.in_transaction:
                    database.execute("rollback")
                raise

    def exists(self) -> bool:
        return disk.exists(self.path) and self.config() is not None

    def begin(self, config: Mapping[str, Any], *, resume: bool) -> None:
        """Makes the study, or goes on with the one that is there. Raises `OutputExists` where there is one and nobody
        said to resume, `InvalidInput`, which says what differs, where it is one of another config."""
        there = self.config() if disk.exists(self.path) else None
        if there is None:
            with self._transaction() as database:
                for statement in _TABLES.split(";"):
                    database.execute(statement)
                database.execute("insert into study values (?, ?)", (FORM, json.dumps(config)))
            return
        if not resume:
            raise OutputExists(f"{self.folder}: holds a study; resume it, or give another folder")
        differing = differences(there, json.loads(json.dumps(config)))
        if differing:
            raise InvalidInput(
                f"{self.folder}: the study is one of another configuration ({'; '.join(differing[:4])});"
                " give another folder, or the configuration that it was begun with"
            )

    def config(self) -> dict[str, Any] | None:
        """What the study was begun with; None where that was never finished."""
        with self._database() as database:
            if not database.execute("select 1 from sqlite_master where name = 'study'").fetchone():
                return None
            form, config = database.execute("select form, config from study").fetchone()
            if form != FORM:
                raise StorageError(f"{self.path}: a study of form {form}, this version of lsr reads form {FORM}")
            read: dict[str, Any] = json.loads(config)
            return read

    def add(self, record: Record) -> None:
        outcomes = {question: to_json(outcome) for question, outcome in record.outcomes.items()}
        row = (
            record.number,
            json.dumps(record.choice),
            record.state,
            record.reason,
            None if record.values is None else json.dumps(record.values),
            json.dumps(outcomes),
        )
        with self._transaction() as database:
            database.execute("insert into candidates values (?, ?, ?, ?, ?, ?)", row)

    def records(self) -> dict[int, Record]:
        """All candidates by number."""
        with self._database() as database:
            rows = database.execute("select * from candidates order by number").fetchall()
            return {row[0]: _record(row) for row in rows}

    def spend(self, seconds: float, tokens: int, cost: float, questions: int) -> None:
        with self._transaction() as database:
            database.execute("insert into spent values (?, ?, ?, ?)", (seconds, tokens, cost, questions))

    def spent(self) -> Spent:
        with self._database() as database:
            row = database.execute("select sum(seconds), sum(tokens), sum(cost), sum(questions) from spent").fetchone()
            return Spent(row[0] or 0.0, row[1] or 0, row[2] or 0.0, row[3] or 0)

    def note(self, name: str, value: Any) -> None:
        """Writes what is to be kept with the study, as JSON; a later value of that name replaces it."""
        with self._transaction() as database:
            database.execute("insert or replace into notes values (?, ?)", (name, json.dumps(value)))

    def notes(self) -> dict[str, Any]:
        with self._database() as database:
            rows = database.execute("select name, value from notes order by name").fetchall()
            return {name: json.loads(value) for name, value in rows}

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def _record(row: tuple[Any, ...]) -> Record:
    number, choice, state, reason, told, outcomes = row
    return Record(
        number,
        json.loads(choice),
        state,
        reason,
        None if told is None else tuple(json.loads(told)),
        {question: read_outcome(outcome) for question, outcome in json.loads(outcomes).items()},
    )


@dataclass(frozen=True)
class Read:
    """A study as it is on disk, perhaps unfinished. notes: what was written beside it, as "verdict"."""

    config: Mapping[str, Any]
    records: tuple[Record, ...]
    spent: Spent
    notes: Mapping[str, Any]


def read_study(folder: str | Path) -> Read:
    """Raises `StorageError` where there is none."""
    store = Store(Path(folder))
    try:
        config = store.config() if disk.exists(store.path) else None
        if config is None:
            raise StorageError(f"{folder}: holds no study")
        return Read(config, tuple(store.records().values()), store.spent(), store.notes())
    finally:
        store.close()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The one writer of a study. Raises `IndexLocked`."""
    if not AVAILABLE:
        yield
        return
    with writing(folder):
        yield


def differences(before: Any, now: Any, where: str = "") -> list[str]:
    """What differs between two values of JSON, each with its place."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = [*before, *(key for key in now if key not in before)]
        return [
            line
            for key in keys
            for line in differences(before.get(key), now.get(key), f"{where}.{key}" if where else str(key))
        ]
    if isinstance(before, list) and isinstance(now, list) and before != now:
        if len(before) != len(now):
            return [f"{where} has {len(now)} entries, it had {len(before)}"]
        return [
            line for i, pair in enumerate(zip(before, now, strict=True)) for line in differences(*pair, f"{where}[{i}]")
        ]
    return [] if before == now else [f"{where} is {_short(now)}, it was {_short(before)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
