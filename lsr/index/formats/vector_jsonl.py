"""Vectors as JSON, an object a line: Seismic's jsonl, and Anserini's JsonVectorCollection.

    Seismic    {"id", "content"?, "vector": {token: weight}}
    Anserini   {"id", "contents", "vector": {token: whole number}}     of 1.9 Anserini reads 1

They are read alike. Other fields become title, text and metadata, as those of documents do.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from lsr.corpus import Document
from lsr.corpus.fields import TEXT_FIELDS, Record, documents
from lsr.corpus.jsonlines import UNCHECKED_FLOATS, json_records
from lsr.corpus.streams import file_source, shown
from lsr.errors import CorpusError
from lsr.index.formats.outgoing import Outgoing
from lsr.index.formats.terms import Terms
from lsr.index.formats.vector_file import Batch, ReadOptions, VectorFile, checked_batch
from lsr.index.formats.whole_numbers import WholeNumbers
from lsr.limits import Limits
from lsr.sparse import SparseVectors

__all__ = ["compressed", "json_line", "open_vector_jsonl", "shortest", "write_anserini", "write_seismic_jsonl"]

_LINES = 1 << 12  # documents read at a time
_SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz")  # of the files of a folder

# A document, and the object of its field "vector".
_Row = tuple[Document, Mapping[str, Any]]


# -- reading -----------------------------------------------------------------------------------------------------------


def open_vector_jsonl(path: Path, options: ReadOptions) -> VectorFile:
    """Reads a file (.gz, .xz and .bz2 too), or all .jsonl and .json files of a folder in the order of their names.

    It is read as a stream; without a vocabulary twice, the first time for its tokens.
    """
    files, terms = _files(path), options.terms
    if terms is None:
        terms = Terms.found((token for _, vector in _rows(files) for token in vector), options.dim, shown(path))
    resolve = terms

    def read() -> Iterator[Batch]:
        rows = _rows(files)
        while group := list(islice(rows, _LINES)):
            yield _batch(group, resolve, options.scale)

    return VectorFile(
        name=shown(path), dim=terms.dim, read=read, tokens=terms.tokens, texts=_has_texts(files), terms=terms
    )


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.name.endswith(_SUFFIXES))
    if not files:
        raise CorpusError(f"{shown(path)}: no {', '.join(_SUFFIXES)} file in this folder")
    return files


def _records(files: Sequence[Path]) -> Iterator[Record]:
    for file in files:
        yield from json_records(file_source(file, Limits.default()), UNCHECKED_FLOATS)


def _has_texts(files: Sequence[Path]) -> bool:
    """Whether the first record has more than an id and a vector."""
    record, _ = next(_records(files), ({}, ""))
    return len(record) > 2


def _rows(files: Sequence[Path]) -> Iterator[_Row]:
    """Documents with their vectors, whose values are numbers."""
    vector: Mapping[str, Any] = {}
    text: str | None = None

    def plain() -> Iterator[Record]:
        nonlocal vector, text
        for record, where in _records(files):
            vector = record.get("vector")  # type: ignore[assignment]
            if not isinstance(vector, dict):
                raise CorpusError(f"{where}: no field 'vector' with an object of tokens and weights")
            if not set(map(type, vector.values())) <= {int, float}:
                token = next(token for token, weight in vector.items() if type(weight) not in (int, float))
                raise CorpusError(f"{where}: the weight of {token[:60]!r} is no number")
            rest = {field: value for field, value in record.items() if field != "vector"}
            if text is None:
                text = next((field for field in TEXT_FIELDS if field in rest), "text")
            yield {text: "", **rest}, where  # texts are optional

    for document in documents(plain(), id_field=None, text_fields=(), limits=Limits.default()):
        yield document, vector


def _batch(group: Sequence[_Row], terms: Terms, scale: float) -> Batch:
    found = [terms(vector, document.where) for document, vector in group]
    lengths = np.array([len(row) for row in found], np.int64)
    columns = np.array([term for row in found for term in row], np.int64)
    try:
        weights = np.array([weight for _, vector in group for weight in vector.values()], np.float64)
    except OverflowError:  # a whole number that no float can hold: which one, a row at a time tells
        weights = np.concatenate([_as_floats(vector) for _, vector in group])
    if len(columns) and columns.min() < 0:  # unknown, and to be dropped
        known = columns >= 0
        lengths = np.diff(np.concatenate([[0], np.cumsum(known)])[np.concatenate([[0], np.cumsum(lengths)])])
        columns, weights = columns[known], weights[known]
    vectors = checked_batch(
        lengths,
        columns,
        weights,
        terms.dim,
        place=lambda row: group[row][0].where,
        ids=[document.id for document, _ in group],
        scale=scale,
    )
    return Batch(vectors, [document for document, _ in group])


def _as_floats(vector: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """What is too large for a float as infinity, which is refused with its place."""
    return np.array([weight if abs(weight) < 1 << 1023 else np.inf for weight in vector.values()], np.float64)


# -- writing -----------------------------------------------------------------------------------------------------------


def json_line(identifier: str, vector: Mapping[str, float | int], beside: Mapping[str, str] | None = None) -> str:
    """A document as a line of JSON; `beside` are its other fields."""
    return json.dumps({"id": identifier, **(beside or {}), "vector": vector}, ensure_ascii=False) + "\n"


def shortest(values: npt.NDArray[np.float32]) -> list[float]:
    """float32 weights as the numbers whose text is the shortest that reads back as the same float32."""
    distinct, places = np.unique(values, return_inverse=True)  # weights of an index are multiples of one step: few
    numbers: list[float] = np.array([float(str(value)) for value in distinct])[places].tolist()
    return numbers


def compressed(file: BinaryIO) -> BinaryIO:
    """A file that compresses what is written into it. No time and no name are in it: the same lines give the same bytes."""
    return cast(BinaryIO, gzip.GzipFile("", "wb", 6, file, mtime=0))


def write_seismic_jsonl(file: BinaryIO, out: Outgoing) -> None:
    """Writes Seismic's jsonl: weights are read back to the last bit."""
    _write(file, out, lambda vectors: shortest(vectors.values), "content", always=False)


def write_anserini(file: BinaryIO, out: Outgoing, numbers: WholeNumbers) -> None:
    """Writes an Anserini JsonVectorCollection: weights as whole numbers."""
    _write(file, out, lambda vectors: numbers.of(vectors).tolist(), "contents", always=True)


def _write(
    file: BinaryIO,
    out: Outgoing,
    weights_of: Callable[[SparseVectors], Sequence[float | int]],
    text_field: str,
    *,
    always: bool,
) -> None:
    token, row = out.token, 0
    for vectors in out.batches():
        weights, lines = weights_of(vectors), []
        bounds = vectors.indptr.tolist()
        tokens = [token(term) for term in vectors.indices.tolist()]
        for i, identifier in enumerate(out.ids(vectors, row)):
            inside = slice(bounds[i], bounds[i + 1])
            vector = {name: weight for name, weight in zip(tokens[inside], weights[inside], strict=True) if weight}
            lines.append(json_line(identifier, vector, _beside(out, row + i, text_field, always=always)))
        file.write("".join(lines).encode())
        row += len(vectors)


def _beside(out: Outgoing, row: int, text_field: str, *, always: bool) -> dict[str, str]:
    """Title and text of a document, where there are any."""
    record = out.record(row) if out.record is not None else None
    if record is None:
        return {text_field: ""} if always else {}
    return ({"title": record.title} if record.title else {}) | {text_field: record.text}
