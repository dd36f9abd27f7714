"""Any function that writes text, as a generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, TypeAlias

from lsr.errors import InvalidInput, one_line
from lsr.rag.generators.accounting import Prices
from lsr.rag.generators.base import Message, Reply, Request
from lsr.rag.generators.texts import TokenCounter, each, estimated_tokens, sizes, until, without_thoughts
from lsr.rag.types import Failure, Usage

__all__ = ["FunctionGenerator"]

Writer: TypeAlias = Callable[[str], str] | Callable[[tuple[Message, ...]], str]


class FunctionGenerator:
    """A function of the prompt as one text (its messages with empty lines between), or of its messages.

    name: stands for all that the texts depend on beside the prompt, for replies are kept by it: give it a version.
    messages: the function takes a tuple of `Message`. threads: calls at a time. What the function raises becomes a
    `Failure` of that request, as does anything but a text.
    """

    def __init__(
        self,
        function: Writer,
        name: str,
        *,
        messages: bool = False,
        threads: int = 1,
        context: int | None = None,
        prices: Prices | None = None,
        counter: TokenCounter | None = None,
    ) -> None:
        if threads < 1:
            raise InvalidInput(f"threads is {threads}: it must be 1 or more")
        self.name, self.context, self.prices = name, context, prices or Prices()
        self._function: Callable[[Any], Any] = function
        self._messages, self._threads, self._counter = messages, threads, counter

    def identity(self) -> Mapping[str, Any]:
        return {"kind": "function", "name": self.name}

    def generate(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        return each(self._one, requests, self._threads)

    def _one(self, request: Request) -> Reply | Failure:
        began = perf_counter()
        given = request.messages if self._messages else "\n\n".join(message.content for message in request.messages)
        try:
            text = self._function(given)
        except Exception as error:
            reason = f"{self.name}: {type(error).__name__}: {one_line(error)}"
            return Failure("", reason, usage=Usage(calls=1, seconds=perf_counter() - began))
        seconds = perf_counter() - began
        if not isinstance(text, str):
            reason = f"{self.name}: it gave {type(text).__name__}, not a text"
            return Failure("", reason, usage=Usage(calls=1, seconds=seconds))
        text, _ = until(without_thoughts(text), request.stop)
        read, written = sizes(request.messages, self._counter), (self._counter or estimated_tokens)([text])[0]
        return Reply(text.strip(), Usage(1, read, written, self.prices.cost(read, written), seconds))
