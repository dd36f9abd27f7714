"""One generation of a token store, opened for reading: whose token vectors are where, and what they score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.errors import CorruptIndex, InvalidInput, StoreMismatch
from lsr.index.storage.deletions import open_deletions
from lsr.index.storage.locks import Pin
from lsr.rerank.codecs import StoredTokens
from lsr.rerank.codecs.scoring import Floats
from lsr.rerank.store.manifest import REMEDY, IndexIdentity, StoreManifest
from lsr.rerank.store.reading import read_ahead
from lsr.rerank.store.scoring import SegmentsScorer
from lsr.rerank.store.segment import Left, TokenSegment, read_codec

__all__ = ["Found", "StoreSnapshot", "check_belongs"]

Rows = npt.NDArray[np.int64]


class Found(NamedTuple):
    """Where documents are: for each its segment and its row in there, int64 [n], -1 for those that are not in the store."""

    segments: Rows
    rows: Rows


# Bytes of codes that are read ahead as one. A few dozen pieces for each query take as long as scoring a dozen documents.
WHOLE = 1 << 28


class StoreSnapshot:
    """The documents of one generation. A document's row in the store is its segment's first row plus its row in there;
    rows of documents that were deleted stay empty."""

    def __init__(self, path: Path, manifest: StoreManifest, pin: Pin | None) -> None:
        self.path, self.manifest, self._pin = path, manifest, pin
        self.codec = read_codec(path, manifest.codec, manifest.dim, manifest.parameters)
        if self.codec.bytes_per_token != manifest.bytes_per_token:
            told = f"{manifest.bytes_per_token} bytes a token, where its codec has {self.codec.bytes_per_token}"
            raise CorruptIndex(f"{path}: {told}; {REMEDY}")
        self.parts = [
            Left(entry, TokenSegment(path, entry, manifest.bytes_per_token), open_deletions(path, entry, REMEDY))
            for entry in manifest.segments
        ]
        self._stored = [self.codec.over(part.segment.codes, part.segment.offsets) for part in self.parts]
        self._read: set[int] = set()
        self.firsts = np.cumsum([0, *(part.entry.documents for part in self.parts)], dtype=np.int64)

    @property
    def documents(self) -> int:
        return sum(entry.live for entry in self.manifest.segments)

    def find(self, ids: Sequence[str]) -> Found:
        """Where the documents of these ids are."""
        if isinstance(ids, str) or any(not isinstance(identifier, str) for identifier in ids):
            raise InvalidInput("ids are a list of strings")
        found = Found(np.full(len(ids), -1, np.int64), np.full(len(ids), -1, np.int64))
        for number, part in enumerate(self.parts):
            rows = part.segment.ids.find_each(ids)
            there = rows >= 0
            if part.entry.deleted:
                there[there] = part.is_left[rows[there]]
            found.segments[there], found.rows[there] = number, rows[there]
        return found

    def rows(self, ids: Sequence[str]) -> Rows:
        """Their rows in the store, -1 for those that are not in it."""
        segments, rows = self.find(ids)
        return np.where(segments >= 0, self.firsts[segments] + rows, -1)

    def hashes(self, rows: Rows) -> npt.NDArray[np.uint64]:
        """Of the documents in some rows of the store the hash of the text that their vectors are of, 0 where it is not
        known."""
        out = np.zeros(len(rows), np.uint64)
        for number, places, inside in self.by_segment(rows):
            out[places] = self.parts[number].segment.hashes[inside]
        return out

    def holds(self, rows: Rows, ids: npt.NDArray[np.object_]) -> npt.NDArray[np.bool_]:
        """Whether the document in each of some rows, which need not be there, is the one with that id, as bytes."""
        out = np.zeros(len(rows), np.bool_)
        there = np.flatnonzero(rows < self.firsts[-1])
        for number, places, inside in self.by_segment(rows[there]):
            part, some = self.parts[number], there[places]
            out[some] = np.array(part.segment.ids.encoded(inside), object) == ids[some]
            if part.entry.deleted:
                out[some] &= part.is_left[inside]
        return out

    def left(self) -> tuple[Rows, npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        """Of all documents: their rows in the store, rising, a hash of each id, and that of each text."""
        parts = self.parts
        rows = [first + np.flatnonzero(part.is_left) for first, part in zip(self.firsts[:-1], parts, strict=True)]
        ids = [part.segment.ids.hashes()[part.is_left] for part in parts]
        texts = [part.segment.hashes[part.is_left] for part in parts]
        none = np.zeros(0, np.uint64)
        return (
            np.concatenate([np.zeros(0, np.int64), *rows]),
            np.concatenate([none, *ids]),
            np.concatenate([none, *texts]),
        )

    def id_of(self, row: int) -> str:
        """The id of the document in a row of the store."""
        number = int(np.searchsorted(self.firsts, row, side="right")) - 1
        return self.parts[number].segment.ids[row - int(self.firsts[number])]

    def tokens(self, rows: Rows) -> Rows:
        """How many tokens the documents in some rows of the store have, which there must be."""
        out = np.empty(len(rows), np.int64)
        for number, places, inside in self.by_segment(rows):
            offsets = self.parts[number].segment.offsets
            out[places] = offsets[inside + 1] - offsets[inside]
        return out

    def scorer(self, query: npt.ArrayLike) -> SegmentsScorer:
        """Scores rows of the store for a query, float32 [tokens, dim]."""
        return SegmentsScorer([stored.query(query) for stored in self._scored], self)

    @property
    def _scored(self) -> list[StoredTokens]:
        if self._stored:
            return self._stored
        nothing = np.zeros((0, self.codec.bytes_per_token), np.uint8)
        return [self.codec.over(nothing, np.zeros(1, np.int64))]

    def read_ahead(self, rows: Rows) -> None:
        """Lets the system read the codes of the documents in some rows of the store, without waiting for it: all of a small
        segment, the first time."""
        for number, _, inside in self.by_segment(rows):
            codes, offsets = self.parts[number].segment.codes, self.parts[number].segment.offsets
            if codes.nbytes > WHOLE:
                read_ahead(codes, offsets[inside], offsets[inside + 1])
            elif number not in self._read:
                self._read.add(number)
                read_ahead(codes, offsets[:1], offsets[-1:])

    def codes(self, rows: Rows) -> tuple[Rows, npt.NDArray[np.uint8]]:
        """The codes of the documents in some rows of the store, in that order, and where each begins: int64 [n + 1]."""
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.tokens(rows))])
        out = np.empty((int(offsets[-1]), self.codec.bytes_per_token), np.uint8)
        for number, places, inside in self.by_segment(rows):
            segment = self.parts[number].segment
            for place, row in zip(places.tolist(), inside.tolist(), strict=True):
                start, end = segment.offsets[row : row + 2].tolist()
                out[offsets[place] : offsets[place + 1]] = segment.codes[start:end]
        return offsets, out

    def decoded(self, rows: Rows) -> tuple[Rows, Floats]:
        """The same as the codec decodes it."""
        offsets, codes = self.codes(rows)
        try:
            return offsets, self.codec.decode(codes)
        except InvalidInput as error:
            raise CorruptIndex(f"{self.path}: {error}; {REMEDY}") from None

    def by_segment(self, rows: Rows) -> list[tuple[int, Rows, Rows]]:
        """For each segment that some rows of the store are in: its number, their places among `rows`, and rows in there."""
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < int(self.firsts[-1]):
            raise InvalidInput(f"rows are from 0 to {int(self.firsts[-1]) - 1} in this store")
        if len(self.parts) == 1:
            return [(0, np.arange(len(rows)), rows)]
        segments = np.searchsorted(self.firsts, rows, side="right") - 1
        return [
            (int(number), (places := np.flatnonzero(segments == number)), rows[places] - self.firsts[number])
            for number in np.unique(segments)
        ]


def check_belongs(path: Path, manifest: StoreManifest, index: IndexIdentity | None, fingerprint: str | None) -> None:
    """Raises `StoreMismatch` where a store was made for another index, or by another encoder; what is unknown fits."""
    if index is not None and manifest.index is not None and not manifest.index.same(index):
        raise StoreMismatch(
            f"{path}: belongs to another index, of {manifest.index.created[:40]}, where this one is of {index.created[:40]};"
            " build the token store again for this one"
        )
    encoder = manifest.encoder
    if fingerprint is not None and encoder is not None and encoder.fingerprint != fingerprint:
        raise StoreMismatch(
            f"{path}: its token vectors are of the encoder {encoder.name[:200]!r} ({encoder.fingerprint[:12]}), not of"
            f" {fingerprint[:12]}; load that one ({encoder.source[:200]}), or build the token store again with this one"
        )
