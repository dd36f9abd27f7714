"""Masked language modelling on the documents: what teaches a new vocabulary head its words before it learns to retrieve."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from lsr.errors import InvalidInput
from lsr.training.network import Transformer
from lsr.training.vectors import Texts

__all__ = ["warm_up"]

MASKED = 0.15  # of the tokens, as BERT was trained
BATCH = 256
RATE, WARMUP = 5e-4, 0.1


def warm_up(
    transformer: Transformer,
    documents: Texts,
    count: int,
    *,
    steps: int,
    mask: int | None,
    special: Tensor,
    seed: int,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> float:
    """Trains for `steps` steps to guess masked tokens, all of which become `mask`. Returns the mean loss of the last tenth.

    special bool [V] are tokens that are never masked. Every process does the same steps from the same seed.
    """
    if mask is None:
        raise InvalidInput("the tokenizer of the start model has no [MASK]: set start.mlm_steps to 0")
    parameters = [p for p in transformer.parameters() if p.requires_grad]
    gpu = special.device.type == "cuda"
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.01, fused=gpu)
    generator = torch.Generator(special.device).manual_seed(seed)
    rng = np.random.default_rng([seed, 2])
    tail: list[Tensor] = []
    for step in range(steps):
        ids, lengths = documents.batch(rng.integers(0, count, BATCH))
        loss = _loss(transformer, ids, lengths, mask, special, generator)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min((step + 1) / max(1, WARMUP * steps), (steps - step) / ((1 - WARMUP) * steps))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step >= int(0.9 * steps):
            tail.append(loss.detach())
        if progress is not None:
            progress("masked language modelling", step + 1, steps)
    return float(torch.stack(tail).mean()) if tail else float("nan")


def _loss(
    transformer: Transformer, ids: Tensor, lengths: Tensor, mask: int, special: Tensor, generator: torch.Generator
) -> Tensor:
    real = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
    drawn = torch.rand(ids.shape, generator=generator, device=ids.device) < MASKED
    hidden_ones = drawn & real & ~special[ids]
    hidden = transformer(torch.where(hidden_ones, mask, ids), lengths)
    with transformer.autocast(ids.device):
        logits = nn.functional.linear(hidden[hidden_ones], transformer.table, transformer.bias)
    return nn.functional.cross_entropy(logits.float(), ids[hidden_ones])
