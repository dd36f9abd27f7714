"""Random search: legal pipelines, each as likely as any other, none twice."""

from __future__ import annotations

from lsr.rag.search.algorithms.base import Algorithm
from lsr.rag.search.space import Genome

__all__ = ["RandomSearch"]


class RandomSearch(Algorithm):
    name = "random"

    def _propose(self) -> Genome | None:
        return self.space.unseen(self._taken, self.random)

    def _told(self, genome: Genome, values: tuple[float, ...] | None) -> None:
        pass
