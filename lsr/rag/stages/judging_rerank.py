"""Evidence in the order that a language model says.

Pointwise: a whole number from 0 to 10 for each piece, in a request of its own. A reply that is no such number is missing:
the piece gets the mean of the others. Listwise: one request for all, whose reply is an order of their numbers (RankGPT;
Sun et al. 2023); pieces that it leaves out follow in the order they had. Where more than half is missing, it is a
`Failure`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lsr.rag.generators.base import Reply, Request
from lsr.rag.resources import Resources
from lsr.rag.stages.asking import GENERATOR, Asked, asked
from lsr.rag.stages.base import Evidence, Reranking, Results, stage
from lsr.rag.stages.reranking import mixed
from lsr.rag.templates import as_data
from lsr.rag.types import Failure, Made, Passages, Usage
from lsr.schema import between, choice

__all__ = ["CrossEncoderAndLlm", "Llm"]

Floats = npt.NDArray[np.float64]
MODES = choice("pointwise", "listwise")
_SCORE = re.compile(r"\W*(?:score|rating)?\W*(10|\d)(?:\.0+)?(?:\s*/\s*10)?\W*", re.IGNORECASE)
_NUMBERED = re.compile(r"\[(\d{1,4})\]")
_PLAIN = re.compile(r"\s*\d{1,4}(?:\s*[>,]\s*\d{1,4})*\s*\.?\s*")


@stage("rerank", "llm")
@dataclass(frozen=True)
class Llm(Reranking):
    """weight: share of the first score, both brought to 0 ... 1; candidates: how many are judged, the rest is left out."""

    needs = GENERATOR
    prompts = ("rerank-pointwise", "rerank-listwise")

    mode: str = field(default="pointwise", metadata=MODES)
    candidates: int = field(default=20, metadata=between(1, 200))
    weight: float = field(default=0.0, metadata=between(0, 1))

    def rerank(
        self, questions: Sequence[str], found: Sequence[Evidence], passages: Passages, resources: Resources
    ) -> Results[Evidence]:
        cut = [pieces[: self.candidates] for pieces in found]
        judged = _judged(self, self.mode, questions, cut, resources)
        return [
            scores
            if isinstance(scores, Failure)
            else Made(mixed(pieces, [scores.value], [1.0], self.weight), scores.usage)
            for pieces, scores in zip(cut, judged, strict=True)
        ]


@stage("rerank", "cross-encoder+llm")
@dataclass(frozen=True)
class CrossEncoderAndLlm(Reranking):
    """A cross-encoder (model) and a language model together: the scores of each brought to 0 ... 1 over the candidates,
    `share` of it the cross-encoder's. mode, weight and candidates: as for llm."""

    needs = GENERATOR
    prompts = ("rerank-pointwise", "rerank-listwise")
    models = ("model",)

    model: str
    share: float = field(default=0.7, metadata=between(0, 1))
    mode: str = field(default="pointwise", metadata=MODES)
    candidates: int = field(default=20, metadata=between(1, 200))
    weight: float = field(default=0.0, metadata=between(0, 1))

    def rerank(
        self, questions: Sequence[str], found: Sequence[Evidence], passages: Passages, resources: Resources
    ) -> Results[Evidence]:
        cut = [pieces[: self.candidates] for pieces in found]
        judged = _judged(self, self.mode, questions, cut, resources)
        others = resources.cross_encoder(self.model, questions, [[piece.content for piece in pieces] for pieces in cut])
        shares = [self.share, 1 - self.share]
        return [
            scores
            if isinstance(scores, Failure)
            else Made(mixed(pieces, [other, scores.value], shares, self.weight), scores.usage)
            for pieces, scores, other in zip(cut, judged, others, strict=True)
        ]


def _judged(
    stage: Reranking, mode: str, questions: Sequence[str], found: Sequence[Evidence], resources: Resources
) -> list[Made[Floats] | Failure]:
    """Scores of the pieces of each question."""
    render = resources.prompts.render
    groups = []
    for question, pieces in zip(questions, found, strict=True):
        if mode == "pointwise":
            texts = [as_data([piece], "passage") for piece in pieces]
            messages = [render("rerank-pointwise", question=question, passage=text) for text in texts]
            groups.append([Request(each, max_tokens=8) for each in messages])
        else:
            n = len(pieces)
            shown = render("rerank-listwise", question=question, context=as_data(pieces), n=str(n))
            groups.append([Request(shown, max_tokens=32 + 8 * n)] if pieces else [])
    read = _pointwise if mode == "pointwise" else _listwise
    results: list[Made[Floats] | Failure] = []
    for pieces, result in zip(found, asked(stage, resources, groups), strict=True):
        results.append(result if isinstance(result, Failure) else _read(stage, read, result, len(pieces)))
    return results


def _read(stage: Reranking, read: object, result: Asked, n: int) -> Made[Floats] | Failure:
    assert callable(read)
    if not n:
        return Made(np.zeros(0), Usage())
    scores: Floats = read(result.replies, n)
    missing = int(np.isnan(scores).sum())
    if 2 * missing > n:
        example = result.replies[0].text[:60]
        return Failure(stage.name, f"{missing} of {n} pieces have no score (a reply: {example!r})", usage=result.usage)
    scores[np.isnan(scores)] = np.nanmean(scores)
    return Made(scores, result.usage)


def _pointwise(replies: Sequence[Reply], n: int) -> Floats:
    """Scores 0 ... 10; NaN for what is none."""
    found = [_SCORE.fullmatch(reply.text) for reply in replies]
    return np.array([float(match[1]) if match else np.nan for match in found])


def _listwise(replies: Sequence[Reply], n: int) -> Floats:
    """1 for the first, 1 / n for the last; all NaN where fewer than half are in order."""
    text = replies[0].text
    numbers = _NUMBERED.findall(text) or (re.findall(r"\d+", text) if _PLAIN.fullmatch(text) else [])
    order = list(dict.fromkeys(int(number) - 1 for number in numbers if 1 <= int(number) <= n))
    if 2 * len(order) < n:
        return np.full(n, np.nan)
    order += [at for at in range(n) if at not in order]
    scores = np.empty(n)
    scores[order] = np.arange(n, 0, -1) / n
    return scores
