"""A generator whose replies are written down, and what tests of stages that use one share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lsr.rag.generators import Reply, Request
from lsr.rag.resources import Resources
from lsr.rag.templates import Templates
from lsr.rag.types import Failure, Found, Made, Passages, Span, Usage

QUESTION = "Who watched the eruption?"
NO_PASSAGES = Passages([], {}, "none")


class Script:
    """A generator that says what a function of the user's message says (None fails), and keeps what it was asked."""

    name = "script"
    context = None

    def __init__(self, say: Callable[[str], str | None] | str, *, transient: bool = False) -> None:
        self._say = say if callable(say) else lambda _: say
        self._transient = transient
        self.requests: list[Request] = []
        self.batches: list[int] = []

    def identity(self) -> dict[str, Any]:
        return {"kind": "script"}

    def generate(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        self.requests += requests
        self.batches.append(len(requests))
        usage = Usage(calls=1, tokens_in=10, tokens_out=2)
        said = [self._say(request.messages[-1].content) for request in requests]
        return [Failure("", "cannot", self._transient, usage) if text is None else Reply(text, usage) for text in said]


OPEN: list[Resources] = []


def with_generator(generator: Any, prompts: Templates | None = None) -> Resources:
    OPEN.append(Resources(generator=generator, prompts=prompts))
    return OPEN[-1]


def made(result: Any) -> Any:
    assert isinstance(result, Made), result
    return result.value


def found(*texts: str) -> tuple[Found, ...]:
    """Evidence with falling scores, each of a document of its own."""
    return tuple(
        Found(text, "", (Span(f"d{at}", 0, len(text)),), 10.0 - at, (f"p{at}",)) for at, text in enumerate(texts)
    )
