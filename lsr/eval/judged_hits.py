"""Rankings reduced to their judged hits, and the formula of each measure over them.

A hit without judgment changes a measure only through the ranks of others. So rankings become flat arrays of judged hits
once, a few a query, and a measure is a few lines of numpy over all queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput

__all__ = [
    "JudgedHits",
    "average_precision",
    "bpref",
    "dcg",
    "f1",
    "full_chain",
    "judged",
    "ndcg",
    "precision",
    "r_precision",
    "rank_biased_precision",
    "recall",
    "reciprocal_rank",
    "success",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LARGEST_EXPONENT = 1000  # of 2^grade - 1, which leaves float64 soon after


@dataclass(frozen=True, slots=True)
class JudgedHits:
    """What rankings and judgments have to do with each other: Q queries, J judgments, H judged hits."""

    found: Ints  # [Q] hits of each query, judged or not
    judged_query: Ints  # [J] rising
    judged_grade: Ints  # [J] falling within a query: the ideal ranking
    query: Ints  # [H] rising
    rank: Ints  # [H] from 1, rising within a query
    grade: Ints  # [H]

    @classmethod
    def read(cls, qrels: Mapping[str, Mapping[str, int]], rankings: Mapping[str, Sequence[str]]) -> JudgedHits:
        """Raises `InvalidInput` for a document twice in a ranking, or a grade that is no whole number."""
        ranks: list[int] = []  # of each judged document, 0 where it was not found
        grades: list[int] = []
        found, sizes = np.zeros(len(qrels), np.int64), np.zeros(len(qrels), np.int64)
        for row, (query_id, judgments) in enumerate(qrels.items()):
            ranking = rankings.get(query_id, ())
            rank_of = _rank_of(ranking, query_id)
            ranks.extend(map(rank_of.get, judgments, repeat(0)))
            grades.extend(judgments.values())
            found[row], sizes[row] = len(ranking), len(judgments)
        grade, rank = _whole_numbers(grades), np.array(ranks, np.int64)
        query = np.repeat(np.arange(len(qrels)), sizes)
        ideal = np.lexsort((-grade, query))
        hits = np.lexsort((rank, query))
        hits = hits[rank[hits] > 0]
        return cls(found, query[ideal], grade[ideal], query[hits], rank[hits], grade[hits])

    def count(self, query: Ints) -> Ints:
        """How often each query occurs: [Q]."""
        return np.bincount(query, minlength=len(self.found))

    def total(self, query: Ints, weights: npt.NDArray[np.floating]) -> Floats:
        """The sums of weights by query, added in the order given: [Q]."""
        return np.bincount(query, weights, minlength=len(self.found)).astype(np.float64)  # int64 where all is empty

    def relevant(self, level: int) -> Ints:
        """Relevant documents of each query, found or not: [Q]."""
        return self.count(self.judged_query[self.judged_grade >= level])

    def relevant_hits(self, level: int, cutoff: int | None) -> tuple[Ints, Ints]:
        """(query, rank) of the relevant hits up to the cutoff."""
        kept = self.grade >= level
        if cutoff is not None:
            kept &= self.rank <= cutoff
        return self.query[kept], self.rank[kept]


def _rank_of(ranking: Sequence[str], query_id: str) -> dict[str, int]:
    if isinstance(ranking, str) or (len(ranking) > 0 and not isinstance(ranking[0], str)):
        raise InvalidInput(f"the ranking of query {query_id!r} must be a sequence of document ids, which are strings")
    rank_of = dict(zip(ranking, range(1, len(ranking) + 1), strict=True))
    if len(rank_of) < len(ranking):  # it would be counted twice, and recall pass 1; trec_eval stops too
        twice = next(identifier for at, identifier in enumerate(ranking, 1) if rank_of[identifier] != at)
        raise InvalidInput(f"the ranking of query {query_id!r} holds document {twice!r} twice; keep its best rank only")
    return rank_of


def _whole_numbers(grades: Sequence[int]) -> Ints:
    array = np.array(grades) if grades else np.zeros(0, np.int64)
    if array.dtype.kind not in "ib":  # a cast would cut 0.5 to 0, and read "1" as 1
        raise InvalidInput("the grades of judgments must be whole numbers (of 64 bits); round them, or scale them up")
    return array.astype(np.int64)


def _ratio(above: npt.NDArray[np.number], below: npt.NDArray[np.number]) -> Floats:
    """above / below, 0 where below is 0: no relevant document, or no hit."""
    numerator, denominator = above.astype(np.float64), below.astype(np.float64)
    quotient = np.zeros(len(numerator))
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def _places(query: Ints) -> Ints:
    """The place of each entry within its query, from 1, for entries in order of queries."""
    return np.arange(1, len(query) + 1) - np.searchsorted(query, query)


# Formulas. Each gives one value a query, [Q]. `level` is the grade from which a document is relevant, `cutoff` the last rank
# that counts, None for all.


def _discounted(
    hits: JudgedHits, query: Ints, rank: Ints, grade: Ints, cutoff: int | None, exponential: bool
) -> Floats:
    """The sum of gain / log2(rank + 1)."""
    kept = grade > 0
    if cutoff is not None:
        kept &= rank <= cutoff
    gains = grade[kept].astype(np.float64)
    if exponential:
        if len(gains) and gains.max() > LARGEST_EXPONENT:
            raise InvalidInput(f"gain=exp: 2 to the power of the grade {gains.max():.0f} is too large; use gain=linear")
        gains = np.exp2(gains) - 1
    return hits.total(query[kept], gains / np.log2(rank[kept] + 1.0))


def dcg(hits: JudgedHits, cutoff: int | None, exponential: bool) -> Floats:
    """Discounted cumulative gain: the grade, or 2^grade - 1 (Burges et al. 2005), over log2(rank + 1)."""
    return _discounted(hits, hits.query, hits.rank, hits.grade, cutoff, exponential)


def ndcg(hits: JudgedHits, cutoff: int | None, exponential: bool) -> Floats:
    """DCG over that of the ideal ranking of all judged documents (Järvelin and Kekäläinen 2002)."""
    places = _places(hits.judged_query)
    ideal = _discounted(hits, hits.judged_query, places, hits.judged_grade, cutoff, exponential)
    return _ratio(dcg(hits, cutoff, exponential), ideal)


def reciprocal_rank(hits: JudgedHits, cutoff: int | None, level: int) -> Floats:
    """1 / rank of the first relevant hit."""
    query, rank = hits.relevant_hits(level, cutoff)
    values = np.zeros(len(hits.found))
    np.maximum.at(values, query, 1 / rank)
    return values


def average_precision(hits: JudgedHits, cutoff: int | None, level: int) -> Floats:
    """The sum of the precision at each relevant hit, over the number of relevant documents."""
    query, rank = hits.relevant_hits(level, cutoff)
    return _ratio(hits.total(query, _places(query) / rank), hits.relevant(level))


def precision(hits: JudgedHits, cutoff: int | None, level: int) -> Floats:
    """Relevant hits over the cutoff, also when fewer were found; without a cutoff, over all hits."""
    query, _ = hits.relevant_hits(level, cutoff)
    return _ratio(hits.count(query), hits.found if cutoff is None else np.full(len(hits.found), cutoff))


def recall(hits: JudgedHits, cutoff: int | None, level: int) -> Floats:
    """Relevant hits over relevant documents."""
    query, _ = hits.relevant_hits(level, cutoff)
    return _ratio(hits.count(query), hits.relevant(level))


def f1(hits: JudgedHits, cutoff: int | None, level: int) -> Floats:
    """The harmonic mean of precision and recall; trec_eval's set_F without a cutoff."""
    p, r = precision(hits, cutoff, level), recall(hits, cutoff, level)
    return _ratio(2 * p * r, p + r)


