"""The order in which evidence is told, and what of it fits into a budget of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lsr.rag.resources import Resources
from lsr.rag.stages.base import Evidence, Prompting, Results, stage
from lsr.rag.types import Prompt
from lsr.schema import between, choice

__all__ = ["Listing", "Reorder"]

_AROUND = 8  # tokens of the number and the marks around a piece


@stage("prompt", "list")
@dataclass(frozen=True)
class Listing(Prompting):
    """Best first, as many as fit into `tokens`. A piece that does not fit is left out, and smaller ones after it may."""

    tokens: int = field(default=2000, metadata=between(50, 1_000_000))

    def pack(self, questions: Sequence[str], found: Sequence[Evidence], resources: Resources) -> Results[Prompt]:
        return [packed(pieces, self.tokens, resources) for pieces in found]


@stage("prompt", "reorder")
@dataclass(frozen=True)
class Reorder(Prompting):
    """What fits, in another order, since models read the middle of a long context least (Liu et al. 2023). ends: the best
    at both ends and the worst in the middle; last: the best nearest to the question, which comes after the evidence."""

    way: str = field(default="ends", metadata=choice("ends", "last"))
    tokens: int = field(default=2000, metadata=between(50, 1_000_000))

    def pack(self, questions: Sequence[str], found: Sequence[Evidence], resources: Resources) -> Results[Prompt]:
        result = []
        for pieces in found:
            prompt = packed(pieces, self.tokens, resources)
            best_first = prompt.context
            order = best_first[::-1] if self.way == "last" else best_first[::2] + best_first[1::2][::-1]
            result.append(Prompt(order, prompt.tokens, prompt.dropped))
        return result


def packed(pieces: Evidence, budget: int, resources: Resources) -> Prompt:
    """The pieces that fit, in their order."""
    kept, total = [], 0
    for piece, size in zip(pieces, resources.count_tokens([piece.content for piece in pieces]), strict=True):
        if total + size + _AROUND <= budget:
            kept.append(piece)
            total += size + _AROUND
    return Prompt(tuple(kept), total, len(pieces) - len(kept))
