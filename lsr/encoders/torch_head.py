"""The heads on torch. Logits are pooled slice by slice, so that [batch, length, vocabulary] never exists.

The maximum is taken over raw logits and the activation applied once to [batch, vocabulary] (it never falls); the bias is
added after the maximum, for it does not depend on the position. Where logits are summed, or weighed position by position,
they are activated before. lsr.training.head gives these functions a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lsr.encoders.model import AutoencoderHead, DenseLayer, ResidualLayer, TokenHead, parts_of

if TYPE_CHECKING:
    import torch

__all__ = [
    "activated",
    "largest_logits",
    "latents",
    "pooled_activations",
    "term_slices",
    "text_blocks",
    "through",
    "token_weights",
]

# Logits of a slice, in elements: what stays in the cache of a core, and what keeps a GPU busy while it is far from memory.
SLICE_ON_CPU = 1 << 19
SLICE_ON_GPU = 1 << 27
# Tokens that go through the head at a time, however large the batch.
TOKENS_ON_GPU = 1 << 15


def largest_logits(
    hidden: torch.Tensor,
    real: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    places: torch.Tensor | None = None,
) -> torch.Tensor:
    """The largest logit of each term over the real positions: hidden [B, L, E], real bool [B, L] -> float32 [B, V].

    places: int16 or int32 [B, V], which gets the first position that has it. Finding it takes longer than the maximum alone.
    """
    pooled = _empty(hidden, weight)
    for texts in text_blocks(hidden):
        part = hidden[texts]
        batch, length, size = part.shape
        # A copy of the first position in place of the padded ones needs no mask on the logits.
        flat = part.where(real[texts, :, None], part[:, :1]).reshape(batch * length, size)
        for terms in term_slices(flat, weight):
            if hidden.device.type == "cpu":  # term by term the positions lie side by side, where the maximum is fastest
                logits, axis = (weight[terms] @ flat.T).reshape(-1, batch, length), 2
            else:
                logits, axis = (flat @ weight[terms].T).reshape(batch, length, -1), 1
            if places is None:
                largest = logits.amax(axis)
            else:
                largest, first = logits.max(axis)  # of equals the first: torch promises it
                places[texts, terms] = (first if axis == 1 else first.T).to(places.dtype)
            pooled[texts, terms] = (largest if axis == 1 else largest.T).to(pooled.dtype)
    if places is not None:
        # The copies are not always equal: a library of matrices may sum the last columns in another order.
        places.masked_fill_(places >= real.sum(1, dtype=places.dtype)[:, None], 0)
    return pooled if bias is None else pooled.add_(bias.to(pooled.dtype))


def pooled_activations(
    hidden: torch.Tensor,
    real: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    activation: str,
    *,
    summed: bool,
    importance: torch.Tensor | None = None,
) -> torch.Tensor:
    """Activated logits of the real positions, summed (SPLADE v1) or the largest of them: float32 [B, V].

    `importance` float32 [B, L] multiplies those of each position before (EPIC).
    """
    import torch

    pooled = _empty(hidden, weight)
    for texts in text_blocks(hidden):
        part, mask = hidden[texts], real[texts, :, None]
        for terms in term_slices(part.reshape(-1, part.shape[2]), weight):
            logits = (part @ weight[terms].T).to(pooled.dtype)
            if bias is not None:
                logits += bias[terms].to(pooled.dtype)
            logits = activated(logits, activation)
            if importance is not None:
                logits *= importance[texts, :, None]
            if summed:
                pooled[texts, terms] = logits.masked_fill_(~mask, 0).sum(1)
            else:
                pooled[texts, terms] = logits.masked_fill_(~mask, -torch.inf).amax(1)
    return pooled


def activated(x: torch.Tensor, activation: str) -> torch.Tensor:
    """x through an activation, with its logarithms (lsr.encoders.model); x itself may be overwritten."""
    import torch

    first, logarithms = parts_of(activation)
    if first == "relu":
        x = x.relu_()
    elif first != "identity":
        x = getattr(torch.nn.functional, first)(x)
    for _ in range(logarithms):
        x = x.log1p_()
    return x


def token_weights(head: TokenHead, hidden: torch.Tensor) -> torch.Tensor:
    """One weight a position [B, L] of hidden [B, L, H]."""
    import torch

    weights = through(head.layers, hidden)[..., 0]
    return torch.log1p(weights.relu()) if head.log1p else weights


def latents(head: AutoencoderHead, hidden: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Every latent before its activation [B, D] of hidden [B, L, H] and real bool [B, L]."""
    import torch

    x, mask = hidden.float(), real[:, :, None]
    if head.pooling == "cls":
        x = x[:, 0]
    elif head.pooling == "max":
        x = x.masked_fill(~mask, -1e9).amax(1)
    else:
        x = (x * mask).sum(1) / mask.sum(1)
    if head.unit:
        x = torch.nn.functional.normalize(x, dim=1)
    x = through(head.before, x)
    if head.unit_after:
        x = torch.nn.functional.normalize(x, dim=1)
    if head.normalize:
        x = x - x.mean(1, keepdim=True)
        x = x / (x.std(1, keepdim=True) + 1e-5)
    return _dense(x - torch.from_numpy(head.pre_bias).to(x.device), head.weight, head.latent_bias, "identity")


def through(layers: Sequence[DenseLayer], x: torch.Tensor) -> torch.Tensor:
    """x through dense layers, in float32."""
    x = x.float()
    for layer in layers:
        y = _dense(x, layer.weight, layer.bias, layer.activation)
        if isinstance(layer, ResidualLayer):
            y = y + _dense(x, layer.residual, np.zeros_like(layer.bias), "identity")
        x = y
    return x


def _dense(x: torch.Tensor, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32], name: str) -> torch.Tensor:
    import torch

    parts = (torch.from_numpy(np.array(part)).to(x.device) for part in (weight, bias))
    return activated(torch.nn.functional.linear(x, *parts), name)


def _empty(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Room for [B, V], float32; float64 where hidden is."""
    import torch

    kind = torch.promote_types(hidden.dtype, torch.float32)
    return torch.empty(len(hidden), len(weight), dtype=kind, device=hidden.device)


def text_blocks(hidden: torch.Tensor) -> list[slice]:
    """Texts to go through the head at a time: a large batch would leave room for few terms in a slice."""
    count, length = hidden.shape[:2]
    step = max(1, count if hidden.device.type == "cpu" else TOKENS_ON_GPU // length)
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def term_slices(flat: torch.Tensor, weight: torch.Tensor) -> list[slice]:
    """Terms to multiply at a time."""
    budget = SLICE_ON_CPU if flat.device.type == "cpu" else SLICE_ON_GPU
    step = max(64, budget // len(flat))
    return [slice(start, min(start + step, len(weight))) for start in range(0, len(weight), step)]
