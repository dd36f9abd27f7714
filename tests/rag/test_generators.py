"""Functions as generators, budgets, and what YAML says of a generator."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lsr.rag.generators
from lsr.errors import InvalidInput
from lsr.rag.generators import (
    Adjusted,
    Budget,
    Budgeted,
    CachedGenerator,
    Endpoint,
    FunctionGenerator,
    GeneratorConfig,
    Message,
    Prices,
    Replies,
    Reply,
    Request,
    open_generator,
)
from lsr.rag.types import Failure, Usage
from lsr.schema import from_mapping


def ask(text: str = "Who?", **settings: Any) -> Request:
    return Request((Message("system", "Be brief."), Message("user", text)), **settings)


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def test_the_export_list_is_sorted_and_resolves() -> None:
    module = lsr.rag.generators
    assert module.__all__ == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing_by_this_name"):
        module.nothing_by_this_name  # noqa: B018


# -- functions ---------------------------------------------------------------------------------------------------------


def test_a_function_of_a_text_is_given_the_messages_as_one() -> None:
    (reply,) = FunctionGenerator(lambda text: f"<{text}>", "angles").generate([ask()])
    assert isinstance(reply, Reply)
    assert reply.text == "<Be brief.\n\nWho?>"


def test_a_function_of_messages_is_given_them() -> None:
    given: list[tuple[Message, ...]] = []

    def write(messages: tuple[Message, ...]) -> str:
        given.append(messages)
        return "yes"

    FunctionGenerator(write, "f", messages=True).generate([ask()])
    assert given == [ask().messages]


def test_what_a_function_took_is_counted_and_priced() -> None:
    generator = FunctionGenerator(lambda _: "one two three", "f", counter=words, prices=Prices(1e6, 2e6))
    (reply,) = generator.generate([ask()])
    assert (reply.usage.calls, reply.usage.tokens_out) == (1, 3)
    assert reply.usage.tokens_in >= 3
    assert reply.usage.cost == reply.usage.tokens_in + 6


def test_an_error_of_the_function_is_a_failure_of_that_request_alone() -> None:
    def write(text: str) -> str:
        if "bad" in text:
            raise KeyError("lost")
        return None if "none" in text else text  # type: ignore[return-value]

    bad, none, good = FunctionGenerator(write, "f").generate([ask("bad"), ask("none"), ask("good")])
    assert isinstance(bad, Failure)
    assert "f: KeyError" in bad.message
    assert isinstance(none, Failure)
    assert "NoneType, not a text" in none.message
    assert isinstance(good, Reply)


def test_a_function_may_be_called_by_several_threads_and_replies_keep_their_order() -> None:
    both = threading.Barrier(2)

    def write(text: str) -> str:
        both.wait(10)
        return text.split()[-1]

    replies = FunctionGenerator(write, "f", threads=2).generate([ask(str(number)) for number in range(6)])
    assert [reply.text for reply in replies if isinstance(reply, Reply)] == list("012345")


# -- budgets -----------------------------------------------------------------------------------------------------------


def say(count: int) -> FunctionGenerator:
    """Writes so many words, whatever it is asked."""
    return FunctionGenerator(lambda _: " ".join(["word"] * count), "words", counter=words)


def cost_of_one(count: int) -> int:
    (reply,) = say(count).generate([ask()])
    return reply.usage.tokens_in + reply.usage.tokens_out


def test_a_call_that_the_budget_may_not_hold_is_not_made() -> None:
    budget = Budget(tokens=100)
    generator = Budgeted(say(5), budget, counter=words)
    (failure,) = generator.generate([ask(max_tokens=512)])
    assert isinstance(failure, Failure)
    assert not failure.transient
    assert failure.message.startswith("budget: 0 of 100 tokens are spent, a call may take ")
    assert budget.spent == Usage()
    (reply,) = generator.generate([ask(max_tokens=20)])
    assert isinstance(reply, Reply)
    assert budget.spent.tokens_out == 5


def test_what_calls_leave_of_what_they_might_have_taken_is_there_for_others() -> None:
    one = cost_of_one(2)
    budget = Budget(tokens=10 * one + 30)
    replies = Budgeted(say(2), budget, counter=words).generate([ask(max_tokens=30) for _ in range(12)])
    done = [reply for reply in replies if isinstance(reply, Reply)]
    assert len(done) == 10
    assert replies[: len(done)] == done, "the first are served first"


def test_a_budget_of_money_counts_what_calls_cost() -> None:
    prices = Prices(0.0, 1e6)
    generator = FunctionGenerator(lambda _: "a b c", "f", counter=words, prices=prices)
    budget = Budget(cost=7.5)
    replies = Budgeted(generator, budget, prices=prices, counter=words).generate([ask(max_tokens=3)] * 4)
    assert [type(reply) for reply in replies] == [Reply, Reply, Failure, Failure]
    assert budget.spent.cost == 6
    assert isinstance(replies[2], Failure)
    assert "6 of 7.5 in money is spent" in replies[2].message


def test_failed_calls_are_counted_too() -> None:
    def fail(text: str) -> str:
        raise ValueError

    budget = Budget()
    Budgeted(FunctionGenerator(fail, "f"), budget).generate([ask(), ask()])
    assert budget.spent.calls == 2


def test_a_run_that_is_resumed_goes_on_from_what_was_spent() -> None:
    budget = Budget(tokens=1000, spent=Usage(calls=3, tokens_in=900, tokens_out=95))
    (failure,) = Budgeted(say(1), budget, counter=words).generate([ask(max_tokens=1)])
    assert isinstance(failure, Failure)
    assert budget.spent.calls == 3


@given(
    limit=st.integers(0, 400),
    sizes=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=12),
    threads=st.integers(1, 3),
)
def test_no_budget_is_ever_exceeded_and_none_waits_forever(
    limit: int, sizes: list[tuple[int, int]], threads: int
) -> None:
    """Each writes no more than it may; what is refused did not fit at that moment, whatever others got back."""

    def write(text: str) -> str:
        return " ".join(["word"] * int(text.split()[-1]))

    budget = Budget(tokens=limit)
    inner = FunctionGenerator(write, "f", counter=words)
    requests = [ask(str(min(used, most)), max_tokens=most) for used, most in sizes]
    with ThreadPoolExecutor(threads) as pool:
        parts = [requests[at::threads] for at in range(threads)]
        results = [one for part in pool.map(Budgeted(inner, budget, counter=words).generate, parts) for one in part]
    spent = budget.spent
    assert spent.tokens_in + spent.tokens_out <= limit
    assert sum((each.usage for each in results), Usage()).calls == spent.calls
    for request in requests:  # all that was held is free again
        most = words([m.content for m in request.messages])
        assert budget.hold(0, 0.0, wait=False) or sum(most) > limit
        budget.settle(0, 0.0, Usage())


@pytest.mark.parametrize("limits", [{"tokens": -1}, {"cost": -0.5}, {"cost": math.nan}])
def test_a_budget_below_nothing_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="budget"):
        Budget(**limits)


def test_an_interrupted_call_lets_go_of_what_it_held() -> None:
    def interrupted(text: str) -> str:
        raise KeyboardInterrupt

    budget = Budget(tokens=100)
    with pytest.raises(KeyboardInterrupt):
        Budgeted(FunctionGenerator(interrupted, "f"), budget, counter=words).generate([ask(max_tokens=60)])
    (reply,) = Budgeted(say(1), budget, counter=words).generate([ask(max_tokens=60)])
    assert isinstance(reply, Reply)


# -- what YAML says ----------------------------------------------------------------------------------------------------


def read(**values: Any) -> GeneratorConfig:
    config = from_mapping(GeneratorConfig, values, "pipeline.yaml: generator")
    assert isinstance(config, GeneratorConfig)
    return config


def test_an_endpoint_is_opened_as_described(tmp_path: Path) -> None:
    config = read(
        kind="endpoint",
        url="http://localhost:1/v1",
        model="m",
        key_env="MY_KEY",
        timeout_s=5,
        retries=1,
        concurrency=3,
        stream=True,
        price_in=0.5,
        price_out=1.5,
        max_context=8192,
        temperature=0.3,
        seed=4,
        budget_tokens=10_000,
    )
    cached = open_generator(config, tmp_path)
    assert isinstance(cached, CachedGenerator)
    assert isinstance(cached.replies, Replies)
    assert (cached.name, cached.context) == ("m", 8192)
    assert cached.identity() == {
        "kind": "endpoint",
        "url": "http://localhost:1/v1",
        "model": "m",
        "seed": 4,
        "temperature": 0.3,
    }
    adjusted = cached.generator
    assert isinstance(adjusted, Adjusted)
    budgeted = adjusted.generator
    assert isinstance(budgeted, Budgeted)
    assert budgeted.budget.tokens == 10_000
    inner = budgeted.generator
    assert isinstance(inner, Endpoint)
    assert (inner.key_env, inner.timeout_s, inner.retries, inner.concurrency) == ("MY_KEY", 5.0, 1, 3)
    assert inner.stream
    assert inner.prices == budgeted.prices == Prices(0.5, 1.5)


def test_without_more_it_is_the_endpoint_alone() -> None:
    assert isinstance(open_generator(read(kind="endpoint", url="http://localhost:1/v1", model="m")), Endpoint)


def test_generators_may_share_a_budget() -> None:
    budget = Budget(tokens=5)
    made = open_generator(read(kind="endpoint", url="http://localhost:1/v1", model="m"), budget=budget)
    assert isinstance(made, Budgeted)
    assert made.budget is budget


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "endpont", "model": "m"}, "did you mean endpoint"),
        ({"kind": "endpoint", "model": "m"}, "needs a url"),
        ({"kind": "endpoint", "url": "http://h/v1"}, "needs model"),
        ({"kind": "endpoint", "url": "http://h/v1", "model": "m", "api_key": "sk-1"}, "unknown key 'api_key'"),
        ({"kind": "endpoint", "url": "http://h/v1", "model": "m", "batch": 8}, "batch says nothing"),
        ({"kind": "local", "model": "m", "url": "http://h/v1"}, "url says nothing"),
        ({"kind": "local", "model": "m", "retries": 2}, "retries says nothing"),
        ({"kind": "endpoint", "url": "http://h/v1", "model": "m", "timeout_s": 0}, "timeout_s is"),
        ({"kind": "endpoint", "url": "http://h/v1", "model": "m", "budget_cost": 5}, "needs price_in or price_out"),
        ({"kind": "local", "model": "m", "precision": "fp8"}, "precision is 'fp8'"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=f"pipeline.yaml: generator.*{said}"):
        read(**values)


def test_requests_are_adjusted_and_replies_kept_as_such(tmp_path: Path) -> None:
    asked: list[Request] = []

    class Noting(FunctionGenerator):
        def generate(self, requests: Sequence[Request]) -> list[Reply | Failure]:
            asked.extend(requests)
            return super().generate(requests)

    inner = Noting(lambda _: "yes", "f")
    Adjusted(inner, temperature=0.7, thinking_tokens=100).generate([ask(max_tokens=8)])
    Adjusted(inner).generate([ask(max_tokens=8, temperature=0.2)])
    assert [(each.max_tokens, each.temperature) for each in asked] == [(108, 0.7), (8, 0.2)]
