"""A transformer as data: what lsr.encoders.network.families reads, and lsr.encoders.network.graph writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.errors import EncoderError

__all__ = ["Array", "Layer", "Linear", "Network", "Norm", "Rotary", "Transform", "UnsupportedNetwork"]

Array = npt.NDArray[np.float32]


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
