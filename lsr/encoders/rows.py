"""From what a network puts out to sparse vectors: activation, dropped terms, pruning, the heaviest terms.

One place for both sides and for the ONNX engine; the torch engine does the same on its device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.encoders.model import AutoencoderHead, NetworkSide, Selection, TokenHead, Vector, VocabularyHead, parts_of
from lsr.errors import EncoderError
from lsr.sparse import SparseVectors, term_type

__all__ = ["heaviest", "lexical", "places_of_heaviest", "selection", "token_rows", "vocabulary_rows"]

Array = npt.NDArray[np.float32]


def selection(side: NetworkSide) -> Selection:
    """What is left to do for that side."""
    head = side.head
    common: dict[str, Any] = {"dim": side.dim, "dropped": side.dropped, "top_terms": side.top_terms}
    if isinstance(head, VocabularyHead):
        summed = head.pooling == "sum"
        inside = summed or head.importance or head.quality  # activated by the network, before it pools or weighs
        activation = "relu" if inside else head.activation
        return Selection(
            kind="vocabulary", activation=activation, prune_ratio=head.prune_ratio, summed=summed, **common
        )
    if isinstance(head, TokenHead):
        return Selection(kind="tokens", summed=head.pooling == "sum", **common)
    assert isinstance(head, AutoencoderHead)
    return Selection(kind="latents", largest=head.top, **common)


def vocabulary_rows(output: Array, chosen: Selection) -> list[Vector]:
    """The vectors of output [B, dim], which is overwritten."""
    floor = 0 if parts_of(chosen.activation)[0] == "relu" else -np.inf  # what becomes 0
    if chosen.dropped:
        output[:, list(chosen.dropped)] = floor
    vectors = []
    for row in output:
        if chosen.largest is not None and chosen.largest < len(row):
            terms = places_of_heaviest(row, chosen.largest)
            terms = terms[row[terms] > 0]
        else:
            terms = np.flatnonzero(row > floor)
        vectors.append(_finished(terms, row[terms], chosen))
    return vectors


def token_rows(
    ids: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], weights: Array, chosen: Selection
) -> list[Vector]:
    """The vectors of texts with one weight a position: ids and weights [B, L]."""
    if np.isnan(weights).any():
        raise EncoderError("the network gives weights that are no numbers: its own are damaged")
    vectors = []
    for row, length, weight in zip(ids, lengths.tolist(), weights, strict=True):
        terms, inverse = np.unique(row[:length], return_inverse=True)
        values = np.zeros(len(terms), np.float32)
        (np.add if chosen.summed else np.maximum).at(values, inverse, np.maximum(weight[:length], 0))
        keep = (values > 0) & ~np.isin(terms, chosen.dropped)
        vectors.append(_finished(terms[keep], values[keep], chosen))
    return vectors


def lexical(vector: Vector, ids: npt.NDArray[np.int64], table: Array) -> Vector:
    """Only the terms that stand in the text, each times its entry in a table [dim] (a table after a network)."""
    terms, weights = vector
    weights = weights * table[terms]
    keep = np.isin(terms, ids) & (weights > 0)
    return terms[keep], weights[keep]


def places_of_heaviest(weights: Array, count: int) -> npt.NDArray[np.int64]:
    """Where the `count` largest weights stand, rising; of equals the first."""
    return np.sort(np.argsort(-weights, kind="stable")[:count])


def heaviest(vectors: SparseVectors, count: int) -> SparseVectors:
    """The `count` heaviest terms of each vector, of equals the first."""
    lengths = np.diff(vectors.indptr)
    rows = np.repeat(np.arange(len(vectors)), lengths)
    order = np.lexsort((-vectors.values, rows))  # stable: by row, then weight, then term
    rank = np.arange(vectors.nnz) - np.repeat(vectors.indptr[:-1], lengths)
    keep = np.sort(order[rank < count])
    indptr = np.cumsum([0, *np.minimum(lengths, count)], dtype=np.int64)
    return SparseVectors(
        indptr=indptr, indices=vectors.indices[keep], values=vectors.values[keep], dim=vectors.dim, ids=vectors.ids
    )


def _finished(terms: npt.NDArray[np.int64], values: Array, chosen: Selection) -> Vector:
    if chosen.top_terms is not None and len(terms) > chosen.top_terms:
        kept = places_of_heaviest(values, chosen.top_terms)
        terms, values = terms[kept], values[kept]
    first, logarithms = parts_of(chosen.activation)
    if first == "softplus":
        values = np.logaddexp(np.float32(0), values)
    for _ in range(logarithms):
        values = np.log1p(values)
    if chosen.prune_ratio and len(values):
        keep = values >= np.float32(chosen.prune_ratio) * values.max()
        terms, values = terms[keep], values[keep]
    if len(values) and not values.all():  # log1p of the smallest floats is 0, and softplus of those far below 0
        terms, values = terms[values > 0], values[values > 0]
    return terms.astype(term_type(chosen.dim)), values
