"""Answers without a language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lsr.rag.resources import Resources
from lsr.rag.stages.base import Generation, Results, stage
from lsr.rag.stages.extracting import sentences_of
from lsr.rag.types import Answer, Prompt
from lsr.schema import between

__all__ = ["ExtractiveReader"]


@stage("generate", "extractive")
@dataclass(frozen=True)
class ExtractiveReader(Generation):
    """The sentences of the evidence that are most like the question (scores of the bundled encoder), best first, cited.
    It says what the text says, and does not compose: no evidence gives an empty answer."""

    sentences: int = field(default=1, metadata=between(1, 20))

    def generate(self, questions: Sequence[str], prompts: Sequence[Prompt], resources: Resources) -> Results[Answer]:
        parts = [
            [(number, part) for number, piece in enumerate(prompt.context, 1) for part in sentences_of(piece)]
            for prompt in prompts
        ]
        scores = resources.relevance(questions, [[part.content for _, part in each] for each in parts])
        answers = []
        for each, mine in zip(parts, scores, strict=True):
            said: list[str] = []
            cited: list[int] = []
            for at in np.argsort(-np.asarray(mine, np.float64), kind="stable").tolist():
                number, part = each[at]
                if part.text in said:
                    continue
                said.append(part.text)
                if number not in cited:
                    cited.append(number)
                if len(said) == self.sentences:
                    break
            answers.append(Answer(" ".join(said), tuple(cited)))
        return answers
