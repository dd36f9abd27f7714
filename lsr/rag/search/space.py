"""The space of pipelines as data: families with their options, and constraints.

    space = read_space({"retrieve": ["sparse", "bm25"], "rerank": ["none", {"kind": "maxsim", "candidates": [20, 50]}]})
    space.count()                 # 6: exact, without listing them
    for choice in space.pipelines(): ...

Legal pipelines are counted family by family. What matters of the families before is which constraints still match; so the
state is a set of constraints, and its continuations are counted once. The same counts draw a pipeline uniformly, or find
the n-th.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lsr.errors import InvalidInput
from lsr.rag.search.constraints import Constraint, Technique, built_in, read_constraints, unknown
from lsr.rag.search.options import Family, called, read_family
from lsr.rag.stages.base import FAMILIES, stage_class

__all__ = ["Choice", "Genome", "Space", "read_space"]

Genome = tuple[int, ...]
Kinds = Mapping[str, Mapping[str, type[Any]]]

_TRIES = 400  # pipelines drawn before those that are left are listed


@dataclass(frozen=True)
class Choice(Mapping[str, Any]):
    """A pipeline of a space: what was chosen in each family, or None. Equal choices are equal pipelines."""

    items_: tuple[tuple[str, Any], ...]

    def __getitem__(self, family: str) -> Any:
        for name, technique in self.items_:
            if name == family:
                return technique
        raise KeyError(family)

    def __iter__(self) -> Iterator[str]:
        return iter(name for name, _ in self.items_)

    def __len__(self) -> int:
        return len(self.items_)

    @property
    def stages(self) -> int:
        """How many families are not none."""
        return sum(technique is not None for _, technique in self.items_)

    def to_json(self) -> dict[str, Any]:
        return {family: _said(technique) for family, technique in self.items_}

    def __str__(self) -> str:
        return "; ".join(f"{family}: {called(technique)}" for family, technique in self.items_ if technique is not None)


class Space:
    """families: in the order of a pipeline. Raises `InvalidInput` where no pipeline is legal, saying why one is not."""

    def __init__(self, families: Sequence[Family], constraints: Sequence[Constraint] = ()) -> None:
        self.families = tuple(families)
        self.constraints = tuple(constraints)
        # Of a family that the space has not, nothing is chosen.
        self._masks = [[self._mask(f.name, technique) for technique in f.techniques] for f in self.families]
        names = [f.name for f in self.families]
        last = [max((names.index(n) for n in c.when if n in names), default=-1) for c in self.constraints]
        self._ends = [sum(1 << c for c, at in enumerate(last) if at == i) for i in range(len(names))]
        self._start = sum(
            1 << c
            for c, constraint in enumerate(self.constraints)
            if all(matches(None) for name, matches in constraint.when.items() if name not in names)
        )
        impossible = [c for c, at in enumerate(last) if at < 0 and self._start >> c & 1]
        self._ways: dict[tuple[int, int], int] = {}
        if impossible or self.count() == 0:
            reasons = self.why_illegal(self.choice((0,) * len(self.families)))
            raise InvalidInput(f"no pipeline of the space is legal; of the first: {'; '.join(reasons)}")

    def _mask(self, family: str, technique: Technique | None) -> int:
        return sum(
            1 << c
            for c, constraint in enumerate(self.constraints)
            if family not in constraint.when or constraint.when[family](technique)
        )

    def _step(self, at: int, gene: int, matching: int) -> int | None:
        """The constraints that still match after a gene; None where one is complete."""
        matching &= self._masks[at][gene]
        return None if matching & self._ends[at] else matching

    def _count(self, at: int, matching: int) -> int:
        """Legal continuations from a family on."""
        if at == len(self.families):
            return 1
        known = self._ways.get((at, matching))
        if known is None:
            steps: dict[int, int] = {}
            for gene in range(len(self._masks[at])):
                after = self._step(at, gene, matching)
                if after is not None:
                    steps[after] = steps.get(after, 0) + 1
            known = sum(many * self._count(at + 1, after) for after, many in steps.items())
            self._ways[at, matching] = known
        return known

    def count(self) -> int:
        """The number of legal pipelines."""
        return self._count(0, self._start)

    def nth(self, n: int) -> Genome:
        """The n-th legal pipeline, from 0, in the order of `genomes`. Raises `IndexError`."""
        if not 0 <= n < self.count():
            raise IndexError(f"there are {self.count():,} legal pipelines")
        genome: list[int] = []
        matching = self._start
        for at in range(len(self.families)):
            for gene in range(len(self._masks[at])):
                after = self._step(at, gene, matching)
                if after is None:
                    continue
                ways = self._count(at + 1, after)
                if n < ways:
                    genome.append(gene)
                    matching = after
                    break
                n -= ways
        return tuple(genome)

    def genomes(self) -> Iterator[Genome]:
        """All legal pipelines, lazily; the last family changes fastest."""
        return self._genomes((), self._start)

    def _genomes(self, begun: Genome, matching: int) -> Iterator[Genome]:
        at = len(begun)
        if at == len(self.families):
            yield begun
            return
        for gene in range(len(self._masks[at])):
            after = self._step(at, gene, matching)
            if after is not None and self._count(at + 1, after):
                yield from self._genomes((*begun, gene), after)

    def pipelines(self) -> Iterator[Choice]:
        return map(self.choice, self.genomes())

    def draw(self, rng: random.Random) -> Genome:
        """A legal pipeline, each as likely as any other."""
        return self.nth(rng.randrange(self.count()))

    def sample(self, rng: random.Random) -> Choice:
        return self.choice(self.draw(rng))

    def is_legal(self, genome: Genome) -> bool:
        matching = self._start
        for at, gene in enumerate(genome):
            after = self._step(at, gene, matching)
            if after is None:
                return False
            matching = after
        return True

    def why_illegal(self, choice: Mapping[str, Any]) -> list[str]:
        """The reasons why a pipeline is illegal, in the order of constraints; none where it is legal."""
        return [reason for constraint in self.constraints if (reason := constraint.why(choice)) is not None]

    def choice(self, genome: Genome) -> Choice:
        return Choice(tuple((f.name, f.techniques[gene]) for f, gene in zip(self.families, genome, strict=True)))

    def genome(self, choice: Mapping[str, Any]) -> Genome:
        """Raises `InvalidInput` for what is no option; a family that the choice has not is none."""
        genome = []
        for family in self.families:
            try:
                genome.append(family.gene(choice.get(family.name)))
            except KeyError:
                raise InvalidInput(f"{family.name}: {called(choice[family.name])} is no option of the space") from None
        strange = [name for name, technique in choice.items() if technique is not None and name not in self._names]
        if strange:
            raise InvalidInput(f"{strange[0]}: {called(choice[strange[0]])} is no option of the space")
        return tuple(genome)

    def from_json(self, data: Mapping[str, Any]) -> Choice:
        """The pipeline that `Choice.to_json` gave. Raises `InvalidInput` for what is no option."""
        found = []
        for family in self.families:
            said = data.get(family.name)
            same = [technique for technique in family.techniques if _said(technique) == said]
            if not same:
                raise InvalidInput(f"{family.name}: {said} is no option of the space")
            found.append((family.name, same[0]))
        return Choice(tuple(found))

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(family.name for family in self.families)

    def __contains__(self, choice: Mapping[str, Any]) -> bool:
        """Whether it is one of the legal pipelines."""
        try:
            return self.is_legal(self.genome(choice))
        except InvalidInput:
            return False

    def stages(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        """What a pipeline is made of: every family that there is, in their order, with its stage or None."""
        names = FAMILIES if self._names <= set(FAMILIES) else [family.name for family in self.families]
        return {family: choice.get(family) for family in names}

    def unseen(self, taken: Collection[Genome], rng: random.Random) -> Genome | None:
        """A legal pipeline that is not among those `taken`, each as likely; None where there is no other."""
        for _ in range(_TRIES):
            genome = self.draw(rng)
            if genome not in taken:
                return genome
        left = [genome for genome in self.genomes() if genome not in taken]
        return rng.choice(left) if left else None

    def nearest(self, genome: Genome, taken: Collection[Genome], rng: random.Random) -> Genome | None:
        """The pipeline itself where it is legal and not `taken`; else one that differs in as few families as can be found
        by trying: all that differ in one, then some that differ in more. None where there is no other."""
        if genome not in taken and self.is_legal(genome):
            return genome
        ones = [
            (*genome[:at], gene, *genome[at + 1 :])
            for at in range(len(genome))
            for gene in range(len(self._masks[at]))
            if gene != genome[at]
        ]
        rng.shuffle(ones)
        for other in ones:
            if other not in taken and self.is_legal(other):
                return other
        for changes in range(2, len(genome) + 1):
            for _ in range(_TRIES):
                changed = list(genome)
                for at in rng.sample(range(len(genome)), changes):
                    changed[at] = rng.randrange(len(self._masks[at]))
                other = tuple(changed)
                if other not in taken and self.is_legal(other):
                    return other
        return self.unseen(taken, rng)

    def share(self, test: Callable[[Technique], bool]) -> dict[str, float]:
        """Of each family, the share of legal pipelines in which its stage passes a test. Exact."""
        shares = {}
        for family in self.families:

            def passes(technique: Technique | None) -> bool:
                return technique is not None and test(technique)

            try:
                without = Space(self.families, [*self.constraints, Constraint({family.name: passes}, "")]).count()
            except InvalidInput:  # all pass
                without = 0
            shares[family.name] = 1 - without / self.count()
        return shares

    def to_json(self) -> dict[str, Any]:
        """Options and reasons of constraints, as JSON can say them: what a study compares."""
        return {
            "families": {
                family.name: [_said(technique) for technique in family.techniques] for family in self.families
            },
            "constraints": [{"families": sorted(c.when), "reason": c.reason} for c in self.constraints],
            "legal": self.count(),
        }


def _said(technique: Technique | None) -> dict[str, Any] | None:
    """A technique as JSON gives it back: tuples are lists, at any depth."""
    if technique is None:
        return None
    said: dict[str, Any] = json.loads(json.dumps({"kind": technique.kind, **technique.parameters()}))
    return said


def read_space(
    data: Any,
    *,
    forbid: Any = None,
    available: Collection[str] = (),
    kinds: Kinds | None = None,
    where: str = "space",
) -> Space:
    """A space from what YAML holds: families with lists of options (`lsr.rag.search.options`). A family that is not named
    is none.

    forbid: constraints of the user (`lsr.rag.search.constraints`). available: what stages may need, as "generator". kinds:
    classes of stages by family and kind, instead of all that there are.
    Raises `InvalidInput`, with the nearest name for unknown families, kinds, parameters.
    """
    if not isinstance(data, Mapping) or not data:
        raise InvalidInput(f"{where}: must be a mapping of families ({', '.join(FAMILIES)}) and lists of options")

    def find(family: str, kind: str, place: str) -> type[Any]:
        if kinds is not None and kind in kinds.get(family, {}):
            return kinds[family][kind]
        return stage_class(family, kind, place)

    for family in data:
        if family not in FAMILIES:
            raise InvalidInput(f"{where}: {unknown('family', family, FAMILIES)}")
    families = [read_family(f, data[f], find, f"{where}.{f}") for f in FAMILIES if f in data]
    options: dict[str, Sequence[Technique | None]] = dict.fromkeys(FAMILIES, (None,))
    options.update({family.name: family.techniques for family in families})
    needs = {need for family in families for t in family.techniques if t is not None for need in t.needs}
    constraints = built_in([f.name for f in families], needs, frozenset(available))
    return Space(families, [*constraints, *read_constraints(forbid, options, find)])
