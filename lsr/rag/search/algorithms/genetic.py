"""The genetic algorithm of RAGSmith (2025): a pipeline is a genome with a gene for each family.

The first generation is known-good pipelines and random ones. Each further one keeps the elite as it is, and fills up with
children of two selected parents: crossed, mutated, and moved to the nearest legal pipeline that was not evaluated yet. What
failed is no parent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from lsr.rag.search.algorithms.base import Algorithm, Settings, fitness
from lsr.rag.search.space import Genome
from lsr.schema import between, choice

__all__ = ["Genetic", "GeneticSettings"]


@dataclass(frozen=True)
class GeneticSettings(Settings):
    """batch: children of a generation; population: those among whom parents are selected, the best of all so far and of the
    generation before. elite: how many of the population are kept whatever the children are.

    selection: "tournament" (of `tournament` drawn the best), "roulette" (by quality above the worst), "rank" (by rank),
    "elite" (of the better half). crossover: "uniform" (each gene of either parent), "single" or "multi" (cut at one place, or
    two). mutation: "random" (each gene with `rate`) or "adaptive" (`rate` grows up to fourfold while nothing better is
    found).
    """

    batch: int = field(default=8, metadata=between(1, 10_000))
    population: int = field(default=16, metadata=between(2, 10_000))
    elite: int = field(default=2, metadata=between(0, 1000))
    selection: str = field(default="tournament", metadata=choice("tournament", "roulette", "rank", "elite"))
    tournament: int = field(default=3, metadata=between(1, 1000))
    crossover: str = field(default="uniform", metadata=choice("uniform", "single", "multi"))
    mutation: str = field(default="random", metadata=choice("random", "adaptive"))
    rate: float = field(default=0.1, metadata=between(0, 1))


class Genetic(Algorithm):
    name = "genetic"
    settings_class = GeneticSettings

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self._parents: list[Genome] = []
        self._children: list[Genome] = []
        self._fitness: dict[Genome, tuple[float, ...]] = {}
        self._stale = 0  # generations without anything better
        self._best: tuple[float, ...] | None = None

    @property
    def _options(self) -> GeneticSettings:
        return cast(GeneticSettings, self.settings)

    def _told(self, genome: Genome, values: tuple[float, ...] | None) -> None:
        if values is not None:
            self._fitness[genome] = fitness(values)
        self._children.append(genome)
        if len(self._children) >= self._options.batch:
            self._turn()

    def _turn(self) -> None:
        """The population of the next generation: the elite, then the children, then the next best before them."""
        options = self._options
        scored = [genome for genome in dict.fromkeys(self._children) if genome in self._fitness]
        before = self._ranked(self._parents)
        elite = [genome for genome in before[: options.elite] if genome not in scored]
        others = self._ranked([*scored, *before[options.elite :]])
        self._parents = [*elite, *others][: max(options.population, len(elite))]
        self._children = []
        best = max((self._fitness[genome] for genome in self._parents), default=None)
        improved = best is not None and (self._best is None or best > self._best)
        self._stale = 0 if improved else self._stale + 1
        self._best = best if improved else self._best

    def _ranked(self, genomes: list[Genome]) -> list[Genome]:
        return sorted(dict.fromkeys(genomes), key=lambda genome: self._fitness[genome], reverse=True)

    def _propose(self) -> Genome | None:
        if len(self._parents) < 2:
            return self.space.unseen(self._taken, self.random)
        first, second = self._selected(), self._selected()
        return self._mutated(self._crossed(first, second))

    def _selected(self) -> Genome:
        options, ranked = self._options, self._ranked(self._parents)
        if options.selection == "tournament":
            return ranked[min(self.random.randrange(len(ranked)) for _ in range(options.tournament))]
        if options.selection == "elite":
            return self.random.choice(ranked[: max(2, len(ranked) // 2)])
        if options.selection == "rank":
            weights = [float(len(ranked) - place) for place in range(len(ranked))]
        else:
            worst = min(self._fitness[genome][0] for genome in ranked)
            weights = [self._fitness[genome][0] - worst for genome in ranked]
            mean = sum(weights) / len(weights)
            weights = [weight + 0.1 * mean + 1e-12 for weight in weights]  # the worst has a chance too
        return self.random.choices(ranked, weights)[0]

    def _crossed(self, first: Genome, second: Genome) -> Genome:
        size, kind = len(first), self._options.crossover
        if kind == "uniform" or size < 2:
            return tuple(self.random.choice(pair) for pair in zip(first, second, strict=True))
        cuts = sorted(self.random.sample(range(1, size), 1 if kind == "single" or size < 3 else 2))
        end = cuts[1] if len(cuts) == 2 else size
        return (*first[: cuts[0]], *second[cuts[0] : end], *first[end:])

    def _mutated(self, genome: Genome) -> Genome:
        rate = self._options.rate
        if self._options.mutation == "adaptive":
            rate = min(1.0, rate * min(4, 1 + self._stale))
        return tuple(self._other(at, gene) if self.random.random() < rate else gene for at, gene in enumerate(genome))

    def _other(self, at: int, gene: int) -> int:
        """Another gene: half the time of the same option with one other value, where it has any."""
        family = self.space.families[at]
        option, digits = family.places[gene]
        if digits and self.random.random() < 0.5:
            near = [
                other
                for other in family.options[option].variants
                if sum(a != b for a, b in zip(digits, other, strict=True)) == 1
            ]
            if near:
                return family.gene_at(option, self.random.choice(near))
        options = [i for i in range(len(family.options)) if i != option]
        if not options:
            return self.random.randrange(len(family.places))
        chosen = self.random.choice(options)
        return family.gene_at(chosen, self.random.choice(list(family.options[chosen].variants)))
