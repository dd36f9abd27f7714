"""From a source of documents to an index on disk."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

import lsr
from lsr.corpus import Document, read_documents
from lsr.errors import CorpusError, InvalidInput, StorageError
from lsr.files import atomic_write
from lsr.index.segment_writer import Progress, Spool, write_arrays
from lsr.index.storage.arrays import write_array, write_bytes
from lsr.index.storage.folder import check_output, new_folder
from lsr.index.storage.manifest import EncoderEntry, FileEntry, Manifest, SegmentEntry, manifest_name
from lsr.index.storage.records import IdsWriter, TextsWriter
from lsr.sparse import SparseVectors

if TYPE_CHECKING:
    from lsr.encoders import Encoder
    from lsr.encoders.idf import TokenCounts

__all__ = ["ENGINES", "BuildOptions", "BuildReport", "build_index"]

ENGINES = ("auto", "exact")
SEGMENT = "segment-0001"

Source = str | Path | SparseVectors | Iterable[Document | Mapping[str, Any] | str]


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build. `batch_size` is the number of documents held and encoded at a time."""

    engine: str = "auto"
    batch_size: int = 2048
    id_field: str | None = None
    text_fields: tuple[str, ...] = ()
    keep_text: bool = True
    overwrite: bool = False
    resume: bool = False
    corpus_idf: bool = True

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise InvalidInput(f"engine {self.engine!r} is not known: choose one of {', '.join(ENGINES)}")
        if self.batch_size < 1:
            raise InvalidInput(f"batch_size is {self.batch_size}: it must be at least 1")


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did: documents, those cut at the encoder's length limit, seconds for all of it."""

    documents: int
    truncated: int
    seconds: float
    resumed: int


def build_index(
    source: Source, path: Path, encoder: Encoder | None, options: BuildOptions, progress: Progress
) -> BuildReport:
    """Builds an index at `path`; see `Index.build`."""
    started = time.monotonic()
    check_output(path, options.overwrite)  # before the long work, not after it
    if isinstance(source, str | Path) and str(source).endswith(".npz"):
        source = SparseVectors.load(source)
    vectors = source if isinstance(source, SparseVectors) else None
    if vectors is None and encoder is None:
        raise InvalidInput("texts need an encoder; without one, give SparseVectors")
    if vectors is not None and encoder is not None and vectors.dim != encoder.dim:
        raise InvalidInput(f"the vectors have {vectors.dim:,} dimensions, the encoder {encoder.name} {encoder.dim:,}")
    with new_folder(path, options.overwrite, options.resume) as work:
        ids = texts = None
        spool = Spool(work / "spool", vectors.dim if vectors is not None else encoder.dim)  # type: ignore[union-attr]
        try:
            ids = IdsWriter(work, SEGMENT)
            texts = TextsWriter(work, SEGMENT) if options.keep_text and vectors is None else None
            if vectors is not None:
                counts, resumed = None, 0
                _spool_vectors(vectors, spool, ids, options, progress)
            else:
                assert encoder is not None
                assert not isinstance(source, SparseVectors)
                run = _EncodingRun(work, spool, encoder, options, progress)
                counts, resumed = run.run(source, ids, texts)
            files, scale, nnz = write_arrays(spool, work, SEGMENT, progress)
            files += ids.finish() + (texts.finish() if texts else [])
        finally:
            for writer in (spool, ids, texts):
                if writer is not None:
                    writer.close()
        segment = SegmentEntry(SEGMENT, spool.documents, nnz, float(scale), tuple(files))
        _commit(work, source, spool.dim, encoder, counts, segment, texts is not None, options)
        spool.remove()
    return BuildReport(
        documents=segment.documents,
        truncated=counts.truncated if counts is not None else 0,
        seconds=time.monotonic() - started,
        resumed=resumed,
    )


# -- vectors -----------------------------------------------------------------------------------------------------------


