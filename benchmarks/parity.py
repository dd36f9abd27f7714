"""Largest difference from sentence-transformers on real weights and real passages, one process.

    python -m benchmarks.parity [PASSAGES] [--old SITE]

Reads shared/models/splade-tiny, as a SPLADE model and as a Router with the published table of query weights, and 1,000
passages of SciFact, as documents and as queries. `--old` is a folder of packages with sentence-transformers 5.0 (`pip install
--target SITE --no-deps sentence-transformers==5.0.0 transformers==4.57.1 tokenizers==0.22.1 huggingface-hub==0.36.2`): what
lsr saves is opened with it as well.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lsr.encoders import load_encoder
from tests.conftest import shared_folder

ENGINES = ("onnx", "torch")
OLD = """
import sys, json; sys.path.insert(0, sys.argv[1])
import numpy as np, sentence_transformers
from sentence_transformers import SparseEncoder
assert sentence_transformers.__version__.startswith("5.0"), sentence_transformers.__version__
texts = json.load(open(sys.argv[3]))
model = SparseEncoder(sys.argv[2], device="cpu")
vectors = [e(texts, convert_to_sparse_tensor=False) for e in (model.encode_query, model.encode_document)]
np.savez(sys.argv[4], query=vectors[0].numpy(), document=vectors[1].numpy())
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("passages", nargs="?", type=int, default=1000)
    parser.add_argument("--old")
    given = parser.parse_args()
    shared = shared_folder()
    if shared is None:
        sys.exit("the shared collections are not here: set LSR_SHARED to their folder")
    with gzip.open(shared / "data" / "scifact" / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [f"{row['title']} {row['text']}" for row in map(json.loads, islice(lines, given.passages))]
    print(f"{len(texts)} passages; largest difference of a weight, and the largest weight")
    print(f"{'layout':<10} {'reference':<28} {'engine':<6} {'queries':>10} {'documents':>10} {'largest':>8}")
    with TemporaryDirectory() as temporary:
        work = Path(temporary)
        layouts = {"SPLADE": shared / "models" / "splade-tiny", "Router": router(shared, work / "router")}
        for layout, folder in layouts.items():
            compare(layout, folder, texts, work, given.old)


def compare(layout: str, folder: Path, texts: list[str], work: Path, old: str | None) -> None:
    encoders = {engine: load_encoder(folder, engine=engine) for engine in ENGINES}
    found = {
        engine: [vectors.to_scipy().toarray() for vectors in (e.encode_query(texts), e.encode_documents(texts))]
        for engine, e in encoders.items()
    }
    saved = work / f"saved-{layout}"
    encoders["onnx"].save(saved)
    references = {"sentence-transformers": folder, "the same, saved by lsr": saved}
    for name, source in references.items():
        _rows(layout, name, found, _new(source, texts))
    if old is not None:
        _rows(layout, "5.0, saved by lsr", found, _old(old, saved, texts, work))


def router(shared: Path, folder: Path) -> Path:
    """splade-tiny behind the published glue files and table."""
    shutil.copytree(shared / "data" / "idf" / "sentence_transformers_layout", folder)
    tiny = shared / "models" / "splade-tiny"
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny / name, folder / name)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny / name, folder / "query_0_SparseStaticEmbedding" / name)
    return folder


def _new(folder: Path, texts: list[str]) -> list[Any]:
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(str(folder), device="cpu")
    return [e(texts, convert_to_sparse_tensor=False).numpy() for e in (model.encode_query, model.encode_document)]


def _old(site: str, folder: Path, texts: list[str], work: Path) -> list[Any]:
    (work / "texts.json").write_text(json.dumps(texts))
    output = work / "old.npz"
    command = [sys.executable, "-c", OLD, site, str(folder), str(work / "texts.json"), str(output)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"sentence-transformers of {site} failed: {done.stderr[-2000:]}")
    for line in done.stderr.splitlines():
        if "warn" in line.lower():
            print(f"    it says: {line}")
    with np.load(output) as arrays:
        return [arrays["query"], arrays["document"]]


def _rows(layout: str, name: str, found: dict[str, list[Any]], reference: list[Any]) -> None:
    for engine, vectors in found.items():
        queries, documents = (np.abs(a - b).max() for a, b in zip(vectors, reference, strict=True))
        print(f"{layout:<10} {name:<28} {engine:<6} {queries:>10.2e} {documents:>10.2e} {reference[1].max():>8.3f}")


if __name__ == "__main__":
    main()
