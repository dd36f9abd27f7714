"""Writing a model as sentence-transformers 5 and 6 read it, as the published inference-free models are laid out.

The class paths are those of version 5.0, which later versions still know. idf.json and query_token_weights.txt, which
OpenSearch reads, stand beside a query table.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.encoders.layouts.onnx_folder import write_files
from lsr.encoders.model import AutoencoderHead, Model, NetworkSide, OnnxSide, TableSide, VocabularyHead
from lsr.encoders.network.checkpoint import weight_files
from lsr.encoders.tables import idf_json_text, token_weights_text
from lsr.encoders.vocabulary import Vocabulary
from lsr.errors import EncoderError

__all__ = ["write_sentence_transformers"]

Contents = dict[str, bytes | Path]

MODELS = "sentence_transformers.models"
SPARSE = "sentence_transformers.sparse_encoder.models"
ACTIVATIONS = {"log1p_relu": "relu", "log1p_log1p_relu": "log1p_relu"}
# Written here, or made from other files.
OWN = ("modules.json", "router_config.json", "config_sentence_transformers.json", "sentence_bert_config.json")
TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt")


def write_sentence_transformers(model: Model, folder: Path) -> None:
    """Writes both sides. Raises `EncoderError` for what sentence-transformers cannot do, `OutputExists`, `StorageError`."""
    query, document = model.query, model.document
    if not isinstance(document, NetworkSide):
        raise EncoderError(
            f"{model.source}: has no weights that sentence-transformers reads; save the model it was made from"
        )
    contents: Contents = {}
    prompts = {"query": query.prompt, "document": document.prompt}
    contents["config_sentence_transformers.json"] = _json(
        {
            "model_type": "SparseEncoder",
            "__version__": {"sentence_transformers": "5.0.0"},
            "prompts": prompts,
            "default_prompt_name": None,
            "similarity_fn_name": "dot",
        }
    )
    if isinstance(query, OnnxSide):
        raise EncoderError(f"{model.source}: its query side is an ONNX export, which sentence-transformers cannot read")
    if isinstance(query, NetworkSide) and query.folder == document.folder and query.head is document.head:
        if query.table is not None or document.table is not None:
            raise EncoderError(f"{model.source}: a table after one of two equal networks has no place in this layout")
        _write_pipeline(contents, document)
    else:
        _write_router(contents, query, document)
    write_files(folder, contents)


def _write_pipeline(contents: Contents, side: NetworkSide) -> None:
    """One network for both sides: the transformer in the root, its head in a numbered folder."""
    steps = _steps(side)
    modules = []
    for i, (kind, files) in enumerate(steps):
        path = "" if i == 0 else f"{i}_{kind.rsplit('.', 1)[-1]}"
        modules.append({"idx": i, "name": str(i), "path": path, "type": kind})
        contents |= {f"{path}/{name}" if path else name: content for name, content in files.items()}
    contents["modules.json"] = _json(modules)


def _write_router(contents: Contents, query: NetworkSide | TableSide, document: NetworkSide) -> None:
    """Two sides: the document's transformer in the root, everything else in folders of its own."""
    types: dict[str, str] = {}
    structure: dict[str, list[str]] = {"query": [], "document": []}
    for route, side in (("query", query), ("document", document)):
        steps = _steps(side) if isinstance(side, NetworkSide) else [_table_step(side, document.max_length)]
        for i, (kind, files) in enumerate(steps):
            name = kind.rsplit(".", 1)[-1]
            path = "" if route == "document" and i == 0 else f"{route}_{i}_{name}"
            types[path] = f"{kind}.{name}" if kind.startswith(SPARSE) else kind
            structure[route].append(path)
            contents |= {f"{path}/{file}" if path else file: content for file, content in files.items()}
    contents["modules.json"] = _json([{"idx": 0, "name": "0", "path": "", "type": f"{MODELS}.Router"}])
    parameters = {"default_route": "document", "allow_empty_key": True}
    contents["router_config.json"] = _json({"types": types, "structure": structure, "parameters": parameters})
    if isinstance(query, TableSide):
        vocabulary = Vocabulary(query.tokenizer_json, query.dim)
        contents["idf.json"] = idf_json_text(_effective(query), vocabulary).encode()
        contents["query_token_weights.txt"] = token_weights_text(_effective(query), vocabulary).encode()


def _steps(side: NetworkSide) -> list[tuple[str, Contents]]:
    """The modules of a network: class path and files of each."""
    head = side.head
    if isinstance(head, VocabularyHead):
        steps = [
            (f"{SPARSE}.MLMTransformer", _transformer_files(side)),
            (f"{SPARSE}.SpladePooling", _pooling_files(head)),
        ]
        if side.table is not None:
            table = TableSide(tokenizer_json=side.tokenizer_json, weights=side.table)
            steps.append(_table_step(table, side.max_length))
        return steps
    if isinstance(head, AutoencoderHead):
        return [(f"{MODELS}.Transformer", _transformer_files(side)), *_autoencoder_steps(head)]
    raise EncoderError(f"{side.folder}: sentence-transformers has no module for one weight a token; export it to ONNX")


