"""Answers by a language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lsr.rag.generators.base import Request
from lsr.rag.resources import Resources
from lsr.rag.stages.asking import GENERATOR, asked, citations, evidence
from lsr.rag.stages.base import Generation, Results, stage
from lsr.rag.types import Answer, Failure, Made, Prompt
from lsr.schema import between

__all__ = ["LlmAnswer"]


@stage("generate", "llm")
@dataclass(frozen=True)
class LlmAnswer(Generation):
    """An answer from the numbered evidence, which it cites as [n]; numbers of no evidence are no citations, though they
    stay in the text. max_tokens: of the answer."""

    needs = GENERATOR
    prompts = ("answer",)

    max_tokens: int = field(default=512, metadata=between(1, 32_768))
    temperature: float = field(default=0.0, metadata=between(0, 2))

    def generate(self, questions: Sequence[str], prompts: Sequence[Prompt], resources: Resources) -> Results[Answer]:
        requests = []
        for question, prompt in zip(questions, prompts, strict=True):
            messages = resources.prompts.render("answer", question=question, context=evidence(prompt.context))
            requests.append([Request(messages, self.max_tokens, self.temperature)])
        results: list[Made[Answer] | Failure] = []
        for prompt, result in zip(prompts, asked(self, resources, requests), strict=True):
            if isinstance(result, Failure):
                results.append(result)
            else:
                text = result.replies[0].text
                results.append(Made(Answer(text, citations(text, len(prompt.context))), result.usage))
        return results
