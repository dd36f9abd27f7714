"""Exporting an encoder: to ONNX with a check of its numbers, or to the layout of sentence-transformers.

The bundled encoder is made from what recipes/lsr-tiny.yaml trains:

    lsr export lsr-tiny-model -o lsr/encoders/lsr_tiny --format onnx --precision int8 --max-length 256 --name lsr-tiny \\
        --adapts --overwrite --licence ... --origin ...      (both as in its encoder.json)

The same input gives the same bytes. Its head is 8-bit: nDCG@10 of its start on SciFact was .6320 against .6331 in float32
(paired difference -.0011, standard error .0013), at twice the speed and a third of the size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lsr.encoders.document import DocumentEncoder
from lsr.encoders.encoder import Encoder
from lsr.encoders.layouts.onnx_folder import DESCRIPTION, write_onnx_folder
from lsr.encoders.model import Engine, NetworkSide, OnnxSide, TableSide, VocabularyHead
from lsr.encoders.onnx_engine import OnnxEngine, onnx_bytes
from lsr.encoders.rows import selection
from lsr.errors import EncoderError, InvalidInput, OutputExists
from lsr.sparse import SparseVectors

__all__ = ["Parity", "export_onnx"]

# float32 against float32: what is left are sums in another order.
TOLERANCE = 1e-3
# Cosine of the 8-bit vectors with those of float32. The bundled encoder has .9984, and loses .001 of nDCG@10 on SciFact.
LEAST_COSINE = 0.99
SAMPLES = 64


@dataclass(frozen=True, slots=True)
class Parity:
    """How the exported network compares with the one it was made from, on sample texts.

    `reference` is what it was compared with: "torch" for float32, float32 for 8 bits.
    """

    texts: int
    reference: str
    largest_difference: float
    mean_cosine: float


def export_onnx(
    encoder: Encoder,
    folder: str | Path,
    *,
    precision: str = "fp32",
    name: str | None = None,
    top_terms: int | None = None,
    adapts: bool = False,
    licence: str = "",
    origin: str = "",
    overwrite: bool = False,
    samples: Sequence[str] = (),
) -> Parity | None:
    """Writes the encoder as an ONNX folder, which needs neither torch nor the model's own weights.

    precision: of the vocabulary head, "fp32" or "int8". top_terms: keep that many terms of a document; as many as the model
    itself when None. adapts: the table of query weights is made to be adapted to the documents of an index, as some models'
    is anyway. samples: texts for the check.

    The network is run on the samples first: nothing is written when float32 differs from torch by more than 0.001, or the
    mean cosine of 8-bit vectors with those of float32 is below 0.99. Returns how they compare; None for float32 where torch
    is not installed, which leaves nothing to compare with.

    Raises `EncoderError` for that, for an architecture that has no graph, and for a model that is ONNX already;
    `OutputExists`, `StorageError`.
    """
    folder = Path(folder)
    if precision not in ("fp32", "int8"):
        raise InvalidInput(f"precision is {precision!r}: it must be fp32 or int8")
    if top_terms is not None and top_terms < 1:
        raise InvalidInput(f"top_terms is {top_terms}: it must be 1 or more")
    if folder.exists() and not (overwrite and (folder / DESCRIPTION).is_file()):  # before the long work
        raise OutputExists(f"{folder}: already exists; give another folder, or remove it first")
    model, side = encoder.model, encoder.document_side
    if isinstance(side, OnnxSide):
        raise EncoderError(f"{encoder.name}: is an ONNX export already; export the model that it was made from")
    if precision == "int8" and not isinstance(side.head, VocabularyHead):
        raise InvalidInput("int8 is for vocabulary heads; this model has another: use fp32")
    made: dict[int, bytes] = {}

    def graph(network: NetworkSide) -> bytes:
        if id(network.head) not in made:
            made[id(network.head)] = onnx_bytes(network, precision)
        return made[id(network.head)]

    limited = side if top_terms is None else replace(side, top_terms=top_terms)
    parity = _compared(limited, graph, precision, samples or _sample_texts())
    query = model.query
    if isinstance(query, TableSide):
        query = replace(query, adapts=adapts or query.adapts)
    elif query is model.document:
        query = limited
    exported = replace(model, name=name or folder.name, query=query, document=limited)
    notes = {key: value for key, value in {"licence": licence, "origin": origin}.items() if value}
    write_onnx_folder(exported, folder, graph, notes={"precision": precision, **notes}, overwrite=overwrite)
    return parity


def _compared(
    side: NetworkSide, graph: Callable[[NetworkSide], bytes], precision: str, texts: Sequence[str]
) -> Parity | None:
    """Runs both networks on the texts. Raises `EncoderError` when they do not agree."""
    exported: Engine = OnnxEngine(graph(side), selection(side))
    reference: Engine
    if precision == "int8":
        reference, name = OnnxEngine(onnx_bytes(side, "fp32"), selection(side)), "fp32"
    elif find_spec("torch") is None or find_spec("transformers") is None:
        return None
    else:
        from lsr.encoders.torch_engine import TorchEngine

        reference, name = TorchEngine(side, device="cpu", dtype="float32"), "torch"
    a = _vectors(exported, side, texts).to_scipy()
    b = _vectors(reference, side, texts).to_scipy()
    difference = abs(a - b)
    largest = float(difference.max()) if difference.nnz else 0.0
    dots, squares, others = (np.asarray(x.multiply(y).sum(axis=1)).ravel() for x, y in ((a, b), (a, a), (b, b)))
    norms = np.sqrt(squares * others)
    cosine = float((dots[norms > 0] / norms[norms > 0]).mean()) if norms.any() else 1.0
    if precision == "fp32" and largest > TOLERANCE:
        raise EncoderError(f"{side.folder}: the ONNX graph differs from {name} by {largest:.4f}; use engine='torch'")
    if precision == "int8" and cosine < LEAST_COSINE:
        raise EncoderError(
            f"{side.folder}: in 8 bits its vectors have a cosine of {cosine:.4f} with those of float32, less than "
            f"{LEAST_COSINE}; export it in fp32"
        )
    return Parity(texts=len(texts), reference=name, largest_difference=largest, mean_cosine=cosine)


def _vectors(engine: Engine, side: NetworkSide, texts: Sequence[str]) -> SparseVectors:
    limit = min(side.max_length, 256)
    return DocumentEncoder(engine, side.tokenizer_json, max_length=limit, prompt=side.prompt).encode(texts)


def _sample_texts() -> list[str]:
    """English that every machine has: documentation strings of Python's own modules."""
    import argparse
    import asyncio
    import json
    import logging
    import pathlib

    found = []
    for module in (argparse, asyncio, json, logging, pathlib):
        for value in vars(module).values():
            text = getattr(value, "__doc__", None)
            if isinstance(text, str) and len(text) > 80:
                found.append(" ".join(text.split()))
    return sorted(set(found))[:SAMPLES]
