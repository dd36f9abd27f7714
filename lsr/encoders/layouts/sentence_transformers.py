"""Folders of sentence-transformers' SparseEncoder, versions 5 and 6: modules.json, Router, pooling and table modules."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

from lsr.encoders.layouts.hugging_face import network_side
from lsr.encoders.layouts.modules import (
    MODULES,
    TRANSFORMERS,
    Module,
    class_name,
    dense_layer,
    inside,
    json_object,
    listed_modules,
    optional_object,
)
from lsr.encoders.model import AutoencoderHead, DenseLayer, Head, NetworkSide, Side, TableSide, VocabularyHead
from lsr.encoders.network.checkpoint import Checkpoint, read_json
from lsr.encoders.tables import read_idf_json
from lsr.encoders.tokenizer import model_max_length, read_tokenizer_json
from lsr.encoders.vocabulary import Vocabulary
from lsr.errors import EncoderError

__all__ = ["MODULES", "read_sides"]

# Names of classes; the paths before them changed from version to version.
ROUTERS = ("Router", "Asym")
TABLES = ("SparseStaticEmbedding", "IDF")
AUTOENCODERS = ("SparseAutoEncoder", "CSRSparsity")
# sentence-transformers names the activation before the logarithm.
ACTIVATIONS = {"relu": "log1p_relu", "log1p_relu": "log1p_log1p_relu"}


def read_sides(folder: Path) -> tuple[Side, Side]:
    """Query side and document side. Raises `EncoderError` that names the file and what is wrong with it."""
    pipelines = _pipelines(folder)
    settings = optional_object(folder / "config_sentence_transformers.json")
    prompts = settings.get("prompts") or {}
    networks: dict[tuple[Module, ...], NetworkSide] = {}
    query = _side(folder, pipelines[0], _prompt(prompts, "query"), networks)
    document = _side(folder, pipelines[1], _prompt(prompts, "document", "passage", "corpus"), networks)
    return query, document


def _pipelines(folder: Path) -> tuple[list[Module], list[Module]]:
    modules = listed_modules(folder)
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
            name: [Module(class_name(kinds[step]), inside(root, step)) for step in steps]
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
    settings = optional_object(folder / "sentence_bert_config.json")
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
    config = optional_object(folder / "config.json")
    path = config.get("path")
    if isinstance(path, str) and path.endswith(".json"):
        weights = read_idf_json(inside(folder, path), Vocabulary(tokenizer_json), missing=0.0)
    else:
        weights = Checkpoint(folder).tensor("weight", None)
    return TableSide(tokenizer_json=tokenizer_json, weights=weights, max_length=model_max_length(folder), prompt=prompt)


def _splade_head(path: Path) -> VocabularyHead:
    config = optional_object(path)
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
            layers.append(dense_layer(module.folder))
        else:
            kinds = " + ".join(step.kind for step in pipeline)
            raise EncoderError(f"{pipeline[0].folder}: {kinds} is no sparse encoder that lsr knows")
    folder = pipeline[-1].folder
    config, weights = json_object(folder / "config.json"), Checkpoint(folder)
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
    config = json_object(path)
    names = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max"}
    chosen = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    mode = config.get("pooling_mode")
    found = [mode] if isinstance(mode, str) else [names.get(key, key) for key in chosen]
    if len(found) != 1 or found[0] not in names.values():
        raise EncoderError(f"{path}: pooling {', '.join(map(str, found)) or 'none'} is not known: mean, cls or max")
    if prompt and config.get("include_prompt") is False:
        raise EncoderError(f"{path}: include_prompt is false, which lsr does not know with a prompt")
    return str(found[0])


def _prompt(prompts: Any, *names: str) -> str:
    found = next((prompts[name] for name in names if isinstance(prompts, dict) and prompts.get(name)), "")
    return found if isinstance(found, str) else ""
