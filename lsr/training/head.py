"""The vocabulary head with a gradient: logits of every position and term are pooled without ever being held together.

For 512 texts of 128 tokens and 30,522 terms those logits alone are 4 GB in 16 bits, and ordinary autograd holds them several
times. Here the forward goes over the vocabulary in slices (lsr.encoders.torch_head), or in a kernel that keeps them in
registers (lsr.training.head_triton), and remembers of each maximum where it stood. The gradient of a maximum is that of the
logit it was taken from, so the backward needs no logits, and it costs what the nonzero entries of the incoming gradient
cost: after a ReLU those of the active terms alone, a few hundred a text.

Under autocast logits are computed in its type, otherwise in the type that hidden states and weights share. What is pooled is
float32 (float64 where the inputs are), and sums of the gradients are float32.
"""

from __future__ import annotations

from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lsr.encoders.model import ACTIVATIONS, parts_of
from lsr.encoders.torch_head import largest_logits, pooled_activations, term_slices, text_blocks
from lsr.errors import InvalidInput, MissingExtra

__all__ = ["ACTIVATIONS", "activate", "first_logits", "pooled_logits", "summed_activations"]

# A softplus is above 0 everywhere: a vector is sparse only once something cuts it.

IMPLEMENTATIONS = (None, "torch", "triton")
# Memory that the backward takes at a time, beside gradients, and what an entry of the incoming gradient needs of it: row,
# term, place, key, their sorted twins, and the gradient itself.
BLOCK_BYTES = 1 << 26
ENTRY_BYTES = 96


def pooled_logits(
    hidden: Tensor, lengths: Tensor, weight: Tensor, bias: Tensor | None, *, implementation: str | None = None
) -> Tensor:
    """The largest logit of each term over the positions of each text (SPLADE-max; Formal et al. 2021, section 2.2).

    hidden [B, L, E]; lengths int64 [B], of which the positions 0..length-1 are real, and what stands behind does not matter;
    weight [V, E]; bias [V] or None -> float32 [B, V], not yet activated. A text without positions has no largest logit:
    its row is -inf, which every activation turns into 0, and it gives no gradient. Of equal logits the first position gets
    the gradient. Numbers that are none (NaN) come through.

    implementation: "torch"; "triton", a kernel for NVIDIA's GPUs since Ampere; None is the kernel where it can run.

    Raises `InvalidInput` for tensors that do not fit together and for lengths out of range, if they are on the CPU: for a GPU
    one would have to wait, so there longer ones count as L and negative ones as 0. For "triton" raises `MissingExtra` where
    it is not installed, and `InvalidInput` where it cannot run.
    """
    dtype, lengths = _checked(hidden, lengths, weight, bias)
    kernel = _kernel(implementation, hidden, dtype)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (hidden, weight, bias)):
        given = hidden, lengths, weight, bias, dtype, kernel
        pooled: Tensor = _PooledLogits.apply(*given)  # type: ignore[no-untyped-call]
        return pooled
    return _pooled(hidden, lengths, weight, bias, dtype, kernel, None)


def summed_activations(
    hidden: Tensor, lengths: Tensor, weight: Tensor, bias: Tensor | None, logarithms: int = 1
) -> Tensor:
    """Activated logits summed over the positions of each text (SPLADE v1; Formal et al., SIGIR 2021, equation 4).

    As `pooled_logits`, but what comes is activated already: a ReLU and `logarithms` times log(1 + x) at each position. The
    gradient needs the logits of all of them, so the backward computes them again, slice by slice. A text without positions
    gives zeros.
    """
    dtype, lengths = _checked(hidden, lengths, weight, bias)
    given = hidden, lengths, weight, bias, logarithms, dtype
    summed: Tensor = _SummedActivations.apply(*given)  # type: ignore[no-untyped-call]
    return summed


