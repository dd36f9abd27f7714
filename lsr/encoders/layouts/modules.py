"""What folders of sentence-transformers are made of: modules.json, the folder of each module, settings, dense layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lsr.encoders.model import DenseLayer, ResidualLayer
from lsr.encoders.network.checkpoint import Checkpoint, read_json
from lsr.errors import EncoderError

__all__ = [
    "DENSE_ACTIVATIONS",
    "MODULES",
    "TRANSFORMERS",
    "Module",
    "class_name",
    "dense_layer",
    "inside",
    "json_object",
    "listed_modules",
    "optional_object",
]

MODULES = "modules.json"
LONGEST_NAME = 200

# Names of classes; the paths before them changed from version to version.
TRANSFORMERS = ("Transformer", "MLMTransformer")
DENSE_ACTIVATIONS = {
    "Identity": "identity",
    "Tanh": "tanh",
    "ReLU": "relu",
    "GELU": "gelu",
    "Softplus": "softplus",
    "Sigmoid": "sigmoid",
}


class Module(NamedTuple):
    """One step of a pipeline: the name of its class, and its folder."""

    kind: str
    folder: Path


def listed_modules(folder: Path) -> list[Module]:
    """The steps in modules.json. Raises `EncoderError` when it is damaged, or names a place outside of the folder."""
    listed = read_json(folder / MODULES)
    try:
        return [Module(class_name(entry["type"]), inside(folder, entry["path"])) for entry in listed]
    except (TypeError, KeyError, AttributeError):
        raise EncoderError(f"{folder / MODULES}: not a list of modules with type and path") from None


def dense_layer(folder: Path, *, residual: bool = False) -> DenseLayer:
    """The layer of a Dense module; with a residual only where the caller knows what to do with it.

    Raises `EncoderError` when its weights do not fit what its config.json says.
    """
    config, weights = json_object(folder / "config.json"), Checkpoint(folder)
    name = class_name(str(config.get("activation_function", "Identity")))
    if name not in DENSE_ACTIVATIONS:
        raise EncoderError(f"{folder / 'config.json'}: activation_function {name} is not known")
    sizes = (config.get(name) for name in ("out_features", "in_features"))
    weight = weights.tensor("linear.weight", *(size if type(size) is int else None for size in sizes))
    bias = weights.tensor("linear.bias", len(weight)) if config.get("bias", True) else np.zeros(len(weight), np.float32)
    activation = DENSE_ACTIVATIONS[name]
    if not config.get("use_residual"):
        return DenseLayer(weight=weight, bias=bias, activation=activation)
    if not residual:
        raise EncoderError(f"{folder / 'config.json'}: use_residual is true, which lsr does not know in such a model")
    out, width = weight.shape
    added = np.eye(out, dtype=np.float32) if out == width else weights.tensor("residual.weight", out, width)
    return ResidualLayer(weight=weight, bias=bias, activation=activation, residual=added)


def class_name(path: str) -> str:
    return path.rsplit(".", 1)[-1]


def inside(folder: Path, name: str) -> Path:
    """A folder or file below `folder`; names of a model's files may not lead out of it."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise EncoderError(f"{folder}: {name!r} leads out of the folder of the model")
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise EncoderError(f"{folder}: {name[:LONGEST_NAME]!r} is no name of a file")
    return folder / name


def optional_object(path: Path) -> dict[str, Any]:
    """A JSON object, empty when there is no such file."""
    return json_object(path) if path.is_file() else {}


def json_object(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise EncoderError(f"{path}: must be a JSON object")
    return found
