"""Writing a model as the MultiVectorEncoder of sentence-transformers 6 reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lsr.encoders.layouts.files import Contents, json_bytes, special_names, transformer_files
from lsr.encoders.layouts.modules import MODULES, optional_object
from lsr.encoders.layouts.onnx_folder import write_files
from lsr.encoders.layouts.writing import dense_files
from lsr.encoders.model import VectorSide
from lsr.rerank.encoders.layouts.pipeline import NATIVE, SETTINGS, TRANSFORMER_SETTINGS, VECTORS
from lsr.rerank.encoders.model import MultiVectorModel

__all__ = ["write_model"]

CLASSES = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "MultiVectorMask": "sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}
TOKENIZER_SETTINGS = "tokenizer_config.json"


def write_model(model: MultiVectorModel, folder: Path) -> None:
    """Writes a new folder; weights of the transformer as they are, those of the projection in float32.

    Raises `OutputExists` when something is there already, `StorageError`.
    """
    names = {"module_input_name": VECTORS, "module_output_name": VECTORS}
    head = model.document.head
    steps: list[tuple[str, Contents]] = [("Transformer", _transformer(model))]
    steps += [("Dense", dense_files(layer, **names)) for layer in head.layers]
    steps.append(("MultiVectorMask", {"config.json": json_bytes(_mask(model))}))
    if head.unit:
        steps.append(("Normalize", {"config.json": json_bytes(names)}))
    contents: Contents = {}
    modules = []
    for i, (kind, files) in enumerate(steps):
        path = f"{i}_{kind}" if i else ""
        modules.append({"idx": i, "name": str(i), "path": path, "type": CLASSES[kind]})
        contents |= {f"{path}/{name}" if path else name: content for name, content in files.items()}
    contents[MODULES] = json_bytes(modules)
    contents[SETTINGS] = json_bytes(
        {
            "model_type": NATIVE,
            "__version__": {"sentence_transformers": "6.0.0"},
            "prompts": {"query": model.query.prompt, "document": model.document.prompt},
            "default_prompt_name": None,
            "similarity_fn_name": model.similarity,
        }
    )
    write_files(folder, contents)


def _transformer(model: MultiVectorModel) -> Contents:
    expansion = model.expansion
    settings: dict[str, Any] = {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        "module_output_name": VECTORS,
        "document_length": model.document.max_length,
    }
    if expansion is None or not expansion.fixed:
        settings["query_length"] = model.query.max_length
    if expansion is not None:
        settings["query_expansion"] = {
            "strategy": "fixed" if expansion.fixed else "min",
            "attend": expansion.attend,
            "token": expansion.token,
            "length": expansion.length,
        }
    files = transformer_files(model.document)
    files[TRANSFORMER_SETTINGS] = json_bytes(settings)
    files[TOKENIZER_SETTINGS] = json_bytes(_tokenizer_settings(model.document))
    return files


def _tokenizer_settings(side: VectorSide) -> dict[str, Any]:
    """Those of the folder, but for tokens as they were before the markers were told to the tokenizer."""
    found = optional_object(side.folder / TOKENIZER_SETTINGS) or {"tokenizer_class": "PreTrainedTokenizerFast"}
    found.pop("added_tokens_decoder", None)
    return special_names(side.tokenizer_json) | found


def _mask(model: MultiVectorModel) -> dict[str, Any]:
    skiplist = model.skiplist
    only = None if skiplist.only is None else list(skiplist.only)
    return {
        "skiplist_words": list(skiplist.words),
        "skiplist_tasks": list(skiplist.tasks),
        "keep_only_token_ids": only,
    }
