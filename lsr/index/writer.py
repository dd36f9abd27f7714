"""Changing an index: adding, replacing, deleting and compacting, each as one commit (`storage.commit`)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xxhash

import lsr
from lsr import disk
from lsr.errors import InvalidInput
from lsr.index.blocked.parameters import BLOCKED_FROM, Building
from lsr.index.policy import building_of, is_compact, reason_to_compact, taken_up
from lsr.index.query_side import document_encoder, term_weights, write_adapted
from lsr.index.segments import Left
from lsr.index.storage.checkpoint import Stages
from lsr.index.storage.commit import Commit, Commits
from lsr.index.storage.manifest import FORMAT_VERSION, EncoderEntry, FileEntry, Manifest, SegmentEntry
from lsr.index.storage.remaining import Gone, entries
from lsr.index.storage.segment import Segment
from lsr.limits import MAX_DOCUMENTS

if TYPE_CHECKING:
    from lsr.encoders import Encoder
    from lsr.index.new_segment import Given, Source
    from lsr.index.reading import Reading
    from lsr.index.segment_writer import Progress
    from lsr.index.snapshot import Snapshot
    from lsr.index.storage.folder import Workplace

__all__ = ["AddReport", "CompactReport", "Writer"]

logger = logging.getLogger(__name__)

_NAMED = 5  # ids in a message

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AddReport:
    """What an addition did: documents that came, how many of them took the place of others, those cut at the encoder's length
    limit, and seconds for all of it."""

    documents: int
    replaced: int
    truncated: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What compacting did: documents that are left, segments before, and seconds. `done` is false where there was nothing to
    do."""

    documents: int
    segments: int
    done: bool
    seconds: float


