"""A generator as the judge of two answers: which is better, or that neither is.

Which answer stands first is drawn for each item from seed and ids, so that it does not depend on what else is judged; with
`flips` both orders are asked, and a verdict counts only where it stays with the answer, not with the place. A verdict that
cannot be read is missing data: counted, never half a win.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import xxhash

from lsr.errors import InvalidInput
from lsr.rag.generators.base import Generator, Reply, Request
from lsr.rag.judging.power import sign_test, wilson_interval
from lsr.rag.templates import Templates, as_data
from lsr.rag.types import Failure, Usage

__all__ = ["Asked", "Judged", "Outcome", "Pair", "PairJudge", "Tally", "Verdict", "parsed_verdict", "tally"]

Verdict: TypeAlias = Literal["A", "B", "tie"]
Outcome: TypeAlias = Literal["win", "loss", "tie"]  # of the system that is judged, against its opponent

_VERDICT = re.compile(r"[*_`\s]*VERDICT[*_\s]*:[*_`\s]*(?P<verdict>A|B|TIE)[*_`.\s]*", re.IGNORECASE)
_NAMED = re.compile(r"VERDICT\W*:", re.IGNORECASE)
_OF_A: Mapping[Verdict, Outcome] = {"A": "win", "B": "loss", "tie": "tie"}
_TURNED: Mapping[Outcome, Outcome] = {"win": "loss", "loss": "win", "tie": "tie"}


def parsed_verdict(reply: str) -> Verdict | None:
    """The verdict of a reply: its last line that is not blank must be one, as "VERDICT: A", and no other line may be
    another.

    None for anything else: there is no guessing.
    """
    lines = [line for line in reply.splitlines() if line.strip()]
    if not lines or (last := _VERDICT.fullmatch(lines[-1])) is None:
        return None
    if any(_NAMED.search(line) and not _same(line, last["verdict"]) for line in lines[:-1]):
        return None
    verdicts: Mapping[str, Verdict] = {"A": "A", "B": "B", "TIE": "tie"}
    return verdicts[last["verdict"].upper()]


def _same(line: str, verdict: str) -> bool:
    found = _VERDICT.fullmatch(line)
    return found is not None and found["verdict"].upper() == verdict.upper()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to a question: that of the system which is judged, and of its opponent. right: right answers, if any."""

    id: str
    question: str
    system: str
    opponent: str
    answer: str
    other: str
    right: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """One question to the judge. first: the system whose answer stood first. verdict: None where the reply has none, or was
    cut off; failure: why there is no reply."""

    first: str
    verdict: Verdict | None
    reply: str = ""
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """The outcome of a pair for its system; None is missing data. usage: what the judge consumed.

    flipped: with both orders asked, whether the judge chose another answer when they changed places; None where it was not
    asked twice, or a verdict is missing.
    """

    pair: Pair
    outcome: Outcome | None
    asked: tuple[Asked, ...]
    flipped: bool | None
    usage: Usage


class PairJudge:
    """Judges pairs of answers with a generator and the template judge-pair.

    flips: ask both orders. The outcome is then a win or a loss where both agree, a tie where they do not, and missing where
    one of them is. seed: of the orders. max_tokens: of a reply; one that is cut off has no verdict.
    """

    def __init__(
        self,
        generator: Generator,
        prompts: Templates | None = None,
        *,
        flips: bool = False,
        seed: int = 0,
        max_tokens: int = 512,
    ) -> None:
        self.generator, self.prompts = generator, prompts or Templates()
        self.flips, self.seed, self.max_tokens = flips, seed, max_tokens

    def judge(self, pairs: Sequence[Pair]) -> list[Judged]:
        """The outcome of each pair, in their order; all are asked at once."""
        orders = [self._orders(pair) for pair in pairs]
        requests = [
            self._request(pair, first) for pair, several in zip(pairs, orders, strict=True) for first in several
        ]
        replies = iter(self.generator.generate(requests))
        return [
            _judged(pair, [_asked(first, next(replies)) for first in several])
            for pair, several in zip(pairs, orders, strict=True)
        ]

    def _orders(self, pair: Pair) -> list[str]:
        """Who stands first, in one or both orders. The same for a pair and for the pair turned around."""
        if pair.system == pair.opponent:
            raise InvalidInput(f"{pair.system!r} is judged against itself: give two systems")
        names = sorted((pair.system, pair.opponent))
        coin = xxhash.xxh3_64_intdigest("\0".join((str(self.seed), pair.id, *names)).encode()) & 1
        first = names[coin]
        return [first, names[1 - coin]] if self.flips else [first]

    def _request(self, pair: Pair, first: str) -> Request:
        answers = (pair.answer, pair.other) if first == pair.system else (pair.other, pair.answer)
        messages = self.prompts.render(
            "judge-pair",
            question=pair.question,
            reference=as_data(pair.right) if pair.right else "(none is known)",
            answers=as_data(answers, "answer"),
        )
        return Request(messages, max_tokens=self.max_tokens)


