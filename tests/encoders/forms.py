"""Heads of every kind that training can make, over small networks, with the formula of each on full logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.encoders import Encoder
from lsr.encoders.encoder import Settings
from lsr.encoders.layouts import model_of
from lsr.encoders.layouts.hugging_face import network_side
from lsr.encoders.model import DenseLayer, Head, NetworkSide, Side, TableSide, TokenHead, VocabularyHead
from lsr.sparse import SparseVectors
from tests.encoders import families

HIDDEN = families.HIDDEN
Dense = npt.NDArray[np.float32]


def layers(*activations: str, seed: int = 0, width: int = HIDDEN) -> tuple[DenseLayer, ...]:
    """Random layers, the last with one output."""
    random = np.random.default_rng(seed)
    found = []
    for i, activation in enumerate(activations):
        out = 1 if i == len(activations) - 1 else 7
        weight = (random.standard_normal((out, width)) / width**0.5).astype(np.float32)
        found.append(
            DenseLayer(weight=weight, bias=random.standard_normal(out).astype(np.float32), activation=activation)
        )
        width = out
    return tuple(found)


IMPORTANCE, QUALITY = layers("log1p_softplus", seed=1), layers("sigmoid", seed=2)
HEADS: dict[str, Head] = {
    "max relu": VocabularyHead(activation="relu"),
    "max softplus": VocabularyHead(activation="softplus"),
    "max log1p_softplus": VocabularyHead(activation="log1p_softplus", prune_ratio=0.6),
    "sum log1p_softplus": VocabularyHead(pooling="sum", activation="log1p_softplus"),
    "sum log1p_log1p_relu": VocabularyHead(pooling="sum", activation="log1p_log1p_relu"),
    "cls": VocabularyHead(pooling="cls"),
    "cls softplus": VocabularyHead(pooling="cls", activation="softplus"),
    "importance": VocabularyHead(importance=layers("gelu", "softplus", seed=3)),
    "importance below 0": VocabularyHead(activation="relu", importance=layers("identity", seed=20)),
    "importance sum": VocabularyHead(pooling="sum", importance=IMPORTANCE),
    "importance cls": VocabularyHead(pooling="cls", importance=IMPORTANCE),
    "quality": VocabularyHead(quality=QUALITY),
    "quality cls": VocabularyHead(pooling="cls", activation="relu", quality=layers("tanh", "softplus", seed=5)),
    "EPIC": VocabularyHead(activation="softplus", importance=IMPORTANCE, quality=QUALITY),
    "tokens softplus": TokenHead(layers=layers("log1p_softplus", seed=6)),
    "tokens sum": TokenHead(layers=layers("tanh", "softplus", seed=7), log1p=True, pooling="sum"),
    "tokens sigmoid": TokenHead(layers=layers("sigmoid", seed=8)),
}
TORCH_ONLY = tuple(name for name in HEADS if name.startswith(("importance", "quality", "EPIC")))


def side_of(folder: Path, head: Head, **settings: Any) -> NetworkSide:
    """The side of a folder with that head; `settings` are fields of `NetworkSide`."""
    return replace(network_side(folder, head), **settings)


def encoder_of(query: Side, document: Side, engine: str | None = None) -> Encoder:
    return Encoder(model_of(query, document, name="form", source="form"), Settings(engine=engine))


def table_of(folder: Path, **settings: Any) -> TableSide:
    side = side_of(folder, VocabularyHead())
    weights = np.random.default_rng(3).uniform(0.1, 5, side.dim).astype(np.float32)
    return TableSide(tokenizer_json=side.tokenizer_json, weights=weights, **settings)


def dense(vectors: SparseVectors) -> Dense:
    return np.asarray(vectors.to_scipy().toarray(), np.float32)


def oracle(folder: Path, head: Head, texts: list[str]) -> Dense:
    """The formula on the logits of every position and term, one text at a time: dense [N, V]."""
    import torch
    from transformers import AutoModelForMaskedLM

    with families.quiet():
        network = AutoModelForMaskedLM.from_pretrained(folder).eval()
    rows = []
    for text in texts:
        read = torch.tensor([families.ids(folder, text)])
        with torch.inference_mode():
            states = network.base_model(read).last_hidden_state[0]
            row = _vector(head, read[0], states, network(read).logits[0])
        if isinstance(head, VocabularyHead) and head.prune_ratio:
            row = row.where(row >= head.prune_ratio * row.max(), 0)
        rows.append(row.clamp(min=0).numpy())
    return np.stack(rows)


def _vector(head: Head, ids: Any, states: Any, logits: Any) -> Any:
    import torch

    if isinstance(head, TokenHead):
        weights = _through(head.layers, states)[:, 0]
        if head.log1p:
            weights = torch.log(1 + weights)
        row = torch.zeros(logits.shape[1])
        for term, weight in zip(ids.tolist(), weights, strict=True):
            row[term] = row[term] + weight if head.pooling == "sum" else max(row[term], weight)
        return row
    assert isinstance(head, VocabularyHead)
    weights = FORMULAS[head.activation](logits)
    if head.importance:
        weights = weights * _through(head.importance, states)
    row = {"max": weights.amax(0), "sum": weights.sum(0), "cls": weights[0]}[head.pooling]
    return row * _through(head.quality, states[0]) if head.quality else row


def _through(layers: tuple[DenseLayer, ...], x: Any) -> Any:
    import torch

    for layer in layers:
        x = FORMULAS[layer.activation](x @ torch.from_numpy(layer.weight).T + torch.from_numpy(layer.bias))
    return x


def _softplus(x: Any) -> Any:
    return (1 + x.double().exp()).log().float()


FORMULAS: dict[str, Callable[[Any], Any]] = {
    "identity": lambda x: x,
    "relu": lambda x: x.clamp(min=0),
    "log1p_relu": lambda x: (1 + x.clamp(min=0)).log(),
    "log1p_log1p_relu": lambda x: (1 + (1 + x.clamp(min=0)).log()).log(),
    "softplus": _softplus,
    "log1p_softplus": lambda x: (1 + _softplus(x)).log(),
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "tanh": lambda x: x.tanh(),
    "gelu": lambda x: x * (1 + (x / 2**0.5).erf()) / 2,
}


def heaviest(rows: Dense, count: int) -> Dense:
    """Each row with its largest entries alone."""
    found = np.zeros_like(rows)
    for row, into in zip(rows, found, strict=True):
        kept = np.argsort(-row, kind="stable")[:count]
        into[kept] = row[kept]
    return found
