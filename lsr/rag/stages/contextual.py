"""What passages are found by, written by a language model once for a corpus.

A passage for which nothing usable is written keeps its own keys; the log says how many. But a stage that could not do its
work is not handed on as one that did, since what it makes is kept: where another try may succeed (an endpoint that is
down), the budget is used up, or more than a tenth of the passages get nothing, it raises `GeneratorError`. The replies
that there were are in the cache of replies, so the next run goes on from there.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from dataclasses import dataclass, field, replace

from lsr.errors import GeneratorError
from lsr.rag.generators.accounting import OVER_BUDGET
from lsr.rag.generators.base import Message, Reply, Request
from lsr.rag.resources import Resources
from lsr.rag.stages.asking import GENERATOR, lines
from lsr.rag.stages.base import Preparation, stage
from lsr.rag.templates import as_data
from lsr.rag.types import Failure, Passage, Passages
from lsr.schema import between

__all__ = ["HypotheticalQuestions", "LlmHeaders"]

TOLERATED = 0.1  # share of passages that may get nothing

logger = logging.getLogger(__name__)


class _Written(Preparation):
    """One request a passage."""

    needs = GENERATOR
    longest = 256  # tokens that are written

    def prepare(self, passages: Passages, resources: Resources) -> list[Passage]:
        requests = [Request(self._messages(passage, passages, resources), self.longest) for passage in passages]
        made, reasons = [], []
        for passage, reply in zip(passages, resources.ask(self, requests), strict=True):
            if isinstance(reply, Failure) and (reply.transient or reply.message.startswith(OVER_BUDGET)):
                raise GeneratorError(f"{self.name}: passage {passage.id!r}: {reply.message}")
            keys = () if isinstance(reply, Failure) else self._keys(passage, reply)
            if not keys:
                reasons.append(reply.message if isinstance(reply, Failure) else f"unusable: {reply.text[:60]!r}")
            made.append(replace(passage, keys=keys) if keys else passage)
        if len(reasons) > TOLERATED * len(made):
            raise GeneratorError(
                f"{self.name}: nothing usable for {len(reasons):,} of {len(made):,} passages, first: {reasons[0]}; "
                "look at the prompt template, or take another model"
            )
        if reasons:
            logger.warning(
                "%s: nothing usable for %d of %d passages, which keep their own keys (first: %s)",
                self.name,
                len(reasons),
                len(made),
                reasons[0],
            )
        return made

    @abstractmethod
    def _messages(self, passage: Passage, passages: Passages, resources: Resources) -> tuple[Message, ...]: ...

    @abstractmethod
    def _keys(self, passage: Passage, reply: Reply) -> tuple[str, ...]:
        """What the passage is found by; nothing where the reply is of no use."""


@stage("prepare", "llm-headers")
@dataclass(frozen=True)
class LlmHeaders(_Written):
    """A sentence or two of what the passage is about within its document, before each of its keys (Anthropic 2024,
    contextual retrieval). around: characters of the document that are shown, the passage in their middle."""

    prompts = ("llm-headers",)

    around: int = field(default=6000, metadata=between(200, 1_000_000))

    def _messages(self, passage: Passage, passages: Passages, resources: Resources) -> tuple[Message, ...]:
        shown = as_data([self._shown(passage, passages)])
        return resources.prompts.render("llm-headers", document=shown, passage=as_data([passage], "passage"))

    def _shown(self, passage: Passage, passages: Passages) -> str:
        if not passage.spans:
            return passage.text
        span = passage.spans[0]
        text = passages.documents[span.document].text
        spare = max(0, self.around - span.length)
        end = min(len(text), max(span.end + spare // 2, self.around))
        return text[max(0, min(span.start, end - max(self.around, span.length))) : end]

    def _keys(self, passage: Passage, reply: Reply) -> tuple[str, ...]:
        header = " ".join(reply.text.split())
        return tuple(f"{header} {key}" for key in passage.searched) if header else ()


@stage("prepare", "hypothetical-questions")
@dataclass(frozen=True)
class HypotheticalQuestions(_Written):
    """n questions that the passage answers. keep_text: it is also found by what it was found by before."""

    prompts = ("hypothetical-questions",)

    n: int = field(default=3, metadata=between(1, 20))
    keep_text: bool = True

    def _messages(self, passage: Passage, passages: Passages, resources: Resources) -> tuple[Message, ...]:
        shown = as_data([passage], "passage")
        return resources.prompts.render("hypothetical-questions", passage=shown, n=str(self.n))

    def _keys(self, passage: Passage, reply: Reply) -> tuple[str, ...]:
        questions = lines(reply, self.n)
        return (*(passage.searched if self.keep_text and questions else ()), *questions)
