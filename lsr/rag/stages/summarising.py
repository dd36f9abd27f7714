"""Evidence as a language model summarises it, with regard to the question.

A summary "NOTHING" says that the text has nothing on the question: it is left out. Where that is said of all, the evidence
stays as it was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lsr.rag.generators.base import Request
from lsr.rag.resources import Resources
from lsr.rag.stages.asking import GENERATOR, asked
from lsr.rag.stages.base import Compression, Evidence, Results, stage
from lsr.rag.templates import as_data
from lsr.rag.types import Failure, Found, Made, merged
from lsr.schema import between

__all__ = ["LlmSummary", "TreeSummary"]

LENGTHS = between(16, 4096)


@stage("compress", "llm-summary")
@dataclass(frozen=True)
class LlmSummary(Compression):
    """Each piece summarised by itself; it keeps its spans and score. max_tokens: of a summary."""

    needs = GENERATOR
    prompts = ("summary",)

    max_tokens: int = field(default=200, metadata=LENGTHS)

    def compress(self, questions: Sequence[str], found: Sequence[Evidence], resources: Resources) -> Results[Evidence]:
        levels = [[[piece] for piece in pieces] for pieces in found]
        return _summarised(self, self.max_tokens, questions, levels, resources)


@stage("compress", "tree-summary")
@dataclass(frozen=True)
class TreeSummary(Compression):
    """All pieces as one: each `fan_in` of them, or fewer so that groups are of a size, are summarised together, then the
    summaries, until one is left. It rests on all that its sources rest on, and has the best of their scores. max_tokens: of
    a summary."""

    needs = GENERATOR
    prompts = ("summary",)

    fan_in: int = field(default=3, metadata=between(2, 20))
    max_tokens: int = field(default=300, metadata=LENGTHS)

    def compress(self, questions: Sequence[str], found: Sequence[Evidence], resources: Resources) -> Results[Evidence]:
        results: list[Made[Evidence] | Failure] = [Made(tuple(pieces)) for pieces in found]
        going = [at for at, pieces in enumerate(found) if pieces]
        while going:
            groups = [self._groups(results[at]) for at in going]
            made = _summarised(self, self.max_tokens, [questions[at] for at in going], groups, resources)
            further = []
            for at, mine, result in zip(going, groups, made, strict=True):
                results[at] = replace(result, usage=results[at].usage + result.usage)
                # What is said to hold nothing comes back as it was: another level would be asked the same.
                if isinstance(result, Made) and 1 < len(result.value) < sum(len(group) for group in mine):
                    further.append(at)
            going = further
        return results

    def _groups(self, result: Made[Evidence] | Failure) -> list[list[Found]]:
        assert isinstance(result, Made)
        n, pieces = len(result.value), list(result.value)
        count = -(-n // self.fan_in)
        return [pieces[at * n // count : (at + 1) * n // count] for at in range(count)]


def _summarised(
    stage: Compression,
    max_tokens: int,
    questions: Sequence[str],
    found: Sequence[Sequence[Sequence[Found]]],
    resources: Resources,
) -> list[Made[Evidence] | Failure]:
    """A piece of each group of pieces of each question."""
    requests = [
        [
            Request(resources.prompts.render("summary", question=question, context=as_data(group)), max_tokens)
            for group in groups
        ]
        for question, groups in zip(questions, found, strict=True)
    ]
    results: list[Made[Evidence] | Failure] = []
    for groups, result in zip(found, asked(stage, resources, requests), strict=True):
        if isinstance(result, Failure):
            results.append(result)
            continue
        texts = [reply.text.strip() for reply in result.replies]
        made = tuple(_one(group, text) for group, text in zip(groups, texts, strict=True) if not _nothing(text))
        results.append(Made(made or tuple(piece for group in groups for piece in group), result.usage))
    return results


def _one(group: Sequence[Found], text: str) -> Found:
    title = group[0].title if len({piece.title for piece in group}) == 1 else ""
    spans = merged(span for piece in group for span in piece.spans)
    passages = dict.fromkeys(id for piece in group for id in piece.passages)
    return Found(text, title, spans, max(piece.score for piece in group), tuple(passages))


def _nothing(text: str) -> bool:
    return text.strip(" .*\"'`").upper() in ("", "NOTHING")
