"""What an endpoint of chat completions answers, read strictly: a text with its numbers, or why there is none."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from lsr.errors import one_line
from lsr.rag.generators.texts import without_thoughts

__all__ = ["Said", "Trouble", "completion", "reason_of", "refused", "retry_after", "streamed"]

_LONGEST = 300  # characters of another's message


@dataclass(frozen=True)
class Said:
    """A text, whether it ended at max_tokens, and the tokens that the endpoint counted (None where it did not)."""

    text: str
    cut: bool
    tokens_in: int | None
    tokens_out: int | None


class Trouble(Exception):
    """No text. transient: another try may succeed, after `wait` seconds where the endpoint said so. down: nobody answered.

    works: the endpoint does, it only wrote nothing. said: what it counted.
    """

    def __init__(
        self,
        message: str,
        *,
        transient: bool = False,
        wait: float | None = None,
        down: bool = False,
        works: bool = False,
        said: Said | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.transient, self.wait, self.down, self.works, self.said = (
            message,
            transient,
            wait,
            down,
            works,
            said,
        )


def completion(body: bytes) -> Said:
    """What the body of a reply says. Raises `Trouble`."""
    try:
        data = json.loads(body)
    except ValueError:
        start = reason_of(body.decode("utf-8", "replace"))[:80]
        raise Trouble(f"its reply is not JSON ({start!r})", transient=True) from None
    if not isinstance(data, Mapping):
        raise Trouble("its reply is JSON, but no object: is the url that of a chat-completions endpoint?")
    if data.get("error"):
        raise refused(data["error"])
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices:
        raise Trouble("its reply has no choices", transient=True)
    choice = choices[0] if isinstance(choices[0], Mapping) else {}
    message = choice.get("message")
    content = message.get("content") if isinstance(message, Mapping) else None
    return _said(content if isinstance(content, str) else "", choice.get("finish_reason"), data.get("usage"))


def streamed(chunks: Iterable[Any], deadline: float) -> Said:
    """The parts of a stream as one text. deadline: by `time.monotonic`. Raises `Trouble`."""
    parts: list[str] = []
    finish, usage = None, None
    for chunk in chunks:
        if time.monotonic() > deadline:
            raise Trouble("its reply took longer than timeout_s", transient=True)
        usage = getattr(chunk, "usage", None) or usage
        for choice in getattr(chunk, "choices", None) or []:
            finish = choice.finish_reason or finish
            if choice.delta is not None and choice.delta.content:
                parts.append(choice.delta.content)
    if finish is None:
        raise Trouble("its stream ended before the reply did; if it does not stream, set stream: false", transient=True)
    return _said("".join(parts), finish, usage.model_dump() if usage is not None else None)


def _said(content: str, finish: Any, usage: Any) -> Said:
    counted = usage if isinstance(usage, Mapping) else {}
    tokens_in, tokens_out = (_count(counted.get(name)) for name in ("prompt_tokens", "completion_tokens"))
    said = Said(without_thoughts(content), finish == "length", tokens_in, tokens_out)
    if finish == "content_filter":
        raise Trouble("its content filter held the reply back", works=True, said=said)
    if not said.text:
        remedy = "; a model that thinks needs thinking_tokens beside" if said.cut else ""
        raise Trouble(f"it wrote no text (finish_reason {finish!r}){remedy}", works=True, said=said)
    return said


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def refused(error: Any) -> Trouble:
    """Of an error that came with status 200, or in a stream."""
    about = error if isinstance(error, Mapping) else {}
    code = " ".join(str(about.get(name)) for name in ("code", "type", "status"))
    transient = any(word in code.lower() for word in ("429", "50", "rate_limit", "overloaded", "server_error"))
    return Trouble(f"it answered with an error ({reason_of(error)})", transient=transient)


def reason_of(body: Any) -> str:
    """What a body says of an error, in one line."""
    while isinstance(body, Mapping):
        body = next((body[name] for name in ("error", "message", "detail") if body.get(name)), str(dict(body)))
    return one_line(Exception(str(body)))[:_LONGEST] if body else "without a reason"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a reply asks to wait: Retry-After as a number or a date (RFC 9110, section 10.2.3), or
    retry-after-ms."""
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return max(0.0, float(milliseconds) / 1000)
        if (value := headers.get("retry-after")) is None:
            return None
        if value.strip().replace(".", "", 1).isdecimal():
            return float(value)
        date = parsedate_to_datetime(value)
        return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    except ValueError:
        return None
