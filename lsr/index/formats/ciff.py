"""CIFF, the Common Index File Format (Lin et al. 2020, arXiv:2003.08276; github.com/osirrc/ciff).

Protobuf messages, each after its length: a Header, a PostingsList for each term, a DocRecord for each document. It is an
inverted index, so all postings are held in memory, some 20 bytes each, while they are turned into vectors and back.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.corpus.streams import shown
from lsr.errors import CorpusError, InvalidInput
from lsr.index.formats.bytes_in import mapped
from lsr.index.formats.outgoing import Outgoing
from lsr.index.formats.protobuf import fields, message, number_field, read_varint, text_field, varint
from lsr.index.formats.terms import Terms
from lsr.index.formats.vector_file import ROWS, Batch, ReadOptions, VectorFile, checked_batch
from lsr.index.formats.whole_numbers import WholeNumbers
from lsr.index.kernels import compile_once
from lsr.limits import MAX_DIM
from lsr.sparse import term_type

__all__ = ["open_ciff", "write_ciff"]

Array = npt.NDArray[Any]
_INT32 = (1 << 31) - 1
_PROBLEMS = (
    "",
    "is malformed; is the file complete?",
    "has documents that do not rise",
    "has a document that the header does not count",
    "has a negative number, or one above 2^31",
)


class _Header(NamedTuple):
    lists: int
    documents: int


class _Lists(NamedTuple):
    """Postings lists in the order of the file: their tokens, and for each its documents and weights."""

    tokens: list[str]
    documents: list[Array]
    weights: list[Array]


# -- reading -----------------------------------------------------------------------------------------------------------


def open_ciff(path: Path, options: ReadOptions) -> VectorFile:
    """Reads a .ciff file into memory. A weight is the term frequency of its posting."""
    name, data = shown(path), mapped(path)
    view = memoryview(data)  # type: ignore[arg-type]  # numpy's stubs know no buffers
    header, at = _read_header(view, name)
    lists, at = _read_lists(data, view, at, header, name)
    ids = _read_ids(view, at, header.documents, name)
    terms = options.terms
    if terms is None:
        terms = Terms.found(lists.tokens, options.dim, name)
    indptr, columns, weights = _by_document(lists, terms, header.documents, name)

    def read() -> Iterator[Batch]:
        for first in range(0, header.documents, ROWS):
            part = indptr[first : first + ROWS + 1]
            inside = slice(int(part[0]), int(part[-1]))
            yield Batch(
                checked_batch(
                    np.diff(part),
                    columns[inside],
                    weights[inside],
                    terms.dim,
                    place=lambda row, first=first: f"{name}: document {first + row:,}",  # type: ignore[misc]
                    ids=None if ids is None else ids[first : first + ROWS],
                    scale=options.scale,
                )
            )

    return VectorFile(name=name, dim=terms.dim, read=read, tokens=terms.tokens, documents=header.documents, terms=terms)


def _bounds(view: memoryview, at: int, what: str, name: str) -> tuple[int, int]:
    """Start and end of the message that stands at a place."""
    try:
        size, start = read_varint(view, at, len(view))
    except ValueError as error:
        raise CorpusError(f"{name}: {what} cannot be read ({error}); is the file complete, and CIFF?") from None
    if size > len(view) - start:
        raise CorpusError(
            f"{name}: {what} claims {size:,} bytes, {len(view) - start:,} are left; is the file complete?"
        )
    return start, start + size


def _read_header(view: memoryview, name: str) -> tuple[_Header, int]:
    start, end = _bounds(view, 0, "the header", name)
    try:
        found = {number: value for number, value in fields(view, start, end) if isinstance(value, int)}
    except ValueError as error:
        raise CorpusError(f"{name}: the header cannot be read ({error}); is it a CIFF file?") from None
    header = _Header(found.get(2, 0), found.get(3, 0))
    if header.lists + header.documents > len(view) - end:  # each takes a byte at least
        raise CorpusError(
            f"{name}: claims {header.lists:,} postings lists and {header.documents:,} documents in {len(view):,} bytes; is"
            " the file complete, and CIFF?"
        )
    return header, end


def _read_lists(data: Array, view: memoryview, at: int, header: _Header, name: str) -> tuple[_Lists, int]:
    from lsr.index.kernels.ciff import read_postings

    lists = _Lists([], [], [])
    docs, weights = np.empty(1 << 12, np.uint32), np.empty(1 << 12, np.uint32)
    compile_once("ciff-read", lambda: read_postings(data, 0, 0, 0, docs, weights))
    for number in range(header.lists):
        start, end = _bounds(view, at, f"postings list {number:,}", name)
        if end - start > 2 * len(docs):
            docs, weights = (np.empty(end - start, np.uint32) for _ in range(2))
        count, term_start, term_end, problem = read_postings(data, start, end, header.documents, docs, weights)
        term = bytes(view[term_start:term_end])
        if problem:
            shown_term = term[:60].decode("utf-8", "replace")
            raise CorpusError(f"{name}: postings list {number:,} ({shown_term!r}) {_PROBLEMS[problem]}")
        try:
            lists.tokens.append(term.decode())
        except UnicodeDecodeError:
            raise CorpusError(f"{name}: postings list {number:,} has a token that is no UTF-8") from None
        lists.documents.append(docs[:count].copy())
        lists.weights.append(weights[:count].astype(np.float32))
        at = end
    return lists, at


def _read_ids(view: memoryview, at: int, documents: int, name: str) -> list[str] | None:
    """The ids of the documents; None when no document has one."""
    ids: list[str | None] = [None] * documents
    for number in range(documents):
        start, end = _bounds(view, at, f"document record {number:,}", name)
        row, identifier = 0, b""
        try:
            for field, value in fields(view, start, end):
                if field == 1 and isinstance(value, int):
                    row = value
                elif field == 2 and not isinstance(value, int):
                    identifier = bytes(value)
            decoded = identifier.decode()
        except ValueError as error:  # of UTF-8, too
            raise CorpusError(f"{name}: document record {number:,} cannot be read ({error})") from None
        if row >= documents or ids[row] is not None:
            raise CorpusError(
                f"{name}: document record {number:,} is of document {row:,}, which is none or has one already"
            )
        ids[row] = decoded
        at = end
    if at != len(view):
        raise CorpusError(f"{name}: {len(view) - at:,} bytes follow the last document record")
    if not any(ids):
        return None
    if "" in ids:
        raise CorpusError(f"{name}: document {ids.index(''):,} has no id, where others have one")
    return [identifier or "" for identifier in ids]


def _by_document(lists: _Lists, terms: Terms, documents: int, name: str) -> tuple[Array, Array, Array]:
    """(indptr, terms, weights) of the documents; terms rise within a document."""
    from scipy.sparse import csc_array

    place = f"{name}: postings lists"
    if len(set(lists.tokens)) != len(lists.tokens):
        raise CorpusError(f"{place}: a token has two of them")
    columns = terms(lists.tokens, place)
    order = [number for number in sorted(range(len(columns)), key=columns.__getitem__) if columns[number] >= 0]
    if not order:
        return np.zeros(documents + 1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    # Only the terms that occur are columns: a vocabulary may be much larger than the file.
    kept = np.array([columns[number] for number in order], term_type(terms.dim))
    ends = np.cumsum([0] + [len(lists.documents[number]) for number in order])
    shape = (documents, len(order))
    rows = np.concatenate([lists.documents[number] for number in order])
    wide = np.int32 if len(rows) < _INT32 else np.int64
    values = np.concatenate([lists.weights[number] for number in order])
    lists.documents.clear()
    lists.weights.clear()
    csr = csc_array((values, rows.astype(wide), ends.astype(wide)), shape=shape).tocsr()
    return csr.indptr, kept[csr.indices], csr.data


# -- writing -----------------------------------------------------------------------------------------------------------


def write_ciff(file: BinaryIO, out: Outgoing, numbers: WholeNumbers) -> None:
    """Writes a .ciff file: terms in the order of their tokens, weights as whole numbers in the place of frequencies."""
    for count, what, limit in ((out.documents, "documents", _INT32), (out.dim, "dimensions", MAX_DIM)):
        if count > limit:
            raise InvalidInput(f"{out.name}: {count:,} {what}; up to {limit:,} are written as CIFF")
    postings, ids, sizes = _by_term(out, numbers)
    indptr, rows, weights = postings.indptr, postings.indices, postings.data
    present = np.flatnonzero(np.diff(indptr)).tolist()
    names = sorted((out.token(term).encode(), term) for term in present)
    total = int(sizes.sum())
    file.write(
        message(
            number_field(1, 1),
            number_field(2, len(names)),
            number_field(3, out.documents),
            number_field(4, len(names)),
            number_field(5, out.documents),
            number_field(6, total),
            varint(7 << 3 | 1) + struct.pack("<d", total / max(out.documents, 1)),
            text_field(8, f"written by lsr: weight = tf * {numbers.scale!r}".encode()),
        )
    )
    for token, term in names:
        inside = slice(int(indptr[term]), int(indptr[term + 1]))
        file.write(_postings_list(token, rows[inside], weights[inside]))
    for row, identifier in enumerate(ids):
        # The length of a document is that of the text in which each token stands tf times.
        length = min(int(sizes[row]), _INT32)
        file.write(message(number_field(1, row), text_field(2, identifier.encode()), number_field(3, length)))


def _by_term(out: Outgoing, numbers: WholeNumbers) -> tuple[Any, list[str], npt.NDArray[np.int64]]:
    """(postings as a scipy CSC array [documents, dim], ids, sum of the weights of each document)."""
    from scipy.sparse import csr_array

    ids: list[str] = []
    terms, weights, lengths, sizes = [], [], [], []
    for vectors in out.batches():
        found = numbers.of(vectors)
        ids += out.ids(vectors, len(ids))
        running = np.concatenate([np.zeros(1, np.int64), np.cumsum(found)])[vectors.indptr]
        kept = np.concatenate([np.zeros(1, np.int64), np.cumsum(found > 0)])[vectors.indptr]
        terms.append(vectors.indices[found > 0].astype(np.int32))
        weights.append(found[found > 0].astype(np.int32))
        lengths.append(np.diff(kept))
        sizes.append(np.diff(running))
    if not ids:
        raise InvalidInput(f"{out.name}: there are no vectors to write")
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(lengths))])
    parts = (np.concatenate(weights), np.concatenate(terms), indptr)
    return csr_array(parts, shape=(out.documents, out.dim)).tocsc(), ids, np.concatenate(sizes)


def _postings_list(token: bytes, rows: Array, weights: Array) -> bytes:
    from lsr.index.kernels.ciff import write_postings

    compile_once(
        f"ciff-write-{rows.dtype}-{weights.dtype}", lambda: write_postings(rows[:0], weights[:0], np.empty(0, np.uint8))
    )
    encoded = np.empty(14 * len(rows), np.uint8)
    size = write_postings(rows, weights, encoded)
    head = text_field(1, token), number_field(2, len(rows)), number_field(3, int(weights.sum(dtype=np.int64)))
    return message(*head, encoded[:size].tobytes())
