"""How well a ranked context holds the gold: measures over characters of documents, so that all chunkings are comparable.

A gold span is found at the first rank where the spans of the pieces up to it cover at least half of its characters
(`threshold`). Recall and RR follow from these ranks as from those of relevant documents. In AP and nDCG the j-th span found
counts as if it stood at rank max(j, r), r being where it was found: a piece that holds several gold spans is no better than
these spans one below the other. So

- with passages that are the gold documents one to one, r >= j always, and all measures are those of trec_eval;
- no measure exceeds 1, whatever a piece holds: the ideal is one gold span a rank, as in trec_eval;
- gold that is found earlier never lowers a score.

Pieces of different sizes are compared at equal size: with `tokens` only the pieces count that fit into so many tokens.
The mean of recall, AP, nDCG and RR is RAGSmith's retrieval score (2025).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log2

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.rag.types import Found, Span, merged

__all__ = ["THRESHOLD", "SpanScores", "covered", "first_ranks", "grouped", "span_scores"]

THRESHOLD = 0.5  # of the characters of a gold span


@dataclass(frozen=True, slots=True)
class SpanScores:
    """The measures of one question.

    pieces: of the context that counted. tokens: their size, None where sizes were not given. characters: of the documents,
    those that stand in several pieces as often. density: characters of gold over them, 0 without any.
    """

    recall: float
    ap: float
    ndcg: float
    rr: float
    full_chain: float
    density: float
    pieces: int
    characters: int
    tokens: int | None = None

    @property
    def retrieval(self) -> float:
        """The mean of recall, AP, nDCG and RR."""
        return (self.recall + self.ap + self.ndcg + self.rr) / 4

    def named(self, at: str = "") -> dict[str, float]:
        """The measures by their usual names; at: what was counted, as in "R@5"."""
        values = {
            f"R{at}": self.recall,
            f"AP{at}": self.ap,
            f"nDCG{at}": self.ndcg,
            f"RR{at}": self.rr,
            f"FullChain{at}": self.full_chain,
            f"retrieval{at}": self.retrieval,
            f"density{at}": self.density,
            f"context characters{at}": float(self.characters),
        }
        return values if self.tokens is None else {**values, f"context tokens{at}": float(self.tokens)}


def span_scores(
    gold: Sequence[Span],
    context: Sequence[Found],
    *,
    k: int | None = None,
    tokens: int | None = None,
    sizes: Sequence[int] | None = None,
    threshold: float = THRESHOLD,
) -> SpanScores:
    """The measures of a ranked context, best first.

    k: pieces that count. tokens: pieces count while they fit into so many tokens together; `sizes` are those of all pieces.
    Both may be given. Without `k` the ideal of nDCG is the ranking of all gold.
    Raises `InvalidInput` for no gold, k or tokens below 1, tokens without sizes, and a threshold that is not in (0, 1].
    """
    if not gold:
        raise InvalidInput("a question without gold has no retrieval score: leave it out (require_gold lists them)")
    for what, value in (("k", k), ("tokens", tokens)):
        if value is not None and value < 1:
            raise InvalidInput(f"{what} is {value!r}; it must be 1 or more")
    if tokens is not None and sizes is None:
        raise InvalidInput("a budget of tokens needs the sizes of all pieces")
    if sizes is not None and len(sizes) != len(context):
        raise InvalidInput(f"{len(sizes)} sizes for {len(context)} pieces; give one for each")
    depth = len(context) if k is None else min(k, len(context))
    if tokens is not None and sizes is not None:
        depth = min(depth, int(np.searchsorted(np.cumsum(sizes), tokens, side="right")))
    read = context[:depth]
    ranks = sorted(rank for rank in first_ranks(gold, read, threshold) if rank is not None)
    spans = [span for piece in read for span in piece.spans]
    characters = sum(span.length for span in spans)
    counted = [max(j, rank) for j, rank in enumerate(ranks, 1)]
    ideal = len(gold) if k is None else min(k, len(gold))
    return SpanScores(
        recall=len(ranks) / len(gold),
        ap=sum(j / at for j, at in enumerate(counted, 1)) / len(gold),
        ndcg=sum(1 / log2(at + 1) for at in counted if k is None or at <= k)
        / sum(1 / log2(at + 1) for at in range(1, ideal + 1)),
        rr=1 / ranks[0] if ranks else 0.0,
        full_chain=float(len(ranks) == len(gold)),
        density=covered(merged(gold), spans) / characters if characters else 0.0,
        pieces=depth,
        characters=characters,
        tokens=None if sizes is None else int(sum(sizes[:depth])),
    )


def first_ranks(gold: Sequence[Span], context: Sequence[Found], threshold: float = THRESHOLD) -> list[int | None]:
    """The rank, from 1, at which each gold span is found; None for those that are not.

    Raises `InvalidInput` for a threshold that is not in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise InvalidInput(f"the threshold is {threshold!r}; it must be above 0 and at most 1, as 0.5 is")
    by_document: dict[str, list[tuple[int, Span]]] = {}
    for rank, piece in enumerate(context, 1):
        for span in piece.spans:
            by_document.setdefault(span.document, []).append((rank, span))
    return [_first_rank(span, by_document.get(span.document, ()), threshold) for span in gold]


def _first_rank(gold: Span, spans: Iterable[tuple[int, Span]], threshold: float) -> int | None:
    seen: list[Span] = []
    for rank, span in spans:
        start, end = max(span.start, gold.start), min(span.end, gold.end)
        if start > end or (start == end and gold.length):
            continue
        if not gold.length:  # a document of a title alone: found with any piece that stands there
            return rank
        seen.append(Span(gold.document, start, end))
        if sum(part.length for part in merged(seen)) >= threshold * gold.length:
            return rank
    return None


def covered(gold: Iterable[Span], spans: Iterable[Span]) -> int:
    """How many characters of the gold spans, each counted by itself, are in one of the spans at least."""
    by_document: dict[str, list[Span]] = {}
    for span in merged(spans):
        by_document.setdefault(span.document, []).append(span)
    return sum(
        max(0, min(span.end, part.end) - max(span.start, part.start))
        for span in gold
        for part in by_document.get(span.document, ())
    )


def grouped(
    values: Sequence[float] | npt.NDArray[np.float64], groups: Sequence[str | int | None]
) -> Mapping[str | int, tuple[float, int]]:
    """(mean, questions) of the values of each group, such as the hops or types of questions, groups in order.

    Questions of no group (None), and values that are missing (NaN), are left out. Raises `InvalidInput` unless there is a
    group for each value.
    """
    if len(values) != len(groups):
        raise InvalidInput(f"{len(groups)} groups for {len(values)} values; give one for each")
    found: dict[str | int, list[float]] = {}
    for value, group in zip(values, groups, strict=True):
        if group is not None and not np.isnan(value):
            found.setdefault(group, []).append(float(value))
    return {
        group: (float(np.mean(found[group])), len(found[group]))
        for group in sorted(found, key=lambda g: (str(type(g)), g))
    }
