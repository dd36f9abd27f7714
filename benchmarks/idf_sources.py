"""Where query weights should come from: the shared table, the corpus itself, or a blend, at several corpus sizes.

    python -m benchmarks.idf_sources [--max-length 256]

nDCG@10 of the bundled encoder on training pairs (never on a test collection): questions and answers of MedQuAD, headings
and paragraphs of technical documentation, questions and passages of 2WikiMultiHopQA. Smaller corpora are blocks of the
whole, taken in a fixed random order; a question belongs to the block that holds all its answers. Needs the shared folder
(LSR_SHARED).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from lsr.encoders import Encoder, TokenCounts, blend, load_encoder
from lsr.encoders.idf import idf
from lsr.eval.machine import describe
from lsr.sparse import SparseVectors

SHARED = Path(os.environ.get("LSR_SHARED") or Path(__file__).resolve().parent.parent.parent / "shared")
SHARES = (1, 0.75, 0.5, 0.25, 0)  # of the corpus in the weights
PRIORS = (100, 1000, 10_000, 30_000)  # documents that the table counts for
SIZES = (200, 1000, 5000, 20_000)
BLOCK = 200
MOST_QUERIES = 2000


@dataclass(frozen=True)
class Collection:
    """Texts in random order, and of each query the rows of its answers."""

    name: str
    texts: list[str]
    queries: list[str]
    answers: list[list[int]]


def read(name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(SHARED / "data" / "train" / name, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def collection(name: str, pairs: list[tuple[str, list[str]]], others: list[str], seed: int = 0) -> Collection:
    texts = sorted({text for _, answers in pairs for text in answers} | set(others))
    order = np.random.default_rng(seed).permutation(len(texts))
    texts = [texts[i] for i in order]
    row = {text: i for i, text in enumerate(texts)}
    return Collection(name, texts, [q for q, _ in pairs], [sorted({row[a] for a in answers}) for _, answers in pairs])


def medquad() -> Collection:
    """Every second pair: 8,204 of 16,407."""
    rows = islice(read("medquad.jsonl.gz"), 0, None, 2)
    return collection("MedQuAD", [(row["query"], [row["positive"]]) for row in rows], [])


def techdocs() -> Collection:
    """20,000 of 120,000 pairs."""
    rows = islice(read("techdocs-headings.jsonl.gz"), 0, None, 6)
    return collection("documentation headings", [(row["query"], [row["positive"]]) for row in rows], [])


def wiki() -> Collection:
    rows = list(read("2wiki-train.jsonl.gz"))

    def text(passage: dict[str, str]) -> str:
        return f"{passage['title']} {passage['text']}"

    pairs = [(row["query"], [text(p) for p in row["gold"]]) for row in rows]
    return collection("2Wiki questions", pairs, [text(p) for row in rows for p in row["other"]])


def encode(encoder: Encoder, texts: list[str]) -> tuple[csr_array[np.float32], list[TokenCounts]]:
    """Vectors of all texts, and the counts of each block of BLOCK texts."""
    vectors, counts = [], []
    for start in range(0, len(texts), BLOCK):
        counts.append(TokenCounts(encoder.dim))
        vectors.append(encoder.encode_documents(texts[start : start + BLOCK], counts[-1]))
    return SparseVectors.concat(vectors).to_scipy(), counts


def ndcg(scores: npt.NDArray[np.float32], answers: list[list[int]]) -> list[float]:
    """nDCG@10 of each row of scores; ties go to the earlier document."""
    found = []
    for line, right in zip(scores, answers, strict=True):
        best = np.argsort(-line, kind="stable")[:10] if len(line) <= 10 else _top(line)
        gain = sum(1 / np.log2(rank + 2) for rank, row in enumerate(best) if row in right and line[row] > 0)
        found.append(gain / sum(1 / np.log2(rank + 2) for rank in range(min(10, len(right)))))
    return found


def _top(line: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    threshold = np.partition(line, len(line) - 10)[len(line) - 10]
    candidates = np.flatnonzero(line >= threshold)
    return candidates[np.argsort(-line[candidates], kind="stable")][:10]


def blocks(data: Collection, size: int) -> Iterator[tuple[int, int, list[int]]]:
    """First row, last row and queries of each block of that size; together at most MOST_QUERIES queries."""
    left = MOST_QUERIES
    for start in range(0, len(data.texts) - size + 1, size):
        inside = [i for i, rows in enumerate(data.answers) if start <= rows[0] and rows[-1] < start + size][:left]
        left -= len(inside)
        if inside:
            yield start, start + size, inside


def with_prior(counts: TokenCounts, table: npt.NDArray[np.float32], strength: float) -> npt.NDArray[np.float32]:
    """The other way to blend: a weight w in the table says that exp(-w) of documents hold the term; `strength` documents
    with these shares join the corpus."""
    weights = idf(counts.df + strength * np.exp(-table.astype(np.float64)), counts.documents + strength)
    weights[table <= 0] = 0
    return weights


def sources(counts: TokenCounts, table: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    """Name and weights of each way that is compared."""
    named: dict[float, str] = {1: "corpus", 0: "shared table"}
    found = {named.get(share, f"{share:.0%} corpus"): blend(counts, table, share) for share in SHARES}
    return found | {f"table as {prior:,} documents": with_prior(counts, table, prior) for prior in PRIORS}


def measure(data: Collection, encoder: Encoder) -> Iterator[tuple[str, int, dict[str, float]]]:
    """(collection and size, number of queries, nDCG@10 of each source)."""
    documents, counts = encode(encoder, data.texts)
    patterns = encoder.encode_query(data.queries).to_scipy()
    patterns.data[:] = 1
    whole = len(data.texts) // BLOCK * BLOCK
    for size in [*(s for s in SIZES if s < whole), whole]:
        found: dict[str, list[float]] = {}
        for start, end, inside in blocks(data, size):
            corpus = TokenCounts(encoder.dim)
            for part in counts[start // BLOCK : end // BLOCK]:
                corpus.documents += part.documents
                corpus.df += part.df
            columns = documents[start:end].T.tocsr()
            for source, weights in sources(corpus, encoder.query.weights).items():
                values = found.setdefault(source, [])
                for first in range(0, len(inside), 500):
                    some = inside[first : first + 500]
                    scores = (patterns[some].multiply(weights[None, :]).tocsr() @ columns).toarray()
                    values += ndcg(scores, [[row - start for row in data.answers[i]] for i in some])
        means = {source: float(np.mean(values)) for source, values in found.items()}
        yield f"{data.name}, {size:,} texts", len(found["corpus"]), means


def _cells(values: Iterable[float]) -> str:
    return " | ".join(f"{value:.4f}" for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-length", type=int, default=256)
    options = parser.parse_args()
    if not (SHARED / "data" / "train").is_dir():
        raise SystemExit(f"{SHARED / 'data' / 'train'}: not here; set LSR_SHARED to the folder of the shared data")
    encoder = load_encoder(max_length=options.max_length)
    rows: list[list[float]] = []
    readers: tuple[Callable[[], Collection], ...] = (medquad, techdocs, wiki)
    for reader in readers:
        for name, queries, values in measure(reader(), encoder):
            if not rows:
                print("| nDCG@10 | queries | " + " | ".join(values) + " |\n|---|--:|" + "--:|" * len(values))
            rows.append(list(values.values()))
            print(f"| {name} | {queries:,} | {_cells(rows[-1])} |", flush=True)
    table = np.array(rows)
    print(f"| mean | | {_cells(table.mean(0))} |")
    print(f"| largest loss to the best of its row | | {_cells((table.max(1, keepdims=True) - table).max(0))} |")
    print("\n" + "; ".join(f"{fact} {value}" for fact, value in describe(["onnxruntime"]).items()))


if __name__ == "__main__":
    main()
