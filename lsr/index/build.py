"""From a source of documents or vectors to an index on disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import lsr
from lsr.errors import CorpusError, InvalidInput
from lsr.files import atomic_write
from lsr.index.blocked.calibration import calibrate
from lsr.index.blocked.curves import Curve
from lsr.index.blocked.parameters import BlockOptions, default_block_size
from lsr.index.encoding_run import EncodingRun
from lsr.index.filters.collect import FieldsWriter
from lsr.index.formats.vector_file import VectorFile, in_memory
from lsr.index.query_side import term_weights, write_encoder
from lsr.index.reading import Reading, Texts, name_of
from lsr.index.segment_writer import Progress, Spool, write_arrays
from lsr.index.storage.folder import new_folder
from lsr.index.storage.manifest import Manifest, SegmentEntry, manifest_name
from lsr.index.storage.records import IdsWriter, TextsWriter
from lsr.index.storage.segment import Segment
from lsr.index.storage.vocabulary import write_vocabulary
from lsr.sparse import SparseVectors

if TYPE_CHECKING:
    from lsr.encoders import Encoder
    from lsr.encoders.idf import TokenCounts

__all__ = ["ENGINES", "BuildOptions", "BuildReport", "Source", "build_index"]

ENGINES = ("auto", "exact", "blocked")
SEGMENT = "segment-0001"
BLOCKED_FROM = 100_000  # documents from which "auto" builds blocks: below, the exact engine answers as fast

Source = SparseVectors | VectorFile | Texts


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

    def blocks(self, documents: int) -> BlockOptions | None:
        """How to build blocks, None where the exact engine alone is to be built."""
        if self.engine == "exact" or (self.engine == "auto" and documents < BLOCKED_FROM):
            return None
        size = self.block_size or default_block_size(documents)
        return BlockOptions(block_size=size, postings_energy=self.postings_energy)

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise InvalidInput(f"engine {self.engine!r} is not known: choose one of {', '.join(ENGINES)}")
        BlockOptions(block_size=self.block_size or 32, postings_energy=self.postings_energy)  # checks them


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did: documents, those cut at the encoder's length limit, seconds for all of it."""

    documents: int
    truncated: int
    seconds: float
    resumed: int


def build_index(
    source: Source, path: Path, encoder: str | Path | Encoder | None, options: BuildOptions, progress: Progress
) -> BuildReport:
    """Builds an index at `path`; see `Index.build`."""
    started = time.monotonic()
    if encoder is not None or not _holds_vectors(source):
        encoder = options.reading.encoder(encoder)
    # An output path that is taken is refused first, before a large file is read or anything is encoded.
    with new_folder(path, options.overwrite, options.resume) as (work, scratch):
        vectors = _load_vectors(source, encoder)
        spool = Spool(scratch, vectors.dim if vectors is not None else encoder.dim)  # type: ignore[union-attr]
        ids = texts = fields = run = None
        try:
            # In messages, documents of files are counted from 1, as their lines are, and Python objects from 0.
            ids = IdsWriter(work, SEGMENT, first=1 if isinstance(source, str | Path | VectorFile) else 0)
            has_texts = vectors is None or vectors.texts
            texts = TextsWriter(work, SEGMENT) if options.keep_text and has_texts else None
            fields = FieldsWriter(work, SEGMENT, scratch) if has_texts else None
            if vectors is not None:
                _spool_vectors(vectors, spool, ids, texts, fields, progress)
            else:
                assert encoder is not None
                assert not isinstance(source, SparseVectors | VectorFile)
                run = EncodingRun(spool, encoder, ids, texts, progress, fields=fields, resume=options.resume)
                if not run.run(options.reading.documents(source, encoder), options.reading.batch_size):
                    raise CorpusError(f"{_name(source)}: holds no documents")
            blocks = options.blocks(spool.documents)
            files, scale, nnz = write_arrays(spool, work, SEGMENT, blocks, progress)
            files += ids.finish() + (texts.finish() if texts else []) + (fields.finish() if fields else [])
        finally:
            for writer in (spool, ids, texts):
                if writer is not None:
                    writer.close()
        block_size = blocks.block_size if blocks is not None else 0
        segment = SegmentEntry(SEGMENT, spool.documents, nnz, float(scale), block_size, tuple(files))
        counts = run.counts if run is not None else None
        tokens = vectors.tokens if vectors is not None and encoder is None else None
        _commit(work, source, spool.dim, encoder, counts, segment, texts is not None, tokens, options, progress)
    return BuildReport(
        documents=segment.documents,
        truncated=counts.truncated if counts is not None else 0,
        seconds=time.monotonic() - started,
        resumed=run.resumed if run is not None else 0,
    )


