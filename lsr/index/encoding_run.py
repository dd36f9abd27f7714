"""Documents to spooled vectors, with a checkpoint from which an interrupted run goes on."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import TYPE_CHECKING, Any

import xxhash

from lsr.corpus import Document
from lsr.errors import StorageError
from lsr.index.filters.collect import FieldsWriter
from lsr.index.segment_writer import Progress, Spool
from lsr.index.storage.checkpoint import read_checkpoint, write_checkpoint
from lsr.index.storage.folder import CHECKPOINT
from lsr.index.storage.records import IdsWriter, TextsWriter

if TYPE_CHECKING:
    from lsr.encoders import Encoder
    from lsr.encoders.idf import TokenCounts

__all__ = ["EncodingRun"]

logger = logging.getLogger(__name__)


class EncodingRun:
    """Reads, encodes and spools documents.

    With `resume` it keeps a checkpoint after every batch, and goes on from the one that it finds. Only the vectors are
    kept between runs, for encoding is what takes long; ids, texts and metadata are read again from the source, whose first
    documents must be the same as before.
    """

    def __init__(
        self,
        spool: Spool,
        encoder: Encoder,
        ids: IdsWriter,
        texts: TextsWriter | None,
        progress: Progress,
        *,
        fields: FieldsWriter | None = None,
        resume: bool,
    ) -> None:
        from lsr.encoders.idf import TokenCounts

        self._spool, self._encoder, self._ids, self._texts, self._fields = spool, encoder, ids, texts, fields
        self._progress, self._resume = progress, resume
        self._checkpoint = spool.folder / CHECKPOINT
        self._content = xxhash.xxh3_128()  # of all ids and texts so far
        self.counts: TokenCounts = TokenCounts(encoder.dim)
        self.resumed = 0

    def run(self, documents: Iterator[Document], batch_size: int) -> int:
        """Returns the number of documents.

        `counts` then has the tokens of all of them, and `resumed` says how many an earlier run had encoded. Raises
        `StorageError` when that run had other documents or another encoder, or what it left is damaged.
        """
        from lsr.encoders.inspection import statistics

        self._restore(documents, batch_size)
        done = self.resumed
        read: deque[list[Document]] = deque()  # batches are read ahead of their vectors

        def contents() -> Iterator[list[str]]:
            while batch := list(islice(documents, batch_size)):
                read.append(batch)
                yield [document.content for document in batch]

        for vectors in self._encoder.encode_parts(contents(), self.counts):
            if done == self.resumed and (problem := statistics(vectors).collapse):  # said now, not after hours
                logger.warning("the first %d documents: %s", len(vectors), problem)
            batch = read.popleft()
            self._record(batch)
            self._spool.append(vectors, [document.id for document in batch])
            done += len(batch)
            self._progress("encoding", done, None)
            if self._resume:
                self._save(done)
        return done

    def _record(self, batch: Sequence[Document]) -> None:
        self._ids.append([document.id for document in batch], [document.where for document in batch])
        if self._texts is not None:
            self._texts.append(batch)
        if self._fields is not None:
            self._fields.append(batch)
        if self._resume:
            for document in batch:
                self._content.update(json.dumps([document.id, document.content]).encode())

    def _save(self, done: int) -> None:
        self._spool.sync()
        # Not `asdict`: it would copy the counts, number by number, after each batch.
        state = _Checkpoint(
            encoder=self._encoder.hash,
            reading=self._encoder.reading,
            documents=done,
            nnz=self._spool.nnz,
            content=self._content.hexdigest(),
            spool=list(self._spool.digests),
            counts=self.counts.to_json(),
        )
        write_checkpoint(self._checkpoint, {field.name: getattr(state, field.name) for field in fields(state)})

    def _restore(self, documents: Iterator[Document], batch_size: int) -> None:
        state = self._read_checkpoint() if self._resume else None
        if state is None:
            self._spool.open()
            return
        other = len(state.counts["df"]) != self._encoder.dim
        if other or (state.encoder, state.reading) != (self._encoder.hash, self._encoder.reading):
            raise self._refusal("the interrupted run had another encoder, --max-length, --long or --precision")
        self._spool.open(state.documents, state.nnz)
        if list(self._spool.digests) != state.spool:
            raise self._refusal("the vectors of the interrupted run are damaged")
        left = state.documents
        while left and (batch := list(islice(documents, min(left, batch_size)))):
            self._record(batch)
            left -= len(batch)
        if left or self._content.hexdigest() != state.content:
            raise self._refusal("the interrupted run had other documents")
        self.counts = type(self.counts).from_json(state.counts)
        self.resumed = state.documents
        self._progress("encoding", self.resumed, None)

    def _read_checkpoint(self) -> _Checkpoint | None:
        """None when there is nothing to go on from: no checkpoint, a damaged one, or one of another version."""
        facts = read_checkpoint(self._checkpoint) or {}
        kinds = _KINDS.items()  # a digest is no proof of who wrote it
        if facts.keys() != _KINDS.keys() or any(type(facts[name]) is not kind for name, kind in kinds):
            return None
        try:
            type(self.counts).from_json(facts["counts"])
        except ValueError:
            return None
        return _Checkpoint(**facts) if min(facts["documents"], facts["nnz"]) >= 0 else None

    def _refusal(self, what: str) -> StorageError:
        folder = self._spool.folder.parent
        return StorageError(f"{folder}: {what}; delete that folder to start afresh")


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """Where a run stood after a batch."""

    encoder: str
    reading: dict[str, Any]  # `Encoder.reading`
    documents: int
    nnz: int
    content: str  # digest of ids and texts
    spool: list[str]  # digests of its files
    counts: dict[str, Any]  # `TokenCounts.to_json`


_KINDS: dict[str, type] = {
    "encoder": str,
    "reading": dict,
    "documents": int,
    "nnz": int,
    "content": str,
    "spool": list,
    "counts": dict,
}
