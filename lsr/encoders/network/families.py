"""Transformers as data: the families of encoders read into one form, which lsr.encoders.network.graph writes.

BERT (MiniLM too), RoBERTa and XLM-RoBERTa, DistilBERT, MPNet, ELECTRA and ModernBERT. The formulas were checked against
transformers: with random weights each gives the same numbers (tests/encoders/test_parity.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.encoders.network.checkpoint import Checkpoint, Config, read_config
from lsr.errors import EncoderError

__all__ = ["Layer", "Linear", "Network", "Norm", "Rotary", "Transform", "UnsupportedNetwork", "read_network"]

Array = npt.NDArray[np.float32]

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "relu": "relu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
}


class UnsupportedNetwork(EncoderError):
    """A network that has no graph here; torch may know it."""


class Linear(NamedTuple):
    """x @ weight.T + bias, with weight [out, in] as torch stores it."""

    weight: Array
    bias: Array | None


class Norm(NamedTuple):
    """Layer normalisation."""

    scale: Array
    shift: Array | None
    epsilon: float


class Rotary(NamedTuple):
    """Rotary positions (Su et al. 2021), half against half."""

    theta: float
    window: int | None  # positions farther away than this are not attended to; None: all are


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One transformer layer. `before`: normalise what goes into each block (ModernBERT) instead of what comes out (BERT)."""

    joined: Linear  # query, key, value one below the other [3H, H]
    out: Linear
    norm: Norm | None
    up: Linear  # [I, H]; [2I, H] when gated
    activation: str
    down: Linear
    last_norm: Norm
    before: bool = False
    gated: bool = False
    rotary: Rotary | None = None


@dataclass(frozen=True, kw_only=True)
class Transform:
    """The masked-language-model head: dense, activation, norm, and the decoder to the vocabulary."""

    dense: Linear
    activation: str
    norm: Norm
    decoder: Array  # [vocabulary, E]
    bias: Array  # [vocabulary]
    tied: bool  # the decoder is the table of word embeddings


@dataclass(frozen=True, kw_only=True)
class Network:
    """A transformer without torch. `positions` is the largest number of tokens; `relative` [heads, positions, positions]."""

    family: str
    vocabulary: int
    hidden: int
    heads: int
    positions: int
    words: Array  # [vocabulary, E]
    places: Array | None  # [positions, E], with the token type added
    embedding_norm: Norm
    projection: Linear | None  # E to hidden
    layers: tuple[Layer, ...]
    last_norm: Norm | None
    relative: Array | None = None
    transform: Transform | None = None


def read_network(folder: Path, *, head: bool) -> Network:
    """The network of a Hugging Face folder; with its masked-language-model head when `head`.

    Raises `UnsupportedNetwork` for another architecture or setting, `EncoderError` when files are missing or malformed, or
    the weights are not those that config.json describes.
    """
    config = read_config(folder)
    kind = config.get("model_type")
    reader = READERS.get(str(kind))
    if reader is None:
        raise UnsupportedNetwork(f"{config.path}: model_type is {kind!r}; ONNX graphs are made of {', '.join(READERS)}")
    if config.get("is_decoder") or config.get("position_embedding_type", "absolute") not in ("absolute", None):
        raise UnsupportedNetwork(f"{config.path}: decoders and relative positions have no ONNX graph here")
    # The largest ONNX model is 2 GB; weights of a model this size belong on a GPU anyway.
    network = reader(config, Checkpoint(folder), head)
    if network.hidden % network.heads:
        raise EncoderError(f"{config.path}: {network.heads} heads do not divide a hidden size of {network.hidden}")
    return network


