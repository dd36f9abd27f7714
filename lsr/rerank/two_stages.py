"""The second stage that reads the token vectors of an index (Martinico, Nardini, Rulli and Venturini 2026).

index_tokens(index, load_multivector_encoder("colbert-model"))           # encodes the stored texts, once
index.search("how do I rotate a log file?", rerank=MaxSimReranker.of(index))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.hits import Hits, TokenMatches
from lsr.index.snapshot import Snapshot
from lsr.rerank.encoders import MultiVectorEncoder
from lsr.rerank.living import check_made_by, encoder_of, located, open_tokens
from lsr.rerank.matches import matches_of
from lsr.rerank.policies import Policy, rerank
from lsr.rerank.policy_file import saved_policy
from lsr.rerank.store import TokenStore

if TYPE_CHECKING:
    from lsr.index import Index

__all__ = ["MaxSimReranker"]


class MaxSimReranker:
    """Orders candidates by MaxSim: for each token of the query the best product with a token of the document, summed.

    store: the token vectors of documents, by id; encoder: that which made them. policy: which candidates are scored
    (`lsr.rerank.Policy`). A candidate that the store has no token vector of, or only those of an earlier text, keeps the
    place that the first stage gave it, with the score of the hit before it; `missing` counts them, `scored` those that were
    scored.

    Raises `StoreMismatch` for an encoder that did not make the store.
    """

    def __init__(self, store: TokenStore, encoder: MultiVectorEncoder, policy: Policy | None = None) -> None:
        check_made_by(store, encoder)
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
        store = open_tokens(index)
        if policy is None:
            policy = saved_policy(store.path)
        return cls(store, encoder or encoder_of(store, device), policy)

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
        store = self.store.snapshot  # of one generation, whatever becomes of the store meanwhile
        # Documents of an index may have other texts by now; other sources have ids alone.
        if isinstance(found.source, Snapshot):
            rows = located(store, found.source, found.rows)
        else:
            rows = store.rows(found.ids)
        there = np.flatnonzero(rows >= 0)
        there = there[store.tokens(rows[there]) > 0]
        store.read_ahead(rows[there])
        result = rerank(store.scorer(query), rows[there], found.scores[there], k, self.policy)
        self.missing += len(rows) - len(there)
        self.scored += result.scored
        lacking = np.ones(len(rows), bool)
        lacking[there] = False
        order, scores = _with_missing(there[result.order], result.scores, np.flatnonzero(lacking).tolist(), k)
        ranked = set(found.rows[there].tolist())

        def matcher(row: int) -> TokenMatches | None:
            if row not in ranked:
                return None
            return matches_of(store, self.encoder, found.source, found.query or "", row)

        return found.reordered(order, scores, matcher)


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
