"""A language model's word on a graph: which facts help with a question, and how much the relations of a phrase do.

HippoRAG 2 (Gutiérrez et al. 2025) lets one choose among the facts that a question was matched with ("recognition memory");
CatRAG ('Breaking the Static Graph', 2026) lets one mark what leads on from a seed, from 0 to 10. Without one, the likeness
of question and facts stands for both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from lsr.rag.generators.base import Message, Reply, Request
from lsr.rag.templates import Templates, as_data
from lsr.rag.types import Failure, Made

__all__ = ["FactFilter", "LanguageModelFilter", "LanguageModelRelevance", "Neighbours", "Relevance"]

T = TypeVar("T")
Floats = npt.NDArray[np.float64]
Ask = Callable[[Sequence[Request]], Sequence[Reply | Failure]]

HIGHEST = 10.0
_STAGE = "retrieve: graph-llm"
_FENCE = re.compile(r"^```(?:json)?\s*|\s*```$")
_EACH = 8  # tokens that a reply may take for each fact


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What leads on from a phrase: facts, one for each edge."""

    question: str
    phrase: str
    facts: tuple[str, ...]


class FactFilter(Protocol):
    """Chooses among facts."""

    def chosen(self, asked: Sequence[tuple[str, Sequence[str]]]) -> list[Made[tuple[int, ...]] | Failure]:
        """For each question with its facts the places of those that help, rising; none where none does."""
        ...


class Relevance(Protocol):
    """Marks what leads on from phrases."""

    def marks(self, asked: Sequence[Neighbours]) -> list[Made[Floats] | Failure]:
        """For each phrase a mark from 0 to 10 for each of its facts."""
        ...


class _LanguageModel:
    """ask: a generator's `generate`. A reply that is not what was asked for is a `Failure`."""

    def __init__(self, ask: Ask, prompts: Templates | None = None) -> None:
        self._ask, self._prompts = ask, prompts or Templates()

    def _read(
        self, key: str, read: Callable[[Any, int], T], asked: Sequence[tuple[tuple[Message, ...], int]]
    ) -> list[Made[T] | Failure]:
        """What is under a key of the JSON of each reply. asked: messages about so many facts."""
        requests = [Request(messages, max_tokens=32 + _EACH * facts) for messages, facts in asked]
        results: list[Made[T] | Failure] = []
        for reply, (_, facts) in zip(self._ask(requests), asked, strict=True):
            if isinstance(reply, Failure):
                results.append(reply)
                continue
            try:
                found = json.loads(_FENCE.sub("", reply.text.strip()))
                results.append(Made(read(found[key] if isinstance(found, dict) else found, facts), reply.usage))
            except (ValueError, TypeError, KeyError, RecursionError):
                said = " ".join(reply.text.split())[:60]
                what = "was cut off" if reply.cut else f"is not the JSON that was asked for: {said!r}"
                results.append(Failure(_STAGE, f"the reply about {key} {what}", usage=reply.usage))
        return results


class LanguageModelFilter(_LanguageModel):
    """A `FactFilter`: one request for each question (template fact-filter)."""

    def chosen(self, asked: Sequence[tuple[str, Sequence[str]]]) -> list[Made[tuple[int, ...]] | Failure]:
        def messages(question: str, facts: Sequence[str]) -> tuple[Message, ...]:
            return self._prompts.render("fact-filter", question=question, context=as_data(facts))

        return self._read("facts", _places, [(messages(*one), len(one[1])) for one in asked])


class LanguageModelRelevance(_LanguageModel):
    """A `Relevance`: one request for each phrase (template fact-relevance)."""

    def marks(self, asked: Sequence[Neighbours]) -> list[Made[Floats] | Failure]:
        def messages(one: Neighbours) -> tuple[Message, ...]:
            phrase, facts = as_data([one.phrase], "passage"), as_data(one.facts)
            return self._prompts.render("fact-relevance", question=one.question, phrase=phrase, context=facts)

        return self._read("marks", _marks, [(messages(one), len(one.facts)) for one in asked])


def _places(found: Any, n: int) -> tuple[int, ...]:
    """Numbers from 1 as places. Numbers of no fact are invented, and left out."""
    if not isinstance(found, list) or not all(isinstance(one, int) and not isinstance(one, bool) for one in found):
        raise TypeError
    return tuple(sorted({one - 1 for one in found if 1 <= one <= n}))


def _marks(found: Any, n: int) -> Floats:
    if not isinstance(found, list) or len(found) != n:
        raise TypeError
    if not all(isinstance(one, int | float) and not isinstance(one, bool) and 0 <= one <= HIGHEST for one in found):
        raise ValueError
    return np.array(found, np.float64)
