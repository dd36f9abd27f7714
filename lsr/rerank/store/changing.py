"""Changing a token store: adding, replacing, deleting and compacting, each as one commit (`lsr.index.storage.commit`).

Added documents become a segment of their own, which takes up small ones before it: those of up to `SMALL` bytes always,
larger ones while they are no larger than what comes, all together up to `MOST`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import lsr
from lsr import disk
from lsr.errors import InvalidInput
from lsr.index.policy import trailing
from lsr.index.storage.commit import Commit
from lsr.index.storage.remaining import Gone, entries
from lsr.limits import MAX_DOCUMENTS
from lsr.rerank.store.batches import Batches, append, given, made
from lsr.rerank.store.manifest import STORE, IndexIdentity, StoreManifest, TokenSegmentEntry
from lsr.rerank.store.segment import Left, SegmentWriter, TokenSegment
from lsr.rerank.store.snapshot import StoreSnapshot, check_belongs

if TYPE_CHECKING:
    from lsr.index.segment_writer import Progress

__all__ = ["TokenAddReport", "TokenChange", "add", "compact", "delete"]

SMALL = 16 << 20  # bytes of codes: what is copied while a disk syncs
MOST = 512 << 20
_NAMED = 5  # ids in a message


@dataclass(frozen=True, slots=True)
class TokenAddReport:
    """What an addition did: documents and tokens that came, documents of which there is no token, how many documents took the
    place of others, and how many went."""

    documents: int
    tokens: int
    without_tokens: int
    replaced: int
    deleted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenChange:
    """What becomes of a store in one commit: documents that are added, ids of others that go, those that are not there passed
    over, and the index that it then fits."""

    batches: Batches = ()
    delete: Sequence[str] = ()
    index: IndexIdentity | None = None


def add(
    commit: Commit[StoreManifest], snapshot: StoreSnapshot, change: TokenChange, replacing: bool, progress: Progress
) -> TokenAddReport:
    """See `TokenStore.add`, `TokenStore.upsert` and `TokenStore.change`."""
    index = change.index
    check_belongs(commit.folder, commit.manifest, index, None)
    place, name, codec = commit.workplace(), commit.name("segment"), snapshot.codec
    gone = Gone(snapshot.parts, replacing, STORE.noun)
    gone.check(change.delete, ())
    empty, deleted = 0, gone.count
    with disk.deferred() as later:
        writer = SegmentWriter(place.target, name, codec.bytes_per_token)
        try:
            for some in change.batches:
                batch = made(*given(some), codec.dim)
                gone.check(batch.ids, ())
                append(writer, codec, batch)
                empty += int(np.count_nonzero(batch.vectors.lengths == 0))
                progress("writing token vectors", writer.documents, None)
            report = TokenAddReport(writer.documents, writer.tokens, empty, gone.count - deleted, deleted)
            if not report.documents:
                newer = index is not None and commit.manifest.index is not None and index != commit.manifest.index
                if deleted or newer:
                    _publish(commit, entries(commit, gone.remaining()), index)
                return report
            entry = writer.finish()
        finally:
            writer.close()
        if snapshot.documents - gone.count + entry.documents > MAX_DOCUMENTS:
            raise InvalidInput(f"{commit.folder}: a token store holds up to {MAX_DOCUMENTS:,} documents")
        parts = gone.remaining()
        taken = trailing([_bytes(part, codec.bytes_per_token) for part in parts], writer.size, SMALL, MOST)
        if not taken:
            later.sync()
    if taken:
        new = Left(entry, TokenSegment(place.target, entry, codec.bytes_per_token), np.zeros(0, np.int64))
        place = commit.workplace()
        entry = _together([*parts[-taken:], new], place.target, name, codec.bytes_per_token, progress)
        parts = parts[:-taken]
    commit.take(place, name)
    _publish(commit, (*entries(commit, parts), entry), index)
    return report


def delete(commit: Commit[StoreManifest], snapshot: StoreSnapshot, ids: str | Iterable[str], missing_ok: bool) -> int:
    """See `TokenStore.delete`."""
    wanted = list(dict.fromkeys([ids] if isinstance(ids, str) else ids))
    segments, _ = snapshot.find(wanted)
    missing = [identifier for identifier, segment in zip(wanted, segments.tolist(), strict=True) if segment < 0]
    if missing and not missing_ok:
        named = ", ".join(repr(identifier[:80]) for identifier in missing[:_NAMED])
        more = f" and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else ""
        raise InvalidInput(
            f"{commit.folder}: has no document {named}{more}; nothing was deleted (missing_ok=True passes over them)"
        )
    gone = Gone(snapshot.parts, True, STORE.noun)
    gone.check(wanted, ())
    if gone.count:
        _publish(commit, entries(commit, gone.remaining()), None)
    return gone.count


def compact(commit: Commit[StoreManifest], snapshot: StoreSnapshot, progress: Progress) -> bool:
    """See `TokenStore.compact`."""
    parts = [part for part in snapshot.parts if part.live]
    if len(parts) == len(snapshot.parts) <= 1 and not any(part.entry.deleted for part in parts):
        return False
    made: list[TokenSegmentEntry] = []
    if parts:
        place, name = commit.workplace(), commit.name("segment")
        made = [_together(parts, place.target, name, snapshot.codec.bytes_per_token, progress)]
        commit.take(place, name)
    _publish(commit, made, None)
    return True


def _together(parts: Sequence[Left], folder: Path, name: str, width: int, progress: Progress) -> TokenSegmentEntry:
    """What is left of some parts, as one segment."""
    writer = SegmentWriter(folder, name, width)
    try:
        for part in parts:
            writer.copy(part)
            progress("copying token vectors", writer.documents, sum(part.live for part in parts))
        return writer.finish()
    finally:
        writer.close()


def _bytes(part: Left, width: int) -> int:
    """Bytes of the codes of what is left, on the average."""
    return part.entry.tokens * width * part.live // max(1, part.entry.documents)


def _publish(commit: Commit[StoreManifest], segments: Sequence[TokenSegmentEntry], index: IndexIdentity | None) -> None:
    manifest = commit.manifest
    commit.publish(
        replace(
            manifest,
            generation=commit.generation,
            lsr_version=lsr.__version__,
            segments=tuple(segments),
            index=manifest.index if index is None else index,
            format_version=STORE.version,
        )
    )
