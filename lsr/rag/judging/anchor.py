"""Judging several systems: whom to compare with whom, what that can show, and what came of it.

Comparing all pairs costs with the square of the systems. Against one anchor it costs a comparison a system and item, and
says as much if the anchor is chosen well: against the best or the worst system nearly all verdicts are the same, and
nothing tells the others apart. So candidates for the anchor are screened on a few items, and the most informative is
taken, which is one of the middle (anchor selection for pairwise judging, ACL 2026). Informativeness is the share of items
on which two systems get different verdicts, mean over all pairs of systems. Where systems are compared directly, it is
the share of items that are no ties.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lsr.errors import EvaluationError, InvalidInput
from lsr.rag.judging.judge import Judged, Outcome, Pair, PairJudge, Tally, tally
from lsr.rag.judging.power import Power, sign_test
from lsr.rag.questions import Question

__all__ = ["Comparison", "Judging", "Plan", "judge_systems", "plan_judging"]

ALL_PAIRS = 3  # so many systems, or fewer, are compared with each other
SCREEN = 10  # items
CANDIDATES = 5  # systems that are screened as the anchor

# Name of a system -> id of a question -> its answer; a question that it failed on is not there.
Answers = Mapping[str, Mapping[str, str]]
_WORTH: Mapping[Outcome, float] = {"win": 1.0, "tie": 0.5, "loss": 0.0}


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom to compare with whom, decided before judging.

    mode: "all pairs", "baseline" or "anchor". pairs: (system, opponent). items: ids of the questions that are judged.
    screened: informativeness of each candidate for the anchor. power: what the judging can show, at the informativeness of
    the screen.
    """

    mode: str
    anchor: str | None
    pairs: tuple[tuple[str, str], ...]
    items: tuple[str, ...]
    screened: Mapping[str, float]
    screen_items: int
    power: Power

    def sentences(self) -> list[str]:
        """What to say before judging."""
        whom = {
            "all pairs": "All pairs of systems are compared",
            "baseline": f"Every system is compared with the baseline {self.anchor}",
            "anchor": f"Every system is compared with {self.anchor}, the most informative of {len(self.screened)} screened",
        }[self.mode]
        asked = len(self.pairs) * len(self.items)
        return [f"{whom}: {asked:,} comparisons (screened on {self.screen_items} questions).", self.power.sentence()]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two systems by their verdicts: items where the first fared better, worse, the same, and where one has none."""

    better: int
    worse: int
    same: int
    missing: int

    @property
    def p(self) -> float:
        """Of a one-sided sign test that the first is better."""
        return sign_test(self.better, self.worse)


@dataclass(frozen=True, slots=True)
class Judging:
    """What came of a plan: the verdicts of each pair by question."""

    plan: Plan
    judged: Mapping[tuple[str, str], tuple[Judged, ...]]

    def tally(self, system: str, opponent: str) -> Tally:
        return tally(self.judged[system, opponent])

    @property
    def informativeness(self) -> float | None:
        """As measured on all items; None where nothing could be compared."""
        outcomes = {pair: _outcomes(several) for pair, several in self.judged.items()}
        if self.plan.mode == "anchor":
            return _spread([outcomes[pair] for pair in self.plan.pairs])
        return _decided(outcomes.values())

    def ranking(self) -> list[tuple[str, float]]:
        """Systems with their mean worth (win 1, tie 1/2, loss 0) over verdicts, best first; the anchor, and who has no
        verdict, stands at 1/2."""
        worth: dict[str, list[float]] = {}
        for (system, opponent), several in self.judged.items():
            ours = [_WORTH[one.outcome] for one in several if one.outcome is not None]
            worth.setdefault(system, []).extend(ours)
            theirs = worth.setdefault(opponent, [])
            if self.plan.mode == "all pairs":
                theirs.extend(1 - value for value in ours)
        means = {name: float(np.mean(values)) if values else 0.5 for name, values in worth.items()}
        return sorted(means.items(), key=lambda one: (-one[1], one[0]))

    def between(self, one: str, other: str) -> Comparison:
        """Two systems, directly where they were compared so, else by their verdicts against the anchor.

        Raises `InvalidInput` for systems that were not judged.
        """
        if (one, other) in self.judged:
            return _direct(self.judged[one, other])
        if (other, one) in self.judged:
            turned = _direct(self.judged[other, one])
            return Comparison(turned.worse, turned.better, turned.same, turned.missing)
        opponent = self.plan.anchor
        if opponent is None or (one, opponent) not in self.judged or (other, opponent) not in self.judged:
            raise InvalidInput(
                f"{one!r} and {other!r} were not judged; there are {', '.join(n for n, _ in self.ranking())}"
            )
        pairs = [
            (_WORTH[a], _WORTH[b])
            for a, b in _both(_outcomes(self.judged[one, opponent]), _outcomes(self.judged[other, opponent]))
        ]
        better, worse = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
        return Comparison(better, worse, len(pairs) - better - worse, len(self.plan.items) - len(pairs))


def plan_judging(
    answers: Answers,
    questions: Sequence[Question],
    judge: PairJudge,
    *,
    baseline: str | None = None,
    quality: Mapping[str, float] | None = None,
    screen: int = SCREEN,
    candidates: int = CANDIDATES,
) -> Plan:
    """Chooses whom to compare with whom, and asks the judge about `screen` questions for that.

    baseline: a system that all are compared with directly. Otherwise three systems or fewer are compared in pairs, and more
    with an anchor. quality: a score of each system that is known already; the candidates are then those in the middle of
    it, else they are drawn. Questions that a system has no answer to are left out.

    Raises `InvalidInput` for fewer than two systems, an unknown baseline, no question that all answered, or screen and
    candidates below 1; `EvaluationError` when the judge's replies to the screen have no verdict at all.
    """
    items = _items(answers, questions, baseline)
    for what, value in (("screen", screen), ("candidates", candidates)):
        if value < 1:
            raise InvalidInput(f"{what} is {value}: it must be 1 or more")
    drawn = np.random.default_rng(judge.seed).permutation(len(items))[:screen]
    few = [items[at] for at in sorted(drawn)]
    ids = tuple(question.id for question in items)

    def plan(
        mode: str,
        anchor: str | None,
        pairs: Sequence[tuple[str, str]],
        screened: Mapping[str, float],
        informative: float | None,
    ) -> Plan:
        return Plan(mode, anchor, tuple(pairs), ids, screened, len(few), Power(len(items), informative))

    if baseline is not None or len(answers) <= ALL_PAIRS:
        pairs = list(combinations(answers, 2)) if baseline is None else _against(baseline, answers)
        outcomes = _screened(pairs, answers, few, judge)
        return plan("all pairs" if baseline is None else "baseline", baseline, pairs, {}, _decided(outcomes.values()))
    tried = _candidates(answers, quality, candidates, judge.seed)
    needed = [pair for pair in combinations(answers, 2) if pair[0] in tried or pair[1] in tried]
    outcomes = _screened(needed, answers, few, judge)
    seen = {name: [outcomes[pair] for pair in outcomes if pair[1] == name] for name in tried}
    screened = {name: _spread(several) or 0.0 for name, several in seen.items()}
    # Of equally informative ones, the one that the others beat as often as not.
    anchor = max(screened, key=lambda name: (screened[name], -abs(_mean_worth(seen[name]) - 0.5)))
    return plan("anchor", anchor, _against(anchor, answers), screened, screened[anchor])


def judge_systems(plan: Plan, answers: Answers, questions: Sequence[Question], judge: PairJudge) -> Judging:
    """Carries out a plan; all comparisons are asked at once. Say `plan.sentences()` to the user before."""
    wanted = set(plan.items)
    items = [question for question in questions if question.id in wanted]
    pairs = [_pair(question, pair, answers) for pair in plan.pairs for question in items]
    judged = judge.judge(pairs)
    size = len(items)
    return Judging(plan, {pair: tuple(judged[i * size : (i + 1) * size]) for i, pair in enumerate(plan.pairs)})


def _items(answers: Answers, questions: Sequence[Question], baseline: str | None) -> list[Question]:
    if len(answers) < 2:
        raise InvalidInput(f"{len(answers)} system to judge: pairwise judging needs two or more")
    if baseline is not None and baseline not in answers:
        raise InvalidInput(f"the baseline {baseline!r} is no system; there are {', '.join(answers)}")
    items = [question for question in questions if all(question.id in of for of in answers.values())]
    if not items:
        raise InvalidInput("no question was answered by all systems: there is nothing to compare")
    return items


def _candidates(answers: Answers, quality: Mapping[str, float] | None, most: int, seed: int) -> list[str]:
    names = list(answers)
    if quality is None:
        order = np.random.default_rng(seed).permutation(len(names))
        return sorted(names[at] for at in order[:most])
    if missing := [name for name in names if name not in quality]:
        raise InvalidInput(f"no quality of {', '.join(missing[:3])}; give one of each system, or none")
    names.sort(key=lambda name: (quality[name], name))
    start = max(0, (len(names) - most) // 2)
    return names[start : start + most]


def _against(opponent: str, answers: Answers) -> list[tuple[str, str]]:
    return [(name, opponent) for name in answers if name != opponent]


def _pair(question: Question, systems: tuple[str, str], answers: Answers) -> Pair:
    system, opponent = systems
    return Pair(
        question.id,
        question.text,
        system,
        opponent,
        answers[system][question.id],
        answers[opponent][question.id],
        question.answers,
    )


def _screened(
    pairs: Sequence[tuple[str, str]], answers: Answers, items: Sequence[Question], judge: PairJudge
) -> dict[tuple[str, str], list[Outcome | None]]:
    """Outcomes by item of each pair, and of each pair turned around."""
    judged = judge.judge([_pair(question, pair, answers) for pair in pairs for question in items])
    if all(one.outcome is None for one in judged):
        failure = next((asked.failure for one in judged for asked in one.asked if asked.failure is not None), None)
        reason = failure.message if failure is not None else "the last line must be as VERDICT: A"
        raise EvaluationError(f"none of {len(judged):,} replies of {judge.generator.name} has a verdict: {reason}")
    turned: Mapping[Outcome | None, Outcome | None] = {"win": "loss", "loss": "win", "tie": "tie", None: None}
    found: dict[tuple[str, str], list[Outcome | None]] = {}
    for i, (system, opponent) in enumerate(pairs):
        outcomes = _outcomes(judged[i * len(items) : (i + 1) * len(items)])
        found[system, opponent] = outcomes
        found[opponent, system] = [turned[outcome] for outcome in outcomes]
    return found


def _outcomes(judged: Iterable[Judged]) -> list[Outcome | None]:
    return [one.outcome for one in judged]


def _both(a: Sequence[Outcome | None], b: Sequence[Outcome | None]) -> list[tuple[Outcome, Outcome]]:
    return [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]


def _spread(several: Sequence[Sequence[Outcome | None]]) -> float | None:
    """The share of items with different verdicts, mean over pairs of systems; None without two verdicts on an item."""
    shares = [sum(x != y for x, y in both) / len(both) for a, b in combinations(several, 2) if (both := _both(a, b))]
    return float(np.mean(shares)) if shares else None


def _decided(several: Iterable[Sequence[Outcome | None]]) -> float | None:
    """The share of verdicts that are no ties."""
    said = [outcome for outcomes in several for outcome in outcomes if outcome is not None]
    return sum(outcome != "tie" for outcome in said) / len(said) if said else None


def _mean_worth(several: Sequence[Sequence[Outcome | None]]) -> float:
    said = [_WORTH[outcome] for outcomes in several for outcome in outcomes if outcome is not None]
    return float(np.mean(said)) if said else 0.0


def _direct(judged: Sequence[Judged]) -> Comparison:
    found = tally(judged)
    return Comparison(found.wins, found.losses, found.ties, found.missing)
