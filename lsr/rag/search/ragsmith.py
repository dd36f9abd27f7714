"""The nine-family space of RAGSmith (2025), as data: names of techniques alone, as the authors' reports have them.

Its options' product is 4 x 10 x 6 x 4 x 2 x 3 x 3 x 3 x 2 = 103,680. The paper speaks of 46,080 feasible pipelines, 4/9 of
that, and gives no rule that would make the others infeasible, so no constraint is made up here. Counts of options that give
46,080 are found by `readings`: two of the three families of three options (augmentation, compression, prompt) counted with
two; or all three with two, and retrieval with nine, which is what the reports have when the three retrievals with a
hypergraph are among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from lsr.rag.search.options import Family, Option
from lsr.rag.search.space import Space

__all__ = ["RAGSMITH", "RAGSMITH_HYPERGRAPH", "Named", "named_space", "ragsmith_space", "readings"]

RAGSMITH: Mapping[str, tuple[str, ...]] = {
    "pre_embedding": ("none", "contextual_chunk_headers", "hype", "parent_document_retriever"),
    "query_expansion": (
        "none",
        "simple_multi_query_cc",
        "simple_multi_query_borda",
        "rag_fusion",
        "decomposition",
        "hyde",
        "step_back_prompting",
        "graph",
        "refinement_clarification",
        "refinement_rephrasing",
    ),
    "retrieval": ("vector", "bm25", "graph", "vector_keyword", "vector_graph", "vector_keyword_graph"),
    "passage_rerank": ("none", "cross_encoder", "llm", "cross_encoder_llm"),
    "passage_filter": ("top_k", "similarity_threshold"),
    "passage_augment": ("none", "prev_next", "relevant_segment_extractor"),
    "passage_compress": ("none", "llm_summarize", "tree_summarize"),
    "prompt_maker": ("simple_listing", "long_context_reorder_1", "long_context_reorder_2"),
    "post_generation": ("none", "reflection_revising"),
}
RAGSMITH_HYPERGRAPH = ("vector_graph_hypergraph", "vector_keyword_hypergraph", "vector_keyword_graph_hypergraph")


@dataclass(frozen=True)
class Named:
    """A technique of which only the name is known."""

    family: str
    kind: str

    @property
    def needs(self) -> frozenset[str]:
        return frozenset()

    def parameters(self) -> dict[str, Any]:
        return {}


def named_space(families: Mapping[str, tuple[str, ...]]) -> Space:
    """A space of names; "none" is no technique."""
    return Space(
        [
            Family(
                family,
                tuple(Option(kind, {}, {(): None if kind == "none" else Named(family, kind)}, {}) for kind in kinds),
            )
            for family, kinds in families.items()
        ]
    )


def ragsmith_space(*, hypergraph: bool = False) -> Space:
    """The nine families. hypergraph: with the three retrievals that the authors' reports have beyond the paper's six."""
    extra = RAGSMITH_HYPERGRAPH if hypergraph else ()
    return named_space({**RAGSMITH, "retrieval": RAGSMITH["retrieval"] + extra})


def readings(total: int = 46_080) -> Iterator[dict[str, int]]:
    """Numbers of options a family whose product is `total`, when retrieval has six or nine and any of the families of three
    options is counted with two."""
    sizes = {family: (len(kinds),) if len(kinds) != 3 else (3, 2) for family, kinds in RAGSMITH.items()}
    sizes["retrieval"] = (6, 9)
    for counts in product(*sizes.values()):
        if prod(counts) == total:
            yield dict(zip(sizes, counts, strict=True))
