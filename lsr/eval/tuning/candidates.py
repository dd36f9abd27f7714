"""What the first stage found, scored once by each codec; policies are then replayed on the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.index import Index
from lsr.rerank import MultiVectorEncoder, Policy, QueryScorer, TokenStore, codec_class, rerank
from lsr.rerank.codecs import Codec, Exit
from lsr.rerank.policies import kept_candidates, scored_until
from lsr.rerank.store import SAMPLE

__all__ = ["Asked", "CodecScores", "checked_queries", "first_stage", "scores_of", "simulated_scores"]

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_DECODED = 256  # documents decoded at a time
# Stores whose vectors are near enough to the encoder's for other codecs to be tried on them.
_FINE = ("f32", "f16", "int8")


@dataclass(frozen=True, slots=True)
class Asked:
    """A query with its candidates, by falling first-stage score: ids, scores [c], rows in the token store [c], -1 where it
    has no token vector; and the query's own, float32 [tokens, dim]."""

    ids: list[str]
    first: npt.NDArray[np.float64]
    rows: Rows
    vectors: Floats

    def within(self, policy: Policy, k: int) -> tuple[int, Rows]:
        """How many candidates a search for k hits gives the policy, and the places of those that can be scored."""
        shown = min(max(policy.kappa, k), len(self.ids))
        return shown, np.flatnonzero(self.rows[:shown] >= 0)


@dataclass(frozen=True, slots=True)
class CodecScores:
    """A codec, and for each query what scores its candidates, by rows in the token store: `live` does, `cached` has done."""

    name: str
    simulated: bool
    live: list[QueryScorer]
    cached: list[QueryScorer]
    _known: dict[tuple[object, ...], tuple[list[str], int]] = field(default_factory=dict)

    def ranking(self, number: int, asked: Asked, policy: Policy, k: int) -> tuple[list[str], int]:
        """The hits of a query as `MaxSimReranker` gives them, and how many documents were scored."""
        shown, there = asked.within(policy, k)
        # Many policies leave the same candidates: kappa and alpha matter by how many they keep, beta where that is above k.
        # Those without token vectors are the same up to place k, and none stands higher than before.
        kept = kept_candidates(asked.first[there], k, policy)
        beta = policy.beta if kept > k else None
        key = (number, k, kept, beta, policy.weight)
        if key not in self._known:
            self._known[key] = self._ranked(number, asked, policy, k, shown, there)
        return self._known[key]

    def _ranked(
        self, number: int, asked: Asked, policy: Policy, k: int, shown: int, there: Rows
    ) -> tuple[list[str], int]:
        result = rerank(self.cached[number], asked.rows[there], asked.first[there], k, policy)
        places = there[result.order].tolist()
        if len(there) < shown:
            for place in np.flatnonzero(
                asked.rows[:shown] < 0
            ).tolist():  # they keep the place that the index gave them
                places.insert(min(place, len(places)), place)
        return [asked.ids[place] for place in places[:k]], result.scored

    def score(self, number: int, asked: Asked, policy: Policy, k: int) -> None:
        """What the second stage does for a query, for its time."""
        _, there = asked.within(policy, k)
        rerank(self.live[number], asked.rows[there], asked.first[there], k, policy)


def first_stage(
    index: Index, store: TokenStore, encoder: MultiVectorEncoder, texts: Sequence[str], depth: int
) -> list[Asked]:
    """The queries, each encoded once and searched once, for as many candidates as any policy takes."""
    vectors = encoder.encode_queries(texts)
    found = []
    for i, hits in enumerate(index.search(texts, k=depth)):
        ids = hits.ids
        rows = store.rows(ids)
        there = np.flatnonzero(rows >= 0)
        rows[there[store.tokens(rows[there]) == 0]] = -1
        found.append(Asked(ids, hits.scores.astype(np.float64), rows, vectors.of(i)))
    return found


def scores_of(store: TokenStore, asked: Sequence[Asked]) -> CodecScores:
    """Of the codec that the store has."""
    live: list[QueryScorer] = [store.scorer(query.vectors) for query in asked]
    rows = [np.unique(query.rows[query.rows >= 0]) for query in asked]
    for some in rows:
        store.read_ahead(some)
    return CodecScores(store.codec.name, False, live, [_Cached(a, b) for a, b in zip(live, rows, strict=True)])