def success(hits: JudgedHits, cutoff: int | None, level: int) -> Floats:
    """1 where one relevant document was found at least."""
    query, _ = hits.relevant_hits(level, cutoff)
    return np.where(hits.count(query) > 0, 1.0, 0.0)


def full_chain(hits: JudgedHits, cutoff: int | None, level: int) -> Floats:
    """1 where all relevant documents were found: what a question of several hops needs."""
    return np.where(recall(hits, cutoff, level) == 1, 1.0, 0.0)  # n / n is 1 exactly


def judged(hits: JudgedHits, cutoff: int, level: int) -> Floats:
    """The judged part of the hits there are, at most `cutoff`; a negative grade is a judgment here, as in ir_measures."""
    return _ratio(hits.count(hits.query[hits.rank <= cutoff]), np.minimum(hits.found, cutoff))


def r_precision(hits: JudgedHits, cutoff: None, level: int) -> Floats:
    """Precision at the number of relevant documents."""
    query, rank = hits.relevant_hits(level, None)
    relevant = hits.relevant(level)
    return _ratio(hits.count(query[rank <= relevant[query]]), relevant)


def bpref(hits: JudgedHits, cutoff: None, level: int) -> Floats:
    """Binary preference (Buckley and Voorhees 2004), in the form of trec_eval's m_bpref.c."""
    relevant = hits.relevant(level)
    disliked = hits.count(hits.judged_query[(hits.judged_grade >= 0) & (hits.judged_grade < level)])
    judged = hits.grade >= 0  # trec_eval takes a negative grade as "in the pool, but not judged"
    query, is_relevant = hits.query[judged], hits.grade[judged] >= level
    before = np.concatenate(
        [np.zeros(1, np.int64), np.cumsum(~is_relevant)]
    )  # disliked hits before each, in all queries
    above = (before[:-1] - before[np.searchsorted(query, query)])[is_relevant]  # and in its own query
    query = query[is_relevant]
    lost = _ratio(np.minimum(above, relevant[query]), np.minimum(disliked, relevant)[query])
    return _ratio(hits.total(query, 1 - lost), relevant)


def rank_biased_precision(hits: JudgedHits, cutoff: int | None, level: int, p: float) -> Floats:
    """(1 - p) times the sum of p^(rank - 1) over the relevant hits (Moffat and Zobel 2008)."""
    query, rank = hits.relevant_hits(level, cutoff)
    return (1 - p) * hits.total(query, p ** (rank - 1.0))
