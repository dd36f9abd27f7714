"""Folders of learned sparse models, read and written: one file a layout, one form (lsr.encoders.model) for all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from lsr.encoders.layouts import hugging_face, sentence_transformers
from lsr.encoders.layouts.onnx_folder import DESCRIPTION, read_onnx_folder
from lsr.encoders.model import Model, NetworkSide, OnnxSide, Side, VocabularyHead
from lsr.encoders.network.checkpoint import weight_files
from lsr.errors import EncoderError

__all__ = ["is_model", "model_of", "read_model"]

# A folder with one of these is meant to be a model.
MARKS = (DESCRIPTION, sentence_transformers.MODULES, "config.json")


def is_model(folder: Path) -> bool:
    """Whether it looks like one."""
    return any((folder / name).is_file() for name in MARKS)


def read_model(folder: Path, source: str) -> Model:
    """The model of a folder, whatever its layout. `source` is what it is known by: a path, or hub id@revision.

    Raises `EncoderError` that says which file is missing or wrong.
    """
    try:
        if (folder / DESCRIPTION).is_file():
            return replace(read_onnx_folder(folder), source=source)
        if (folder / sentence_transformers.MODULES).is_file():
            query, document = sentence_transformers.read_sides(folder)
        else:
            query, document = hugging_face.read_sides(folder)
    except EncoderError as error:
        if str(folder) in str(error):
            raise
        raise EncoderError(f"{folder}: {error}") from None
    name = source.rstrip("/").split("/")[-1].split("@")[0]
    return model_of(query, document, name=name, source=source)


def model_of(query: Side, document: Side, *, name: str, source: str) -> Model:
    """Two sides as one model. Raises `EncoderError` when their vocabularies differ in size."""
    if query.dim != document.dim:
        raise EncoderError(
            f"{source}: its queries have {query.dim} terms, its documents {document.dim}: not of one model"
        )
    return Model(
        name=name, source=source, query=query, document=document, fingerprint=lambda: _fingerprint(query, document)
    )


def _fingerprint(*sides: Side) -> str:
    """xxh3-128 in hex over all that the vectors depend on, length limits apart."""
    digest = xxhash.xxh3_128()
    for side in sides:
        if isinstance(side, NetworkSide):
            for path in [side.folder / "config.json", *weight_files(side.folder)]:
                with path.open("rb") as file:
                    while part := file.read(1 << 22):
                        digest.update(part)
        elif isinstance(side, OnnxSide):
            digest.update(side.model())
        skipped = ("folder", "model", "where", "max_length", "positions", "tokenizer_json")
        settings = {name: value for name, value in vars(side).items() if name not in skipped}
        digest.update(side.tokenizer_json.encode())
        digest.update(json.dumps(settings, default=_plain, sort_keys=True).encode())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(value).data)
    if isinstance(value, VocabularyHead):  # without layers the hash is that from before there were any
        return {name: part for name, part in vars(value).items() if name not in ("importance", "quality") or part}
    return vars(value)
