"""Triples by a language model, which is asked for JSON (open information extraction, as HippoRAG 2 does)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

from lsr.encoders.tokenizer import valid_text
from lsr.rag.generators.base import Generator, Reply, Request
from lsr.rag.graph.types import Extracted, Fact, Text
from lsr.rag.templates import Templates, as_data
from lsr.rag.types import Failure, Passage

__all__ = ["LanguageModelExtractor"]

_STAGE = "graph: llm"
_FENCE = re.compile(r"^```(?:json)?\s*|\s*```$")


class LanguageModelExtractor:
    """generator: what reads the passages (template openie). A reply that is cut off, or no JSON of the form that is asked
    for, is a `Failure` of that passage: it is never taken for a passage without phrases."""

    def __init__(self, generator: Generator, prompts: Templates | None = None, *, max_tokens: int = 1024) -> None:
        self.name = f"llm ({generator.name})"
        self._generator, self._prompts, self._max_tokens = generator, prompts or Templates(), max_tokens

    def identity(self) -> Mapping[str, Any]:
        about = {"extractor": "llm", "generator": self._generator.identity(), "max_tokens": self._max_tokens}
        return {**about, "prompt": self._prompts.fingerprint("openie")}

    def extract(self, texts: Sequence[Text]) -> Iterator[Extracted | Failure]:
        requests = [
            Request(
                self._prompts.render("openie", passage=as_data([Passage(text.id, text.text, text.title)], "passage")),
                max_tokens=self._max_tokens,
            )
            for text in texts
        ]
        for text, reply in zip(texts, self._generator.generate(requests), strict=True):
            if not isinstance(reply, Reply):
                yield replace(reply, stage=_STAGE)
            elif reply.cut:
                yield Failure(
                    _STAGE, f"the reply for {text.id!r} was cut off at {self._max_tokens} tokens", usage=reply.usage
                )
            else:
                yield _parsed(text, reply)


def _parsed(text: Text, reply: Reply) -> Extracted | Failure:
    try:
        found = json.loads(_FENCE.sub("", reply.text.strip()))
    except (ValueError, RecursionError):
        found = None
    entities = found.get("entities") if isinstance(found, dict) else None
    triples = found.get("triples") if isinstance(found, dict) else None
    if not (_texts(entities) and isinstance(triples, list) and all(_texts(one) and len(one) == 3 for one in triples)):
        return Failure(_STAGE, f"the reply for {text.id!r} is not the JSON that was asked for", usage=reply.usage)
    # JSON can say half a surrogate pair, which nothing that is written can.
    facts = [Fact(*map(valid_text, triple)) for triple in triples]
    phrases = dict.fromkeys(
        [*map(valid_text, entities), *(end for fact in facts for end in (fact.subject, fact.object))]
    )
    return Extracted(text.id, tuple(phrases), tuple(facts))


def _texts(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
