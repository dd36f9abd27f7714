"""Small models with random weights, one for each family of networks and each layout of folders that people have.

Norms, biases and positions are random, so that a tensor that is missed or swapped shows. The output bias is set so that
about a fifth of the terms of a text is above 0.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

SENTENCES = [
    "the quick brown fox jumps over the lazy dog",
    "rotate a log file every night, and compress the old one",
    "What's the weather in New York now?",
    "currently New York is rainy.",
    "learned sparse retrieval weighs the words of a document",
    "an inverted index holds a posting list for each term",
    "naïve café owners paid 12,345.67 dollars!",
    "the river the river the river the river",
    "protein folding was studied in mice and men",
    "x",
]
LONG = " ".join(SENTENCES[:6] * 3)
TEXTS = [*SENTENCES, LONG, "zebra ☃ quantum 漢字 text", "A  B\tC\nd"]

HIDDEN, INNER, POSITIONS, LAYERS, HEADS = 32, 48, 40, 2, 4
MASKED = ("bert", "distilbert", "roberta", "xlm-roberta", "mpnet", "electra", "modernbert")
TORCH_ONLY = ("albert",)
BRACKETS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
ANGLES = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}


@contextmanager
def quiet() -> Iterator[None]:
    """transformers and torch warn while these models are made; pytest would make errors of it."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@cache
def _trained(family: str) -> str:
    """A tokenizer of the kind that the family has, trained on `SENTENCES`: once, for training is not deterministic."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    names = special_names(family)
    common: dict[str, Any] = {"special_tokens": list(names.values()), "show_progress": False}
    trainer: Any
    if family in ("roberta", "modernbert"):
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, **common)
    elif family in ("xlm-roberta", "albert"):
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=200, unk_token=names["unk"], **common)
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token=names["unk"]))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=300, **common)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    first, last = ((names[key], tokenizer.token_to_id(names[key])) for key in ("cls", "sep"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first[0]} $A {last[0]}", special_tokens=[first, last]
    )
    return str(tokenizer.to_str())


def special_names(family: str) -> dict[str, str]:
    return ANGLES if family in ("roberta", "xlm-roberta", "mpnet") else BRACKETS


def write_tokenizer(folder: Path, family: str) -> int:
    """The tokenizer of a family with its settings; returns the number of its tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(_trained(family), encoding="utf-8")
    settings = {f"{key}_token": name for key, name in special_names(family).items()}
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": POSITIONS}  # type: ignore[dict-item]
    settings["model_input_names"] = ["input_ids", "attention_mask"]  # type: ignore[assignment]
    _json(folder / "tokenizer_config.json", settings)
    return int(_tokenizer(folder).get_vocab_size())


def config_of(family: str, vocabulary: int) -> Any:
    """The configuration of a small network of that family."""
    from transformers import CONFIG_MAPPING

    shape: dict[str, Any] = {"vocab_size": vocabulary, "hidden_size": HIDDEN, "intermediate_size": INNER}
    shape |= {"num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "max_position_embeddings": POSITIONS}
    own: dict[str, Any] = {"pad_token_id": 0}
    if family in ("roberta", "xlm-roberta", "mpnet"):
        own = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "max_position_embeddings": POSITIONS + 2}
    if family == "distilbert":
        shape = {"vocab_size": vocabulary, "dim": HIDDEN, "hidden_dim": INNER, "n_layers": LAYERS, "n_heads": HEADS}
        own["max_position_embeddings"] = POSITIONS
    elif family in ("electra", "albert"):
        own["embedding_size"] = 16  # narrower than the layers: there is a projection
    elif family == "modernbert":
        own |= {"local_attention": 8, "global_attn_every_n_layers": 2, "cls_token_id": 2, "sep_token_id": 3}
        own |= {"bos_token_id": 2, "eos_token_id": 3, "attn_implementation": "eager"}
    return CONFIG_MAPPING[family](**(shape | own))


