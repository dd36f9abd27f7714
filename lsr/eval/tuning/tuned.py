"""tune: which candidates a second stage should score, and how its vectors should be kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from lsr.errors import InvalidInput
from lsr.eval.measures import Measure, evaluate, mean
from lsr.eval.significance import Comparison, compare, with_holm
from lsr.eval.timing import time_stages
from lsr.eval.tuning.candidates import (
    Asked,
    CodecScores,
    checked_queries,
    first_stage,
    scores_of,
    simulated_scores,
)
from lsr.eval.tuning.choosing import Configuration, Grid, best_unpruned, chosen, front
from lsr.index import Index
from lsr.rerank import MaxSimReranker, MultiVectorEncoder, Policy, save_policy

__all__ = ["LEAST", "HeldOut", "Tuned", "tune"]

LEAST = 20  # judged queries
_SECONDS = 0.1  # that a configuration is timed for
_FIXED = 20  # queries that the first stage and the network are timed with

Qrels = Mapping[str, Mapping[str, int]]
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The choice on queries that had no part in it, whose ids `queries` are.

    chosen, sparse, unpruned: means of the measure for what was chosen, for the first stage alone, and for the chosen codec
    and weight when all candidates of the largest kappa are scored. over_sparse, over_unpruned: the differences with their
    bootstrap intervals and tests.
    """

    queries: tuple[str, ...]
    chosen: float
    sparse: float
    unpruned: float
    over_sparse: Comparison
    over_unpruned: Comparison


