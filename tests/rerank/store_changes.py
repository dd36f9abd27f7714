"""Every kind of change to a token store, to be interrupted; and what its folder then holds.

A change is done to the folder `my.idx` in some other folder, as those of `tests.reliability.changes` are. Before `build`
there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lsr.errors import IndexNotFound
from lsr.rerank.store import TokenStore
from lsr.rerank.token_vectors import TokenVectors
from tests.reliability.changes import NAME

__all__ = ["CHANGES", "batch", "document", "make", "state", "works"]

DIM = 8

# Of each document its token vectors; None where there is no store.
State = dict[str, list[list[float]]] | None


def document(name: str, version: int = 0) -> npt.NDArray[np.float32]:
    """Some token vectors, float32 [tokens, DIM], which f16 holds exactly."""
    generator = np.random.default_rng([version, *name.encode()])
    return (generator.integers(-8, 9, (int(generator.integers(0, 6)), DIM)) / 8).astype(np.float32)


def batch(names: Sequence[str], version: int = 0) -> tuple[list[str], TokenVectors]:
    documents = [document(name, version) for name in names]
    offsets = np.cumsum([0, *map(len, documents)], dtype=np.int64)
    return list(names), TokenVectors(offsets, np.concatenate([*documents, np.zeros((0, DIM), np.float32)]))


def names(first: int, last: int) -> list[str]:
    return [f"d{number}" for number in range(first, last)]


def make(folder: Path) -> Path:
    """A store of several generations, with a deletion and, unlike after `add`, a large first segment."""
    store = TokenStore.build(folder / NAME, [batch(names(0, 20))], codec="f16")
    store.add([batch(names(20, 30))])
    store.delete(["d3", "d15"])
    return folder / NAME


def build(path: Path, engine: str) -> None:
    TokenStore.build(path, [batch(names(0, 6)), batch(names(6, 12))], codec="f16")


def build_resumed(path: Path, engine: str) -> None:
    TokenStore.build(path, [batch(names(0, 6)), batch(names(6, 12))], codec="residual2", sample=16, resume=True)


def overwrite(path: Path, engine: str) -> None:
    TokenStore.build(path, [batch(names(0, 12))], codec="f16", overwrite=True)


def add(path: Path, engine: str) -> None:
    TokenStore.open(path).add([batch(["new1"])])


def upsert(path: Path, engine: str) -> None:
    TokenStore.open(path).upsert([batch(["new1", "d1"], 1)])


def delete(path: Path, engine: str) -> None:
    TokenStore.open(path).delete(["d0", "d2"])


def compact(path: Path, engine: str) -> None:
    TokenStore.open(path).compact()


CHANGES: dict[str, Callable[[Path, str], None]] = {
    change.__name__: change for change in (build, build_resumed, overwrite, add, upsert, delete, compact)
}


def state(path: Path) -> State:
    """What a store holds. Raises whatever opening it raises, but for `IndexNotFound`."""
    try:
        store = TokenStore.open(path)
    except IndexNotFound:
        return None
    found = list(store.ids())
    offsets, vectors = store.decoded(found)
    return {name: vectors[offsets[i] : offsets[i + 1]].tolist() for i, name in enumerate(found)}


def works(path: Path) -> None:
    """What was interrupted is in nobody's way: the next change is done, all of it checks, and nothing is left lying about."""
    before = state(path)
    if before is None:
        build(path, "")
    else:
        store = TokenStore.open(path)
        store.upsert([batch(["later"])])
        assert state(path) == {**before, "later": store.decoded(["later"])[1].tolist()}
    list(TokenStore.open(path).check(full=True))
    assert [one.name for one in path.iterdir() if one.name.startswith(("tmp-", "unfinished-"))] == []
    TokenStore.build(path, [batch(names(0, 2))], codec="f16", overwrite=True)
    left = [one.name for one in path.parent.iterdir() if one.name.startswith(f".{NAME}")]
    assert [name for name in left if not name.endswith(".partial")] == []
