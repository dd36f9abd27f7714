"""Bringing a graph up to the documents of its index, in commits (`lsr.index.storage.commit`).

What an extractor finds is kept passage by passage, with a hash of the text that it read. So only texts that are new are read,
in rounds of which each is a commit; the last commit makes the arrays of all that is kept, in the order of the index. What
comes of it does not depend on how it came about: it is what a new build would give.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

import lsr
from lsr import disk
from lsr.errors import GeneratorError, InvalidInput
from lsr.index.policy import trailing
from lsr.index.storage.commit import Commit, Commits
from lsr.index.storage.folder import Workplace
from lsr.index.storage.remaining import Gone, entries
from lsr.rag.graph.arrays import Pairs, Synonyms, build_arrays
from lsr.rag.graph.store.arrays import write_arrays
from lsr.rag.graph.store.facts import StoredFacts, write_facts
from lsr.rag.graph.store.manifest import FactsEntry, GraphManifest, RecordSegmentEntry
from lsr.rag.graph.store.records import Left, RecordSegment, RecordWriter, record_of
from lsr.rag.graph.store.snapshot import GraphSnapshot, check_belongs, documents_digest, index_digest
from lsr.rag.graph.types import Extracted, Extractor, GraphArrays, Text
from lsr.rag.types import Failure

if TYPE_CHECKING:
    from lsr.encoders import Encoder
    from lsr.index import Index
    from lsr.index.segment_writer import Progress
    from lsr.index.snapshot import Snapshot

__all__ = ["GraphSyncReport", "Syncing", "SynonymsWithIdentity", "compact"]

BATCH = 256  # passages that an extractor is given at a time, unless it wants more (`Extractor`)
ROUND = 1 << 13  # passages in a commit at most,
SECONDS = 30.0  # which a commit follows: so much is done again when a run is interrupted
SMALL = 4 << 20  # bytes of a segment that is copied into the next one
MOST = 256 << 20
MOST_FAILED = 0.1  # of the passages: a graph with more holes misleads

# What finds synonyms, None where a graph has none, and what a manifest keeps of it.
SynonymsWithIdentity = tuple[Synonyms | None, dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class GraphSyncReport:
    """What bringing a graph up did: passages that were read, how many of these had been read with an earlier text, passages
    that went; those on which the extractor failed and failed again, with what it said of the first, and those in which it
    found no phrase; and whether the arrays were made anew."""

    extracted: int
    replaced: int
    deleted: int
    failed: int
    failure: str | None
    without_phrases: int
    rebuilt: bool


@dataclass(slots=True)
class _Done:
    extracted: int = 0
    replaced: int = 0
    deleted: int = 0
    failed: int = 0
    failure: str | None = None
    tried: set[int] = field(default_factory=set)  # hashes of ids and texts, of those that failed
    down: bool = False  # nothing at all comes of the extractor


class Syncing:
    """One run. extractor: opened when there is something to read; synonyms, and encoder, which encodes facts: when arrays
    are made."""

    def __init__(
        self,
        folder: Path,
        index: Index,
        extractor: Callable[[], Extractor],
        synonyms: Callable[[GraphManifest], SynonymsWithIdentity],
        encoder: Callable[[], Encoder],
        progress: Progress,
    ) -> None:
        self._folder, self._index, self._progress = folder, index, progress
        self._extractor, self._synonyms, self._encoder = extractor, synonyms, encoder
        self._opened: Extractor | None = None
        self._accepted: set[int] = set()  # rows on which the extractor had failed before
        self._done = _Done()

    def run(self) -> GraphSyncReport:
        """Raises as extractors and encoders do, `GeneratorError` where one failed on more than a tenth of the passages,
        `StoreMismatch`, `IndexLocked`, `StorageError`; rounds that were committed stay."""
        commits, done, rebuilt = Commits(self._folder, GraphManifest), self._done, False
        while True:
            with commits.next() as commit:
                self._index.refresh()  # under the lock: whoever comes last brings a graph up to the newest generation
                snapshot = self._index.snapshot
                check_belongs(self._folder, commit.manifest, snapshot)
                store = GraphSnapshot(self._folder, commit.manifest)
                difference = store.difference(snapshot)
                wanted = np.concatenate([difference.lacking, difference.failed])
                rows = list(islice(self._untried(snapshot, wanted), ROUND))
                # Holes that the graph had when it was last made do not count again, however few passages are left.
                self._accepted = set(difference.failed.tolist()) if commit.manifest.arrays is not None else set()
                if rows or difference.gone:
                    self._round(commit, store, snapshot, rows, difference.gone, len(wanted))
                else:
                    self._check_failures(store.failed - len(self._accepted), snapshot.documents)
                    rebuilt |= self._arrays(commit, store, snapshot)
                    break
            self._check_failures(done.failed, snapshot.documents)
        arrays = commit.manifest.arrays
        assert arrays is not None
        return GraphSyncReport(
            extracted=done.extracted,
            replaced=done.replaced,
            deleted=done.deleted,
            failed=len(difference.failed),
            failure=done.failure,
            without_phrases=arrays.without_phrases - len(difference.failed),
            rebuilt=rebuilt,
        )

    # -- reading -------------------------------------------------------------------------------------------------------

    def _untried(self, snapshot: Snapshot, rows: npt.NDArray[np.int64]) -> Iterator[int]:
        """Rows of passages to read, without those that failed in this run already."""
        if not self._done.tried:
            yield from rows.tolist()
            return
        ids, texts = snapshot.hashes()
        for row in rows.tolist():
            if _key(ids[row], texts[row]) not in self._done.tried:
                yield row

    def _round(
        self,
        commit: Commit[GraphManifest],
        store: GraphSnapshot,
        snapshot: Snapshot,
        rows: Sequence[int],
        leaving: Sequence[str],
        left: int,
    ) -> None:
        """Reads some passages, and takes away what is of none: one commit."""
        gone = Gone(store.parts, True, GraphManifest.form.noun)
        gone.check(leaving, ())
        deleted = gone.count
        name = commit.name("segment")
        new: list[RecordSegmentEntry] = []
        with disk.deferred() as later:
            place = commit.workplace()
            writer = RecordWriter(place.target, name)
            try:
                for ids, hashes, records in self._read(snapshot, rows, left):
                    gone.check(ids, ())
                    writer.append(ids, hashes, records)
                parts = gone.remaining()
                if writer.documents:
                    new = [writer.finish()]
            finally:
                writer.close()
            taken = trailing([_bytes(part) for part in parts], new[0].bytes, SMALL, MOST) if new else 0
            if not taken:
                later.sync()
        if taken:
            with_it = Left(new[0], RecordSegment(place.target, new[0]), np.zeros(0, np.int64))
            place = commit.workplace()
            new = [_together([*parts[-taken:], with_it], place.target, name)]
            parts = parts[:-taken]
        if new:
            commit.take(place, name)
        self._done.extracted += writer.documents
        self._done.deleted += deleted
        self._done.replaced += gone.count - deleted
        _publish(commit, segments=(*entries(commit, parts), *new), records=commit.generation)

    def _read(
        self, snapshot: Snapshot, rows: Sequence[int], left: int
    ) -> Iterator[tuple[list[str], npt.NDArray[np.uint64], list[bytes]]]:
        """Batches of ids, hashes of texts and records, until the time of a round is over."""
        started, done = time.monotonic(), self._done.extracted
        total = done + left
        with closing(self._found(snapshot, rows)) as answers:
            for some, found in answers:
                failures = [one for one in found if isinstance(one, Failure)]
                if failures:
                    self._note(snapshot, some, found)
                    self._done.down = len(failures) == BATCH
                    told = zip(some, found, strict=True)
                    self._done.failed += sum(
                        isinstance(one, Failure) and row not in self._accepted for row, one in told
                    )
                    self._done.failure = self._done.failure or failures[0].message
                records = [record_of(one if isinstance(one, Extracted) else None) for one in found]
                yield [snapshot.id_of(row) for row in some], snapshot.text_hashes(np.array(some, np.int64)), records
                done += len(some)
                self._progress("finding phrases and facts", done, total)
                if self._done.down or time.monotonic() - started > SECONDS:
                    return

    def _found(
        self, snapshot: Snapshot, rows: Sequence[int]
    ) -> Generator[tuple[Sequence[int], list[Extracted | Failure]], None, None]:
        """Rows of some passages and what was found in each."""
        if not rows:
            return
        if self._opened is None:
            self._opened = self._extractor()
        size = getattr(self._opened, "at_once", BATCH)
        for first in range(0, len(rows), size):
            texts = _Texts(snapshot, rows[first : first + size])
            answers = iter(self._opened.extract(texts))
            for at in range(0, len(texts), BATCH):
                some = texts.rows[at : at + BATCH]
                found = list(islice(answers, len(some)))
                fits = len(found) == len(some) and all(
                    isinstance(one, Failure) or one.passage == snapshot.id_of(row)
                    for one, row in zip(found, some, strict=True)
                )
                if not fits or (at + BATCH >= len(texts) and next(answers, None) is not None):
                    raise InvalidInput(
                        f"{self._opened.name}: does not give one result for each passage, in their order"
                    )
                yield some, found

    def _note(self, snapshot: Snapshot, rows: Sequence[int], found: Sequence[Extracted | Failure]) -> None:
        ids, texts = snapshot.hashes()
        failing = [row for row, one in zip(rows, found, strict=True) if isinstance(one, Failure)]
        self._done.tried.update(_key(ids[row], texts[row]) for row in failing)

    def _check_failures(self, failed: int, passages: int) -> None:
        if self._done.down or failed > MOST_FAILED * passages:
            name = "the extractor" if self._opened is None else self._opened.name
            raise GeneratorError(
                f"{name}: failed on {failed:,} of {passages:,} passages, the first: {self._done.failure or 'not tried'}; the"
                f" rest is kept, and `lsr graph build {self._index.path} --resume` asks for these again"
            )

    # -- making the arrays ---------------------------------------------------------------------------------------------

    def _arrays(self, commit: Commit[GraphManifest], store: GraphSnapshot, snapshot: Snapshot) -> bool:
        """Makes the arrays, where those that are there are of something else. Returns whether it did."""
        manifest = commit.manifest
        documents, index = documents_digest(snapshot), index_digest(snapshot)
        if manifest.current and manifest.arrays is not None and manifest.arrays.documents == documents:
            return False
        synonyms, identity = self._synonyms(manifest)
        total = snapshot.documents
        graph = build_arrays(
            self._told(store.found(snapshot), total),
            [snapshot.id_of(row) for row in range(total)],
            synonyms=None if synonyms is None else _Told(synonyms, self._progress),
        )
        place, vectors = commit.workplace(), None
        with disk.deferred() as later:
            if len(graph.predicates):
                vectors = self._facts(commit, place, graph)
            name = commit.name("arrays")
            entry = write_arrays(place.target, name, graph, records=manifest.records, documents=documents, index=index)
            later.sync()
        commit.take(place, name)
        if vectors is not None:
            commit.take(place, vectors.name)
        _publish(commit, arrays=replace(entry, vectors=vectors), synonyms=identity)
        return True

    def _facts(self, commit: Commit[GraphManifest], place: Workplace, graph: GraphArrays) -> FactsEntry:
        """Writes the vectors of a graph's facts."""
        arrays = commit.manifest.arrays
        there = None if arrays is None or arrays.vectors is None else StoredFacts(commit.folder, arrays.vectors)
        return write_facts(place, commit.name("facts"), graph, self._encoder(), there, self._progress)

    def _told(self, found: Iterator[Extracted], total: int) -> Iterator[Extracted]:
        for number, one in enumerate(found, 1):
            yield one
            self._progress("putting the graph together", number, total)


