"""From a source of documents or vectors to a segment: what building an index and adding to one have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lsr.errors import InvalidInput
from lsr.index.blocked.parameters import BlockOptions
from lsr.index.encoding_run import EncodingRun
from lsr.index.filters.collect import FieldsWriter
from lsr.index.formats.vector_file import VectorFile, in_memory
from lsr.index.quantize import choose_quantizer
from lsr.index.reading import Reading, Texts, name_of
from lsr.index.segment_writer import Progress, Quantize, Spool, write_arrays
from lsr.index.storage.folder import Workplace
from lsr.index.storage.manifest import SegmentEntry
from lsr.index.storage.records import IdsWriter, TextsWriter
from lsr.sparse import SparseVectors

if TYPE_CHECKING:
    from lsr.corpus import Document
    from lsr.encoders import Encoder
    from lsr.encoders.idf import TokenCounts

__all__ = ["Given", "NewIds", "NewSegment", "Source", "holds_vectors", "name_of_source", "vectors_of", "write_segment"]

Source = SparseVectors | VectorFile | Texts
# Told the ids of each batch and where they stand, before they are written: raises for those that may not be added.
NewIds = Callable[[Sequence[str], Sequence[str]], None]
_TOGETHER = 256  # documents whose ids are looked up together


@dataclass(frozen=True, slots=True)
class NewSegment:
    """A segment that was written, or None where the source held nothing. `counts` are of the tokens of texts,
    `skipped` documents whose ids came before."""

    entry: SegmentEntry | None
    texts: bool
    counts: TokenCounts | None
    resumed: int
    skipped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Where a segment comes from: vectors, or texts and their encoder; and how it is read.

    numbered: the number of the first document, for those without ids; None where they are refused.
    keep_text: whether texts are stored, where there are any.
    """

    source: Source
    vectors: VectorFile | None
    encoder: Encoder | None
    reading: Reading
    keep_text: bool = True
    numbered: int | None = 0
    resume: bool = False

    @property
    def dim(self) -> int:
        found = self.vectors or self.encoder
        assert found is not None
        return found.dim

    @property
    def has_texts(self) -> bool:
        return self.vectors is None or self.vectors.texts


def write_segment(
    given: Given,
    place: Workplace,
    name: str,
    *,
    blocks: Callable[[int], BlockOptions | None],
    progress: Progress,
    quantize: Quantize = choose_quantizer,
    check: NewIds | None = None,
) -> NewSegment:
    """Writes a segment below `place.target`.

    blocks: how to build blocks for so many documents, None for none. quantize: chooses scale and width of the codes.
    """
    work, scratch = place
    spool = Spool(scratch, given.dim, given.reading.limits.document_terms)
    ids = texts = fields = run = first_only = None
    try:
        # In messages, documents of files are counted from 1, as their lines are, and Python objects from 0.
        first = 1 if isinstance(given.source, str | Path | VectorFile) else 0
        ids = _CheckedIds(work, name, first=first, check=check)
        texts = TextsWriter(work, name) if given.keep_text and given.has_texts else None
        fields = FieldsWriter(work, name, scratch) if given.has_texts else None
        if given.vectors is not None:
            _spool_vectors(given.vectors, given.numbered, spool, ids, texts, fields, progress)
        else:
            encoder, source = given.encoder, given.source
            assert encoder is not None
            assert not isinstance(source, SparseVectors | VectorFile)
            run = EncodingRun(spool, encoder, ids, texts, progress, fields=fields, resume=given.resume)
            if given.reading.duplicates == "first":
                first_only = FirstOnly(scratch)
            select = None if first_only is None else first_only.select
            run.run(given.reading.documents(source, encoder, given.numbered, select), given.reading.batch_size)
        entry = None
        if spool.documents:
            options = blocks(spool.documents)
            files, scale, nnz = write_arrays(spool, work, name, options, progress, quantize)
            files += ids.finish() + (texts.finish() if texts else []) + (fields.finish() if fields else [])
            block_size = 0 if options is None else options.block_size
            entry = SegmentEntry(name, spool.documents, nnz, float(scale), block_size, tuple(files))
    finally:
        for writer in (spool, ids, texts, first_only):
            if writer is not None:
                writer.close()
    return NewSegment(
        entry,
        texts is not None,
        None if run is None else run.counts,
        0 if run is None else run.resumed,
        0 if first_only is None else first_only.skipped,
    )


class FirstOnly:
    """Passes over documents whose ids came before. Holds 28 bytes a document in memory, and the ids in a file."""

    def __init__(self, folder: Path) -> None:
        self._ids = IdsWriter(folder, "seen")
        self.skipped = 0

    def select(self, documents: Iterator[Document]) -> Iterator[Document]:
        while batch := list(islice(documents, _TOGETHER)):
            for document, new in zip(batch, self._ids.append_new([one.id for one in batch]), strict=True):
                self.skipped += not new
                if new:
                    yield document

    def close(self) -> None:
        self._ids.close()


class _CheckedIds(IdsWriter):
    """Ids that someone looks at before they are written."""

    def __init__(self, folder: Path, segment: str, *, first: int, check: NewIds | None) -> None:
        super().__init__(folder, segment, first=first)
        self._check = check

    def append(self, ids: Sequence[str], wheres: Sequence[str] = ()) -> None:
        if self._check is not None:
            self._check(ids, wheres)
        super().append(ids, wheres)


def _spool_vectors(
    source: VectorFile,
    numbered: int | None,
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
        if vectors.ids is None and numbered is None:
            raise InvalidInput(
                f"{source.name}: its vectors have no ids, so they can replace no document; give ids, or add them"
            )
        names = vectors.ids or [str((numbered or 0) + row) for row in range(first, first + len(vectors))]
        ids.append(names, [document.where for document in documents or ()])
        if texts is not None and documents is not None:
            texts.append(documents)
        if fields is not None and documents is not None:
            fields.append(documents)
        spool.append(vectors, names)
    progress("reading vectors", spool.documents, source.documents)


# -- what is given -----------------------------------------------------------------------------------------------------


def holds_vectors(source: Source) -> bool:
    return isinstance(source, SparseVectors | VectorFile) or (
        isinstance(source, str | Path) and str(source).endswith(".npz")
    )


def vectors_of(source: Source, dim: int | None, whose: str) -> VectorFile | None:
    """The vectors of the source, or None where it holds texts. Raises `InvalidInput` for another dim than that of `whose`."""
    if not holds_vectors(source):
        return None
    if not isinstance(source, VectorFile):
        vectors = source if isinstance(source, SparseVectors) else SparseVectors.load(source)  # type: ignore[arg-type]
        source = in_memory(vectors, name_of_source(source))
    if dim is not None and source.dim != dim:
        raise InvalidInput(f"the vectors have {source.dim:,} dimensions, {whose} {dim:,}")
    return source


def name_of_source(source: Source) -> str:
    """What a source is called in messages."""
    if isinstance(source, VectorFile):
        return source.name
    return "the vectors given" if isinstance(source, SparseVectors) else name_of(source)