class Writer:
    """Changes the index in a folder, by `commits`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._encoder: Encoder | None = None
        self.commits = Commits(folder, Manifest)

    def add(
        self,
        commit: Commit[Manifest],
        snapshot: Snapshot,
        source: Source,
        reading: Reading,
        encoder: Encoder | None,
        replacing: bool,
        progress: Progress,
    ) -> AddReport:
        """See `Index.add` and `Index.upsert`."""
        from lsr.index.merging import merge
        from lsr.index.new_segment import write_segment
        from lsr.index.quantize import at_scale, choose_quantizer

        started, manifest = time.monotonic(), commit.manifest
        building = building_of(manifest)
        given = self._given(snapshot, source, reading, encoder, replacing)
        gone = Gone(snapshot.parts, replacing, "index")
        # Where no weight is stored yet, there is no scale to keep to.
        fresh = not any(entry.nnz for entry in manifest.segments)
        quantize = choose_quantizer if fresh else at_scale(manifest.scale)
        place, name = commit.workplace(), commit.name("segment")
        with disk.deferred() as later:
            made = write_segment(
                given,
                place,
                name,
                blocks=lambda documents: building.blocks(documents) if documents >= BLOCKED_FROM else None,
                quantize=quantize,
                check=gone.check,
                progress=progress,
            )
            if made.entry is None:
                return AddReport(0, 0, 0, time.monotonic() - started)
            if manifest.documents + made.entry.documents > MAX_DOCUMENTS:
                raise InvalidInput(f"{self._folder}: an index holds up to {MAX_DOCUMENTS:,} documents")
            entry, parts = made.entry, gone.remaining()
            taken = taken_up(parts, entry)
            if not taken:
                later.sync()
        if taken:
            new = Left(entry, Segment(place.target, entry, manifest.dim, manifest.texts), np.zeros(0, np.int64))
            place = commit.workplace()
            together = [*parts[-taken:], new]
            entry = merge(
                together, place, name, dim=manifest.dim, blocks=None, quantize=at_scale(entry.scale), progress=progress
            )
            parts = parts[:-taken]
        entry = self._calibrated(place, entry, manifest, manifest.encoder, progress)
        commit.take(place, name)
        self._publish(
            commit,
            (*entries(commit, parts), entry),
            scale=entry.scale if fresh and entry.nnz else manifest.scale,
            numbered=manifest.numbered + made.entry.documents,
        )
        truncated = 0 if made.counts is None else made.counts.truncated
        return AddReport(made.entry.documents, gone.count, truncated, time.monotonic() - started)

    def _given(
        self, snapshot: Snapshot, source: Source, reading: Reading, encoder: Encoder | None, replacing: bool
    ) -> Given:
        """The source, if it fits the index. Raises `InvalidInput` where it does not, or `EncoderError`."""
        from lsr.index.new_segment import Given, vectors_of

        manifest, path = snapshot.manifest, self._folder
        vectors = vectors_of(source, manifest.dim, f"the index {path}")
        entry = manifest.encoder
        if vectors is None:
            if entry is None or entry.reading is None:
                raise InvalidInput(
                    f"{path}: made of vectors, so lsr cannot encode texts as they were: add vectors of {manifest.dim:,}"
                    " dimensions"
                )
            self._encoder = document_encoder(path, entry, encoder or self._encoder, reading.device)
            encoder = self._encoder
            if entry.reading.get("long") == "passages":
                reading = replace(reading, long="passages", stride=entry.reading.get("stride"))
        else:
            encoder = None
            if manifest.texts and not vectors.texts:
                raise InvalidInput(
                    f"{path}: keeps the texts of its documents, and {vectors.name} has none: add documents"
                )
            if vectors.tokens is not None and vectors.tokens != snapshot.tokens:
                raise InvalidInput(
                    f"{vectors.name}: has a vocabulary of its own, so its terms are others than those of {path}; open it with"
                    " lsr.open_vectors(file, vocabulary=index.tokens)"
                )
        return Given(
            source=source,
            vectors=vectors,
            encoder=encoder,
            reading=reading,
            keep_text=manifest.texts,
            numbered=None if replacing else manifest.numbered,
        )

    # -- deleting ------------------------------------------------------------------------------------------------------

    def delete(self, commit: Commit[Manifest], snapshot: Snapshot, ids: str | Iterable[str], missing_ok: bool) -> int:
        """See `Index.delete`."""
        wanted = dict.fromkeys([ids] if isinstance(ids, str) else ids)
        for identifier in wanted:
            if not isinstance(identifier, str):
                raise InvalidInput(f"an id is a {type(identifier).__name__}: ids are strings")
        gone = Gone(snapshot.parts, True, "index")
        gone.check(list(wanted), ())
        if gone.count < len(wanted) and not missing_ok:
            missing = [identifier for identifier in wanted if snapshot.find(identifier) is None]
            more = f" and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else ""
            named = ", ".join(repr(identifier[:80]) for identifier in missing[:_NAMED])
            raise InvalidInput(
                f"{self._folder}: has no document {named}{more}; nothing was deleted (missing_ok=True or --missing-ok passes"
                " over them)"
            )
        if gone.count:
            self._publish(commit, entries(commit, gone.remaining()))
        return gone.count

    # -- compacting ----------------------------------------------------------------------------------------------------

    def compact(
        self, commit: Commit[Manifest], snapshot: Snapshot, encoder: Encoder | None, refresh: bool, progress: Progress
    ) -> CompactReport:
        """See `Index.compact`."""
        started, manifest = time.monotonic(), commit.manifest
        building = building_of(manifest)
        parts = Gone(snapshot.parts, True, "index").remaining()
        # Segments of different scales cannot become one without rounding, which is for `refresh`.
        runs = [list(run) for _, run in groupby(parts, key=lambda part: None if refresh else part.entry.scale)]
        dirty = refresh or len(parts) < len(snapshot.parts) or any(not is_compact(run, building) for run in runs)
        if not dirty:
            return CompactReport(snapshot.documents, len(parts), False, time.monotonic() - started)
        place = commit.unfinished()
        stages = Stages(place, _plan(manifest, refresh))
        made = []  # segments, which are taken into the index when all are there: until then they can be gone on with
        side = manifest.encoder
        if refresh:
            side = self._adapted(commit, place, parts, encoder, stages, progress)
        entries = []
        for number, run in enumerate(runs):
            if not refresh and is_compact(run, building):
                entries.append(run[0].entry)
                continue
            name = commit.name("segment") + (f"-{number}" if number else "")
            entries.append(self._rewritten(place, name, manifest, run, building, refresh, side, stages, progress))
            made.append(name)
        for name in made:
            commit.take(place, name)
        scale = entries[0].scale if refresh and snapshot.nnz else manifest.scale
        self._publish(commit, tuple(entries), scale=scale, encoder=side)
        return CompactReport(snapshot.documents, len(snapshot.parts), True, time.monotonic() - started)

    def _rewritten(
        self,
        place: Workplace,
        name: str,
        manifest: Manifest,
        run: Sequence[Left],
        building: Building,
        refresh: bool,
        side: EncoderEntry | None,
        stages: Stages,
        progress: Progress,
    ) -> SegmentEntry:
        """Some parts as one segment below `place.target`."""
        from lsr.index.merging import merge
        from lsr.index.quantize import at_scale, chosen_anew

        scales = {part.entry.scale for part in run}
        scratch = place.scratch / name
        disk.make_folder(scratch, exist_ok=True)
        entry = merge(
            run,
            place._replace(scratch=scratch),
            name,
            dim=manifest.dim,
            blocks=building.blocks(sum(part.live for part in run)),
            quantize=chosen_anew(scales) if refresh else at_scale(run[0].entry.scale),
            progress=progress,
            stages=stages,
        )
        Segment(place.target, entry, manifest.dim, manifest.texts)  # opens, whatever was found to go on with
        return self._calibrated(place, entry, manifest, side, progress)

    def _adapted(
        self,
        commit: Commit[Manifest],
        place: Workplace,
        parts: Sequence[Left],
        encoder: Encoder | None,
        stages: Stages,
        progress: Progress,
    ) -> EncoderEntry | None:
        """The query side, its term weights adapted to the documents that there are now, where an index does so."""
        manifest = commit.manifest
        side = manifest.encoder
        if side is None or side.reading is None or not manifest.building.get("adapt"):
            return side
        if not manifest.texts:
            raise InvalidInput(
                f"{self._folder}: keeps no texts, in which words could be counted anew; compact it without refresh, or build"
                " it again"
            )
        from lsr.encoders.idf import TokenCounts
        from lsr.index.merging import stored_documents

        known = self._encoder = document_encoder(self._folder, side, encoder or self._encoder)

        def count() -> tuple[list[FileEntry], dict[str, Any]]:
            counts, total = TokenCounts(manifest.dim), sum(part.live for part in parts)
            for documents in (some for part in parts for some in stored_documents(part)):
                progress("counting words", counts.documents, total)
                known.count([document.content for document in documents], counts)
            return [], counts.to_json()

        _, facts = stages.run("words counted", count)
        name = commit.name("encoder")
        side = write_adapted(place.target, name, side, known, TokenCounts.from_json(facts))
        commit.take(place, name)
        return side

    # -- what all of them do -------------------------------------------------------------------------------------------

    def _calibrated(
        self, place: Workplace, entry: SegmentEntry, manifest: Manifest, side: EncoderEntry | None, progress: Progress
    ) -> SegmentEntry:
        """A new segment with what recall costs in it."""
        if not entry.block_size:
            return entry
        from lsr.index.blocked.calibration import calibrate

        segment = Segment(place.target, entry, manifest.dim, texts=False)
        curves = calibrate(segment, manifest.dim, None, term_weights(self._folder, side, manifest.dim), progress)
        return replace(entry, curves=tuple(curve.to_json() for curve in curves))

    def _publish(self, commit: Commit[Manifest], segments: Sequence[SegmentEntry], **changes: Any) -> None:
        manifest = replace(
            commit.manifest,
            generation=commit.generation,
            lsr_version=lsr.__version__,
            segments=tuple(segments),
            engine="blocked" if any(entry.block_size for entry in segments) else "exact",
            format_version=FORMAT_VERSION,
            **changes,
        )
        commit.publish(manifest)
        reason = reason_to_compact(manifest)
        if reason is not None:
            logger.info("%s: %s; compact it", self._folder, reason)


def _plan(manifest: Manifest, refresh: bool) -> str:
    """What compacting is about to do, as a digest."""
    return xxhash.xxh3_128_hexdigest(f"{lsr.__version__} {FORMAT_VERSION} {refresh} ".encode() + manifest.to_json())
