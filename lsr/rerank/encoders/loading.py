"""Multivector encoders by folder or hub id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lsr.encoders.encoder import Settings
from lsr.encoders.hub import model_folder
from lsr.rerank.encoders.encoder import MultiVectorEncoder
from lsr.rerank.encoders.layouts import read_model

__all__ = ["load_multivector_encoder"]


def load_multivector_encoder(
    name_or_folder: str | Path,
    max_length: int | None = None,
    device: str | Sequence[str] | None = None,
    *,
    query_length: int | None = None,
    engine: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
    trust_remote_code: bool = False,
) -> MultiVectorEncoder:
    """The multivector model (ColBERT) in that folder, or the one of that id on the Hugging Face hub.

    A hub id is owner/name, or owner/name@revision. Folders may have the layout of Stanford's ColBERT (`linear.weight` beside
    the weights of a BERT, artifact.metadata), of PyLate, or of sentence-transformers 6 (MultiVectorEncoder). Markers,
    lengths, query expansion, skiplist and normalisation are those that the layout names.

    max_length: tokens that are read of a document, the model's own when None.
    device: None or "cpu"; "cuda", "cuda:1" or a list of devices with torch.
    query_length: tokens that are read of a query, the model's own when None. With query expansion of a fixed length all
      queries get that length.
    engine: "onnx" (CPU) or "torch"; None takes onnx on the CPU wherever it knows the architecture.
    precision: "fp32", or with torch "bf16" or "fp16". None is fp32 on the CPU and bf16 on a GPU.
    threads: cores, all of them when None.
    revision, local_files_only, trust_remote_code: see `load_encoder`.

    Raises `EncoderNotFound` when there is no such folder or model, `EncoderError` when it is no multivector model, has no
    projection, or its files are damaged, `InvalidInput` when another argument is out of range, `MissingExtra` when torch is
    needed and missing.
    """
    settings = Settings(
        max_length=max_length,
        device=device,
        engine=engine,
        precision=precision,
        threads=threads,
        trust_remote_code=trust_remote_code,
    )
    folder, source = model_folder(
        name_or_folder, revision, trust_remote_code=trust_remote_code, local_files_only=local_files_only
    )
    return MultiVectorEncoder(read_model(folder, source), settings, query_length)