def _activation(config: Config, *names: str) -> str:
    value = next((config.get(name) for name in names if config.get(name) is not None), "gelu")
    if value not in ACTIVATIONS:
        raise UnsupportedNetwork(f"{config.path}: {names[0]} is {value!r}; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[value]


class _Reader:
    """Layers and norms of one checkpoint by name."""

    def __init__(self, checkpoint: Checkpoint, epsilon: float) -> None:
        self.checkpoint, self.epsilon = checkpoint, epsilon

    def linear(self, name: str, out: int, inner: int, *, bias: bool = True) -> Linear:
        weight = self.checkpoint.tensor(f"{name}.weight", out, inner)
        return Linear(weight, self.checkpoint.tensor(f"{name}.bias", out) if bias else None)

    def norm(self, name: str, size: int, *, bias: bool = True) -> Norm:
        """Old checkpoints call scale and shift gamma and beta."""
        old = f"{name}.gamma" in self.checkpoint
        scale = self.checkpoint.tensor(f"{name}.{'gamma' if old else 'weight'}", size)
        shift = self.checkpoint.tensor(f"{name}.{'beta' if old else 'bias'}", size) if bias else None
        return Norm(scale, shift, self.epsilon)

    def joined(self, names: tuple[str, str, str], size: int) -> Linear:
        parts = [self.linear(name, size, size) for name in names]
        return Linear(
            np.concatenate([part.weight for part in parts]),
            np.concatenate([part.bias for part in parts if part.bias is not None]),
        )

    def transform(
        self, dense: str, norm: str, decoder: str, bias: str, activation: str, inner: int, words: Array
    ) -> Transform:
        """The head; its decoder is the table of words where the checkpoint leaves it out."""
        vocabulary, size = words.shape
        found = self.checkpoint.tensors.get(f"{decoder}.weight")
        tied = found is None or (found.shape == words.shape and np.array_equal(found, words))
        where = f"{decoder}.bias" if f"{decoder}.bias" in self.checkpoint else bias
        return Transform(
            dense=self.linear(dense, size, inner),
            activation=activation,
            norm=self.norm(norm, size),
            decoder=words if tied else self.checkpoint.tensor(f"{decoder}.weight", vocabulary, size),
            bias=self.checkpoint.tensor(where, vocabulary),
            tied=tied,
        )


def _bert(config: Config, checkpoint: Checkpoint, head: bool) -> Network:
    """BERT, RoBERTa, ELECTRA: RoBERTa counts positions from after the padding id, ELECTRA widens its embeddings."""
    kind = config.get("model_type")
    read = _Reader(checkpoint, config.number("layer_norm_eps", 1e-12))
    hidden, vocabulary, inner = config.size("hidden_size"), config.size("vocab_size"), config.size("intermediate_size")
    width = config.size("embedding_size", "hidden_size") if kind == "electra" else hidden
    positions, types = config.size("max_position_embeddings"), config.size("type_vocab_size")
    prefix = checkpoint.prefix("embeddings.word_embeddings.weight")
    words = checkpoint.tensor(f"{prefix}embeddings.word_embeddings.weight", vocabulary, width)
    places = checkpoint.tensor(f"{prefix}embeddings.position_embeddings.weight", positions, width)
    places = places + checkpoint.tensor(f"{prefix}embeddings.token_type_embeddings.weight", types, width)[0]
    if kind not in ("bert", "electra"):
        places = places[int(config.get("pad_token_id", 1)) + 1 :]
    activation = _activation(config, "hidden_act")
    layers = []
    for i in range(config.size("num_hidden_layers")):
        name = f"{prefix}encoder.layer.{i}"
        attention = f"{name}.attention"
        layers.append(
            Layer(
                joined=read.joined(
                    (f"{attention}.self.query", f"{attention}.self.key", f"{attention}.self.value"), hidden
                ),
                out=read.linear(f"{attention}.output.dense", hidden, hidden),
                norm=read.norm(f"{attention}.output.LayerNorm", hidden),
                up=read.linear(f"{name}.intermediate.dense", inner, hidden),
                activation=activation,
                down=read.linear(f"{name}.output.dense", hidden, inner),
                last_norm=read.norm(f"{name}.output.LayerNorm", hidden),
            )
        )
    network = Network(
        family=str(kind),
        vocabulary=vocabulary,
        hidden=hidden,
        heads=config.size("num_attention_heads"),
        positions=len(places),
        words=words,
        places=places,
        embedding_norm=read.norm(f"{prefix}embeddings.LayerNorm", width),
        projection=None if width == hidden else read.linear(f"{prefix}embeddings_project", hidden, width),
        layers=tuple(layers),
        last_norm=None,
    )
    if not head:
        return network
    if kind == "bert":
        names = ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.decoder")
        bias = "cls.predictions.bias"
    elif kind == "electra":
        names = ("generator_predictions.dense", "generator_predictions.LayerNorm", "generator_lm_head")
        bias, activation = "generator_lm_head.bias", "gelu"
    else:
        names, bias, activation = ("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder"), "lm_head.bias", "gelu"
    return replace(network, transform=read.transform(*names, bias, activation, hidden, words))


def _distilbert(config: Config, checkpoint: Checkpoint, head: bool) -> Network:
    read = _Reader(checkpoint, 1e-12)
    hidden, vocabulary = config.size("dim", "hidden_size"), config.size("vocab_size")
    inner, positions = config.size("hidden_dim"), config.size("max_position_embeddings")
    prefix = checkpoint.prefix("embeddings.word_embeddings.weight")
    words = checkpoint.tensor(f"{prefix}embeddings.word_embeddings.weight", vocabulary, hidden)
    activation = _activation(config, "activation")
    layers = []
    for i in range(config.size("n_layers", "num_hidden_layers")):
        name = f"{prefix}transformer.layer.{i}"
        parts = (f"{name}.attention.q_lin", f"{name}.attention.k_lin", f"{name}.attention.v_lin")
        layers.append(
            Layer(
                joined=read.joined(parts, hidden),
                out=read.linear(f"{name}.attention.out_lin", hidden, hidden),
                norm=read.norm(f"{name}.sa_layer_norm", hidden),
                up=read.linear(f"{name}.ffn.lin1", inner, hidden),
                activation=activation,
                down=read.linear(f"{name}.ffn.lin2", hidden, inner),
                last_norm=read.norm(f"{name}.output_layer_norm", hidden),
            )
        )
    return Network(
        family="distilbert",
        vocabulary=vocabulary,
        hidden=hidden,
        heads=config.size("n_heads", "num_attention_heads"),
        positions=positions,
        words=words,
        places=checkpoint.tensor(f"{prefix}embeddings.position_embeddings.weight", positions, hidden),
        embedding_norm=read.norm(f"{prefix}embeddings.LayerNorm", hidden),
        projection=None,
        layers=tuple(layers),
        last_norm=None,
        transform=read.transform(
            "vocab_transform",
            "vocab_layer_norm",
            "vocab_projector",
            "vocab_projector.bias",
            activation,
            hidden,
            words,
        )
        if head
        else None,
    )


def _mpnet(config: Config, checkpoint: Checkpoint, head: bool) -> Network:
    """MPNet (Song et al. 2020): RoBERTa's positions, and a bias on attention by distance, the same in every layer."""
    read = _Reader(checkpoint, config.number("layer_norm_eps", 1e-12))
    hidden, vocabulary, inner = config.size("hidden_size"), config.size("vocab_size"), config.size("intermediate_size")
    heads, buckets = config.size("num_attention_heads"), config.size("relative_attention_num_buckets")
    prefix = checkpoint.prefix("embeddings.word_embeddings.weight")
    words = checkpoint.tensor(f"{prefix}embeddings.word_embeddings.weight", vocabulary, hidden)
    places = checkpoint.tensor(
        f"{prefix}embeddings.position_embeddings.weight", config.size("max_position_embeddings"), hidden
    )
    places = places[int(config.get("pad_token_id", 1)) + 1 :]
    table = checkpoint.tensor(f"{prefix}encoder.relative_attention_bias.weight", buckets, heads)
    activation = _activation(config, "hidden_act")
    layers = []
    for i in range(config.size("num_hidden_layers")):
        name = f"{prefix}encoder.layer.{i}"
        parts = (f"{name}.attention.attn.q", f"{name}.attention.attn.k", f"{name}.attention.attn.v")
        layers.append(
            Layer(
                joined=read.joined(parts, hidden),
                out=read.linear(f"{name}.attention.attn.o", hidden, hidden),
                norm=read.norm(f"{name}.attention.LayerNorm", hidden),
                up=read.linear(f"{name}.intermediate.dense", inner, hidden),
                activation=activation,
                down=read.linear(f"{name}.output.dense", hidden, inner),
                last_norm=read.norm(f"{name}.output.LayerNorm", hidden),
            )
        )
    names = ("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", "lm_head.bias")
    return Network(
        family="mpnet",
        vocabulary=vocabulary,
        hidden=hidden,
        heads=heads,
        positions=len(places),
        words=words,
        places=places,
        embedding_norm=read.norm(f"{prefix}embeddings.LayerNorm", hidden),
        projection=None,
        layers=tuple(layers),
        last_norm=None,
        relative=np.ascontiguousarray(table[_distance_buckets(len(places), buckets)].transpose(2, 0, 1)),
        transform=read.transform(*names, "gelu", hidden, words) if head else None,
    )


def _distance_buckets(positions: int, buckets: int, farthest: int = 128) -> npt.NDArray[np.int64]:
    """The bucket [positions, positions] of each pair: exact when near, logarithmic when far (T5's, both directions)."""
    distance = np.arange(positions)[:, None] - np.arange(positions)[None, :]
    half = buckets // 2
    exact = half // 2
    size = np.abs(distance)
    # In float32, as torch computes it: a distance on the edge of two buckets falls to the same side.
    ratio = np.log(np.maximum(size, 1).astype(np.float32) / np.float32(exact)) / np.float32(math.log(farthest / exact))
    far = np.minimum(exact + (ratio * np.float32(half - exact)).astype(np.int64), half - 1)
    found: npt.NDArray[np.int64] = np.where(distance < 0, half, 0) + np.where(size < exact, size, far)
    return found


def _modernbert(config: Config, checkpoint: Checkpoint, head: bool) -> Network:
    """ModernBERT (Warner et al. 2024): norms before each block, gated layers, rotary positions, local attention."""
    epsilon = config.number("norm_eps", 1e-5)
    read = _Reader(checkpoint, epsilon)
    hidden, vocabulary, inner = config.size("hidden_size"), config.size("vocab_size"), config.size("intermediate_size")
    norm_bias, mlp_bias, attention_bias = (bool(config.get(f"{part}_bias")) for part in ("norm", "mlp", "attention"))
    prefix = checkpoint.prefix("embeddings.tok_embeddings.weight")
    words = checkpoint.tensor(f"{prefix}embeddings.tok_embeddings.weight", vocabulary, hidden)
    activation = _activation(config, "hidden_activation")
    layers = []
    for i in range(config.size("num_hidden_layers")):
        name = f"{prefix}layers.{i}"
        layers.append(
            Layer(
                joined=read.linear(f"{name}.attn.Wqkv", 3 * hidden, hidden, bias=attention_bias),
                out=read.linear(f"{name}.attn.Wo", hidden, hidden, bias=attention_bias),
                norm=None if i == 0 else read.norm(f"{name}.attn_norm", hidden, bias=norm_bias),
                up=read.linear(f"{name}.mlp.Wi", 2 * inner, hidden, bias=mlp_bias),
                activation=activation,
                down=read.linear(f"{name}.mlp.Wo", hidden, inner, bias=mlp_bias),
                last_norm=read.norm(f"{name}.mlp_norm", hidden, bias=norm_bias),
                before=True,
                gated=True,
                rotary=_rotary(config, i),
            )
        )
    transform = None
    if head:
        tied = "decoder.weight" not in checkpoint or np.array_equal(checkpoint.tensors["decoder.weight"], words)
        has_bias = bool(config.get("decoder_bias", True))
        transform = Transform(
            dense=read.linear("head.dense", hidden, hidden, bias=bool(config.get("classifier_bias"))),
            activation=_activation(config, "classifier_activation"),
            norm=read.norm("head.norm", hidden, bias=norm_bias),
            decoder=words if tied else checkpoint.tensor("decoder.weight", vocabulary, hidden),
            bias=checkpoint.tensor("decoder.bias", vocabulary) if has_bias else np.zeros(vocabulary, np.float32),
            tied=tied,
        )
    return Network(
        family="modernbert",
        vocabulary=vocabulary,
        hidden=hidden,
        heads=config.size("num_attention_heads"),
        positions=config.size("max_position_embeddings"),
        words=words,
        places=None,
        embedding_norm=read.norm(f"{prefix}embeddings.norm", hidden, bias=norm_bias),
        projection=None,
        layers=tuple(layers),
        last_norm=read.norm(f"{prefix}final_norm", hidden, bias=norm_bias),
        transform=transform,
    )


def _rotary(config: Config, layer: int) -> Rotary:
    """Settings as written before and since transformers 5: layer_types and rope_parameters, or every n-th layer global."""
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and layer < len(kinds):
        local = kinds[layer] == "sliding_attention"
    else:
        local = bool(layer % int(config.number("global_attn_every_n_layers", 3)))
    name = "sliding_attention" if local else "full_attention"
    parameters = (config.get("rope_parameters") or {}).get(name) or {}
    if parameters.get("rope_type", "default") != "default":
        raise UnsupportedNetwork(f"{config.path}: rope_type {parameters['rope_type']!r} has no ONNX graph here")
    old = config.number("local_rope_theta", 10_000.0) if local else config.number("global_rope_theta", 160_000.0)
    theta = parameters.get("rope_theta", old)
    return Rotary(float(theta), config.size("local_attention") // 2 if local else None)


READERS: dict[str, Callable[[Config, Checkpoint, bool], Network]] = {
    "bert": _bert,
    "roberta": _bert,
    "xlm-roberta": _bert,
    "camembert": _bert,
    "electra": _bert,
    "distilbert": _distilbert,
    "mpnet": _mpnet,
    "modernbert": _modernbert,
}
