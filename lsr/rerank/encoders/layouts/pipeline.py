"""Folders with a modules.json: PyLate's (Transformer, Dense), and those of sentence-transformers 6 (mask and norm too)."""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lsr.encoders.layouts import checked
from lsr.encoders.layouts.modules import (
    MODULES,
    Module,
    dense_layer,
    json_object,
    listed_modules,
    optional_object,
)
from lsr.errors import EncoderError
from lsr.rerank.encoders.layouts.assembly import Filling, Said, assembled
from lsr.rerank.encoders.model import SIMILARITIES, MultiVectorModel, Skiplist

__all__ = ["KINDS", "SETTINGS", "TRANSFORMER_SETTINGS", "VECTORS", "read_pipeline"]

SETTINGS, TRANSFORMER_SETTINGS = "config_sentence_transformers.json", "sentence_bert_config.json"
KINDS = NATIVE, PYLATE = "MultiVectorEncoder", "ColBERT"  # model_type in the settings
VECTORS = "token_embeddings"  # what modules take and give
# Settings that only PyLate writes; its first versions named no model_type.
PYLATE_MARKS = ("query_prefix", "document_prefix", "do_query_expansion", "attend_to_expansion_tokens")
PYLATE_DEFAULTS = {
    "query_prefix": "[Q] ",
    "document_prefix": "[D] ",
    "query_length": 32,
    "document_length": 180,
    "do_query_expansion": True,
    "attend_to_expansion_tokens": False,
    "skiplist_words": list(string.punctuation),
}


def read_pipeline(folder: Path, source: str) -> MultiVectorModel:
    """The model of such a folder. Raises `EncoderError` that names the file and what is wrong with it."""
    modules, settings = listed_modules(folder), optional_object(folder / SETTINGS)
    kind = settings.get("model_type")
    if kind is None and any(name in settings for name in PYLATE_MARKS):
        kind = PYLATE
    kinds = [module.kind for module in modules]
    if kind not in KINDS:
        raise EncoderError(
            f"{folder}: {' + '.join(kinds)} is no multivector model (model_type {kind!r}); give a ColBERT of Stanford, "
            "PyLate or sentence-transformers 6"
        )
    if kinds[:1] != ["Transformer"]:
        raise EncoderError(
            f"{folder / MODULES}: begins with {kinds[0] if kinds else 'nothing'}, not with a Transformer"
        )
    dense = [module for module in modules if module.kind == "Dense"]
    if not dense:
        raise EncoderError(f"{folder / MODULES}: no projection: a multivector model has a Dense module; copy it again")
    said, unit = _pylate(folder, modules, settings) if kind == PYLATE else _native(folder, modules, settings)
    layers = [dense_layer(module.folder, residual=True) for module in dense]
    return assembled(modules[0].folder, layers, unit, said, source)


# -- PyLate ------------------------------------------------------------------------------------------------------------


def _pylate(folder: Path, modules: list[Module], settings: Mapping[str, Any]) -> tuple[Said, bool]:
    """PyLate masks and normalises on its own; all its settings are in one file."""
    _known(folder, modules, ("Transformer", "Dense"))
    transformer = optional_object(modules[0].folder / TRANSFORMER_SETTINGS)
    with checked.described(folder / SETTINGS):
        entry = PYLATE_DEFAULTS | {name: value for name, value in settings.items() if value is not None}
        markers = checked.text(entry, "query_prefix"), checked.text(entry, "document_prefix")
        query, document = _prompts(settings)
        length, filling = checked.count(entry, "query_length"), None
        if checked.boolean(entry, "do_query_expansion"):
            filling = Filling(length=length or 32, attend=checked.boolean(entry, "attend_to_expansion_tokens"))
        said = Said(
            query_prompt=markers[0] + query.removeprefix(markers[0]),
            document_prompt=markers[1] + document.removeprefix(markers[1]),
            markers=markers,
            query_length=length,
            document_length=checked.count(entry, "document_length"),
            filling=filling,
            skiplist=Skiplist(words=_texts(entry, "skiplist_words")),
            lowercase=bool(transformer.get("do_lower_case")),
        )
    return said, True


# -- sentence-transformers 6 -------------------------------------------------------------------------------------------


