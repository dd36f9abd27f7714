"""The token vectors of an index, kept in its folder: made of its texts, and brought up to what it holds when it changes.

index_tokens(index, load_multivector_encoder("colbert-model"))    # encodes the stored texts, once
index.upsert(documents)
sync_tokens(index)                                                # encodes those that came

An index commits first, its token vectors after it. What is between, or is left when the second never came, is told by a hash
of the text that each document's vectors were made of, which the index has too: vectors of an earlier text are not used
(`current`), and `sync_tokens` finds them, whenever it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput, StoreMismatch
from lsr.index.storage.token_files import TOKENS, has_tokens
from lsr.rerank.encoders import MultiVectorEncoder, load_multivector_encoder
from lsr.rerank.stage import content_of
from lsr.rerank.store import IndexIdentity, StoreEncoder, TokenChange, TokenStore
from lsr.rerank.store.snapshot import StoreSnapshot
from lsr.rerank.token_vectors import TokenVectors, check_pool

if TYPE_CHECKING:
    from lsr.index import Index
    from lsr.index.segment_writer import Progress
    from lsr.index.snapshot import Snapshot

__all__ = [
    "TokenSyncReport",
    "check_made_by",
    "check_tokens",
    "encoder_of",
    "index_tokens",
    "located",
    "open_tokens",
    "store_of",
    "sync_tokens",
]

DOCUMENTS = 512  # encoded at a time
ROUND = 1 << 13  # documents in one commit: so much is done again when a run is interrupted

Rows = npt.NDArray[np.int64]


def store_of(index: Index) -> Path:
    """Where the token vectors of an index are kept."""
    return Path(index.path) / TOKENS


def open_tokens(index: Index) -> TokenStore:
    """The token vectors of an index. Raises `InvalidInput` where it has none, `StoreMismatch` for those of another index."""
    if not has_tokens(index.path):
        raise InvalidInput(
            f"{index.path}: has no token vectors; lsr index SOURCE -o {index.path} --multivector MODEL --resume makes them"
        )
    return TokenStore.open(store_of(index), index=IndexIdentity.of(index))


def encoder_of(store: TokenStore, device: str | None = None) -> MultiVectorEncoder:
    """The model that made a store, loaded from where it was.

    Raises `InvalidInput` where the store does not say which, `StoreMismatch` where it is another one by now, and as loading
    does.
    """
    made = store.manifest.encoder
    if made is None:
        raise InvalidInput(f"{store.path}: does not say which model made it; give encoder=")
    encoder = load_multivector_encoder(made.source, device=device)
    check_made_by(store, encoder)
    return encoder


def check_made_by(store: TokenStore, encoder: MultiVectorEncoder) -> None:
    """Raises `StoreMismatch` for an encoder that did not make the store."""
    made = store.manifest.encoder
    if made is not None and made.fingerprint != encoder.fingerprint:
        raise StoreMismatch(
            f"{store.path}: made by {made.name}, whose weights or settings are others than those of {encoder.source};"
            " give that model, or build the token vectors again"
        )
    if store.dim != encoder.dim:
        raise StoreMismatch(f"{store.path}: vectors of {store.dim} numbers, and {encoder.source} gives {encoder.dim}")


# -- making ------------------------------------------------------------------------------------------------------------


def index_tokens(
    index: Index,
    encoder: MultiVectorEncoder,
    *,
    codec: str = "int8",
    pool: int = 1,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> TokenStore:
    """Encodes the stored texts of an index as token vectors, which are kept in its folder.

    codec: see `lsr.rerank.CODECS`. pool: keep so many times fewer vectors (`TokenVectors.pooled`). overwrite: replace those
    that are there. resume: go on with an interrupted run, and keep what this one does if it is interrupted.

    Raises `InvalidInput` for an index that keeps no texts, and as `TokenStore.build` and encoders do.
    """
    check_pool(pool)
    snapshot = index.snapshot  # of one generation, whatever becomes of the index meanwhile
    if snapshot.documents:
        content_of(snapshot, 0)  # an index without texts is told before a folder is made
    return TokenStore.build(
        store_of(index),
        _encoded(snapshot, encoder, pool, np.arange(snapshot.documents), progress),
        codec=codec,
        encoder=StoreEncoder(encoder.name, encoder.source, encoder.fingerprint),
        index=IndexIdentity.of(snapshot.manifest),
        dim=encoder.dim,
        overwrite=overwrite,
        resume=resume,
        pool=pool,
    )


def _encoded(
    snapshot: Snapshot, encoder: MultiVectorEncoder, pool: int, rows: Rows, progress: Progress | None
) -> Iterator[tuple[list[str], Callable[[], TokenVectors], npt.NDArray[np.uint64]]]:
    """Batches of ids, what encodes their texts, and the hashes of these: what an interrupted run had written is not encoded
    again."""
    for first in range(0, len(rows), DOCUMENTS):
        some = rows[first : first + DOCUMENTS]
        ids = [snapshot.id_of(row) for row in some.tolist()]
        yield ids, partial(_encode, snapshot, encoder, pool, some.tolist()), snapshot.text_hashes(some)
        if progress is not None:
            progress("encoding token vectors", first + len(some), len(rows))


def _encode(snapshot: Snapshot, encoder: MultiVectorEncoder, pool: int, rows: Sequence[int]) -> TokenVectors:
    return encoder.encode_documents([content_of(snapshot, row) for row in rows]).pooled(pool)


# -- keeping up --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TokenSyncReport:
    """What `sync_tokens` did: documents that it encoded, how many of these had vectors of an earlier text, documents that
    went, and documents of the index that have no token vectors of their text now."""

    encoded: int
    replaced: int
    deleted: int
    missing: int


def sync_tokens(
    index: Index,
    encoder: MultiVectorEncoder | None = None,
    *,
    encode: bool = True,
    device: str | None = None,
    progress: Progress | None = None,
) -> TokenSyncReport:
    """Brings the token vectors of an index up to the documents that it holds: those that came, or have another text by now,
    are encoded, as those before them were; those that went, go.

    Which these are is told by their ids and texts, so it may be called at any time, and again after it was interrupted: it
    goes on from there. The index moves on to its newest generation.
    encoder: the model that made the token vectors, in case it is no longer where it was; not needed when nothing is to be
      encoded. device: where it runs, when it is not given.
    encode: False only takes away what is of no document any more.

    Raises `InvalidInput` where the index has no token vectors, `StoreMismatch` for those of another index or model,
    `IndexLocked` while someone else changes them, and as loading the model does; then the index is as it was.
    """
    store = open_tokens(index)
    if encoder is not None:
        check_made_by(store, encoder)
    left: list[int] = []
    done = 0

    def plan() -> TokenChange:
        nonlocal encoder
        index.refresh()  # under the lock: whoever is the last to bring a store up to its index does so to the newest
        snapshot = index.snapshot
        lacking, gone = _difference(snapshot, store.snapshot)
        some = lacking[:ROUND] if encode else lacking[:0]
        left.append(len(lacking) - len(some))
        if len(some) and encoder is None:
            encoder = encoder_of(store, device)
        total = done + len(lacking)

        def told(stage: str, so_far: int, _: int | None) -> None:
            if progress is not None:
                progress(stage, done + so_far, total)

        batches = () if encoder is None else _encoded(snapshot, encoder, store.manifest.pool, some, told)
        seen = None if left[-1] else IndexIdentity.of(snapshot.manifest)
        return TokenChange(batches=batches, delete=gone, index=seen)

    replaced = deleted = 0
    while not left or (encode and left[-1]):
        report = store.change(plan)
        done, replaced, deleted = done + report.documents, replaced + report.replaced, deleted + report.deleted
    return TokenSyncReport(done, replaced, deleted, left[-1])


def located(store: StoreSnapshot, snapshot: Snapshot, rows: Rows) -> Rows:
    """Where a store has the token vectors of documents, by their rows int64 [n] in a generation of its index: rows of the
    store, -1 for a document without any of its present text.

    A store that was made of an index has its documents in the same rows until something changes: ids are looked up, which
    takes as long as scoring, only where another one stands there. The text alone does not tell: others may have the same, or
    an empty one, and vectors that came from elsewhere.
    """
    found = np.where(store.holds(rows, snapshot.encoded_ids(rows)), rows, -1)
    others = np.flatnonzero(found < 0)
    if len(others):
        found[others] = store.rows([snapshot.id_of(row) for row in rows[others].tolist()])
    there = np.flatnonzero(found >= 0)
    stale = there[~_current(store, snapshot, rows[there], found[there])]
    found[stale] = -1
    return found


def _current(store: StoreSnapshot, snapshot: Snapshot, rows: Rows, stored: Rows) -> npt.NDArray[np.bool_]:
    """Whether the token vectors in some rows of a store are of the texts that documents have in a generation of their index.

    rows int64 [n]: of the documents in the index; stored int64 [n]: of the same in the store. A text that one of them does
    not know the hash of is taken for the same, unless the document came to the index after the store was brought up to it.
    """
    known, now = store.hashes(stored), snapshot.text_hashes(rows)
    return np.where((known == 0) | (now == 0), rows < _seen(store, snapshot), known == now)


def _seen(store: StoreSnapshot, snapshot: Snapshot) -> int:
    """The row before which all documents were in the index when its store was brought up to it; later ones stand at the
    end."""
    index = store.manifest.index
    later = 0 if index is None else max(0, snapshot.manifest.numbered - index.numbered)
    return max(0, snapshot.documents - later)


def _difference(snapshot: Snapshot, store: StoreSnapshot) -> tuple[Rows, list[str]]:
    """The rows of documents of a generation that have no current token vectors, rising, and the ids of documents that only
    the store has."""
    ids, texts = snapshot.hashes()
    rows, stored_ids, stored_texts = store.left()
    there = np.isin(_both(ids, texts), _both(stored_ids, stored_texts)) & (texts != 0)
    seen, unknown = _seen(store, snapshot), stored_texts == 0
    if unknown.any() or not texts[:seen].all():  # as `_current` has it
        untold = texts[:seen] == 0
        there[:seen] |= np.isin(ids[:seen], stored_ids[unknown]) | (untold & np.isin(ids[:seen], stored_ids))
    gone = rows[~np.isin(stored_ids, ids)]
    return np.flatnonzero(~there), [store.id_of(row) for row in gone.tolist()]


def _both(ids: npt.NDArray[np.uint64], texts: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """One hash of an id and a text."""
    return (ids ^ (ids >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9) + texts


def check_tokens(index: Index, full: bool) -> Iterator[str]:
    """Verifies the token vectors of an index, if it has some: yields a line for each thing checked, and raises the error of
    the first that is wrong. Documents without token vectors are counted; they are no error."""
    if not has_tokens(index.path):
        return
    store = open_tokens(index)
    for line in store.check(full):
        yield f"token vectors: {line.removeprefix('token vectors: ')}"
    lacking, _ = _difference(index.snapshot, store.snapshot)
    yield f"token vectors: {len(index) - len(lacking):,} of {len(index):,} documents have those of their text"
