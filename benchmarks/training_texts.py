"""Texts made fit for training: passages and questions of MedQuAD of the shared folder, definitions of WordNet, domains."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lsr.training.data.words import content_words

__all__ = ["Definition", "Domains", "definitions", "medical_question", "passage_of", "readable", "shortened"]

LEAST_WORDS = 8
MOST_CHARACTERS = 1500  # of an answer: more than 256 tokens are not read
TITLE_WORDS = 12
_CODE = re.compile(r"[{}<>=|\\^~@#$`\[\]*;]|::|--|\(\)|//|â|document type:")
_TITLE = re.compile(r"\.\s+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def readable(text: str) -> bool:
    """Whether a passage is prose: not a table, code, a list of names or a stump."""
    words = text.split()
    letters = sum(map(str.isalpha, text))
    spaces = text.count(" ")
    if len(words) < LEAST_WORDS or letters < 0.8 * (len(text) - spaces):
        return False
    return len(_CODE.findall(text)) < 0.06 * len(words) + 2 and max(map(len, words)) <= 60


def passage_of(text: str) -> tuple[str, str]:
    """(title, text) of a passage that carries the title of its page in front, "Title. Text"; ("", text) of another.

    A title has few words and most begin with a capital or a digit; else it is the first sentence.
    """
    end = _TITLE.search(text, 0, 120)
    if end is None:
        return "", text
    title, rest = text[: end.start()], text[end.end() :]
    words = title.split()
    large = sum(not word[0].islower() for word in words if len(word) > 3 or not word.islower())
    counted = sum(len(word) > 3 or not word.islower() for word in words)
    if not rest or len(words) > TITLE_WORDS or len(rest.split()) < LEAST_WORDS or large < 0.7 * counted:
        return "", text
    return title, rest


def shortened(text: str) -> str:
    """A long answer as far as it is read, up to the end of a sentence."""
    if len(text) <= MOST_CHARACTERS:
        return text
    ends = [found.start() for found in _SENTENCE.finditer(text, 0, MOST_CHARACTERS)]
    end = ends[-1] if ends and ends[-1] > MOST_CHARACTERS // 2 else text.rfind(" ", 0, MOST_CHARACTERS)
    return text[:end]


# Question of MedQuAD -> how people ask it. The first form is a whole question; half of the questions get it.
_FORMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"What is \(are\) (.+)", ("What is {}?", "{}", "what is {}", "{} overview")),
    (r"What are the symptoms of (.+)", ("What are the symptoms of {}?", "{} symptoms", "signs of {}")),
    (r"What are the treatments for (.+)", ("What are the treatments for {}?", "{} treatment", "how to treat {}")),
    (r"What causes (.+)", ("What causes {}?", "causes of {}", "{} cause")),
    (
        r"How many people are affected by (.+)",
        ("How many people are affected by {}?", "{} prevalence", "how common is {}"),
    ),
    (
        r"What are the genetic changes related to (.+)",
        ("What are the genetic changes related to {}?", "{} gene mutation", "genetics of {}"),
    ),
    (
        r"what research \(or clinical trials\) is being done for (.+)",
        ("What research is being done for {}?", "{} clinical trials", "research on {}"),
    ),
    (r"What is the outlook for (.+)", ("What is the outlook for {}?", "{} prognosis", "life expectancy with {}")),
    (r"Who is at risk for (.+)", ("Who is at risk for {}?", "{} risk factors")),
    (r"Is (.+) inherited", ("Is {} inherited?", "{} inheritance", "is {} hereditary")),
    (r"How is (.+) inherited", ("How is {} inherited?", "{} inheritance pattern", "is {} hereditary")),
    (r"How to diagnose (.+)", ("How is {} diagnosed?", "{} diagnosis", "tests for {}")),
    (r"How to prevent (.+)", ("How can {} be prevented?", "{} prevention", "how to prevent {}")),
    (r"What are the complications of (.+)", ("What are the complications of {}?", "{} complications")),
    (r"What are the stages of (.+)", ("What are the stages of {}?", "{} stages")),
    (r"What to do for (.+)", ("What should I eat or do for {}?", "{} diet and self-care", "what to do for {}")),
    (r"Do you have information about (.+)", ("Where can I find information about {}?", "{}", "{} information")),
)
_QUESTIONS = tuple((re.compile(pattern + r"$"), forms) for pattern, forms in _FORMS)


def medical_question(question: str, rng: np.random.Generator) -> str:
    """A question of MedQuAD as somebody would ask it: "What is (are) X ?" is what its makers filled in."""
    asked = re.sub(r"[\s?]+$", "", question)
    for pattern, forms in _QUESTIONS:
        if found := pattern.match(asked):
            topic = found.group(1)
            if re.match(r"(?:What|How|Who|Is|Are|Do|Can) ", topic):  # a heading was a question already
                return topic + "?"
            form = forms[0] if rng.random() < 0.5 else forms[1 + int(rng.integers(len(forms) - 1))]
            return form.format(topic)
    return asked + "?"


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A meaning of WordNet: the words that have it, what it is, and one word for what it is a kind of ("" if none)."""

    words: list[str]
    meaning: str
    above: str


def definitions(folder: Path) -> Iterator[Definition]:
    """All meanings of nouns, verbs and adjectives, from the files of WordNet 3.0 (data.noun, ...; see wndb(5)).

    A line is "offset file type count word id [word id ...] pointers [pointer ...] [frames ...] | meaning", the count of
    words in hexadecimal, and a pointer "sign offset type numbers".
    """
    for name in ("noun", "verb", "adj"):
        lines = (folder / f"data.{name}").read_text(encoding="utf-8").splitlines()
        parsed = [(line.partition(" | ")) for line in lines if not line.startswith("  ")]
        first = {head.split(" ", 1)[0]: _word(head.split(" ", 5)[4]) for head, _, _ in parsed}
        for head, _, meaning in parsed:
            parts = head.split()
            count = int(parts[3], 16)
            words = [_word(word) for word in parts[4 : 4 + 2 * count : 2]]
            pointers = parts[5 + 2 * count :]
            above = next((pointers[i + 1] for i, sign in enumerate(pointers) if sign in ("@", "@i")), "")
            yield Definition(words=list(dict.fromkeys(words)), meaning=meaning.strip(), above=first.get(above, ""))


def _word(lemma: str) -> str:
    """A word as it is written: "adult_female" in the files, and "asleep(p)" where an adjective has one place alone."""
    return re.sub(r"\([a-z]+\)$", "", lemma).replace("_", " ")


class Domains:
    """What a text is about, of a few domains: the most likely by its words (naive Bayes over content words)."""

    def __init__(self, **texts: Iterable[str]) -> None:
        counts = {name: Counter(word for text in some for word in content_words(text)) for name, some in texts.items()}
        self._names = list(counts)
        words = set().union(*counts.values())
        totals = [sum(one.values()) + len(words) for one in counts.values()]
        self._weights = {
            word: [math.log((one[word] + 1) / total) for one, total in zip(counts.values(), totals, strict=True)]
            for word in words
        }

    def of(self, text: str) -> str:
        """The name of the domain."""
        found = [self._weights[word] for word in content_words(text) if word in self._weights]
        sums = [sum(column) for column in zip(*found, strict=True)]
        return self._names[sums.index(max(sums))] if sums else self._names[0]
