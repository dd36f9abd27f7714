"""A small index whose documents have token vectors, and what these should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import lsr
from lsr.rerank import MaxSimReranker, MultiVectorEncoder, living

TEXTS = {
    "a": "rotate the log file every night",
    "b": "a log of wood in the river, and a file of soldiers",
    "c": "the file system keeps a log",
    "d": "night falls over the river",
    "e": "to rotate is to turn",
}
QUERY = "rotate a log file"
NEW = "soldiers rotate over the log file of the night"


def lines(texts: dict[str, str]) -> list[dict[str, Any]]:
    return [{"_id": name, "title": name.upper(), "text": text} for name, text in texts.items()]


def written(path: Path, texts: dict[str, str]) -> Path:
    path.write_text("\n".join(map(json.dumps, lines(texts))))
    return path


def stored(index: lsr.Index) -> dict[str, list[list[float]]]:
    """What the store holds, by id."""
    store = living.open_tokens(index)
    ids = sorted(store.ids())
    offsets, vectors = store.decoded(ids)
    return {name: vectors[offsets[i] : offsets[i + 1]].tolist() for i, name in enumerate(ids)}


def encoded(encoder: MultiVectorEncoder, texts: dict[str, str]) -> dict[str, list[list[float]]]:
    vectors = encoder.encode_documents([f"{name.upper()} {text}" for name, text in texts.items()])
    return {name: vectors.of(i).tolist() for i, name in enumerate(texts)}


def maxsim(encoder: MultiVectorEncoder, texts: dict[str, str]) -> dict[str, float]:
    query = encoder.encode_queries([QUERY]).of(0)
    return {
        name: float((query @ np.array(vectors, np.float32).T).max(1).sum())
        for name, vectors in encoded(encoder, texts).items()
    }


def search(index: lsr.Index, stage: MaxSimReranker) -> dict[str, float]:
    hits = index.search(QUERY, k=50, rerank=stage)
    return dict(zip(hits.ids, hits.scores.tolist(), strict=True))
