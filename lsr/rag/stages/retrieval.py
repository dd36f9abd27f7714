"""Queries to evidence: sparse, BM25, dense, and fusions of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from math import inf
from typing import Any

from lsr.errors import InvalidInput
from lsr.rag.fusing import fused
from lsr.rag.graph.extractors import open_extractor
from lsr.rag.graph.settings import GraphSettings
from lsr.rag.resources import Resources
from lsr.rag.stages.base import Evidence, Results, Retrieval, stage
from lsr.rag.types import Found, Passages, Queries, Query
from lsr.schema import between, choice

__all__ = ["Bm25Retrieval", "Dense", "Fusion", "Sparse"]

# Queries to rankings of passages.
Search = Callable[[Sequence[Query], int], list[dict[int, float]]]


@stage("retrieve", "sparse")
@dataclass(frozen=True)
class Sparse(Retrieval):
    """The blocked or exact sparse engine. encoder: name or folder; recall: share of the exact top k that is enough;
    terms: how many terms of a query are searched, all when left out."""

    models = ("encoder",)

    k: int = field(default=20, metadata=between(1, 1000))
    encoder: str = "lsr-tiny"
    recall: float = field(default=1.0, metadata=between(0.1, 1))
    terms: int | None = field(default=None, metadata=between(1, 10_000))

    def ready(self, passages: Passages, resources: Resources) -> None:
        resources.sparse(passages, self.encoder)

    def retrieve(self, queries: Sequence[Queries], passages: Passages, resources: Resources) -> Results[Evidence]:
        keys = resources.sparse(passages, self.encoder)
        return searched(
            queries, passages, [lambda asked, k: keys.search(asked, k, self.recall, self.terms)], self.k, "rrf", None
        )


@stage("retrieve", "bm25")
@dataclass(frozen=True)
class Bm25Retrieval(Retrieval):
    """BM25."""

    k: int = field(default=20, metadata=between(1, 1000))
    k1: float = field(default=0.9, metadata=between(0, 10))
    b: float = field(default=0.4, metadata=between(0, 1))

    def ready(self, passages: Passages, resources: Resources) -> None:
        resources.bm25(passages, self.k1, self.b)

    def retrieve(self, queries: Sequence[Queries], passages: Passages, resources: Resources) -> Results[Evidence]:
        return searched(queries, passages, [resources.bm25(passages, self.k1, self.b).search], self.k, "rrf", None)


@stage("retrieve", "dense")
@dataclass(frozen=True)
class Dense(Retrieval):
    """A dense model of sentence-transformers, name or folder; exact."""

    models = ("model",)

    model: str
    k: int = field(default=20, metadata=between(1, 1000))

    def ready(self, passages: Passages, resources: Resources) -> None:
        resources.dense(passages, self.model)

    def retrieve(self, queries: Sequence[Queries], passages: Passages, resources: Resources) -> Results[Evidence]:
        return searched(queries, passages, [resources.dense(passages, self.model).search], self.k, "rrf", None)


@stage("retrieve", "fusion")
@dataclass(frozen=True)
class Fusion(Retrieval):
    """Several searches as one ranking. of: two or more of sparse, bm25, dense and graph; how: rrf, convex or borda;
    weights: one for each of them, equal ones by default; depth: how many passages each search gives."""

    models = ("encoder", "model")

    of: tuple[str, ...] = ("sparse", "bm25")
    how: str = field(default="rrf", metadata=choice("rrf", "convex", "borda"))
    weights: tuple[float, ...] | None = None
    k: int = field(default=20, metadata=between(1, 1000))
    depth: int = field(default=100, metadata=between(1, 10_000))
    encoder: str = "lsr-tiny"
    extractor: str = "rules"
    model: str | None = None
    k1: float = field(default=0.9, metadata=between(0, 10))
    b: float = field(default=0.4, metadata=between(0, 1))

    def __post_init__(self) -> None:
        known = ("sparse", "bm25", "dense", "graph")
        if len(set(self.of)) != len(self.of) or len(self.of) < 2 or not set(self.of) <= set(known):
            raise InvalidInput(f"of is {list(self.of)}: it must name two or more of {', '.join(known)}")
        if self.weights is not None and not (
            len(self.weights) == len(self.of)
            and all(0 <= weight < inf for weight in self.weights)
            and any(self.weights)
        ):
            raise InvalidInput(
                f"weights are {list(self.weights)}: there must be one, 0 or more and not all 0, for each of {list(self.of)}"
            )
        if ("dense" in self.of) != (self.model is not None):
            raise InvalidInput("dense needs a model, and a model goes with dense: name both or none")

    def identity(self, resources: Resources) -> Mapping[str, Any]:
        made = extracted_by(self.extractor, resources) if "graph" in self.of else {}
        return {**super().identity(resources), **made}

    def ready(self, passages: Passages, resources: Resources) -> None:
        self._searches(passages, resources)

    def retrieve(self, queries: Sequence[Queries], passages: Passages, resources: Resources) -> Results[Evidence]:
        searches = self._searches(passages, resources)
        return searched(queries, passages, searches, self.k, self.how, self.weights, self.depth)

    def _searches(self, passages: Passages, resources: Resources) -> list[Search]:
        opened: list[Search] = []
        for name in self.of:
            if name == "sparse":
                opened.append(resources.sparse(passages, self.encoder).search)
            elif name == "bm25":
                opened.append(resources.bm25(passages, self.k1, self.b).search)
            elif name == "dense":
                assert self.model is not None
                opened.append(resources.dense(passages, self.model).search)
            else:
                opened.append(resources.graph(passages, self.extractor, self.encoder, GraphSettings()).ranked)
        return opened


def extracted_by(extractor: str, resources: Resources) -> Mapping[str, Any]:
    """What a graph depends on beside the name of its extractor: rules and parser, or the generator; and the settings that a
    stage does not name."""
    opened = open_extractor(extractor, generator=resources.generator, prompts=resources.prompts)
    return {"extracted by": dict(opened.identity()), "settings": asdict(GraphSettings())}


def searched(
    queries: Sequence[Queries],
    passages: Passages,
    searches: Sequence[Search],
    k: int,
    how: str,
    weights: Sequence[float] | None,
    depth: int | None = None,
) -> list[Evidence]:
    """What each search finds for each query, fused: first the queries of a question within a search, then the searches."""
    items = [query for asked in queries for query in asked.items]
    edges = [0, *accumulate(len(asked.items) for asked in queries)]
    rankings = [search(items, depth or k) if items else [] for search in searches]
    evidence = []
    for at, asked in enumerate(queries):
        mine = slice(edges[at], edges[at + 1])
        shares = [query.weight for query in asked.items]
        ways = [fused(each[mine], asked.fusion, shares) if asked.items else {} for each in rankings]
        ranking = fused(ways, how, weights)
        best = sorted(ranking.items(), key=lambda item: (-item[1], item[0]))[:k]
        evidence.append(tuple(Found.of(passages[place], score) for place, score in best))
    return evidence
