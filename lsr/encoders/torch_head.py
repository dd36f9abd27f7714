"""The vocabulary head on torch: raw logits pooled slice by slice, so that [batch, length, vocabulary] never exists.

The maximum is taken over raw logits and the activation applied once to [batch, vocabulary] (it never falls); the bias is
added after the maximum, for it does not depend on the position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["largest_logits", "summed_activations"]

# Logits of a slice, in elements: what stays in the cache of a core, and what keeps a GPU busy while it is far from memory.
SLICE_ON_CPU = 1 << 19
SLICE_ON_GPU = 1 << 26


def largest_logits(
    hidden: torch.Tensor, real: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """The largest logit of each term over the real positions: hidden [B, L, E], real bool [B, L] -> float32 [B, V]."""
    import torch

    batch, length, size = hidden.shape
    # A copy of the first position in place of the padded ones needs no mask on the logits.
    flat = torch.where(real[:, :, None], hidden, hidden[:, :1]).reshape(batch * length, size)
    pooled = torch.empty(batch, len(weight), dtype=torch.float32, device=hidden.device)
    step = _terms(hidden)
    for start in range(0, len(weight), step):
        part = weight[start : start + step]
        if hidden.device.type == "cpu":  # term by term the positions lie side by side, where the maximum is fastest
            pooled[:, start : start + step] = (part @ flat.T).reshape(-1, batch, length).amax(2).T
        else:
            pooled[:, start : start + step] = (flat @ part.T).reshape(batch, length, -1).amax(1)
    return pooled if bias is None else pooled + bias.float()


def summed_activations(
    hidden: torch.Tensor, real: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, logarithms: int
) -> torch.Tensor:
    """Activated logits summed over the real positions (SPLADE v1): float32 [B, V]."""
    import torch

    pooled = torch.empty(hidden.shape[0], len(weight), dtype=torch.float32, device=hidden.device)
    step = _terms(hidden)
    for start in range(0, len(weight), step):
        logits = (hidden @ weight[start : start + step].T).float()
        if bias is not None:
            logits += bias[start : start + step].float()
        logits.relu_()
        for _ in range(logarithms):
            logits.log1p_()
        pooled[:, start : start + step] = (logits * real[:, :, None]).sum(1)
    return pooled


def _terms(hidden: torch.Tensor) -> int:
    """Terms in a slice of the vocabulary."""
    positions = hidden.shape[0] * hidden.shape[1]
    budget = SLICE_ON_CPU if hidden.device.type == "cpu" else SLICE_ON_GPU
    return max(64, budget // positions)
