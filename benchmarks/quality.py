"""nDCG@10 of the bundled encoder beside BM25, on collections in BEIR layout.

    python benchmarks/quality.py [--collections FOLDER] [--encoder NAME_OR_FOLDER] [--max-length 256] [NAME ...]

Writes a Markdown table. lsr-tiny is measured with the term weights that an index gets by default, its IDF adapted to the
documents, and with its own IDF. BM25 is bm25s with k1 = 0.9, b = 0.4 (Lucene's form), English stop words and the Snowball
stemmer. Both read title and text; queries without hits count 0. The measure is trec_eval's (linear gain).
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytrec_eval

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a script, Python looks only beside it

import lsr
from lsr.eval.machine import describe

NAMES = ("scifact", "nfcorpus", "msmarco-5k", "vaswani", "cranfield", "cacm", "squad-dev")
K = 100

Run = dict[str, dict[str, float]]
Qrels = dict[str, dict[str, int]]


def read_qrels(path: Path) -> Qrels:
    qrels: Qrels = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    return qrels


def ndcg(qrels: Qrels, run: Run) -> float:
    """Mean nDCG@10 over all judged queries."""
    measured = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10"}).evaluate(run)
    return sum(float(values["ndcg_cut_10"]) for values in measured.values()) / len(qrels)


def falling(ids: list[str], scores: list[float]) -> dict[str, float]:
    """Scores that fall strictly in the order given: trec_eval would break ties its own way."""
    return {name: score - 1e-6 * rank for rank, (name, score) in enumerate(zip(ids, scores, strict=True))}


def lsr_run(index: lsr.Index, queries: list[lsr.corpus.Query]) -> Run:
    answers = index.search([query.text for query in queries], k=K)
    return {q.id: falling(hits.ids, hits.scores.tolist()) for q, hits in zip(queries, answers, strict=True)}


def bm25_run(folder: Path, queries: list[lsr.corpus.Query]) -> Run:
    import bm25s
    import Stemmer

    documents = list(lsr.read_documents(folder))
    stemmer = Stemmer.Stemmer("english")
    options = {"stopwords": "en", "stemmer": stemmer, "show_progress": False}
    retriever = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
    retriever.index(bm25s.tokenize([document.content for document in documents], **options), show_progress=False)
    tokens = bm25s.tokenize([query.text for query in queries], **options)
    rows, scores = retriever.retrieve(tokens, k=min(K, len(documents)), show_progress=False)
    run: Run = {}
    for query, line, values in zip(queries, np.asarray(rows), np.asarray(scores), strict=True):
        kept = [(documents[row].id, float(value)) for row, value in zip(line, values, strict=True) if value > 0]
        run[query.id] = falling([name for name, _ in kept], [value for _, value in kept])
    return run


def measure(folder: Path, encoder: lsr.Encoder) -> str:
    queries = list(lsr.read_queries(folder))
    qrels = read_qrels(folder / "qrels" / "test.tsv")
    cells = [folder.name]
    with tempfile.TemporaryDirectory() as work:
        for number, corpus_idf in enumerate((True, False)):
            started = time.perf_counter()
            index = lsr.Index.build(folder, f"{work}/{number}.idx", encoder=encoder, corpus_idf=corpus_idf)
            seconds = time.perf_counter() - started
            if number == 0:
                cells += [f"{len(index):,}", str(len(qrels)), f"{index.info()['nnz'] / len(index):.0f}"]
            cells.append(f"{ndcg(qrels, lsr_run(index, queries)):.4f}")
        cells.append(f"{ndcg(qrels, bm25_run(folder, queries)):.4f}")
        cells.append(f"{len(index) / seconds:.0f}")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description="nDCG@10 of lsr-tiny beside BM25")
    default = Path(os.environ.get("LSR_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"
    parser.add_argument("--collections", type=Path, default=default)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--encoder", default="lsr-tiny", help="name or folder")
    parser.add_argument("names", nargs="*", default=NAMES)
    options = parser.parse_args()
    encoder = lsr.load_encoder(options.encoder, max_length=options.max_length)
    print(describe(("onnxruntime", "bm25s")))
    print()
    print(
        f"| collection | documents | queries | terms a document | {encoder.name} | with its own IDF | BM25 | documents/s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in options.names:
        print(measure(options.collections / name, encoder), flush=True)


if __name__ == "__main__":
    main()
