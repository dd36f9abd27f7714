"""How a graph is searched."""

from __future__ import annotations

from dataclasses import dataclass, field

from lsr.schema import between

__all__ = ["GraphSettings"]


@dataclass(frozen=True)
class GraphSettings:
    """The walk is HippoRAG 2's (Gutiérrez et al. 2025); `anchoring`, `weighting` and `boost` are the parts that CatRAG
    ('Breaking the Static Graph', 2026) adds, each of which can be switched off. `hipporag` and `catrag` have the values
    of these papers. The defaults are those that found most on one set of questions kept for that (docs/graph.md): phrases
    that the question names weigh as much as those of facts, there are fewer facts, the walk goes on for longer, and no
    weighting, which without a language model gained nothing.

    facts: how many facts a question is matched with, by likeness; least: the least likeness of a fact beside the best
    one's; seeds: phrases of these facts that the walk begins at; passages: the weight of the first stage's passages among
    the seeds; damping: the chance that the walk goes on. anchoring: phrases that the question names are seeds, of
    weight `anchor`. weighting: relations that leave the first `weighted` seeds, at most `edges` each, are weighed by how
    much their facts say about the question, with `least_factor` at the least. boost: edges from seeds to passages that
    say one of the matched facts count 1 + `boosted` times. synonym: a factor for synonym edges.
    """

    facts: int = field(default=3, metadata=between(1, 1000))
    least: float = field(default=0.0, metadata=between(0, 1))
    seeds: int = field(default=5, metadata=between(1, 1000))
    passages: float = field(default=0.05, metadata=between(0, 10))
    damping: float = field(default=0.8, metadata=between(0, 0.99))
    anchoring: bool = True
    anchor: float = field(default=2.0, metadata=between(0, 10))
    weighting: bool = False
    weighted: int = field(default=5, metadata=between(1, 100))
    edges: int = field(default=15, metadata=between(1, 1000))
    least_factor: float = field(default=0.0, metadata=between(0, 5))
    boost: bool = True
    boosted: float = field(default=2.5, metadata=between(0, 100))
    synonym: float = field(default=1.0, metadata=between(0, 100))

    @classmethod
    def hipporag(cls) -> GraphSettings:
        """HippoRAG 2: the graph as it is, whatever is asked."""
        return cls(facts=5, damping=0.5, anchoring=False, boost=False)

    @classmethod
    def catrag(cls) -> GraphSettings:
        """CatRAG, the relevance of neighbours being the encoder's instead of a language model's."""
        return cls(facts=5, damping=0.5, anchor=0.2, weighting=True, synonym=2.0)
