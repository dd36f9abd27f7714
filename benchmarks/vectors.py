"""The vectors that benchmarks run on: 391,934 passages of technical documentation and two sets of 12,980 queries.

They are not part of the repository: `LSR_SHARED` names the folder that holds `data/vectors`, or a folder `shared` beside
the checkout does. Decoding the documents takes some seconds and 0.5 GB, so the decoded form is kept in a cache folder
(`LSR_BENCHMARK_CACHE`, else one below the system's temporary folder).
"""

from __future__ import annotations

import os
import tempfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lsr.errors import LsrError
from lsr.index.blocked.ordering import order_documents
from lsr.sparse import SparseVectors

__all__ = ["DIM", "QUERY_SETS", "documents", "find_shared", "grown", "queries"]

DIM = 30_522
CLUSTER = 100  # documents that are similar lie within so many places of each other, in the order of the blocked engine
STEP = np.float32(3.5 / 255)  # weight of one step of a document's 8-bit codes
QUERY_SETS = {
    "inference-free": "queries_inference_free.npz",  # tokens of the question, weighted by a table: 7.8 terms on average
    "expanded": "queries_splade.npz",  # the document model's own: 18.6 terms on average
}


def find_shared() -> Path | None:
    """The folder with the shared data, None when there is none."""
    named = os.environ.get("LSR_SHARED")
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(named) if named else beside
    return folder if (folder / "data" / "vectors").is_dir() else None


def documents(first: int | None = None) -> SparseVectors:
    """All document vectors, or the first so many."""
    cached = _cache_folder() / "documents.npz"
    try:
        vectors = SparseVectors.load(cached)
    except LsrError:  # not there, or half of it by an earlier version of this file
        vectors = _decode_documents()
        vectors.save(cached)
    return vectors if first is None else vectors[:first]


def grown(factor: int) -> SparseVectors:
    """`factor` times as many documents: after the real ones, each takes half of the terms of two documents of one cluster.

    Copies would make near-duplicates, which flatter clustering. Weights are varied by up to a fifth. Kept in the cache
    folder, 6 bytes a weight; loading takes as much memory.
    """
    cached = _cache_folder() / f"documents-{factor}.npz"
    try:
        return SparseVectors.load(cached)
    except LsrError:
        pass
    real = documents()
    order = order_documents(real.indptr, real.indices, real.values, DIM, lambda *_: None)
    vectors = SparseVectors.concat([real, *(_mixed(real, order, number) for number in range(1, factor))])
    vectors.save(cached)
    return vectors


def _mixed(real: SparseVectors, order: npt.NDArray[np.uint32], seed: int) -> SparseVectors:
    """As many documents as there are real ones, each mixed of two that are at most `CLUSTER` apart in the order."""
    generator = np.random.default_rng(seed)
    n = len(real)
    first = np.arange(n)
    second = np.clip(first + generator.integers(1, CLUSTER, n), 0, n - 1)
    shape = real.to_scipy()
    halves = []
    for places in (first, second):
        half = shape[order[places]]
        half.data = np.where(generator.random(half.nnz) < 0.5, half.data, 0).astype(np.float32)
        half.eliminate_zeros()
        halves.append(half)
    mixed = halves[0].maximum(halves[1]).tocsr()
    mixed.sort_indices()
    mixed.data *= generator.uniform(0.8, 1.2, mixed.nnz).astype(np.float32)
    return SparseVectors.from_scipy(mixed)


def queries(name: str, first: int | None = None) -> SparseVectors:
    """A query set by its name in QUERY_SETS; `first` takes so many, spread evenly over the set."""
    with np.load(_folder() / QUERY_SETS[name]) as parts:
        vectors = SparseVectors(
            indptr=parts["ptr"].astype(np.int64),
            indices=parts["idx"],
            values=parts["val"].astype(np.float32),
            dim=DIM,
        )
    if first is None or first >= len(vectors):
        return vectors
    rows = np.linspace(0, len(vectors), first, endpoint=False).astype(int).tolist()
    return SparseVectors.concat([vectors[i : i + 1] for i in rows])


def _folder() -> Path:
    shared = find_shared()
    if shared is None:
        raise SystemExit("no vectors: set LSR_SHARED to the folder that holds data/vectors")
    return shared / "data" / "vectors"


def _cache_folder() -> Path:
    named = os.environ.get("LSR_BENCHMARK_CACHE")
    folder = Path(named) if named else Path(tempfile.gettempdir()) / "lsr-benchmark-cache"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _decode_documents() -> SparseVectors:
    shards = sorted(_folder().glob("docs_*.bin"))
    if not shards:
        raise SystemExit(f"{_folder()}: no docs_*.bin")
    parts = [_decode_shard(path) for path in shards]
    lengths, terms, codes = (np.concatenate(column) for column in zip(*parts, strict=True))
    return SparseVectors(
        indptr=np.concatenate([[0], np.cumsum(lengths)]),
        indices=terms,
        values=codes.astype(np.float32) * STEP,
        dim=DIM,
    )


def _decode_shard(path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """(terms of each document, term ids, weight codes) of a shard.

    Four blocks, each an 8-byte little-endian length and a zlib stream: uint16 number of terms of each document; high, then
    low byte of the gaps between the term ids of a document (the first gap is the first id); uint8 weight codes.
    """
    data = memoryview(path.read_bytes())
    blocks, at = [], 0
    for _ in range(4):
        size = int.from_bytes(data[at : at + 8], "little")
        blocks.append(zlib.decompress(data[at + 8 : at + 8 + size]))
        at += 8 + size
    lengths = np.frombuffer(blocks[0], "<u2").astype(np.int64)
    gaps = np.frombuffer(blocks[1], np.uint8).astype(np.int64) << 8 | np.frombuffer(blocks[2], np.uint8)
    running = np.concatenate([[0], np.cumsum(gaps)])
    starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
    terms = running[1:] - np.repeat(running[starts], lengths)
    return lengths, terms, np.frombuffer(blocks[3], np.uint8)


if __name__ == "__main__":
    print(documents())
    for set_name in QUERY_SETS:
        print(set_name, queries(set_name))
