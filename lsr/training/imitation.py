"""A new vocabulary head learns the vectors of another sparse encoder before it learns to retrieve.

A ranking says little of thirty thousand weights; the vectors of an encoder with the same vocabulary say all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lsr.training.head import activate, pooled_logits
from lsr.training.network import Network
from lsr.training.processes import Processes
from lsr.training.teachers import SparseTeacher
from lsr.training.vectors import Texts, chunks
from lsr.training.warm_up import BATCH, descend

__all__ = ["imitate"]

Rows = npt.NDArray[np.int64]


def imitate(
    side: Network,
    teacher: SparseTeacher,
    documents: Texts,
    count: int,
    *,
    steps: int,
    seed: int,
    chunk: int,
    processes: Processes,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> float:
    """Trains the side for `steps` steps to give documents the teacher's vectors. Returns the mean loss of the last tenth.

    The loss is the squared error of the weights, summed over terms, the mean over documents. A term that the teacher has and
    the student has not would have no gradient through a ReLU: there its logit counts as its weight. Terms that never leave
    the side do not take part.

    Raises as `descend` does.
    """
    return descend(
        side,
        documents,
        count,
        partial(_gradients, side, teacher, documents),
        steps=steps,
        rng=np.random.default_rng([seed, 7]),
        chunk=chunk,
        device=side.keep.device,
        processes=processes,
        remedy="the loss of start.imitate is no number any more; try precision fp32, or leave it out",
        progress=None if progress is None else partial(progress, f"imitating {teacher.name}"),
    )


def _gradients(
    side: Network, teacher: SparseTeacher, documents: Texts, rows: Rows, part: Rows, _: None, chunk: int
) -> Tensor:
    transformer = side.transformer
    total = torch.zeros((), device=side.keep.device)
    for some in chunks(documents.lengths[rows[part]], chunk):
        mine = rows[part[some]]
        ids, lengths = documents.batch(mine)
        wanted = teacher.weights(torch.from_numpy(mine).to(total.device))
        hidden = transformer(ids, lengths)
        with transformer.autocast(ids.device):
            logits = pooled_logits(hidden, lengths, transformer.table, transformer.bias)
        weights = torch.where(logits > 0, activate(logits, side.activation), logits)
        error = torch.where(wanted > 0, weights - wanted, weights.relu()) * side.keep
        loss = error.square().sum() / BATCH
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return total
