"""What a language model makes of questions, and of passages before they are searched; how lists are read."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.corpus import Document
from lsr.errors import GeneratorError, InvalidInput
from lsr.rag.generators import Budget, Budgeted, FunctionGenerator, Message, Reply, Request
from lsr.rag.stages.asking import citations, lines
from lsr.rag.stages.base import QueryTransform, stage_class
from lsr.rag.stages.contextual import HypotheticalQuestions, LlmHeaders
from lsr.rag.types import Failure, Made, Passage, Passages, Queries, Span, Usage
from tests.rag.script import NO_PASSAGES, QUESTION, Script, made, with_generator

# -- reading lists -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "one thing\nanother",
        "1. one thing\n2. another",
        "1) one thing\n\n2) another\n",
        "- one thing\n- another",
        "Here are the queries:\n* one thing\n* another",
        'Q1: "one thing"\nQ2: "another"',
        '["one thing", "another"]',
        '```json\n["one thing", "another"]\n```',
        "```\none thing\nanother\n```",
        "one thing\nONE THING\nanother\na third",
    ],
)
def test_a_list_is_read_however_it_is_written(text: str) -> None:
    assert lines(Reply(text, Usage()), 2) == ["one thing", "another"]


def test_the_end_of_a_list_that_was_cut_is_left_out() -> None:
    assert lines(Reply("one thing\nanoth", Usage(), cut=True), 5) == ["one thing"]
    assert lines(Reply("one th", Usage(), cut=True), 5) == ["one th"]


def test_words_that_begin_with_numbers_keep_them() -> None:
    assert lines(Reply("1889 world fair\n330 metres", Usage()), 5) == ["1889 world fair", "330 metres"]


@given(st.text(max_size=60), st.integers(1, 5))
def test_any_reply_is_a_list_of_lines(text: str, most: int) -> None:
    got = lines(Reply(text, Usage()), most)
    assert len(got) <= most
    assert all(line.strip() and "\n" not in line for line in got)


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("Pliny [2] and Vesuvius [1].", (2, 1)),
        ("Both [1, 3].", (1, 3)),
        ("All [1-3], [2–3].", (1, 2, 3)),
        ("Both [1][2][1].", (1, 2)),
        ("See [Document 2] and [documents 1, 3].", (2, 1, 3)),
        ("Invented [4], [0], [17, 2], [3-9].", (2, 3)),
        ("In [2019] a[0] = [x] [] [1", ()),
        ("[1-99999999999999999999]", (1, 2, 3)),
    ],
)
def test_citations_are_numbers_of_evidence(text: str, cited: tuple[int, ...]) -> None:
    assert citations(text, 3) == cited


# -- queries -----------------------------------------------------------------------------------------------------------


def transformed(kind: str, reply: str, **parameters: Any) -> tuple[Queries, Script]:
    made_of = stage_class("query", kind, "test")(**parameters)
    assert isinstance(made_of, QueryTransform)
    script = Script(reply)
    (result,) = made_of.transform([QUESTION], NO_PASSAGES, with_generator(script))
    return made(result), script


@pytest.mark.parametrize(
    ("kind", "parameters", "texts", "fusion"),
    [
        ("multi-query", {"n": 2}, [QUESTION, "b one", "b two"], "convex"),
        ("multi-query", {"n": 1, "fusion": "borda"}, [QUESTION, "b one"], "borda"),
        ("multi-query", {"n": 2, "keep_original": False}, ["b one", "b two"], "convex"),
        ("rag-fusion", {}, [QUESTION, "b one", "b two", "b three"], "rrf"),
        ("decomposition", {"n": 2}, [QUESTION, "b one", "b two"], "rrf"),
        ("hyde", {}, [QUESTION, "b one b two b three"], "convex"),
        ("hyde", {"keep_original": False}, ["b one b two b three"], "convex"),
        ("step-back", {}, [QUESTION, "b one"], "rrf"),
        ("clarify", {}, ["b one"], "rrf"),
        ("rephrase", {}, ["b one"], "rrf"),
    ],
)
def test_what_is_searched_for(kind: str, parameters: dict[str, Any], texts: list[str], fusion: str) -> None:
    queries, script = transformed(kind, "b one\nb two\nb three", **parameters)
    assert [query.text for query in queries.items] == texts
    assert len(texts) == 1 or queries.fusion == fusion
    assert f"Question: {QUESTION}" in script.requests[0].messages[-1].content
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    "kind", ["multi-query", "rag-fusion", "decomposition", "hyde", "step-back", "clarify", "rephrase"]
)
def test_a_reply_without_a_query_leaves_the_question(kind: str) -> None:
    for reply in ("", QUESTION.upper()):
        queries, _ = transformed(kind, reply)
        assert [query.text for query in queries.items] == [QUESTION]


def test_the_number_of_queries_is_asked_for() -> None:
    _, script = transformed("multi-query", "x", n=7)
    assert "7 different wordings" in script.requests[0].messages[-1].content


def test_questions_are_asked_in_one_batch_and_fail_each_for_itself() -> None:
    script = Script(lambda prompt: None if "second" in prompt else "reply")
    rephrase = stage_class("query", "rephrase", "test")()
    assert isinstance(rephrase, QueryTransform)
    one, two, three = rephrase.transform(["first", "second", "third"], NO_PASSAGES, with_generator(script))
    assert script.batches == [3]
    assert made(one) == made(three)
    assert two == Failure("query: rephrase", "cannot", False, Usage(calls=1, tokens_in=10, tokens_out=2))
    assert isinstance(one, Made)
    assert one.usage.calls == 1


def test_without_a_generator_it_says_what_is_missing() -> None:
    with pytest.raises(InvalidInput, match="query: rephrase needs a generator"):
        stage_class("query", "rephrase", "test")().transform(["?"], NO_PASSAGES, with_generator(None))  # type: ignore[attr-defined]


# -- what passages are found by ----------------------------------------------------------------------------------------

TEXT = "A volcano is a rupture. Pliny watched it. " + "Ash fell. " * 60
DOCUMENT = Document("volcano", TEXT, "Volcanoes")
PIECES = [
    Passage("v1", TEXT[:23], "Volcanoes", (Span("volcano", 0, 23),)),
    Passage("v2", TEXT[24:41], "Volcanoes", (Span("volcano", 24, 41),), ("a key",)),
]
PASSAGES = Passages(PIECES, {"volcano": DOCUMENT}, "test")


def test_headers_stand_before_each_key_of_a_passage() -> None:
    script = Script("It is about\nvolcanoes.")
    one, two = LlmHeaders().prepare(PASSAGES, with_generator(script))
    assert one == replace(PIECES[0], keys=(f"It is about volcanoes. {PIECES[0].content}",))
    assert two.keys == ("It is about volcanoes. a key",)
    prompt = script.requests[1].messages[-1].content
    assert f"<document 1>\n{TEXT.strip()}\n</document 1>" in prompt
    assert "<passage 1>\nVolcanoes\nPliny watched it.\n</passage 1>" in prompt


@given(start=st.integers(0, 600), length=st.integers(1, 300), around=st.integers(200, 1000))
def test_so_much_of_the_document_is_shown_around_a_passage(start: int, length: int, around: int) -> None:
    text = "".join(chr(0x4E00 + at) for at in range(700))  # every character stands once
    end = min(700, start + length)
    passage = Passage("p", text[start:end], spans=(Span("d", start, end),))
    script = Script("header")
    LlmHeaders(around=around).prepare(Passages([passage], {"d": Document("d", text)}, "test"), with_generator(script))
    (shown,) = re.findall(r"<document 1>\n(.*?)\n</document 1>", script.requests[0].messages[-1].content)
    assert shown in text
    assert text[start:end] in shown
    assert len(shown) == min(700, max(around, end - start))


def test_questions_are_keys_beside_the_text() -> None:
    script = Script("What is a volcano?\nWhat is a rupture?")
    one, two = HypotheticalQuestions(n=2).prepare(PASSAGES, with_generator(script))
    questions = ("What is a volcano?", "What is a rupture?")
    assert one.keys == (PIECES[0].content, *questions)
    assert two.keys == ("a key", *questions)
    (alone, _) = HypotheticalQuestions(n=2, keep_text=False).prepare(PASSAGES, with_generator(script))
    assert alone.keys == questions
    assert [replace(passage, keys=()) for passage in (one, two)] == [replace(passage, keys=()) for passage in PIECES]


def many(count: int) -> Passages:
    texts = [f"text {number}" for number in range(count)]
    return Passages([Passage(f"p{at}", text) for at, text in enumerate(texts)], {}, "test")


def test_few_passages_without_a_reply_keep_their_keys_and_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    script = Script(lambda prompt: None if "text 7" in prompt else "" if "text 3" in prompt else "Why?")
    with caplog.at_level(logging.WARNING):
        prepared = HypotheticalQuestions().prepare(many(20), with_generator(script))
    assert [at for at, passage in enumerate(prepared) if not passage.keys] == [3, 7]
    assert "nothing usable for 2 of 20 passages" in caplog.text


def test_many_passages_without_a_reply_are_an_error() -> None:
    script = Script(lambda prompt: "Why?" if "text 1" in prompt else None)
    with pytest.raises(GeneratorError, match="nothing usable for 9 of 20 passages, first: cannot"):
        HypotheticalQuestions().prepare(many(20), with_generator(script))


def test_an_endpoint_that_is_down_makes_no_half_prepared_corpus() -> None:
    script = Script(lambda prompt: None if "text 19" in prompt else "Why?", transient=True)
    with pytest.raises(GeneratorError, match=r"prepare: hypothetical-questions: passage 'p19': cannot"):
        HypotheticalQuestions().prepare(many(20), with_generator(script))


def test_a_budget_that_is_used_up_makes_no_half_prepared_corpus() -> None:
    inner = FunctionGenerator(lambda _: "Why?", "f")
    (first,) = inner.generate([Request((Message("user", "x" * 2000),), max_tokens=256)])
    budget = Budget(tokens=60 * (first.usage.tokens_in + first.usage.tokens_out) // 8)
    with pytest.raises(GeneratorError, match=r"passage .*: budget: "):
        HypotheticalQuestions().prepare(many(200), with_generator(Budgeted(inner, budget)))
