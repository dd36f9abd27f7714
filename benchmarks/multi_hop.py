"""How much of the evidence for multi-hop questions ways to retrieve find: recall and full chains, by hops.

    python -m benchmarks.multi_hop DATA... [--dense MODEL] [--maxsim MODEL] [--k 5] [--json FILE]

DATA: BEIR folders whose queries have `gold_ids` and `hops`. Prints a table for each, with intervals of the difference from
sparse retrieval (percentile bootstrap, 10,000 resamples).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from lsr.eval.significance import bootstrap_interval
from lsr.rag import Pipeline, Resources, Runner, open_rag_data
from lsr.rag.judging.spans import span_scores

FIRST = "sparse"


def pipelines(dense: str | None, maxsim: str | None) -> dict[str, dict[str, Any]]:
    """Ways to retrieve, by name."""
    ways: dict[str, dict[str, Any]] = {
        "BM25": {"retrieve": "bm25"},
        FIRST: {"retrieve": "sparse"},
        "sparse + BM25, rrf": {"retrieve": {"kind": "fusion", "how": "rrf"}},
        "sparse + BM25, convex": {"retrieve": {"kind": "fusion", "how": "convex"}},
        "sparse, RM3": {"query": "rm3", "retrieve": "sparse"},
        "sparse, small to big": {"prepare": {"kind": "parent", "words": 40, "overlap": 10}, "retrieve": "sparse"},
        "sparse, MMR": {"retrieve": "sparse", "filter": {"kind": "mmr", "k": 10, "weight": 0.8}},
    }
    if dense is not None:
        ways["dense"] = {"retrieve": {"kind": "dense", "model": dense}}
        ways["sparse + dense, rrf"] = {"retrieve": {"kind": "fusion", "of": ["sparse", "dense"], "model": dense}}
        ways["sparse + BM25 + dense, rrf"] = {
            "retrieve": {"kind": "fusion", "of": ["sparse", "bm25", "dense"], "model": dense}
        }
    if maxsim is not None:
        for weight in (0.0, 0.1):
            ways[f"sparse, MaxSim ({weight:g} of the first score)"] = {
                "retrieve": {"kind": "sparse", "k": 50},
                "rerank": {"kind": "maxsim", "model": maxsim, "candidates": 50, "weight": weight},
            }
    return ways


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--dense")
    parser.add_argument("--maxsim")
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    k = arguments.k
    results: dict[str, Any] = {}
    for source in arguments.data:
        data = open_rag_data(source).require_gold()
        hops = np.array([len(question.gold) for question in data.questions])
        figures: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
        with Resources() as resources:
            runner = Runner(data.documents, resources)
            for name, way in pipelines(arguments.dense, arguments.maxsim).items():
                outcomes = runner.run(
                    Pipeline.from_mapping({**way, "prompt": {"kind": "list", "tokens": 1_000_000}}),
                    [question.text for question in data.questions],
                    until="prompt",
                )
                scores = [span_scores(q.gold, o.found, k=k) for q, o in zip(data.questions, outcomes, strict=True)]
                figures[name] = {
                    "recall": np.array([score.recall for score in scores]),
                    "chain": np.array([score.full_chain for score in scores]),
                }
        kinds = sorted(set(hops.tolist()))
        print(f"\n### {data.name}: {len(hops)} questions, {len(data.documents):,} passages\n")
        columns = [f"R@{k}", "against sparse", f"full chain@{k}", "against sparse", *(f"{hop} hops" for hop in kinds)]
        print(f"| | {' | '.join(columns)} |\n|---{'|---:' * len(columns)}|")
        for name, values in figures.items():
            cells = []
            for measure in ("recall", "chain"):
                cells.append(f"{values[measure].mean():.3f}")
                low, high = bootstrap_interval(values[measure] - figures[FIRST][measure])
                gap = (values[measure] - figures[FIRST][measure]).mean()
                cells.append("" if name == FIRST else f"{gap:+.3f} [{low:+.3f}, {high:+.3f}]")
            cells += [f"{values['chain'][hops == hop].mean():.3f}" for hop in kinds]
            print(f"| {name} | {' | '.join(cells)} |")
        results[data.name] = {
            name: {key: value.tolist() for key, value in values.items()} for name, values in figures.items()
        }
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