def first_logits(hidden: Tensor, lengths: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The logits of each text's first position ("cls" pooling), as `pooled_logits` otherwise."""
    dtype, lengths = _checked(hidden, lengths, weight, bias)
    logits = (hidden[:, 0].to(dtype) @ weight.to(dtype).T).to(torch.promote_types(dtype, torch.float32))
    if bias is not None:
        logits = logits + bias.to(logits.dtype)
    return logits.masked_fill((lengths == 0)[:, None], -torch.inf)


def activate(logits: Tensor, name: str) -> Tensor:
    """Pooled logits [B, V] -> weights of terms, by an activation of `ACTIVATIONS`. Raises `InvalidInput` for other names."""
    if name not in ACTIVATIONS:
        raise InvalidInput(f"activation is {name!r}: it must be one of {', '.join(ACTIVATIONS)}")
    first, logarithms = parts_of(name)
    weights: Tensor = getattr(functional, first)(logits)
    for _ in range(logarithms):
        weights = torch.log1p(weights)
    return weights


class _PooledLogits(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        lengths: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        dtype: torch.dtype,
        kernel: ModuleType | None,
    ) -> Tensor:
        kind = torch.int16 if hidden.shape[1] <= torch.iinfo(torch.int16).max else torch.int32
        places = torch.zeros(len(hidden), len(weight), dtype=kind, device=hidden.device)
        pooled = _pooled(hidden, lengths, weight, bias, dtype, kernel, places)
        ctx.save_for_backward(hidden, lengths, weight, bias, places)
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, lengths, weight, bias, places = ctx.saved_tensors
        for_hidden, _, for_weight, for_bias = ctx.needs_input_grad[:4]
        gradient = gradient.masked_fill((lengths == 0)[:, None], 0)
        entries = torch.cat([gradient.count_nonzero(1), gradient.count_nonzero(0)]).cpu().numpy()
        per_text, per_term = entries[: len(hidden)], entries[len(hidden) :]
        return (
            _gradient_of_hidden(gradient, places, hidden, weight, per_text) if for_hidden else None,
            None,
            _gradient_of_weight(gradient, places, hidden, weight, per_term) if for_weight else None,
            gradient.sum(0).to(bias.dtype) if for_bias else None,
            None,
            None,
        )


def _pooled(
    hidden: Tensor,
    lengths: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    dtype: torch.dtype,
    kernel: ModuleType | None,
    places: Tensor | None,
) -> Tensor:
    hidden, weight = hidden.to(dtype), weight.to(dtype)
    if kernel is not None:
        found: Tensor = kernel.largest_logits(hidden, lengths, weight, bias, places)
        return found
    pooled = largest_logits(hidden, _real(hidden, lengths), weight, bias, places)
    return pooled.masked_fill_((lengths <= 0)[:, None], -torch.inf)


def _gradient_of_hidden(gradient: Tensor, places: Tensor, hidden: Tensor, weight: Tensor, entries: Any) -> Tensor:
    """[B, L, E]: at each position the sum of its terms' weights, each times the term's gradient."""
    length, size = hidden.shape[1:]
    table = weight.to(gradient.dtype)
    found = torch.empty_like(hidden, memory_format=torch.contiguous_format)
    for texts in _blocks(entries, length * size * gradient.element_size()):
        part = gradient[texts]
        rows, terms = part.nonzero(as_tuple=True)
        positions, order = (rows * length + places[texts][rows, terms]).sort(stable=True)
        members, factors = terms[order], part[rows, terms][order]
        count = len(part) * length
        found[texts] = _sums(table, members, factors, positions, count).view(-1, length, size).to(found.dtype)
    return found


def _gradient_of_weight(gradient: Tensor, places: Tensor, hidden: Tensor, weight: Tensor, entries: Any) -> Tensor:
    """[V, E]: for each term the sum of the states that gave its maxima, each times the gradient there."""
    length, size = hidden.shape[1:]
    table = hidden.reshape(-1, size).to(gradient.dtype)
    found = torch.empty_like(weight, memory_format=torch.contiguous_format)
    for terms in _blocks(entries, size * gradient.element_size()):
        part = gradient[:, terms].T
        groups, rows = part.nonzero(as_tuple=True)
        members = rows * length + places[:, terms].T[groups, rows]
        found[terms] = _sums(table, members, part[groups, rows], groups, len(part)).to(found.dtype)
    return found


def _sums(table: Tensor, members: Tensor, factors: Tensor, groups: Tensor, count: int) -> Tensor:
    """[count, E]: row i is the sum of table[members] * factors where `groups`, which never falls, is i.

    Gathers, multiplies and adds in one pass, in the order given, so that nothing of [entries, E] is held and the result is
    the same in every run, on a GPU too. index_add_ would need the former and not promise the latter.
    """
    if not len(members):
        return table.new_zeros(count, table.shape[1])
    offsets = torch.searchsorted(groups, torch.arange(count + 1, device=groups.device))
    return functional.embedding_bag(
        members, table, offsets, mode="sum", per_sample_weights=factors, include_last_offset=True
    )


def _blocks(entries: Any, row_bytes: int) -> list[slice]:
    """Runs of rows, as many as fit in `BLOCK_BYTES`, one at least: row i has entries[i] entries, and `row_bytes` itself."""
    ends = np.cumsum(entries * ENTRY_BYTES + row_bytes)
    blocks, start = [], 0
    while start < len(ends):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + BLOCK_BYTES, side="right")))
        blocks.append(slice(start, stop))
        start = stop
    return blocks


