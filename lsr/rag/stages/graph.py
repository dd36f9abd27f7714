"""Graph retrieval in pipelines: as a way to search, and as expansion of the question (lsr.rag.graph)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

from lsr.rag.graph.judging import LanguageModelFilter, LanguageModelRelevance
from lsr.rag.graph.settings import GraphSettings
from lsr.rag.resources import Resources
from lsr.rag.stages.asking import GENERATOR
from lsr.rag.stages.base import Evidence, QueryTransform, Results, Retrieval, stage
from lsr.rag.stages.retrieval import extracted_by, searched
from lsr.rag.types import Failure, Made, Passages, Queries, Query, Usage
from lsr.schema import between, choice

__all__ = ["GraphExpansion", "GraphRetrieval", "JudgedGraphRetrieval"]

_EXTRACTORS = ("rules", "entities", "names", "llm")


@stage("retrieve", "graph")
@dataclass(frozen=True)
class GraphRetrieval(Retrieval):
    """A walk over phrases, facts and passages that begins at what the question matches (HippoRAG 2, CatRAG); see
    `lsr.rag.graph.settings` for the parameters. extractor: rules (spaCy), entities (the same without relations), names
    (capitalised names, no model), or llm, which needs a generator. Passages without a way to them are not found; a
    question that matches nothing has the passages of sparse retrieval. dense: a model of sentence-transformers that says
    which facts are like a question; the encoder does by default."""

    models = ("encoder", "dense")

    k: int = field(default=20, metadata=between(1, 1000))
    extractor: str = field(default="rules", metadata=choice(*_EXTRACTORS))
    encoder: str = "lsr-tiny"
    dense: str | None = None
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

    def identity(self, resources: Resources) -> Mapping[str, Any]:
        return {**super().identity(resources), **extracted_by(self.extractor, resources)}

    def ready(self, passages: Passages, resources: Resources) -> None:
        resources.graph(passages, self.extractor, self.encoder, self.settings(), self.dense)

    def retrieve(self, queries: Sequence[Queries], passages: Passages, resources: Resources) -> Results[Evidence]:
        graph = resources.graph(passages, self.extractor, self.encoder, self.settings(), self.dense)
        return searched(queries, passages, [graph.ranked], self.k, "rrf", None)


@stage("retrieve", "graph-llm")
@dataclass(frozen=True)
class JudgedGraphRetrieval(GraphRetrieval):
    """As graph, with a language model's word: filter: it chooses among the facts that the question was matched with;
    relevance: it marks what leads on from the first phrases (the encoder does without it, where weighting is set)."""

    needs = GENERATOR
    prompts = ("fact-filter", "fact-relevance")

    facts: int = field(default=5, metadata=between(1, 1000))
    weighting: bool = True
    filter: bool = True
    relevance: bool = True

    def retrieve(self, queries: Sequence[Queries], passages: Passages, resources: Resources) -> Results[Evidence]:
        graph = resources.graph(passages, self.extractor, self.encoder, self.settings(), self.dense)
        results = graph.search(
            [query.text for asked in queries for query in asked.items],
            self.k,
            fact_filter=LanguageModelFilter(partial(resources.ask, self), resources.prompts) if self.filter else None,
            relevance=LanguageModelRelevance(partial(resources.ask, self), resources.prompts)
            if self.relevance
            else None,
        )
        found = iter(results)
        groups = [[next(found) for _ in asked.items] for asked in queries]
        failures = [
            min((one.failure for one in mine if one.failure is not None), key=lambda one: one.transient, default=None)
            for mine in groups
        ]
        well = [asked for asked, failure in zip(queries, failures, strict=True) if failure is None]
        rankings = [
            one.ranking for mine, failure in zip(groups, failures, strict=True) if failure is None for one in mine
        ]
        evidence = iter(searched(well, passages, [lambda _, __: rankings], self.k, "rrf", None))
        made: list[Made[Evidence] | Failure] = []
        for mine, failure in zip(groups, failures, strict=True):
            usage = sum((one.usage for one in mine), Usage())
            made.append(
                Made(next(evidence), usage) if failure is None else replace(failure, stage=self.name, usage=usage)
            )
        return made


@stage("query", "graph")
@dataclass(frozen=True)
class GraphExpansion(QueryTransform):
    """The phrases that a walk from the question comes to most are searched for beside it, with `weight` of its weight."""

    models = ("encoder",)

    phrases: int = field(default=5, metadata=between(1, 10))
    weight: float = field(default=0.3, metadata=between(0, 10))
    extractor: str = field(default="rules", metadata=choice(*_EXTRACTORS))
    encoder: str = "lsr-tiny"

    def identity(self, resources: Resources) -> Mapping[str, Any]:
        return {**super().identity(resources), **extracted_by(self.extractor, resources)}

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
