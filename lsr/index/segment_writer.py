"""Writing a segment from a stream of vectors and documents, in bounded memory.

Vectors are first spooled to disk as they come (`Spool`), because the scale of the codes and the sizes of the posting
lists are known only at the end. Then the forward index is written in one pass over the spool, and the postings in
passes over the forward index, each for a range of terms whose postings fit in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.index.blocked.ordering import order_documents
from lsr.index.blocked.parameters import BlockOptions
from lsr.index.blocked.writer import Postings, write_blocks
from lsr.index.kernels import compile_once
from lsr.index.quantize import Quantizer, choose_quantizer
from lsr.index.storage.arrays import AppendFile, map_array, write_array
from lsr.index.storage.checkpoint import Stages
from lsr.index.storage.manifest import FileEntry
from lsr.index.storage.segment import WINDOW, largest_codes, window_count
from lsr.limits import MAX_DIM, MAX_DOCUMENT_TERMS, MAX_DOCUMENTS, raising
from lsr.sparse import SparseVectors, term_type

__all__ = ["Progress", "Quantize", "Spool", "write_arrays"]

POSTINGS_IN_MEMORY = 1 << 26  # 3 bytes each with 8-bit codes: 192 MiB
DENSE = 3  # terms in more than documents / DENSE documents are kept as rows: a byte a document, 3 a posting
_ROWS = 1 << 14  # documents read from the spool at a time

Array = npt.NDArray[Any]
# (stage, done, total or None when it is not known)
Progress = Callable[[str, int, int | None], None]
Quantize = Callable[[npt.NDArray[np.float32], npt.NDArray[np.int64]], Quantizer]


class SpoolArrays(NamedTuple):
    """A CSR batch: indptr [documents + 1], terms and values [nnz]."""

    indptr: npt.NDArray[np.int64]
    terms: Array
    values: npt.NDArray[np.float32]


class Spool:
    """Float vectors on disk, appended batch by batch, of up to `max_terms` terms each. Documents of an interrupted run can be
    kept."""

    def __init__(self, folder: Path, dim: int, max_terms: int = MAX_DOCUMENT_TERMS) -> None:
        if dim > MAX_DIM:
            raise InvalidInput(f"the vectors have {dim:,} dimensions: an index holds up to {MAX_DIM:,}")
        self.folder = folder
        self.dim, self._max_terms = dim, max_terms
        self.term_type = np.dtype(term_type(dim))
        self.documents = 0
        self._files: list[AppendFile] = []

    def open(self, documents: int = 0, nnz: int = 0) -> None:
        """Opens for appending after the first `documents` documents with `nnz` terms in all, as far as they are there.

        Whether they are those that were written, compare `digests` with what it was then.
        """
        sizes = (4 * documents, self.term_type.itemsize * nnz, 4 * nnz)
        names = ("lengths", "terms", "values")
        self._files = [AppendFile(self.folder, name, keep=size) for name, size in zip(names, sizes, strict=True)]
        self.documents = documents

    def append(self, vectors: SparseVectors, ids: Sequence[str] | None = None) -> None:
        """Appends documents. Raises `InvalidInput` when there are too many, or one has too many terms: it is named by its
        id, where ids are given, else by its row."""
        if vectors.dim != self.dim:
            raise InvalidInput(f"vectors of {vectors.dim:,} dimensions among vectors of {self.dim:,}")
        if self.documents + len(vectors) > MAX_DOCUMENTS:
            raise InvalidInput(f"an index holds up to {MAX_DOCUMENTS:,} documents; split the collection")
        counts = np.diff(vectors.indptr)
        if counts.max(initial=0) > self._max_terms:
            row = int(np.argmax(counts))
            name = self.documents + row if ids is None else repr(ids[row])
            lower = self._max_terms < MAX_DOCUMENT_TERMS
            holds = (
                f"the limit is {self._max_terms:,}" if lower else f"an index holds up to {self._max_terms:,} a document"
            )
            more = f", or raise {raising('document_terms')}" if lower else ""
            raise InvalidInput(f"document {name} has {counts[row]:,} terms: {holds}; keep the heaviest{more}")
        lengths, terms, values = self._files
        lengths.append(counts.astype("<u4"))
        terms.append(vectors.indices.astype(self.term_type.newbyteorder("<"), copy=False))
        values.append(vectors.values.astype("<f4", copy=False))
        self.documents += len(vectors)

    @property
    def nnz(self) -> int:
        return self._files[2].bytes // 4

    @property
    def digests(self) -> tuple[str, ...]:
        """The checksums of the files: lengths, terms and values."""
        return tuple(file.digest for file in self._files)

    def sync(self) -> None:
        for file in self._files:
            file.sync()

    def reopen(self, documents: int, nnz: int, digests: Sequence[str]) -> bool:
        """Opens what another run has written. Returns whether it is all there."""
        if min(documents, nnz) < 0:
            return False
        self.close()
        self.open(documents, nnz)
        return list(self.digests) == list(digests)

    def close(self) -> None:
        for file in self._files:
            file.close()

    def arrays(self) -> SpoolArrays:
        """The vectors as one batch: indptr is in memory, terms and values are mapped."""
        self.sync()
        lengths = np.fromfile(self._files[0].path, "<u4")
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
        if not self.nnz:
            return SpoolArrays(indptr, np.zeros(0, self.term_type), np.zeros(0, np.float32))
        terms = np.memmap(self._files[1].path, self.term_type, "r")
        return SpoolArrays(indptr, np.asarray(terms), np.asarray(np.memmap(self._files[2].path, "<f4", "r")))


def write_arrays(
    spool: Spool,
    folder: Path,
    segment: str,
    blocks: BlockOptions | None,
    progress: Progress,
    quantize: Quantize = choose_quantizer,
    stages: Stages | None = None,
) -> tuple[list[FileEntry], float, int]:
    """Writes forward index, postings and, with options for them, blocks. Returns the files, the scale of the codes, and nnz.

    With blocks the documents are stored in another order, which the files order_* tell.
    quantize: chooses scale and width of the codes for values float32 [nnz] and indptr [documents + 1].
    stages: where an interrupted run notes how far it came.
    """
    stages = stages or Stages()

    def exact() -> tuple[list[FileEntry], dict[str, Any]]:
        files, scale, nnz = _write_exact(spool, folder, segment, blocks is not None, progress, quantize)
        return files, {"scale": scale, "nnz": nnz}

    files, facts = stages.run(
        f"{segment}: inverted", exact, lambda facts: (type(facts["scale"]), type(facts["nnz"])) == (float, int)
    )
    if blocks is not None:
        written, documents = files, spool.documents
        more, _ = stages.run(
            f"{segment}: blocks", lambda: (_write_blocked(written, folder, segment, documents, blocks, progress), {})
        )
        files = [*files, *more]
    return files, facts["scale"], facts["nnz"]


def _write_exact(
    spool: Spool, folder: Path, segment: str, ordered: bool, progress: Progress, quantize: Quantize
) -> tuple[list[FileEntry], float, int]:
    """Forward index and postings, of documents ordered for blocks if asked."""
    arrays = spool.arrays()
    quantizer = quantize(arrays.values, arrays.indptr)
    order = order_documents(*arrays, spool.dim, progress) if ordered else None
    files, new_indptr, counts, present = _write_forward(arrays, order, spool.dim, folder, segment, quantizer, progress)
    nnz = int(new_indptr[-1])
    forward = _Forward(
        new_indptr,
        _mapped(folder / segment / "forward_terms", spool.term_type, nnz),
        _mapped(folder / segment / "forward_codes", np.dtype(quantizer.dtype), nnz),
    )
    frequent = counts.sum(axis=1) * DENSE > spool.documents
    files += _write_postings(forward, present[~frequent], counts[~frequent], spool.dim, folder, segment, progress)
    files += _write_dense(forward, present[frequent], spool.dim, folder, segment)
    if order is not None:
        places = np.empty_like(order)
        places[order] = np.arange(len(order), dtype=np.uint32)
        files += [
            write_array(folder, f"{segment}/order_rows", order),
            write_array(folder, f"{segment}/order_places", places),
        ]
    return files, float(quantizer.scale), nnz


def _write_blocked(
    files: Sequence[FileEntry], folder: Path, segment: str, documents: int, blocks: BlockOptions, progress: Progress
) -> list[FileEntry]:
    """The arrays of the blocked engine, from those of the exact one."""
    named = {entry.name.removeprefix(f"{segment}/"): map_array(folder, entry) for entry in files}
    kinds = ("postings_terms", "postings_offsets", "postings_docs", "postings_codes", "dense_terms", "dense_codes")
    postings = Postings(documents, WINDOW, *(named[kind] for kind in kinds))
    return write_blocks(postings, named["forward_indptr"], named["forward_codes"], blocks, folder, segment, progress)


class _Forward(NamedTuple):
    indptr: npt.NDArray[np.int64]
    terms: Array
    codes: Array


def _mapped(path: Path, dtype: np.dtype[Any], length: int) -> Array:
    return np.asarray(np.memmap(path, dtype, "r")) if length else np.zeros(0, dtype)  # no file of 0 bytes can be mapped


def _write_forward(
    arrays: SpoolArrays,
    order: npt.NDArray[np.uint32] | None,
    dim: int,
    folder: Path,
    segment: str,
    quantizer: Quantizer,
    progress: Progress,
) -> tuple[list[FileEntry], npt.NDArray[np.int64], npt.NDArray[np.int64], Array]:
    """Returns files, indptr, counts [present, windows] of postings, and the terms that occur [present]."""
    from lsr.index.kernels.inversion import count_postings

    terms = arrays.terms
    documents = len(arrays.indptr) - 1
    present = _present(terms, dim)
    rows = _rows(present, dim)
    windows = window_count(documents)
    counts = np.zeros(len(present) * windows, np.int64)
    term_file = AppendFile(folder, f"{segment}/forward_terms")
    code_file = AppendFile(folder, f"{segment}/forward_codes")
    ends = [np.zeros(1, np.int64)]
    for first in range(0, documents, _ROWS):
        progress("storing vectors", first, documents)
        part, part_terms, part_values = _documents(arrays, order, first, first + _ROWS)
        codes = quantizer.codes(part_values, part)
        keep = codes > 0
        kept = np.concatenate([np.zeros(1, np.int64), np.cumsum(keep)])[part]
        new_terms = part_terms[keep]
        term_file.append(new_terms)
        code_file.append(codes[keep])
        ends.append(ends[-1][-1] + kept[1:])
        count = partial(count_postings, rows=rows, windows=windows, counts=counts, window=WINDOW, first_doc=first)
        compile_once(f"count-{terms.dtype}", partial(count, kept[:1], new_terms))
        count(kept, new_terms)
    progress("storing vectors", documents, documents)
    new_indptr = np.concatenate(ends)
    nnz = int(new_indptr[-1])
    files = [
        write_array(folder, f"{segment}/forward_indptr", new_indptr),
        term_file.finish(terms.dtype.str, (nnz,)),
        code_file.finish(np.dtype(quantizer.dtype).str, (nnz,)),
    ]
    return files, new_indptr, counts.reshape(len(present), windows), present


def _documents(arrays: SpoolArrays, order: npt.NDArray[np.uint32] | None, first: int, last: int) -> SpoolArrays:
    """The documents [first, last) as they are to be stored, as a batch of its own."""
    indptr, terms, values = arrays
    if order is None:
        part = indptr[first : last + 1]
        return SpoolArrays(part - part[0], terms[part[0] : part[-1]], values[part[0] : part[-1]])
    from lsr.index.kernels.inversion import gather

    rows = order[first:last]
    part = np.concatenate([np.zeros(1, np.int64), np.cumsum(indptr[rows.astype(np.int64) + 1] - indptr[rows])])
    new_terms, new_values = np.empty(part[-1], terms.dtype), np.empty(part[-1], np.float32)
    compile_once(
        f"gather-{terms.dtype}", lambda: gather(indptr, terms, values, rows[:0], new_terms[:0], new_values[:0])
    )
    gather(indptr, terms, values, rows, new_terms, new_values)
    return SpoolArrays(part, new_terms, new_values)


def _present(terms: Array, dim: int) -> npt.NDArray[np.int64]:
    """The terms that occur, rising."""
    seen = np.zeros(dim, bool)
    for start in range(0, len(terms), 1 << 22):
        seen[terms[start : start + (1 << 22)]] = True
    return np.flatnonzero(seen)


def _rows(chosen: npt.NDArray[np.int64], dim: int) -> npt.NDArray[np.int32]:
    """For each term of the vocabulary its place among the chosen ones, -1 where it is none of them."""
    rows = np.full(dim, -1, np.int32)
    rows[chosen] = np.arange(len(chosen), dtype=np.int32)
    return rows


def _write_postings(
    forward: _Forward,
    listed: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    dim: int,
    folder: Path,
    segment: str,
    progress: Progress,
) -> list[FileEntry]:
    """Posting lists of the terms `listed`; counts [listed, windows]."""
    from lsr.index.kernels.inversion import fill_postings

    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts.ravel())])
    starts = offsets[:: counts.shape[1]]  # of each list
    total = int(offsets[-1])
    rows = _rows(listed, dim)
    windows = counts.shape[1]
    largest = np.zeros(len(listed) * windows, forward.codes.dtype)
    doc_file = AppendFile(folder, f"{segment}/postings_docs")
    code_file = AppendFile(folder, f"{segment}/postings_codes")
    low = 0
    while low < len(listed):
        start = int(starts[low])
        progress("inverting", start, total)
        # At least one term a pass, however long its list.
        high = max(low + 1, int(np.searchsorted(starts, start + POSTINGS_IN_MEMORY, side="right")) - 1)
        size = int(starts[high]) - start
        docs, codes = np.empty(size, np.uint16), np.empty(size, forward.codes.dtype)
        rest = (forward.terms, forward.codes, WINDOW, rows, low, high, starts[low:high] - start, docs, codes)
        compile_once(
            f"fill-postings-{forward.terms.dtype}-{codes.dtype}", partial(fill_postings, forward.indptr[:1], *rest)
        )
        fill_postings(forward.indptr, *rest)
        doc_file.append(docs)
        code_file.append(codes)
        pieces = offsets[low * windows : high * windows + 1] - start
        filled = pieces[:-1] < pieces[1:]
        largest[low * windows : high * windows][filled] = np.maximum.reduceat(codes, pieces[:-1][filled])
        low = high
    progress("inverting", total, total)
    return [
        write_array(folder, f"{segment}/postings_terms", listed.astype(np.uint32)),
        write_array(folder, f"{segment}/postings_offsets", offsets),
        doc_file.finish("<u2", (total,)),
        code_file.finish(forward.codes.dtype.str, (total,)),
        write_array(folder, f"{segment}/postings_largest", largest),
    ]


def _write_dense(
    forward: _Forward, frequent: npt.NDArray[np.int64], dim: int, folder: Path, segment: str
) -> list[FileEntry]:
    """Rows of codes, one code for every document, of the terms `frequent`."""
    from lsr.index.kernels.inversion import fill_dense

    documents = len(forward.indptr) - 1
    rows = _rows(frequent, dim)
    step = max(1, POSTINGS_IN_MEMORY // max(1, documents))
    code_file = AppendFile(folder, f"{segment}/dense_codes")
    largest = [np.zeros(0, forward.codes.dtype)]
    for low in range(0, len(frequent), step):
        high = min(low + step, len(frequent))
        codes = np.zeros((high - low, documents), forward.codes.dtype)
        rest = (forward.terms, forward.codes, rows, low, high, codes)
        compile_once(f"dense-{forward.terms.dtype}-{codes.dtype}", partial(fill_dense, forward.indptr[:1], *rest))
        fill_dense(forward.indptr, *rest)
        code_file.append(codes)
        largest += [largest_codes(row) for row in codes]
    return [
        write_array(folder, f"{segment}/dense_largest", np.concatenate(largest)),
        write_array(folder, f"{segment}/dense_terms", frequent.astype(np.uint32)),
        code_file.finish(forward.codes.dtype.str, (len(frequent) * documents,)),
    ]
