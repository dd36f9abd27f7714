"""Queries made from the documents themselves, for when there are none, or too few.

A query that was cut out of a passage finds the passage again (inverse cloze: Lee, Chang and Toutanova 2019, "Latent
Retrieval", section 4). There a sentence is removed from its passage in nine cases of ten; here documents stay as they are, so
that a model also learns that equal words count. What else is relevant, the teachers say.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log

import numpy as np

from lsr.errors import InvalidInput
from lsr.training.data.words import (
    LONGEST_WORD,
    STOP_WORDS,
    WORD,
    cleaned,
    content_words,
    is_content,
    is_prose,
    is_query,
    normalised,
)

__all__ = ["MADE_KINDS", "MadeQueries", "Passages", "generator_of", "made_queries"]

MOST_WORDS = 20  # of a query cut out of a text
HEADING_WORDS = 10  # a longer head is a sentence
REST = 40  # letters that must be left below a heading
SPAN = (5, 12)
KEYWORDS = (3, 6)
CANDIDATES = 8  # of which so many keywords are drawn
DRAWS = 8  # tries to find keywords that are not those of another document
COUNTED = 50_000  # documents that document frequencies are counted in

_SENTENCE_END = re.compile(
    r"(?<=[.!?])(?<!\b\w\.)(?<!\b(?:Dr|Mr|Ms|St|No|vs|cf|al)\.)(?<!\b(?:Mrs|etc|Fig|Inc)\.)[\"')\]]*\s+(?=[\"'(]?[A-Z0-9])"
    r"|\s+[-–•·*]\s+|\n+"
)
_HEAD_END = re.compile(r"[.:?!](?:\s+|$)|\n|\s+[-–—]\s+")
# A sentence that points at something outside it cannot be asked alone.
_POINTING = re.compile(
    r"^(?:it|its|he|she|his|her|they|their|that|those|such|and|but|or|so|also|then|thus|however|therefore|here|there|note|see"
    r"|you|your|we|our|i|click|select|if|otherwise|for example|in addition|in this|as a result)\b"
    r"|\b(?:this|these|following|example|diagram|figure|table|previous|see)\b|\b(?:above|below)$",
    re.IGNORECASE,
)
_TABLE = re.compile(r"^(?:\w+ ){1,4}(?:Description|Meaning|Value|Type)\b")
_ENDS = " \t.,:;!-–—\"'“”‘’…"
_SPACED = re.compile(r"\s+(?=[,.;!?)])|(?<=\()\s+")


class Passages:
    """Documents to make queries from: contents, of which the first `titles[row]` characters are the title (0: none)."""

    def __init__(self, contents: Sequence[str], titles: Sequence[int] = ()) -> None:
        if titles and len(titles) != len(contents):
            raise InvalidInput(f"there are {len(contents):,} documents and {len(titles):,} lengths of titles")
        self.contents, self._titles = contents, titles

    def __len__(self) -> int:
        return len(self.contents)

    def title(self, row: int) -> str:
        """The title of a document; "" where it has none."""
        return self.contents[row][: self._titles[row]] if self._titles else ""

    def body(self, row: int) -> str:
        """The text of a document without its title."""
        return self.contents[row][self._titles[row] :].lstrip() if self._titles else self.contents[row]

    def head_and_rest(self, row: int) -> tuple[str, str]:
        """The title, or a first line or short beginning that stands as one, and what follows; "" where there is none."""
        title, body = self.title(row), self.body(row)
        if title:
            return title, body
        end = _HEAD_END.search(body, 0, 200)
        if end is None or len(body) - end.end() < REST:
            return "", body
        head = body[: end.start() + (body[end.start()] == "?")]
        return (head, body[end.end() :]) if len(head.split()) <= HEADING_WORDS else ("", body)

    @cached_property
    def rarity(self) -> Mapping[str, float]:
        """How distinctive each content word is: its inverse document frequency times its burstiness.

        A word that says what a text is about is said again there; "today" is as rare in documentation, and comes alone
        (Church and Gale 1995, "Poisson mixtures"). Counted in at most 50,000 documents. A word in one of many documents alone
        has no value: it may be a slip, or the name of one thing.
        """
        step = max(1, len(self) // COUNTED)
        df: Counter[str] = Counter()
        times: Counter[str] = Counter()
        for text in self.contents[::step]:
            words = content_words(text)
            times.update(words)
            df.update(set(words))
        documents = len(self.contents[::step])
        least = 1 if documents < 1000 else 2
        # As if each word had been seen in ten documents more, with a tenth of repetitions: rare ones prove little.
        bursts = {word: (times[word] + 11) / (n + 10) - 1 for word, n in df.items() if n >= least}
        return {w: log((documents + 1) / (df[w] + 0.5)) ** 1.5 * (0.4 + min(1, 4 * b)) for w, b in bursts.items()}


@dataclass(frozen=True, slots=True)
class MadeQueries:
    """A wish for queries made from the documents.

    made: one of `MADE_KINDS`; count: how many at most, None for as many as there are; per_document: how many at most of one
    document; inflect: share of the queries that get a copy with other inflections; kind: what they are called in the
    training set, by default as `made`; share: of the kind among the queries of a batch, None for its share of all queries.
    """

    made: str
    count: int | None = None
    per_document: int = 1
    inflect: float = 0.0
    kind: str = ""
    share: float | None = None

    def __post_init__(self) -> None:
        if self.made not in MADE_KINDS:
            raise InvalidInput(f"queries cannot be made from {self.made!r}: it must be one of {', '.join(MADE_KINDS)}")
        if self.per_document < 1 or (self.count is not None and self.count < 0):
            raise InvalidInput(
                f"{self.made}: count {self.count} and per_document {self.per_document} must not be below 1"
            )
        if not 0 <= self.inflect <= 1:
            raise InvalidInput(f"{self.made}: inflect is {self.inflect}: it must be between 0 and 1")

    @property
    def name(self) -> str:
        """What the kind is called in the training set."""
        return self.kind or self.made


def made_queries(passages: Passages, wanted: MadeQueries, seed: int = 0) -> Iterator[tuple[int, str]]:
    """(row of the document, query) for each query made, in random order of the documents.

    No two queries are equal but for case and punctuation; each has at least two different content words and no code. The
    result depends on the documents, the wish and the seed alone.
    """
    make, rng = _MAKERS[wanted.made], generator_of(seed, wanted.made)
    seen: set[str] = set()
    left = len(passages) * wanted.per_document if wanted.count is None else wanted.count
    for row in rng.permutation(len(passages)).tolist():
        found = 0
        for query in make(passages, row, rng):
            if left <= 0:
                return
            key = normalised(query)
            if key in seen or not is_query(query):
                continue
            seen.add(key)
            yield row, query
            left -= 1
            found += 1
            if found == wanted.per_document:
                break


def generator_of(seed: int, name: str) -> np.random.Generator:
    """Random numbers of their own for a name: what one kind draws changes nothing for another."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _titles(passages: Passages, row: int, rng: np.random.Generator) -> Iterator[str]:
    if title := _tidy(passages.title(row)):
        yield title


