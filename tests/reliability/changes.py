"""Every kind of change to an index folder, to be interrupted; and what the folder then holds.

A change is done to the folder `my.idx` in some other folder. Before `build` there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lsr import Index
from lsr.errors import IndexNotFound
from lsr.index.storage.check import check_index
from tests.reliability.collections import Doc, source

__all__ = ["CHANGES", "NAME", "State", "make", "state", "works"]

NAME = "my.idx"
DOCUMENTS = [Doc(f"d{number}", {number % 7: 1 + number % 5, 9: 2}, {"year": 2000 + number}) for number in range(30)]
NEW = [Doc("new1", {0: 3, 5: 1}, {"year": 2030}), Doc("d1", {0: 9}, {"year": 2031})]

# Ids and texts of all documents, in order; None where there is no index.
State = list[tuple[str, str | None]] | None


def make(folder: Path, engine: str, change: str) -> Path:
    """An index of several generations: with a deletion, and in blocks with a second segment, unless that is to be added."""
    built = Index.build(source(DOCUMENTS[:20]), folder / NAME, engine=engine)
    if (engine, change) != ("blocked", "add"):
        built.add(source(DOCUMENTS[20:]))
    built.delete(["d3", "d15"])
    return folder / NAME


def build(path: Path, engine: str) -> None:
    Index.build(source(DOCUMENTS[:12]), path, engine=engine)


def overwrite(path: Path, engine: str) -> None:
    Index.build(source(DOCUMENTS[:12]), path, engine=engine, overwrite=True)


def add(path: Path, engine: str) -> None:
    Index.open(path).add(source(NEW[:1]))


def upsert(path: Path, engine: str) -> None:
    Index.open(path).upsert(source(NEW))


def delete(path: Path, engine: str) -> None:
    Index.open(path).delete(["d0", "d2"])


def compact(path: Path, engine: str) -> None:
    Index.open(path).compact(refresh=True)


CHANGES: dict[str, Callable[[Path, str], None]] = {
    change.__name__: change for change in (build, overwrite, add, upsert, delete, compact)
}


def state(path: Path) -> State:
    """What an index holds. Raises whatever opening it raises, but for `IndexNotFound`."""
    try:
        index = Index.open(path)
    except IndexNotFound:
        return None
    records = ((index.id_of(row), index.record_of(row)) for row in range(len(index)))
    return [(identifier, record and record.text) for identifier, record in records]


def works(path: Path, engine: str) -> None:
    """What was interrupted is in nobody's way: the next change is done, all of it checks, and nothing is left lying about."""
    before = state(path)
    if before is None:
        build(path, engine)
    else:
        Index.open(path).upsert(source([Doc("later", {3: 4})]))
        assert state(path) == [*before, ("later", "the text of later")]
    list(check_index(path, full=True))
    assert [one.name for one in path.iterdir() if one.name.startswith(("tmp-", "unfinished-"))] == []
    Index.build(source(DOCUMENTS[:2]), path, overwrite=True)
    assert [one.name for one in path.parent.iterdir() if one.name.startswith(f".{NAME}")] == []
