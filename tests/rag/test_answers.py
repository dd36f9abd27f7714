"""Measures of answers, beside scripts that others wrote."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.errors import InvalidInput
from lsr.rag.generators.base import Reply, Request
from lsr.rag.judging.answers import (
    cited,
    exact_match,
    judged_support,
    lexical_support,
    rouge_l,
    squad_normalised,
    token_f1,
    without_citations,
)
from lsr.rag.judging.similarity import SparseSimilarity, answer_similarity
from lsr.rag.types import Answer, Failure, Found, Usage

WORDS = ["The", "an", "a", "court", "Court,", "1969", "U.S.", "moon-base", "is", "is", "été", "...", "\n", "don't"]
texts = st.lists(st.sampled_from(WORDS) | st.text(max_size=4), max_size=8).map(" ".join)


# The official script of SQuAD 2.0 (evaluate-v2.0.py): an independent reference, in its own words.


def normalize_answer(s: str) -> str:
    def remove_articles(text: str) -> str:
        return re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", text)

    def white_space_fix(text: str) -> str:
        return " ".join(text.split())

    def remove_punc(text: str) -> str:
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return white_space_fix(remove_articles(remove_punc(s.lower())))


def get_tokens(s: str) -> list[str]:
    return normalize_answer(s).split() if s else []


def compute_exact(a_gold: str, a_pred: str) -> int:
    return int(normalize_answer(a_gold) == normalize_answer(a_pred))


def compute_f1(a_gold: str, a_pred: str) -> float:
    gold_toks, pred_toks = get_tokens(a_gold), get_tokens(a_pred)
    common = Counter(gold_toks) & Counter(pred_toks)
    num_same = sum(common.values())
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        return int(gold_toks == pred_toks)
    if num_same == 0:
        return 0
    precision, recall = 1.0 * num_same / len(pred_toks), 1.0 * num_same / len(gold_toks)
    return (2 * precision * recall) / (precision + recall)


@given(texts, st.lists(texts, min_size=1, max_size=3))
def test_exact_match_and_f1_are_those_of_the_squad_script(answer: str, right: list[str]) -> None:
    assert exact_match(answer, right) == max(compute_exact(one, answer) for one in right)
    assert token_f1(answer, right) == pytest.approx(max(compute_f1(one, answer) for one in right))


def test_normalisation_in_examples() -> None:
    assert squad_normalised("The  U.S. Court, (a) moon-base") == "us court moonbase"
    assert exact_match("the Moon.", ["sun", "moon"]) == 1
    assert token_f1("the cat sat", ["cat sat down"]) == pytest.approx(0.8)


def lcs(a: Sequence[str], b: Sequence[str]) -> int:
    """The table of every textbook."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


letters = st.lists(st.sampled_from("abcd"), max_size=80)


@given(letters, letters)
def test_rouge_l_is_that_of_the_table_of_subsequences(ours: list[str], theirs: list[str]) -> None:
    common = lcs(ours, theirs)
    expected = 2 * common / (len(ours) + len(theirs)) if common else 0.0
    assert rouge_l(" ".join(ours), [" ".join(theirs)]) == pytest.approx(expected)


@pytest.fixture(scope="module")
def rouge_scorer() -> Any:
    module = pytest.importorskip("rouge_score.rouge_scorer", reason="rouge-score is not installed")
    return module.RougeScorer(["rougeL"])


@given(answer=texts, right=texts)
def test_rouge_l_is_that_of_the_rouge_score_package(rouge_scorer: Any, answer: str, right: str) -> None:
    expected = rouge_scorer.score(right, answer)["rougeL"].fmeasure
    assert rouge_l(answer, [right]) == pytest.approx(expected)


@given(texts, texts)
def test_measures_are_symmetric_and_an_answer_is_like_itself(a: str, b: str) -> None:
    assert token_f1(a, [b]) == token_f1(b, [a])
    assert rouge_l(a, [b]) == rouge_l(b, [a])
    assert exact_match(a, [a]) == token_f1(a, [a]) == 1


