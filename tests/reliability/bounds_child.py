"""Both engines against sums in Python, in a process whose kernels check every index: `NUMBA_BOUNDSCHECK=1 python -m
tests.reliability.bounds_child CASES`. Ties, empty documents and queries, deletions, several segments, filters.
Then indexes whose arrays hold anything at all are searched.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numba import njit

from lsr import Hits, Index
from lsr.errors import LsrError
from lsr.index import policy
from lsr.index.blocked.parameters import SearchSettings
from lsr.index.kernels.vector import above
from tests.reliability.collections import DIM, Doc, expected, source, vectors_of
from tests.reliability.forging import Forged, files_of

ALL = SearchSettings(query_cut=1.0, n_blocks=1 << 20, candidates=1 << 20)
# Never deleted: with a weight of 1 the step of the weights is 1, and all others are multiples of it.
ANCHOR = Doc("anchor", {0: 1}, {"year": 2000})


@njit
def element(array, at):  # type: ignore[no-untyped-def]
    return array[at]


@njit
def lanes(array, at):  # type: ignore[no-untyped-def]
    return above(array, np.uint64(at), np.int16(0))


def is_checked() -> bool:
    """Whether an index outside of an array is noticed, in plain kernels and in the vector instructions of ours."""
    noticed = 0
    for access, at in ((element, 3), (lanes, 1)):
        array = np.zeros(3 if access is element else 64, np.int16)
        access(array, 0)
        try:
            access(array, at)
        except IndexError:
            noticed += 1
    return noticed == 2


def documents(rng: random.Random, first: int, count: int) -> list[Doc]:
    sizes = [0, 1, 3, 8, DIM]
    return [
        Doc(
            f"d{number}",
            {term: rng.randint(1, 3) for term in rng.sample(range(DIM), rng.choice(sizes))},
            {"year": 2000 + number % 9},
        )
        for number in range(first, first + count)
    ]


def agree(found: Hits, held: list[Doc], query: dict[int, int], k: int, *, exact: bool) -> None:
    """Checks hits: the very ones, or, of a search that estimates first, as many with true scores."""
    wanted, hits = expected(held, query, k), [(hit.id, hit.score) for hit in found]
    if exact:
        assert hits == wanted
    else:
        assert len(hits) == len(wanted)
        assert set(hits) <= set(expected(held, query, len(held)))


def compare(rng: random.Random, path: Path, engine: str) -> int:
    """Builds and changes an index; returns how many searches were compared."""
    held = [ANCHOR, *documents(rng, 0, rng.choice([1, 40, 130]))]
    index = Index.build(source(held), path, engine=engine)
    compared = 0
    for turn in range(1, 4):
        asked = [
            {term: rng.randint(1, 4) for term in rng.sample(range(DIM), rng.choice([0, 1, 4, DIM]))} for _ in range(4)
        ]
        year = rng.choice([1999, 2004, 2008])
        for k in (1, 10, 500):
            for settings in (None, ALL) if index.info()["engine"] == "blocked" else (None,):
                recall = 1 if settings is None else None
                hits = index.search(vectors_of(asked), k, recall=recall, settings=settings)
                kept = index.search(
                    vectors_of(asked), k, recall=recall, settings=settings, filter={"year": {">=": year}}
                )
                recent = [one for one in held if one.metadata["year"] >= year]
                for query, found, among in zip(asked, hits, kept, strict=True):
                    agree(found, held, query, k, exact=settings is None)
                    agree(among, recent, query, k, exact=settings is None)
                    compared += 2
        gone = [one.id for one in held[1:] if rng.random() < 0.3]
        index.delete(gone)
        new = documents(rng, 1000 * turn, rng.choice([1, 30]))
        index.add(source(new))
        held = [one for one in held if one.id not in gone] + new
    index.compact()
    (found,) = index.search(vectors_of([{0: 1, 5: 2}]), 20, recall=1)
    assert [(hit.id, hit.score) for hit in found] == expected(held, {0: 1, 5: 2}, 20)
    return compared + 1


def search_forged(rng: random.Random, path: Path, block_size: int) -> int:
    """Searches indexes of which an array holds anything at all; returns how many were searched."""
    held = documents(rng, 0, 130)
    few = [  # term 0 is rare, so that its postings are read again for the hits
        Doc(one.id, {t: w for t, w in one.weights.items() if t or at < 9}, one.metadata) for at, one in enumerate(held)
    ]
    Index.build(source(few), path, engine="blocked", block_size=block_size)
    names = [entry["name"] for entry in files_of(Forged(path).body) if entry["dtype"]]
    searched = 0
    for name in names:
        for values in (
            range(256),
            [255],
            range(130, 192),
        ):  # anything, the largest there is, just past the last document
            folder = path.with_name(f"{name.rpartition('/')[2]}-{values[0]}-{len(values)}-{path.name}")
            shutil.copytree(path, folder)
            forged = Forged(folder)
            entry = next(entry for entry in files_of(forged.body) if entry["name"] == name)
            kind = np.dtype(entry["dtype"] if values[0] == 130 else "|u1")
            some = [rng.choice(values) for _ in range(entry["bytes"] // kind.itemsize)]
            forged.put(entry, np.array(some, kind).tobytes())
            forged.save()
            try:
                search_all(Index.open(folder))
            except LsrError:
                continue
            searched += 1
    return searched


def search_all(index: Index) -> None:
    asked = vectors_of([{term: 1} for term in range(DIM)] + [dict.fromkeys(range(DIM), 2)])
    for filter in (None, {"year": {">=": 2000}}, ["d1", "d5", "d129"]):
        for how in ({"recall": 1}, {"settings": ALL}):
            index.search(asked, 20, filter=filter, **how)


def main(cases: int) -> None:
    if not is_checked():
        sys.exit("indexes are not checked: set NUMBA_BOUNDSCHECK=1, and NUMBA_CACHE_DIR to an empty folder")
    compared = 0
    with tempfile.TemporaryDirectory() as folder, patch.object(policy, "SMALL", 0):
        for number in range(cases):
            engine = ("exact", "blocked")[number % 2]
            compared += compare(random.Random(number), Path(folder) / f"{number}.idx", engine)
        forged = sum(search_forged(random.Random(0), Path(folder) / f"forged-{size}.idx", size) for size in (32, 64))
    print(compared, forged)  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]))
