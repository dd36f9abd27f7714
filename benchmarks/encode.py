"""Documents encoded per second and peak memory on the CPU, beside sentence-transformers with the same weights.

    python -m benchmarks.encode [--count 10000] [--repeats 3] [--threads 2] [--max-length 256]

All read the same texts, in processes of their own that take turns; the table gives medians. Needs the shared folder
(LSR_SHARED) with the splade-tiny weights, SciFact and the technical documentation. The model of MiniLM-L6's size has random
weights: it is there for its speed. What 8 bits cost in quality is in docs/quality.md.
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.models import random_model
from lsr.eval.machine import describe

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("LSR_SHARED") or REPOSITORY.parent / "shared")
SPLADE_TINY = SHARED / "models" / "splade-tiny"
SYSTEMS = ("lsr, 8 bits", "lsr, float32", "sentence-transformers")
PRECISIONS = {"lsr, 8 bits": "int8", "lsr, float32": "fp32"}
PACKAGES = ("onnxruntime", "tokenizers", "torch", "sentence-transformers")


def scifact(count: int) -> list[str]:
    with gzip.open(SHARED / "data" / "scifact" / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in islice(lines, count)]
    return [f"{row['title']} {row['text']}" for row in rows]


def passages(count: int) -> list[str]:
    with lzma.open(SHARED / "data" / "passages" / "techdocs-392k.txt.xz", "rt", encoding="utf-8") as lines:
        return [line.rstrip("\n") for line in islice(lines, count)]


READERS = {"passages": passages, "scifact": scifact}


def encode_lsr(texts: list[str], folder: str, precision: str, threads: int, max_length: int) -> tuple[float, int]:
    """Seconds, and terms found."""
    from lsr.encoders import load_encoder

    loaded = load_encoder(folder, max_length=max_length, threads=threads, precision=precision)
    loaded.encode_documents(texts[:8])
    started = time.perf_counter()
    terms = sum(part.nnz for part in loaded.encode_parts(texts[i : i + 2048] for i in range(0, len(texts), 2048)))
    return time.perf_counter() - started, terms


def encode_sentence_transformers(texts: list[str], folder: str, threads: int, max_length: int) -> tuple[float, int]:
    """The same with SparseEncoder and its defaults: sorted by length, batches of 32."""
    import torch
    from sentence_transformers import SparseEncoder

    torch.set_num_threads(threads)
    model = SparseEncoder(folder, device="cpu")
    model.max_seq_length = max_length
    model.encode_document(texts[:8])
    started = time.perf_counter()
    vectors = model.encode_document(texts, show_progress_bar=False)
    return time.perf_counter() - started, int(vectors.coalesce().values().numel())


def child(spec: dict[str, Any]) -> dict[str, float]:
    texts = READERS[spec["texts"]](spec["count"])
    arguments = (spec["threads"], spec["max_length"])
    if spec["system"] == "sentence-transformers":
        seconds, terms = encode_sentence_transformers(texts, spec["folder"], *arguments)
    else:
        seconds, terms = encode_lsr(texts, spec["folder"], PRECISIONS[spec["system"]], *arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"documents_per_second": len(texts) / seconds, "peak_mb": peak / 1e6, "terms": terms / len(texts)}


def in_process(spec: dict[str, Any]) -> dict[str, float]:
    threads = str(spec["threads"])
    environment = os.environ | {"OMP_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads}
    command = [sys.executable, "-m", "benchmarks.encode", "--child", json.dumps(spec)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{spec}: {done.stderr}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(model: str, spec: dict[str, Any], repeats: int) -> None:
    runs: dict[str, list[dict[str, float]]] = {system: [] for system in SYSTEMS}
    for _ in range(repeats):
        for system in SYSTEMS:
            runs[system].append(in_process({**spec, "system": system}))
    middle = {system: {key: median(run[key] for run in of) for key in of[0]} for system, of in runs.items()}
    slowest = middle["sentence-transformers"]
    for system, found in middle.items():
        speed = found["documents_per_second"]
        print(
            f"| {model} | {spec['texts']} ({spec['count']:,}) | {system} | {speed:,.0f} | "
            f"{speed / slowest['documents_per_second']:.1f} x | {found['peak_mb']:,.0f} | "
            f"{found['peak_mb'] / slowest['peak_mb']:.2f} | {found['terms']:.0f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--models", nargs="+", default=["splade-tiny", "minilm-l6"])
    parser.add_argument("--texts", nargs="+", choices=READERS, default=["passages"])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(json.loads(options.child))))
        return
    if not SPLADE_TINY.is_dir():
        raise SystemExit(f"{SPLADE_TINY}: not here; set LSR_SHARED to the folder of the shared models and data")
    print("| model | texts | system | documents/s | beside | peak memory, MB | beside | terms |", flush=True)
    print("|---|---|---|--:|--:|--:|--:|--:|", flush=True)
    with tempfile.TemporaryDirectory() as work:
        for model in options.models:
            folder = SPLADE_TINY
            if model != "splade-tiny":
                folder = random_model(Path(work) / model, model, SPLADE_TINY, passages(50))
            for texts in options.texts:
                spec = {"folder": str(folder), "texts": texts, "count": options.count}
                measure(model, spec | {"threads": options.threads, "max_length": options.max_length}, options.repeats)
    facts = describe(PACKAGES)
    print(f"\n{options.threads} threads, {options.max_length} tokens, medians of {options.repeats}. ", end="")
    print("; ".join(f"{fact} {value}" for fact, value in facts.items()))


if __name__ == "__main__":
    main()
