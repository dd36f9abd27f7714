"""Graph retrieval in pipelines: as a way to search, and as expansion of the question (lsr.rag.graph)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from lsr.rag.graph.settings import GraphSettings
from lsr.rag.resources import Resources
from lsr.rag.stages.base import Evidence, QueryTransform, Results, Retrieval, stage
from lsr.rag.stages.retrieval import searched
from lsr.rag.types import Passages, Queries, Query
from lsr.schema import between, choice

__all__ = ["GraphExpansion", "GraphRetrieval"]

_EXTRACTORS = ("rules", "entities", "names", "llm")


@stage("retrieve", "graph")
@dataclass(frozen=True)
class GraphRetrieval(Retrieval):
    """A walk over phrases, facts and passages that begins at what the question matches (HippoRAG 2, CatRAG); see
    `lsr.rag.graph.settings` for the parameters. extractor: rules (spaCy), entities (the same without relations), names
    (capitalised names, no model), or llm, which needs a generator. Passages without a way to them are not found; a
    question that matches nothing has the passages of sparse retrieval."""

    models = ("encoder",)

    k: int = field(default=20, metadata=between(1, 1000))
    extractor: str = field(default="rules", metadata=choice(*_EXTRACTORS))
    encoder: str = "lsr-tiny"
    facts: int = field(default=GraphSettings.facts, metadata=between(1, 1000))
    seeds: int = field(default=GraphSettings.seeds, metadata=between(1, 1000))
    passages: float = field(default=GraphSettings.passages, metadata=between(0, 10))
    damping: float = field(default=GraphSettings.damping, metadata=between(0, 0.99))
    anchoring: bool = GraphSettings.anchoring
    anchor: float = field(default=GraphSettings.anchor, metadata=between(0, 10))
    weighting: bool = GraphSettings.weighting
    boost: bool = GraphSettings.boost
    synonym: float = field(default=GraphSettings.synonym, metadata=between(0, 100))

    def settings(self) -> GraphSettings:
        names = {one.name for one in fields(GraphSettings)}
        return GraphSettings(**{name: value for name, value in self.parameters().items() if name in names})

    def ready(self, passages: Passages, resources: Resources) -> None:
        resources.graph(passages, self.extractor, self.encoder, self.settings())

    def retrieve(self, queries: Sequence[Queries], passages: Passages, resources: Resources) -> Results[Evidence]:
        graph = resources.graph(passages, self.extractor, self.encoder, self.settings())
        return searched(queries, passages, [graph.ranked], self.k, "rrf", None)


@stage("query", "graph")
@dataclass(frozen=True)
class GraphExpansion(QueryTransform):
    """The phrases that a walk from the question comes to most are searched for beside it, with `weight` of its weight."""

    models = ("encoder",)

    phrases: int = field(default=5, metadata=between(1, 10))
    weight: float = field(default=0.3, metadata=between(0, 10))
    extractor: str = field(default="rules", metadata=choice(*_EXTRACTORS))
    encoder: str = "lsr-tiny"

    def ready(self, passages: Passages, resources: Resources) -> None:
        resources.graph(passages, self.extractor, self.encoder, GraphSettings())

    def transform(self, questions: Sequence[str], passages: Passages, resources: Resources) -> Results[Queries]:
        graph = resources.graph(passages, self.extractor, self.encoder, GraphSettings())
        made = []
        for result in graph.search(questions, 1):
            names = [graph.graph.phrases[phrase] for phrase, _ in result.phrases[: self.phrases]]
            more = (Query(" ".join(names), self.weight),) if names else ()
            made.append(Queries((Query(result.question), *more), "convex"))
        return made
