"""Uses the kernels of an index's life, for all types, and prints those that were compiled without the lock of the cache:
`python -m tests.reliability.every_kernel FOLDER`, with an empty NUMBA_CACHE_DIR."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from numba.core import event

from lsr import Index, SparseVectors, open_vectors, write_vectors
from lsr.index.blocked.parameters import SearchSettings
from lsr.index.kernels import cache_lock
from tests.conftest import random_vectors

compiled = 0
unlocked: set[str] = set()


class Compiling(event.Listener):  # type: ignore[misc]
    def on_start(self, event: Any) -> None:
        global compiled
        compiled += 1
        if not cache_lock._held:
            function = event.data["dispatcher"].py_func
            unlocked.add(f"{function.__module__}.{function.__name__}")

    def on_end(self, event: Any) -> None:
        pass


def live(folder: Path, dim: int, levels: int | None) -> Index:
    """Builds an index, changes it, and searches it in every way; codes of 16 bits with 1,000 levels of weights."""
    plain = random_vectors(300, dim, 10, 1, levels=levels)
    ids = [f"d{number}" for number in range(300)]
    vectors = SparseVectors(indptr=plain.indptr, indices=plain.indices, values=plain.values, dim=dim, ids=ids)
    queries = random_vectors(3, dim, 5, 2)
    index = Index.build(vectors[:200], folder / f"{dim}-{levels}.idx", engine="blocked")
    for change in (
        lambda: None,
        lambda: index.add(vectors[200:]),
        lambda: index.delete(ids[3:9]),
        lambda: index.compact(),
        lambda: index.compact(refresh=True),
    ):
        change()
        for how in ({}, {"recall": 1.0}, {"filter": ids[:5]}, {"settings": SearchSettings()}):
            index.search(queries, 5, **how)
    return index


def main(folder: Path) -> None:
    event.register("numba:compile", Compiling())
    for dim in (900, 70_000):
        for levels in (None, 1_000):
            index = live(folder, dim, levels)
    write_vectors(index, folder / "v.ciff")
    open_vectors(folder / "v.ciff").vectors()
    print(json.dumps({"compiled": compiled, "unlocked": sorted(unlocked)}))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
