"""Writing a model as sentence-transformers 5 and 6 read it, as the published inference-free models are laid out.

The class paths are those of version 5.0, which later versions still know. idf.json and query_token_weights.txt, which
OpenSearch reads, stand beside a query table; lsr.json (lsr.encoders.layouts.policies) where lsr does more with the model.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.encoders.layouts.files import Contents, json_bytes, special_names, tensor_bytes, transformer_files
from lsr.encoders.layouts.onnx_folder import write_files
from lsr.encoders.layouts.policies import policy_files
from lsr.encoders.model import (
    AutoencoderHead,
    DenseLayer,
    Head,
    Model,
    NetworkSide,
    ResidualLayer,
    TableSide,
    VocabularyHead,
)
from lsr.encoders.tables import idf_json_text, token_weights_text
from lsr.encoders.vocabulary import Vocabulary
from lsr.errors import EncoderError

__all__ = ["NoPlace", "dense_files", "write_sentence_transformers"]

MODELS = "sentence_transformers.models"
SPARSE = "sentence_transformers.sparse_encoder.models"
ACTIVATIONS = {"log1p_relu": "relu", "log1p_log1p_relu": "log1p_relu"}
DENSE_ACTIVATIONS = {
    "identity": "linear.Identity",
    "tanh": "activation.Tanh",
    "relu": "activation.ReLU",
    "gelu": "activation.GELU",
    "sigmoid": "activation.Sigmoid",
    "softplus": "activation.Softplus",
}


class NoPlace(EncoderError):
    """What sentence-transformers has no module for."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"sentence-transformers has no module for {what}; save the model in lsr's layout, or export it to ONNX"
        )


def write_sentence_transformers(model: Model, folder: Path, precision: str | None = None) -> None:
    """Writes both sides, weights as they are, or in "fp32" or "fp16".

    Raises `NoPlace` for what sentence-transformers cannot do, `EncoderError` for an ONNX export, `OutputExists`,
    `StorageError`.
    """
    query, document = model.query, model.document
    if not isinstance(document, NetworkSide):
        raise EncoderError(
            f"{model.source}: has no weights that sentence-transformers reads; save the model it was made from"
        )
    contents: Contents = {}
    prompts = {"query": query.prompt, "document": document.prompt}
    contents["config_sentence_transformers.json"] = json_bytes(
        {
            "model_type": "SparseEncoder",
            "__version__": {"sentence_transformers": "5.0.0"},
            "prompts": prompts,
            "default_prompt_name": None,
            "similarity_fn_name": "dot",
        }
    )
    if isinstance(query, NetworkSide) and _one_network(query, document):
        _write_pipeline(contents, document, precision)
    elif isinstance(query, NetworkSide | TableSide):
        _write_router(contents, query, document, precision)
    else:
        raise EncoderError(f"{model.source}: its query side is an ONNX export, which sentence-transformers cannot read")
    write_files(folder, contents | policy_files(query, document))


def _one_network(query: NetworkSide, document: NetworkSide) -> bool:
    """Whether one pipeline says all of both, but for what lsr.json says."""
    bare = query.table is None and document.table is None
    return bare and query.folder == document.folder and _same_head(query.head, document.head)


def _same_head(a: Head, b: Head) -> bool:
    if not isinstance(a, VocabularyHead) or not isinstance(b, VocabularyHead):
        return a is b
    layers = a.importance or a.quality or b.importance or b.quality
    return a is b or (not layers and replace(a, prune_ratio=0) == replace(b, prune_ratio=0))


def _write_pipeline(contents: Contents, side: NetworkSide, precision: str | None) -> None:
    """One network for both sides: the transformer in the root, its head in a numbered folder."""
    steps = _steps(side, precision)
    modules = []
    for i, (kind, files) in enumerate(steps):
        path = "" if i == 0 else f"{i}_{kind.rsplit('.', 1)[-1]}"
        modules.append({"idx": i, "name": str(i), "path": path, "type": kind})
        contents |= {f"{path}/{name}" if path else name: content for name, content in files.items()}
    contents["modules.json"] = json_bytes(modules)


def _write_router(
    contents: Contents, query: NetworkSide | TableSide, document: NetworkSide, precision: str | None
) -> None:
    """Two sides: the document's transformer in the root, everything else in folders of its own."""
    types: dict[str, str] = {}
    structure: dict[str, list[str]] = {"query": [], "document": []}
    for route, side in (("query", query), ("document", document)):
        steps = _steps(side, precision) if isinstance(side, NetworkSide) else [_table_step(side, document.max_length)]
        for i, (kind, files) in enumerate(steps):
            name = kind.rsplit(".", 1)[-1]
            path = "" if route == "document" and i == 0 else f"{route}_{i}_{name}"
            types[path] = f"{kind}.{name}" if kind.startswith(SPARSE) else kind
            structure[route].append(path)
            contents |= {f"{path}/{file}" if path else file: content for file, content in files.items()}
    contents["modules.json"] = json_bytes([{"idx": 0, "name": "0", "path": "", "type": f"{MODELS}.Router"}])
    parameters = {"default_route": "document", "allow_empty_key": True}
    contents["router_config.json"] = json_bytes({"types": types, "structure": structure, "parameters": parameters})
    if isinstance(query, TableSide):
        vocabulary = Vocabulary(query.tokenizer_json, query.dim)
        contents["idf.json"] = idf_json_text(_effective(query), vocabulary).encode()
        contents["query_token_weights.txt"] = token_weights_text(_effective(query), vocabulary).encode()


