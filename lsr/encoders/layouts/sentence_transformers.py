"""Folders of sentence-transformers' SparseEncoder, versions 5 and 6: modules.json, Router, pooling and table modules."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lsr.encoders.layouts.hugging_face import network_side
from lsr.encoders.model import (
    AutoencoderHead,
    DenseLayer,
    Head,
    NetworkSide,
    Side,
    TableSide,
    VocabularyHead,
)
from lsr.encoders.network.checkpoint import Checkpoint, read_json
from lsr.encoders.tables import read_idf_json
from lsr.encoders.tokenizer import model_max_length, read_tokenizer_json
from lsr.encoders.vocabulary import Vocabulary
from lsr.errors import EncoderError

__all__ = ["MODULES", "read_sides"]

MODULES = "modules.json"
LONGEST_NAME = 200

# Names of classes; the paths before them changed from version to version.
TRANSFORMERS = ("Transformer", "MLMTransformer")
ROUTERS = ("Router", "Asym")
TABLES = ("SparseStaticEmbedding", "IDF")
AUTOENCODERS = ("SparseAutoEncoder", "CSRSparsity")
# sentence-transformers names the activation before the logarithm.
ACTIVATIONS = {"relu": "log1p_relu", "log1p_relu": "log1p_log1p_relu"}
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


def read_sides(folder: Path) -> tuple[Side, Side]:
    """Query side and document side. Raises `EncoderError` that names the file and what is wrong with it."""
    pipelines = _pipelines(folder)
    settings = _optional(folder / "config_sentence_transformers.json")
    prompts = settings.get("prompts") or {}
    networks: dict[tuple[Module, ...], NetworkSide] = {}
    query = _side(folder, pipelines[0], _prompt(prompts, "query"), networks)
    document = _side(folder, pipelines[1], _prompt(prompts, "document", "passage", "corpus"), networks)
    return query, document


def _pipelines(folder: Path) -> tuple[list[Module], list[Module]]:
    listed = read_json(folder / MODULES)
    try:
        modules = [Module(_class(entry["type"]), _inside(folder, entry["path"])) for entry in listed]
    except (TypeError, KeyError, AttributeError):
        raise EncoderError(f"{folder / MODULES}: not a list of modules with type and path") from None
    if not modules or modules[0].kind not in ROUTERS:
        return modules, modules
    root = modules[0].folder
    path = root / "router_config.json"
    if not path.is_file():
        path = root / "config.json"
    router = read_json(path)
    try:
        kinds, structure = router["types"], router["structure"]
        routes = {
            name: [Module(_class(kinds[step]), _inside(root, step)) for step in steps]
            for name, steps in structure.items()
        }
        default = (router.get("parameters") or {}).get("default_route") or next(iter(routes))
        return tuple(routes.get(name, routes[default]) + modules[1:] for name in ("query", "document"))  # type: ignore[return-value]
    except (TypeError, KeyError, AttributeError, StopIteration):
        raise EncoderError(f"{path}: not the configuration of a Router with types and structure") from None


def _side(root: Path, pipeline: list[Module], prompt: str, networks: dict[tuple[Module, ...], NetworkSide]) -> Side:
    kinds = [module.kind for module in pipeline]
    if kinds and kinds[0] in TABLES and len(kinds) == 1:
        return _table_side(pipeline[0].folder, prompt)
    if not kinds or kinds[0] not in TRANSFORMERS:
        raise EncoderError(f"{root / MODULES}: {' + '.join(kinds) or 'no modules'} is no sparse encoder that lsr knows")
    folder = pipeline[0].folder
    table = None
    if kinds[1:2] == ["SpladePooling"] and all(kind in TABLES for kind in kinds[2:]) and len(kinds) <= 3:
        head: Head = _splade_head(pipeline[1].folder / "config.json")
        if len(kinds) == 3:
            table = _table_side(pipeline[2].folder, "").weights
    elif kinds[1:2] == ["Pooling"] and kinds[-1] in AUTOENCODERS:
        head = _autoencoder_head(pipeline, prompt)
    elif kinds[-1] in ("Pooling", "Normalize", "Dense", *TRANSFORMERS):
        raise EncoderError(
            f"{root}: {' + '.join(kinds)} is a dense model: its vectors have no terms; give a sparse one"
        )
    else:
        raise EncoderError(f"{root / MODULES}: {' + '.join(kinds)} is no sparse encoder that lsr knows")
    steps = tuple(module for module in pipeline if module.kind not in TABLES)
    known = networks.get(steps)
    if known is not None and known.prompt == prompt and table is None and known.table is None:
        return known  # one network for both sides, one object
    settings = _optional(folder / "sentence_bert_config.json")
    side = network_side(
        folder,
        head,
        max_length=settings.get("max_seq_length"),
        lowercase=bool(settings.get("do_lower_case")),
        prompt=prompt,
        table=table,
        shared=known,
    )
    networks[steps] = side
    return side


def _table_side(folder: Path, prompt: str) -> TableSide:
    tokenizer_json = read_tokenizer_json(folder)
    config = _optional(folder / "config.json")
    path = config.get("path")
    if isinstance(path, str) and path.endswith(".json"):
        weights = read_idf_json(_inside(folder, path), Vocabulary(tokenizer_json), missing=0.0)
    else:
        weights = Checkpoint(folder).tensor("weight", None)
    return TableSide(tokenizer_json=tokenizer_json, weights=weights, max_length=model_max_length(folder), prompt=prompt)


def _splade_head(path: Path) -> VocabularyHead:
    config = _optional(path)
    pooling, activation = config.get("pooling_strategy", "max"), config.get("activation_function", "relu")
    if pooling not in ("max", "sum") or str(activation) not in ACTIVATIONS:
        raise EncoderError(f"{path}: pooling_strategy {pooling!r} with activation_function {activation!r} is not known")
    return VocabularyHead(pooling=pooling, activation=ACTIVATIONS[activation])


def _autoencoder_head(pipeline: list[Module], prompt: str) -> AutoencoderHead:
    """Transformer, Pooling, then Dense and Normalize in the order that AutoencoderHead has, then the autoencoder."""
    pooling = _pooling(pipeline[1].folder / "config.json", prompt)
    units = [False, False]
    layers: list[DenseLayer] = []
    for module in pipeline[2:-1]:
        if module.kind == "Normalize" and not units[bool(layers)]:
            units[bool(layers)] = True
        elif module.kind == "Dense" and not units[1]:
            layers.append(_dense(module.folder))
        else:
            kinds = " + ".join(step.kind for step in pipeline)
            raise EncoderError(f"{pipeline[0].folder}: {kinds} is no sparse encoder that lsr knows")
    folder = pipeline[-1].folder
    config, weights = _object(folder / "config.json"), Checkpoint(folder)
    top = config.get("k")
    if type(top) is not int or top < 1:
        raise EncoderError(f"{folder / 'config.json'}: k is {top!r}: it must be a number above 0")
    # One tensor under two names, of which its own saving keeps either.
    name = "encoder.weight" if "encoder.weight" in weights else "decoder.linear.weight"
    weight = weights.tensor(name, None, None)
    dim, width = weight.shape
    for layer, after in pairwise([*(dense.weight for dense in layers), weight]):
        if len(layer) != after.shape[1]:
            raise EncoderError(f"{folder}: takes {after.shape[1]} numbers, and what is before it gives {len(layer)}")
    return AutoencoderHead(
        weight=weight,
        pre_bias=weights.tensor("pre_bias", width),
        latent_bias=weights.tensor("latent_bias", dim),
        top=min(top, dim),
        pooling=pooling,
        normalize=bool(config.get("normalize")),
        unit=units[0],
        before=tuple(layers),
        unit_after=units[1],
    )


def _pooling(path: Path, prompt: str) -> str:
    config = _object(path)
    names = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max"}
    chosen = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    mode = config.get("pooling_mode")
    found = [mode] if isinstance(mode, str) else [names.get(key, key) for key in chosen]
    if len(found) != 1 or found[0] not in names.values():
        raise EncoderError(f"{path}: pooling {', '.join(map(str, found)) or 'none'} is not known: mean, cls or max")
    if prompt and config.get("include_prompt") is False:
        raise EncoderError(f"{path}: include_prompt is false, which lsr does not know with a prompt")
    return str(found[0])


def _dense(folder: Path) -> DenseLayer:
    config, weights = _object(folder / "config.json"), Checkpoint(folder)
    name = _class(str(config.get("activation_function", "Identity")))
    if name not in DENSE_ACTIVATIONS:
        raise EncoderError(f"{folder / 'config.json'}: activation_function {name} is not known")
    weight = weights.tensor("linear.weight", None, None)
    bias = weights.tensor("linear.bias", len(weight)) if config.get("bias", True) else np.zeros(len(weight), np.float32)
    return DenseLayer(weight=weight, bias=bias, activation=DENSE_ACTIVATIONS[name])


def _prompt(prompts: Any, *names: str) -> str:
    found = next((prompts[name] for name in names if isinstance(prompts, dict) and prompts.get(name)), "")
    return found if isinstance(found, str) else ""


def _class(path: str) -> str:
    return path.rsplit(".", 1)[-1]


def _inside(folder: Path, name: str) -> Path:
    """A folder or file below `folder`; names of a model's files may not lead out of it."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise EncoderError(f"{folder}: {name!r} leads out of the folder of the model")
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise EncoderError(f"{folder}: {name[:LONGEST_NAME]!r} is no name of a file")
    return folder / name


def _optional(path: Path) -> dict[str, Any]:
    """A JSON object, empty when there is no such file."""
    return _object(path) if path.is_file() else {}


def _object(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise EncoderError(f"{path}: must be a JSON object")
    return found
