"""Losses over the scores of a batch: B queries, their K candidates each, and all N documents of the batch.

`own` [B, K] are the scores of a query's candidates, `block` [B, N] of all documents; both in student and teacher. What
is not there (padding of candidates) is -inf in the targets and False in a mask. Every loss is a sum over the queries it
is given: the trainer divides by the number in the whole batch, which several processes share.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["contrastive", "kl_divergence", "margin_mse", "term_recall"]


def kl_divergence(student: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(softmax(targets) || softmax(student / temperature)), float32 [B, K] each; targets of -inf do not take part.

    The targets are scaled already (Geng et al. 2024, section 3.3). Rows without two targets teach nothing and give 0.
    """
    there = targets.isfinite()
    rows = there.sum(1) > 1
    minus = torch.finfo(student.dtype).min
    goal = torch.where(there, targets, minus).log_softmax(1)
    found = torch.where(there, student / temperature, minus).log_softmax(1)
    each = torch.where(there, goal.exp() * (goal - found), 0.0).sum(1)
    return torch.where(rows, each, 0.0).sum()


def margin_mse(student: Tensor, targets: Tensor, reference: Tensor) -> Tensor:
    """Squared error of the margins between a query's reference, a column int64 [B], and its other candidates.

    The mean over the others, summed over rows (Hofstätter et al. 2020).
    """
    column = reference[:, None]
    there = targets.isfinite() & targets.gather(1, column).isfinite()
    there = there.scatter(1, column, False)
    margins = student.gather(1, column) - student
    wanted = torch.where(there, targets.gather(1, column) - targets, 0.0)
    counts = there.sum(1).clamp(min=1)
    return (torch.where(there, margins - wanted, 0.0).square().sum(1) / counts).sum()


def contrastive(student: Tensor, positive: Tensor, there: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross entropy of the positive document, a column int64 [B] of the scores; -1 where there is none, which gives 0.

    With the scores of the own candidates it is that of uniCOIL and SPLADE, with those of the batch InfoNCE with
    in-batch negatives; `there` bool [B, N] says which of the columns are negatives of the query.
    """
    known = positive >= 0
    place = positive.clamp(min=0)
    there = there.scatter(1, place[:, None], True)
    found = torch.where(there, student / temperature, torch.finfo(student.dtype).min).log_softmax(1)
    picked = found.gather(1, place[:, None])[:, 0]
    return -torch.where(known, picked, 0.0).sum()


def term_recall(documents: Tensor, queries: Tensor, occurs: Tensor) -> Tensor:
    """DeepCT's: squared error of a positive's weights to whether its query has the term, over the terms of the text.

    All float32 [B, V]: weights of the positives, presence in the query, presence in the text. The mean over terms,
    summed over rows (Dai and Callan 2019).
    """
    wanted = (queries > 0).to(documents.dtype)
    error = functional.mse_loss(documents, wanted, reduction="none") * occurs
    return (error.sum(1) / occurs.sum(1).clamp(min=1)).sum()
