"""What an index holds in each of its generations, and the change that made it: the same in every process that asks.

Each document carries the generation that wrote it, in its text, its metadata and its weights.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lsr import Index
from tests.reliability.collections import DIM, Doc, source

KINDS = ("add", "upsert", "delete", "compact")
SIZE = 50  # documents, about
# The step of the weights is 1, and all others are multiples of it.
ANCHOR = Doc("anchor", {DIM - 1: 1}, {"generation": 1})


@dataclass(frozen=True)
class Version(Doc):
    """A document as a generation wrote it."""

    @property
    def text(self) -> str:
        return f"{self.id} as generation {self.metadata['generation']} wrote it"


class Change(NamedTuple):
    """What makes a generation of the one before."""

    kind: str
    documents: Sequence[Version] = ()
    ids: Sequence[str] = ()
    refresh: bool = False

    def do(self, index: Index) -> None:
        if self.kind == "add":
            index.add(source(self.documents))
        elif self.kind == "upsert":
            index.upsert(source(self.documents))
        elif self.kind == "delete":
            index.delete(self.ids)
        else:
            index.compact(refresh=self.refresh)


class History:
    """Generations from 1; `queries` are what is asked of each."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        chosen = random.Random(f"{seed} queries")
        terms = [chosen.sample(range(DIM), size) for size in (1, 2, 3, 5, 8)]
        self.queries: list[Mapping[int, int]] = [{term: chosen.randint(1, 4) for term in some} for some in terms]
        self.queries.append({0: 1})  # which all documents have, with the weight of their generation
        first = {one.id: one for one in [ANCHOR, *(self._version(f"first{number}", 1) for number in range(SIZE))]}
        self._states: list[dict[str, Doc]] = [{}, first]
        self._changes: list[Change] = [Change("none"), Change("build")]

    def documents(self, generation: int) -> list[Doc]:
        """The documents of a generation, in order."""
        self._reach(generation)
        return list(self._states[generation].values())

    def change(self, generation: int) -> Change:
        """The change that makes it of the one before."""
        self._reach(generation)
        return self._changes[generation]

    def _reach(self, generation: int) -> None:
        while len(self._states) <= generation:
            self._add(len(self._states))

    def _add(self, generation: int) -> None:
        chosen = random.Random(f"{self._seed} {generation}")
        state = dict(self._states[-1])
        there = [identifier for identifier in state if identifier != ANCHOR.id]
        kind = KINDS[generation % len(KINDS)]
        documents: list[Version] = []
        ids: list[str] = []
        if kind == "add":
            documents = [self._version(f"new{generation}-{number}", generation) for number in range(6)]
        elif kind == "upsert":
            ids = chosen.sample(there, 12)
            documents = [self._version(name, generation) for name in (*ids, f"new{generation}")]
        elif kind == "delete":
            ids = chosen.sample(there, max(1, len(there) - SIZE))
        for name in ids:
            del state[name]
        state.update({one.id: one for one in documents})
        self._states.append(state)
        self._changes.append(Change(kind, documents, ids, refresh=generation % 8 == 7))

    def _version(self, identifier: str, generation: int) -> Version:
        chosen = random.Random(f"{self._seed} {identifier} {generation}")
        weights = {term: chosen.randint(1, 9) for term in chosen.sample(range(1, DIM - 1), 5)}
        return Version(identifier, {0: 1 + generation % 250, **weights}, {"generation": generation})
