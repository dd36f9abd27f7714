"""Steps a second and peak memory of training, beside sentence-transformers' SparseEncoderTrainer.

    python -m benchmarks.training_speed MODEL TEXTS.jsonl [--batch 64] [--documents 8] [--steps 60] [--length 256] [--largest]

Both train the same inference-free student (a table of query weights, MODEL with its vocabulary head for documents) on the
same batches: a query and 8 documents with random targets, KL divergence and FLOPS, AdamW, bf16 on a GPU. Those of
sentence-transformers are SparseDistillKLDivLoss and FlopsLoss within SpladeLoss; it needs datasets and accelerate.
Each runs in a process of its own; its first steps are not counted. `--largest` also finds the largest batch that
each can hold, by doubling. TEXTS has a text a line, as {"text"}.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

WARM = 15


def texts(path: str, count: int) -> list[str]:
    opened: Any = gzip.open if path.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8") as file:
        found = [json.loads(line)["text"] for line in islice(file, count)]
    return [str(found[i % len(found)]) for i in range(count)]


def examples(options: argparse.Namespace) -> tuple[list[str], list[str], np.ndarray[Any, Any]]:
    """Queries, `documents` texts for each, and targets [Q, K]."""
    count = (options.steps + WARM) * options.batch
    count = min(count, 4096)
    documents = texts(options.texts, count * options.documents)
    queries = [" ".join(documents[i * options.documents].split()[:8]) or "nothing" for i in range(count)]
    return queries, documents, np.random.default_rng(0).normal(0, 5, (count, options.documents)).astype(np.float32)


def ours(options: argparse.Namespace) -> dict[str, float]:
    """The loop of lsr, fed with given candidates and targets."""
    from lsr.training.batches import Batches
    from lsr.training.data import TokenStore
    from lsr.training.materials import Materials
    from lsr.training.processes import Processes
    from lsr.training.recipe import DocumentSide, Loss, Recipe, Run, Start, TeacherChoice
    from lsr.training.sparse_student import SparseStudent
    from lsr.training.trainer import Trainer

    queries, documents, targets = examples(options)
    processes = Processes(options.device)
    gpu = processes.device.type == "cuda"
    recipe = Recipe(
        start=Start(model=options.model),
        document=DocumentSide(activation="log1p_relu", max_length=options.length, drop=()),
        teachers=(TeacherChoice(kind="bm25"),),
        loss=Loss(kl=1.0, block_kl=0.0),
        run=Run(steps=10_000, batch=options.batch),
    )
    with tempfile.TemporaryDirectory() as folder:
        student = SparseStudent(recipe, Path(folder), "bf16" if gpu else "fp32")
        student.build(lambda: np.ones(student.vocabulary.dim, np.float32))
        student.to(processes.device)
        rows = np.arange(len(documents)).reshape(len(queries), options.documents)
        batches = Batches(
            np.arange(len(queries)),
            np.zeros(len(queries), np.uint8),
            [None],
            Given(rows),
            steps=1000,
            batch=options.batch,
            seed=0,
        )
        materials = Materials(
            documents=TokenStore.of(documents, student.tokenizer_json, options.length).to(processes.device),
            queries=TokenStore.of(queries, student.tokenizer_json, 64).to(processes.device),
            batches=batches,
            ensemble=Targets(torch.from_numpy(targets).to(processes.device)),  # type: ignore[arg-type]
            positives=np.full(len(queries), -1),
            development=None,
        )
        trainer = Trainer(recipe, student, materials, processes, Path(folder))

        def step() -> None:
            trainer._step()
            trainer.step += 1

        return timed(step, options.steps, gpu)


class Given:
    """Candidates that are what they are."""

    def __init__(self, rows: np.ndarray[Any, Any]) -> None:
        self.rows = rows

    def sample(self, queries: np.ndarray[Any, Any], rng: np.random.Generator) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = self.rows[queries]
        return found


class Targets:
    """Targets that are known."""

    def __init__(self, scores: torch.Tensor) -> None:
        self.scores = scores

    def own(
        self, queries: torch.Tensor, documents: torch.Tensor, pair_scores: torch.Tensor | None = None
    ) -> torch.Tensor:
        return self.scores[queries]


def timed(step: Any, steps: int, gpu: bool) -> dict[str, float]:
    for _ in range(WARM):
        step()
    if gpu:
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(steps):
        step()
    if gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    return {"steps_per_second": steps / seconds, "peak_gb": torch.cuda.max_memory_allocated() / 1e9 if gpu else 0.0}


def theirs(options: argparse.Namespace) -> dict[str, float]:
    """SparseEncoderTrainer; the time from the end of the first steps to that of the last."""
    from datasets import Dataset  # type: ignore[import-not-found, unused-ignore]
    from sentence_transformers import SparseEncoder, SparseEncoderTrainer, SparseEncoderTrainingArguments
    from sentence_transformers.models import Router
    from sentence_transformers.sparse_encoder.losses import SparseDistillKLDivLoss, SpladeLoss
    from sentence_transformers.sparse_encoder.models import MLMTransformer, SparseStaticEmbedding, SpladePooling
    from transformers import TrainerCallback

    queries, documents, targets = examples(options)
    network = MLMTransformer(options.model)
    network.max_seq_length = options.length
    router = Router.for_query_document(
        query_modules=[SparseStaticEmbedding(tokenizer=network.tokenizer, frozen=True)],
        document_modules=[network, SpladePooling("max")],
    )
    model = SparseEncoder(modules=[router], device=options.device)
    columns: dict[str, Any] = {"query": queries}
    for k in range(options.documents):
        columns[f"document{k}"] = documents[k :: options.documents]
    columns["label"] = targets.tolist()
    loss = SpladeLoss(model, SparseDistillKLDivLoss(model), document_regularizer_weight=0.1)
    marks: dict[int, float] = {}

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if state.global_step in (WARM, WARM + options.steps):
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                marks[state.global_step] = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        arguments = SparseEncoderTrainingArguments(
            output_dir=folder,
            max_steps=WARM + options.steps,
            per_device_train_batch_size=options.batch,
            bf16=torch.cuda.is_available() and options.device != "cpu",
            learning_rate=4e-4,
            save_strategy="no",
            report_to=[],
            logging_steps=1000,
            dataloader_num_workers=4 if torch.cuda.is_available() else 0,
            disable_tqdm=True,
            router_mapping={"query": "query", **{f"document{k}": "document" for k in range(options.documents)}},
        )
        trainer = SparseEncoderTrainer(
            model=model, args=arguments, train_dataset=Dataset.from_dict(columns), loss=loss, callbacks=[Clock()]
        )
        trainer.train()
    seconds = marks[WARM + options.steps] - marks[WARM]
    peak = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0
    return {"steps_per_second": options.steps / seconds, "peak_gb": peak}


def measured(name: str, options: argparse.Namespace, batch: int, steps: int) -> dict[str, float] | None:
    """What one of them comes to in a process of its own; None when it does not fit."""
    command = [
        sys.executable, "-m", "benchmarks.training_speed", options.model, options.texts, "--one", name, "--batch", str(batch),
        "--documents", str(options.documents), "--steps", str(steps), "--length", str(options.length),
        "--device", options.device,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{name} at {batch}: {done.stderr.strip().splitlines()[-1][:300]}", file=sys.stderr)
        return None
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("texts")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--documents", type=int, default=8)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--largest", action="store_true")
    parser.add_argument("--one", choices=("lsr", "sentence-transformers"))
    options = parser.parse_args()
    if options.one:
        print(json.dumps(ours(options) if options.one == "lsr" else theirs(options)))
        return
    print("| | batch | steps a second | peak GB |\n|---|--:|--:|--:|")
    for name in ("lsr", "sentence-transformers"):
        found = measured(name, options, options.batch, options.steps)
        if found:
            print(
                f"| {name} | {options.batch} | {found['steps_per_second']:.2f} | {found['peak_gb']:.2f} |", flush=True
            )
        batch = options.batch
        while options.largest and found:
            batch *= 2
            found = measured(name, options, batch, 3)
            if found:
                print(f"| {name} | {batch} | {found['steps_per_second']:.2f} | {found['peak_gb']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
