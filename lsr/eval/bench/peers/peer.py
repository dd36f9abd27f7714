"""What an engine has to offer to be measured beside others: `Peer` builds an index, `Opened` answers from it.

What a user of the engine would do once and outside of a search (bring vectors into its form, give parameters) is not timed,
and neither is reading the answer. Timed are `build`, with all of the index on disk at its end, and the function that
`searcher` gives. Everything runs in a process that holds this one engine alone (see `lsr.eval.bench.worker`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from lsr.sparse import SparseVectors

__all__ = ["Opened", "Peer", "Rows", "Search", "Settings"]

Rows = npt.NDArray[np.integer[Any]]
Settings = Mapping[str, str | int | float | bool | None]


@dataclass(frozen=True, slots=True)
class Search:
    """One way to search an index: what is given with a query. `series` is the curve of the report that it is a point of.

    bare: not the way that users call the engine, but what is below it; measured, and left out of plots and comparisons.
    """

    series: str
    settings: Settings = field(default_factory=dict)
    bare: bool = False


class Opened(ABC):
    """An index that is open for searching."""

    @abstractmethod
    def prepare(self, queries: SparseVectors) -> list[Any]:
        """Queries in the form that a search takes. The searches that follow are of these queries."""

    @abstractmethod
    def searcher(self, search: Search, k: int) -> Callable[[Any], Any]:
        """A function from a prepared query to the engine's own answer: what is timed."""

    @abstractmethod
    def rows(self, answer: Any) -> Rows:
        """Document numbers of an answer, best first; k at most."""


class Peer(ABC):
    """An engine. Made without importing it.

    name: as `--peer` takes it. package: what pip installs, None for lsr itself. module: what Python imports.
    measured: for the report, in a sentence, what is timed and how the engine is set up.
    """

    name: ClassVar[str]
    package: ClassVar[str | None]
    module: ClassVar[str]
    measured: ClassVar[str]

    def builds(self, documents: int) -> Sequence[Settings]:
        """Parameters of the indexes to build from so many documents."""
        return [{}]

    @abstractmethod
    def searches(self, build: Settings, k: int) -> Sequence[Search]:
        """The grid: every way to search an index with those parameters."""

    def convert(self, vectors: SparseVectors, folder: Path) -> Any:
        """The documents in the form that `build` takes. `folder` is for files, and is deleted after the build."""
        return vectors

    @abstractmethod
    def build(self, source: Any, folder: Path, settings: Settings) -> None:
        """Builds an index of what `convert` gave and leaves it in the folder, an empty one."""

    @abstractmethod
    def open(self, folder: Path, settings: Settings) -> Opened:
        """Opens what `build` left in the folder."""

    def stored(self, folder: Path) -> SparseVectors | None:
        """The vectors as the index keeps them; None when the engine does not give them back."""
        return None