@dataclass(frozen=True, slots=True)
class Tuned:
    """What `tune` found.

    chosen: a row of `table`. queries: the ids of those it was chosen by. own_codec: that of the token vectors.
    fixed_ms: median milliseconds of what is the same for all policies: "search" (with encoding the sparse query) and "encode"
      (the query's token vectors).
    """

    chosen: Configuration
    table: tuple[Configuration, ...]
    held_out: HeldOut
    measure: str
    k: int
    queries: tuple[str, ...]
    own_codec: str
    fixed_ms: Mapping[str, float]
    seed: int

    @property
    def policy(self) -> Policy:
        return self.chosen.policy

    @property
    def codec(self) -> str:
        return self.chosen.codec

    @property
    def front(self) -> list[Configuration]:
        """The rows that were timed: no other of the same codec is as good with fewer documents scored."""
        return [row for row in self.table if row.ms is not None]

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON can say it."""
        return {"policy": asdict(self.policy), "codec": self.codec, **asdict(self)}

    def save(self, index: Index) -> None:
        """Keeps the policy with the token vectors of the index: `MaxSimReranker.of` takes it from there.

        Raises `InvalidInput` when it was chosen for a codec that they are not kept in, `StorageError`.
        """
        from lsr.rerank.living import store_of

        if self.codec != self.own_codec:
            raise InvalidInput(
                f"{index.path}: the policy is for {self.codec}, and its token vectors are kept as {self.own_codec}; build"
                f" them again with --codec {self.codec} and tune then, or tune without other codecs"
            )
        told = {"measure": self.measure, "k": self.k, "queries": len(self.queries), "codec": self.codec}
        save_policy(store_of(index), self.policy, {**told, "quality": self.chosen.quality})


def tune(
    index: Index,
    queries: Mapping[str, str],
    qrels: Qrels,
    *,
    codecs: Sequence[str] | None = None,
    measure: str | Measure | None = None,
    k: int = 10,
    max_ms: float | None = None,
    max_loss: float = 0.0,
    grid: Grid | None = None,
    seed: int = 0,
    encoder: MultiVectorEncoder | None = None,
    progress: Progress | None = None,
) -> Tuned:
    """The policy, and codec, that orders the candidates of an index well enough at the lowest cost, from judged queries.

    queries: texts by id; qrels: grades of judged documents. Those with a relevant document count, 20 of them at least: the
    choice is made on one half, drawn by `seed`, and checked on the other (`Tuned.held_out`).
    codecs: to choose among, by the names of `lsr.rerank.CODECS`; None is the store's own. Any other is only simulated:
      vectors of the candidates are taken as the store's own codec has them (f32, f16 or int8) and encoded by the other,
      which is trained on candidates alone and without their token ids. A store built with it may come out a little
      otherwise; and its codes will lie further apart in memory than here, so its time may be longer than what is measured.
    measure: nDCG at k when None. k: hits that are wanted, as at search time.
    max_ms: milliseconds that scoring may take a query (the median, one thread); encoding and searching come on top
      (`Tuned.fixed_ms`). max_loss: how far below the best unpruned policy, or below the best that max_ms allows, the
      chosen one may be.
    grid: what is tried. encoder: that of the token vectors, loaded from where it was when None.

    Each query is encoded and searched once, and each candidate scored once a codec; policies are replayed on these scores.
    Only those are timed that no other beats. The search is the default one: an approximate engine that is asked for fewer
    hits at search time may find slightly others.

    Raises `InvalidInput` for too few queries, for judgments of other documents, when nothing is fast enough, for codecs
    that cannot be tried, and for arguments out of range; and as `MaxSimReranker.of` does.
    """
    grid, report = grid or Grid(), progress or _silent
    headline = _measure(measure, k)
    if max_ms is not None and not max_ms > 0:
        raise InvalidInput(f"max_ms is {max_ms}: it must be above 0, or left out")
    if not max_loss >= 0:
        raise InvalidInput(f"max_loss is {max_loss}: it must be 0 or above")
    judged = checked_queries(queries, qrels, index, LEAST)
    stage = MaxSimReranker.of(index, Policy(), encoder=encoder)
    policies = list(grid.policies(k))
    largest = max(policy.kappa for policy in policies)
    report("searching", 0, len(judged))
    asked = first_stage(index, stage.store, stage.encoder, [queries[query] for query in judged], largest)
    scorers = []
    for name in dict.fromkeys(codecs or [stage.store.codec.name]):
        report(f"scoring with {name}", 0, None)
        own = name == stage.store.codec.name
        scorers.append(scores_of(stage.store, asked) if own else simulated_scores(name, stage.store, asked, seed))
    trial = _Trial(judged, asked, qrels, headline, k)
    order = np.random.default_rng(seed).permutation(len(judged))
    tuning, held = (sorted(half.tolist()) for half in (order[: len(order) // 2], order[len(order) // 2 :]))
    table = []
    for scores in scorers:
        for done, policy in enumerate(policies, 1):
            values, scored = trial.run(scores, policy, tuning)
            table.append(Configuration(scores.name, policy, mean(values), scored, None, scores.simulated))
            report(f"trying policies with {scores.name}", done, len(policies))
    by_name = {scores.name: scores for scores in scorers}
    places = front(table)
    for done, place in enumerate(places, 1):
        row = table[place]
        table[place] = replace(row, ms=trial.median_ms(by_name[row.codec], row.policy, tuning))
        report("timing", done, len(places))
    best = chosen([table[place] for place in places], best_unpruned(table), max_ms, max_loss)
    return Tuned(
        chosen=best,
        table=tuple(table),
        held_out=trial.held_out(by_name[best.codec], best.policy, largest, held, seed),
        measure=str(headline),
        k=k,
        queries=tuple(judged[at] for at in tuning),
        own_codec=stage.store.codec.name,
        fixed_ms=_fixed_ms(index, stage.encoder, [queries[judged[at]] for at in tuning[:_FIXED]], best.policy, k),
        seed=seed,
    )


class _Trial:
    """Policies tried on queries, which are given by their places."""

    def __init__(self, names: Sequence[str], asked: Sequence[Asked], qrels: Qrels, measure: Measure, k: int) -> None:
        self._names, self._asked, self._qrels, self._measure, self._k = names, asked, qrels, measure, k

    def run(self, scores: CodecScores, policy: Policy, places: Sequence[int]) -> tuple[np.ndarray[Any, Any], float]:
        """The measure for each query, float64 [places], and the mean of documents scored."""
        found = [scores.ranking(at, self._asked[at], policy, self._k) for at in places]
        return self._values([ids for ids, _ in found], places), float(np.mean([scored for _, scored in found]))

    def median_ms(self, scores: CodecScores, policy: Policy, places: Sequence[int]) -> float:
        def score(at: int) -> None:
            scores.score(at, self._asked[at], policy, self._k)

        times = time_stages([("rerank", score)], places, warm_ups=len(places), seconds=_SECONDS)
        p50: float = times.latency()["p50"]
        return p50

    def held_out(self, scores: CodecScores, policy: Policy, largest: int, places: Sequence[int], seed: int) -> HeldOut:
        unpruned = Policy(kappa=largest, weight=policy.weight)
        names = ("chosen", "sparse", "unpruned")
        values = (
            self.run(scores, policy, places)[0],
            self._values([self._asked[at].ids[: self._k] for at in places], places),
            self.run(scores, unpruned, places)[0],
        )
        against = with_holm(
            [
                compare(values[0], theirs, system="chosen", baseline=name, measure=str(self._measure), seed=seed)
                for name, theirs in zip(names[1:], values[1:], strict=True)
            ]
        )
        means = [mean(each) for each in values]
        return HeldOut(tuple(self._names[at] for at in places), means[0], means[1], means[2], *against)

    def _values(self, rankings: Sequence[Sequence[str]], places: Sequence[int]) -> np.ndarray[Any, Any]:
        names = [self._names[at] for at in places]
        qrels = {name: self._qrels[name] for name in names}
        return evaluate([self._measure], qrels, dict(zip(names, rankings, strict=True)))[str(self._measure)]


def _measure(given: str | Measure | None, k: int) -> Measure:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InvalidInput(f"k is {k!r}: it must be a whole number of at least 1")
    found = given if isinstance(given, Measure) else Measure.parse(given or f"nDCG@{k}")
    if found.cutoff is not None and found.cutoff > k:
        raise InvalidInput(f"{found} looks at more hits than k = {k} gives: ask for {found.cutoff}, or measure less")
    return found


def _fixed_ms(
    index: Index, encoder: MultiVectorEncoder, texts: Sequence[str], policy: Policy, k: int
) -> dict[str, float]:
    stages = {
        "search": lambda text: index.search(text, k=max(k, policy.kappa), threads=1).ids,
        "encode": lambda text: encoder.encode_queries([text]),
    }
    return {
        name: time_stages([(name, function)], texts, warm_ups=len(texts), seconds=_SECONDS).latency()["p50"]
        for name, function in stages.items()
    }


def _silent(stage: str, done: int, total: int | None) -> None:
    pass
