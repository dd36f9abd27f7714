"""The token vectors of an index, and the second stage that reads them (Martinico, Nardini, Rulli and Venturini 2026).

index_tokens(index, load_multivector_encoder("colbert-model"))           # encodes the stored texts, once
index.search("how do I rotate a log file?", rerank=MaxSimReranker.of(index))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput, StoreMismatch
from lsr.hits import Hits
from lsr.rerank.encoders import MultiVectorEncoder, load_multivector_encoder
from lsr.rerank.policies import Policy, rerank
from lsr.rerank.policy_file import saved_policy
from lsr.rerank.stage import content_of
from lsr.rerank.store import IndexIdentity, StoreEncoder, TokenStore
from lsr.rerank.token_vectors import TokenVectors

if TYPE_CHECKING:
    from lsr.index import Index
    from lsr.index.segment_writer import Progress

__all__ = ["MaxSimReranker", "index_tokens", "store_of"]

FOLDER = "multivector"  # in the folder of the index
DOCUMENTS = 512  # encoded at a time


def store_of(index: Index) -> Path:
    """Where the token vectors of an index are kept."""
    return Path(index.path) / FOLDER


def index_tokens(
    index: Index,
    encoder: MultiVectorEncoder,
    *,
    codec: str = "int8",
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> TokenStore:
    """Encodes the stored texts of an index as token vectors, which are kept in its folder.

    codec: see `lsr.rerank.CODECS`. overwrite: replace those that are there. resume: go on with an interrupted run, and keep
    what this one does if it is interrupted.

    Raises `InvalidInput` for an index that keeps no texts, and as `TokenStore.build` and encoders do.
    """
    if len(index):
        content_of(index, 0)  # an index without texts is told before a folder is made
    return TokenStore.build(
        store_of(index),
        _encoded(index, encoder, progress),
        codec=codec,
        encoder=StoreEncoder(encoder.name, encoder.source, encoder.fingerprint),
        index=IndexIdentity.of(index),
        dim=encoder.dim,
        overwrite=overwrite,
        resume=resume,
    )


def _encoded(
    index: Index, encoder: MultiVectorEncoder, progress: Progress | None
) -> Iterator[tuple[list[str], Callable[[], TokenVectors]]]:
    """Batches of ids and what encodes their texts: those that an interrupted run had written are not encoded again."""
    done = 0
    for first in range(0, len(index), DOCUMENTS):
        rows = range(first, min(first + DOCUMENTS, len(index)))
        yield [index.id_of(row) for row in rows], partial(_encode, index, encoder, rows)
        done += len(rows)
        if progress is not None:
            progress("encoding token vectors", done, len(index))


def _encode(index: Index, encoder: MultiVectorEncoder, rows: Sequence[int]) -> TokenVectors:
    return encoder.encode_documents([content_of(index, row) for row in rows])


class MaxSimReranker:
    """Orders candidates by MaxSim: for each token of the query the best product with a token of the document, summed.

    store: the token vectors of documents, by id; encoder: that which made them. policy: which candidates are scored
    (`lsr.rerank.Policy`). A candidate that the store has no token vector of keeps the place that the first stage gave it,
    with the score of the hit before it; `missing` counts them, `scored` those that were scored.

    Raises `StoreMismatch` for an encoder that did not make the store.
    """

    def __init__(self, store: TokenStore, encoder: MultiVectorEncoder, policy: Policy | None = None) -> None:
        made = store.manifest.encoder
        if made is not None and made.fingerprint != encoder.fingerprint:
            raise StoreMismatch(
                f"{store.path}: made by {made.name}, whose weights or settings are others than those of {encoder.source};"
                " give that model, or build the token vectors again"
            )
        if store.dim != encoder.dim:
            raise StoreMismatch(
                f"{store.path}: vectors of {store.dim} numbers, and {encoder.source} gives {encoder.dim}"
            )
        self.store, self.encoder, self.policy = store, encoder, policy or Policy()
        self.missing = self.scored = 0

    @classmethod
    def of(
        cls,
        index: Index,
        policy: Policy | None = None,
        *,
        encoder: MultiVectorEncoder | None = None,
        device: str | None = None,
    ) -> Self:
        """With the token vectors in the folder of an index, and the model that made them, which is loaded from where it was.

        policy: None for the one that `lsr tune --save` has left there, or the usual one.

        Raises `InvalidInput` where the index has none, `StoreMismatch` for those of another index, `CorruptIndex` for a
        saved policy that is damaged, and as loading does.
        """
        path = store_of(index)
        if not path.is_dir():
            raise InvalidInput(
                f"{index.path}: has no token vectors; lsr index SOURCE -o {index.path} --multivector MODEL makes them"
            )
        store = TokenStore.open(path, index=IndexIdentity.of(index))
        if policy is None:
            policy = saved_policy(path)
        if encoder is None:
            made = store.manifest.encoder
            if made is None:
                raise InvalidInput(f"{path}: does not say which model made it; give encoder=")
            encoder = load_multivector_encoder(made.source, device=device)
        return cls(store, encoder, policy)

    @property
    def candidates(self) -> int:
        return self.policy.kappa

    def rerank(self, hits: Sequence[Hits], k: int) -> list[Hits]:
        """The k best of each query's candidates by MaxSim. Raises `InvalidInput` for queries that are vectors."""
        texts = []
        for found in hits:
            if found.query is None:
                raise InvalidInput("token vectors are compared with a text: ask with one, not with a vector")
            texts.append(found.query)
        queries = self.encoder.encode_queries(texts)
        return [self._reranked(found, queries.of(i), k) for i, found in enumerate(hits)]

    def _reranked(self, found: Hits, query: npt.NDArray[np.float32], k: int) -> Hits:
        rows = self.store.rows(found.ids)
        there = np.flatnonzero(rows >= 0)
        there = there[self.store.tokens(rows[there]) > 0]
        self.store.read_ahead(rows[there])
        result = rerank(self.store.scorer(query), rows[there], found.scores[there], k, self.policy)
        self.missing += len(rows) - len(there)
        self.scored += result.scored
        order, scores = _with_missing(
            there[result.order], result.scores, np.setdiff1d(np.arange(len(rows)), there).tolist(), k
        )
        return found.reordered(order, scores)


def _with_missing(
    order: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float64],
    missing: list[int],
    k: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The k first places, those of `missing` candidates being where the first stage had them."""
    places, values = order.tolist(), scores.tolist()
    for place in missing:  # rising, so what stands before is in its place already
        at = min(place, len(places))
        near = values[at - 1] if at else (values[0] if values else 0.0)
        places.insert(at, place)
        values.insert(at, near)
    return np.array(places[:k], np.int64), np.array(values[:k], np.float64)
