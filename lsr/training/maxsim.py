"""MaxSim of all queries of a batch with all its documents, and its exact gradient (Khattab and Zaharia 2020, section 3.1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["maxsim"]

NUMBERS = 1 << 26  # products that are there at a time


def maxsim(queries: Tensor, documents: Tensor) -> Tensor:
    """float32 [B, N]: for each vector of a query the largest product with a vector of the document, summed.

    queries float32 [B, Q, E], documents float32 [N, D, E]; a vector of zeros is none. A document without any scores 0. Of
    equal products the first takes the gradient. No more than `NUMBERS` of the B x Q x N x D products are kept at a time, and
    after that only which was the largest.
    """
    queries, documents = (vectors[:, : _longest(vectors)] for vectors in (queries, documents))
    if not queries.numel() or not documents.numel():
        return (queries.sum() + documents.sum()) * queries.new_zeros(len(queries), len(documents))
    scores: Tensor = _MaxSim.apply(queries.contiguous(), documents.contiguous())  # type: ignore[no-untyped-call]
    return scores


def _longest(vectors: Tensor) -> int:
    """How many of the places have a vector in any text."""
    used = vectors.detach().any(2).any(0).nonzero()
    return int(used[-1]) + 1 if len(used) else 0


class _MaxSim(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, documents: Tensor) -> Tensor:
        flat, there = queries.flatten(0, 1), documents.any(2)
        scores, best = [], []
        for first in range(0, len(documents), _step(queries, documents)):
            part = documents[first : first + _step(queries, documents)]
            products = (flat @ part.flatten(0, 1).T).view(len(flat), *part.shape[:2])
            products.masked_fill_(~there[first : first + len(part)], -torch.inf)
            values, places = products.max(2)
            values = values.masked_fill(~there[first : first + len(part)].any(1), 0.0)  # what is no number stays none
            scores.append(values.view(*queries.shape[:2], len(part)).sum(1))
            best.append(places)
        ctx.save_for_backward(queries, documents, torch.cat(best, 1))
        return torch.cat(scores, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient of a score goes to the products that were the largest: as a product of matrices, so that sums are in
        one order."""
        queries, documents, best = ctx.saved_tensors
        (gradient,) = gradients
        flat, there = queries.flatten(0, 1), documents.any(2)
        of_queries, of_documents = torch.zeros_like(flat), []
        for first in range(0, len(documents), _step(queries, documents)):
            part = documents[first : first + _step(queries, documents)]
            last = first + len(part)
            weights = gradient[:, None, first:last].expand(-1, queries.shape[1], -1).reshape(len(flat), len(part), 1)
            chosen = flat.new_zeros(len(flat), *part.shape[:2])
            chosen.scatter_(2, best[:, first:last, None], weights)
            chosen = chosen.masked_fill_(~there[first:last], 0).flatten(1)
            of_queries += chosen @ part.flatten(0, 1)
            of_documents.append((chosen.T @ flat).view_as(part))
        of_queries = of_queries.view_as(queries) * queries.any(2, keepdim=True)
        return of_queries, torch.cat(of_documents)


def _step(queries: Tensor, documents: Tensor) -> int:
    """Documents at a time."""
    return max(1, NUMBERS // (queries.shape[0] * queries.shape[1] * documents.shape[1]))
