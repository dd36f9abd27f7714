"""TokenStore: the token vectors of documents on disk, for reranking."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.index.engines import in_pieces
from lsr.index.storage.commit import Commit, Commits
from lsr.index.storage.locks import Pin, open_newest
from lsr.rerank.codecs import Codec
from lsr.rerank.codecs.scoring import Floats
from lsr.rerank.store import changing
from lsr.rerank.store.building import SAMPLE, BuildSettings, build_store
from lsr.rerank.store.changing import TokenAddReport, TokenChange
from lsr.rerank.store.check import check_store
from lsr.rerank.store.manifest import IndexIdentity, StoreEncoder, StoreManifest
from lsr.rerank.store.report import CodecReport
from lsr.rerank.store.scoring import SegmentsScorer
from lsr.rerank.store.snapshot import Found, StoreSnapshot, check_belongs

if TYPE_CHECKING:
    from lsr.index.segment_writer import Progress
    from lsr.rerank.store.batches import Batches

__all__ = ["TokenStore"]

Rows = npt.NDArray[np.int64]
Changed = TypeVar("Changed")


class TokenStore:
    """Token vectors of documents, by the documents' ids: compressed, memory-mapped, and changed in commits.

    It needs no index, and serves any first stage whose documents have ids. Where it was made for one of lsr's, it knows
    that one. Documents that are not in the store score NaN; those that are but have no token score -inf, below all others.

    A store that is open stays with its generation, whatever others do to the folder, until `refresh`. What changes it
    moves on to the generation that came of that.
    """

    def __init__(self, path: Path, manifest: StoreManifest, pin: Pin | None, index: IndexIdentity | None) -> None:
        self.path, self._given_index = path, index
        self._snapshot = StoreSnapshot(path, manifest, pin)
        self._commits = Commits(path, StoreManifest)

    @classmethod
    def build(
        cls,
        path: str | Path,
        batches: Batches,
        *,
        codec: str = "int8",
        size: int | None = None,
        encoder: StoreEncoder | dict[str, str] | None = None,
        index: IndexIdentity | None = None,
        dim: int | None = None,
        overwrite: bool = False,
        resume: bool = False,
        sample: int = SAMPLE,
        seed: int = 0,
        pool: int = 1,
        progress: Progress | None = None,
    ) -> TokenStore:
        """Builds a store at `path`, which appears whole or not at all, and opens it. Memory is bounded.

        batches: (ids, token vectors) of documents, or (ids, token vectors, hashes of their texts as `Index.text_hashes` gives
          them); instead of vectors there may be a function that returns them, which is not called for documents that an
          interrupted build had written.
        codec, size: see `CODECS` and `Codec.train`. sample: how many tokens of the first batches a codec is trained on,
          which are held in memory until then, as float32; seed: of that training.
        encoder: what made the vectors; index: that of `IndexIdentity.of`; both are compared when the store is opened.
        dim: of the vectors; not needed unless there are none. pool: what they were pooled by (`TokenVectors.pooled`): it is
          noted, and the same is done to documents that come later.
        resume: go on with a build that was interrupted, if there is one, and keep what this one does if it is. The documents
          must be the same, in the same order, from the beginning.
        progress: called as progress(stage, done, total or None).

        Raises `InvalidInput`, `DuplicateId`, `OutputExists`, and `StorageError` for a disk that does not take it or an
        interrupted build of something else.
        """
        settings = BuildSettings(
            codec=codec,
            size=size,
            encoder=StoreEncoder.of(encoder),
            index=index,
            dim=dim,
            sample=sample,
            seed=seed,
            pool=pool,
        )
        build_store(Path(path), batches, settings, overwrite, resume, progress or _no_progress)
        return cls.open(path, index=index)

    @classmethod
    def open(
        cls, path: str | Path, *, index: IndexIdentity | None = None, encoder_fingerprint: str | None = None
    ) -> TokenStore:
        """Opens the newest generation of a store, at a cost that grows with its documents, not their tokens.

        Raises `IndexNotFound`, `UnsupportedVersion`, `CorruptIndex`, and `StoreMismatch` for a store of another index or
        encoder; a store that was made without saying of which one it is fits any.
        """
        path = Path(path)
        manifest, pin = open_newest(path, StoreManifest)
        check_belongs(path, manifest, index, encoder_fingerprint)
        return cls(path, manifest, pin, index)

    # -- what there is -------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Documents in the store."""
        return self._snapshot.documents

    def __contains__(self, identifier: str) -> bool:
        return bool(self.find([identifier]).rows[0] >= 0)

    def __repr__(self) -> str:
        return f"TokenStore({str(self.path)!r}: {len(self):,} documents, {self.codec!r})"

    @property
    def codec(self) -> Codec:
        return self._snapshot.codec

    @property
    def dim(self) -> int:
        return self._snapshot.codec.dim

    @property
    def snapshot(self) -> StoreSnapshot:
        """The generation that is open."""
        return self._snapshot

    @property
    def manifest(self) -> StoreManifest:
        return self._snapshot.manifest

    @property
    def unseen(self) -> int:
        """How many documents were added to the index, or replaced in it, since the store was last brought up to it; `hashes`
        tells of which of them its token vectors are. 0 where no index was given."""
        known, given = self.manifest.index, self._given_index
        return 0 if known is None or given is None else max(0, given.numbered - known.numbered)

    def ids(self) -> Iterator[str]:
        """The ids of all documents, in the order in which they were added."""
        for part in self._snapshot.parts:
            for row in np.flatnonzero(part.is_left).tolist():
                yield part.segment.ids[row]

    def info(self) -> dict[str, Any]:
        """documents, tokens, bytes (of the codes), codec, bytes_per_token, dim, encoder, segments, and more, as JSON can
        say it. tokens and bytes count what is stored: those of deleted documents too, until `compact`."""
        manifest = self.manifest
        encoder, index = manifest.encoder, manifest.index
        tokens = sum(segment.tokens for segment in manifest.segments)
        return {
            "documents": len(self),
            "deleted": sum(segment.deleted for segment in manifest.segments),
            "tokens": tokens,
            "bytes": tokens * manifest.bytes_per_token,
            "codec": manifest.codec,
            "bytes_per_token": manifest.bytes_per_token,
            "dim": manifest.dim,
            "pool": manifest.pool,
            "encoder": None if encoder is None else asdict(encoder),
            "index": None if index is None else asdict(index),
            "report": None if manifest.report is None else asdict(manifest.report),
            "segments": len(manifest.segments),
            "generation": manifest.generation,
            "created": manifest.created,
        }

    def check(self, full: bool = False) -> Iterator[str]:
        """Verifies the newest generation: see `check_store`."""
        return check_store(self.path, full)

    @property
    def report(self) -> CodecReport | None:
        """What the codec costs and loses, as measured when the store was built; None where there were too few documents."""
        return self.manifest.report

    # -- finding and scoring -------------------------------------------------------------------------------------------

    def find(self, ids: Sequence[str]) -> Found:
        """Where documents are: for each its segment and its row in there, int64 [n], -1 where it is missing."""
        return self._snapshot.find(ids)

    def rows(self, ids: Sequence[str]) -> Rows:
        """Rows in the store, int64 [n], -1 where a document is missing: what `scorer` takes, until `refresh` or a change."""
        return self._snapshot.rows(ids)

    def hashes(self, rows: npt.ArrayLike) -> npt.NDArray[np.uint64]:
        """Of the documents in some rows the hash of the text that their token vectors are of, as `Index.text_hashes` gives
        it; 0 where it is not known."""
        return self._snapshot.hashes(np.asarray(rows, np.int64))

    def tokens(self, rows: npt.ArrayLike) -> Rows:
        """How many tokens the documents in some rows have, int64 [n]."""
        return self._snapshot.tokens(np.asarray(rows, np.int64))

    def scorer(self, query: npt.ArrayLike) -> SegmentsScorer:
        """Scores documents by `rows` for a query, float32 [tokens, dim]: what `rerank` takes."""
        return self._snapshot.scorer(query)

    def score(self, query: npt.ArrayLike, ids: Sequence[str]) -> Floats:
        """MaxSim of a query, float32 [tokens, dim], and documents: float32 [n], NaN for those that are missing.

        What is not in memory is read ahead: 50 documents on a cold disk took 3 ms so, and 360 one after the other.
        """
        return _scored(self._snapshot, query, ids)

    def score_many(
        self, queries: Sequence[npt.ArrayLike], ids: Sequence[Sequence[str]], threads: int = 1
    ) -> list[Floats]:
        """The same for query i and the documents ids[i], one query a thread at a time."""
        if len(queries) != len(ids):
            raise InvalidInput(f"{len(queries)} queries and {len(ids)} lists of ids: there must be as many")
        snapshot = self._snapshot
        results: list[Floats] = [np.zeros(0, np.float32)] * len(queries)
        if queries:
            snapshot.scorer(queries[0])(np.zeros(0, np.int64))

        def run(first: int, last: int) -> None:
            for i in range(first, last):
                results[i] = _scored(snapshot, queries[i], ids[i])

        in_pieces(len(queries), threads, run)
        return results

    def read_ahead(self, rows: npt.ArrayLike) -> None:
        """Lets the system read the token vectors of some rows from the disk, without waiting for it.

        For a `scorer`, which does not: called as soon as the candidates are known, so that the disk works while the query is
        encoded.
        """
        self._snapshot.read_ahead(np.asarray(rows, np.int64))

    def decoded(self, ids: Sequence[str]) -> tuple[Rows, Floats]:
        """The token vectors of documents as the codec has them: offsets int64 [n + 1], float32 [tokens, dim]. Missing
        documents have none."""
        rows = self.rows(ids)
        offsets, vectors = self._snapshot.decoded(rows[rows >= 0])
        lengths = np.zeros(len(rows), np.int64)
        lengths[rows >= 0] = np.diff(offsets)
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]), vectors

    # -- changing ------------------------------------------------------------------------------------------------------

    def refresh(self) -> bool:
        """Moves on to the newest generation. Returns whether there was a newer one. Raises as `open` does."""
        manifest, pin = open_newest(self.path, StoreManifest)
        if manifest == self.manifest:
            return False
        check_belongs(self.path, manifest, self._given_index, None)
        self._snapshot = StoreSnapshot(self.path, manifest, pin)
        return True

    def add(
        self, batches: Batches, *, index: IndexIdentity | None = None, progress: Progress | None = None
    ) -> TokenAddReport:
        """Adds documents, all or none. An id that is in the store is a `DuplicateId`.

        index: that of `IndexIdentity.of` once the index has these documents too: see `unseen`.

        Raises `InvalidInput`, `StoreMismatch`, `IndexLocked` and `StorageError`; then nothing has changed.
        """
        return self._add(lambda: TokenChange(batches=batches, index=index), False, progress)

    def upsert(
        self, batches: Batches, *, index: IndexIdentity | None = None, progress: Progress | None = None
    ) -> TokenAddReport:
        """The same, but documents take the place of those with their ids."""
        return self._add(lambda: TokenChange(batches=batches, index=index), True, progress)

    def change(self, plan: Callable[[], TokenChange], *, progress: Progress | None = None) -> TokenAddReport:
        """Deletes and upserts in one commit. `plan` says what, once nobody else can change the store, which is at its newest
        generation then. Raises as `add` does."""
        return self._add(plan, True, progress)

    def delete(self, ids: str | Iterable[str], *, missing_ok: bool = False) -> int:
        """Deletes documents, and returns how many. Raises `InvalidInput` for ids that are not there, unless `missing_ok`.

        Their token vectors stay on the disk until `compact`.
        """
        return self._changed(lambda commit: changing.delete(commit, self._snapshot, ids, missing_ok))

    def compact(self, *, progress: Progress | None = None) -> bool:
        """Writes all that is left as one segment. Returns whether there was anything to do."""
        return self._changed(lambda commit: changing.compact(commit, self._snapshot, progress or _no_progress))

    def _add(self, plan: Callable[[], TokenChange], replacing: bool, progress: Progress | None) -> TokenAddReport:
        def change(commit: Commit[StoreManifest]) -> TokenAddReport:
            planned = plan()
            report = changing.add(commit, self._snapshot, planned, replacing, progress or _no_progress)
            self._given_index = planned.index or self._given_index
            return report

        return self._changed(change)

    def _changed(self, change: Callable[[Commit[StoreManifest]], Changed]) -> Changed:
        """Does a change to the newest generation, and moves on to what came of it."""
        with self._commits.next() as commit:
            self.refresh()
            result = change(commit)
        self.refresh()
        return result


def _scored(snapshot: StoreSnapshot, query: npt.ArrayLike, ids: Sequence[str]) -> Floats:
    scorer, rows = snapshot.scorer(query), snapshot.rows(ids)
    there = rows >= 0
    snapshot.read_ahead(rows[there])
    if there.all():
        return scorer(rows)
    out = np.full(len(rows), np.nan, np.float32)
    out[there] = scorer(rows[there])
    return out


def _no_progress(stage: str, done: int, total: int | None) -> None:
    pass
