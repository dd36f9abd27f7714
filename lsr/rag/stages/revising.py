"""The answer, looked at again by a language model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lsr.rag.generators.base import Request
from lsr.rag.resources import Resources
from lsr.rag.stages.asking import GENERATOR, asked, citations, evidence
from lsr.rag.stages.base import Results, Revision, stage
from lsr.rag.templates import as_data
from lsr.rag.types import Answer, Failure, Made, Prompt
from lsr.schema import between

__all__ = ["Reflection"]

_REVISE = re.compile(r"\W*REVISE\b\W*(.*)", re.DOTALL)


@stage("revise", "reflection")
@dataclass(frozen=True)
class Reflection(Revision):
    """A critique of the answer, and another answer where it says REVISE and why; again, for so many rounds. An answer that
    the critique calls fine, or of which it says nothing that can be read, is kept."""

    needs = GENERATOR
    prompts = ("critique", "revise")

    rounds: int = field(default=1, metadata=between(1, 2))
    max_tokens: int = field(default=512, metadata=between(1, 32_768))

    def revise(
        self, questions: Sequence[str], prompts: Sequence[Prompt], answers: Sequence[Answer], resources: Resources
    ) -> Results[Answer]:
        results: list[Made[Answer] | Failure] = [Made(answer) for answer in answers]
        going = list(range(len(answers)))
        for _ in range(self.rounds):
            critiques = self._asked("critique", going, questions, prompts, results, {}, resources)
            reasons = {at: said for at, text in critiques.items() if (said := _reasons(text))}
            going = list(reasons)
            texts = self._asked("revise", going, questions, prompts, results, reasons, resources)
            going = [at for at, text in texts.items() if text]
            for at in going:
                answer = Answer(texts[at], citations(texts[at], len(prompts[at].context)))
                results[at] = Made(answer, results[at].usage)
        return results

    def _asked(
        self,
        template: str,
        going: Sequence[int],
        questions: Sequence[str],
        prompts: Sequence[Prompt],
        results: list[Made[Answer] | Failure],
        reasons: dict[int, str],
        resources: Resources,
    ) -> dict[int, str]:
        """What is written for some questions; what it took, and failures, are noted in the results."""
        requests = []
        for at in going:
            now = results[at]
            assert isinstance(now, Made)
            values = {"question": questions[at], "context": evidence(prompts[at].context)}
            values["answer"] = as_data([now.value.text], "answer")
            if at in reasons:
                values["critique"] = as_data([reasons[at]], "review")
            requests.append([Request(resources.prompts.render(template, **values), self.max_tokens)])
        written: dict[int, str] = {}
        for at, result in zip(going, asked(self, resources, requests), strict=True):
            before = results[at]
            usage = before.usage + result.usage
            if isinstance(result, Failure):
                results[at] = replace(result, usage=usage)
            else:
                results[at] = replace(before, usage=usage)
                written[at] = result.replies[0].text
        return written


def _reasons(critique: str) -> str:
    """What is wrong, as a critique says; empty where it says nothing that can be read."""
    found = _REVISE.fullmatch(critique.strip())
    return found[1].strip() if found else ""