def _headings(passages: Passages, row: int, rng: np.random.Generator) -> Iterator[str]:
    head = _tidy(passages.head_and_rest(row)[0])
    if head and not _POINTING.search(head):
        yield head


def _first_sentences(passages: Passages, row: int, rng: np.random.Generator) -> Iterator[str]:
    yield from _of_sentences(_sentences(passages.head_and_rest(row)[1])[:1])


def _any_sentences(passages: Passages, row: int, rng: np.random.Generator) -> Iterator[str]:
    sentences = _sentences(passages.head_and_rest(row)[1])
    yield from _of_sentences([sentences[i] for i in rng.permutation(len(sentences))])


def _of_sentences(sentences: Sequence[str]) -> Iterator[str]:
    for sentence in sentences:
        if sentence[:1].isalpha() and _stands_alone(sentence):
            words = sentence.split()
            cut = _tidy(sentence if len(words) <= MOST_WORDS else _trimmed(words[:MOST_WORDS], ends=1))
            if len(cut.split()) >= SPAN[0] and is_query(cut, 3):
                yield cut


def _spans(passages: Passages, row: int, rng: np.random.Generator) -> Iterator[str]:
    sentences = _sentences(passages.head_and_rest(row)[1])
    for i in rng.permutation(len(sentences)):
        words = sentences[i].split()
        if len(words) >= SPAN[0]:
            length = int(rng.integers(SPAN[0], min(SPAN[1], len(words)) + 1))
            first = int(rng.integers(0, len(words) - length + 1))
            span = _tidy(_trimmed(words[first : first + length]))
            if len(span.split()) >= 4 and _stands_alone(span) and is_query(span, 3):
                yield span


