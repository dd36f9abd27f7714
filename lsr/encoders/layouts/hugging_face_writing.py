"""A Hugging Face folder of a model's transformer: what training starts from, also where there is an ONNX export alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lsr.encoders.layouts.files import Contents, json_bytes, special_names, tensor_bytes, transformer_files
from lsr.encoders.layouts.hugging_face import network_side
from lsr.encoders.layouts.onnx_folder import write_files
from lsr.encoders.model import Model, NetworkSide, OnnxSide, TableSide, VocabularyHead
from lsr.encoders.network.dequantize import weights_of_export
from lsr.errors import EncoderError

__all__ = ["write_hugging_face"]


def write_hugging_face(model: Model, folder: Path, precision: str | None = None) -> NetworkSide:
    """Writes the transformer of documents as transformers reads it (config.json, model.safetensors, tokenizer), and returns
    the side over that folder, with head and settings as before.

    The weights of an ONNX export are recovered from it (see lsr.encoders.network.dequantize) and written in float32, those of
    another model as they are; "fp32" or "fp16" when `precision` says so.

    Raises `EncoderError` for an export that holds no BERT, `OutputExists` when something is at `folder`, `StorageError`.
    """
    side = model.document
    if isinstance(side, TableSide):
        raise EncoderError(f"{model.source}: its documents have no network")
    if isinstance(side, NetworkSide):
        write_files(folder, transformer_files(side, precision))
        return replace(side, folder=folder)
    contents, head = _recovered(side, precision)
    write_files(folder, contents)
    found = network_side(folder, head, max_length=side.max_length, prompt=side.prompt, dropped=side.chosen.dropped)
    return replace(found, top_terms=side.chosen.top_terms)


def _recovered(side: OnnxSide, precision: str | None) -> tuple[Contents, VocabularyHead]:
    """The files of an export's network, and its head."""
    if side.chosen.kind != "vocabulary" or side.chosen.summed:
        raise EncoderError(
            f"{side.where}: weights are recovered of masked language models with max or cls pooling alone"
        )
    try:
        found = weights_of_export(side.model())
    except EncoderError as error:
        raise EncoderError(f"{side.where}: {error}") from None
    names = special_names(side.tokenizer_json)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": side.positions} | names
    contents: Contents = {
        "config.json": json_bytes(found.config),
        "model.safetensors": tensor_bytes(found.weights, precision),
        "tokenizer.json": side.tokenizer_json.encode(),
        "tokenizer_config.json": json_bytes(settings),
    }
    chosen = side.chosen
    return contents, VocabularyHead(pooling=found.pooling, activation=chosen.activation, prune_ratio=chosen.prune_ratio)
