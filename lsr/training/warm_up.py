"""What comes before the first step: training that needs no queries, and that a checkpoint of step 0 keeps."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lsr.training.processes import Processes
from lsr.training.trainer import Diverged
from lsr.training.vectors import Texts, fitting

__all__ = ["BATCH", "descend"]

Rows = npt.NDArray[np.int64]
# Adds the gradients of a part of a batch to the parameters, with so many tokens at a time, and returns its share of the loss.
Gradients = Callable[[Rows, Rows, Any, int], Tensor]
BATCH = 256  # documents a step
RATE, WARMUP = 5e-4, 0.1


def descend(
    module: nn.Module,
    documents: Texts,
    count: int,
    gradients: Gradients,
    *,
    drawn: Callable[[Rows], Any] | None = None,
    steps: int,
    rng: np.random.Generator,
    chunk: int,
    device: torch.device,
    processes: Processes,
    remedy: str,
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """Trains `module` for `steps` steps on random documents of the first `count`. Returns the mean loss of the last tenth.

    gradients: called with the rows int64 [B] of a batch, places among them int64 [b] that are this process's, what `drawn`
    gave for the rows, and the tokens, with padding, that may go through the network at a time; these are halved where the
    device has not the memory. What it adds must be a share of a loss over the whole batch: so what comes out depends
    neither on the chunk nor on the processes.

    Raises `InvalidInput` when the smallest chunk does not fit, and `Diverged`, with `remedy`.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.01, fused=device.type == "cuda")
    tail: list[Tensor] = []
    for step in range(steps):
        rows = rng.integers(0, count, BATCH)
        extra = None if drawn is None else drawn(rows)
        # Longest first, in turn: the parts of the processes have about as many tokens.
        part = np.argsort(-documents.lengths[rows], kind="stable")[processes.rank :: processes.world]
        loss, chunk = fitting(partial(_anew, module, gradients, rows, part, extra), chunk, device)
        processes.sum_([loss, *(p.grad for p in parameters if p.grad is not None)])
        nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min((step + 1) / max(1, WARMUP * steps), (steps - step) / ((1 - WARMUP) * steps))
        optimizer.step()
        if step >= int(0.9 * steps):
            tail.append(loss)
        if progress is not None:
            progress(step + 1, steps)
    optimizer.zero_grad(set_to_none=True)
    found = float(torch.stack(tail).mean())
    if not math.isfinite(found):
        raise Diverged(remedy)
    return found


def _anew(module: nn.Module, gradients: Gradients, rows: Rows, part: Rows, extra: Any, chunk: int) -> Tensor:
    module.zero_grad(set_to_none=True)
    return gradients(rows, part, extra, chunk)