def _keywords(passages: Passages, row: int, rng: np.random.Generator) -> Iterator[str]:
    rarity = passages.rarity
    if not is_prose(passages.contents[row]):
        return
    weights: dict[str, float] = {}
    for word in WORD.findall(passages.contents[row]):
        folded = word.casefold()
        # Capitals inside a word make it an identifier: nobody searches with those alone.
        named = word[1:] != word[1:].lower() and not (word.isupper() and len(word) <= 5)
        if not named and len(word) <= LONGEST_WORD and folded in rarity and is_content(folded):
            weights[folded] = weights.get(folded, 0.0) + 1.0
    # Logarithm of the term frequency: else a word that is said ten times would always be first.
    scored = {word: (1 + log(times)) * rarity[word] for word, times in weights.items()}
    best: list[str] = []
    for word in sorted(scored, key=lambda w: (-scored[w], w)):
        if not any(word.startswith(other) or other.startswith(word) for other in best):  # plurals say it twice
            best.append(word)
        if len(best) == CANDIDATES:
            break
    for _ in range(DRAWS if len(best) >= KEYWORDS[0] else 0):
        count = min(int(rng.integers(KEYWORDS[0], KEYWORDS[1] + 1)), len(best))
        chance = np.array([scored[word] for word in best]) ** 2
        drawn = {best[i] for i in rng.choice(len(best), count, replace=False, p=chance / chance.sum())}
        yield " ".join(word for word in weights if word in drawn)


def _sentences(text: str) -> list[str]:
    return [sentence for part in _SENTENCE_END.split(text) if (sentence := cleaned(part))]


def _stands_alone(text: str) -> bool:
    return _POINTING.search(text) is None and _TABLE.search(text) is None


def _trimmed(words: list[str], ends: int = 2) -> str:
    """A piece of a sentence without the stop words at its end, or both: nobody asks for "of the joystick and"."""
    inside = [i for i, word in enumerate(words) if word.strip(_ENDS + "()").casefold() not in STOP_WORDS]
    return " ".join(words[inside[0] if ends == 2 else 0 : inside[-1] + 1]) if inside else ""


def _tidy(text: str) -> str:
    """The text without punctuation at its ends, and without brackets and quotes that lost their other half."""
    text = _SPACED.sub("", cleaned(text)).strip(_ENDS)
    if text.count("(") != text.count(")"):
        text = cleaned(text.replace("(", " ").replace(")", " "))
    return text.replace('"', "") if text.count('"') % 2 else text


# Kind -> what gives candidates for queries of one document, best or at random first.
_MAKERS: Mapping[str, Callable[[Passages, int, np.random.Generator], Iterator[str]]] = {
    "titles": _titles,
    "headings": _headings,
    "first-sentences": _first_sentences,
    "sentences": _any_sentences,
    "keywords": _keywords,
    "spans": _spans,
}
MADE_KINDS = tuple(_MAKERS)
