"""MPNet (Song et al. 2020)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lsr.encoders.network.checkpoint import Checkpoint, Config
from lsr.encoders.network.form import Layer, Network, UnsupportedNetwork
from lsr.encoders.network.reader import Reader, activation_of

__all__ = ["read_mpnet"]

# The bias is a table of positions x positions, so that a file of few bytes could ask for all memory.
MOST_POSITIONS, MOST_BUCKETS = 4096, 4096


def read_mpnet(config: Config, checkpoint: Checkpoint, head: bool) -> Network:
    """MPNet (Song et al. 2020): RoBERTa's positions, and a bias on attention by distance, the same in every layer."""
    read = Reader(checkpoint, config.number("layer_norm_eps", 1e-12))
    hidden, vocabulary, inner = config.size("hidden_size"), config.size("vocab_size"), config.size("intermediate_size")
    heads, buckets = config.size("num_attention_heads"), config.size("relative_attention_num_buckets")
    prefix = checkpoint.prefix("embeddings.word_embeddings.weight")
    words = checkpoint.tensor(f"{prefix}embeddings.word_embeddings.weight", vocabulary, hidden)
    places = checkpoint.tensor(
        f"{prefix}embeddings.position_embeddings.weight", config.size("max_position_embeddings"), hidden
    )
    places = places[config.padding() + 1 :]
    if not 4 <= buckets <= MOST_BUCKETS or len(places) > MOST_POSITIONS:
        raise UnsupportedNetwork(f"{config.path}: {buckets} buckets for the distances of {len(places)} positions")
    table = checkpoint.tensor(f"{prefix}encoder.relative_attention_bias.weight", buckets, heads)
    activation = activation_of(config, "hidden_act")
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
