"""Small ColBERTs with random weights, one for each layout of folders that people have."""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.encoders import families

TEXTS = [*families.TEXTS, "", "!?...", "the [MASK] jumps, [Q] over", "the river " * 60]
DIM = 12
QUERY_LENGTH, DOCUMENT_LENGTH = 16, 30
LAYOUTS = ("stanford", "pylate", "native")


def colbert(folder: Path, layout: str, work: Path) -> Path:
    """One of LAYOUTS with its usual settings: markers, expansion that nobody attends to, punctuation skipped, unit length."""
    if layout == "stanford":
        return stanford(folder)
    return pylate(folder) if layout == "pylate" else native(folder, work)


def stanford(folder: Path, **metadata: Any) -> Path:
    """As Stanford's own library saves it: `linear.weight` beside the backbone, artifact.metadata without what is None. Its
    markers are tokens of the vocabulary that no text gives."""
    from safetensors.torch import save_file
    from transformers import AutoModel

    families.write_tokenizer(folder, "bert")
    _extend(folder, ["[unused0]", "[unused1]"])
    config = families.config_of("bert", _size(folder))
    config.architectures = ["HF_ColBERT"]
    with families.quiet():
        backbone = families.randomized(AutoModel.from_config(config), 6)
    tensors = {f"bert.{name}": tensor.contiguous() for name, tensor in backbone.state_dict().items()}
    tensors["linear.weight"] = _random(DIM, families.HIDDEN, seed=7)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)
    said: dict[str, Any] = {
        "query_maxlen": QUERY_LENGTH,
        "doc_maxlen": DOCUMENT_LENGTH,
        "dim": DIM,
        "mask_punctuation": True,
    }
    said |= {"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "attend_to_mask_tokens": False}
    said = {name: value for name, value in (said | metadata).items() if value is not None}
    (folder / "artifact.metadata").write_text(json.dumps(said), encoding="utf-8")
    return folder


def pylate(folder: Path, layers: Sequence[dict[str, Any]] = ({},), **settings: Any) -> Path:
    """As PyLate saves it: markers are tokens that were added to the vocabulary, with a space at their end."""
    from safetensors.numpy import save_file
    from tokenizers import AddedToken, Tokenizer
    from transformers import AutoModel

    families.write_tokenizer(folder, "bert")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken("[Q] ", normalized=True), AddedToken("[D] ", normalized=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    with families.quiet():
        backbone = AutoModel.from_config(families.config_of("bert", tokenizer.get_vocab_size()))
        families.randomized(backbone, 8).save_pretrained(folder)
    modules = [("", "sentence_transformers.models.Transformer")]
    for i, layer in enumerate(layers, 1):
        width = families.HIDDEN if i == 1 else DIM
        config = {"in_features": width, "out_features": DIM, "bias": False, "use_residual": False}
        config |= {"activation_function": "torch.nn.modules.linear.Identity"} | layer
        tensors = {"linear.weight": _random(DIM, width, seed=10 + i).numpy()}
        if config["use_residual"] and width != DIM:
            tensors["residual.weight"] = _random(DIM, width, seed=20 + i).numpy()
        if config["bias"]:
            tensors["linear.bias"] = _random(DIM, seed=30 + i).numpy()
        path = folder / f"{i}_Dense"
        path.mkdir()
        (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        save_file(tensors, path / "model.safetensors")
        modules.append((path.name, "pylate.models.Dense.Dense"))
    listed = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(modules)]
    (folder / "modules.json").write_text(json.dumps(listed), encoding="utf-8")
    # The length of the side that was encoded last.
    limits = {"max_seq_length": DOCUMENT_LENGTH - 1, "do_lower_case": False}
    (folder / "sentence_bert_config.json").write_text(json.dumps(limits), encoding="utf-8")
    said: dict[str, Any] = {"model_type": "ColBERT", "__version__": {"sentence_transformers": "5.3.0"}, "prompts": {}}
    said |= {
        "default_prompt_name": None,
        "similarity_fn_name": "MaxSim",
        "query_prefix": "[Q] ",
        "document_prefix": "[D] ",
    }
    said |= {"query_length": QUERY_LENGTH, "document_length": DOCUMENT_LENGTH, "do_query_expansion": True}
    said |= {"attend_to_expansion_tokens": False, "skiplist_words": list(string.punctuation)}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(said | settings), encoding="utf-8")
    return folder


def native(folder: Path, work: Path, family: str = "bert", **options: Any) -> Path:
    """As sentence-transformers 6 saves it.

    Options: `transformer` and `mask`, settings of these modules; `layers`, settings of the dense ones; `unit` and `skiplist`,
    whether there are such modules; `prompts`, `similarity`.
    """
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from torch.nn import Identity

    names = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
    expansion = {"strategy": "fixed", "length": QUERY_LENGTH}
    settings = {"query_expansion": expansion, "document_length": DOCUMENT_LENGTH} | options.get("transformer", {})
    with families.quiet():
        modules: list[Any] = [Transformer(str(backbone(work, family)), **settings)]
        width = families.HIDDEN
        for i, layer in enumerate(options.get("layers", [{"bias": False}])):
            layer = {"out_features": DIM, "activation_function": Identity(), **layer}
            modules.append(families.randomized(Dense(width, **layer, **names), 4 + i))
            width = layer["out_features"]
        if options.get("skiplist", True):
            modules.append(MultiVectorMask(**({"skiplist_words": list(string.punctuation)} | options.get("mask", {}))))
        if options.get("unit", True):
            modules.append(Normalize(module_input_name="token_embeddings"))
        prompts = options.get("prompts", {"query": "quick ", "document": "lazy "})
        similarity = options.get("similarity")
        MultiVectorEncoder(modules=modules, prompts=prompts, similarity_fn_name=similarity).save(str(folder))
    return folder


def backbone(folder: Path, family: str = "bert") -> Path:
    """A transformer without a head."""
    from transformers import AutoModel

    config = families.config_of(family, families.write_tokenizer(folder, family))
    with families.quiet():
        families.randomized(AutoModel.from_config(config)).save_pretrained(folder)
    return folder


def reference(folder: Path) -> Any:
    """The same folder in sentence-transformers."""
    from sentence_transformers import MultiVectorEncoder

    with families.quiet():
        return MultiVectorEncoder(str(folder), device="cpu")


def reference_vectors(model: Any, task: str, texts: Sequence[str]) -> list[npt.NDArray[np.float32]]:
    with families.quiet():
        encode = model.encode_query if task == "query" else model.encode_document
        return list(encode(list(texts), convert_to_numpy=True))


def _extend(folder: Path, tokens: Sequence[str]) -> None:
    """Tokens of the vocabulary that no text gives: the tokenizer splits them."""
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary |= {token: len(vocabulary) + i for i, token in enumerate(tokens)}
    path.write_text(json.dumps(tokenizer), encoding="utf-8")


def _size(folder: Path) -> int:
    return len(json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"])


def _random(*shape: int, seed: int) -> Any:
    import torch

    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) / shape[-1] ** 0.5
