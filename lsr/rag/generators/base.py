"""What writes text: an endpoint, a local model, a function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lsr.rag.types import Failure, Usage

__all__ = ["Generator", "Message", "Reply", "Request"]


@dataclass(frozen=True, slots=True)
class Message:
    """role: "system", "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Request:
    """One text to be written. temperature 0 asks for the same text each time; stop: texts at which writing ends."""

    messages: tuple[Message, ...]
    max_tokens: int = 512
    temperature: float = 0.0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What was written. cached: it was read from the cache of replies; `usage` is then what it took when it was written.

    cut: it ended at max_tokens, not by itself.
    """

    text: str
    usage: Usage
    cut: bool = False
    cached: bool = False


class Generator(Protocol):
    """Writes texts. `name` is for people; `context` is how many tokens it reads at most, None where nobody said."""

    @property
    def name(self) -> str: ...

    @property
    def context(self) -> int | None: ...

    def identity(self) -> Mapping[str, Any]:
        """What its texts depend on, as JSON can say it; no keys and no secrets."""
        ...

    def generate(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """A reply, or why there is none, for each request, in their order. A `Failure`'s stage is filled in by the
        caller."""
        ...