def _transformer_files(side: NetworkSide) -> Contents:
    """config.json, weights and tokenizer as they are, and the length limit."""
    files: Contents = {"config.json": side.folder / "config.json", "tokenizer.json": side.tokenizer_json.encode()}
    for name in TOKENIZER_FILES:
        if (side.folder / name).is_file():
            files[name] = side.folder / name
    weights = weight_files(side.folder)
    if weights[0].suffix == ".bin":
        files["model.safetensors"] = _converted(weights)
    else:
        files |= {path.name: path for path in weights}
        if len(weights) > 1:
            files["model.safetensors.index.json"] = side.folder / "model.safetensors.index.json"
    files["sentence_bert_config.json"] = _json({"max_seq_length": side.max_length, "do_lower_case": False})
    return files


def _pooling_files(head: VocabularyHead) -> Contents:
    if head.activation not in ACTIVATIONS or head.prune_ratio:
        what = (
            f"activation {head.activation}" if head.activation not in ACTIVATIONS else f"prune_ratio {head.prune_ratio}"
        )
        raise EncoderError(f"{what} has no place in SpladePooling of sentence-transformers; export the model to ONNX")
    config = {
        "pooling_strategy": head.pooling,
        "activation_function": ACTIVATIONS[head.activation],
        "word_embedding_dimension": None,
    }
    return {"config.json": _json(config)}


def _autoencoder_steps(head: AutoencoderHead) -> list[tuple[str, Contents]]:
    dim, width = head.weight.shape
    first = len(head.before[0].weight.T) if head.before else width
    modes = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}
    pooling = {f"pooling_mode_{name}": head.pooling == mode for mode, name in modes.items()}
    steps: list[tuple[str, Contents]] = [
        (f"{MODELS}.Pooling", {"config.json": _json({"word_embedding_dimension": first, **pooling})})
    ]
    unit: tuple[str, Contents] = (f"{MODELS}.Normalize", {"config.json": b"{}\n"})
    if head.unit:
        steps.append(unit)
    for layer in head.before:
        name = {"identity": "linear.Identity", "tanh": "activation.Tanh", "relu": "activation.ReLU"}.get(
            layer.activation
        )
        name = name or {"gelu": "activation.GELU", "softplus": "activation.Softplus"}[layer.activation]
        out, inner = layer.weight.shape
        config = {
            "in_features": inner,
            "out_features": out,
            "bias": True,
            "activation_function": f"torch.nn.modules.{name}",
        }
        weights = _tensors({"linear.weight": layer.weight, "linear.bias": layer.bias})
        steps.append((f"{MODELS}.Dense", {"config.json": _json(config), "model.safetensors": weights}))
    if head.unit_after:
        steps.append(unit)
    config = {"input_dim": width, "hidden_dim": dim, "k": head.top, "k_aux": 0, "normalize": head.normalize}
    tensors: dict[str, npt.NDArray[Any]] = {
        "pre_bias": head.pre_bias,
        "latent_bias": head.latent_bias,
        "encoder.weight": head.weight,
        "stats_last_nonzero": np.zeros(dim, np.int64),
    }
    files: Contents = {"config.json": _json({**config, "dead_threshold": 30}), "model.safetensors": _tensors(tensors)}
    steps.append((f"{SPARSE}.SparseAutoEncoder", files))
    return steps


def _table_step(side: TableSide, limit: int) -> tuple[str, Contents]:
    """The table with its tokenizer; `limit` is the model's where the side has none: the reader warns of two limits."""
    if side.repeated != "once":
        raise EncoderError("SparseStaticEmbedding of sentence-transformers does not count repeated words")
    files: Contents = {"config.json": _json({"frozen": True}), "tokenizer.json": side.tokenizer_json.encode()}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": side.max_length or limit}
    # Names padding, without which a batch of queries has no rectangle.
    files["tokenizer_config.json"] = _json(settings | _special_names(side.tokenizer_json))
    files["model.safetensors"] = _tensors({"weight": _effective(side)})
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


def _special_names(tokenizer_json: str) -> dict[str, str]:
    """The names that transformers needs, from the tokens that are there."""
    found = {token["content"] for token in json.loads(tokenizer_json).get("added_tokens", [])}
    pairs = {
        "pad_token": ("[PAD]", "<pad>"),
        "unk_token": ("[UNK]", "<unk>"),
        "cls_token": ("[CLS]", "<s>"),
        "sep_token": ("[SEP]", "</s>"),
        "mask_token": ("[MASK]", "<mask>"),
    }
    return {key: name for key, names in pairs.items() for name in names if name in found}


def _converted(weights: list[Path]) -> bytes:
    """Weights of torch's own form as safetensors; names that share memory are written once, as the reader expects."""
    import torch
    from safetensors.torch import save

    tensors: dict[str, Any] = {}
    seen: set[tuple[int, tuple[int, ...]]] = set()
    for path in weights:
        for name, tensor in torch.load(path, map_location="cpu", weights_only=True).items():
            key = (tensor.data_ptr(), tuple(tensor.shape))
            if key not in seen or tensor.numel() == 0:
                seen.add(key)
                tensors[name] = tensor.contiguous()
    return bytes(save(tensors, metadata={"format": "pt"}))


def _tensors(tensors: dict[str, npt.NDArray[Any]]) -> bytes:
    from safetensors.numpy import save

    return bytes(
        save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, metadata={"format": "pt"})
    )


def _json(value: Any) -> bytes:
    return f"{json.dumps(value, indent=2, ensure_ascii=False)}\n".encode()
