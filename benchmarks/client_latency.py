"""What a client waits for an answer to a text query: lsr with an inference-free encoder beside BM25, one thread, one run.

    python -m benchmarks.client_latency [--k 10] [--rounds 7] [--queries 600]

From the text of a query to the ids and scores of k documents, encoding (or tokenising and stemming) included; the systems
take turns query set by query set, and the figure is the median over the rounds. Collections, of the shared folder
(LSR_SHARED): SciFact with its own test queries, and 391,934 passages with their vectors, asked headings of technical
documentation. BM25 is bm25s with its numba backend, English stop words and the Snowball stemmer, as `lsr eval` sets it up.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import lsr
from benchmarks.encode import SHARED, passages
from benchmarks.vectors import documents
from lsr.eval.machine import describe

Answer = Callable[[str, int], Any]
WARM_UPS = 200


def bm25(texts: Sequence[str], ids: Sequence[str]) -> Answer:
    import bm25s
    import Stemmer

    tokenizer = bm25s.tokenization.Tokenizer(stemmer=Stemmer.Stemmer("english"), stopwords="en")
    tokens = tokenizer.tokenize(list(texts), return_as="ids", show_progress=False, allow_empty=True)
    engine = bm25s.BM25(method="lucene", k1=0.9, b=0.4, backend="numba")
    engine.index((tokens, tokenizer.get_vocab_dict()), show_progress=False)

    def answer(text: str, k: int) -> list[tuple[str, float]]:
        found = tokenizer.tokenize([text], update_vocab=False, return_as="ids", show_progress=False, allow_empty=False)
        if not found[0]:
            return []
        rows, scores = engine.retrieve(found, k=k, show_progress=False)
        return [(ids[row], score) for row, score in zip(rows[0].tolist(), scores[0].tolist(), strict=True)]

    return answer


def ours(index: lsr.Index) -> Answer:
    return lambda text, k: [(hit.id, hit.score) for hit in index.search(text, k=k)]


def scifact(work: Path) -> tuple[dict[str, Answer], list[str]]:
    folder = SHARED / "data" / "scifact"
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    index = lsr.Index.build(folder, work / "scifact.idx", keep_text=False)
    asked = [json.loads(line)["text"] for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "lsr": ours(index),
        "bm25s": bm25([f"{row['title']} {row['text']}" for row in rows], [row["_id"] for row in rows]),
    }, asked


def techdocs(work: Path) -> tuple[dict[str, Answer], list[str]]:
    index = lsr.Index.build(documents(), work / "techdocs.idx", encoder="lsr-tiny")
    lines = (SHARED / "data" / "queries" / "techdocs-headings.tsv").read_text(encoding="utf-8").splitlines()
    ids = [str(row) for row in range(len(index))]
    return {"lsr": ours(index), "bm25s": bm25(passages(len(index)), ids)}, [line.split("\t")[1] for line in lines]


COLLECTIONS = {"SciFact, 5,183": scifact, "documentation, 391,934": techdocs}


def measure(answers: dict[str, Answer], asked: Sequence[str], k: int, rounds: int) -> dict[str, np.ndarray]:
    """Microseconds [queries] of each system, the median over the rounds."""
    for answer in answers.values():
        for text in asked[:WARM_UPS]:
            answer(text, k)
    taken: dict[str, list[list[int]]] = {name: [] for name in answers}
    for _ in range(rounds):
        for name, answer in answers.items():
            times = []
            for text in asked:
                started = time.perf_counter_ns()
                answer(text, k)
                times.append(time.perf_counter_ns() - started)
            taken[name].append(times)
    return {name: np.median(np.array(of), axis=0) / 1000 for name, of in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--queries", type=int, default=600)
    parser.add_argument("--collections", nargs="+", choices=COLLECTIONS, default=list(COLLECTIONS))
    options = parser.parse_args()
    print("| collection | system | p50, us | p95 | mean | p50 beside BM25 |\n|---|---|--:|--:|--:|--:|")
    for name in options.collections:
        with tempfile.TemporaryDirectory() as work:
            answers, asked = COLLECTIONS[name](Path(work))
            step = max(1, len(asked) // options.queries)
            found = measure(answers, asked[::step][: options.queries], options.k, options.rounds)
            base = float(np.median(found["bm25s"]))
            for system, times in found.items():
                p50, p95 = np.percentile(times, [50, 95])
                print(
                    f"| {name} | {system} | {p50:.0f} | {p95:.0f} | {times.mean():.0f} | {p50 / base:.2f} x |",
                    flush=True,
                )
    facts = describe(("bm25s", "numba", "tokenizers"))
    print(f"\nk = {options.k}, medians of {options.rounds} rounds. " + "; ".join(f"{a} {b}" for a, b in facts.items()))


if __name__ == "__main__":
    main()