def randomized(network: Any, seed: int = 0) -> Any:
    """The network with every parameter random: matrices keep the size of what goes through, norms are around 1."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(noise * (0.5 if "embedding" in name else 1.2 / parameter.shape[1] ** 0.5))
            elif "norm" in name.lower() and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            else:
                parameter.copy_(0.2 * noise)
    return network.eval()


def masked_network(folder: Path, family: str, seed: int = 0) -> Any:
    """A masked language model for the tokenizer of the folder, its output bias set as the module says."""
    import torch
    from transformers import AutoModelForMaskedLM

    vocabulary = len(json.loads(_tokenizer(folder).to_str())["model"]["vocab"])
    network = randomized(AutoModelForMaskedLM.from_config(config_of(family, vocabulary)), seed)
    with torch.no_grad():
        logits = [network(torch.tensor([ids(folder, text)])).logits[0].amax(0) for text in SENTENCES]
        network.get_output_embeddings().bias -= torch.stack(logits).quantile(0.8)
    return network


def plain(folder: Path, family: str = "bert", seed: int = 0, **saving: Any) -> Path:
    """A masked language model as transformers saves it (naver's SPLADE models)."""
    write_tokenizer(folder, family)
    with quiet():
        masked_network(folder, family, seed).save_pretrained(folder, **saving)
    return folder


def sharded(folder: Path) -> Path:
    """Weights in several safetensors files with an index."""
    plain(folder, max_shard_size="20KB")
    assert (folder / "model.safetensors.index.json").is_file()
    return folder


def pickled(folder: Path) -> Path:
    """Weights as pytorch_model.bin, as before safetensors."""
    import torch
    from safetensors.torch import load_file

    plain(folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def opensearch(folder: Path, table: str) -> Path:
    """A masked language model with idf.json or query_token_weights.txt; one token is missing from the file."""
    plain(folder)
    weights = {token: round(0.5 + i / 50, 4) for token, i in _tokenizer(folder).get_vocab().items()}
    del weights["the"]
    if table == "idf.json":
        _json(folder / table, weights)
    else:
        (folder / table).write_text("".join(f"{t}\t{w}\n" for t, w in weights.items()), encoding="utf-8")
    return folder


def splade5(folder: Path, activation: str = "relu", pooling: str = "max") -> Path:
    """The layout of sentence-transformers 5.0: the masked language model in the root, 1_SpladePooling (splade-v3)."""
    plain(folder)
    modules = [
        ("", "sentence_transformers.sparse_encoder.models.MLMTransformer"),
        ("1_SpladePooling", "sentence_transformers.sparse_encoder.models.SpladePooling"),
    ]
    _json(
        folder / "modules.json", [{"idx": i, "name": str(i), "path": p, "type": t} for i, (p, t) in enumerate(modules)]
    )
    _json(folder / "sentence_bert_config.json", {"max_seq_length": 24, "do_lower_case": False})
    _pooling(folder / "1_SpladePooling", activation, pooling)
    _encoder_settings(folder)
    return folder


def router5(folder: Path, table: str = "SparseStaticEmbedding", document: str = "", activation: str = "relu") -> Path:
    """A Router as the published inference-free models have it.

    `table` names the folder of the query side, `document` that of the masked language model.
    """
    from safetensors.numpy import save_file

    plain(folder / document)
    sparse = "sentence_transformers.sparse_encoder.models"
    query = f"query_0_{table}"
    types = {
        query: f"{sparse}.SparseStaticEmbedding.SparseStaticEmbedding",
        document: f"{sparse}.MLMTransformer.MLMTransformer",
        "document_1_SpladePooling": f"{sparse}.SpladePooling.SpladePooling",
    }
    structure = {"query": [query], "document": [document, "document_1_SpladePooling"]}
    parameters = {"default_route": "document", "allow_empty_key": True}
    _json(folder / "router_config.json", {"types": types, "structure": structure, "parameters": parameters})
    router = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Router"}
    _json(folder / "modules.json", [router])
    _pooling(folder / "document_1_SpladePooling", activation, "max")
    (folder / query).mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / document / name, folder / query / name)
    _json(folder / query / "config.json", {"frozen": True})
    size = _tokenizer(folder / document).get_vocab_size()
    weights = np.random.default_rng(1).uniform(0.1, 5, size).astype(np.float32)
    save_file({"weight": weights}, folder / query / "model.safetensors")
    _encoder_settings(folder)
    return folder


def saved6(folder: Path, kind: str, work: Path) -> Path:
    """Folders that the installed sentence-transformers saves itself.

    kind: "splade", "sum", "double" (two logarithms), "static" (Router with a table), "two" (Router with two networks),
    "lexical" (a table after the network on the query side), "csr".
    """
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder, SparseStaticEmbedding, SpladePooling

    with quiet():
        first = str(plain(work / "first"))
        if kind == "csr":
            encoder = SparseEncoder(modules=_csr(first, SparseAutoEncoder))
        elif kind in ("splade", "sum", "double"):
            pooling = "sum" if kind == "sum" else "max"
            activation = "log1p_relu" if kind == "double" else "relu"
            encoder = SparseEncoder(modules=[_mlm(first), SpladePooling(pooling, activation_function=activation)])
        else:
            encoder = SparseEncoder(modules=[_router6(kind, first, work, SparseStaticEmbedding, SpladePooling)])
        encoder.save(str(folder))
    return folder


def token_weights(folder: Path, kind: str) -> Path:
    """One weight a token: "uniCOIL" (pyserini), "TILDEv2" (ielab), "DeepImpact", "DeepImpact-2" (with two layers)."""
    import torch
    from safetensors.torch import save_file
    from transformers import BertModel

    size = write_tokenizer(folder, "bert")
    config = config_of("bert", size)
    config.architectures = ["UniCoilEncoder" if kind == "uniCOIL" else kind.removesuffix("-2")]
    network = randomized(BertModel(config, add_pooling_layer=False), 3)
    tensors = {f"bert.{name}": tensor for name, tensor in network.state_dict().items()}
    layers = {"impact_score_encoder.0" if kind.startswith("DeepImpact") else "tok_proj": torch.nn.Linear(HIDDEN, 1)}
    if kind == "DeepImpact-2":
        layers = {f"impact_score_encoder.{i}": torch.nn.Linear(HIDDEN, out) for i, out in ((0, HIDDEN), (3, 1))}
    for seed, (head, layer) in enumerate(layers.items(), 4):
        tensors |= {f"{head}.{name}": tensor for name, tensor in randomized(layer, seed).state_dict().items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    config.save_pretrained(folder)
    return folder


def ids(folder: Path, text: str, limit: int = POSITIONS) -> list[int]:
    """Token ids of a text with the special ones, cut to the limit."""
    tokenizer = _tokenizer(folder)
    tokenizer.enable_truncation(limit)
    return list(tokenizer.encode(text).ids)


def special(folder: Path) -> list[int]:
    """Ids of the special tokens, [UNK] among them."""
    return [i for i, token in _tokenizer(folder).get_added_tokens_decoder().items() if token.special]


def _mlm(folder: str) -> Any:
    from sentence_transformers.base.modules import Transformer

    return Transformer(folder, transformer_task="fill-mask")


def _csr(folder: str, autoencoder: Any) -> list[Any]:
    import torch
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    dense = Dense(HIDDEN, 24, activation_function=torch.nn.Tanh())
    modules = [Transformer(folder), Pooling(HIDDEN, "mean"), dense, Normalize()]
    return [*modules, randomized(autoencoder(24, hidden_dim=96, k=12, normalize=True), 5)]


def _router6(kind: str, first: str, work: Path, table: Any, pooling: Any) -> Any:
    import torch
    from sentence_transformers.base.modules import Router
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(first)
    weight = torch.from_numpy(np.random.default_rng(2).uniform(0.1, 5, len(tokenizer)).astype(np.float32))
    if kind == "two":
        query = [_mlm(str(plain(work / "second", seed=9))), pooling("max")]
    elif kind == "lexical":
        query = [_mlm(first), pooling("max"), table(tokenizer, weight=weight, frozen=True)]
    else:
        query = [table(tokenizer, weight=weight, frozen=True)]
    return Router.for_query_document(query_modules=query, document_modules=[_mlm(first), pooling("max")])


def _pooling(folder: Path, activation: str, pooling: str) -> None:
    folder.mkdir()
    settings = {"pooling_strategy": pooling, "activation_function": activation, "word_embedding_dimension": None}
    _json(folder / "config.json", settings)


def _encoder_settings(folder: Path) -> None:
    settings = {"model_type": "SparseEncoder", "__version__": {"sentence_transformers": "5.0.0"}}
    prompts = {"prompts": {"query": "", "document": ""}, "default_prompt_name": None, "similarity_fn_name": "dot"}
    _json(folder / "config_sentence_transformers.json", settings | prompts)


def _tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
