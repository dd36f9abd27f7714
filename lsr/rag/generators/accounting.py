"""What texts cost, and a limit that is kept: a budget of tokens or money over all calls."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lsr.errors import InvalidInput
from lsr.rag.generators.base import Generator, Reply, Request
from lsr.rag.generators.texts import TokenCounter, sizes
from lsr.rag.types import Failure, Usage

__all__ = ["OVER_BUDGET", "Adjusted", "Budget", "Budgeted", "Prices", "Wrapper"]

# How the message of a `Failure` begins where a budget was used up.
OVER_BUDGET = "budget"


@dataclass(frozen=True, slots=True)
class Prices:
    """Money for a million tokens that are read, and for a million that are written, in whatever unit the user counts."""

    tokens_in: float = 0.0
    tokens_out: float = 0.0

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1e6


class Wrapper:
    """A generator with something around another one."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    @property
    def name(self) -> str:
        return self.generator.name

    @property
    def context(self) -> int | None:
        return self.generator.context

    def identity(self) -> Mapping[str, Any]:
        return self.generator.identity()

    def check(self) -> None:
        """As that of the generator inside, where it has one."""
        check = getattr(self.generator, "check", None)
        if check is not None:
            check()


class Adjusted(Wrapper):
    """A generator whose requests have another temperature (where it is given), and room for thoughts: so many tokens more
    than they ask for, which a reasoning model spends before it writes."""

    def __init__(self, generator: Generator, *, temperature: float | None = None, thinking_tokens: int = 0) -> None:
        super().__init__(generator)
        self._temperature, self._room = temperature, thinking_tokens

    def identity(self) -> Mapping[str, Any]:
        heat = {} if self._temperature is None else {"temperature": self._temperature}
        return {**self.generator.identity(), **heat, **({"thinking_tokens": self._room} if self._room else {})}

    def generate(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        return self.generator.generate(
            [
                replace(
                    request,
                    max_tokens=request.max_tokens + self._room,
                    temperature=request.temperature if self._temperature is None else self._temperature,
                )
                for request in requests
            ]
        )


class Budget:
    """Tokens (read and written together) and money that may be spent, by all generators that are given it, from any thread.

    A call is made only where the most that it can take is left: its prompt, and as many tokens as it may write. What other
    calls hold at that moment is waited for. spent: what was spent before, of a run that is resumed.
    Raises `InvalidInput` for a limit below 0.
    """

    def __init__(self, tokens: int | None = None, cost: float | None = None, *, spent: Usage | None = None) -> None:
        for what, value in (("tokens", tokens), ("cost", cost)):
            if value is not None and not value >= 0:
                raise InvalidInput(f"a budget of {what} is {value}: it must be 0 or more, or None")
        self.tokens, self.cost = tokens, cost
        self._spent = spent or Usage()
        self._held = (0, 0.0)
        self._holders = 0
        self._changed = threading.Condition()

    @property
    def spent(self) -> Usage:
        """All that was consumed so far, failed calls included."""
        return self._spent

    def hold(self, tokens: int, cost: float, *, wait: bool = True) -> bool:
        """Whether so much is left; it is then held until `settle`. wait: for what others hold, where it would do."""
        with self._changed:
            while self._fits(tokens, cost):
                if self._fits(tokens + self._held[0], cost + self._held[1]):
                    self._held = self._held[0] + tokens, self._held[1] + cost
                    self._holders += 1
                    return True
                if not wait:
                    return False
                self._changed.wait()
            return False

    def settle(self, tokens: int, cost: float, usage: Usage) -> None:
        """Lets go of what was held for a call, and counts what it took."""
        with self._changed:
            self._holders -= 1
            # Sums of floats do not come back to 0 by themselves.
            self._held = (self._held[0] - tokens, self._held[1] - cost) if self._holders else (0, 0.0)
            self._spent += usage
            self._changed.notify_all()

    def _fits(self, tokens: int, cost: float) -> bool:
        return (self.tokens is None or self._spent.tokens_in + self._spent.tokens_out + tokens <= self.tokens) and (
            self.cost is None or self._spent.cost + cost <= self.cost
        )

    def __str__(self) -> str:
        spent = self._spent
        parts = []
        if self.tokens is not None:
            parts.append(f"{spent.tokens_in + spent.tokens_out:,} of {self.tokens:,} tokens are spent")
        if self.cost is not None:
            parts.append(f"{spent.cost:.4g} of {self.cost:.4g} in money is spent")
        return ", ".join(parts) or "no limit"


class Budgeted(Wrapper):
    """A generator that asks for nothing that its budget does not hold: such a request is a `Failure`, not transient.

    As hard as the counting of prompts: tokens are counted by `counter`, or estimated, before a call, and by the generator
    after it.
    """

    def __init__(
        self, generator: Generator, budget: Budget, *, prices: Prices | None = None, counter: TokenCounter | None = None
    ) -> None:
        super().__init__(generator)
        self.budget, self.prices, self._counter = budget, prices or Prices(), counter

    def generate(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        results: list[Reply | Failure] = []
        while len(results) < len(requests):
            # As many as fit go together; only with nothing in hand may one wait for what others hold.
            held: list[tuple[int, float]] = []
            for request in requests[len(results) :]:
                most = self._most(request)
                if not self.budget.hold(*most, wait=not held):
                    break
                held.append(most)
            if held:
                results += self._settled(requests[len(results) : len(results) + len(held)], held)
            else:
                tokens, cost = self._most(requests[len(results)])
                need = f"{tokens:,} tokens" + (f" or {cost:.4g}" if cost else "")
                results.append(Failure("", f"{OVER_BUDGET}: {self.budget}, a call may take {need}; raise the limit"))
        return results

    def _settled(self, requests: Sequence[Request], held: Sequence[tuple[int, float]]) -> list[Reply | Failure]:
        replies: list[Reply | Failure] = []
        try:
            replies = self.generator.generate(requests)
        finally:
            for number, most in enumerate(held):
                self.budget.settle(*most, replies[number].usage if number < len(replies) else Usage())
        return replies

    def _most(self, request: Request) -> tuple[int, float]:
        """The tokens and the money that a request takes at most."""
        size = sizes(request.messages, self._counter)
        return size + request.max_tokens, self.prices.cost(size, request.max_tokens)
