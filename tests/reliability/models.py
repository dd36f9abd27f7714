"""Small models of every layout that lsr reads, made without torch: random weights, sixty-eight tokens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from lsr import load_encoder
from lsr.encoders.export import export_onnx

__all__ = ["LAYOUTS", "TEXT", "csr", "exported", "plain", "router", "splade", "token_head"]

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOKENS = [*SPECIAL, *(f"{a}{b}" for a in "bcdfghjklmnp" for b in "aeiou"), "##s", "##ing", "!"]
TEXT = "ba be bis, co!"
HIDDEN, INNER, POSITIONS = 16, 24, 40
NAMES = "sentence_transformers.sparse_encoder.models"


def tokenizer_json() -> str:
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(TOKENS)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return str(tokenizer.to_str())


def tensors(*, head: bool = True) -> dict[str, np.ndarray]:
    """The weights of a BertForMaskedLM of one layer."""
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "bert.embeddings.word_embeddings.weight": (len(TOKENS), HIDDEN),
        "bert.embeddings.position_embeddings.weight": (POSITIONS, HIDDEN),
        "bert.embeddings.token_type_embeddings.weight": (2, HIDDEN),
    }
    layer = "bert.encoder.layer.0"
    linear = {f"{layer}.attention.self.{part}": (HIDDEN, HIDDEN) for part in ("query", "key", "value")}
    linear[f"{layer}.attention.output.dense"] = (HIDDEN, HIDDEN)
    linear |= {f"{layer}.intermediate.dense": (INNER, HIDDEN), f"{layer}.output.dense": (HIDDEN, INNER)}
    norms = ["bert.embeddings.LayerNorm", f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    if head:
        shapes["cls.predictions.bias"] = (len(TOKENS),)
        linear["cls.predictions.transform.dense"] = (HIDDEN, HIDDEN)
        norms.append("cls.predictions.transform.LayerNorm")
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (HIDDEN,), f"{name}.bias": (HIDDEN,)}
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def write_weights(path: Path, found: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    save_file(found, path)


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


# -- layouts -----------------------------------------------------------------------------------------------------------


def plain(folder: Path, *, head: bool = True, **config: Any) -> Path:
    """As transformers saves a masked language model."""
    settings = {
        "architectures": ["BertForMaskedLM"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": POSITIONS,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "pad_token_id": 0,
        "tie_word_embeddings": True,
        "type_vocab_size": 2,
        "vocab_size": len(TOKENS),
    }
    write_json(folder / "config.json", settings | config)
    write_json(folder / "tokenizer_config.json", {"model_max_length": 32, "tokenizer_class": "PreTrainedTokenizerFast"})
    (folder / "tokenizer.json").write_text(tokenizer_json(), encoding="utf-8")
    write_weights(folder / "model.safetensors", tensors(head=head))
    return folder


def opensearch_json(folder: Path) -> Path:
    write_json(plain(folder) / "idf.json", {token: 0.5 + i / 10 for i, token in enumerate(TOKENS)})
    return folder


def opensearch_text(folder: Path) -> Path:
    lines = [f"{token}\t{0.5 + i / 10}\n" for i, token in enumerate(TOKENS)]
    (plain(folder) / "query_token_weights.txt").write_text("".join(lines), encoding="utf-8")
    return folder


def word_pieces(folder: Path) -> Path:
    """A tokenizer of before tokenizer.json, BERT's."""
    (plain(folder) / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    settings = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True, "unk_token": "[UNK]"}
    write_json(folder / "tokenizer_config.json", settings | {"model_max_length": 32})
    return folder


def byte_pairs(folder: Path) -> Path:
    """A tokenizer of before tokenizer.json, RoBERTa's."""
    (plain(folder) / "tokenizer.json").unlink()
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abcdefghijklmnopqrstuvwxyz,!", "Ġ", "ba", "be", "bis", "co"]
    write_json(folder / "vocab.json", {word: i for i, word in enumerate(words)})
    (folder / "merges.txt").write_text("#version: 0.2\nb a\nb e\nc o\n", encoding="utf-8")
    write_json(folder / "tokenizer_config.json", {"add_prefix_space": False, "mask_token": {"content": "<mask>"}})
    return folder


def sharded(folder: Path) -> Path:
    plain(folder)
    (folder / "model.safetensors").unlink()
    found = tensors()
    names = sorted(found)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, some in parts.items():
        write_weights(folder / file, {name: found[name] for name in some})
    index = {name: file for file, some in parts.items() for name in some}
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": 1}, "weight_map": index})
    return folder


def splade(folder: Path) -> Path:
    """sentence-transformers 5: a masked language model, and the pooling of SPLADE."""
    plain(folder)
    kinds = [("", f"{NAMES}.MLMTransformer"), ("1_SpladePooling", f"{NAMES}.SpladePooling")]
    write_modules(folder, kinds)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 24, "do_lower_case": True})
    pooling = {"pooling_strategy": "max", "activation_function": "relu", "word_embedding_dimension": None}
    write_json(folder / "1_SpladePooling" / "config.json", pooling)
    prompts = {"query": "be ", "document": ""}
    write_json(folder / "config_sentence_transformers.json", {"model_type": "SparseEncoder", "prompts": prompts})
    return folder


