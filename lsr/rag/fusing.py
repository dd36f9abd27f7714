"""Several rankings as one: of several queries, or of several ways to search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsr.errors import InvalidInput
from lsr.rerank.fusion import RRF_CONSTANT, zero_to_one

__all__ = ["FUSIONS", "Ranking", "fused"]

FUSIONS = ("rrf", "convex", "borda", "max")

# Scores by passage number, best first; of equal scores the passage that comes first in the corpus.
Ranking = Mapping[int, float]


def fused(rankings: Sequence[Ranking], how: str, weights: Sequence[float] | None = None) -> dict[int, float]:
    """One ranking of several. A single one is handed back as it is.

    rrf: weight / (60 + rank), summed (Cormack, Clarke and Buettcher 2009); convex: scores brought to 0 ... 1, weighted and
    summed, 0 for what a ranking has not; borda: weight x (length of the longest - rank + 1), summed; max: the largest
    score. weights: one for each ranking, equal ones by default. Raises `InvalidInput` for weights that do not fit."""
    if how not in FUSIONS:
        raise InvalidInput(f"there is no fusion {how!r}: there are {', '.join(FUSIONS)}")
    shares = [1.0] * len(rankings) if weights is None else list(weights)
    if len(shares) != len(rankings):
        raise InvalidInput(f"{len(shares)} weights do not fit {len(rankings)} rankings: give one for each")
    if len(rankings) == 1:
        return dict(rankings[0])
    longest = max((len(ranking) for ranking in rankings), default=0)
    totals: dict[int, float] = {}
    for ranking, share in zip(rankings, shares, strict=True):
        ordered = sorted(ranking.items(), key=lambda item: (-item[1], item[0]))
        values = zero_to_one([score for _, score in ordered]) if how == "convex" else None
        for rank, (place, score) in enumerate(ordered, 1):
            if how == "rrf":
                gain = share / (RRF_CONSTANT + rank)
            elif how == "borda":
                gain = share * (longest - rank + 1)
            elif how == "max":
                totals[place] = max(totals.get(place, score), score)
                continue
            else:
                assert values is not None
                gain = share * float(values[rank - 1])
            totals[place] = totals.get(place, 0.0) + gain
    return dict(sorted(totals.items(), key=lambda item: (-item[1], item[0])))
