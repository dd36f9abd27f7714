"""One generation of an index, opened for reading: what a search sees from its beginning to its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lsr.errors import CorruptIndex, InvalidInput, InvalidVectors, UnsupportedVersion, one_line
from lsr.hits import Explanation
from lsr.index.blocked.curves import Curve
from lsr.index.blocked.parameters import SearchSettings
from lsr.index.engines import TopK
from lsr.index.explain import explain
from lsr.index.filters.columns import Fields
from lsr.index.filters.expression import Filter
from lsr.index.filters.masks import Masks
from lsr.index.policy import building_of
from lsr.index.query_side import QuerySide, open_query_side
from lsr.index.searcher import Searcher
from lsr.index.segments import Part, search_parts
from lsr.index.storage.deletions import open_deletions
from lsr.index.storage.locks import Pin
from lsr.index.storage.manifest import FileEntry, Manifest, SegmentEntry
from lsr.index.storage.records import Record
from lsr.index.storage.segment import Segment
from lsr.index.storage.vocabulary import StoredVocabulary
from lsr.sparse import SparseVectors

if TYPE_CHECKING:
    from lsr.encoders import Encoder

__all__ = ["Snapshot"]


# A segment by its name and the checksums of its files.
_Key = tuple[str, tuple[FileEntry, ...]]


class Snapshot:
    """The documents of one generation. Hits keep theirs, so that they name the same documents whatever happens to the index.

    What did not change since `previous` is taken from it.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        pin: Pin | None = None,
        encoder: Encoder | None = None,
        previous: Snapshot | None = None,
    ) -> None:
        if manifest.engine not in ("exact", "blocked"):
            raise UnsupportedVersion(f"{path}: made by a newer lsr ({manifest.lsr_version}): pip install -U lsr-engine")
        building_of(manifest)  # before anything is changed by what it says
        self.path, self.manifest, self._pin, self._encoder = path, manifest, pin, encoder
        self._opened: dict[_Key, tuple[Segment, Searcher]]
        self.parts = _open_parts(path, manifest, {} if previous is None else previous._opened)
        self._opened = {_key(part.entry): (part.segment, part.searcher) for part in self.parts}
        self._firsts = np.array([part.first for part in self.parts], np.int64)
        # One segment, all there: as fast as if there were never more.
        self._only = self.parts[0] if len(self.parts) == 1 and not self.parts[0].entry.deleted else None
        self._query_side: QuerySide | None = None
        self.words = StoredVocabulary(path, manifest.vocabulary, manifest.dim) if manifest.vocabulary else None
        if previous is not None and previous.manifest.encoder == manifest.encoder:
            self._query_side = previous._query_side

    def search(
        self,
        queries: SparseVectors,
        k: int,
        recall: float,
        threads: int,
        settings: SearchSettings | None,
        filter: Filter | None,
    ) -> TopK:
        """Top-k of each query; see `Index.search`."""
        only = self._only
        if only is None:
            return search_parts(self.parts, queries, k, recall, threads, settings, filter)
        allowed = None if filter is None else only.masks.allowed(filter)
        return only.searcher.search(queries, k, recall, threads, settings, allowed)

    @property
    def has_blocks(self) -> bool:
        return any(part.searcher.blocked is not None for part in self.parts)

    @property
    def query_encoder(self) -> QuerySide | None:
        """The query side of the encoder, as the index keeps it; None for an index made from bare vectors."""
        if self._query_side is None:
            self._query_side = open_query_side(self.path, self.manifest, self._encoder)
        return self._query_side

    @cached_property
    def tokens(self) -> tuple[str, ...] | None:
        """The text of each term [dim]; see `Index.tokens`."""
        names = self.query_encoder or self.words
        return None if names is None else tuple(names.token(term) for term in range(self.manifest.dim))

    # -- documents -----------------------------------------------------------------------------------------------------

    @property
    def documents(self) -> int:
        return self.manifest.documents

    @cached_property
    def nnz(self) -> int:
        """Number of stored weights in all documents together."""
        deleted = sum(int(part.segment.lengths()[part.deleted].sum()) for part in self.parts if len(part.deleted))
        return sum(part.entry.nnz for part in self.parts) - deleted

    @property
    def scale(self) -> float:
        """The step that all stored weights are whole multiples of."""
        return min((part.entry.scale for part in self.parts), default=self.manifest.scale)

    def place(self, row: int) -> tuple[Part, int]:
        """The part that a row is in, and the row there. Raises `InvalidInput` when there is no such document."""
        if not 0 <= row < self.documents:
            raise InvalidInput(f"there is no document {row}: the index holds {self.documents:,}, counted from 0")
        if self._only is not None:
            return self._only, row
        part = self.parts[int(np.searchsorted(self._firsts, row, side="right")) - 1]
        return part, int(part.left(np.array([row - part.first]))[0])

    def find(self, identifier: str) -> int | None:
        """The row of a document, None when there is no document with that id."""
        for part in self.parts:
            for inside in part.find_all([identifier]):
                return int(part.rows(inside))
        return None

    def id_of(self, row: int) -> str:
        part, inside = self.place(row)
        return part.segment.ids[inside]

    def record_of(self, row: int) -> Record | None:
        part, inside = self.place(row)
        return None if part.segment.texts is None else part.segment.texts[inside]

    def text_hashes(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
        """A hash of the content of each document in some rows (`records.text_hash`); 0 where texts are not kept."""
        out = np.zeros(len(rows), np.uint64)
        for part, places, inside in self._by_part(rows):
            out[places] = part.segment.text_hashes(inside)
        return out

    def encoded_ids(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
        """The ids in some rows as bytes, which are quick to compare with those of another store."""
        out = np.empty(len(rows), object)
        for part, places, inside in self._by_part(rows):
            out[places] = part.segment.ids.encoded(inside)
        return out

    def _by_part(self, rows: npt.NDArray[np.int64]) -> Iterator[tuple[Part, Any, npt.NDArray[np.int64]]]:
        """For each part that some rows are in: it, their places among `rows`, and their rows in there."""
        if self._only is not None:
            yield self._only, slice(None), rows
            return
        numbers = np.searchsorted(self._firsts, rows, side="right") - 1
        for number in np.unique(numbers).tolist():
            part, places = self.parts[number], np.flatnonzero(numbers == number)
            yield part, places, part.left(rows[places] - part.first)

    def hashes(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        """Of each document, by row, a hash of its id and one of its content, as `text_hashes` has it."""
        found = [
            (part.segment.ids.hashes()[part.is_left], part.segment.text_hashes()[part.is_left]) for part in self.parts
        ]
        none = np.zeros(0, np.uint64)
        return np.concatenate([none, *(one for one, _ in found)]), np.concatenate([none, *(one for _, one in found)])

    def explain(self, terms: npt.NDArray[Any], weights: npt.NDArray[np.float32], row: int) -> Explanation:
        part, inside = self.place(row)
        return explain(part.segment, inside, terms, weights, self.query_encoder or self.words)

    def vectors(self, rows: npt.NDArray[np.int64]) -> SparseVectors:
        """The stored vectors of documents, by row, with their ids."""
        places = [self.place(row) for row in rows.tolist()]
        found = [part.segment.document(inside) for part, inside in places]
        try:
            return SparseVectors(
                indptr=np.cumsum([0] + [len(terms) for terms, _ in found]),
                indices=np.concatenate([terms for terms, _ in found]) if found else np.zeros(0, np.int64),
                values=np.concatenate([weights for _, weights in found]) if found else np.zeros(0, np.float32),
                dim=self.manifest.dim,
                ids=[part.segment.ids[inside] for part, inside in places],
            )
        except InvalidVectors as error:
            raise CorruptIndex(f"{self.path}: stored vectors are none ({error}); run `lsr check --full`") from None

    def statistics(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Terms of each document [documents], and documents of each term [dim]."""
        dim = self.manifest.dim
        frequencies, lengths = np.zeros(dim, np.int64), [np.zeros(0, np.int64)]
        for part in self.parts:
            terms = part.segment.forward_terms
            for first in range(0, len(terms), 1 << 24):  # bincount makes 8 bytes of each term id
                piece = terms[first : first + (1 << 24)]
                if int(piece.max()) >= dim:
                    raise CorruptIndex(f"{self.path}: terms outside the vocabulary; run `lsr check --full`")
                frequencies += np.bincount(piece, minlength=dim)
            if len(part.deleted):
                frequencies -= np.bincount(part.segment.gather(part.deleted)[1], minlength=dim)
            lengths.append(part.segment.lengths()[part.left(np.arange(part.live))])
        return np.concatenate(lengths), frequencies

    # -- what is inside ------------------------------------------------------------------------------------------------

    @cached_property
    def curves(self) -> Sequence[Curve]:
        """What recall costs in the largest segment with blocks."""
        blocked = [part for part in self.parts if part.segment.blocks is not None]
        return max(blocked, key=lambda part: part.live).searcher.curves if blocked else ()

    def terms(self) -> int:
        """How many terms occur in what is stored."""
        found = [terms for part in self.parts for terms in (part.segment.lists.terms, part.segment.rows.terms)]
        return len(np.unique(np.concatenate(found))) if found else 0

    def describe_fields(self) -> dict[str, dict[str, Any]]:
        """Type and number of documents of each field; what was deleted does not count."""
        described = Fields.of_all([part.segment.fields for part in self.parts]).describe()
        for part in self.parts:
            for field in part.segment.fields if len(part.deleted) else ():
                mask = field.having(part.entry.documents)
                if field.entry.name in described:
                    described[field.entry.name]["documents"] -= int(np.count_nonzero(mask[part.deleted]))
        return described


def _key(entry: SegmentEntry) -> _Key:
    return entry.name, entry.files


def _open_parts(path: Path, manifest: Manifest, opened: dict[_Key, tuple[Segment, Searcher]]) -> Sequence[Part]:
    pairs = []
    for entry in manifest.segments:
        pair = opened.get(_key(entry))
        if pair is None:
            segment = Segment(path, entry, manifest.dim, manifest.texts)
            pair = segment, Searcher(segment, manifest.dim, _curves(path, entry))
        pairs.append(pair)
    several = len(pairs) > 1
    everywhere = Fields.of_all([segment.fields for segment, _ in pairs]) if several else None
    parts: list[Part] = []
    first = 0
    for entry, (segment, searcher) in zip(manifest.segments, pairs, strict=True):
        deleted = open_deletions(path, entry)
        masks = Masks(segment.fields, segment.ids, segment.rows_of, deleted if len(deleted) else None, everywhere)
        parts.append(Part(entry, segment, deleted, searcher, masks, first))
        first += entry.live
    return tuple(parts)


def _curves(path: Path, entry: SegmentEntry) -> tuple[Curve, ...]:
    try:
        return tuple(Curve.from_json(curve) for curve in entry.curves)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        what = one_line(error)[:200]
        raise CorruptIndex(f"{path}: a curve in its manifest is wrong ({what}); build the index again") from None
