"""What a system under evaluation must do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lsr.corpus import Query
from lsr.eval.datasets import Dataset, DatasetFacts
from lsr.eval.timing import Stage
from lsr.run_file import Ranking

__all__ = ["TIMED", "Progress", "System", "UnderTest"]

TIMED = 1000  # queries, the first ones

# progress(stage, done, total): as for building an index.
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True)
class UnderTest:
    """What a system is evaluated on.

    work: a folder for what it must write, removed when all is measured. It is kept when the evaluation is interrupted, so
    that long work may go on from there.
    """

    dataset: Dataset
    facts: DatasetFacts
    work: Path
    progress: Progress


class System(Protocol):
    """A retrieval system. `name` is unique in an evaluation, `kind` one word, `description` a line for people.

    timed: how many queries are timed at most; fewer than `TIMED` for what takes long.
    """

    name: str
    kind: str
    description: str
    timed: int

    @property
    def settings(self) -> Mapping[str, str | float | bool | None]:
        """What was chosen, for the report."""
        ...

    @property
    def models(self) -> Sequence[Mapping[str, str | None]]:
        """Name and hash of the models that it uses."""
        ...

    def fingerprint(self) -> str:
        """Equal when and only when the results would be: of files, weights and settings. Cheap: asked before `prepare`."""
        ...

    def prepare(self, test: UnderTest) -> None:
        """Does what comes before the first query, such as building an index. Raises an `LsrError` when it cannot."""
        ...

    def search(self, queries: Sequence[Query], k: int) -> dict[str, Ranking]:
        """At most k documents for each query, by query id. The order of the ids is the ranking, also among equal scores."""
        ...

    def stages(self, k: int) -> Sequence[Stage]:
        """The way of one query, as functions to time apart: the first takes its text. Empty when it cannot be timed."""
        ...

    def answer(self, texts: Sequence[str], k: int, threads: int) -> None:
        """Answers all the texts with so many threads, for throughput. Only called with what `threads` names."""
        ...

    @property
    def threads(self) -> Sequence[int]:
        """The numbers of threads to measure throughput with."""
        ...

    def costs(self, test: UnderTest) -> dict[str, Any]:
        """Parts of the report on size and speed: "index", "sparsity", "start_ms", "approximation", where they apply."""
        ...

    def close(self) -> None:
        """Lets go of memory and files."""
        ...
