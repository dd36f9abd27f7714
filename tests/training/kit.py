"""A collection, recipes and networks so small that a training takes half a second."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from lsr.training import Recipe, working_folder
from lsr.training.cache import Cache
from lsr.training.prepare import prepare
from lsr.training.processes import Processes
from lsr.training.recipe import recipe_from
from lsr.training.sparse_student import SparseStudent
from lsr.training.students import student_of
from lsr.training.trainer import Trainer
from tests.conftest import REPOSITORY
from tests.encoders import families

DOCUMENTS, LONGEST = 40, 24

# What the recipes of the tests have in common; each says what it does otherwise.
COMMON: dict[str, Any] = {
    "name": "small",
    "start": {"model": "start"},
    "query": {"max_length": 16},
    "document": {"max_length": LONGEST},
    "data": {"documents": ["docs.jsonl"], "queries": [{"file": "queries.jsonl"}], "held_out": 8},
    "candidates": {"depth": 12, "strata": [[1, 4, 2], [5, 12, 2]], "random": 1},
    "teachers": [{"kind": "sparse", "model": "teacher"}, {"kind": "bm25"}],
    "run": {"steps": 4, "batch": 4, "learning_rate": 1e-3},
    "evaluate": {"every": 2, "checkpoint": 2, "log": 1},
}
# Losses without teachers.
CONTRASTIVE = {"contrastive": 1, "kl": 0, "block_kl": 0}


def collection(folder: Path) -> Path:
    """A folder with docs.jsonl, queries.jsonl, scores.tsv, and the models start/ and teacher/."""
    families.plain(folder / "start")
    families.plain(folder / "teacher", seed=3)
    random = np.random.default_rng(0)
    words = sorted({word.strip(".,!?") for text in families.SENTENCES for word in text.split()})
    documents = [" ".join(random.choice(words, random.integers(5, 15))) for _ in range(DOCUMENTS)]
    lines(folder / "docs.jsonl", [{"_id": f"d{i}", "text": text} for i, text in enumerate(documents)])
    queries = [" ".join(random.permutation(text.split())[:3]) for text in documents]
    others = [[f"d{(i + step) % DOCUMENTS}" for step in range(1, 9)] for i in range(DOCUMENTS)]
    lines(
        folder / "queries.jsonl",
        [{"query": query, "positive_ids": [f"d{i}"], "negative_ids": others[i]} for i, query in enumerate(queries)],
    )
    scores = [f"{query}\td{document}\t{random.normal():.4f}\n" for query in queries for document in range(DOCUMENTS)]
    (folder / "scores.tsv").write_text("".join(scores), encoding="utf-8")
    return folder


def lines(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings laid over one another; mappings in them too, lists are replaced."""
    found: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            both = isinstance(value, Mapping) and isinstance(found.get(key), Mapping)
            found[key] = merged(found[key], value) if both else value
    return found


def recipe(folder: Path, **changes: Any) -> Recipe:
    """The common recipe on the collection of `folder`, with changes."""
    return recipe_from(merged(COMMON, changes), folder=folder)


@dataclass
class Made:
    """A trainer before its first step, and what it was made of."""

    trainer: Trainer
    student: SparseStudent
    recipe: Recipe


def trainer(chosen: Recipe, folder: Path) -> Made:
    """A trainer of that recipe; its log and checkpoints in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(chosen.seed)
    processes = Processes("cpu")
    student = student_of(chosen, folder / "scratch", "fp32")
    assert isinstance(student, SparseStudent)
    prepared = prepare(chosen, student, processes, Cache(None))
    return Made(Trainer(chosen, student, prepared.materials, processes, folder), student, chosen)


def log_of(folder: Path) -> list[dict[str, Any]]:
    """The log of a model that was trained, or of a working folder."""
    path = folder / "training_log.jsonl"
    path = path if path.is_file() else folder / "log.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def steps_of(folder: Path) -> list[dict[str, Any]]:
    """Its lines on steps, without the seconds."""
    return [
        {key: value for key, value in line.items() if key != "seconds"}
        for line in log_of(folder)
        if "evaluation" not in line
    ]


def weights_of(folder: Path) -> dict[str, Tensor]:
    """The tensors of a trained model."""
    return load_file(folder / "model.safetensors")


def largest_difference(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C."""


def interrupting(at: int) -> Any:
    """A progress function that is interrupted after so many steps."""

    def progress(stage: str, done: int, total: int | None) -> None:
        if stage == "training" and done == at:
            raise Interrupted

    return progress


def in_processes(count: int, code: str, *arguments: object) -> None:
    """Runs Python code in several processes that know of each other, as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    started = [
        subprocess.Popen(
            command,
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            cwd=REPOSITORY,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    ended = [process.communicate(timeout=100)[1] for process in started]
    for process, stderr in zip(started, ended, strict=True):
        assert process.returncode == 0, stderr


def nothing_left(output: Path) -> bool:
    """Whether neither a model nor a working folder is there."""
    return not output.exists() and not working_folder(output).exists()
