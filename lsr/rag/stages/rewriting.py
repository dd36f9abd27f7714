"""Questions in other words, by a language model: what is searched for in place of the question, or beside it.

A reply in which no query can be found leaves the question as it was asked. Equal queries are searched once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from lsr.rag.generators.base import Reply, Request
from lsr.rag.resources import Resources
from lsr.rag.stages.asking import GENERATOR, asked, lines
from lsr.rag.stages.base import QueryTransform, Results, alone, stage
from lsr.rag.types import Failure, Made, Passages, Queries, Query
from lsr.schema import between, choice

__all__ = ["Clarify", "Decomposition", "HyDE", "MultiQuery", "RagFusion", "Rephrase", "StepBack"]

FUSIONS = choice("convex", "borda", "rrf")


class _Rewriting(QueryTransform):
    """One request a question."""

    needs = GENERATOR
    longest = 256  # tokens that are written

    def transform(self, questions: Sequence[str], passages: Passages, resources: Resources) -> Results[Queries]:
        (template,) = self.prompts
        values = self._values()
        requests = [
            [Request(resources.prompts.render(template, question=question, **values), self.longest)]
            for question in questions
        ]
        results: list[Made[Queries] | Failure] = []
        for question, result in zip(questions, asked(self, resources, requests), strict=True):
            if isinstance(result, Failure):
                results.append(result)
            else:
                results.append(Made(self._queries(question, result.replies[0]), result.usage))
        return results

    def _values(self) -> dict[str, str]:
        """The placeholders of the template beside the question."""
        return {}

    @abstractmethod
    def _queries(self, question: str, reply: Reply) -> Queries: ...


def _several(question: str, texts: Sequence[str], fusion: str, *, original: bool) -> Queries:
    """The question, where it is kept, and other texts than it."""
    others = [text for text in texts if text and text.casefold() != question.casefold()]
    if not others:
        return alone(question)
    return Queries(tuple(Query(text) for text in ([question] if original else []) + others), fusion)


@stage("query", "multi-query")
@dataclass(frozen=True)
class MultiQuery(_Rewriting):
    """n other wordings, each searched for. keep_original: the question too."""

    prompts = ("multi-query",)

    n: int = field(default=3, metadata=between(1, 10))
    fusion: str = field(default="convex", metadata=FUSIONS)
    keep_original: bool = True

    def _values(self) -> dict[str, str]:
        return {"n": str(self.n)}

    def _queries(self, question: str, reply: Reply) -> Queries:
        return _several(question, lines(reply, self.n), self.fusion, original=self.keep_original)


@stage("query", "rag-fusion")
@dataclass(frozen=True)
class RagFusion(_Rewriting):
    """n queries that look at the question from different sides, and the question, by reciprocal ranks (Rackauckas 2024)."""

    prompts = ("rag-fusion",)

    n: int = field(default=4, metadata=between(1, 10))

    def _values(self) -> dict[str, str]:
        return {"n": str(self.n)}

    def _queries(self, question: str, reply: Reply) -> Queries:
        return _several(question, lines(reply, self.n), "rrf", original=True)


@stage("query", "decomposition")
@dataclass(frozen=True)
class Decomposition(_Rewriting):
    """The simpler questions that must be answered first, at most n, and the question."""

    prompts = ("decomposition",)

    n: int = field(default=3, metadata=between(1, 10))
    fusion: str = field(default="rrf", metadata=FUSIONS)

    def _values(self) -> dict[str, str]:
        return {"n": str(self.n)}

    def _queries(self, question: str, reply: Reply) -> Queries:
        return _several(question, lines(reply, self.n), self.fusion, original=True)


@stage("query", "hyde")
@dataclass(frozen=True)
class HyDE(_Rewriting):
    """A passage that might answer the question is searched for (Gao et al. 2022). keep_original: the question too; their
    scores are then added, where the paper adds vectors."""

    prompts = ("hyde",)

    keep_original: bool = True

    def _queries(self, question: str, reply: Reply) -> Queries:
        return _several(question, [" ".join(reply.text.split())], "convex", original=self.keep_original)


@stage("query", "step-back")
@dataclass(frozen=True)
class StepBack(_Rewriting):
    """A more general question, and the question (Zheng et al. 2023)."""

    prompts = ("step-back",)

    fusion: str = field(default="rrf", metadata=FUSIONS)

    def _queries(self, question: str, reply: Reply) -> Queries:
        return _several(question, lines(reply, 1), self.fusion, original=True)


@stage("query", "clarify")
@dataclass(frozen=True)
class Clarify(_Rewriting):
    """The question so that it can be understood in one way only, in place of it."""

    prompts = ("clarify",)

    def _queries(self, question: str, reply: Reply) -> Queries:
        return _several(question, lines(reply, 1), "rrf", original=False)


@stage("query", "rephrase")
@dataclass(frozen=True)
class Rephrase(_Rewriting):
    """The question in the words of a document that answers it, in place of it."""

    prompts = ("rephrase",)

    def _queries(self, question: str, reply: Reply) -> Queries:
        return _several(question, lines(reply, 1), "rrf", original=False)
