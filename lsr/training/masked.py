"""Masked language modelling on the documents: what teaches a new vocabulary head its words before it learns to retrieve."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lsr.errors import InvalidInput
from lsr.training.network import Transformer
from lsr.training.processes import Processes
from lsr.training.vectors import Texts, chunks
from lsr.training.warm_up import descend

__all__ = ["warm_up"]

Rows = npt.NDArray[np.int64]
MASKED = 0.15  # of the tokens, as BERT was trained


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

    special bool [V] are tokens that are never masked. chunk: tokens, with padding, that go through the network at a time. The
    loss is the mean over all masked tokens of the batch.

    Raises `InvalidInput` without a mask, and as `descend` does.
    """
    if mask is None:
        raise InvalidInput("the tokenizer of the start model has no [MASK]: set start.mlm_steps to 0")
    generator = torch.Generator(special.device).manual_seed(seed)

    def drawn(rows: Rows) -> Tensor:
        ids, lengths = documents.batch(rows)
        real = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        return (torch.rand(ids.shape, generator=generator, device=ids.device) < MASKED) & real & ~special[ids]

    return descend(
        transformer,
        documents,
        count,
        partial(_gradients, transformer, documents, mask),
        drawn=drawn,
        steps=steps,
        rng=np.random.default_rng([seed, 2]),
        chunk=chunk,
        device=special.device,
        processes=processes,
        remedy="the loss of masked language modelling is no number any more; try precision fp32, or set start.mlm_steps to 0",
        progress=None if progress is None else partial(progress, "masked language modelling"),
    )


def _gradients(
    transformer: Transformer, documents: Texts, mask: int, rows: Rows, part: Rows, chosen: Tensor, chunk: int
) -> Tensor:
    """As `descend` has it; chosen bool [B, L] are the tokens to guess."""
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
