"""Pipelines searched on RAGSmith's six domains without a language model: baseline, hand-made pipelines and winner on
questions apart.

    python -m benchmarks.rag_domains FOLDER [--pipelines 60] [--seed 0] [--domain NAME]... [--json FILE] [--keep FOLDER]

FOLDER has a BEIR folder for each domain (finance, law, maths, medicine, military, programming; 100 questions each).
Chunks of an article are joined, so that pipelines choose how to cut it; gold is the characters of the gold chunks. Half
of the questions are searched by, the other half judges. The space is lsr/rag/spaces/offline.yaml; quality is half
retrieval (mean of recall, AP, nDCG and RR over the first 1,000 tokens of evidence), half answers (mean of F1, ROUGE-L and
similarity of extractive answers). Hand-made pipelines are those that AutoRAG's and FlashRAG's documentation begins with,
in our words: BM25; fusion of BM25 and a vector (here sparse) search; fusion with neighbours. They are seeds of the search
too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from lsr.eval.machine import describe
from lsr.eval.significance import bootstrap_interval
from lsr.rag.search.config import as_choice, read_search
from lsr.rag.search.evaluated import Evaluated
from lsr.rag.search.search import open_search, search_pipelines

DOMAINS = ("finance", "law", "maths", "medicine", "military", "programming")
CUT = {"kind": "sentences", "words": 150, "overlap": 0}
COMMON = {"chunk": CUT, "filter": {"kind": "top-k", "k": 5}, "prompt": {"kind": "list", "tokens": 2000}}
ANSWER = {"generate": {"kind": "extractive", "sentences": 1}}
FUSION = {"retrieve": {"kind": "fusion", "how": "rrf", "k": 20}}
HAND_MADE: dict[str, dict[str, Any]] = {
    "naive (sparse)": {**COMMON, **ANSWER, "retrieve": {"kind": "sparse", "k": 20}},
    "BM25": {**COMMON, **ANSWER, "retrieve": {"kind": "bm25", "k": 20}},
    "BM25 + sparse": {**COMMON, **ANSWER, **FUSION},
    "BM25 + sparse, neighbours": {**COMMON, **ANSWER, **FUSION, "augment": {"kind": "neighbours"}},
}
BASELINE = "naive (sparse)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pipelines", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--domain", action="append")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, help="studies and cache, to resume or to look at")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.keep or Path(temporary)
        results = {name: searched(name, arguments, work) for name in arguments.domain or DOMAINS}
    print(f"\n{describe()['processor']}, {arguments.pipelines} pipelines a domain, seed {arguments.seed}\n")
    table(results)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results))


def searched(domain: str, arguments: argparse.Namespace, work: Path) -> dict[str, Any]:
    """One domain: its study, and all hand-made pipelines and the winner on the holdout questions."""
    work.mkdir(parents=True, exist_ok=True)
    config = work / f"{domain}.yaml"
    config.write_text(
        json.dumps(
            {
                "data": str((arguments.folder / domain).resolve()),
                "join": "auto",
                "baseline": HAND_MADE[BASELINE],
                "known": [values for name, values in HAND_MADE.items() if name != BASELINE],
                "budget": {"pipelines": arguments.pipelines},
                "seed": arguments.seed,
            }
        )
    )
    read = read_search(config)
    started = time.perf_counter()
    with open_search(read, work / "cache") as search:
        found = search_pipelines(search, work / f"{domain}.study", resume=True)
        seconds = time.perf_counter() - started
        runs, uses = search.runner.stage_runs, search.runner.stage_runs + search.runner.stage_hits
        values = {}
        for name, pipeline in zip(HAND_MADE, [read.baseline, *read.known], strict=True):
            evaluated = search.evaluator.evaluate(as_choice(pipeline), search.split.holdout)
            assert isinstance(evaluated, Evaluated), evaluated
            values[name] = search.objectives.qualities(evaluated.outcomes, search.split.holdout).tolist()
        values["winner"] = search.objectives.qualities(found.verdict.outcomes[0], search.split.holdout).tolist()
    return {
        "values": values,
        "statement": found.verdict.statement,
        "pipelines": len(found.ended.records),
        "complete": sum(record.state == "complete" for record in found.ended.records),
        "seconds": seconds,
        "stage_runs": runs,
        "stage_uses": uses,
        "winner": found.winner.pipeline.to_mapping(),
        "simplest": found.simplest.pipeline.to_mapping(),
        "spent": found.ended.spent.seconds,
    }


def table(results: dict[str, Any]) -> None:
    names = [*HAND_MADE, "winner"]
    print(f"| | {' | '.join(names)} | winner - naive | winner - best hand-made | pipelines | s | stages spared |")
    print("|---" * (len(names) + 6) + "|")
    every: dict[str, list[float]] = {name: [] for name in names}
    for domain, result in results.items():
        values = {name: np.array(result["values"][name]) for name in names}
        for name in names:
            every[name] += result["values"][name]
        best = max(HAND_MADE, key=lambda name: float(values[name].mean()))
        cells = [f"{values[name].mean():.4f}" for name in names]
        cells += [difference(values["winner"], values[BASELINE]), difference(values["winner"], values[best])]
        cells += [f"{result['pipelines']}", f"{result['seconds']:.0f}"]
        cells.append(f"{result['stage_uses'] / max(1, result['stage_runs']):.2f} x")
        print(f"| {domain} | {' | '.join(cells)} |")
    pooled = {name: np.array(values) for name, values in every.items()}
    best = max(HAND_MADE, key=lambda name: float(pooled[name].mean()))
    cells = [f"{pooled[name].mean():.4f}" for name in names]
    cells += [difference(pooled["winner"], pooled[BASELINE]), difference(pooled["winner"], pooled[best]), "", "", ""]
    print(f"| all ({best}) | {' | '.join(cells)} |")


def difference(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> str:
    low, high = bootstrap_interval(one - other)
    return f"{(one - other).mean():+.4f} [{low:+.4f}, {high:+.4f}]"


if __name__ == "__main__":
    main()
