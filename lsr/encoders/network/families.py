"""The families of encoders, each read into one form: BERT (MiniLM too), RoBERTa, ELECTRA, DistilBERT, those of other files.

The formulas were checked against transformers: with random weights the numbers are the same (tests/encoders/test_parity.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lsr.encoders.network.checkpoint import Checkpoint, Config, read_config
from lsr.encoders.network.form import Layer, Network, UnsupportedNetwork
from lsr.encoders.network.modernbert import read_modernbert
from lsr.encoders.network.mpnet import read_mpnet
from lsr.encoders.network.reader import Reader, activation_of
from lsr.errors import EncoderError

__all__ = ["read_network"]


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


def _bert(config: Config, checkpoint: Checkpoint, head: bool) -> Network:
    """BERT, RoBERTa, ELECTRA: RoBERTa counts positions from after the padding id, ELECTRA widens its embeddings."""
    kind = config.get("model_type")
    read = Reader(checkpoint, config.number("layer_norm_eps", 1e-12))
    hidden, vocabulary, inner = config.size("hidden_size"), config.size("vocab_size"), config.size("intermediate_size")
    width = config.size("embedding_size", "hidden_size") if kind == "electra" else hidden
    positions, types = config.size("max_position_embeddings"), config.size("type_vocab_size")
    prefix = checkpoint.prefix("embeddings.word_embeddings.weight")
    words = checkpoint.tensor(f"{prefix}embeddings.word_embeddings.weight", vocabulary, width)
    places = checkpoint.tensor(f"{prefix}embeddings.position_embeddings.weight", positions, width)
    places = places + checkpoint.tensor(f"{prefix}embeddings.token_type_embeddings.weight", types, width)[0]
    if kind not in ("bert", "electra"):
        places = places[config.padding() + 1 :]
    activation = activation_of(config, "hidden_act")
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
    read = Reader(checkpoint, 1e-12)
    hidden, vocabulary = config.size("dim", "hidden_size"), config.size("vocab_size")
    inner, positions = config.size("hidden_dim"), config.size("max_position_embeddings")
    prefix = checkpoint.prefix("embeddings.word_embeddings.weight")
    words = checkpoint.tensor(f"{prefix}embeddings.word_embeddings.weight", vocabulary, hidden)
    activation = activation_of(config, "activation")
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


READERS: dict[str, Callable[[Config, Checkpoint, bool], Network]] = {
    "bert": _bert,
    "roberta": _bert,
    "xlm-roberta": _bert,
    "camembert": _bert,
    "electra": _bert,
    "distilbert": _distilbert,
    "mpnet": read_mpnet,
    "modernbert": read_modernbert,
}