class _SummedActivations(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        lengths: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        logarithms: int,
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.save_for_backward(hidden, lengths, weight, bias)
        ctx.logarithms, ctx.dtype = logarithms, dtype
        activation = "log1p_" * logarithms + "relu"
        return pooled_activations(
            hidden.to(dtype), _real(hidden, lengths), weight.to(dtype), bias, activation, summed=True
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, lengths, weight, bias = ctx.saved_tensors
        for_hidden, _, for_weight, for_bias = ctx.needs_input_grad[:4]
        sums = gradient.dtype
        of_hidden = torch.zeros(hidden.shape, dtype=sums, device=hidden.device) if for_hidden else None
        of_weight = torch.zeros(weight.shape, dtype=sums, device=hidden.device) if for_weight else None
        of_bias = torch.zeros(len(weight), dtype=sums, device=hidden.device) if for_bias else None
        real = _real(hidden, lengths)
        # A loss may be called under another autocast than the head was.
        with torch.autocast(hidden.device.type, enabled=False):
            table = weight.to(ctx.dtype)
            for texts in text_blocks(hidden):
                part = hidden[texts].to(ctx.dtype)
                flat = part.reshape(-1, part.shape[2])
                for terms in term_slices(flat, weight):
                    logits = (part @ table[terms].T).to(sums)
                    if bias is not None:
                        logits += bias[terms].to(sums)
                    slopes = (logits > 0).to(sums)
                    activated = logits.relu_()
                    for _ in range(ctx.logarithms):
                        slopes.div_(1 + activated)
                        activated.log1p_()
                    slopes.mul_(gradient[texts, None, terms]).masked_fill_(~real[texts, :, None], 0)
                    slopes = slopes.view(-1, slopes.shape[2])
                    if of_bias is not None:
                        of_bias[terms] += slopes.sum(0)
                    lowered = slopes.to(ctx.dtype)
                    if of_weight is not None:
                        of_weight[terms] += (lowered.T @ flat).to(sums)
                    if of_hidden is not None:
                        of_hidden[texts] += (lowered @ table[terms]).view(part.shape).to(sums)
        return (
            None if of_hidden is None else of_hidden.to(hidden.dtype),
            None,
            None if of_weight is None else of_weight.to(weight.dtype),
            None if of_bias is None else of_bias.to(bias.dtype),
            None,
            None,
        )


def _real(hidden: Tensor, lengths: Tensor) -> Tensor:
    """Bool [B, L]: which positions are no padding."""
    return torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]


def _checked(hidden: Tensor, lengths: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[torch.dtype, Tensor]:
    """The type that logits are computed in, and the lengths on the device of the hidden states."""
    if hidden.ndim != 3 or weight.ndim != 2 or hidden.shape[2] != weight.shape[1] or not hidden.shape[1]:
        raise InvalidInput(
            f"hidden states of shape {list(hidden.shape)} and weights of shape {list(weight.shape)}: the head takes "
            "[texts, positions (1 or more), size] and [terms, size]"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise InvalidInput(f"a bias of shape {list(bias.shape)} for {len(weight):,} terms: it must be [terms], or None")
    if lengths.shape != hidden.shape[:1] or lengths.is_floating_point():
        raise InvalidInput(
            f"lengths of shape {list(lengths.shape)} and type {lengths.dtype} for {len(hidden):,} texts: give whole numbers, "
            "one a text"
        )
    if lengths.device.type == "cpu" and len(lengths):
        low, high = int(lengths.min()), int(lengths.max())
        if low < 0 or high > hidden.shape[1]:
            raise InvalidInput(
                f"lengths from {low:,} to {high:,} for texts of {hidden.shape[1]:,} positions, padding included"
            )
    device = hidden.device
    if torch.is_autocast_enabled(device.type) and hidden.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device.type)
    else:
        dtype = torch.promote_types(hidden.dtype, weight.dtype)
    return dtype, lengths.to(device, torch.int64, non_blocking=True).clamp(0, hidden.shape[1])


def _kernel(implementation: str | None, hidden: Tensor, dtype: torch.dtype) -> ModuleType | None:
    """The module with the kernel, or None for torch."""
    if implementation not in IMPLEMENTATIONS:
        raise InvalidInput(f"implementation is {implementation!r}: it must be 'torch', 'triton', or None to choose")
    chosen = implementation == "triton"
    if implementation == "torch" or (not chosen and hidden.device.type != "cuda"):
        return None
    if find_spec("triton") is None:
        if chosen:
            raise MissingExtra("triton", "torch", "the kernel of the head")
        return None
    from lsr.training import head_triton

    if not (head_triton.INTERPRETED or head_triton.runs_on(hidden.device)):
        if chosen:
            raise InvalidInput(
                f"the kernel of the head does not run on {str(hidden.device)!r}: it needs a GPU of NVIDIA since Ampere and a "
                "C compiler; give implementation='torch'"
            )
        return None
    if dtype not in head_triton.DTYPES:
        if chosen:
            raise InvalidInput(f"the kernel of the head does not compute in {dtype}: give implementation='torch'")
        return None
    return head_triton
