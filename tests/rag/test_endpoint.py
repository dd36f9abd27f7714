"""An endpoint of chat completions, spoken to over HTTP."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.errors import GeneratorError, InvalidInput
from lsr.rag.generators import Endpoint, Message, Prices, Reply, Request
from lsr.rag.generators.chat import Said, Trouble, completion, retry_after
from lsr.rag.types import Failure
from tests.rag import chat_server
from tests.rag.chat_server import ChatServer, answer, hangs_up, raw, raw_stream, refuses, says, silence, streams

KEY = "sk-very-secret-0123456789"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with chat_server.chat_server() as running:
        yield running


def endpoint(server: ChatServer, **settings: Any) -> Endpoint:
    return Endpoint(server.url, "a-model", **({"backoff_s": 0.001, "retries": 2} | settings))


def ask(text: str = "Who?", **settings: Any) -> Request:
    return Request((Message("system", "Be brief."), Message("user", text)), **settings)


def one(generator: Endpoint, request: Request | None = None) -> Reply | Failure:
    (result,) = generator.generate([request or ask()])
    return result


def reply(generator: Endpoint, request: Request | None = None) -> Reply:
    result = one(generator, request)
    assert isinstance(result, Reply), result
    return result


def failure(generator: Endpoint, request: Request | None = None) -> Failure:
    result = one(generator, request)
    assert isinstance(result, Failure), result
    return result


# -- what is sent, what comes back -------------------------------------------------------------------------------------


def test_a_request_is_sent_as_the_protocol_says(server: ChatServer) -> None:
    reply(endpoint(server, seed=5), ask(max_tokens=40, temperature=0.5, stop=("END",)))
    assert server.paths == ["/v1/chat/completions"]
    assert server.requests == [
        {
            "model": "a-model",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}],
            "max_tokens": 40,
            "temperature": 0.5,
            "stop": ["END"],
            "seed": 5,
        }
    ]


def test_a_model_that_wants_it_is_told_max_completion_tokens(server: ChatServer) -> None:
    reply(endpoint(server, tokens_field="max_completion_tokens"), ask(max_tokens=40))
    assert server.requests[0]["max_completion_tokens"] == 40
    assert "max_tokens" not in server.requests[0]


def test_replies_come_with_the_tokens_that_were_counted_and_their_price(server: ChatServer) -> None:
    server.acts = [says("Ada Lovelace.", usage=(1000, 200))]
    got = reply(endpoint(server, prices=Prices(2.0, 10.0)))
    assert (got.text, got.cut, got.cached) == ("Ada Lovelace.", False, False)
    assert (got.usage.calls, got.usage.tokens_in, got.usage.tokens_out) == (1, 1000, 200)
    assert got.usage.cost == pytest.approx(0.004)
    assert got.usage.seconds > 0


def test_tokens_that_nobody_counted_are_counted_here(server: ChatServer) -> None:
    server.acts = [says("a b c", usage=None)]
    got = reply(endpoint(server, counter=lambda texts: [len(text.split()) for text in texts]))
    assert got.usage.tokens_out == 3
    assert got.usage.tokens_in >= 3  # "Be brief." and "Who?", and what stands around messages
    assert reply(endpoint(server)).usage.tokens_out == 2  # 5 bytes, 4 a token


def test_a_reply_that_reached_max_tokens_is_cut(server: ChatServer) -> None:
    server.acts = [says("Ada Love", finish="length")]
    assert reply(endpoint(server)).cut


def test_a_reply_ends_before_a_stop_that_the_server_left_in(server: ChatServer) -> None:
    server.acts = [says("Ada END of it")]
    assert reply(endpoint(server), ask(stop=("END",))).text == "Ada"


def test_thoughts_are_no_part_of_a_reply(server: ChatServer) -> None:
    server.acts = [says("<think>\nWho may it be?\n</think>\n\nAda")]
    assert reply(endpoint(server)).text == "Ada"


def test_replies_are_in_the_order_of_requests_whatever_is_faster(server: ChatServer) -> None:
    def echo(handler: Any) -> None:
        says(server.requests[-1]["messages"][-1]["content"])(handler)

    server.acts = [echo]
    texts = [f"question {number}" for number in range(20)]
    got = endpoint(server, concurrency=1).generate([ask(text) for text in texts])
    assert [each.text for each in got if isinstance(each, Reply)] == texts
    assert [isinstance(each, Reply) for each in endpoint(server).generate([ask(text) for text in texts])] == [True] * 20


def test_no_more_calls_are_under_way_than_allowed(server: ChatServer) -> None:
    def slowly(handler: Any) -> None:
        server.release.wait(0.02)
        says("yes")(handler)

    server.acts = [slowly]
    generator = endpoint(server, concurrency=2)
    with ThreadPoolExecutor(3) as pool:  # of all who use it together
        list(pool.map(lambda _: generator.generate([ask(str(number)) for number in range(4)]), range(3)))
    assert len(server.requests) == 12
    assert server.most_at_once == 2


# -- another try -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble",
    [
        refuses(429, "slow down", {"Retry-After": "0.001"}),
        refuses(429, "slow down", {"retry-after-ms": "1"}),
        refuses(500, "oops"),
        refuses(503, "loading"),
        raw(502, b"<html>Bad gateway</html>"),
        raw(200, b"{ no json"),
        answer({"id": "x", "choices": []}),
        answer({"error": {"message": "try again", "code": 429}}),
        hangs_up,
    ],
)
def test_what_may_pass_is_tried_again(server: ChatServer, trouble: chat_server.Act) -> None:
    server.acts = [trouble, says("yes")]
    got = reply(endpoint(server))
    assert got.text == "yes"
    assert got.usage.calls == 2
    assert (got.usage.tokens_in, got.usage.tokens_out) == (7, 3)


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (refuses(429, "slow down", {"Retry-After": "0.001"}), "HTTP 429: slow down"),
        (refuses(500, "oops"), "HTTP 500: oops"),
        (raw(200, b"{ no json"), "not JSON"),
        (answer({"id": "x", "choices": []}), "no choices"),
        (hangs_up, "no connection"),
    ],
)
def test_what_does_not_pass_is_a_failure_for_now(server: ChatServer, trouble: chat_server.Act, said: str) -> None:
    server.acts = [trouble]
    got = failure(endpoint(server, retries=1))
    assert got.transient
    assert said in got.message
    assert server.url in got.message
    assert "after 2 tries" in got.message
    assert len(server.requests) == got.usage.calls == 2


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (refuses(400, "context too long"), "HTTP 400: context too long"),
        (refuses(401, "no such key"), "OPENAI_API_KEY"),
        (refuses(404, "no model a-model"), "look at url and model"),
        (refuses(429, "no money", code="insufficient_quota"), "no money"),
        (answer({"error": {"message": "bad model", "code": 400}}), "bad model"),
        (answer({"error": "model is not loaded"}), "model is not loaded"),
        (answer({"detail": "wrong"}, 422), "wrong"),
        (answer(["a list"]), "no object"),
        (says(None), "wrote no text"),
        (says(None, finish="content_filter"), "content filter"),
        (says("<think>so many", finish="length"), "thinking_tokens"),
    ],
)
def test_what_will_not_pass_is_tried_once(server: ChatServer, trouble: chat_server.Act, said: str) -> None:
    server.acts = [trouble]
    got = failure(endpoint(server))
    assert not got.transient
    assert said in got.message
    assert len(server.requests) == 1


def test_tokens_of_a_reply_without_text_are_counted(server: ChatServer) -> None:
    server.acts = [says("", finish="length", usage=(9, 16))]
    usage = failure(endpoint(server, prices=Prices(0, 1e6))).usage
    assert (usage.calls, usage.tokens_in, usage.tokens_out, usage.cost) == (1, 9, 16, 16.0)


def test_an_endpoint_that_asks_for_long_patience_is_not_waited_for(server: ChatServer) -> None:
    server.acts = [refuses(429, "come back", {"Retry-After": "86400"})]
    got = failure(endpoint(server, retries=5))
    assert got.transient
    assert "asks to wait 86400 s" in got.message
    assert len(server.requests) == 1


def test_one_failure_takes_no_other_request_with_it(server: ChatServer) -> None:
    server.acts = [says("one"), refuses(400, "no"), says("three")]
    got = endpoint(server, concurrency=1).generate([ask("1"), ask("2"), ask("3")])
    assert [type(each) for each in got] == [Reply, Failure, Reply]


def test_a_server_that_does_not_answer_in_time_is_left(server: ChatServer) -> None:
    server.acts = [silence]
    got = failure(endpoint(server, timeout_s=0.1, retries=0))
    assert got.transient
    assert "no reply within 0.1 s; raise timeout_s" in got.message


def test_an_endpoint_that_is_down_says_so_and_only_the_first_request_waits() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    generator = Endpoint(f"http://127.0.0.1:{port}/v1", "a-model", retries=3, backoff_s=0.001, concurrency=1)
    first, *others = (each for each in generator.generate([ask(str(n)) for n in range(4)]) if isinstance(each, Failure))
    assert f"http://127.0.0.1:{port}/v1, model a-model: no connection (" in first.message
    assert "start it, or correct the url" in first.message
    assert first.transient
    assert first.usage.calls == 4
    assert [each.usage.calls for each in others] == [1, 1, 1]
    with pytest.raises(GeneratorError, match=f"{port}.*no connection"):
        generator.check()


@given(st.integers(-5, 100_000))
def test_a_date_to_come_back_at_is_so_many_seconds_away(seconds: int) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    got = retry_after({"retry-after": date})
    assert got is not None
    assert max(0, seconds - 5) <= got <= max(0, seconds)


@given(st.text(max_size=20))
def test_no_header_is_too_odd_to_be_read(value: str) -> None:
    got = retry_after({"retry-after": value})
    assert got is None or got >= 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "usage", "prompt_tokens", "finish_reason", "error", "code", "role"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON.map(lambda data: json.dumps(data).encode()) | st.binary(max_size=40))
def test_any_body_is_a_text_or_a_trouble(body: bytes) -> None:
    try:
        result: Said | Trouble = completion(body)
    except Trouble as trouble:
        result = trouble
    assert result.text if isinstance(result, Said) else result.message


# -- streams -----------------------------------------------------------------------------------------------------------


def test_a_stream_is_put_together(server: ChatServer) -> None:
    server.acts = [streams(["Ada", " Love", "lace"], usage=(11, 4))]
    got = reply(endpoint(server, stream=True))
    assert got.text == "Ada Lovelace"
    assert (got.usage.tokens_in, got.usage.tokens_out) == (11, 4)
    assert server.requests[0]["stream"] is True
    assert server.requests[0]["stream_options"] == {"include_usage": True}


def test_a_stream_without_usage_is_counted_here(server: ChatServer) -> None:
    server.acts = [streams(["Ada", " Lovelace"], usage=None)]
    assert reply(endpoint(server, stream=True)).usage.tokens_out == 3


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (streams(["Ada", " Lov"], finish=None), "ended before the reply did"),
        (raw_stream(['{"choices": [{"index": 0, "del']), "not JSON"),
        (raw_stream(['{"error": {"message": "overheated", "type": "server_error"}}']), "overheated"),
        (refuses(429, "slow down", {"retry-after-ms": "1"}), "slow down"),
    ],
)
def test_a_stream_that_breaks_is_tried_again(server: ChatServer, trouble: chat_server.Act, said: str) -> None:
    server.acts = [trouble, streams(["Ada"])]
    assert reply(endpoint(server, stream=True)).text == "Ada"
    server.acts = [trouble]
    got = failure(endpoint(server, stream=True, retries=0))
    assert got.transient
    assert said in got.message


def test_a_stream_that_stops_coming_is_left(server: ChatServer) -> None:
    def begins(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        handler.wfile.write(b'data: {"choices": [{"index": 0, "delta": {"content": "Ada"}}]}\n\n')
        handler.wfile.flush()
        silence(handler)

    server.acts = [begins]
    got = failure(endpoint(server, stream=True, timeout_s=0.2, retries=0))
    assert got.transient
    assert "no reply within 0.2 s" in got.message


# -- keys --------------------------------------------------------------------------------------------------------------


def test_the_key_is_sent_and_shown_nowhere(server: ChatServer) -> None:
    server.acts = [refuses(401, f"Incorrect API key provided: {KEY}"), refuses(500, f"debug: Bearer {KEY}")]
    generator = endpoint(server, retries=0)
    got = [failure(generator), failure(generator)]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    with pytest.raises(GeneratorError) as raised:
        generator.check()
    said = [repr(got), repr(generator), str(generator), json.dumps(generator.identity()), str(raised.value)]
    said.append(repr(vars(generator)))
    assert not [each for each in said if KEY in each]
    assert "***" in got[0].message


def test_the_key_is_that_of_the_named_variable(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", " another-key\n")
    reply(endpoint(server, key_env="MY_KEY"))
    assert server.headers[0]["Authorization"] == "Bearer another-key"


def test_a_server_of_ones_own_needs_no_key(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    assert reply(endpoint(server)).text == "yes"
    server.acts = [refuses(401, "who are you?")]
    assert "OPENAI_API_KEY, which is not set" in failure(endpoint(server)).message


@pytest.mark.parametrize("key", ["two words", "ключ", "a\x01b"])
def test_a_key_that_cannot_be_sent_is_refused_unseen(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODD_KEY", key)
    with pytest.raises(GeneratorError, match="ODD_KEY") as raised:
        Endpoint("http://127.0.0.1:1/v1", "m", key_env="ODD_KEY").generate([ask()])
    assert key not in str(raised.value)


@pytest.mark.parametrize("url", ["http://me:pass@host/v1", "https://host/v1?api-key=pass"])
def test_secrets_in_a_url_are_refused_unseen(url: str) -> None:
    with pytest.raises(InvalidInput, match="key_env") as raised:
        Endpoint(url, "m")
    assert "pass@" not in str(raised.value)
    assert "=pass" not in str(raised.value)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "", "http://", "http://host:port/v1"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="url"):
        Endpoint(url, "m")


def test_the_end_of_the_protocol_may_be_part_of_the_url(server: ChatServer) -> None:
    reply(Endpoint(f"{server.url}/chat/completions/", "m"))
    assert server.paths == ["/v1/chat/completions"]


# -- before a long run -------------------------------------------------------------------------------------------------


def test_a_check_passes_where_the_endpoint_works_even_if_it_only_thinks(server: ChatServer) -> None:
    endpoint(server).check()
    server.acts = [says("<think>well", finish="length")]
    endpoint(server).check()


def test_a_check_says_what_is_wrong(server: ChatServer) -> None:
    server.acts = [refuses(404, "the model 'a-model' does not exist")]
    with pytest.raises(GeneratorError, match=r"a-model.*does not exist.*look at url and model"):
        endpoint(server).check()


def test_nothing_is_asked_before_it_must_be(server: ChatServer) -> None:
    generator = endpoint(server)
    assert generator.identity() == {"kind": "endpoint", "url": server.url, "model": "a-model"}
    assert generator.generate([]) == []
    assert server.requests == []
