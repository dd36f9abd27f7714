"""What a search algorithm is: asked for pipelines, told what came of them.

It depends on its seed and on what it was asked and told alone, in that order: who repeats both has it in the same state. So
a study keeps no state of an algorithm, and replays its history instead.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from lsr.errors import InvalidInput
from lsr.rag.search.space import Choice, Genome, Space
from lsr.schema import between

__all__ = ["Algorithm", "Settings", "Values", "fitness"]

Values = Sequence[float]


@dataclass(frozen=True)
class Settings:
    """batch: pipelines that are asked for at a time, and may be evaluated at the same time."""

    batch: int = field(default=8, metadata=between(1, 10_000))


class Algorithm(ABC):
    """space: where pipelines come from. known: good ones, which are proposed first. costs: how many values follow the
    quality.

    It proposes legal pipelines that it was not told of and did not propose before, as long as there are any.
    """

    name: ClassVar[str]
    settings_class: ClassVar[type[Settings]] = Settings
    settings: Settings

    def __init__(
        self,
        space: Space,
        *,
        seed: int = 0,
        known: Sequence[Mapping[str, Any]] = (),
        costs: int = 0,
        settings: Settings | None = None,
    ) -> None:
        self.space = space
        self.costs = costs
        self.settings = settings or self.settings_class()
        self.random = random.Random(seed)
        self._known = [space.genome(choice) for choice in known]
        self._taken: set[Genome] = set()

    def ask(self, n: int) -> list[Choice]:
        """Up to n pipelines to evaluate; fewer where the space has no more."""
        result: list[Choice] = []
        while len(result) < n:
            genome = self._next()
            if genome is None:
                break
            self._taken.add(genome)
            result.append(self.space.choice(genome))
        return result

    def tell(self, choice: Mapping[str, Any], values: Values | None) -> None:
        """What came of a pipeline, asked for or not: quality, more is better, then costs, less is better; None: it failed."""
        if values is not None and len(values) != 1 + self.costs:
            raise InvalidInput(f"{len(values)} values of a pipeline were told: there are {1 + self.costs} objectives")
        genome = self.space.genome(choice)
        self._taken.add(genome)
        self._told(genome, None if values is None else tuple(values))

    def _next(self) -> Genome | None:
        while self._known:
            genome = self._known.pop(0)
            if genome not in self._taken and self.space.is_legal(genome):
                return genome
        if len(self._taken) >= self.space.count():
            return None
        proposed = self._propose()
        return None if proposed is None else self.space.nearest(proposed, self._taken, self.random)

    @abstractmethod
    def _propose(self) -> Genome | None:
        """A pipeline, perhaps illegal or known: the nearest that is neither is taken."""

    @abstractmethod
    def _told(self, genome: Genome, values: tuple[float, ...] | None) -> None: ...


def fitness(values: Values) -> tuple[float, ...]:
    """The order of pipelines by one objective: quality, then costs in their order. More is better."""
    return (values[0], *(-cost for cost in values[1:]))
