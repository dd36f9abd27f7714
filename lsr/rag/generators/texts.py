"""What all generators do with texts: count them, end them, take thoughts from them; and several calls at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias, TypeVar

from lsr.rag.generators.base import Message

__all__ = ["TokenCounter", "each", "estimated_tokens", "sizes", "until", "without_thoughts"]

# Sizes of texts in tokens.
TokenCounter: TypeAlias = Callable[[Sequence[str]], list[int]]

_THOUGHTS = re.compile(r"^\s*<think>.*?(?:</think>|\Z)", re.DOTALL)
# What chat templates put around a message, at most.
_AROUND = 8

Item = TypeVar("Item")
Result = TypeVar("Result")


def estimated_tokens(texts: Sequence[str]) -> list[int]:
    """A token for 4 bytes of UTF-8, rounded up: near the truth for English, somewhat above it for most other scripts."""
    return [-(-len(text.encode("utf-8", "replace")) // 4) for text in texts]


def sizes(messages: Sequence[Message], counter: TokenCounter | None) -> int:
    """Tokens of a request, estimated: its messages, and what chat templates put around each."""
    contents = [message.content for message in messages]
    return sum((counter or estimated_tokens)(contents)) + _AROUND * len(contents)


def without_thoughts(text: str) -> str:
    """A text without what a reasoning model thought before it (`<think> ... </think>`), and without space around it."""
    return _THOUGHTS.sub("", text, count=1).strip()


def until(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """A text up to the first of the stops, and whether there was one."""
    places = [place for stop in stops if stop and (place := text.find(stop)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


def each(function: Callable[[Item], Result], items: Sequence[Item], threads: int) -> list[Result]:
    """A function of each item, by so many threads; after an error, or Ctrl-C, no further one is begun."""
    if threads == 1 or len(items) < 2:
        return [function(item) for item in items]
    pool = ThreadPoolExecutor(min(threads, len(items)), thread_name_prefix="generator")
    try:
        return list(pool.map(function, items))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