class _Told:
    """Finds synonyms, and says that it does: it takes long where there are many phrases."""

    def __init__(self, synonyms: Synonyms, progress: Progress) -> None:
        self._synonyms, self._progress = synonyms, progress

    def pairs(self, phrases: Sequence[str]) -> Pairs:
        self._progress("finding synonyms of phrases", 0, len(phrases))
        found = self._synonyms.pairs(phrases)
        self._progress("finding synonyms of phrases", len(phrases), len(phrases))
        return found


def compact(commit: Commit[GraphManifest]) -> bool:
    """Writes the records of all passages that are left as one segment. Returns whether there was anything to do."""
    store = GraphSnapshot(commit.folder, commit.manifest)
    parts = [part for part in store.parts if part.live]
    if len(parts) == len(store.parts) <= 1 and not any(part.entry.deleted for part in parts):
        return False
    made: list[RecordSegmentEntry] = []
    if parts:
        place, name = commit.workplace(), commit.name("segment")
        made = [_together(parts, place.target, name)]
        commit.take(place, name)
    _publish(commit, segments=tuple(made))
    return True


class _Texts(Sequence[Text]):
    """The texts in some rows, each read when it is asked for."""

    def __init__(self, snapshot: Snapshot, rows: Sequence[int]) -> None:
        self._snapshot, self.rows = snapshot, rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, at: int) -> Text: ...

    @overload
    def __getitem__(self, at: slice) -> list[Text]: ...

    def __getitem__(self, at: int | slice) -> Text | list[Text]:
        if isinstance(at, slice):
            return [self._text(row) for row in self.rows[at]]
        return self._text(self.rows[at])

    def _text(self, row: int) -> Text:
        record = self._snapshot.record_of(row)
        if record is None:
            raise InvalidInput(
                f"{self._snapshot.path}: keeps no texts, of which a graph is made; build the index with texts"
            )
        return Text(self._snapshot.id_of(row), record.text, record.title)


def _key(identifier: np.uint64, text: np.uint64) -> int:
    return int(identifier) << 64 | int(text)


def _bytes(part: Left) -> int:
    """Bytes of what is left, on the average."""
    return part.entry.bytes * part.live // max(1, part.entry.documents)


def _together(parts: Sequence[Left], folder: Path, name: str) -> RecordSegmentEntry:
    """What is left of some parts, as one segment."""
    writer = RecordWriter(folder, name)
    try:
        for part in parts:
            writer.copy(part)
        return writer.finish()
    finally:
        writer.close()


def _publish(commit: Commit[GraphManifest], **changes: Any) -> None:
    commit.publish(
        replace(
            commit.manifest,
            generation=commit.generation,
            lsr_version=lsr.__version__,
            format_version=GraphManifest.form.version,
            **changes,
        )
    )
