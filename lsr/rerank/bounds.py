"""The k best documents by an exact codec, of which a cheap one leaves only the undecided to be scored.

For a document whose vectors v the cheap codec decodes as w, and a query whose vectors q become p, each with what is lost:

    |max q v - max p w|  <=  max |q v - p w|  <=  |q| * max |v - w| + |q - p| * max |w|

for each query token, and summed over query tokens for MaxSim. The two maxima are kept for each document when it is encoded;
they are in no way estimates, so the answer is that of scoring all documents exactly. How many are left to be scored depends
on how far the scores lie apart: with int8 the bound is about a hundredth a query token.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.rerank.codecs.codec import Codec
from lsr.rerank.codecs.scoring import Bytes, Floats, QueryScorer, checked_vectors
from lsr.rerank.policies import Reranked

__all__ = ["DocumentErrors", "best_by_bounds", "document_errors", "score_errors"]

_STEP = 8  # documents scored at a time, once the first k are


class DocumentErrors(NamedTuple):
    """Of each document, float32 [documents]: the largest length of what its vectors lose, and of a decoded vector."""

    lost: Floats
    length: Floats


def document_errors(
    cheap: Codec, vectors: npt.ArrayLike, codes: Bytes, offsets: npt.NDArray[np.int64]
) -> DocumentErrors:
    """What a codec loses of documents, rounded up: vectors are those that the exact codec decodes, codes the cheap one's.

    vectors: float32 [tokens, dim]; codes: uint8 [tokens, bytes]; offsets: int64 [documents + 1], from 0 to tokens, rising.
    """
    exact, decoded = checked_vectors(vectors, cheap.dim, "the vectors"), cheap.decode(codes)
    offsets = np.asarray(offsets)
    whole = len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == len(exact) == len(decoded)
    if not whole or np.any(np.diff(offsets) < 0):
        raise InvalidInput(
            f"offsets must rise from 0 to {len(exact)}, the number of vectors, and there must be as many codes"
        )
    found = []
    for part in (exact.astype(np.float64) - decoded, decoded.astype(np.float64)):
        lengths = np.sqrt(np.square(part).sum(axis=1))
        largest = np.zeros(len(offsets) - 1)
        filled = np.flatnonzero(np.diff(offsets))
        if len(filled):
            largest[filled] = np.maximum.reduceat(lengths, offsets[filled])
        found.append(np.nextafter(largest.astype(np.float32), np.float32(np.inf)))
    return DocumentErrors(*found)


def score_errors(cheap: QueryScorer, rows: npt.ArrayLike, errors: DocumentErrors) -> npt.NDArray[np.float64]:
    """By how much the scores of documents are off, at most: float64 [len(rows)]. errors: of the whole collection."""
    wanted = np.asarray(rows)
    lost, longest = errors.lost[wanted].astype(np.float64), errors.length[wanted].astype(np.float64)
    length, rounded_off = cheap.errors()
    # And both scores are rounded: a sum of dim products in float32 is off by no more than this.
    rounding = (cheap.dim + 16) * 2.0**-23 * length * (longest + lost)
    result: npt.NDArray[np.float64] = length * lost + rounded_off * longest + rounding
    return result


def best_by_bounds(
    cheap: QueryScorer, exact: QueryScorer, rows: npt.ArrayLike, errors: DocumentErrors, k: int
) -> Reranked:
    """The k best of the documents `rows` by `exact`, of equals the smaller row; only those that may be among them are scored.

    cheap, exact: scorers of one query over one collection; rows: integers [c]; errors: of the whole collection. What comes
    back is as `policies.rerank` has it, cut to k; `scored` counts exact scores.
    """
    if k < 1:
        raise InvalidInput(f"k is {k}: it must be at least 1")
    wanted = np.asarray(rows).astype(np.int64)
    estimates = cheap(wanted).astype(np.float64)
    upper = estimates + score_errors(cheap, wanted, errors)
    turn = np.lexsort((wanted, -upper))
    scores, done, worst = np.zeros(len(wanted)), 0, -np.inf
    while done < len(turn) and upper[turn[done]] >= worst:
        part = turn[done : done + (_STEP if done else k)]
        part = part[upper[part] >= worst]
        scores[part] = exact(wanted[part])
        done += len(part)
        if done >= k:
            worst = np.partition(scores[turn[:done]], done - k)[done - k]
    found = turn[:done]
    order = found[np.lexsort((wanted[found], -scores[found]))][:k]
    return Reranked(order, scores[order], done)
