"""Search algorithms compared by replaying pipelines that others evaluated: the best found against the number of evaluations.

    python -m benchmarks.rag_search [--seeds 50] [--evaluations 50] [--algorithm NAME]... [-o rag_search.json]

The reports of RAGSmith hold several hundred pipelines that were run on 100 questions of one of four domains. In the replay
those of one domain are all that can be evaluated: what an algorithm proposes beside them becomes the nearest one (in the
fewest families, ties at random) that it did not evaluate yet, the same for all algorithms, as `Space.nearest` does it for
pipelines that are illegal or known. Everyone starts from the naive baseline, which is evaluation 1. Quality is
overall_score; NSGA-II is also told seconds and tokens.

Failed runs are left out, and so are runs with eval_k 10, whose recall and nDCG are not comparable; repeated runs of a
configuration are averaged. The authors chose what they evaluated by a search of their own, so good pipelines are more
frequent here than in the space: that helps random search more than others. Needs the shared folder (LSR_SHARED).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lsr.eval.machine import describe
from lsr.eval.significance import bootstrap_interval, compare
from lsr.rag.search.algorithms import ALGORITHMS, Settings, algorithm_settings, make_algorithm
from lsr.rag.search.ragsmith import named_space
from lsr.rag.search.space import Choice, Genome, Space

SHARED = Path(os.environ.get("LSR_SHARED") or Path(__file__).resolve().parent.parent.parent / "shared")
POINTS = (5, 10, 20, 30, 40, 50)
CLOSE = 0.002  # of overall_score: re-run noise is 0.009


@dataclass(frozen=True)
class Archive:
    """The evaluated pipelines of a domain, with the mean of their runs: (overall_score, seconds, tokens)."""

    domain: str
    space: Listed
    values: Mapping[Choice, tuple[float, float, float]]
    baseline: Choice
    rows: int

    @property
    def best(self) -> float:
        return max(value[0] for value in self.values.values())


class Listed(Space):
    """A space in which only some pipelines are legal, as a list says."""

    def __init__(self, space: Space, choices: Collection[Mapping[str, Any]]) -> None:
        super().__init__(space.families, space.constraints)
        self._listed = sorted({self.genome(choice) for choice in choices})
        self._members = set(self._listed)

    def count(self) -> int:
        return len(self._listed) if hasattr(self, "_listed") else super().count()  # asked for while it is made

    def nth(self, n: int) -> Genome:
        return self._listed[n]

    def genomes(self) -> Iterator[Genome]:
        return iter(self._listed)

    def is_legal(self, genome: Genome) -> bool:
        return genome in self._members

    def nearest(self, genome: Genome, taken: Collection[Genome], rng: random.Random) -> Genome | None:
        left = [other for other in self._listed if other not in taken]
        if not left:
            return None
        distances = [sum(a != b for a, b in zip(genome, other, strict=True)) for other in left]
        return rng.choice([other for other, d in zip(left, distances, strict=True) if d == min(distances)])


def archives(folder: Path) -> list[Archive]:
    lines = (folder / "archive_rows.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if not row["failed_run"] and row["eval_k"] == 5]
    families = [family for family in rows[0]["config"] if family != "generator"]  # one for all
    kinds = {family: tuple(sorted({row["config"][family] for row in rows})) for family in families}
    whole = named_space(kinds)
    result = []
    for domain in sorted({row["domain"] for row in rows}):
        runs: dict[Choice, list[tuple[float, float, float]]] = {}
        baseline = None
        mine = [row for row in rows if row["domain"] == domain]
        for row in mine:
            genome = tuple(kinds[family].index(row["config"][family]) for family in families)
            choice = whole.choice(genome)
            tokens = row["llm_tokens_in_per_question"] + row["llm_tokens_out_per_question"]
            runs.setdefault(choice, []).append((row["overall_score"], row["prediction_seconds_per_question"], tokens))
            baseline = choice if row["is_baseline"] else baseline
        assert baseline is not None, domain
        values = {choice: tuple(np.mean(several, axis=0)) for choice, several in runs.items()}
        result.append(Archive(domain, Listed(whole, list(values)), values, baseline, len(mine)))
    return result


def replay(archive: Archive, name: str, settings: Settings, seed: int, evaluations: int) -> list[float]:
    """The best overall_score after each evaluation, of which the baseline is the first."""
    algorithm = make_algorithm(name, archive.space, seed=seed, costs=2, settings=settings)
    algorithm.tell(archive.baseline, archive.values[archive.baseline])
    best = [archive.values[archive.baseline][0]]
    while len(best) < min(evaluations, len(archive.values)):
        batch = algorithm.ask(settings.batch)
        for choice in batch:
            best.append(max(best[-1], archive.values[choice][0]))
        for choice in batch:
            algorithm.tell(choice, archive.values[choice])
    return best[:evaluations]


def variants(names: Sequence[str]) -> dict[str, Settings]:
    """What is compared: each algorithm with its defaults, and with others where there are some that matter."""
    found = {name: algorithm_settings(name) for name in names}
    if "genetic" in names:
        for selection in ("roulette", "rank", "elite"):
            found[f"genetic, {selection} selection"] = algorithm_settings("genetic", {"selection": selection})
        for crossover in ("single", "multi"):
            found[f"genetic, {crossover} crossover"] = algorithm_settings("genetic", {"crossover": crossover})
        found["genetic, adaptive mutation"] = algorithm_settings("genetic", {"mutation": "adaptive"})
        found["genetic, batch 16"] = algorithm_settings("genetic", {"batch": 16})
        found["genetic, batch 4"] = algorithm_settings("genetic", {"batch": 4})
    if "tpe" in names:
        found["tpe, batch 1"] = algorithm_settings("tpe", {"batch": 1})
        found["tpe, batch 8"] = algorithm_settings("tpe", {"batch": 8})
        found["tpe, start 5"] = algorithm_settings("tpe", {"start": 5})
    return found


def measured(archive: Archive, label: str, settings: Settings, seeds: int, evaluations: int) -> dict[str, Any]:
    started = time.perf_counter()
    curves = np.array(
        [replay(archive, label.split(",")[0], settings, seed, evaluations) for seed in range(seeds)]
    )  # [seeds, evaluations]
    regret = archive.best - curves
    close = regret <= CLOSE
    reached = np.where(close.any(axis=1), close.argmax(axis=1) + 1, evaluations + 1)
    return {
        "domain": archive.domain,
        "algorithm": label,
        "regret": {str(n): float(regret[:, n - 1].mean()) for n in POINTS if n <= evaluations},
        "mean_regret": float(regret.mean()),
        "interval": bootstrap_interval(regret.mean(axis=1)),
        "reached": {"share": float(close.any(axis=1).mean()), "median": float(np.median(reached))},
        "seconds_a_search": (time.perf_counter() - started) / seeds,
        "curves": curves.round(5).tolist(),
    }


def table(results: Sequence[Mapping[str, Any]], evaluations: int) -> str:
    """Markdown: the mean over domains and seeds of what is missing to the best pipeline of the archive, x 1000."""
    points = [n for n in POINTS if n <= evaluations]
    domains = list(dict.fromkeys(result["domain"] for result in results))
    heads = ["algorithm", *(f"after {n}" for n in points), f"mean 1-{evaluations}", *domains, f"within {CLOSE}"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for label in dict.fromkeys(result["algorithm"] for result in results):
        mine = [result for result in results if result["algorithm"] == label]
        after = [f"{1000 * np.mean([r['regret'][str(n)] for r in mine]):.1f}" for n in points]
        each = [f"{1000 * r['mean_regret']:.1f}" for r in mine]
        mean = f"{1000 * np.mean([r['mean_regret'] for r in mine]):.2f}"
        share = f"{100 * np.mean([r['reached']['share'] for r in mine]):.0f} %"
        lines.append(f"| {label} | {' | '.join([*after, mean, *each, share])} |")
    return "\n".join(lines)


def compared(results: Sequence[Mapping[str, Any]], pairs: Sequence[tuple[str, str]]) -> list[str]:
    """What is missing on average over a search, x 1000: differences of algorithms, paired by seed."""

    def of(label: str) -> Any:
        curves = [np.array(r["curves"]).mean(axis=1) for r in results if r["algorithm"] == label]
        return -np.mean(curves, axis=0)  # the best of a domain is the same for both

    lines = []
    for first, second in pairs:
        if {first, second} <= {result["algorithm"] for result in results}:
            found = compare(of(first), of(second), system=first, baseline=second, measure="missing")
            low, high = (1000 * bound for bound in found.interval)
            lines.append(f"{first} - {second}: {1000 * found.difference:.2f} [{low:.2f}, {high:.2f}], p {found.p:.2g}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--evaluations", type=int, default=50)
    parser.add_argument("--algorithm", action="append", choices=sorted(ALGORITHMS))
    parser.add_argument("-o", "--output", type=Path, default=Path("rag_search.json"))
    given = parser.parse_args()
    found = archives(SHARED / "data" / "ragsmith")
    results = []
    for label, settings in variants(given.algorithm or list(ALGORITHMS)).items():
        for archive in found:
            results.append(measured(archive, label, settings, given.seeds, given.evaluations))
            print(f"{label}, {archive.domain}: {results[-1]['mean_regret']:.4f}", flush=True)
    about = [{"domain": a.domain, "pipelines": len(a.values), "rows": a.rows, "best": float(a.best)} for a in found]
    for line in about:
        print(line)
    print(table(results, given.evaluations))
    pairs = [("random", "genetic"), ("random", "tpe"), ("random", "nsga2"), ("genetic", "tpe"), ("gp", "tpe")]
    print("\n".join(compared(results, pairs)))
    written = {"seeds": given.seeds, "machine": describe(), "archives": about, "results": results}
    given.output.write_text(json.dumps(written), encoding="utf-8")


if __name__ == "__main__":
    main()
