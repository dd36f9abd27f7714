"""A run that another engine wrote, as a TREC file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xxhash

from lsr.corpus import Query
from lsr.errors import EvaluationError
from lsr.eval.systems.system import UnderTest
from lsr.eval.timing import Stage
from lsr.run_file import Ranking, read_run

__all__ = ["RunSystem"]

_CHUNK = 1 << 20


class RunSystem:
    """The hits that a TREC run file holds. Nothing of it can be timed."""

    kind = "run"
    models: Sequence[Mapping[str, str | None]] = ()
    threads: Sequence[int] = ()
    timed = 0

    def __init__(self, name: str, path: Path) -> None:
        self.name, self._path = name, path
        self.description = f"the TREC run {path.name}"
        self._found: dict[str, Ranking] = {}
        self._hash = ""

    @property
    def settings(self) -> Mapping[str, str | float | bool | None]:
        return {"file": self._path.name, "xxh3_128": self.fingerprint()}

    def fingerprint(self) -> str:
        if not self._hash:
            digest = xxhash.xxh3_128()
            with self._path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
            self._hash = digest.hexdigest()
        return self._hash

    def prepare(self, test: UnderTest) -> None:
        self._found = read_run(self._path)
        if not any(query.id in self._found for query in test.dataset.queries):
            asked, found = test.dataset.queries[0].id, next(iter(self._found))
            raise EvaluationError(
                f"{self._path}: none of its queries ({found!r} ...) is judged in {test.dataset.name} ({asked!r} ...); is it "
                "the run of another collection?"
            )

    def search(self, queries: Sequence[Query], k: int) -> dict[str, Ranking]:
        nothing = Ranking((), ())
        rankings = ((query.id, self._found.get(query.id, nothing)) for query in queries)
        return {query: Ranking(ranking.ids[:k], ranking.scores[:k]) for query, ranking in rankings}

    def stages(self, k: int) -> Sequence[Stage]:
        return ()

    def answer(self, texts: Sequence[str], k: int, threads: int) -> None:
        raise AssertionError("a run file answers no new queries")

    def costs(self, test: UnderTest) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        self._found = {}
