"""lsr's own layout of trained models, for what sentence-transformers has no module for: a transformer, and heads beside it.

    config.json, model.safetensors, tokenizer.json ...   the transformer of documents, as transformers saves it
    lsr_head.json          both sides: their heads, what is left of their vectors, limits, prompts
    lsr_head.safetensors   the layers of the heads, and tables of weights; missing where there are none
    query/                 the transformer of queries where they have one of their own, or their tokenizer

Files and tensors have fixed names: nothing in a file names another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.encoders.layouts import checked
from lsr.encoders.layouts.files import json_bytes, tensor_bytes, transformer_files
from lsr.encoders.layouts.hugging_face import network_side
from lsr.encoders.layouts.onnx_folder import write_files
from lsr.encoders.model import (
    ACTIVATIONS,
    DENSE_ACTIVATIONS,
    POOLINGS,
    AutoencoderHead,
    DenseLayer,
    Head,
    Model,
    NetworkSide,
    Side,
    TableSide,
    TokenHead,
    VocabularyHead,
)
from lsr.encoders.network.checkpoint import Checkpoint, read_config, read_json
from lsr.encoders.tokenizer import read_tokenizer_json
from lsr.errors import EncoderError

__all__ = ["HEAD", "read_sides", "write_lsr_folder"]

FORMAT_VERSION = 1
HEAD, TENSORS = "lsr_head.json", "lsr_head.safetensors"
QUERY = "query"
Tensors = dict[str, npt.NDArray[np.float32]]

# -- writing -----------------------------------------------------------------------------------------------------------


def write_lsr_folder(model: Model, folder: Path, precision: str | None = None) -> None:
    """Writes both sides; weights in "fp32" or "fp16", or when None those of transformers as they are and of heads in fp32.

    Raises `EncoderError` for a side that is an ONNX export, `OutputExists`, `StorageError`.
    """
    query, document = model.query, model.document
    if not isinstance(document, NetworkSide) or not isinstance(query, NetworkSide | TableSide):
        raise EncoderError(
            f"{model.source}: one side is an ONNX export, without weights to save; use the model it was made of"
        )
    tensors: Tensors = {}
    contents = transformer_files(document, precision)
    said: dict[str, Any] = {"format_version": FORMAT_VERSION, "document": _network_entry("document", document, tensors)}
    if isinstance(query, TableSide):
        tensors["query.weights"] = np.asarray(query.weights, np.float32)
        entry: dict[str, Any] = {"from": "table", "max_length": query.max_length, "prompt": query.prompt}
        said["query"] = entry | checked.policies_of(query) | {"adapts": query.adapts}
        if query.tokenizer_json != document.tokenizer_json:
            contents[f"{QUERY}/tokenizer.json"] = query.tokenizer_json.encode()
    else:
        own = query.folder != document.folder or query.tokenizer_json != document.tokenizer_json
        entry = _network_entry("query", query, tensors, None if own else document.head)
        said["query"] = {"from": "network" if own else "document"} | entry
        if own:
            contents |= {f"{QUERY}/{name}": file for name, file in transformer_files(query, precision).items()}
    contents[HEAD] = json_bytes(said)
    if tensors:
        contents[TENSORS] = tensor_bytes(tensors, precision)
    write_files(folder, contents)


def _network_entry(which: str, side: NetworkSide, tensors: Tensors, known: Head | None = None) -> dict[str, Any]:
    """What is said of a side; its head is left out where it is the other side's, `known`."""
    entry: dict[str, Any] = {"max_length": side.max_length, "prompt": side.prompt}
    entry |= {"dropped": list(side.dropped), "top_terms": side.top_terms, "lexical": side.table is not None}
    if side.table is not None:
        tensors[f"{which}.table"] = np.asarray(side.table, np.float32)
    if side.head is not known:
        entry["head"] = _head_entry(which, side.head, tensors)
    return entry


def _head_entry(which: str, head: Head, tensors: Tensors) -> dict[str, Any]:
    def layers(part: str, found: tuple[DenseLayer, ...]) -> list[str]:
        for i, layer in enumerate(found):
            tensors[f"{which}.{part}.{i}.weight"], tensors[f"{which}.{part}.{i}.bias"] = layer.weight, layer.bias
        return [layer.activation for layer in found]

    if isinstance(head, VocabularyHead):
        entry = {"kind": "vocabulary", "activation": head.activation, "prune_ratio": head.prune_ratio}
        entry |= {part: layers(part, getattr(head, part)) for part in ("importance", "quality")}
    elif isinstance(head, TokenHead):
        entry = {"kind": "tokens", "log1p": head.log1p, "layers": layers("layers", head.layers)}
    else:
        entry = {"kind": "latents", "top": head.top, "before": layers("before", head.before)}
        entry |= {name: getattr(head, name) for name in ("normalize", "unit", "unit_after")}
        tensors |= {f"{which}.{name}": getattr(head, name) for name in ("weight", "pre_bias", "latent_bias")}
    return entry | {"pooling": head.pooling}


