"""A graph as a folder of arrays that can be made again: what pipelines keep beside their indexes."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np

from lsr import disk
from lsr.errors import InvalidInput
from lsr.rag.graph.types import GraphArrays

__all__ = ["TEXTS", "TYPES", "check_arrays", "load_arrays", "save_arrays"]

TEXTS = ("phrases", "predicates")
TYPES: dict[str, type[np.generic]] = {
    "indptr": np.int64,
    "targets": np.uint32,
    "weights": np.float32,
    "kinds": np.uint8,
    "subjects": np.uint32,
    "objects": np.uint32,
    "fact_indptr": np.int64,
    "fact_passages": np.uint32,
    "mentions": np.int64,
}


def save_arrays(graph: GraphArrays, folder: Path) -> None:
    """Writes a graph to a folder, made when it is not there. The last file is the one that `load_arrays` asks for first."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TYPES:
        with disk.atomic_write(folder / f"{name}.npy") as file:
            np.save(file, getattr(graph, name), allow_pickle=False)
    about = {"passages": graph.passages, **{name: list(getattr(graph, name)) for name in TEXTS}}
    with disk.atomic_write(folder / "graph.json") as file:
        file.write(json.dumps(about, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def load_arrays(folder: Path) -> GraphArrays:
    """Raises `InvalidInput` for a folder that holds no whole graph, or one whose parts contradict each other: it can be
    made again."""
    try:
        about = json.loads((folder / "graph.json").read_bytes().decode("utf-8", "surrogatepass"))
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in TYPES}
        graph = GraphArrays(passages=int(about["passages"]), **{name: about[name] for name in TEXTS}, **arrays)
        assert {field.name for field in fields(graph)} == {*TYPES, *TEXTS, "passages"}
        check_arrays(graph)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{folder}: no graph can be read there ({error}); make it again") from None
    return graph


def check_arrays(graph: GraphArrays) -> None:
    """What memory safety rests on. Raises `ValueError`."""
    for name, kind in TYPES.items():
        array = getattr(graph, name)
        if array.dtype != kind or array.ndim != 1:
            raise ValueError(f"{name} is {array.dtype} {array.shape}")
    phrases, facts, edges = len(graph.phrases), len(graph.predicates), len(graph.targets)
    for name, length in (
        ("indptr", graph.nodes + 1),
        ("weights", edges),
        ("kinds", edges),
        ("subjects", facts),
        ("objects", facts),
        ("fact_indptr", facts + 1),
        ("mentions", phrases),
    ):
        if len(getattr(graph, name)) != length:
            raise ValueError(f"{name} has {len(getattr(graph, name))} entries, not {length}")
    for offsets, last in ((graph.indptr, edges), (graph.fact_indptr, len(graph.fact_passages))):
        if offsets[0] != 0 or offsets[-1] != last or (np.diff(offsets) < 0).any():
            raise ValueError("offsets do not rise to the number of entries")
    for values, below in (
        (graph.targets, graph.nodes),
        (graph.subjects, phrases),
        (graph.objects, phrases),
        (graph.fact_passages, graph.passages),
    ):
        if len(values) and int(values.max()) >= below:
            raise ValueError("a number is that of no node")
