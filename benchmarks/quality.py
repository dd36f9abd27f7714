"""nDCG@10 of an encoder with adapted and with its own term weights, beside BM25, on collections in BEIR layout.

    python benchmarks/quality.py [--collections FOLDER] [--encoder NAME_OR_FOLDER] [--max-length 256] [NAME ...]

Writes a Markdown table. An index gets by default the encoder's IDF adapted to the documents; the other column is the
encoder's own. All is measured by `lsr eval`, whose reports hold more: this is only for the second column.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a script, Python looks only beside it

import lsr
from lsr.eval import Evaluation, Measure, evaluate_collections
from lsr.eval.machine import describe

NAMES = ("scifact", "nfcorpus", "msmarco-5k", "vaswani", "cranfield", "cacm", "squad-dev")
MEASURE = "nDCG@10"


def measure(folder: Path, encoder: lsr.Encoder) -> str:
    with tempfile.TemporaryDirectory() as work:
        for name, corpus_idf in (("adapted", True), ("own", False)):
            index = lsr.Index.build(
                folder, f"{work}/{name}", encoder=encoder, corpus_idf=corpus_idf, keep_text=False, overwrite=True
            )
        evaluation = Evaluation(
            systems=[f"adapted={work}/adapted", f"own={work}/own"],
            baseline="bm25",
            measures=[Measure.parse(MEASURE)],
            timing=False,
            texts=False,
        )
        report = evaluate_collections([str(folder)], Path(work) / "report", evaluation, lambda *_: None)
        (found,) = report.reports.values()
    scores = {system["name"]: f"{system['metrics'][MEASURE]:.4f}" for system in found["systems"]}
    facts = found["dataset"]
    terms = index.info()["nnz"] / len(index)
    cells = [folder.name, f"{facts['documents']:,}", f"{facts['queries']:,}", f"{terms:.0f}"]
    return "| " + " | ".join([*cells, scores["adapted"], scores["own"], scores["bm25"]]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description="nDCG@10 of an encoder beside BM25")
    default = Path(os.environ.get("LSR_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"
    parser.add_argument("--collections", type=Path, default=default)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--encoder", default="lsr-tiny", help="name or folder")
    parser.add_argument("names", nargs="*", default=NAMES)
    options = parser.parse_args()
    encoder = lsr.load_encoder(options.encoder, max_length=options.max_length)
    print(describe(("onnxruntime", "bm25s")))
    print()
    print(f"| collection | documents | queries | terms a document | {encoder.name} | with its own IDF | BM25 |")
    print("|---|---|---|---|---|---|---|")
    for name in options.names:
        print(measure(options.collections / name, encoder), flush=True)


if __name__ == "__main__":
    main()
