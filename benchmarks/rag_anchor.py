"""How well judging against one anchor orders systems, by how the anchor is chosen; by simulation, without a model.

    python benchmarks/rag_anchor.py [--systems 12] [--items 100] [--repetitions 200]

Systems have strengths; an answer is its system's strength plus the luck of the item, normal with standard deviation 1; the
judge prefers the better of two answers, or calls answers within 0.2 a tie. Kendall's tau is that of the ranking by verdicts
against the ranking by strength, the anchor left out.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import kendalltau

from lsr.rag.generators.base import Reply, Request
from lsr.rag.judging.anchor import judge_systems, plan_judging
from lsr.rag.judging.judge import PairJudge
from lsr.rag.questions import Question
from lsr.rag.types import Failure, Usage

BLOCK = re.compile(r"<answer \d>\n(.*?)\n</answer \d>")
TIE = 0.2


class Judge:
    """Reads how good answers are off them."""

    name = "simulated"
    context: int | None = None

    def identity(self) -> Mapping[str, str]:
        return {"name": self.name}

    def generate(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        replies: list[Reply | Failure] = []
        for request in requests:
            a, b = map(float, BLOCK.findall(request.messages[-1].content))
            verdict = "TIE" if abs(a - b) < TIE else "A" if a > b else "B"
            replies.append(Reply(f"VERDICT: {verdict}", Usage()))
        return replies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("systems", 12), ("items", 100), ("repetitions", 200)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    questions = [Question(f"q{i}", "?") for i in range(given.items)]
    found: dict[str, list[float]] = {}
    ranks: list[int] = []
    for seed in range(given.repetitions):
        rng = np.random.default_rng(seed)
        strengths = np.sort(rng.normal(0, 1, given.systems))
        names = [f"s{i:02}" for i in range(given.systems)]
        luck = rng.normal(0, 1, (given.systems, given.items))
        answers = {
            name: {q.id: f"{strengths[i] + luck[i, j]:.6f}" for j, q in enumerate(questions)}
            for i, name in enumerate(names)
        }
        judge = PairJudge(Judge(), seed=seed)
        chosen = plan_judging(answers, questions, judge).anchor or ""
        known = (
            plan_judging(
                answers,
                questions,
                judge,
                quality=dict(zip(names, strengths + rng.normal(0, 0.3, len(names)), strict=True)),
            ).anchor
            or ""
        )
        ranks.append(names.index(chosen) + 1)
        anchors = {
            "screened among 5 drawn": chosen,
            "screened among 5 of the middle": known,
            "drawn at random": names[int(rng.integers(len(names)))],
            "the best": names[-1],
            "the worst": names[0],
        }
        for how, anchor in anchors.items():
            judging = judge_systems(plan_judging(answers, questions, judge, baseline=anchor), answers, questions, judge)
            worth = dict(judging.ranking())
            others = [i for i, name in enumerate(names) if name != anchor]
            found.setdefault(how, []).append(kendalltau(strengths[others], [worth[names[i]] for i in others]).statistic)
    for how, values in found.items():
        print(f"{how:32} tau {np.mean(values):.3f} (sd {np.std(values):.3f})")
    print(
        f"rank of the screened anchor among {given.systems}, 1 is the worst: quartiles {np.percentile(ranks, [25, 50, 75])}"
    )


if __name__ == "__main__":
    main()
