"""What a learned sparse model is, whatever folder it came from: two sides over one vocabulary.

Transformers whose tokens keep a vector each (`VectorSide`) are run by the same engines: lsr.rerank makes models of them.

A side is a table (`TableSide`: presence of a token x its weight, no network) or a network (`NetworkSide`: a transformer and a
head). The heads are those of Nguyen et al., "A Unified Framework for Learned Sparse Retrieval" (2023), section 3, and the
sparse autoencoder of Wen et al., "Beyond Matryoshka" (2025).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = [
    "ACTIVATIONS",
    "DENSE_ACTIVATIONS",
    "POOLINGS",
    "AutoencoderHead",
    "DenseLayer",
    "Engine",
    "Head",
    "Model",
    "NetworkSide",
    "OnnxSide",
    "ResidualLayer",
    "Selection",
    "Side",
    "TableSide",
    "TokenHead",
    "TransformerSide",
    "Vector",
    "VectorEngine",
    "VectorHead",
    "VectorSide",
    "VocabularyHead",
    "parts_of",
]

Vector = tuple[npt.NDArray[Any], npt.NDArray[np.float32]]  # term ids, rising; weights above 0

# relu: the logit itself; one logarithm is SPLADE's, two are those of the l0 models of OpenSearch. sentence-transformers
# calls the second "relu" and the third "log1p_relu". The last two are EPIC's: every term is above 0.
ACTIVATIONS = ("relu", "log1p_relu", "log1p_log1p_relu", "softplus", "log1p_softplus")
POOLINGS = ("max", "sum", "cls")
DENSE_ACTIVATIONS = ("identity", "sigmoid", "tanh", "gelu", *ACTIVATIONS)  # of a dense layer


def parts_of(activation: str) -> tuple[str, int]:
    """What comes first in an activation ("relu", "softplus"), and how many logarithms log(1 + x) follow."""
    *logarithms, first = activation.split("_")
    return first, len(logarithms)


@dataclass(frozen=True, kw_only=True)
class VocabularyHead:
    """MLM: each position gives a logit for every term; the text's weight is their maximum (or sum), activated.

    pooling: "max"; "sum" of activated logits (SPLADE v1); "cls", the logits of the first position alone (CLS-MLM). With
    softplus every term weighs more than 0, and a side's `top_terms` is what makes it sparse.

    `importance` and `quality` are EPIC's (MacAvaney et al. 2020; Nguyen et al. 2023, section 3). They read what the
    transformer puts out (not what the masked-language-model head makes of it), and their last layer has one output.
    `importance` gives each position a weight that its activated logits are multiplied with before they are pooled;
    `quality` gives the text one, from its first position, that its vector is multiplied with. Empty: none.
    """

    pooling: str = "max"  # of POOLINGS
    activation: str = "log1p_relu"  # of ACTIVATIONS
    prune_ratio: float = 0.0  # terms below this share of the text's largest weight go
    importance: tuple[DenseLayer, ...] = ()
    quality: tuple[DenseLayer, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DenseLayer:
    """x @ weight.T + bias, then the activation (of DENSE_ACTIVATIONS); weight [out, in]."""

    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    activation: str = "identity"


@dataclass(frozen=True, kw_only=True)
class ResidualLayer(DenseLayer):
    """A dense layer whose input, times `residual` [out, in], is added to what the activation gives."""

    residual: npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class TokenHead:
    """MLP: each position weighs its own token (DeepCT, uniCOIL, DeepImpact, TILDEv2); the last layer has one output.

    A token's weight is the maximum (or sum) over its positions.
    """

    layers: tuple[DenseLayer, ...]
    log1p: bool = False  # log(1 + weight) after the layers
    pooling: str = "max"


@dataclass(frozen=True, kw_only=True)
class AutoencoderHead:
    """CSR: hidden states pooled to one vector, encoded to `weight` [dim, in] latents, of which the `top` largest stay.

    `before` are dense layers between pooling and autoencoder; `unit` divides by the norm before them, `unit_after` after.
    `normalize` standardises the vector first (mean 0, deviation 1).
    """

    weight: npt.NDArray[np.float32]  # [dim, in]
    pre_bias: npt.NDArray[np.float32]  # [in], subtracted
    latent_bias: npt.NDArray[np.float32]  # [dim]
    top: int
    pooling: str = "mean"  # "mean", "cls" or "max" over the positions
    normalize: bool = False
    unit: bool = False
    before: tuple[DenseLayer, ...] = ()
    unit_after: bool = False


Head = VocabularyHead | TokenHead | AutoencoderHead


@dataclass(frozen=True, kw_only=True)
class VectorHead:
    """ColBERT: each position gives a vector, its hidden state through the layers (Khattab and Zaharia 2020, section 3.2).

    `unit` divides each vector by its norm.
    """

    layers: tuple[DenseLayer, ...]
    unit: bool = True

    @property
    def dim(self) -> int:
        return len(self.layers[-1].weight)


@dataclass(frozen=True, kw_only=True)
class TransformerSide:
    """A transformer and how it reads texts. `folder` is a Hugging Face folder: config.json, weights, tokenizer.

    `max_length` counts tokens with special ones. `prompt` is put before each text.
    """

    folder: Path
    tokenizer_json: str
    max_length: int
    positions: int  # the largest max_length that the network takes
    prompt: str = ""


@dataclass(frozen=True, kw_only=True)
class NetworkSide(TransformerSide):
    """A transformer with a head that gives terms.

    `dropped` are terms that never leave the model (OpenSearch zeroes the special tokens, sentence-transformers keeps them).
    """

    head: Head
    dim: int
    dropped: tuple[int, ...] = ()
    top_terms: int | None = None  # None keeps all
    table: npt.NDArray[np.float32] | None = None  # [dim]: keeps only terms that stand in the text, times their entry


@dataclass(frozen=True, kw_only=True)
class VectorSide(TransformerSide):
    """A transformer whose positions keep a vector each."""

    head: VectorHead


@dataclass(frozen=True, kw_only=True)
class OnnxSide:
    """A network with its head as lsr has exported it; `chosen` is what is left to do with its output."""

    model: Callable[[], bytes]
    where: str  # for messages
    tokenizer_json: str
    chosen: Selection
    dim: int
    max_length: int
    positions: int
    prompt: str = ""


@dataclass(frozen=True, kw_only=True)
class TableSide:
    """One weight a term, float32 [dim]: no network runs. `special` and `unknown` say whether such tokens count.

    sentence-transformers gives special tokens and [UNK] their entry in the table ("table"), OpenSearch nothing ("drop").
    """

    tokenizer_json: str
    weights: npt.NDArray[np.float32]
    special: str = "table"
    unknown: str = "table"
    repeated: str = "once"  # or "count": weight x number of occurrences
    max_length: int | None = None  # tokens read of a text, special ones not among them
    prompt: str = ""
    adapts: bool = False  # made to be adapted to the documents of an index

    @property
    def dim(self) -> int:
        return len(self.weights)


Side = NetworkSide | OnnxSide | TableSide


@dataclass(frozen=True, kw_only=True)
class Model:
    """A learned sparse model as a folder gives it: two sides over one vocabulary.

    `source` is the folder, or hub id@revision. `fingerprint` is a hash of all that its vectors depend on: weights, tokenizer,
    settings.
    """

    name: str
    source: str
    query: Side
    document: Side
    fingerprint: Callable[[], str]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is left to do with the output of a network, and all that must be known of its head to do it (lsr.encoders.rows).

    `kind` is "vocabulary" (logits [B, dim]), "tokens" (a weight a position) or "latents" [B, dim]. Of the latents the
    `largest` stay, whatever their sign; then those above 0.
    """

    kind: str
    dim: int
    activation: str = "relu"
    prune_ratio: float = 0.0
    dropped: tuple[int, ...] = ()
    top_terms: int | None = None
    largest: int | None = None
    summed: bool = False


