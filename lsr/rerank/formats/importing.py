"""From another program's token vectors to a token store beside an index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput, StoreMismatch
from lsr.rerank.encoders import MultiVectorEncoder, load_multivector_encoder
from lsr.rerank.formats.layouts import open_token_file
from lsr.rerank.formats.token_file import TokenFile
from lsr.rerank.living import store_of
from lsr.rerank.store import IndexIdentity, StoreEncoder, TokenStore
from lsr.rerank.token_vectors import TokenVectors

if TYPE_CHECKING:
    from lsr.index import Index
    from lsr.index.segment_writer import Progress

__all__ = ["import_tokens"]


def import_tokens(
    source: str | Path,
    index: Index,
    *,
    encoder: MultiVectorEncoder | str | Path | None = None,
    codec: str = "int8",
    ids: Sequence[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> TokenStore:
    """Token vectors that another program stored, decoded, and kept in the folder of an index with a codec of lsr's.

    source: a folder of ColBERT's or PyLate's PLAID, of fast-plaid, or of kANNolo (`LAYOUTS`). What it lost is lost.
    encoder: the model that made them, or its folder or hub id. It encodes the queries; without one, `MaxSimReranker.of` has
      to be given it.
    codec: see `lsr.rerank.CODECS`. ids: those of the source's documents, in its order. None takes those that PyLate kept,
      or else the documents in the order of the index.

    Raises `CorpusError` for a source that is not known or not whole, `InvalidInput` where its documents are not those of the
    index, `StoreMismatch` for a model whose vectors have another dim, `MissingExtra` for PLAID's tensors without torch, and
    as `TokenStore.build` and loading a model do.
    """
    opened = open_token_file(source)
    names = _names(opened, index, ids)
    if encoder is not None and not isinstance(encoder, MultiVectorEncoder):
        encoder = load_multivector_encoder(encoder)
    if encoder is not None and encoder.dim != opened.dim:
        raise StoreMismatch(
            f"{opened.name}: vectors of {opened.dim} numbers, and {encoder.source} gives {encoder.dim}; give the model that"
            " made them"
        )
    return TokenStore.build(
        store_of(index),
        _batches(opened, names, index),
        codec=codec,
        encoder=None if encoder is None else StoreEncoder(encoder.name, encoder.source, encoder.fingerprint),
        index=IndexIdentity.of(index),
        dim=opened.dim,
        overwrite=overwrite,
        progress=progress,
    )


def _names(opened: TokenFile, index: Index, ids: Sequence[str] | None) -> Sequence[str | None]:
    """The id of each document of the source, None for one that was deleted there. Raises `InvalidInput`."""
    if ids is not None and len(ids) != len(opened):
        raise InvalidInput(
            f"{opened.name}: token vectors of {len(opened):,} documents, and there are {len(ids):,} ids: give one for each"
        )
    names = opened.ids if ids is None else ids
    kept = len(opened) if names is None else sum(name is not None for name in names)
    if kept != len(index):
        remedy = "give the ids of those (--ids)" if names is None else "they must be of the same documents"
        raise InvalidInput(
            f"{opened.name}: token vectors of {kept:,} documents, and {index.path} has {len(index):,}; {remedy}"
        )
    if names is None:
        return [index.id_of(row) for row in range(len(index))]
    strange = [name for name in names if name is not None and index.row_of(name) is None]
    if strange:
        raise InvalidInput(
            f"{opened.name}: {len(strange):,} of its documents are not in {index.path}, {strange[0]!r} among them; give the"
            " ids that the index has (--ids)"
        )
    return names


def _batches(
    opened: TokenFile, names: Sequence[str | None], index: Index
) -> Iterator[tuple[list[str], Callable[[], TokenVectors], npt.NDArray[np.uint64]]]:
    """Batches of ids, what reads their vectors, and the hashes of their texts: the vectors are taken to be of the texts that
    the index has."""
    for rows, read in opened.batches():
        some = names[rows.start : rows.stop]
        ids = [name for name in some if name is not None]
        if not ids:
            continue
        hashes = index.text_hashes(np.array([index.row_of(name) for name in ids], np.int64))
        if len(ids) == len(some):
            yield ids, read, hashes
        else:
            yield ids, partial(_kept, read, np.array([name is not None for name in some])), hashes


def _kept(read: Callable[[], TokenVectors], kept: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> TokenVectors:
    """The vectors of some of the documents."""
    vectors = read()
    lengths = vectors.lengths
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths[kept])])
    return TokenVectors(offsets, vectors.vectors[np.repeat(kept, lengths)])
