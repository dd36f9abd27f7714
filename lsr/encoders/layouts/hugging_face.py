"""Plain Hugging Face folders: masked language models (SPLADE), with a table of query weights (OpenSearch), token heads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.encoders.model import (
    DenseLayer,
    Head,
    NetworkSide,
    Side,
    TableSide,
    TokenHead,
    TransformerSide,
    VocabularyHead,
)
from lsr.encoders.network.checkpoint import Checkpoint, Config, read_config
from lsr.encoders.tables import binary, read_idf_json, read_token_weights_txt
from lsr.encoders.tokenizer import model_max_length, read_tokenizer_json
from lsr.encoders.vocabulary import Vocabulary
from lsr.errors import EncoderError

__all__ = ["IDF", "TOKEN_WEIGHTS", "binary_side", "network_side", "read_sides", "transformer_side"]

IDF, TOKEN_WEIGHTS = "idf.json", "query_token_weights.txt"
# Models whose positions begin after the id of padding, which takes their first places.
OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet")
# Linear layers with one output in the end: uniCOIL and TILDEv2; DeepImpact with one layer, or two with or without a dropout
# between them; DeepCT.
TOKEN_HEADS = (("tok_proj",), tuple(f"impact_score_encoder.{i}" for i in (0, 2, 3)), ("linear",))
# Their queries are words without weights (Nguyen et al. 2023, table 2); those of the others go through the same network.
BINARY_QUERIES = ("TILDEv2", "DeepImpact", "DeepPairwiseImpact", "DeepImpactModel")


def read_sides(folder: Path) -> tuple[Side, Side]:
    """Query side and document side. Raises `EncoderError` that names what is missing."""
    config = read_config(folder)
    named = config.get("architectures") or []
    if not isinstance(named, list):
        raise EncoderError(f"{config.path}: architectures is {named!r}: it must be a list of names")
    architectures = [str(name) for name in named]
    if any(name.endswith("ForMaskedLM") for name in architectures) or not architectures:
        table = _opensearch_table(folder)
        if table is None:
            side = network_side(folder, VocabularyHead())
            return side, side
        special = sorted(Vocabulary(table.tokenizer_json).special)
        return table, network_side(folder, VocabularyHead(), dropped=tuple(special))
    head = _token_head(folder)
    if head is None:
        raise EncoderError(
            f"{config.path}: {', '.join(architectures)} has no masked-language-model head and no token weights, so it gives "
            "no terms; give a learned sparse model"
        )
    side = network_side(folder, head)
    if any(name in BINARY_QUERIES for name in architectures):
        return binary_side(side), side
    return side, side


def network_side(
    folder: Path,
    head: Head,
    *,
    max_length: Any = None,
    lowercase: bool = False,
    prompt: str = "",
    table: npt.NDArray[np.float32] | None = None,
    dropped: tuple[int, ...] = (),
    shared: NetworkSide | None = None,
) -> NetworkSide:
    """The network of a folder. `max_length` None is what the tokenizer names, at most what the network takes.

    `shared` is another side of the same folder: its head is used, so that both are seen to be one network.
    """
    side = transformer_side(folder, max_length=max_length, lowercase=lowercase, prompt=prompt)
    vocabulary = read_config(folder).size("vocab_size")
    dim = vocabulary if isinstance(head, VocabularyHead | TokenHead) else len(head.weight)
    return NetworkSide(
        **vars(side), head=shared.head if shared is not None else head, dim=dim, dropped=dropped, table=table
    )


def transformer_side(
    folder: Path, *, max_length: Any = None, lowercase: bool = False, prompt: str = ""
) -> TransformerSide:
    """The transformer of a folder with its tokenizer. `max_length` None is what the tokenizer names, at most what the network
    takes.

    Raises `EncoderError` when the two are not of one model, or the network does not take so many tokens.
    """
    config = read_config(folder)
    positions = _positions(config)
    if max_length is None:
        max_length = min(model_max_length(folder) or positions, positions)
    if type(max_length) is not int or not 3 <= max_length <= positions:
        raise EncoderError(f"{folder}: max_length is {max_length!r}: the network takes 3 to {positions} tokens")
    tokenizer_json = read_tokenizer_json(folder)
    vocabulary = config.size("vocab_size")
    tokens = Vocabulary(tokenizer_json).dim
    if lowercase:
        tokenizer_json = _lowercased(tokenizer_json)
    # Some models pad their vocabulary to a round number; a larger gap is another model's tokenizer.
    if tokens > vocabulary or vocabulary - tokens > max(128, vocabulary // 64):
        raise EncoderError(
            f"{folder}: the tokenizer has {tokens} tokens, the model {vocabulary}; they are not of one model"
        )
    return TransformerSide(
        folder=folder, tokenizer_json=tokenizer_json, max_length=max_length, positions=positions, prompt=prompt
    )


def binary_side(document: Side) -> TableSide:
    """Each word of a query weighs 1 (SPLADE-doc, TILDEv2)."""
    vocabulary = Vocabulary(document.tokenizer_json, document.dim)
    return TableSide(tokenizer_json=document.tokenizer_json, weights=binary(vocabulary), special="drop", unknown="drop")


def _opensearch_table(folder: Path) -> TableSide | None:
    """What OpenSearch's models weigh queries with: idf.json in later ones, query_token_weights.txt in doc-v1."""
    path = next((folder / name for name in (IDF, TOKEN_WEIGHTS) if (folder / name).is_file()), None)
    if path is None:
        return None
    tokenizer_json = read_tokenizer_json(folder)
    vocabulary = Vocabulary(tokenizer_json, read_config(folder).size("vocab_size"))
    if path.name == IDF:
        weights = read_idf_json(path, vocabulary, missing=1.0)
    else:
        weights = read_token_weights_txt(path, vocabulary)
    return TableSide(tokenizer_json=tokenizer_json, weights=weights, special="drop", unknown="drop")


def _token_head(folder: Path) -> TokenHead | None:
    """The layers that give a token its weight, if the weights hold some."""
    weights = Checkpoint(folder)
    layers = []
    for name in next((names for names in TOKEN_HEADS if f"{names[0]}.weight" in weights), ()):
        if f"{name}.weight" not in weights:
            continue
        weight = weights.tensor(f"{name}.weight", None, None)
        layers.append(DenseLayer(weight=weight, bias=weights.tensor(f"{name}.bias", len(weight)), activation="relu"))
    if not layers or len(layers[-1].weight) != 1:
        return None
    return TokenHead(layers=tuple(layers))


def _positions(config: Config) -> int:
    positions = config.size("max_position_embeddings", "n_positions")
    if config.get("model_type") in OFFSET_POSITIONS:
        positions -= config.padding() + 1
    return positions


def _lowercased(tokenizer_json: str) -> str:
    """The tokenizer with a step before its normaliser that makes the text lower case."""
    tokenizer = json.loads(tokenizer_json)  # read by the tokenizers library before, which knows no other JSON
    before, after = {"type": "Lowercase"}, tokenizer.get("normalizer")
    tokenizer["normalizer"] = {"type": "Sequence", "normalizers": [before, after] if after else [before]}
    return json.dumps(tokenizer, ensure_ascii=False)
