"""Turning a forward index into postings: a counting sort by term that keeps documents in order."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]


@njit(nogil=True, cache=True)
def gather(indptr: Array, terms: Array, values: Array, rows: Array, terms_out: Array, values_out: Array) -> None:
    """Copies the documents `rows` of a CSR batch, one after another."""
    at = 0
    for i in range(len(rows)):
        for p in range(indptr[rows[i]], indptr[rows[i] + 1]):
            terms_out[at], values_out[at] = terms[p], values[p]
            at += 1


@njit(nogil=True, cache=True)
def count_postings(
    indptr: Array, terms: Array, first_doc: int, window: int, rows: Array, windows: int, counts: Array
) -> None:
    """Adds the postings of documents [first_doc, first_doc + n) to `counts`.

    indptr [n + 1] offsets into terms, starting at 0; rows [dim] place of each term among those that occur;
    counts [present * windows] postings of each (row, window). The caller has checked terms < dim.
    """
    for i in range(len(indptr) - 1):
        w = (first_doc + i) // window
        for p in range(indptr[i], indptr[i + 1]):
            counts[rows[terms[p]] * windows + w] += 1


@njit(nogil=True, cache=True)
def fill_postings(
    indptr: Array,
    terms: Array,
    codes: Array,
    window: int,
    rows: Array,
    low_row: int,
    high_row: int,
    cursor: Array,
    docs_out: Array,
    codes_out: Array,
) -> None:
    """Writes the postings of the lists [low_row, high_row) into docs_out and codes_out.

    rows [dim] list of each term, -1 for none; cursor [high_row - low_row] next free position of each list in the output.
    Documents come in rising order, so a list is sorted by document and its windows lie one after another.
    Cost: one pass over the forward index, one random write a posting; the caller bounds the output to what fits memory.
    """
    for doc in range(len(indptr) - 1):
        local = doc % window
        for p in range(indptr[doc], indptr[doc + 1]):
            row = rows[terms[p]]
            if low_row <= row < high_row:
                at = cursor[row - low_row]
                docs_out[at] = local
                codes_out[at] = codes[p]
                cursor[row - low_row] = at + 1


@njit(nogil=True, cache=True)
def fill_dense(
    indptr: Array, terms: Array, codes: Array, rows: Array, low_row: int, high_row: int, codes_out: Array
) -> None:
    """Writes the rows [low_row, high_row) of dense codes. rows [dim], -1 for none; codes_out [rows, documents], all 0."""
    for doc in range(len(indptr) - 1):
        for p in range(indptr[doc], indptr[doc + 1]):
            row = rows[terms[p]]
            if low_row <= row < high_row:
                codes_out[row - low_row, doc] = codes[p]
