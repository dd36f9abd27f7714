"""What is left of write-once segments once some of their documents were deleted, or are being replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from lsr.errors import CorruptIndex, DuplicateId
from lsr.index.storage.commit import Commit
from lsr.index.storage.deletions import Stored, deletion_bits
from lsr.index.storage.manifest import FileEntry
from lsr.index.storage.records import Ids

__all__ = ["Gone", "Remaining", "check_distinct", "entries"]

Rows = npt.NDArray[np.int64]


class SegmentFacts(Stored, Protocol):
    """What a manifest says of a segment."""

    def with_deletions(self, deleted: int, file: FileEntry | None) -> Self: ...


class WithIds(Protocol):
    """A segment that was opened."""

    ids: Ids


Entry = TypeVar("Entry", bound=SegmentFacts)
Arrays = TypeVar("Arrays", bound=WithIds)


@dataclass(frozen=True)
class Remaining(Generic[Entry, Arrays]):
    """A segment, and what is left of it: `deleted` are the rows, rising, that are gone."""

    entry: Entry
    segment: Arrays
    deleted: Rows

    @property
    def live(self) -> int:
        """How many documents are left."""
        return self.entry.documents - self.entry.deleted

    def left(self, numbers: Rows) -> Rows:
        """The rows of those that are left, by their numbers among them, from 0."""
        return numbers + np.searchsorted(self._before, numbers, side="right") if len(self.deleted) else numbers

    @cached_property
    def _before(self) -> Rows:
        """For each deleted row, how many before it are left."""
        return self.deleted - np.arange(len(self.deleted))

    @cached_property
    def is_left(self) -> npt.NDArray[np.bool_]:
        """For each row whether it was not deleted [documents]."""
        left = np.ones(self.entry.documents, bool)
        left[self.deleted] = False
        return left

    def find_all(self, identifiers: Sequence[str]) -> Rows:
        """The rows of those ids that are there and were not deleted."""
        found = self.segment.ids.find_all(identifiers)
        return found[~np.isin(found, self.deleted)] if len(self.deleted) else found

    def without(self, rows: Rows) -> Remaining[Entry, Arrays]:
        """The same without some rows more. No file says so yet."""
        deleted = np.union1d(self.deleted, rows)
        return Remaining(self.entry.with_deletions(len(deleted), None), self.segment, deleted)


class Gone(Generic[Entry, Arrays]):
    """The documents that a change removes, found by their ids. Where none may be, finding one is an error."""

    def __init__(self, parts: Sequence[Remaining[Entry, Arrays]], replacing: bool, noun: str) -> None:
        self._parts, self._replacing, self._noun = parts, replacing, noun
        self._rows: list[list[Rows]] = [[] for _ in parts]
        self.count = 0

    def check(self, ids: Sequence[str], wheres: Sequence[str]) -> None:
        """Takes note of those that the index has. Raises `DuplicateId`, naming the first and where it stands."""
        for part, rows in zip(self._parts, self._rows, strict=True):
            found = part.find_all(ids)
            if not len(found):
                continue
            if not self._replacing:
                identifier = part.segment.ids[int(found[0])]
                at = list(ids).index(identifier)
                where = f"{wheres[at]}: " if wheres and wheres[at] else ""
                raise DuplicateId(
                    f"{where}the id {identifier!r} is in the {self._noun} already; give it another, or replace that document"
                    " (upsert, --upsert)"
                )
            rows.append(found)
            self.count += len(found)

    def remaining(self) -> list[Remaining[Entry, Arrays]]:
        """The parts without those documents, and without parts of which nothing is left."""
        parts = [
            part.without(np.concatenate(rows)) if rows else part
            for part, rows in zip(self._parts, self._rows, strict=True)
        ]
        return [part for part in parts if part.live]


def check_distinct(path: Path, parts: Sequence[Remaining[Any, Any]]) -> None:
    """Raises `CorruptIndex` where an id is that of documents in two segments that were not deleted."""
    for at, part in enumerate(parts):
        names = [part.segment.ids[row] for row in np.flatnonzero(part.is_left).tolist()]
        for other in parts[:at]:
            twice = other.find_all(names)
            if len(twice):
                name = other.segment.ids[int(twice[0])]
                raise CorruptIndex(f"{path}: the id {name!r} is that of documents in two segments; restore a copy")


def entries(commit: Commit[Any], parts: Sequence[Remaining[Entry, Any]]) -> list[Entry]:
    """What the manifest says of parts; writes which of their documents were deleted, where that changed."""
    found = []
    for part in parts:
        entry = part.entry
        if entry.deleted and entry.deletions is None:
            name = commit.name("deleted", entry.name.removeprefix("segment-"))
            file = commit.add_file(name, deletion_bits(part.deleted, entry.documents))
            entry = entry.with_deletions(entry.deleted, file)
        found.append(entry)
    return found
