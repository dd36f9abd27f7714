"""Masked language modelling on the documents: what teaches a new vocabulary head its words before it learns to retrieve."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lsr.errors import InvalidInput
from lsr.training.network import Transformer
from lsr.training.processes import Processes
from lsr.training.trainer import Diverged
from lsr.training.vectors import Texts, chunks, fitting

__all__ = ["warm_up"]

Rows = npt.NDArray[np.int64]
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
    chunk: int,
    processes: Processes,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> float:
    """Trains for `steps` steps to guess masked tokens, all of which become `mask`. Returns the mean loss of the last tenth.

    special bool [V] are tokens that are never masked. chunk: tokens, with padding, that go through the network at a time;
    halved where the device has not the memory. Each process does a part of each batch. The loss is the mean over all
    masked tokens of the batch: what comes out depends neither on the chunk nor on the processes.

    Raises `InvalidInput` without a mask, or when the smallest chunk does not fit, and `Diverged`.
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
        rows = rng.integers(0, count, BATCH)
        ids, lengths = documents.batch(rows)
        real = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        drawn = torch.rand(ids.shape, generator=generator, device=ids.device) < MASKED
        chosen = drawn & real & ~special[ids]
        # Longest first, in turn: the parts of the processes have about as many tokens.
        part = np.argsort(-documents.lengths[rows], kind="stable")[processes.rank :: processes.world]
        gradients = partial(_gradients, transformer, documents, rows, part, chosen, mask)
        loss, chunk = fitting(gradients, chunk, ids.device)
        processes.sum_([loss, *(p.grad for p in parameters if p.grad is not None)])
        nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min((step + 1) / max(1, WARMUP * steps), (steps - step) / ((1 - WARMUP) * steps))
        optimizer.step()
        if step >= int(0.9 * steps):
            tail.append(loss)
        if progress is not None:
            progress("masked language modelling", step + 1, steps)
    optimizer.zero_grad(set_to_none=True)
    found = float(torch.stack(tail).mean())
    if not math.isfinite(found):
        raise Diverged(
            "the loss of masked language modelling is no number any more; try precision fp32, or set start.mlm_steps to 0"
        )
    return found


def _gradients(
    transformer: Transformer, documents: Texts, rows: Rows, part: Rows, chosen: Tensor, mask: int, chunk: int
) -> Tensor:
    """Gives the parameters the gradients of a part of the batch. Returns its share of the loss.

    rows int64 [B] are the documents of the batch, `part` places among them; chosen bool [B, L] are the tokens to guess.
    """
    transformer.zero_grad(set_to_none=True)
    total, count = torch.zeros((), device=chosen.device), chosen.sum().clamp(min=1)
    for some in chunks(documents.lengths[rows[part]], chunk):
        places = part[some]
        ids, lengths = documents.batch(rows[places])
        guessed = chosen[torch.from_numpy(places).to(chosen.device), : ids.shape[1]]
        hidden = transformer(torch.where(guessed, mask, ids), lengths)
        with transformer.autocast(ids.device):
            logits = nn.functional.linear(hidden[guessed], transformer.table, transformer.bias)
        loss = nn.functional.cross_entropy(logits.float(), ids[guessed], reduction="sum") / count
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return total