def _spool_vectors(
    vectors: SparseVectors, spool: Spool, ids: IdsWriter, options: BuildOptions, progress: Progress
) -> None:
    if len(vectors) == 0:
        raise InvalidInput("there are no vectors to index")
    spool.open()
    step = 1 << 16
    for first in range(0, len(vectors), step):
        progress("reading vectors", first, len(vectors))
        part = vectors[first : first + step]
        names = part.ids or tuple(str(row) for row in range(first, first + len(part)))
        ids.append([Document(id=name, text="") for name in names])
        spool.append(part)
    progress("reading vectors", len(vectors), len(vectors))


# -- texts -------------------------------------------------------------------------------------------------------------


class _EncodingRun:
    """Reads, encodes and spools documents, and keeps a checkpoint from which an interrupted run goes on.

    Only the vectors are kept between runs, for encoding is what takes long; ids and texts are read again from the
    source, whose first documents must be the same as before.
    """

    def __init__(self, work: Path, spool: Spool, encoder: Encoder, options: BuildOptions, progress: Progress) -> None:
        from lsr.encoders.idf import TokenCounts

        self._spool, self._encoder, self._options, self._progress = spool, encoder, options, progress
        self._checkpoint = work / "spool" / "checkpoint.json"
        self._frequencies = work / "spool" / "document_frequencies.npy"
        self._content = xxhash.xxh3_128()  # of all ids and texts so far
        self.counts: TokenCounts = TokenCounts(encoder.dim)

    def run(
        self,
        source: str | Path | Iterable[Document | Mapping[str, Any] | str],
        ids: IdsWriter,
        texts: TextsWriter | None,
    ) -> tuple[TokenCounts, int]:
        """Returns the token counts of the whole source, and how many documents an earlier run had done."""
        documents = _documents(source, self._options)
        kept = self._restore(documents, ids, texts)
        done = kept
        for batch in _batches(documents, self._options.batch_size):
            self._record(batch, ids, texts)
            contents = [document.content for document in batch]
            self._spool.append(self._encoder.encode_documents(contents, counts=self.counts))
            done += len(batch)
            self._progress("encoding", done, None)
            if self._options.resume:
                self._save(done)
        if done == 0:
            raise CorpusError(f"{_name(source)}: holds no documents")
        return self.counts, kept

    def _record(self, batch: Sequence[Document], ids: IdsWriter, texts: TextsWriter | None) -> None:
        ids.append(batch)
        if texts is not None:
            texts.append(batch)
        for document in batch:
            self._content.update(json.dumps([document.id, document.content]).encode())

    def _settings(self) -> dict[str, Any]:
        return {"encoder": self._encoder.hash, "max_length": self._encoder.max_length}

    def _save(self, done: int) -> None:
        self._spool.sync()
        with atomic_write(self._frequencies) as file:
            np.save(file, self.counts.df, allow_pickle=False)
        state = {
            **self._settings(),
            "documents": done,
            "nnz": self._spool.nnz,
            "content": self._content.hexdigest(),
            "counted": [self.counts.documents, self.counts.tokens, self.counts.truncated],
            "frequencies": xxhash.xxh3_128_hexdigest(self._frequencies.read_bytes()),
        }
        with atomic_write(self._checkpoint) as file:
            file.write(json.dumps(state).encode())

    def _restore(self, documents: Iterator[Document], ids: IdsWriter, texts: TextsWriter | None) -> int:
        state = self._read_checkpoint()
        if state is None:
            self._spool.open()
            return 0
        if {key: state[key] for key in self._settings()} != self._settings():
            raise self._other("another encoder or --max-length")
        kept = int(state["documents"])
        left = kept
        while left and (batch := list(islice(documents, min(left, self._options.batch_size)))):
            self._record(batch, ids, texts)
            left -= len(batch)
        if left or self._content.hexdigest() != state["content"]:
            raise self._other("other documents")
        self._spool.open(kept, int(state["nnz"]))
        self.counts.documents, self.counts.tokens, self.counts.truncated = state["counted"]
        self.counts.df[:] = np.load(self._frequencies, allow_pickle=False)
        self._progress("encoding", kept, None)
        return kept

    def _read_checkpoint(self) -> dict[str, Any] | None:
        """None when there is nothing to go on from: no checkpoint, or a crash between its two files."""
        try:
            state = json.loads(self._checkpoint.read_bytes())
            same = xxhash.xxh3_128_hexdigest(self._frequencies.read_bytes()) == state["frequencies"]
            return state if same else None
        except (OSError, ValueError, KeyError):
            return None

    def _other(self, what: str) -> StorageError:
        folder = self._checkpoint.parent.parent
        return StorageError(f"{folder}: the interrupted run had {what}; delete that folder to start afresh")