def _native(folder: Path, modules: list[Module], settings: Mapping[str, Any]) -> tuple[Said, bool]:
    """Each module has its own settings. A Normalize stands after the projection, if there is one."""
    _known(folder, modules, ("Transformer", "Dense", "MultiVectorMask", "Normalize"))
    kinds = [module.kind for module in modules]
    units, masks = kinds.count("Normalize"), kinds.count("MultiVectorMask")
    if units > 1 or masks > 1 or (units and "Dense" in kinds[kinds.index("Normalize") :]):
        raise EncoderError(f"{folder / MODULES}: {' + '.join(kinds)} is no order of modules that lsr knows")
    for module in modules[1:]:
        _check_names(module.folder / "config.json", module.kind)
    path = modules[0].folder / TRANSFORMER_SETTINGS
    transformer = optional_object(path)
    with checked.described(path):
        _check_transformer(transformer)
        lengths = [checked.count({name: None, **transformer}, name) for name in ("query_length", "document_length")]
        limit = checked.count({"max_seq_length": None, **transformer}, "max_seq_length")
        filling = _filling(transformer.get("query_expansion"))
    if not masks and filling is not None and not filling.attend:  # nothing scores what it adds
        lengths[0], filling = (filling.length if filling.fixed else lengths[0]), None
    skiplist = Skiplist()
    if masks:
        path = modules[kinds.index("MultiVectorMask")].folder / "config.json"
        with checked.described(path):
            skiplist = _skiplist(json_object(path))
    with checked.described(folder / SETTINGS):
        query, document = _prompts(settings)
        similarity = settings.get("similarity_fn_name")
        said = Said(
            query_prompt=query,
            document_prompt=document,
            query_length=lengths[0],
            document_length=lengths[1],
            filling=filling,
            skiplist=skiplist,
            similarity=SIMILARITIES[0] if similarity is None else checked.choice({"s": similarity}, "s", SIMILARITIES),
            tokenizer_limit=limit,
            lowercase=bool(transformer.get("do_lower_case")),
        )
    return said, bool(units)


def _known(folder: Path, modules: list[Module], known: tuple[str, ...]) -> None:
    for module in modules[1:]:
        if module.kind not in known[1:]:
            raise EncoderError(
                f"{folder / MODULES}: a {module.kind} module is not known in such a model; {', '.join(known)} are"
            )


def _check_names(path: Path, kind: str) -> None:
    """Modules may take and give other things than token vectors."""
    config = optional_object(path)
    for name in ("module_input_name", "module_output_name"):
        if kind in ("Dense", "Normalize") and config.get(name, VECTORS) not in (VECTORS, None):
            raise EncoderError(f"{path}: {name} is {config[name]!r}: in a multivector model it is {VECTORS!r}")


def _check_transformer(entry: Mapping[str, Any]) -> None:
    """Raises ValueError for what would give other vectors than the last hidden states of a text."""
    if entry.get("transformer_task", "feature-extraction") != "feature-extraction":
        raise ValueError(f"transformer_task is {entry['transformer_task']!r}: only 'feature-extraction' is known here")
    modalities = entry.get("modality_config")
    text = {"method": "forward", "method_output_name": "last_hidden_state"}
    if modalities is not None and modalities != {"text": text}:
        raise ValueError("modality_config names more than the last hidden states of texts, which is not known here")
    if entry.get("processing_kwargs"):
        raise ValueError("processing_kwargs are not known here")


def _filling(entry: Any) -> Filling | None:
    if entry is None:
        return None
    checked.unknown_keys(entry, {"strategy", "attend", "token", "length"})
    entry = {"attend": False, "token": None, **entry}
    length = checked.count(entry, "length")
    if length is None:
        raise ValueError("query_expansion has no length")
    return Filling(
        length=length,
        attend=checked.boolean(entry, "attend"),
        token=None if entry["token"] is None else checked.text(entry, "token"),
        fixed=checked.choice(entry, "strategy", ("fixed", "min")) == "fixed",
    )


def _skiplist(entry: Mapping[str, Any]) -> Skiplist:
    entry = {name: value for name, value in entry.items() if value is not None}
    only = entry.get("keep_only_token_ids")
    if only is not None and not (isinstance(only, list) and all(type(i) is int and i >= 0 for i in only)):
        raise ValueError("keep_only_token_ids must be ids of tokens")
    tasks = entry.get("skiplist_tasks", ["document"])
    return Skiplist(
        words=_texts({"skiplist_words": [], **entry}, "skiplist_words"),
        tasks=_texts({"skiplist_tasks": [tasks] if isinstance(tasks, str) else tasks}, "skiplist_tasks"),
        only=tuple(only) if only else None,
    )


def _prompts(settings: Mapping[str, Any]) -> tuple[str, str]:
    """What is put before queries and documents."""
    prompts = {"query": None, "document": None} | (settings.get("prompts") or {})
    return tuple("" if prompts[name] is None else checked.text(prompts, name) for name in ("query", "document"))  # type: ignore[return-value]


def _texts(entry: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = entry[name]
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError(f"{name} must be a list of texts")
    return tuple(value)