# -- reading -----------------------------------------------------------------------------------------------------------


def read_sides(folder: Path) -> tuple[Side, Side]:
    """Query side and document side. Raises `EncoderError` that names the file and what is wrong with it."""
    path = folder / HEAD
    found = read_json(path)
    checked.version(path, found, FORMAT_VERSION)
    files = [folder / TENSORS] if (folder / TENSORS).is_file() else []
    weights = Checkpoint(folder, files, HEAD)
    with checked.described(path):
        document = _network(folder, "document", found["document"], weights)
        entry = found["query"]
        source = checked.choice(entry, "from", ("table", "document", "network"))
        if source == "table":
            return _table(folder, entry, weights, document), document
        query = _network(folder / QUERY if source == "network" else folder, QUERY, entry, weights, document)
    return (document if source == "document" and _is_same(query, document) else query), document


def _is_same(query: NetworkSide, document: NetworkSide) -> bool:
    """Whether a side with the head of documents differs from theirs in nothing."""
    if query.head is not document.head or query.table is not None or document.table is not None:
        return False
    return all(
        getattr(query, name) == getattr(document, name) for name in ("prompt", "max_length", "dropped", "top_terms")
    )


def _table(folder: Path, entry: Mapping[str, Any], weights: Checkpoint, document: NetworkSide) -> TableSide:
    own = (folder / QUERY / "tokenizer.json").is_file()
    return TableSide(
        tokenizer_json=read_tokenizer_json(folder / QUERY) if own else document.tokenizer_json,
        weights=weights.tensor("query.weights", document.dim),
        max_length=checked.count(entry, "max_length"),
        prompt=checked.text(entry, "prompt"),
        adapts=checked.boolean(entry, "adapts"),
        **checked.policies(entry),
    )


def _network(
    folder: Path, which: str, entry: Mapping[str, Any], weights: Checkpoint, document: NetworkSide | None = None
) -> NetworkSide:
    """One side; `document` is the other one, whose head is taken where the entry has none."""
    if document is not None and "head" not in entry:
        head = document.head
    else:
        head = _head(which, entry["head"], weights, read_config(folder).size("hidden_size", "dim"))
    limit, prompt = entry["max_length"], checked.text(entry, "prompt")
    side = network_side(folder, head, max_length=-1 if limit is None else limit, prompt=prompt)
    table = weights.tensor(f"{which}.table", side.dim) if checked.boolean(entry, "lexical") else None
    dropped, top_terms = checked.terms(entry, side.dim), checked.count(entry, "top_terms")
    return replace(side, dropped=dropped, top_terms=top_terms, table=table)


def _head(which: str, entry: Mapping[str, Any], weights: Checkpoint, width: int) -> Head:
    """A head that reads `width` numbers a position."""
    kind = checked.choice(entry, "kind", ("vocabulary", "tokens", "latents"))

    def layers(part: str, first: int, last: int | None) -> tuple[DenseLayer, ...]:
        return tuple(_layers(f"{which}.{part}", entry[part], weights, first, last))

    if kind == "vocabulary":
        return VocabularyHead(
            pooling=checked.choice(entry, "pooling", POOLINGS),
            activation=checked.choice(entry, "activation", ACTIVATIONS),
            prune_ratio=checked.ratio(entry),
            importance=layers("importance", width, 1),
            quality=layers("quality", width, 1),
        )
    if kind == "tokens":
        found = layers("layers", width, 1)
        if not found:
            raise ValueError("a head of token weights has no layers")
        pooling = checked.choice(entry, "pooling", ("max", "sum"))
        return TokenHead(layers=found, log1p=checked.boolean(entry, "log1p"), pooling=pooling)
    before = layers("before", width, None)
    width = len(before[-1].weight) if before else width
    weight = weights.tensor(f"{which}.weight", None, width)
    top = checked.count(entry, "top")
    return AutoencoderHead(
        weight=weight,
        pre_bias=weights.tensor(f"{which}.pre_bias", width),
        latent_bias=weights.tensor(f"{which}.latent_bias", len(weight)),
        top=min(top or len(weight), len(weight)),
        pooling=checked.choice(entry, "pooling", ("mean", "cls", "max")),
        before=before,
        **{name: checked.boolean(entry, name) for name in ("normalize", "unit", "unit_after")},
    )


def _layers(name: str, activations: Any, weights: Checkpoint, width: int, last: int | None) -> Iterator[DenseLayer]:
    """Layers each of which reads what the one before it gives; the last one gives `last` numbers."""
    if not isinstance(activations, list) or not all(a in DENSE_ACTIVATIONS for a in activations):
        raise ValueError(f"{name} must be a list of activations: {', '.join(DENSE_ACTIVATIONS)}")
    for i, activation in enumerate(activations):
        out = last if i == len(activations) - 1 else None
        weight = weights.tensor(f"{name}.{i}.weight", out, width)
        width = len(weight)
        yield DenseLayer(weight=weight, bias=weights.tensor(f"{name}.{i}.bias", width), activation=activation)
