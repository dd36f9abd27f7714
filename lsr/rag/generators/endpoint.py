"""Any endpoint that speaks OpenAI's chat completions: OpenAI, vLLM, llama.cpp, Ollama, LM Studio, a gateway."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from lsr.errors import GeneratorError, InvalidInput, MissingExtra, one_line
from lsr.rag.generators.accounting import Prices
from lsr.rag.generators.base import Message, Reply, Request
from lsr.rag.generators.chat import Said, Trouble, completion, reason_of, refused, retry_after, streamed
from lsr.rag.generators.texts import TokenCounter, each, estimated_tokens, sizes, until
from lsr.rag.types import Failure, Usage

__all__ = ["Endpoint"]

# An endpoint that asks to wait longer than this many seconds is not waited for.
LONGEST_WAIT = 60.0
_TRANSIENT = (408, 409, 425, 429)


@dataclass(frozen=True)
class _Tried:
    """What became of a request after all its tries."""

    result: Reply | Trouble
    usage: Usage


class Endpoint:
    """Chat completions of a model at a url (up to and without "/chat/completions", as in "http://localhost:8000/v1").

    key_env: the environment variable that holds the key; where it is not set, the word "none" is sent, which servers that
    want no key pass over. It is read when it is first needed, shown and written nowhere, and cut out of what errors say.
    timeout_s: for connecting, and for each wait for a part of the reply; a stream must also end within it. retries: further
    tries after 408, 409, 425, 429, 5xx, time-outs, lost connections and replies that are no JSON, with waits of backoff_s,
    doubled each time, times a random 0.5 to 1, or as long as Retry-After says. concurrency: calls at a time. stream: take
    the reply in parts, for gateways that drop silent connections. prices: of a million tokens. context: tokens that the
    model reads. tokens_field: some models want "max_completion_tokens". counter: counts tokens where the endpoint does not
    (else they are estimated).

    Raises `InvalidInput` for a url that is none, or holds a password or a query, and for values out of range.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_env: str = "OPENAI_API_KEY",
        timeout_s: float = 60.0,
        retries: int = 4,
        backoff_s: float = 1.0,
        concurrency: int = 8,
        stream: bool = False,
        prices: Prices | None = None,
        context: int | None = None,
        seed: int | None = None,
        tokens_field: str = "max_tokens",
        counter: TokenCounter | None = None,
    ) -> None:
        self.url, self.model, self.key_env = _checked(url), model, key_env
        for what, value, least in (
            ("retries", retries, 0),
            ("backoff_s", backoff_s, 0),
            ("concurrency", concurrency, 1),
        ):
            if not value >= least:
                raise InvalidInput(f"{what} is {value}: it must be {least} or more")
        if not timeout_s > 0:
            raise InvalidInput(f"timeout_s is {timeout_s}: it must be above 0")
        self.name, self.context = model, context
        self.timeout_s, self.retries, self.backoff_s, self.concurrency = timeout_s, retries, backoff_s, concurrency
        self.stream, self.prices, self.seed = stream, prices or Prices(), seed
        self._tokens_field, self._counter = tokens_field, counter
        self._slots = threading.BoundedSemaphore(concurrency)
        self._down = False
        self._opening = threading.Lock()

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r}, {self.model!r})"

    def identity(self) -> Mapping[str, Any]:
        seed = {} if self.seed is None else {"seed": self.seed}
        return {"kind": "endpoint", "url": self.url, "model": self.model, **seed}

    def check(self) -> None:
        """Asks for a few tokens, before a long run. Raises `GeneratorError` that says what to do where none come."""
        result = self._tried(Request((Message("user", "Say: yes"),), max_tokens=16)).result
        if isinstance(result, Trouble) and not result.works:
            raise GeneratorError(result.message)

    def generate(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """As `Generator.generate`. Raises `MissingExtra` without openai, `GeneratorError` for a key that cannot be sent."""
        _ = self._client  # what is wrong with the settings is an error, not a failure of each request
        return [
            tried.result
            if isinstance(tried.result, Reply)
            else Failure("", tried.result.message, tried.result.transient, tried.usage)
            for tried in each(self._tried, requests, self.concurrency)
        ]

    def _tried(self, request: Request) -> _Tried:
        began = time.perf_counter()
        spent = Usage()
        tries = 0
        while True:
            tries += 1
            try:
                with self._slots:
                    said = self._asked(request)
            except Trouble as trouble:
                if trouble.said is not None:
                    spent += self._usage(request, trouble.said)
                # Of an endpoint that was down for a whole request, others do not wait again.
                left = 0 if trouble.down and self._down else self.retries + 1 - tries
                wait = trouble.wait if trouble.wait is not None else self._backoff(tries)
                if trouble.transient and left > 0 and wait <= LONGEST_WAIT:
                    time.sleep(wait)
                    continue
                self._down = trouble.down
                result: Reply | Trouble = self._last_words(trouble, tries)
            else:
                self._down = False
                spent += self._usage(request, said)
                result = Reply(said.text, Usage(), cut=said.cut)
            seconds = time.perf_counter() - began
            usage = Usage(tries, spent.tokens_in, spent.tokens_out, spent.cost, seconds)
            if isinstance(result, Reply):
                result = Reply(result.text, usage, cut=result.cut)
            return _Tried(result, usage)

    def _backoff(self, tries: int) -> float:
        return min(LONGEST_WAIT, self.backoff_s * 2.0 ** (tries - 1)) * random.uniform(0.5, 1.0)

    def _last_words(self, trouble: Trouble, tries: int) -> Trouble:
        waits = f"; it asks to wait {trouble.wait:.0f} s" if trouble.wait and trouble.wait > LONGEST_WAIT else ""
        after = f" (after {tries} tries)" if tries > 1 else ""
        message = self._without_key(f"{self.url}, model {self.model}: {trouble.message}{waits}{after}")
        return Trouble(message, transient=trouble.transient, down=trouble.down, works=trouble.works)

    def _usage(self, request: Request, said: Said) -> Usage:
        tokens_in = sizes(request.messages, self._counter) if said.tokens_in is None else said.tokens_in
        tokens_out = (self._counter or estimated_tokens)([said.text])[0] if said.tokens_out is None else said.tokens_out
        return Usage(0, tokens_in, tokens_out, self.prices.cost(tokens_in, tokens_out))

    def _asked(self, request: Request) -> Said:
        """One try. Raises `Trouble`."""
        import openai

        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            "temperature": request.temperature,
            self._tokens_field: request.max_tokens,
        }
        body |= {"stop": list(request.stop)} if request.stop else {}
        body |= {"seed": self.seed} if self.seed is not None else {}
        completions = self._client.chat.completions
        try:
            if self.stream:
                deadline = time.monotonic() + self.timeout_s
                with completions.create(**body, stream=True, stream_options={"include_usage": True}) as chunks:
                    said = streamed(chunks, deadline)
            else:
                said = completion(completions.with_raw_response.create(**body).http_response.content)
        except openai.APIStatusError as error:
            raise self._status(error) from None
        except openai.APITimeoutError as error:
            raise self._timed_out(error.__cause__) from None
        except openai.APIConnectionError as error:
            reason = f"no connection ({one_line(error.__cause__ or error)}); start it, or correct the url"
            raise Trouble(reason, transient=True, down=True) from None
        except openai.APIError as error:  # in a stream
            raise refused(error.body or error.message) from None
        except ValueError as error:  # of a part of a stream
            raise Trouble(f"its reply is not JSON ({one_line(error)[:80]})", transient=True) from None
        except Exception as error:
            # Of a stream that breaks: the client library's own, which openai hands on as they are.
            if not type(error).__module__.startswith("http"):
                raise
            if "Timeout" in type(error).__name__:
                raise self._timed_out(error) from None
            raise Trouble(f"the connection was lost ({one_line(error)})", transient=True) from None
        text, stopped = until(said.text, request.stop)  # not every server leaves the stop out
        return Said(text.strip(), said.cut and not stopped, said.tokens_in, said.tokens_out)

    def _timed_out(self, error: BaseException | None) -> Trouble:
        if "Connect" in type(error).__name__:
            reason = f"no connection within {self.timeout_s:g} s; start it, or correct the url"
            return Trouble(reason, transient=True, down=True)
        return Trouble(f"no reply within {self.timeout_s:g} s; raise timeout_s, or ask for less", transient=True)

    def _status(self, error: Any) -> Trouble:
        status = int(error.status_code)
        said = f"HTTP {status}: {reason_of(error.body if error.body else error.response.text)}"
        if status in (401, 403):
            there = "" if os.environ.get(self.key_env) else ", which is not set"
            return Trouble(f"refused ({said}); look at the key in the environment variable {self.key_env}{there}")
        if status == 404:
            return Trouble(f"not found ({said}); look at url and model")
        quota = isinstance(error.body, Mapping) and error.body.get("code") == "insufficient_quota"
        transient = (status in _TRANSIENT or status >= 500) and not quota
        return Trouble(f"refused ({said})", transient=transient, wait=retry_after(error.response.headers))

    def _without_key(self, text: str) -> str:
        key = os.environ.get(self.key_env, "").strip()
        return text.replace(key, "***") if key else text

    @property
    def _client(self) -> Any:
        with self._opening:  # a cached property alone may be computed by two threads
            return self._opened

    @cached_property
    def _opened(self) -> Any:
        try:
            import openai
        except ImportError:
            raise MissingExtra("openai", "rag", "an endpoint as generator") from None
        # The library demands a key; servers that want none ignore it.
        key = os.environ.get(self.key_env, "").strip() or "none"
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise GeneratorError(
                f"the environment variable {self.key_env} holds no key: it has spaces or odd characters"
            )
        return openai.OpenAI(api_key=key, base_url=self.url, max_retries=0, timeout=self.timeout_s)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise InvalidInput(f"url is {url!r}: it is none ({error})") from None
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InvalidInput(
            f"url of {parts.hostname or 'the generator'} holds a name, a password or a query: urls are written to traces; "
            "give the key in an environment variable (key_env)"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(f"url is {url!r}: it must begin with http:// or https://, as in http://localhost:8000/v1")
    return url.rstrip("/").removesuffix("/chat/completions")
