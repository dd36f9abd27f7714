"""A sparse first stage, token vectors, and both, on BEIR folders: quality, and milliseconds of each part.

    python -m benchmarks.two_stages MODEL COLLECTION... [--device cuda] [--queries N] [--codecs] [--json OUT]

MODEL is a multivector model. Rows: the index alone; MaxSim over all documents (float32 vectors); and two stages under several
policies (lsr.rerank.Policy), with the documents scored a query and the median time of reranking. Quality is that of all
queries; times are of the first N (200), one at a time on one thread, after a run that is not counted, policies in turn.
With `--codecs` a second table has every codec: bytes a document, nDCG@10, and the time of reranking 50 candidates.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from lsr import Index, load_encoder
from lsr.eval.datasets import Dataset, open_dataset
from lsr.eval.machine import describe
from lsr.eval.measures import Measure, evaluate
from lsr.hits import Hits
from lsr.processors import available_cores
from lsr.rerank import (
    CODECS,
    MaxSimReranker,
    MultiVectorEncoder,
    Policy,
    TokenStore,
    TokenVectors,
    load_multivector_encoder,
)
from lsr.rerank.store import IndexIdentity, StoreEncoder

K, DEEP = 10, 200
MEASURES = [Measure("nDCG", K), Measure("R", K)]
POLICIES = {
    "50 candidates": Policy(kappa=50),
    "200 candidates": Policy(kappa=200),
    "20 candidates": Policy(kappa=20),
    "50, alpha .3": Policy(kappa=50, alpha=0.3),
    "50, beta 4": Policy(kappa=50, beta=4),
    "50, beta 8": Policy(kappa=50, beta=8),
    "50, alpha .3, beta 8": Policy(kappa=50, alpha=0.3, beta=8),
    "50, weight .1": Policy(kappa=50, weight=0.1),
    "50, weight .1, alpha .3": Policy(kappa=50, weight=0.1, alpha=0.3),
    "50, weight .1, beta 4": Policy(kappa=50, weight=0.1, beta=4),
    "50, weight .1, alpha .3, beta 8": Policy(kappa=50, weight=0.1, alpha=0.3, beta=8),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("collections", nargs="+")
    parser.add_argument("--device")
    parser.add_argument("--first", default="lsr-tiny")
    parser.add_argument("--queries", type=int, default=200, help="that are timed")
    parser.add_argument("--codecs", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    quick = load_multivector_encoder(given.model, device=given.device)
    alone = load_multivector_encoder(given.model, threads=1)
    found: dict[str, Any] = {"machine": describe(), "model": quick.source, "collections": {}}
    for name in given.collections:
        with tempfile.TemporaryDirectory() as folder:
            figures = measured(name, quick, alone, given, Path(folder))
        found["collections"][Path(name).name] = figures
        print(f"\n{name}: {figures['documents']:,} documents, {figures['tokens']:.0f} token vectors each", flush=True)
        for table in ("stages", "codecs"):
            for label, row in figures.get(table, {}).items():
                print(f"  {label:34s} " + "  ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
        print("  ms: " + ", ".join(f"{part} {value:.3f}" for part, value in figures["ms"].items()), flush=True)
        if given.json is not None:
            given.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


def measured(
    name: str, quick: MultiVectorEncoder, alone: MultiVectorEncoder, given: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    dataset = open_dataset(name)
    index = Index.build(name, folder / "index", encoder=load_encoder(given.first))
    texts = [query.text for query in dataset.queries]
    rows = list(range(len(index)))
    documents = list(dataset.documents())
    vectors = quick.encode_documents([document.content for document in documents])
    asked = quick.encode_queries(texts)
    stores = {}
    for codec in CODECS if given.codecs else ("f32", "int8"):
        stores[codec] = TokenStore.build(
            folder / codec,
            [([document.id for document in documents], vectors, index.text_hashes(rows))],
            codec=codec,
            encoder=StoreEncoder(quick.name, quick.source, quick.fingerprint),
            index=IndexIdentity.of(index),
        )
    first = index.search(texts, k=DEEP)
    stages = {"index": scores(dataset, [hits.ids for hits in first])}
    exact, ids = stores["f32"], np.array([document.id for document in documents])
    everything = exact.rows(ids.tolist())
    with ThreadPoolExecutor(available_cores()) as pool:
        all_scores = pool.map(lambda q: exact.scorer(asked.of(q))(everything), range(len(texts)))
        best = [ids[np.argsort(-row, kind="stable")[: K + 1]].tolist() for row in all_scores]
    stages["MaxSim over all"] = scores(dataset, best)
    timed = range(min(given.queries, len(texts)))
    policies = {label: stage(stores["int8"], quick, policy) for label, policy in POLICIES.items()}
    times = in_turn({label: again(each, first, asked) for label, each in policies.items()}, timed)
    for label, each in policies.items():
        each.scored = 0
        ranked = [each._reranked(cut(hits, each.policy.kappa), asked.of(q), K + 1).ids for q, hits in enumerate(first)]
        stages[label] = {**scores(dataset, ranked), "scored": each.scored / len(texts), "ms": times[label]}
    codecs = {}
    if given.codecs:
        each_codec = {codec: stage(store, quick, Policy(kappa=50)) for codec, store in stores.items()}
        times = in_turn({codec: again(each, first, asked) for codec, each in each_codec.items()}, timed)
        for codec, each in each_codec.items():
            ranked = [each._reranked(cut(hits, 50), asked.of(q), K + 1).ids for q, hits in enumerate(first)]
            size = stores[codec].info()["bytes"] / len(documents)
            codecs[codec] = {"bytes a document": size, **scores(dataset, ranked), "ms": times[codec]}
    parts = {
        "encode and search": lambda q: index.search(texts[q], k=50),
        "encode tokens": lambda q: alone.encode_queries([texts[q]]),
        "rerank": again(stage(stores["int8"], quick, Policy(kappa=50)), first, asked),
    }
    return {
        "documents": len(documents),
        "queries": len(texts),
        "tokens": len(vectors.vectors) / max(len(documents), 1),
        "stages": stages,
        "codecs": codecs,
        "ms": in_turn(parts, timed),
    }


def stage(store: TokenStore, encoder: MultiVectorEncoder, policy: Policy) -> MaxSimReranker:
    return MaxSimReranker(store, encoder, policy)


def again(stage: MaxSimReranker, first: Sequence[Hits], asked: TokenVectors) -> Callable[[int], Any]:
    """What reranks one query, the candidates and the query's vectors being there."""
    candidates = [cut(hits, stage.policy.kappa) for hits in first]
    return lambda q: stage._reranked(candidates[q], asked.of(q), K)


def cut(hits: Hits, count: int) -> Hits:
    places = np.arange(min(count, len(hits)))
    return hits.reordered(places, hits.scores[places])


def in_turn(parts: dict[str, Callable[[int], Any]], queries: range) -> dict[str, float]:
    """Median milliseconds of each, over the queries; each query by all before the next."""
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for work in parts.values():
        work(0)
    for query in queries:
        for name, work in parts.items():
            began = time.perf_counter()
            work(query)
            taken[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(values) for name, values in taken.items()}


def scores(dataset: Dataset, ranked: Sequence[Sequence[str]]) -> dict[str, float]:
    """nDCG@10 and recall@10."""
    runs = {}
    for query, ids in zip(dataset.queries, ranked, strict=True):
        runs[query.id] = [i for i in ids if not (dataset.drop_self and i == query.id)][:K]
    found = evaluate(MEASURES, dataset.qrels, runs)
    return {str(measure): float(np.mean(values)) for measure, values in found.items()}


if __name__ == "__main__":
    main()
