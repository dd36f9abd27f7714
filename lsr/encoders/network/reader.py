"""Layers and norms of a checkpoint by name: what the families have in common."""

from __future__ import annotations

import numpy as np

from lsr.encoders.network.checkpoint import Checkpoint, Config
from lsr.encoders.network.form import Array, Linear, Norm, Transform, UnsupportedNetwork

__all__ = ["Reader", "activation_of"]

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "relu": "relu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
}


def activation_of(config: Config, *names: str) -> str:
    value = next((config.get(name) for name in names if config.get(name) is not None), "gelu")
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise UnsupportedNetwork(f"{config.path}: {names[0]} is {value!r}; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[value]


class Reader:
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
