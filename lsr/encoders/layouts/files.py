"""What the writers of several layouts put into a folder: the files of a transformer, tensors, JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.encoders.model import TransformerSide
from lsr.encoders.network.checkpoint import SHARDED, read_safetensors, weight_files
from lsr.errors import EncoderError

__all__ = ["PRECISIONS", "Contents", "json_bytes", "special_names", "tensor_bytes", "transformer_files"]

Contents = dict[str, bytes | Path]

WEIGHTS = "model.safetensors"
TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt")
PRECISIONS = {"fp32": "float32", "fp16": "float16"}


def transformer_files(side: TransformerSide, precision: str | None = None) -> Contents:
    """config.json, weights and tokenizer of a side: weights as they are, or in "fp32" or "fp16".

    Raises `EncoderError` when a weight is too large for it.
    """
    files: Contents = {"config.json": side.folder / "config.json", "tokenizer.json": side.tokenizer_json.encode()}
    for name in TOKENIZER_FILES:
        if (side.folder / name).is_file():
            files[name] = side.folder / name
    weights = weight_files(side.folder)
    if weights[0].suffix == ".bin":
        files[WEIGHTS] = _converted(weights, precision)
    elif precision is not None:
        files[WEIGHTS] = tensor_bytes({k: v for path in weights for k, v in read_safetensors(path).items()}, precision)
    else:
        files |= {path.name: path for path in weights}
        if len(weights) > 1:
            files[SHARDED] = side.folder / SHARDED
    return files


def tensor_bytes(tensors: Mapping[str, npt.NDArray[Any]], precision: str | None = None) -> bytes:
    """The tensors as a safetensors file; those of floats in the precision when one is given."""
    from safetensors.numpy import save

    found = {name: np.ascontiguousarray(_narrowed(name, tensor, precision)) for name, tensor in tensors.items()}
    return bytes(save(found, metadata={"format": "pt"}))


def json_bytes(value: Any) -> bytes:
    return f"{json.dumps(value, indent=2, ensure_ascii=False)}\n".encode()


def special_names(tokenizer_json: str) -> dict[str, str]:
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


def _narrowed(name: str, tensor: npt.NDArray[Any], precision: str | None) -> npt.NDArray[Any]:
    if precision is None or not np.issubdtype(tensor.dtype, np.floating):
        return tensor
    with np.errstate(over="ignore"):  # refused below
        narrow = tensor.astype(PRECISIONS[precision])
    if np.isinf(narrow).any():
        raise EncoderError(f"{name} holds numbers that {precision} has no room for; write fp32")
    return narrow


def _converted(weights: list[Path], precision: str | None) -> bytes:
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
    if precision is not None:
        return tensor_bytes({name: _numpy(tensor) for name, tensor in tensors.items()}, precision)
    return bytes(save(tensors, metadata={"format": "pt"}))


def _numpy(tensor: Any) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return found
