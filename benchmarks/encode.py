"""Documents encoded per second and peak memory, beside sentence-transformers with the same weights.

    python -m benchmarks.encode [--repeats 3] [--threads 2] [--max-length 256]

Both read the same texts, in processes of their own that take turns; the table gives medians. Needs the shared folder
(LSR_SHARED) with the model, SciFact and the technical documentation.
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
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from lsr.eval.machine import describe

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("LSR_SHARED") or REPOSITORY.parent / "shared")
MODEL = SHARED / "models" / "splade-tiny"
SYSTEMS = ("lsr-tiny (8-bit)", "lsr, float32", "sentence-transformers")
PACKAGES = ("onnxruntime", "tokenizers", "torch", "sentence-transformers")


def scifact(count: int) -> list[str]:
    with gzip.open(SHARED / "data" / "scifact" / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in islice(lines, count)]
    return [f"{row['title']} {row['text']}" for row in rows]


def techdocs(count: int) -> list[str]:
    """Lines spread over the first 5,000."""
    with lzma.open(SHARED / "data" / "passages" / "techdocs-392k.txt.xz", "rt", encoding="utf-8") as lines:
        return [line.rstrip("\n") for line in islice(lines, 0, 5000, 5000 // count)]


# Name, reader and number of texts: sentence-transformers takes about half a minute for each.
TEXTS = {"SciFact abstracts": (scifact, 500), "documentation paragraphs": (techdocs, 1000)}


def encode_lsr(texts: list[str], encoder: str, threads: int, max_length: int) -> tuple[float, int]:
    """Seconds, and terms found."""
    from lsr.encoders import load_encoder

    loaded = load_encoder(encoder, max_length=max_length, threads=threads)
    loaded.encode_documents(texts[:8])
    started = time.perf_counter()
    vectors = loaded.encode_documents(texts)
    return time.perf_counter() - started, vectors.nnz


def encode_sentence_transformers(texts: list[str], threads: int, max_length: int) -> tuple[float, int]:
    """The same with SparseEncoder: its defaults (sorted by length, batches of 32), log1p relu max pooling."""
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import MLMTransformer, SpladePooling

    torch.set_num_threads(threads)
    transformer = MLMTransformer(str(MODEL))
    transformer.max_seq_length = max_length
    model = SparseEncoder(modules=[transformer, SpladePooling()], device="cpu")
    model.encode_document(texts[:8])
    started = time.perf_counter()
    vectors = model.encode_document(texts)
    return time.perf_counter() - started, int(vectors.coalesce().values().numel())


def child(system: str, name: str, encoder: str, threads: int, max_length: int) -> dict[str, float]:
    reader, count = TEXTS[name]
    texts = reader(count)
    if system == "sentence-transformers":
        seconds, terms = encode_sentence_transformers(texts, threads, max_length)
    else:
        seconds, terms = encode_lsr(texts, encoder, threads, max_length)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"documents_per_second": len(texts) / seconds, "peak_mb": peak / 1e6, "terms": terms / len(texts)}


def in_process(arguments: Sequence[Any], threads: int) -> dict[str, float]:
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "benchmarks.encode", "--child", json.dumps(arguments)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{arguments}: {done.stderr}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(repeats: int, threads: int, max_length: int, fp32: Path) -> list[str]:
    encoders = {SYSTEMS[0]: "lsr-tiny", SYSTEMS[1]: str(fp32), SYSTEMS[2]: ""}
    lines = [
        "| texts | system | documents/s | beside | peak memory, MB | terms a document |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for name in TEXTS:
        runs: dict[str, list[dict[str, float]]] = {system: [] for system in SYSTEMS}
        for _ in range(repeats):
            for system in SYSTEMS:
                runs[system].append(in_process([system, name, encoders[system], threads, max_length], threads))
        middle = {system: {key: median(run[key] for run in of) for key in of[0]} for system, of in runs.items()}
        slowest = middle[SYSTEMS[2]]["documents_per_second"]
        for system, found in middle.items():
            speed = found["documents_per_second"]
            lines.append(
                f"| {name} ({TEXTS[name][1]}) | {system} | {speed:.0f} | {speed / slowest:.1f} x | "
                f"{found['peak_mb']:.0f} | {found['terms']:.0f} |"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(*json.loads(options.child))))
        return
    if not MODEL.is_dir():
        raise SystemExit(f"{MODEL}: not here; set LSR_SHARED to the folder of the shared models and data")
    from lsr.encoders.export import export

    with tempfile.TemporaryDirectory() as work:
        fp32 = Path(work) / "fp32"
        export(MODEL, fp32, SHARED / "data" / "idf" / "idf.json", precision="fp32")
        print("\n".join(measure(options.repeats, options.threads, options.max_length, fp32)))
    facts = describe(PACKAGES)
    print(f"\n{options.threads} threads, {options.max_length} tokens, medians of {options.repeats}. ", end="")
    print("; ".join(f"{fact} {value}" for fact, value in facts.items()))


if __name__ == "__main__":
    main()
