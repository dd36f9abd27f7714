"""Other inflections of a word: a model without a stemmer learns from them that "rotating" and "rotate" are one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput, MissingExtra
from lsr.training.data.words import STOP_WORDS

__all__ = ["Inflections"]

LEAST_LETTERS = 4
_WORD = re.compile(r"[^\W\d_]+")
# What may differ after the letters that two forms share. Snowball also joins words that only share a root (universe and
# university, general and generation, organ and organization), and doers with what they do (a driver and to drive): their
# endings are not among these.
_ENDINGS = frozenset(("", "s", "es", "e", "ed", "d", "ing", "y", "ies", "ied", "ion", "ions", "ation", "ations"))
_STRANGERS = {"", "e"}  # moral and morale, human and humane


class _Forms(NamedTuple):
    words: tuple[str, ...]
    weights: npt.NDArray[np.float64]


class Inflections:
    """Groups of inflections that occur in a corpus, with how often each does."""

    def __init__(self, forms: Mapping[str, _Forms]) -> None:
        self._forms = forms

    @classmethod
    def learn(cls, words: Mapping[str, int] | Iterable[str], *, least: int = 5) -> Inflections:
        """From the words of a corpus with their counts, or from its texts.

        Words of at least four letters that occur at least `least` times count, stop words apart. Words belong together when
        Snowball's English stemmer gives them one stem and they differ in an ending of inflection ("s", "ed", "ing", "ation"
        ...) alone.

        Raises `MissingExtra` without PyStemmer.
        """
        try:
            import Stemmer
        except ImportError:
            raise MissingExtra("PyStemmer", "train", "finding inflections") from None
        counts = words if isinstance(words, Mapping) else _word_counts(words)
        often = [w for w, n in counts.items() if n >= least and len(w) >= LEAST_LETTERS and w not in STOP_WORDS]
        stemmer: Any = Stemmer.Stemmer("english")
        groups: dict[str, list[str]] = {}
        for word, stem in zip(often, stemmer.stemWords(often), strict=True):
            groups.setdefault(stem, []).append(word)
        forms: dict[str, _Forms] = {}
        for group in groups.values():
            for word in group:
                if others := tuple(other for other in sorted(group) if other != word and _related(word, other)):
                    weights = np.sqrt([counts[other] for other in others])
                    forms[word] = _Forms(others, np.cumsum(weights / weights.sum()))
        return cls(forms)

    def __len__(self) -> int:
        """Number of words that have another inflection."""
        return len(self._forms)

    def of(self, word: str) -> tuple[str, ...]:
        """The other inflections of a word, in alphabetical order."""
        forms = self._forms.get(word.casefold())
        return () if forms is None else forms.words

    def vary(self, query: str, rng: np.random.Generator, rate: float) -> str:
        """The query, each of its words with probability `rate` as another inflection.

        Which one is drawn by the square root of how often it occurs. A word keeps its capital; words in capitals (names,
        constants) stay. Raises `InvalidInput` for a rate that is no probability.
        """
        if not 0 <= rate <= 1:
            raise InvalidInput(f"the rate of inflections is {rate}: it must be between 0 and 1")

        def other(match: re.Match[str]) -> str:
            word = match.group()
            forms = self._forms.get(word.casefold())
            if forms is None or not (word.islower() or word[1:].islower()) or rng.random() >= rate:
                return word
            drawn = min(int(np.searchsorted(forms.weights, rng.random(), side="right")), len(forms.words) - 1)
            return forms.words[drawn].capitalize() if word[0].isupper() else forms.words[drawn]

        return _WORD.sub(other, query)


def _word_counts(texts: Iterable[str]) -> Counter[str]:
    """How often each word of letters occurs, case folded."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_WORD.findall(text.casefold()))
    return counts


def _related(one: str, other: str) -> bool:
    """Whether two words of one stem differ in nothing but an ending of inflection."""
    shared = one[
        : next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    ]
    if len(shared) < LEAST_LETTERS - 1:
        return False
    first, second = (_ending(word[len(shared) :], shared[-1]) for word in (one, other))
    return first in _ENDINGS and second in _ENDINGS and {first, second} != _STRANGERS


def _ending(rest: str, before: str) -> str:
    """An ending without the consonant that it doubles: "ning" of running is "ing"."""
    return rest[1:] if len(rest) > 2 and rest[0] == before else rest