# -- what is given -----------------------------------------------------------------------------------------------------


def _holds_vectors(source: Source) -> bool:
    return isinstance(source, SparseVectors | VectorFile) or (
        isinstance(source, str | Path) and str(source).endswith(".npz")
    )


def _load_vectors(source: Source, encoder: Encoder | None) -> VectorFile | None:
    """The vectors of the source, or None where it holds texts."""
    if not _holds_vectors(source):
        return None
    if not isinstance(source, VectorFile):
        vectors = source if isinstance(source, SparseVectors) else SparseVectors.load(source)  # type: ignore[arg-type]
        source = in_memory(vectors, _name(source))
    if encoder is not None and source.dim != encoder.dim:
        raise InvalidInput(f"the vectors have {source.dim:,} dimensions, the encoder {encoder.name} {encoder.dim:,}")
    return source


def _name(source: Source) -> str:
    if isinstance(source, VectorFile):
        return source.name
    return "the vectors given" if isinstance(source, SparseVectors) else name_of(source)


def _spool_vectors(
    source: VectorFile,
    spool: Spool,
    ids: IdsWriter,
    texts: TextsWriter | None,
    fields: FieldsWriter | None,
    progress: Progress,
) -> None:
    spool.open()
    for vectors, documents in source.batches():
        first = spool.documents
        progress("reading vectors", first, source.documents)
        names = vectors.ids or [str(row) for row in range(first, first + len(vectors))]
        ids.append(names, [document.where for document in documents or ()])
        if texts is not None and documents is not None:
            texts.append(documents)
        if fields is not None and documents is not None:
            fields.append(documents)
        spool.append(vectors, names)
    if spool.documents == 0:
        raise InvalidInput(f"{source.name}: there are no vectors to index")
    progress("reading vectors", spool.documents, source.documents)


# -- commit ------------------------------------------------------------------------------------------------------------


def _commit(
    work: Path,
    source: Source,
    dim: int,
    encoder: Encoder | None,
    counts: TokenCounts | None,
    segment: SegmentEntry,
    texts: bool,
    tokens: Sequence[str] | None,
    options: BuildOptions,
    progress: Progress,
) -> None:
    adapt = options.corpus_idf
    if adapt is None:
        adapt = encoder is not None and encoder.adapts
    reading = options.reading.facts(encoder) if encoder is not None and counts is not None else None
    entry = None if encoder is None else write_encoder(work, encoder, reading, counts if adapt else None)
    curves: tuple[Curve, ...] = ()
    if segment.block_size:
        sample = _sample(options.sample_queries, encoder, dim)
        curves = calibrate(Segment(work, segment, dim, texts=False), dim, sample, term_weights(work, entry), progress)
    manifest = Manifest(
        generation=1,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        lsr_version=lsr.__version__,
        dim=dim,
        engine="blocked" if segment.block_size else "exact",
        encoder=entry,
        segments=(segment,),
        texts=texts,
        curves=tuple(curve.to_json() for curve in curves),
        vocabulary=() if tokens is None else write_vocabulary(work, tokens),
        source={
            "name": _name(source),
            "truncated": counts.truncated if counts is not None else 0,
            "tokens": counts.tokens if counts is not None else 0,
        },
    )
    with atomic_write(work / manifest_name(1)) as file:
        file.write(manifest.to_json())


def _sample(queries: SparseVectors | Sequence[str] | None, encoder: Encoder | None, dim: int) -> SparseVectors | None:
    """The user's sample of queries as vectors."""
    if queries is None or isinstance(queries, SparseVectors):
        if queries is not None and queries.dim != dim:
            raise InvalidInput(f"the sample queries have {queries.dim:,} dimensions, the documents {dim:,}")
        return queries
    if encoder is None:
        raise InvalidInput("sample queries are texts, but the index has no encoder: give them as SparseVectors")
    return encoder.encode_query(list(queries))