def simulated_scores(name: str, store: TokenStore, asked: Sequence[Asked], seed: int) -> CodecScores:
    """Of another codec: the vectors of the candidates as the store has them, encoded by it.

    Raises `InvalidInput` where the store's own codec keeps too little for that, or the other one would keep more.
    """
    kind, own = codec_class(name), store.codec
    if own.name not in _FINE:
        raise InvalidInput(
            f"{store.path}: its codec {own.name} keeps too little for others to be tried on it; build the token vectors"
            " with int8 or f16"
        )
    fineness = list(_FINE)
    if name in fineness[: fineness.index(own.name)]:
        raise InvalidInput(
            f"{store.path}: {name} keeps more than its codec {own.name}, so nothing is learned by trying it; build the"
            f" token vectors with {name}"
        )
    place = {row: query.ids[at] for query in asked for at, row in enumerate(query.rows.tolist()) if row >= 0}
    rows = np.array(sorted(place), np.int64)
    ids = [place[row] for row in rows.tolist()]
    codec = _trained(kind, store, ids, seed)
    parts, lengths = [np.zeros((0, codec.bytes_per_token), np.uint8)], [np.zeros(0, np.int64)]
    for first in range(0, len(ids), _DECODED):
        offsets, vectors = store.decoded(ids[first : first + _DECODED])
        parts.append(codec.encode(vectors))
        lengths.append(np.diff(offsets))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(lengths))])
    stored = codec.over(np.concatenate(parts), offsets)
    live: list[QueryScorer] = [_Renumbered(stored.query(query.vectors), rows) for query in asked]
    each = [np.unique(query.rows[query.rows >= 0]) for query in asked]
    return CodecScores(name, True, live, [_Cached(a, b) for a, b in zip(live, each, strict=True)])


def _trained(kind: type[Codec], store: TokenStore, ids: Sequence[str], seed: int) -> Codec:
    """On as many tokens of candidates, drawn by chance, as a store would train it on."""
    sample, tokens = [np.zeros((0, store.dim), np.float32)], 0
    order = np.random.default_rng(seed).permutation(len(ids)).tolist()
    while order and tokens < SAMPLE:
        some, order = order[:_DECODED], order[_DECODED:]
        _, vectors = store.decoded([ids[at] for at in some])
        sample.append(vectors)
        tokens += len(vectors)
    return kind.train(np.concatenate(sample)[:SAMPLE], None, seed)


class _Cached(QueryScorer):
    """Scores that were computed once. rows: those of the store that can be asked for, rising."""

    def __init__(self, scorer: QueryScorer, rows: Rows) -> None:
        self._tokens, self._dim, self._rows, self._scores = len(scorer), scorer.dim, rows, scorer(rows)

    def __len__(self) -> int:
        return self._tokens

    @property
    def dim(self) -> int:
        return self._dim

    def __call__(self, rows: npt.ArrayLike) -> Floats:
        scores: Floats = self._scores[np.searchsorted(self._rows, rows)]
        return scores

    def until(self, rows: npt.ArrayLike, exit: Exit) -> Floats:
        return scored_until(self, np.asarray(rows), exit).astype(np.float32)


class _Renumbered(QueryScorer):
    """A scorer over some documents of the store, asked by their rows in it."""

    def __init__(self, scorer: QueryScorer, rows: Rows) -> None:
        self._scorer, self._rows = scorer, rows

    def __len__(self) -> int:
        return len(self._scorer)

    @property
    def dim(self) -> int:
        return self._scorer.dim

    def __call__(self, rows: npt.ArrayLike) -> Floats:
        return self._scorer(np.searchsorted(self._rows, rows))

    def until(self, rows: npt.ArrayLike, exit: Exit) -> Floats:
        return self._scorer.until(np.searchsorted(self._rows, rows), exit)


def checked_queries(
    queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]], index: Index, least: int
) -> list[str]:
    """The ids of the queries that have a relevant document, in their order.

    Raises `InvalidInput` for fewer than `least`, and where none of their documents is in the index.
    """
    judged = [query for query in queries if any(grade > 0 for grade in qrels.get(query, {}).values())]
    if len(judged) < least:
        raise InvalidInput(
            f"queries with a relevant document: {len(judged)}; a policy is chosen on one half and checked on the other, which"
            f" needs {least} at least: judge more"
        )
    if not any(index.row_of(document) is not None for query in judged for document in qrels[query]):
        example = next(iter(qrels[judged[0]]))
        raise InvalidInput(
            f"{index.path}: holds none of the judged documents, such as {example!r}; are the ids the same?"
        )
    return judged
