"""ModernBERT (Warner et al. 2024)."""

from __future__ import annotations

import numpy as np

from lsr.encoders.network.checkpoint import Checkpoint, Config
from lsr.encoders.network.form import Layer, Network, Rotary, Transform, UnsupportedNetwork
from lsr.encoders.network.reader import Reader, activation_of
from lsr.errors import EncoderError

__all__ = ["read_modernbert"]

MOST_POSITIONS = 1 << 17  # no tensor bounds them: sines and cosines are computed for all


def read_modernbert(config: Config, checkpoint: Checkpoint, head: bool) -> Network:
    """ModernBERT (Warner et al. 2024): norms before each block, gated layers, rotary positions, local attention."""
    epsilon = config.number("norm_eps", 1e-5)
    if config.size("max_position_embeddings") > MOST_POSITIONS:
        raise UnsupportedNetwork(f"{config.path}: more than {MOST_POSITIONS:,} positions have no ONNX graph here")
    read = Reader(checkpoint, epsilon)
    hidden, vocabulary, inner = config.size("hidden_size"), config.size("vocab_size"), config.size("intermediate_size")
    norm_bias, mlp_bias, attention_bias = (bool(config.get(f"{part}_bias")) for part in ("norm", "mlp", "attention"))
    prefix = checkpoint.prefix("embeddings.tok_embeddings.weight")
    words = checkpoint.tensor(f"{prefix}embeddings.tok_embeddings.weight", vocabulary, hidden)
    activation = activation_of(config, "hidden_activation")
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
            activation=activation_of(config, "classifier_activation"),
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
        every = config.get("global_attn_every_n_layers")
        local = bool(layer % (3 if every is None else config.size("global_attn_every_n_layers")))
    name = "sliding_attention" if local else "full_attention"
    found = config.get("rope_parameters")
    found = found.get(name) if isinstance(found, dict) else None
    parameters = Config(config.path, found if isinstance(found, dict) else {})
    if parameters.get("rope_type", "default") != "default":
        raise UnsupportedNetwork(f"{config.path}: rope_type {parameters.get('rope_type')!r} has no ONNX graph here")
    old = config.number("local_rope_theta", 10_000.0) if local else config.number("global_rope_theta", 160_000.0)
    theta = parameters.number("rope_theta", old)
    if theta <= 0:
        raise EncoderError(f"{config.path}: rope_theta is {theta}: it must be above 0")
    return Rotary(theta, config.size("local_attention") // 2 if local else None)