def _asked(first: str, reply: Reply | Failure) -> tuple[Asked, Usage]:
    if isinstance(reply, Failure):
        return Asked(first, None, failure=reply), reply.usage
    return Asked(first, None if reply.cut else parsed_verdict(reply.text), reply.text), reply.usage


def _judged(pair: Pair, answers: Sequence[tuple[Asked, Usage]]) -> Judged:
    asked = tuple(one for one, _ in answers)
    usage = sum((used for _, used in answers), Usage())
    outcomes = [_outcome(pair, one) for one in asked]
    said = [outcome for outcome in outcomes if outcome is not None]
    if len(said) < len(outcomes):
        return Judged(pair, None, asked, None, usage)
    flipped = None if len(said) < 2 else set(said) == {"win", "loss"}
    return Judged(pair, said[0] if len(set(said)) == 1 else "tie", asked, flipped, usage)


def _outcome(pair: Pair, asked: Asked) -> Outcome | None:
    if asked.verdict is None:
        return None
    of_first = _OF_A[asked.verdict]
    return of_first if asked.first == pair.system else _TURNED[of_first]


@dataclass(frozen=True, slots=True)
class Tally:
    """What judging a system against an opponent came to.

    unparsed: items without a verdict that can be read; failed: those where the generator failed. flipped of `checked` items
    changed with the order. first_chosen of `first_decided` single verdicts other than ties went to the answer that stood
    first: about half of them where the judge does not mind places.
    """

    wins: int
    losses: int
    ties: int
    unparsed: int = 0
    failed: int = 0
    flipped: int = 0
    checked: int = 0
    first_chosen: int = 0
    first_decided: int = 0
    usage: Usage = field(default_factory=Usage)

    @property
    def win_rate(self) -> float | None:
        """Wins over wins and losses; None without any."""
        decided = self.wins + self.losses
        return self.wins / decided if decided else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the win rate."""
        return wilson_interval(self.wins, self.wins + self.losses)

    @property
    def p(self) -> float:
        """Of a one-sided sign test that the system is better."""
        return sign_test(self.wins, self.losses)

    @property
    def missing(self) -> int:
        return self.unparsed + self.failed


def tally(judged: Iterable[Judged]) -> Tally:
    """Counts outcomes, and what the judge did with places."""
    judged = list(judged)
    outcomes = [one.outcome for one in judged]
    missing = [one for one in judged if one.outcome is None]
    failed = sum(any(asked.failure is not None for asked in one.asked) for one in missing)
    decided = [asked.verdict for one in judged for asked in one.asked if asked.verdict in ("A", "B")]
    return Tally(
        wins=outcomes.count("win"),
        losses=outcomes.count("loss"),
        ties=outcomes.count("tie"),
        unparsed=len(missing) - failed,
        failed=failed,
        flipped=sum(one.flipped is True for one in judged),
        checked=sum(one.flipped is not None for one in judged),
        first_chosen=decided.count("A"),
        first_decided=len(decided),
        usage=sum((one.usage for one in judged), Usage()),
    )
