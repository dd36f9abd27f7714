"""Folders of learned sparse models, read and written: one file a layout, one form (lsr.encoders.model) for all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from lsr.encoders.layouts import hugging_face, lsr_folder, modules, sentence_transformers
from lsr.encoders.layouts.files import PRECISIONS
from lsr.encoders.layouts.onnx_folder import DESCRIPTION, read_onnx_folder, write_onnx_folder
from lsr.encoders.layouts.policies import with_policies
from lsr.encoders.layouts.writing import NoPlace, write_sentence_transformers
from lsr.encoders.model import Model, NetworkSide, OnnxSide, Side, TransformerSide, VectorSide, VocabularyHead
from lsr.encoders.network.checkpoint import weight_files
from lsr.errors import EncoderError, InvalidInput, OutputExists

__all__ = ["fingerprint", "is_model", "model_of", "read_model", "write_model"]

# A folder with one of these is meant to be a model.
MARKS = (DESCRIPTION, lsr_folder.HEAD, modules.MODULES, "config.json")
LAYOUTS = ("sentence-transformers", "lsr")  # that a model with weights can be written in


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
        if (folder / lsr_folder.HEAD).is_file():
            query, document = lsr_folder.read_sides(folder)
        elif (folder / modules.MODULES).is_file():
            query, document = with_policies(folder, *sentence_transformers.read_sides(folder))
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
        name=name, source=source, query=query, document=document, fingerprint=lambda: fingerprint(query, document)
    )


def write_model(model: Model, folder: Path, layout: str | None = None, precision: str | None = None) -> None:
    """Writes a model to a new folder, which `read_model` reads.

    layout: "sentence-transformers", "lsr" (see lsr.encoders.layouts.lsr_folder), or None: the first, where it has a place for
    all that the model does, else the second. An ONNX export has one layout of its own.
    precision: of the weights, "fp32" or "fp16"; None writes those of transformers as they are.

    Raises `EncoderError` for what the layout cannot hold, `InvalidInput` for another layout or precision, `OutputExists`,
    `StorageError`.
    """
    if layout not in (None, *LAYOUTS):
        raise InvalidInput(f"layout is {layout!r}: it must be one of {', '.join(LAYOUTS)}, or None")
    if precision not in (None, *PRECISIONS):
        raise InvalidInput(f"precision is {precision!r}: it must be one of {', '.join(PRECISIONS)}, or None")
    if folder.exists():  # before the long work
        raise OutputExists(f"{folder}: already exists; give another folder, or remove it first")
    if isinstance(model.document, OnnxSide) and layout is None and precision is None:
        write_onnx_folder(model, folder, _refused, notes={})
        return
    if layout != "lsr":
        try:
            write_sentence_transformers(model, folder, precision)
            return
        except NoPlace:
            if layout is not None:
                raise
    lsr_folder.write_lsr_folder(model, folder, precision)


def _refused(side: NetworkSide) -> bytes:
    raise EncoderError(
        f"{side.folder}: a network of queries beside an ONNX export has no layout; export it to ONNX too"
    )


def fingerprint(*sides: Side | VectorSide, **further: Any) -> str:
    """xxh3-128 in hex over all that the vectors of the sides depend on, length limits apart, and `further` settings."""
    digest = xxhash.xxh3_128()
    for side in sides:
        if isinstance(side, TransformerSide):
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
    if further:
        digest.update(json.dumps(further, sort_keys=True).encode())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(value).data)
    if isinstance(value, VocabularyHead):  # without layers the hash is that from before there were any
        return {name: part for name, part in vars(value).items() if name not in ("importance", "quality") or part}
    return vars(value)