def _steps(side: NetworkSide, precision: str | None) -> list[tuple[str, Contents]]:
    """The modules of a network: class path and files of each."""
    head = side.head
    transformer = transformer_files(side, precision)
    transformer["sentence_bert_config.json"] = json_bytes({"max_seq_length": side.max_length, "do_lower_case": False})
    if isinstance(head, VocabularyHead):
        steps = [(f"{SPARSE}.MLMTransformer", transformer), (f"{SPARSE}.SpladePooling", _pooling_files(head))]
        if side.table is not None:
            table = TableSide(tokenizer_json=side.tokenizer_json, weights=side.table)
            steps.append(_table_step(table, side.max_length))
        return steps
    if isinstance(head, AutoencoderHead):
        return [(f"{MODELS}.Transformer", transformer), *_autoencoder_steps(head, precision)]
    raise NoPlace("one weight a token")


def _pooling_files(head: VocabularyHead) -> Contents:
    if head.activation not in ACTIVATIONS or head.pooling == "cls":
        raise NoPlace(f"pooling {head.pooling} with activation {head.activation}")
    if head.importance or head.quality:
        raise NoPlace("term importance or document quality")
    config = {
        "pooling_strategy": head.pooling,
        "activation_function": ACTIVATIONS[head.activation],
        "word_embedding_dimension": None,
    }
    return {"config.json": json_bytes(config)}


def _autoencoder_steps(head: AutoencoderHead, precision: str | None) -> list[tuple[str, Contents]]:
    dim, width = head.weight.shape
    first = len(head.before[0].weight.T) if head.before else width
    modes = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}
    pooling = {f"pooling_mode_{name}": head.pooling == mode for mode, name in modes.items()}
    steps: list[tuple[str, Contents]] = [
        (f"{MODELS}.Pooling", {"config.json": json_bytes({"word_embedding_dimension": first, **pooling})})
    ]
    unit: tuple[str, Contents] = (f"{MODELS}.Normalize", {"config.json": b"{}\n"})
    if head.unit:
        steps.append(unit)
    for layer in head.before:
        steps.append((f"{MODELS}.Dense", dense_files(layer, precision)))
    if head.unit_after:
        steps.append(unit)
    config = {"input_dim": width, "hidden_dim": dim, "k": head.top, "k_aux": 0, "normalize": head.normalize}
    tensors: dict[str, npt.NDArray[Any]] = {
        "pre_bias": head.pre_bias,
        "latent_bias": head.latent_bias,
        "encoder.weight": head.weight,
        "stats_last_nonzero": np.zeros(dim, np.int64),
    }
    files: Contents = {"config.json": json_bytes({**config, "dead_threshold": 30})}
    files["model.safetensors"] = tensor_bytes(tensors, precision)
    steps.append((f"{SPARSE}.SparseAutoEncoder", files))
    return steps


def dense_files(layer: DenseLayer, precision: str | None = None, **further: str) -> Contents:
    """The files of a Dense module, with further settings."""
    if layer.activation not in DENSE_ACTIVATIONS:
        raise NoPlace(f"a dense layer with {layer.activation}")
    out, inner = layer.weight.shape
    biased = bool(layer.bias.any())
    config = {
        "in_features": inner,
        "out_features": out,
        "bias": biased,
        "activation_function": f"torch.nn.modules.{DENSE_ACTIVATIONS[layer.activation]}",
        **further,
    }
    tensors = {"linear.weight": layer.weight} | ({"linear.bias": layer.bias} if biased else {})
    if isinstance(layer, ResidualLayer):
        config["use_residual"] = True
        if out != inner:  # otherwise it is the input itself
            tensors["residual.weight"] = layer.residual
    return {"config.json": json_bytes(config), "model.safetensors": tensor_bytes(tensors, precision)}


def _table_step(side: TableSide, limit: int) -> tuple[str, Contents]:
    """The table with its tokenizer; `limit` is the model's where the side has none: the reader warns of two limits."""
    if side.repeated != "once":
        raise NoPlace("queries whose repeated words count")
    files: Contents = {"config.json": json_bytes({"frozen": True}), "tokenizer.json": side.tokenizer_json.encode()}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": side.max_length or limit}
    # Names padding, without which a batch of queries has no rectangle.
    files["tokenizer_config.json"] = json_bytes(settings | special_names(side.tokenizer_json))
    files["model.safetensors"] = tensor_bytes({"weight": _effective(side)})
    return f"{SPARSE}.SparseStaticEmbedding", files


def _effective(side: TableSide) -> npt.NDArray[np.float32]:
    """The table with the side's policies for special and unknown tokens in it: what they drop weighs 0."""
    weights = np.maximum(side.weights, 0).astype(np.float32)
    vocabulary = Vocabulary(side.tokenizer_json, side.dim)
    dropped = set()
    if side.special == "drop":
        dropped |= set(vocabulary.special) - {vocabulary.unknown}
    if side.unknown == "drop" and vocabulary.unknown is not None:
        dropped.add(vocabulary.unknown)
    weights[sorted(dropped)] = 0
    return weights
