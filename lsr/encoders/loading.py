"""Encoders by name, folder or hub id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lsr.corpus.streams import reason
from lsr.encoders.encoder import Encoder, Settings
from lsr.encoders.hub import fetch, is_hub_id
from lsr.encoders.layouts import is_model, model_of, read_model
from lsr.encoders.layouts.hugging_face import binary_side
from lsr.encoders.model import Model, NetworkSide, Side, TableSide, VocabularyHead
from lsr.encoders.tables import read_idf_json
from lsr.encoders.vocabulary import Vocabulary
from lsr.errors import EncoderError, EncoderNotFound, InvalidInput

__all__ = ["BUNDLED", "load_encoder"]

# Encoders that ship inside the package, and their folders beside this file.
BUNDLED = {"lsr-tiny": "lsr_tiny"}

Fetch = Callable[[str, str | None], tuple[Path, str]]  # hub id and revision -> folder and commit


def load_encoder(
    name_or_folder: str | Path = "lsr-tiny",
    max_length: int | None = None,
    device: str | Sequence[str] | None = None,
    *,
    engine: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    long: str = "truncate",
    stride: int | None = None,
    query: str | Path | npt.ArrayLike | None = None,
    query_top_k: int | None = None,
    prune_ratio: float | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
    trust_remote_code: bool = False,
) -> Encoder:
    """The bundled encoder of that name, the model in that folder, or the one of that id on the Hugging Face hub.

    A hub id is owner/name, or owner/name@revision.

    Folders may have the layout of lsr, of sentence-transformers 5 or 6 (SPLADE, Router with a static query side, CSR), of
    OpenSearch (a masked language model with idf.json or query_token_weights.txt), of SPLADE (a masked language model alone),
    or hold token weights (uniCOIL, DeepImpact, TILDEv2, DeepCT).

    max_length: tokens of a document that are read at a time, the model's own when None.
    device: None or "cpu"; "cuda", "cuda:1" or a list of devices with torch.
    engine: "onnx" (CPU) or "torch"; None takes onnx on the CPU wherever it knows the architecture.
    precision: "fp32" or "int8" (onnx), "fp32", "bf16" or "fp16" (torch). None is fp32 on the CPU and bf16 on a GPU.
    threads: cores for documents, all of them when None.
    long: what becomes of a longer text: "truncate" it, or read it in "windows" that begin `stride` tokens apart (three
      quarters of one when None) and keep each term's largest weight.
    query: another query side: "binary" (each word weighs 1), the file of an idf.json, a weight for each term (float [dim];
      see `lsr.encoders.corpus_idf` and `li_lsr`), or name or folder of another model over the same vocabulary, whose query
      side is taken.
    query_top_k: keep that many terms of a query, the heaviest.
    prune_ratio: drop terms of documents below that share of the heaviest (0.1 in OpenSearch); the model's own when None.
    revision: branch, tag or commit on the hub.
    local_files_only: take a hub id from the cache alone, never from the network.
    trust_remote_code: run code that comes with the model. Otherwise nothing in a model's folder is ever run.

    Raises `EncoderNotFound` when there is no such name or folder, `EncoderError` when the folder holds something else or its
    files are damaged, `InvalidInput` when another argument is out of range, `MissingExtra` when torch is needed and missing.
    """
    settings = Settings(
        max_length=max_length,
        device=device,
        engine=engine,
        precision=precision,
        threads=threads,
        long=long,
        stride=stride,
        query_top_k=query_top_k,
        trust_remote_code=trust_remote_code,
    )
    hub = partial(fetch, trust_remote_code=trust_remote_code, local_files_only=local_files_only)
    model = _model(str(name_or_folder), revision, hub)
    if prune_ratio is not None:
        model = _pruned(model, prune_ratio)
    if query is not None:
        side = _query_side(query, model, hub)
        model = model_of(side, _without_special(model.document, side), name=model.name, source=model.source)
    return Encoder(model, settings)


def _model(name: str, revision: str | None, hub: Fetch) -> Model:
    if not name:
        raise InvalidInput(f"the encoder has no name: give {_bundled()}, a folder, or a hub id")
    if name in BUNDLED:
        return replace(read_model(Path(__file__).parent / BUNDLED[name], name), source=name)
    try:
        folder = Path(name).expanduser()
        exists = folder.exists()
    except (OSError, RuntimeError, ValueError) as error:  # too long a name; ~somebody who is not known here
        raise EncoderNotFound(f"no encoder {name[:80]!r} ({reason(error)}); bundled: {_bundled()}") from None
    if folder.is_dir():
        if not is_model(folder):
            raise EncoderError(
                f"{folder}: holds no encoder.json, modules.json or config.json, so it is no model; bundled: {_bundled()}"
            )
        return read_model(folder, str(folder.absolute()))
    if exists:
        raise EncoderError(f"{folder}: a file; an encoder is a folder with its weights, tokenizer and settings")
    repository, _, named = name.partition("@")
    if is_hub_id(repository):
        fetched, commit = hub(repository, revision or named or None)
        return read_model(fetched, f"{repository}@{commit}")
    raise EncoderNotFound(_not_found(name, folder))


def _query_side(query: str | Path | npt.ArrayLike, model: Model, hub: Fetch) -> Side:
    document = model.document
    if not isinstance(query, str | Path):
        try:
            weights = np.asarray(query, np.float32)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"query is no array of weights ({error})") from None
        if weights.shape != (document.dim,):
            raise InvalidInput(
                f"query has shape {weights.shape}: {model.name} has {document.dim:,} terms, a weight for each"
            )
    elif str(query) == "binary":
        return binary_side(document)
    elif str(query).endswith(".json"):
        weights = read_idf_json(Path(query), Vocabulary(document.tokenizer_json, document.dim), missing=1.0)
    else:
        return _model(str(query), None, hub).query
    return TableSide(tokenizer_json=document.tokenizer_json, weights=weights, special="drop", unknown="drop")


def _without_special(document: Side, query: Side) -> Side:
    """Terms that no query can have are of no use in a document."""
    if not isinstance(document, NetworkSide) or not isinstance(query, TableSide) or query.special != "drop":
        return document
    if not isinstance(document.head, VocabularyHead):
        return document
    special = Vocabulary(document.tokenizer_json, document.dim).special
    return replace(document, dropped=tuple(sorted({*document.dropped, *special})))


def _pruned(model: Model, ratio: float) -> Model:
    side = model.document
    if not 0 <= ratio < 1:
        raise InvalidInput(f"prune_ratio is {ratio}: it must be at least 0 and below 1")
    if not isinstance(side, NetworkSide) or not isinstance(side.head, VocabularyHead):
        raise InvalidInput(f"prune_ratio goes with the weights of a masked language model, not with {model.name}")
    pruned = replace(side, head=replace(side.head, prune_ratio=ratio))
    return model_of(model.query, pruned, name=model.name, source=model.source)


def _not_found(name: str, folder: Path) -> str:
    """The message that lists what could be meant: bundled names and encoders in the folder where this one would be."""
    try:
        neighbours = [f for f in sorted(folder.parent.iterdir()) if f.is_dir() and is_model(f)]
    except OSError:
        neighbours = []
    candidates = {n: n for n in BUNDLED} | {f.name: str(f) for f in neighbours}
    close = [candidates[n] for n in get_close_matches(folder.name, candidates, n=3)]
    meant = f" (did you mean {' or '.join(close)}?)" if close else ""
    remedy = "or give the path of a local folder, or a hub id (owner/name)"
    return f"no encoder {name!r}{meant}; bundled: {_bundled()}; {remedy}"


def _bundled() -> str:
    return ", ".join(BUNDLED)