def router(folder: Path, *, idf: bool = False) -> Path:
    """sentence-transformers 5: queries by a table, documents by a network."""
    splade(folder)
    query = "query_0_SparseStaticEmbedding"
    write_modules(folder, [("", "sentence_transformers.models.Router")])
    types = {
        query: f"{NAMES}.SparseStaticEmbedding.SparseStaticEmbedding",
        "": f"{NAMES}.MLMTransformer.MLMTransformer",
        "1_SpladePooling": f"{NAMES}.SpladePooling.SpladePooling",
    }
    routes = {"query": [query], "document": ["", "1_SpladePooling"]}
    settings = {"types": types, "structure": routes, "parameters": {"default_route": "document"}}
    write_json(folder / "router_config.json", settings)
    write_json(folder / query / "config.json", {"frozen": True, **({"path": "idf.json"} if idf else {})})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, folder / query / name)
    if idf:
        write_json(folder / query / "idf.json", {token: 0.5 + i / 10 for i, token in enumerate(TOKENS)})
    else:
        weights = np.linspace(0.1, 5, len(TOKENS), dtype=np.float32)
        write_weights(folder / query / "model.safetensors", {"weight": weights})
    return folder


def csr(folder: Path) -> Path:
    """sentence-transformers 5: a sparse autoencoder over a dense model."""
    plain(folder, head=False, architectures=["BertModel"])
    kinds = [
        ("", "sentence_transformers.models.Transformer"),
        ("1_Pooling", "sentence_transformers.models.Pooling"),
        ("2_Dense", "sentence_transformers.models.Dense"),
        ("3_Normalize", "sentence_transformers.models.Normalize"),
        ("4_CSRSparsity", f"{NAMES}.CSRSparsity"),
    ]
    write_modules(folder, kinds)
    random = np.random.default_rng(1)

    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    write_json(
        folder / "1_Pooling" / "config.json", {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True}
    )
    dense = {
        "in_features": HIDDEN,
        "out_features": 12,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }
    write_json(folder / "2_Dense" / "config.json", dense)
    write_weights(
        folder / "2_Dense" / "model.safetensors", {"linear.weight": normal(12, HIDDEN), "linear.bias": normal(12)}
    )
    (folder / "3_Normalize").mkdir()
    write_json(folder / "4_CSRSparsity" / "config.json", {"input_dim": 12, "hidden_dim": 48, "k": 6, "normalize": True})
    latents = {"encoder.weight": normal(48, 12), "latent_bias": normal(48), "pre_bias": normal(12)}
    write_weights(folder / "4_CSRSparsity" / "model.safetensors", latents)
    return folder


def token_head(folder: Path) -> Path:
    """uniCOIL: a weight for each token."""
    plain(folder, head=False, architectures=["UniCoilEncoder"])
    layer = {"tok_proj.weight": np.full((1, HIDDEN), 0.1, np.float32), "tok_proj.bias": np.ones(1, np.float32)}
    write_weights(folder / "model.safetensors", tensors(head=False) | layer)
    return folder


def policies(folder: Path) -> Path:
    """sentence-transformers 5 with an lsr.json: queries by a table, documents cut to their heaviest terms."""
    said = {
        "document": {"top_terms": 9, "dropped": [0, 5], "prune_ratio": 0.1},
        "query": {"special": "drop", "max_length": 6},
    }
    write_json(router(folder) / "lsr.json", {"format_version": 1} | said)
    return folder


def lsr_folder(folder: Path, *, own: bool = False) -> Path:
    """lsr's layout of what sentence-transformers cannot hold: the first position with softplus, queries by token weights.

    `own`: queries have a network of their own.
    """
    common = {"prompt": "be ", "dropped": [0, 5], "top_terms": 9, "lexical": False}
    cls = {
        "kind": "vocabulary",
        "pooling": "cls",
        "activation": "softplus",
        "prune_ratio": 0,
        "importance": [],
        "quality": [],
    }
    tokens = {"kind": "tokens", "pooling": "max", "log1p": True, "layers": ["tanh", "softplus"]}
    said = {
        "format_version": 1,
        "document": common | {"max_length": 24, "head": cls},
        "query": common | {"from": "network" if own else "document", "max_length": 12, "head": tokens},
    }
    write_json(plain(folder) / "lsr_head.json", said)
    if own:
        plain(folder / "query")
    random = np.random.default_rng(2)
    shapes = {"0.weight": (3, HIDDEN), "0.bias": (3,), "1.weight": (1, 3), "1.bias": (1,)}
    layers = {
        f"query.layers.{name}": random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()
    }
    write_weights(folder / "lsr_head.safetensors", layers)
    return folder


def exported(folder: Path, *, table: bool = True) -> Path:
    """lsr's own layout."""
    source = (opensearch_json if table else plain)(folder.with_name(f".{folder.name}"))
    export_onnx(load_encoder(source), folder, precision="int8", samples=[TEXT, " ".join(TOKENS[5:30])])
    shutil.rmtree(source)
    return folder


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "plain": plain,
    "opensearch-json": opensearch_json,
    "opensearch-text": opensearch_text,
    "word-pieces": word_pieces,
    "byte-pairs": byte_pairs,
    "sharded": sharded,
    "splade": splade,
    "router": router,
    "router-idf": lambda folder: router(folder, idf=True),
    "csr": csr,
    "token-head": token_head,
    "policies": policies,
    "lsr": lsr_folder,
    "lsr-two": lambda folder: lsr_folder(folder, own=True),
    "exported": exported,
    "exported-network": lambda folder: exported(folder, table=False),
}


def write_modules(folder: Path, kinds: list[tuple[str, str]]) -> None:
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(kinds)]
    write_json(folder / "modules.json", modules)
