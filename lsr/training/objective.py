"""What a step minimises: the losses of its queries and the penalties on its vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lsr.training import losses
from lsr.training.materials import Materials
from lsr.training.network import presence
from lsr.training.processes import Processes
from lsr.training.recipe import Recipe
from lsr.training.regularizers import Penalty
from lsr.training.student import Student

__all__ = ["Objective"]

Rows = npt.NDArray[np.int64]


class Objective:
    """The loss of a step as a function of all its vectors."""

    def __init__(
        self,
        recipe: Recipe,
        student: Student,
        materials: Materials,
        processes: Processes,
        penalties: Sequence[Penalty],
    ) -> None:
        self.recipe, self.student, self.materials, self.processes = recipe, student, materials, processes
        self.penalties, self.device = penalties, processes.device

    def __call__(
        self, step: int, queries: Rows, candidates: Rows, mine: slice, asked: Tensor, documents: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The part of one process: the loss of its own queries and its share of the penalties, and what to note of it.

        queries int64 [B] and candidates int64 [B, K] of all processes, of which `mine` are its own; asked float32 [B, n]
        and documents float32 [B x K, n] are their vectors, as the sides give them.
        """
        weights, world = self.recipe.loss, self.processes.world
        there = torch.from_numpy(candidates >= 0).to(self.device)
        scores = self.student.scores(asked[mine], documents)  # [b, N]
        count = candidates.shape[1]
        first = torch.arange(mine.start, mine.stop, device=self.device)[:, None] * count
        own = scores.gather(1, first + torch.arange(count, device=self.device))  # [b, K]
        part: dict[str, Tensor] = {}
        positives = self._places_of_positives(queries[mine], candidates[mine])
        if weights.taught:
            targets, block = self._targets(queries[mine], candidates[mine], candidates)
            if weights.kl:
                part["kl"] = losses.kl_divergence(own, targets, weights.temperature)
            if weights.block_kl:
                assert block is not None
                part["block_kl"] = losses.kl_divergence(scores, block, weights.temperature)
            if weights.margin_mse:
                part["margin_mse"] = losses.margin_mse(own, targets, positives.clamp(min=0))
        if weights.contrastive:
            part["contrastive"] = losses.contrastive(own, positives, there[mine], weights.temperature)
        if weights.info_nce:
            places = torch.where(positives >= 0, positives + first[:, 0], -1)
            negatives = self._negatives(queries[mine], candidates)
            part["info_nce"] = losses.contrastive(scores, places, negatives, weights.temperature)
        if weights.term_recall:
            part["term_recall"] = self._term_recall(queries[mine], candidates[mine], documents, first, positives)
        total = torch.zeros((), device=self.device)
        for name, value in part.items():
            total = total + getattr(weights, name) * value / len(queries)
        # Where a query has too few candidates there is another document in their place.
        padded = (candidates < 0).any() and (candidates >= 0).any()
        found = documents[there.view(-1)] if padded else documents
        for i, penalty in enumerate(self.penalties):
            of = found if penalty.choice.side == "document" else asked
            value = penalty(of, step) / world
            total = total + value
            part[f"penalty_{i}"] = value * len(queries)
        noted = {name: value.detach() / len(queries) for name, value in part.items()}
        noted["loss"] = total.detach()
        noted[self.student.counted] = self.student.sizes(found.detach()).mean() / world
        noted["bad"] = (~torch.isfinite(total.detach())).float()
        return total, noted

    def _targets(self, queries: Rows, own: Rows, all_: Rows) -> tuple[Tensor, Tensor | None]:
        ensemble, pairs = self.materials.ensemble, self.materials.pair_scores
        assert ensemble is not None
        asked = torch.from_numpy(queries).to(self.device)
        found = torch.from_numpy(own).to(self.device)
        targets = ensemble.own(asked, found, None if pairs is None else pairs(queries, own))
        if not self.recipe.loss.block_kl:
            return targets, None
        return targets, ensemble.block(asked, torch.from_numpy(all_.ravel()).to(self.device))

    def _places_of_positives(self, queries: Rows, candidates: Rows) -> Tensor:
        """Which of its candidates is the query's positive, int64 [b]; -1 where none is."""
        positive = self.materials.positives[queries]
        match = (candidates == positive[:, None]) & (positive >= 0)[:, None]
        return torch.from_numpy(np.where(match.any(1), match.argmax(1), -1)).to(self.device)

    def _negatives(self, queries: Rows, candidates: Rows) -> Tensor:
        """bool [b, N]: which documents of the batch are not the query's positive, and are there."""
        flat = candidates.ravel()
        found = (flat[None] != self.materials.positives[queries][:, None]) & (flat >= 0)[None]
        return torch.from_numpy(found).to(self.device)

    def _term_recall(
        self, queries: Rows, candidates: Rows, documents: Tensor, first: Tensor, positives: Tensor
    ) -> Tensor:
        known = torch.nonzero(positives >= 0)[:, 0]
        if not len(known):
            return torch.zeros((), device=self.device)
        places = (first[:, 0] + positives)[known]
        rows = candidates[known.cpu().numpy(), positives[known].cpu().numpy()]
        occurs = presence(*self.materials.documents.batch(rows), self.student.documents.dim)
        ids, lengths = self.materials.queries.batch(queries[known.cpu().numpy()])
        wanted = presence(ids, lengths, self.student.documents.dim)
        keep = self.student.documents.keep
        return losses.term_recall(documents[places], wanted, occurs * keep)
