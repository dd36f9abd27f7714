"""How good answers are beside right ones, and whether the context holds them: all in 0 ... 1, and all but
`judged_support` without a generator.

Exact match and token F1 are those of the official SQuAD script (Rajpurkar et al. 2016), ROUGE-L the F-measure of the
rouge-score package without stemming (Lin 2004). Of several right answers the one that gives most counts. Marks of citation
such as [1] are words to these measures: take them away first (`without_citations`).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lsr.corpus.passages import sentence_places
from lsr.corpus.stop_words import STOP_WORDS
from lsr.errors import InvalidInput
from lsr.rag.generators.base import Generator, Reply, Request
from lsr.rag.templates import Templates, as_data
from lsr.rag.types import Answer, Found

__all__ = [
    "Support",
    "cited",
    "exact_match",
    "judged_support",
    "lexical_support",
    "rouge_l",
    "squad_normalised",
    "token_f1",
    "without_citations",
]

SENTENCE = 0.8  # share of its content words that a sentence must have in one piece of the context to be supported

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NOT_ALNUM = re.compile(r"[^a-z0-9]+")
_CITATION = re.compile(r"\s*\[\d+(?:\s*,\s*\d+)*\]")
_WORD = re.compile(r"\w+")
_CLAIM = re.compile(r"\s*(?:[-*•]|\d+[.)])?\s*\**(?P<verdict>SUPPORTED|UNSUPPORTED)\**\s*:\**\s*\S.*", re.IGNORECASE)


def squad_normalised(text: str) -> str:
    """Lower case, without punctuation (ASCII), articles and extra white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, right: Sequence[str]) -> float:
    """1 where the answer is a right one after normalisation. Raises `InvalidInput` without right answers."""
    return _best(answer, right, lambda said, meant: float(squad_normalised(said) == squad_normalised(meant)))


def token_f1(answer: str, right: Sequence[str]) -> float:
    """F1 of the normalised words of the answer and a right one, as often as they stand. Raises as `exact_match`.

    Where one has no words, as in "the", it is 1 if the other has none either (the script of SQuAD 2).
    """
    return _best(answer, right, _token_f1)


def rouge_l(answer: str, right: Sequence[str]) -> float:
    """F-measure of the longest common subsequence of words (a to z and digits, lower case). Raises as `exact_match`."""
    return _best(answer, right, _rouge_l)


def _best(answer: str, right: Sequence[str], score: Callable[[str, str], float]) -> float:
    if not right:
        raise InvalidInput("a question without answers has no score: leave it out (require_answers lists them)")
    return max(score(answer, one) for one in right)


def _token_f1(said: str, meant: str) -> float:
    ours, theirs = squad_normalised(said).split(), squad_normalised(meant).split()
    if not ours or not theirs:
        return float(ours == theirs)
    same = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * same / (len(ours) + len(theirs))


def _rouge_l(said: str, meant: str) -> float:
    ours, theirs = (_NOT_ALNUM.sub(" ", text.lower()).split() for text in (said, meant))
    if not ours or not theirs:
        return 0.0
    return 2 * _common(ours, theirs) / (len(ours) + len(theirs))


def _common(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """The length of the longest common subsequence, by rows of the usual table as bits (Hyyrö 2004): a word of one text
    is a step of whole numbers, however long the other is."""
    places: dict[str, int] = {}
    for i, word in enumerate(ours):
        places[word] = places.get(word, 0) | 1 << i
    full = (1 << len(ours)) - 1
    row = full
    for word in theirs:
        found = row & places.get(word, 0)
        row = ((row + found) | (row - found)) & full
    return len(ours) - row.bit_count()


@dataclass(frozen=True, slots=True)
class Support:
    """How much of an answer its context holds.

    words: share of the answer's content words that stand in the context. sentences: share of its sentences that are
    supported. None where the answer has no content words: there is nothing to be held.
    """

    words: float | None
    sentences: float | None


def lexical_support(answer: str, context: Sequence[Found]) -> Support:
    """Support by words alone, which is what can be said without a model: a lower bound of care, not of truth.

    Content words are all but English stop words, case folded; marks of citation ([1]) are left out. A sentence is supported
    if at least 0.8 of its content words stand in one piece of the context, title included. A paraphrase of the context
    counts as unsupported, and a sentence that turns the context's words around as supported.
    """
    answer = without_citations(answer)
    pieces = [set(_content(piece.content)) for piece in context]
    known = set().union(*pieces)
    words = _content(answer)
    sentences = [said for start, end in sentence_places(answer) if (said := _content(answer[start:end]))]
    if not words:
        return Support(None, None)
    held = [any(sum(word in piece for word in said) >= SENTENCE * len(said) for piece in pieces) for said in sentences]
    return Support(sum(word in known for word in words) / len(words), sum(held) / len(held))


def cited(answer: Answer, context: Sequence[Found]) -> tuple[Found, ...]:
    """What an answer rests on: the pieces that it cites, all where it cites none. Numbers of no piece are passed over."""
    named = tuple(context[number - 1] for number in answer.citations if 1 <= number <= len(context))
    return named or tuple(context)


def without_citations(text: str) -> str:
    """The text without [1], [2, 3] and the white space before them."""
    return _CITATION.sub("", text).strip()


def _content(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.casefold()) if word not in STOP_WORDS]


def judged_support(
    items: Sequence[tuple[str, str, Sequence[Found]]],
    generator: Generator,
    prompts: Templates | None = None,
    *,
    max_tokens: int = 1024,
) -> list[float | None]:
    """For each (question, answer, context) the share of the answer's claims that a generator finds in the context.

    None is missing data: the generator failed, its reply was cut off, a line of it has not the form that the template
    judge-claims asks for, or the answer claims nothing. Missing values are to be counted, never scored.
    """
    prompts = prompts or Templates()
    requests = [
        Request(
            prompts.render(
                "judge-claims", question=question, answer=as_data([answer], "answer"), context=as_data(context)
            ),
            max_tokens=max_tokens,
        )
        for question, answer, context in items
    ]
    return [
        _supported(reply.text) if isinstance(reply, Reply) and not reply.cut else None
        for reply in generator.generate(requests)
    ]


def _supported(reply: str) -> float | None:
    found = [_CLAIM.fullmatch(line) for line in reply.splitlines() if line.strip()]
    verdicts = [one["verdict"].upper() for one in found if one is not None]
    if not verdicts or len(verdicts) != len(found):
        return None
    return verdicts.count("SUPPORTED") / len(verdicts)
