"""Reports like real ones, made from a seed: for tests, and to look at the pages.

python -m tests.eval.report.examples FOLDER      writes a page of every kind to look at
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

NAMES = ["bm25", "lsr-tiny", "splade-v3", "doc-v3-distill", "lsr-tiny exact", "fusion"]
LONG = [
    "bm25 (k1=0.9, b=0.4, English stop words, Porter stemmer, title and text as one field)",
    "opensearch-project/opensearch-neural-sparse-encoding-doc-v3-distill, at most 512 tokens",
    "opensearch-project/opensearch-neural-sparse-encoding-doc-v3-distill, at most 256 tokens",
]
HOSTILE = (
    "</script><img src=x onerror=alert(1)> | `code` **b** [a](javascript:alert(1)) "
    "\\ $x$ &amp; \n\n# h\r\n- \x00\x1b \u202e"
)
MEASURES = ["nDCG@10", "RR@10", "R@100", "R@1000", "AP@1000", "Judged@10"]

_TITLES = [
    "0-dimensional biomaterials show inductive properties",
    "1,000 genomes project enables mapping of genetic sequence variation",
    "Macrophages regulate the invasion of tumour cells in the early stages of breast cancer",
    "Statin use and the risk of cardiovascular events after acute coronary syndrome",
    "Vitamin D deficiency is unrelated to birth weight in a cohort of 1,482 women",
    "Autophagy declines with the age of the organism and in neurodegenerative disease",
]
_TEXT = (
    "We measured the diffusion of water in the brains of preterm infants at term and found that the apparent coefficient "
    "falls with gestational age in central white matter. These data suggest that the method gives insight into the "
    "development of microstructure, and that early injury changes its course later in life."
)


def _dataset(name: str, queries: int, documents: int) -> dict[str, Any]:
    return {
        "name": name,
        "split": "test",
        "source": f"{name} (a BEIR folder)",
        "documents": documents,
        "queries": queries,
        "judgments": queries + queries // 8,
        "grades": {"1": queries + queries // 8},
        "relevant": queries + queries // 8,
        "queries_without_relevant": 0,
        "relevance_threshold": 1,
        "mean_document_characters": 1401.2,
        "hashes": {"documents": "4b1c" * 8, "queries": "9ae0" * 8, "judgments": "17fd" * 8},
        "self_retrieval_dropped": False,
        "missing_documents": 0,
        "notes": ["809 queries without judgments were left out."],
    }


def _scores(generator: np.random.Generator, systems: int, queries: int) -> np.ndarray:
    """Scores that look like nDCG@10, [systems, queries]: many zeros and ones, correlated between systems."""
    ease = generator.normal(0.75, 1.1, queries)
    rows = []
    for i in range(systems):
        raw = ease + generator.normal(0.06 * i, 0.3, queries)
        gains = np.array([0, 0.2891, 0.3010, 0.3562, 0.4307, 0.5, 0.6309, 0.9197, 1.0])
        rows.append(gains[np.clip(np.round(raw * 6 + 2), 0, 8).astype(int)])
    rows[-1][generator.random(queries) < 0.03] = 0.0
    return np.array(rows)


def _interval(values: np.ndarray) -> list[float]:
    half = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.1
    return [float(values.mean()) - half, float(values.mean()) + half]


def _latency(generator: np.random.Generator, middle: float) -> dict[str, Any]:
    times = np.sort(middle * np.exp(generator.normal(0, 0.35, 900)) * (1 + 6 * (generator.random(900) < 0.01)))
    quantiles = [float(np.quantile(times, share / 100)) for share in range(101)]
    return {
        "p50": quantiles[50], "p95": quantiles[95], "p99": quantiles[99], "max": quantiles[100],
        "mean": float(times.mean()), "queries": 300, "warmups": 200, "threads": 1, "repeats": 3, "quantiles": quantiles,
    }  # fmt: skip


def _stage(share: float, whole: dict[str, Any]) -> dict[str, float]:
    return {key: whole[key] * share for key in ("p50", "p95", "p99", "max", "mean")}


def _measured(generator: np.random.Generator, at: int, kind: str, documents: int) -> dict[str, Any]:
    """The parts of a system that a run read from a file lacks."""
    whole = _latency(generator, 0.05 * 3**at)
    total = 2_300_000 * (at + 1)
    found: dict[str, Any] = {
        "latency_ms": whole,
        "stages_ms": {"encode": _stage(0.3, whole), "search": _stage(0.7, whole)},
        "start_ms": {"open": 3.1, "first_query": 40.2, "compile": 2500.0},
        "throughput": [{"threads": n, "queries_per_second": 19_000 * n / 3**at} for n in (1, 2)],
        "index": {
            "bytes": {"vectors": total // 3, "postings": total // 2, "texts": total // 6, "total": total},
            "bytes_per_document": total * 5 / 6 / documents,
            "build_s": 18.2, "documents_per_s": documents / 18.2, "peak_mib": 206.0,
        },
        "sparsity": {
            "documents": {"mean": 118.4, "p50": 115.0, "p99": 214.0},
            "queries": {"mean": 9.6, "p50": 9.0, "p99": 19.0},
            "flops": 1.23,
        },
    }  # fmt: skip
    if kind == "encoder":
        settings = [(0.8, 0.91), (0.9, 0.953), (0.95, 0.981), (0.98, 0.994), (None, 1.0)]
        found["approximation"] = {
            "k": 10,
            "points": [
                {
                    "recall_setting": setting, "overlap@10": overlap, "overlap@100": overlap**1.1,
                    "nDCG@10": 0.64 - (1 - overlap) / 20, "ndcg_change": -(1 - overlap) / 20,
                    "max_score_error": 0.0, "p50_ms": 0.02 * 3**at / (1.02 - overlap) ** 0.5,
                }
                for setting, overlap in settings
            ],
        }  # fmt: skip
    return found


def _failure(
    system: str, baseline: str | None, query: str, scores: tuple[float, float | None], texts: bool, at: int
) -> dict[str, Any]:
    def document(i: int) -> dict[str, Any]:
        title = _TITLES[(at + i) % len(_TITLES)]
        return {"id": str(4_983 + 1_117 * (at + i)), **({"title": title, "text": _TEXT} if texts else {})}

    return {
        "system": system,
        "baseline": baseline,
        "query_id": query,
        **({"query": f"{_TITLES[at % len(_TITLES)]}."} if texts else {}),
        "score": scores[0],
        "baseline_score": scores[1],
        "relevant": [{**document(9), "grade": 1, "rank": 14 if at % 3 else None}],
        "hits": [
            {"rank": i + 1, **document(i), "score": 21.5 - i, "grade": (None, 0, 1)[i % 3] if i else None}
            for i in range(5)
        ],
    }


def _comparison(
    system: str, baseline: str, measure: str, ours: np.ndarray, theirs: np.ndarray, tests: int
) -> dict[str, Any]:
    differences = ours - theirs
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    z = abs(float(differences.mean())) / (spread / math.sqrt(len(differences))) if spread else 0.0
    p = max(math.erfc(z / math.sqrt(2)), 1e-5)
    return {
        "system": system, "baseline": baseline, "measure": measure, "difference": float(differences.mean()),
        "interval": _interval(differences), "p": p, "p_holm": min(1.0, p * tests),
        "effect_size": float(differences.mean()) / spread if spread else None,
        "wins": int((differences > 0).sum()), "ties": int((differences == 0).sum()), "losses": int((differences < 0).sum()),
        "permutations": 100_000,
    }  # fmt: skip


def example_report(
    names: Sequence[str] = tuple(NAMES[:3]),
    *,
    queries: int = 300,
    documents: int = 5_183,
    baseline: str | None = "the first",
    optional: bool = True,
    texts: bool = True,
    dataset: str = "scifact",
    seed: int = 0,
) -> dict[str, Any]:
    """A report of one collection. baseline: a name, or None. optional=False leaves out all that may be absent."""
    baseline = names[0] if baseline == "the first" else baseline
    generator = np.random.default_rng(seed)
    scores = _scores(generator, len(names), queries)
    # Other measures move with the headline measure.
    values = {m: scores ** (1 + 0.2 * i) if m != "Judged@10" else scores * 0 + 0.11 for i, m in enumerate(MEASURES)}
    ids = [str(i * 7 + 1) for i in range(queries)]
    systems, failures, comparisons = [], [], []
    at_baseline = list(names).index(baseline) if baseline is not None else None
    for at, name in enumerate(names):
        kind = "bm25" if name.startswith("bm25") else "run" if name == "fusion" else "encoder"
        system: dict[str, Any] = {
            "name": name, "kind": kind, "description": f"{kind}, as an example",
            "settings": {"k1": 0.9, "b": 0.4} if kind == "bm25" else {"max_length": 256, "quantized": True},
            "metrics": {m: float(values[m][at].mean()) for m in MEASURES},
            "intervals": {m: _interval(values[m][at]) for m in MEASURES[:4]},
            "queries_without_hits": 2 if at == 1 else 0, "self_hits_dropped": 0,
        }  # fmt: skip
        if optional:
            system |= {"ties_at_depth": 3 * (at == 0), "run": f"runs/{at}.trec", "seconds": 31.2}
            system |= _measured(generator, at, kind, documents) if kind != "run" else {}
        systems.append(system)
        if at == at_baseline:
            continue
        theirs = scores[at_baseline] if at_baseline is not None else np.ones(queries)
        order = np.argsort(scores[at] - theirs, kind="stable")
        for nth, i in enumerate(order[:10].tolist()):
            pair = float(scores[at][i]), float(theirs[i]) if at_baseline is not None else None
            if pair[0] < theirs[i]:
                failures.append(_failure(name, baseline, ids[i], pair, texts, nth))
        if at_baseline is not None and baseline is not None:
            comparisons.append(_comparison(name, baseline, "nDCG@10", scores[at], scores[at_baseline], len(names) - 1))
    report: dict[str, Any] = {
        "schema_version": "1.0",
        "created": "2026-11-24T08:00:00Z",
        "command": ["lsr", "eval", f"data/{dataset}", "-o", "reports/it's here", "--system", "lsr-tiny"],
        "dataset": _dataset(dataset, queries, documents),
        "depth": 1000,
        "measures": list(MEASURES),
        "headline": "nDCG@10",
        "baseline": baseline,
        "systems": systems,
        "failed": [],
        "comparisons": comparisons,
        "per_query": {
            "query_ids": ids,
            "measure": "nDCG@10",
            "scores": {name: scores[at].tolist() for at, name in enumerate(names)},
        },
        "provenance": _provenance(optional),
    }
    if not optional:
        del report["dataset"]["split"]
        return report
    if comparisons:
        sd = float((scores[1] - scores[0]).std(ddof=1)) if len(names) > 1 and queries > 1 else 0.15
        report["detectable"] = {
            "measure": "nDCG@10", "difference": 2.8 * sd / math.sqrt(queries), "power": 0.8, "alpha": 0.05,
            "queries": queries, "sd": sd, "sd_from": "paired differences with the baseline",
        }  # fmt: skip
    report["failures"] = failures
    return report


def _provenance(optional: bool) -> dict[str, Any]:
    more = {"commit": "1f2e3d4", "dirty": True} if optional else {}
    return {
        "lsr_version": "0.1.0", **more, "python": "3.12.7", "platform": "Linux x86_64", "cpu": "Intel Xeon, 2.7 GHz",
        "cores": 2, "memory_gb": 23.5, "threads": 1, "packages": {"numpy": "2.4.6", "numba": "0.66.0"}, "seed": 0,
        "models": [{"name": "lsr-tiny", "hash": "c0ffee" * 5}],
    }  # fmt: skip


def hostile_report() -> dict[str, Any]:
    """Every text that someone else may choose is hostile."""
    report = example_report(names=["bm25", HOSTILE, f"{HOSTILE}|2"], queries=12)
    report["dataset"] |= {"name": HOSTILE, "split": HOSTILE, "source": f"x {HOSTILE}", "notes": [HOSTILE]}
    report["dataset"]["hashes"][HOSTILE] = HOSTILE
    report["command"] += [HOSTILE, "```"]
    report["failed"] = [{"name": f"failed {HOSTILE}", "error": HOSTILE}]
    report["per_query"]["query_ids"] = [f"{HOSTILE}{i}" for i in range(12)]
    for system in report["systems"]:
        system |= {"description": HOSTILE, "kind": HOSTILE, "run": HOSTILE}
        system["settings"] = {HOSTILE: HOSTILE}
        system["stages_ms"] = {HOSTILE: system["stages_ms"]["search"]}
        system["index"]["bytes"][HOSTILE] = 7
    for failure in report["failures"]:
        failure |= {"query": HOSTILE, "query_id": HOSTILE}
        for document in (*failure["relevant"], *failure["hits"]):
            document |= {"id": HOSTILE, "title": HOSTILE, "text": HOSTILE}
    report["provenance"] |= {"cpu": HOSTILE, "platform": HOSTILE, "packages": {HOSTILE: HOSTILE}}
    report["provenance"]["models"] = [{"name": HOSTILE, "hash": HOSTILE}]
    return report


def example_summary(names: Sequence[str] = tuple(NAMES[:3]), *, baseline: bool = True, seed: int = 0) -> dict[str, Any]:
    """A summary of four collections, one of which failed for the last system."""
    collections = [("scifact", 300, 5_183), ("nfcorpus", 323, 3_633), ("fiqa", 648, 57_638), ("arguana", 1_406, 8_674)]
    datasets: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    for nth, (name, queries, documents) in enumerate(collections):
        own = list(names) if nth < 3 or len(names) < 3 else list(names[:-1])
        report = example_report(
            own, queries=queries, documents=documents, baseline="the first" if baseline else None, seed=seed + nth
        )
        datasets.append(
            {
                "name": name, "report": f"{name}/report.json", "documents": documents, "queries": queries,
                "metrics": {system["name"]: system["metrics"] for system in report["systems"]},
            }
        )  # fmt: skip
        comparisons += [{**c, "dataset": name, "p_holm": min(1.0, c["p"] * 8)} for c in report["comparisons"]]
    whole = [name for name in names if all(name in dataset["metrics"] for dataset in datasets)]
    return {
        "schema_version": "1.0",
        "kind": "summary",
        "created": "2026-11-24T08:00:00Z",
        "command": ["lsr", "eval", "scifact", "nfcorpus", "fiqa", "arguana", "quora", "-o", "reports"],
        "datasets": datasets,
        "failed": [{"name": "quora", "error": "quora: no such collection; put it into $LSR_DATA/beir/quora"}],
        "set": [name for name, *_ in collections],
        "macro": {
            name: {m: float(np.mean([dataset["metrics"][name][m] for dataset in datasets])) for m in MEASURES}
            for name in whole
        },
        "measures": list(MEASURES),
        "headline": "nDCG@10",
        "baseline": names[0] if baseline else None,
        "comparisons": comparisons,
        "provenance": _provenance(True),
    }


def gallery() -> dict[str, dict[str, Any]]:
    """Reports of every kind, by a name that fits a folder."""
    nothing = example_report(["bm25"], queries=20, baseline=None)
    nothing |= {
        "systems": [],
        "comparisons": [],
        "failures": [],
        "failed": [{"name": "bm25", "error": "out of memory"}],
    }
    nothing["per_query"]["scores"] = {}
    return {
        "usual": example_report(),
        "two": example_report(NAMES[:2]),
        "one": example_report(["lsr-tiny"], baseline=None),
        "six": example_report(NAMES),
        "eight": example_report([*NAMES, "seventh", "eighth"]),
        "large": example_report(NAMES, queries=10_570, documents=8_841_823),
        "bare": example_report(optional=False),
        "long": example_report(LONG),
        "few": example_report(queries=9),
        "no-texts": example_report(texts=False),
        "hostile": hostile_report(),
        "nothing": nothing,
    }


def main(folder: Path) -> None:
    from lsr.eval.report import write_report, write_summary

    for name, report in gallery().items():
        write_report(report, folder / name, latex=True)
    write_summary(example_summary(), folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
