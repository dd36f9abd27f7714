"""From a source of documents or vectors to an index on disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import lsr
from lsr import disk
from lsr.errors import CorpusError, InvalidInput
from lsr.index.blocked.calibration import calibrate
from lsr.index.blocked.parameters import Building
from lsr.index.new_segment import (
    Given,
    NewSegment,
    Source,
    holds_vectors,
    name_of_source,
    vectors_of,
    write_segment,
)
from lsr.index.query_side import term_weights, write_encoder
from lsr.index.reading import Reading
from lsr.index.segment_writer import Progress
from lsr.index.storage.folder import new_folder
from lsr.index.storage.generations import manifest_name
from lsr.index.storage.manifest import Manifest, SegmentEntry
from lsr.index.storage.segment import Segment
from lsr.index.storage.vocabulary import write_vocabulary
from lsr.sparse import SparseVectors

if TYPE_CHECKING:
    from lsr.encoders import Encoder

__all__ = ["BuildOptions", "BuildReport", "build_index"]

SEGMENT = "segment-0001"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """How to build; see `Index.build`."""

    reading: Reading
    engine: str = "auto"
    keep_text: bool = True
    overwrite: bool = False
    resume: bool = False
    corpus_idf: bool | None = None
    block_size: int | None = None
    postings_energy: float = 0.8
    sample_queries: SparseVectors | Sequence[str] | None = None

    @property
    def building(self) -> Building:
        return Building(engine=self.engine, block_size=self.block_size, postings_energy=self.postings_energy)

    def __post_init__(self) -> None:
        _ = self.building  # checks them


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did: documents, those cut at the encoder's length limit, seconds for all of it, those that an interrupted
    run had encoded, and those left out because their ids came before."""

    documents: int
    truncated: int
    seconds: float
    resumed: int
    skipped: int = 0


def build_index(
    source: Source, path: Path, encoder: str | Path | Encoder | None, options: BuildOptions, progress: Progress
) -> BuildReport:
    """Builds an index at `path`; see `Index.build`."""
    started = time.monotonic()
    if encoder is not None or not holds_vectors(source):
        encoder = options.reading.encoder(encoder)
    # An output path that is taken is refused first, before a large file is read or anything is encoded.
    with new_folder(path, options.overwrite, options.resume) as place:
        whose = "" if encoder is None else f"the encoder {encoder.name}"
        vectors = vectors_of(source, None if encoder is None else encoder.dim, whose)
        if vectors is not None and options.reading.duplicates != "error":
            raise InvalidInput(f"{vectors.name}: vectors whose ids came before are an error; make ids distinct")
        given = Given(
            source=source,
            vectors=vectors,
            encoder=encoder,
            reading=options.reading,
            keep_text=options.keep_text,
            resume=options.resume,
        )
        made = write_segment(given, place, SEGMENT, blocks=options.building.blocks, progress=progress)
        if made.entry is None:
            if vectors is not None:
                raise InvalidInput(f"{vectors.name}: there are no vectors to index")
            raise CorpusError(f"{name_of_source(source)}: holds no documents")
        tokens = vectors.tokens if vectors is not None and encoder is None else None
        _commit(place.target, given, made, made.entry, tokens, options, progress)
    return BuildReport(
        documents=made.entry.documents,
        truncated=made.counts.truncated if made.counts is not None else 0,
        seconds=time.monotonic() - started,
        resumed=made.resumed,
        skipped=made.skipped,
    )


# -- commit ------------------------------------------------------------------------------------------------------------


def _commit(
    work: Path,
    given: Given,
    made: NewSegment,
    segment: SegmentEntry,
    tokens: Sequence[str] | None,
    options: BuildOptions,
    progress: Progress,
) -> None:
    encoder, counts = given.encoder, made.counts
    adapt = options.corpus_idf
    if adapt is None:
        adapt = encoder is not None and encoder.adapts
    reading = options.reading.facts(encoder) if encoder is not None and counts is not None else None
    adapt = adapt and counts is not None and encoder is not None and encoder.inference_free
    entry = None if encoder is None else write_encoder(work, encoder, reading, counts if adapt else None)
    if segment.block_size:
        sample = _sample(options.sample_queries, encoder, given.dim)
        curves = calibrate(
            Segment(work, segment, given.dim, texts=False),
            given.dim,
            sample,
            term_weights(work, entry, given.dim),
            progress,
        )
        segment = replace(segment, curves=tuple(curve.to_json() for curve in curves))
    manifest = Manifest(
        generation=1,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        lsr_version=lsr.__version__,
        dim=given.dim,
        engine="blocked" if segment.block_size else "exact",
        encoder=entry,
        segments=(segment,),
        texts=made.texts,
        scale=segment.scale,
        building={**asdict(options.building), "adapt": adapt},
        numbered=segment.documents,
        vocabulary=() if tokens is None else write_vocabulary(work, tokens),
        source={
            "name": name_of_source(given.source),
            "truncated": counts.truncated if counts is not None else 0,
            "tokens": counts.tokens if counts is not None else 0,
        },
    )
    disk.write_new(work / manifest_name(1), manifest.to_json())


def _sample(queries: SparseVectors | Sequence[str] | None, encoder: Encoder | None, dim: int) -> SparseVectors | None:
    """The user's sample of queries as vectors."""
    if queries is None or isinstance(queries, SparseVectors):
        if queries is not None and queries.dim != dim:
            raise InvalidInput(f"the sample queries have {queries.dim:,} dimensions, the documents {dim:,}")
        return queries
    if encoder is None:
        raise InvalidInput("sample queries are texts, but the index has no encoder: give them as SparseVectors")
    return encoder.encode_query(list(queries))
