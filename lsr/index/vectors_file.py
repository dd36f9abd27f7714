"""Documents to a file of vectors, in bounded memory: `lsr encode`.

It stands here because it shares with building an index what makes that safe: the spool of vectors on disk with its
checkpoint, and the check for repeated ids.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from lsr.disk import exists
from lsr.errors import CorpusError, InvalidInput, MissingExtra, OutputExists
from lsr.index.encoding_run import EncodingRun
from lsr.index.formats.vector_jsonl import compressed, json_line, shortest
from lsr.index.reading import Reading, Texts, name_of
from lsr.index.segment_writer import Progress, Spool, SpoolArrays
from lsr.index.storage.folder import scratch_folder
from lsr.index.storage.records import IdsWriter
from lsr.sparse import write_arrays

if TYPE_CHECKING:
    from lsr.encoders import Encoder, Statistics

__all__ = ["FORMATS", "EncodingReport", "encode_to_file", "format_of"]

FORMATS = (".npz", ".jsonl", ".jsonl.gz", ".parquet")
_ROWS = 1 << 13  # documents written at a time


@dataclass(frozen=True, slots=True)
class EncodingReport:
    """What was written.

    `truncated` counts the documents longer than the encoder reads, `resumed` those that an earlier run had encoded; `reading`
    says what was read of them, `statistics` how sparse the vectors are.
    """

    truncated: int
    resumed: int
    reading: dict[str, Any]
    statistics: Statistics


def format_of(output: Path) -> str:
    """The format that the file's name asks for. Raises `InvalidInput` for another."""
    found = next((suffix for suffix in FORMATS if output.name.endswith(suffix) and output.name != suffix), None)
    if found is None:
        raise InvalidInput(f"{output}: vectors are written as {', '.join(FORMATS)}; give a name that ends so")
    return found


def encode_to_file(
    source: Texts,
    output: Path,
    encoder: str | Path | Encoder | None = None,
    reading: Reading | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> EncodingReport:
    """Encodes documents and writes their vectors with their ids, in bounded memory.

    source, encoder: as `Index.build` takes them.
    output: .npz (`SparseVectors.load` reads it), .jsonl or .jsonl.gz ({"id", "vector": {token: weight}}, the form that
      Seismic reads), or .parquet (id, indices, values). The file appears when it is complete.
    resume: keep what is done when interrupted, in a folder beside the output, and go on from there with the next call. The
      file is the same, byte for byte, as that of a run that nobody interrupted.

    Raises `OutputExists`, `CorpusError` and `DuplicateId`, `StorageError`, and `MissingExtra` for parquet without pyarrow.
    """
    reading = reading or Reading()
    form = format_of(output)
    write = _WRITERS[form]
    if form == ".parquet":
        _pyarrow()
    if exists(output) and output.is_dir():
        raise OutputExists(f"{output}: a folder; give the name of a file")
    if exists(output) and not overwrite:
        raise OutputExists(f"{output}: a file is there already; --overwrite replaces it")
    model = reading.encoder(encoder)
    with scratch_folder(output, resume) as scratch:
        spool, ids = (
            Spool(scratch, model.dim, reading.limits.document_terms),
            IdsWriter(scratch, "ids", first=1 if isinstance(source, str | Path) else 0),
        )
        try:
            run = EncodingRun(spool, model, ids, None, progress, resume=resume)
            if not run.run(reading.documents(source, model), reading.batch_size):
                raise CorpusError(f"{name_of(source)}: holds no documents")
            ids.finish()
            found = _Encoded(model, spool.arrays(), scratch / "ids")
            with (scratch / output.name).open("wb") as file:
                write(file, found, progress)
                file.flush()
                os.fsync(file.fileno())
            report = EncodingReport(run.counts.truncated, run.resumed, reading.facts(model), found.statistics())
        finally:
            spool.close()
            ids.close()
    return report


class _Encoded:
    """Vectors and ids on disk, read in blocks of rows."""

    def __init__(self, encoder: Encoder, arrays: SpoolArrays, ids: Path) -> None:
        self.encoder, self.arrays = encoder, arrays
        self.id_bytes = np.memmap(ids / "ids_bytes", np.uint8, "r")
        self.id_offsets = np.fromfile(ids / "ids_offsets", "<i8")

    def __len__(self) -> int:
        return len(self.arrays.indptr) - 1

    def rows(self, progress: Progress) -> Iterator[tuple[list[str], list[npt.NDArray[Any]], list[npt.NDArray[Any]]]]:
        """Ids, term ids and weights of some rows at a time."""
        indptr, terms, values = self.arrays
        for first in range(0, len(self), _ROWS):
            progress("writing", first, len(self))
            ends = self.id_offsets[first : first + _ROWS + 1]
            begin = int(ends[0])
            text = self.id_bytes[begin : int(ends[-1])].tobytes()
            ids = [text[a - begin : b - begin].decode() for a, b in pairwise(ends.tolist())]
            cuts = indptr[first : first + _ROWS + 1]
            inner = (cuts[1:-1] - cuts[0]).tolist()
            block = slice(int(cuts[0]), int(cuts[-1]))
            yield ids, np.split(np.array(terms[block]), inner), np.split(np.array(values[block]), inner)
        progress("writing", len(self), len(self))

    def statistics(self) -> Statistics:
        from lsr.encoders.inspection import counted

        frequencies = np.zeros(self.encoder.dim, np.int64)
        for first in range(0, len(self.arrays.terms), 1 << 24):
            frequencies += np.bincount(self.arrays.terms[first : first + (1 << 24)], minlength=self.encoder.dim)
        return counted(np.diff(self.arrays.indptr), frequencies)


def _write_npz(file: BinaryIO, found: _Encoded, progress: Progress) -> None:
    progress("writing", 0, len(found))
    indptr, terms, values = found.arrays
    write_arrays(file, indptr, terms, values, found.encoder.dim, (found.id_bytes, found.id_offsets))
    progress("writing", len(found), len(found))


def _write_jsonl_gz(file: BinaryIO, found: _Encoded, progress: Progress) -> None:
    with compressed(file) as packed:
        _write_jsonl(packed, found, progress)


def _write_jsonl(file: BinaryIO, found: _Encoded, progress: Progress) -> None:
    token = found.encoder.token
    for ids, terms, weights in found.rows(progress):
        lines = []
        for identifier, row, values in zip(ids, terms, weights, strict=True):
            vector = {token(term): value for term, value in zip(row.tolist(), shortest(values), strict=True)}
            lines.append(json_line(identifier, vector))
        file.write("".join(lines).encode())


def _write_parquet(file: BinaryIO, found: _Encoded, progress: Progress) -> None:
    pa, pq = _pyarrow()
    encoder = found.encoder
    notes = {"lsr_dim": str(encoder.dim), "lsr_encoder": encoder.name, "lsr_encoder_hash": encoder.hash}
    fields = [("id", pa.string()), ("indices", pa.list_(pa.uint32())), ("values", pa.list_(pa.float32()))]
    schema = pa.schema(fields, metadata=notes)
    with pq.ParquetWriter(file, schema) as writer:
        for ids, terms, weights in found.rows(progress):
            columns = [ids, [row.astype(np.uint32) for row in terms], weights]
            arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtra("pyarrow", "parquet", "writing .parquet") from None
    return pa, pq


_WRITERS: dict[str, Callable[[BinaryIO, _Encoded, Progress], None]] = {
    ".npz": _write_npz,
    ".jsonl": _write_jsonl,
    ".jsonl.gz": _write_jsonl_gz,
    ".parquet": _write_parquet,
}
