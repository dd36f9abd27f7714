"""The vectors of a graph's facts on disk: what questions are matched with.

They are the vectors of a segment (`lsr.index.storage.segment.VectorSegment`), fact by fact, and

hashes   <u8 [facts]      of the texts of the facts: one that was there before is not encoded again

Their scale is always the same, so that stored vectors are written anew without loss, and what comes of a change is what a new
build gives.
"""

from __future__ import annotations

from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xxhash

from lsr.errors import CorruptIndex
from lsr.index.exact import ExactEngine
from lsr.index.quantize import Quantizer
from lsr.index.segment_writer import Spool, write_arrays
from lsr.index.storage.arrays import write_array
from lsr.index.storage.check import check_postings, check_vectors
from lsr.index.storage.folder import Workplace
from lsr.index.storage.graph_files import GRAPH_FORM
from lsr.index.storage.manifest import SegmentEntry
from lsr.index.storage.segment import VectorSegment
from lsr.processors import available_cores
from lsr.rag.graph.matching import unit_vectors
from lsr.rag.graph.relations import fact_texts
from lsr.rag.graph.store.manifest import FactsEntry, as_json
from lsr.rag.graph.types import GraphArrays
from lsr.sparse import SparseVectors

if TYPE_CHECKING:
    from lsr.encoders import Encoder
    from lsr.index.segment_writer import Progress

__all__ = ["StoredFacts", "write_facts"]

_STEP = np.float32(1 / 255)  # of weights, which are up to 1
_QUANTIZER = Quantizer(_STEP, np.uint8)
_BATCH = 4096  # facts at a time

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Csr = tuple[Ints, npt.NDArray[Any], npt.NDArray[np.float32]]


class StoredFacts:
    """The vectors of facts, mapped: see `lsr.rag.graph.matching.FactVectors`. May be shared between threads. Opening checks
    what memory safety rests on. Raises `CorruptIndex`."""

    def __init__(self, folder: Path, entry: FactsEntry) -> None:
        self.entry, self.dim = entry, entry.dim
        segment = SegmentEntry(entry.name, entry.facts, entry.nnz, entry.scale, 0, entry.files)
        self._path = folder / entry.name
        self._segment = VectorSegment(folder, segment, entry.dim, GRAPH_FORM.remedy)
        self._hashes: Hashes = self._segment.take("hashes", (entry.facts,), np.uint64)

    def search(self, queries: SparseVectors, k: int) -> list[tuple[Ints, npt.NDArray[np.float64]]]:
        if queries.dim != self.dim:  # of the encoder that is named there: somebody else wrote the manifest
            raise CorruptIndex(f"{self._path}: made for {self.dim:,} terms, not {queries.dim:,}; {GRAPH_FORM.remedy}")
        threads = 1 if len(queries) == 1 else available_cores()
        scores, rows, counts = self._engine.search(queries, k, threads)
        return [(rows[at, :count], scores[at, :count].astype(np.float64)) for at, count in enumerate(counts.tolist())]

    def gather(self, facts: Ints) -> Csr:
        indptr, terms, weights = self._segment.gather(facts)
        if len(terms) and int(terms.max()) >= self.dim:
            raise CorruptIndex(f"{self._path}: terms outside the vocabulary; {GRAPH_FORM.remedy}")
        return indptr, terms, weights

    def find(self, hashes: Hashes) -> Ints:
        """The fact whose text has each hash, -1 where there is none."""
        order = self._order
        at = np.minimum(np.searchsorted(self._hashes[order], hashes), max(0, len(order) - 1))
        if not len(order):
            return np.full(len(hashes), -1, np.int64)
        return np.where(self._hashes[order[at]] == hashes, order[at], -1)

    def made_by(self, encoder: Encoder) -> bool:
        """Whether an encoder would give the same vectors."""
        return self.entry.encoder == _identity(encoder) and np.float32(self.entry.scale) == _STEP

    def check(self) -> None:
        """Reads everything. Raises `CorruptIndex`."""
        check_vectors(self._path, self._segment, self.dim)
        check_postings(self._path, self._segment)

    @cached_property
    def _engine(self) -> ExactEngine:
        return ExactEngine(self._segment, self.dim)

    @cached_property
    def _order(self) -> Ints:
        return np.argsort(self._hashes, kind="stable")


def write_facts(
    place: Workplace, name: str, graph: GraphArrays, encoder: Encoder, earlier: StoredFacts | None, progress: Progress
) -> FactsEntry:
    """Writes the vectors of a graph's facts below `place.target`, each file synced. earlier: has the vectors of facts that
    were there before; those of the same encoder are taken over."""
    total = len(graph.predicates)
    if earlier is not None and not earlier.made_by(encoder):
        earlier = None
    hashes: list[Hashes] = []
    with closing(Spool(place.scratch, encoder.dim)) as spool:
        spool.open()
        for first in range(0, total, _BATCH):
            progress("encoding facts", first, total)
            texts = fact_texts(graph, first, first + _BATCH)
            hashes.append(np.array([_hash(text) for text in texts], np.uint64))
            spool.append(_encoded(texts, hashes[-1], encoder, earlier))
        progress("encoding facts", total, total)
        files, scale, nnz = write_arrays(spool, place.target, name, None, progress, lambda *_: _QUANTIZER)
    files.append(write_array(place.target, f"{name}/hashes", np.concatenate(hashes)))
    return FactsEntry(name, tuple(files), total, nnz, scale, encoder.dim, _identity(encoder))


def _encoded(texts: list[str], hashes: Hashes, encoder: Encoder, earlier: StoredFacts | None) -> SparseVectors:
    """The vectors of facts, of which those that were there before are not encoded."""
    if earlier is None:
        return unit_vectors(texts, encoder)
    known = earlier.find(hashes)
    there, new = np.flatnonzero(known >= 0), np.flatnonzero(known < 0)
    indptr, terms, weights = earlier.gather(known[there])
    parts = [SparseVectors(indptr=indptr, indices=terms, values=weights, dim=encoder.dim)]
    if len(new):
        parts.append(unit_vectors([texts[at] for at in new.tolist()], encoder))
    both = SparseVectors.concat(parts)
    place = np.argsort(np.concatenate([there, new]), kind="stable")  # of each fact in `both`
    lengths = np.diff(both.indptr)[place]
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    at = np.repeat(both.indptr[place] - ends[:-1], lengths) + np.arange(ends[-1])
    return SparseVectors(indptr=ends, indices=both.indices[at], values=both.values[at], dim=encoder.dim)


def _identity(encoder: Encoder) -> dict[str, Any]:
    """An encoder, as far as vectors depend on it, and where it is found again."""
    return as_json(
        {"name": encoder.name, "source": encoder.source, "hash": encoder.hash, "reading": dict(encoder.reading)}
    )


def _hash(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))