def _documents(
    source: str | Path | Iterable[Document | Mapping[str, Any] | str], options: BuildOptions
) -> Iterator[Document]:
    if isinstance(source, str | Path):
        return read_documents(source, id_field=options.id_field, text_fields=options.text_fields)
    return _given(source)


def _given(source: Iterable[Document | Mapping[str, Any] | str]) -> Iterator[Document]:
    """Documents from Python objects: Document, a text, or a mapping with text and optional id, title, metadata."""
    for number, item in enumerate(source):
        if isinstance(item, Document):
            yield item
        elif isinstance(item, str):
            yield Document(id=str(number), text=item)
        elif isinstance(item, Mapping):
            fields = dict(item)
            identifier, text, title = fields.pop("id", number), fields.pop("text", None), fields.pop("title", "")
            if not (isinstance(text, str) and isinstance(title, str) and isinstance(identifier, str | int)):
                raise InvalidInput(f"document {number}: needs a text (and may have id, title); it has {sorted(item)}")
            yield Document(id=str(identifier), text=text, title=title, metadata=fields)
        else:
            raise InvalidInput(f"document {number} is a {type(item).__name__}: give texts, mappings or lsr.Document")


def _batches(documents: Iterator[Document], size: int) -> Iterator[list[Document]]:
    while batch := list(islice(documents, size)):
        yield batch


def _name(source: object) -> str:
    return str(source) if isinstance(source, str | Path) else "the documents given"


# -- commit ------------------------------------------------------------------------------------------------------------


def _commit(
    work: Path,
    source: Source,
    dim: int,
    encoder: Encoder | None,
    counts: TokenCounts | None,
    segment: SegmentEntry,
    texts: bool,
    options: BuildOptions,
) -> None:
    manifest = Manifest(
        generation=1,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        lsr_version=lsr.__version__,
        dim=dim,
        engine="exact",
        encoder=None if encoder is None else _write_encoder(work, encoder, counts if options.corpus_idf else None),
        segments=(segment,),
        texts=texts,
        source={
            "name": _name(source),
            "truncated": counts.truncated if counts is not None else 0,
            "tokens": counts.tokens if counts is not None else 0,
        },
    )
    with atomic_write(work / manifest_name(1)) as file:
        file.write(manifest.to_json())


def _write_encoder(work: Path, encoder: Encoder, counts: TokenCounts | None) -> EncoderEntry:
    """The query side: tokenizer and term weights, so that searching needs the index alone."""
    from lsr.encoders.idf import blend

    weights, origin = encoder.query.weights, "of the encoder"
    if counts is not None:
        weights, origin = blend(counts, encoder.query.weights), "of the encoder, adapted to the documents"
    files: tuple[FileEntry, ...] = (
        write_bytes(work, "encoder/tokenizer.json", encoder.query.tokenizer_json.encode()),
        write_array(work, "encoder/term_weights", np.asarray(weights, np.float32)),
    )
    return EncoderEntry(encoder.name, encoder.hash, encoder.query.vocabulary_hash, encoder.max_length, origin, files)