@pytest.mark.parametrize("measure", [exact_match, token_f1, rouge_l])
def test_a_question_without_answers_has_no_score(measure: object) -> None:
    with pytest.raises(InvalidInput, match="without answers"):
        measure("x", [])  # type: ignore[operator]


def piece(text: str, title: str = "") -> Found:
    return Found(text, title, (), 1.0, ())


def test_citations_are_no_words() -> None:
    assert without_citations("Rome [1], not Paris [2, 3].") == "Rome, not Paris."
    assert exact_match(without_citations("Rome [1]."), ["Rome"]) == 1


def test_lexical_support_counts_content_words_and_sentences() -> None:
    context = [piece("Rome is the capital of Italy."), piece("Tiber flows through it.", title="River Tiber")]
    support = lexical_support("Rome is the capital of Italy [1]. Its river Danube flows fast.", context)
    assert support.words == pytest.approx(5 / 7)  # rome capital italy river flows, not danube and fast
    assert support.sentences == 0.5
    assert lexical_support("It is the one.", context).words is None


def test_a_sentence_must_be_held_by_one_piece() -> None:
    context = [piece("Rome capital"), piece("Italy river")]
    support = lexical_support("Rome capital Italy river.", context)
    assert (support.words, support.sentences) == (1.0, 0.0)


def test_without_context_nothing_is_supported() -> None:
    assert lexical_support("Rome is a capital.", ()).words == 0


def test_what_an_answer_cites() -> None:
    context = [piece("one"), piece("two")]
    assert cited(Answer("x", (2, 7)), context) == (context[1],)
    assert cited(Answer("x"), context) == tuple(context)


class Scripted:
    """Says what it is told to, in order."""

    name = "scripted"
    context: int | None = None

    def __init__(self, *replies: str | Failure) -> None:
        self.replies, self.asked = list(replies), list[Request]()

    def identity(self) -> dict[str, str]:
        return {"name": self.name}

    def generate(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        self.asked.extend(requests)
        found = [self.replies.pop(0) for _ in requests]
        return [one if isinstance(one, Failure) else Reply(one, Usage(), cut=one.endswith("…")) for one in found]


def test_judged_support_is_the_share_of_claims_and_what_cannot_be_read_is_missing() -> None:
    judge = Scripted(
        "SUPPORTED: Rome is a capital.\n- UNSUPPORTED: It is on Mars.\n\nSUPPORTED: It is old.",
        "I think the answer is fine.",
        "SUPPORTED: one\nand some more prose",
        "NOTHING",
        Failure("", "the endpoint is down", transient=True),
        "SUPPORTED: one…",
    )
    items = [("Where?", f"answer {i}", [piece("Rome.")]) for i in range(6)]
    assert judged_support(items, judge) == [pytest.approx(2 / 3), None, None, None, None, None]
    asked = judge.asked[0].messages[-1].content
    assert "<answer 1>\nanswer 0\n</answer 1>" in asked
    assert "<document 1>\nRome.\n</document 1>" in asked


def test_similarity_by_the_bundled_encoder_names_it() -> None:
    by = SparseSimilarity()
    assert by.name == "similarity (lsr-tiny)"
    values = answer_similarity(
        ["a cat sat on the mat", "a cat sat on the mat", ""],
        [["stock prices", "the cat is on a mat"], ["rain"], ["x"]],
        by,
    )
    assert 0.5 < values[0] <= 1
    assert values[1] < 0.3
    assert values[2] == 0
    assert by.pairs(["a dog"], ["a dog"]) == pytest.approx(np.ones(1))
    assert len(by.pairs([], [])) == 0


def test_similarity_needs_right_answers() -> None:
    with pytest.raises(InvalidInput, match="right answers"):
        answer_similarity(["x"], [[]], SparseSimilarity())
