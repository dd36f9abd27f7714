"""Documents encoded per second and peak GPU memory, beside sentence-transformers on one GPU with the same weights.

    python -m benchmarks.encode_gpu MODEL_FOLDER... --passages FILE [--random-bert TOKENIZER_FOLDER] [--dtype bf16]

Both read the same texts end to end, tokenisation included, in processes of their own. First texts of the model's vocabulary,
drawn by chance, all of `--length` tokens, so that a batch is what its size says: the largest batch that sentence-transformers
holds is found by doubling, then both run with it, and lsr with one 8 times as large. Then the lines of a file:
sentence-transformers at several batch sizes, lsr at its own. `--random-bert` adds a BERT-base-sized masked language model
with random weights. Medians of `--repeats`; ratios are to the fastest run of sentence-transformers. `--device cpu` tries the
script out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.models import random_model

REPOSITORY = Path(__file__).resolve().parent.parent
DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
PEER = "sentence-transformers"
PEER_BATCHES = (32, 128, 512)  # 32 is its default


def lines(path: Path, count: int) -> list[str]:
    with path.open(encoding="utf-8") as file:
        return [line.rstrip("\n") for line in islice(file, count)]


def drawn(folder: Path, count: int, length: int) -> list[str]:
    """Texts of `length` tokens or more, of whole words of the vocabulary."""
    from tokenizers import Tokenizer

    vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    words = np.array(sorted(word for word in vocabulary if word.isascii() and word.isalpha()))
    chosen = np.random.default_rng(0).integers(0, len(words), (count, length))
    return [" ".join(words[row]) for row in chosen]


class System:
    """One of the two, loaded. `encode` takes texts and a batch size (None is lsr's own) and returns the terms found."""

    def __init__(self, name: str, folder: Path, options: dict[str, Any]) -> None:
        import torch

        self.name, self.length, self.device = name, options["length"], options["device"]
        if name == "lsr":
            from lsr.encoders import load_encoder

            precision = options["dtype"]
            self.model: Any = load_encoder(
                folder, max_length=self.length, device=self.device, engine="torch", precision=precision
            )
            self.own = self.model.engine.token_budget
        else:
            from sentence_transformers import SparseEncoder

            dtype = getattr(torch, DTYPES[options["dtype"]])
            self.model = SparseEncoder(str(folder), device=self.device, model_kwargs={"dtype": dtype})
            self.model.max_seq_length = self.length

    def encode(self, texts: list[str], batch: int | None) -> int:
        if self.name == "lsr":
            self.model.engine.token_budget = self.own if batch is None else batch * self.length
            return int(self.model.encode_documents(texts).nnz)
        found = self.model.encode_document(texts, batch_size=batch, show_progress_bar=False)
        return int(found._nnz())

    def largest_batch(self, texts: list[str], first: int) -> int:
        """The largest size, doubling, that fits in memory; a batch of it is the whole of the texts' first."""
        import torch

        size = first
        while self.device != "cpu" and 2 * size <= len(texts):
            try:
                self.encode(texts[: 2 * size], 2 * size)
            except torch.cuda.OutOfMemoryError:
                break
            finally:
                torch.cuda.empty_cache()
            size *= 2
        return size

    def measure(self, texts: list[str], batch: int | None, repeats: int) -> dict[str, float]:
        """Documents per second, peak memory of the device in GB, terms a document."""
        import torch

        on_gpu = self.device != "cpu"
        self.encode(texts[: batch or 1024], batch)
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        seconds = []
        for _ in range(repeats):
            started = time.perf_counter()
            terms = self.encode(texts, batch)
            seconds.append(time.perf_counter() - started)
        memory = torch.cuda.max_memory_allocated() / 1e9 if on_gpu else float("nan")
        held = self.model.engine.token_budget == batch * self.length if self.name == "lsr" and batch else True
        rate = len(texts) / median(seconds)
        return {"rate": rate, "gigabytes": memory, "terms": terms / len(texts), "held": held}


def child(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """All runs of one system with one model, in this process."""
    folder, repeats = Path(spec["folder"]), spec["repeats"]
    system = System(spec["system"], folder, spec)
    rows = []
    if spec["drawn"]:
        largest = spec["largest"]
        if largest is None:
            largest = system.largest_batch(drawn(folder, 4096, spec["length"]), spec["first"])
        texts = drawn(folder, 8 * largest, spec["length"])
        for batch in (largest, 8 * largest) if spec["system"] == "lsr" else (largest,):
            rows.append({"texts": "drawn", "batch": batch, **system.measure(texts, batch, repeats)})
    texts = lines(Path(spec["passages"]), spec["count"])
    peer_batches = PEER_BATCHES[: 1 if spec["device"] == "cpu" else None]
    for batch in (None,) if spec["system"] == "lsr" else peer_batches:
        rows.append({"texts": "passages", "batch": batch, **system.measure(texts, batch, repeats)})
    return rows


def in_process(spec: dict[str, Any]) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "benchmarks.encode_gpu", "--child", json.dumps(spec)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{spec}: {done.stderr[-3000:]}")
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(folder: Path, spec: dict[str, Any]) -> None:
    common = {**spec, "folder": str(folder), "largest": None}
    peer = in_process({**common, "system": PEER})
    largest = next((row["batch"] for row in peer if row["texts"] == "drawn"), None)
    ours = in_process({**common, "system": "lsr", "largest": largest})
    for kind in ("drawn", "passages"):
        base = max((row["rate"] for row in peer if row["texts"] == kind), default=1)
        for name, rows in ((PEER, peer), ("lsr", ours)):
            for row in rows:
                if row["texts"] == kind:
                    size = f"{row['batch']:,}" if row["batch"] else "its own"
                    size += "" if row["held"] else " (halved)"
                    print(
                        f"| {folder.name} | {kind} | {name} | {size} | {row['rate']:,.0f} | {row['rate'] / base:.2f} x | "
                        f"{row['gigabytes']:.1f} | {row['terms']:.0f} |",
                        flush=True,
                    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--random-bert", type=Path, metavar="FOLDER", help="one more, with the tokenizer of FOLDER")
    parser.add_argument("--passages", type=Path, help="a text a line")
    parser.add_argument("--count", type=int, default=10_000, help="lines of it")
    parser.add_argument("--no-drawn", dest="drawn", action="store_false")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--first", type=int, default=64, help="batch to begin with")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(json.loads(options.child))))
        return
    spec = {key: getattr(options, key) for key in ("length", "device", "dtype", "repeats", "first", "count", "drawn")}
    spec["passages"] = str(options.passages.resolve())
    print("| model | texts | system | batch | documents/s | beside | peak GB | terms |", flush=True)
    print("|---|---|---|--:|--:|--:|--:|--:|", flush=True)
    with tempfile.TemporaryDirectory() as work:
        folders = list(options.folders)
        if options.random_bert:
            sample = lines(options.passages, 50)
            folders.append(random_model(Path(work) / "bert-base-sized", "bert-base", options.random_bert, sample))
        for folder in folders:
            compare(folder.resolve(), spec)
    import torch

    name = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    print(
        f"\n{name}, {options.dtype}, {options.length} tokens, medians of {options.repeats}, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
