"""The order of documents in which blocks are cut: similar documents next to each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.index.engines import in_pieces
from lsr.index.kernels import compile_once
from lsr.processors import available_cores

__all__ = ["order_documents"]

HEAVIEST = 24  # terms by which documents are compared
MEMBERS = 24  # documents of a cluster, on average; larger where MAX_CLUSTERS would be exceeded
MAX_CLUSTERS = 1 << 15  # below 2^16; the time of assigning a document grows with it
MAX_ADDS = 1 << 16  # to assign a document, on average: in a small vocabulary every document has terms of every cluster
GROUP = 8  # documents of a group within a cluster, on average; larger where MAX_GROUPS would be exceeded
MAX_GROUPS = 64
_ROWS = 1 << 14
SEED = 20240711

Array = npt.NDArray[Any]


def order_documents(
    indptr: npt.NDArray[np.int64],
    terms: Array,
    values: npt.NDArray[np.float32],
    dim: int,
    progress: Callable[[str, int, int | None], None],
    threads: int | None = None,
) -> npt.NDArray[np.uint32]:
    """Document numbers [documents], in the order in which they are to be stored.

    indptr, terms, values: a CSR batch, which may be a memory map. The result does not depend on the number of threads.
    Memory: 140 bytes a document.
    """
    from lsr.index.kernels.clustering import assign, chain, heaviest, order_within

    documents = len(indptr) - 1
    threads = threads or available_cores()
    top_terms = np.zeros((documents, HEAVIEST), terms.dtype)
    top_codes = np.zeros((documents, HEAVIEST), np.uint8)
    counts = np.zeros(documents, np.uint8)
    nothing = (top_terms[:0], top_codes[:0], counts[:0])
    name = str(terms.dtype)
    compile_once(f"heaviest-{name}", lambda: heaviest(np.zeros(1, np.int64), terms[:0], values[:0], *nothing))
    progress("clustering", 0, documents)

    def find_heaviest(first: int, last: int) -> None:
        for start in range(first, last, _ROWS):
            part = slice(start, min(start + _ROWS, last))
            edges = np.ascontiguousarray(indptr[part.start : part.stop + 1])
            low, high = int(edges[0]), int(edges[-1])
            heaviest(edges - low, terms[low:high], values[low:high], top_terms[part], top_codes[part], counts[part])

    in_pieces(documents, threads, find_heaviest)
    heavy = (top_terms, top_codes, counts)
    clusters = min(MAX_CLUSTERS, max(1, documents // MEMBERS))
    centroids, index = _centroids(clusters, *heavy, dim)
    adds = float(np.square(np.diff(index[0]).astype(np.float64)).sum()) / clusters
    if adds > MAX_ADDS:
        clusters = max(1, int(clusters * MAX_ADDS / adds))
        centroids, index = _centroids(clusters, *heavy, dim)
    nearest = np.zeros(documents, np.int32)
    compile_once(f"assign-{name}", lambda: assign(0, 0, clusters, *heavy, index, nearest))
    progress("clustering", documents // 3, documents)
    in_pieces(documents, threads, lambda first, last: assign(first, last, clusters, *heavy, index, nearest))
    progress("clustering", documents * 2 // 3, documents)
    places = np.zeros(clusters, np.int64)
    compile_once(f"chain-{name}", lambda: chain(centroids[:0], *heavy, index, places))
    chain(centroids, *heavy, index, places)
    cluster_of = places[nearest]
    members = np.argsort(cluster_of, kind="stable")
    bounds = np.searchsorted(cluster_of[members], np.arange(clusters + 1)).astype(np.int64)

    def order(first: int, last: int) -> None:
        order_within(first, last, bounds, members, GROUP, MAX_GROUPS, *heavy, np.zeros(dim, np.uint16))

    compile_once(f"order-{name}", lambda: order(0, 0))
    in_pieces(clusters, threads, order)
    progress("clustering", documents, documents)
    return members.astype(np.uint32)


def _centroids(
    clusters: int, top_terms: Array, top_codes: Array, counts: Array, dim: int
) -> tuple[npt.NDArray[np.int64], tuple[Array, Array, Array]]:
    """Documents drawn as centroids, and their inverted index (`kernels.clustering.index_centroids`)."""
    from lsr.index.kernels.clustering import index_centroids

    drawn = np.random.default_rng(SEED).choice(len(counts), clusters, replace=False)
    centroids = np.sort(drawn).astype(np.int64)
    size = int(counts[centroids].sum())
    index = (np.zeros(dim + 1, np.int64), np.zeros(size, np.uint16), np.zeros(size, np.uint16))
    compile_once(
        f"centroids-{top_terms.dtype}",
        lambda: index_centroids(centroids[:0], top_terms, top_codes, counts, np.zeros(1, np.int64), *index[1:]),
    )
    index_centroids(centroids, top_terms, top_codes, counts, *index)
    return centroids, index