class Engine(Protocol):
    """Runs a `NetworkSide` on batches of token ids: ONNX Runtime or torch, with one result.

    Thread-safe. `ids` is int64 [B, L], padded with anything after `lengths` int64 [B]; L is at most the side's positions.
    `token_budget` is the number of tokens, padding included, that a batch should have; `workers` that of batches to run at
    a time; `mixes` whether texts of several lengths may share one, which changes the last digits of their weights.
    """

    dim: int
    token_budget: int
    workers: int
    mixes: bool

    def encode(self, ids: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Sequence[Vector]:
        """The vector of each text: pooled, activated, pruned, dropped and cut to the top terms as the side says."""

    def positions(self, ids: npt.NDArray[np.int64], terms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """For one text, ids [L], the position that gave each of the terms: the first one with the largest logit."""


class VectorEngine(Protocol):
    """Runs a `VectorSide` on batches of token ids; `token_budget`, `workers` and `mixes` as those of `Engine`. Thread-safe.

    `ids` is int64 [B, L], padded with anything after `lengths` int64 [B]. Positions see the first `attended` int64 [B] ones
    only; those between `attended` and `lengths` see but are not seen: the mask tokens that a ColBERT expands queries with.
    """

    dim: int
    token_budget: int
    workers: int
    mixes: bool

    def encode(
        self, ids: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], attended: npt.NDArray[np.int64]
    ) -> Sequence[npt.NDArray[np.float32]]:
        """Of each text the vectors float32 [L, dim] of its positions; those after its length mean nothing."""
