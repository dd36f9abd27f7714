"""read_documents and read_queries: which reader a source gets."""

from __future__ import annotations

import difflib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

from lsr.corpus.archives import zip_source
from lsr.corpus.blocks import BLOCK_READERS
from lsr.corpus.fields import Record, documents, queries
from lsr.corpus.folders import folder_documents, page_documents, pages_of
from lsr.corpus.jsonlines import json_records, line_records, parsed_lines
from lsr.corpus.parquet import parquet_records
from lsr.corpus.plaintext import line_documents, line_queries, text_documents
from lsr.corpus.records import Document, Query
from lsr.corpus.streams import COMPRESSED, ByteReader, Source, file_source, reason, shown, stream_source
from lsr.corpus.tables import csv_records, tsv_records
from lsr.errors import CorpusError, DuplicateId, InvalidInput
from lsr.limits import Limits

__all__ = ["query_records", "read_documents", "read_queries"]

RECORD_KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
READABLE = (
    ".jsonl, .ndjson, .json, .csv, .tsv and .txt (also .gz, .xz, .bz2), .parquet, .md, .rst, a BEIR folder or .zip"
)

T = TypeVar("T")


def read_documents(
    source: str | os.PathLike[str] | ByteReader,
    *,
    id_field: str | None = None,
    text_fields: Sequence[str] = (),
    limits: Limits | None = None,
) -> Iterator[Document]:
    """The documents of a source, one after the other, in bounded memory.

    Sources:

    - a BEIR folder (corpus.jsonl or corpus.jsonl.gz in it) or a BEIR .zip (corpus.jsonl at its root or one folder down);
    - .jsonl, .ndjson (an object a line), .json (an array of objects, or as .jsonl), .csv and .tsv (see
      `lsr.corpus.tables` for headers and quotes), .parquet: a document for each record;
    - .txt: a document for each paragraph if blank lines part the text, else for each line;
    - .md, .markdown, .rst, and folders of these and .txt: passages of 100 to 200 words with their trail of headings as
      title, the id "path.md#0", and {"path", "line"} as metadata;
    - "-" (standard input), an open binary stream, a pipe or a file without an ending: as .jsonl when the first character
      is "{", else a document for each line.

    All but parquet, zip and pages may be compressed (.gz, .xz, .bz2). Text is UTF-8.

    Fields of records: `id_field`, or the first of _id, id, docid, doc_id, pid, document_id that the first record has; with
    none of them, ids are row numbers from 0. `text_fields` (joined by spaces; the title is then no more than metadata),
    or the first of text, contents, content, body, passage, document, with title or headline as the title. All other
    fields are metadata.

    Duplicate ids are for the index to refuse: `Document.where` says where each came from. `limits` are `Limits.default()`
    where none are given.

    Raises `CorpusError`: at once for a source that is missing or of no known kind, on the way for one that cannot be read
    as given (naming file and line) and at its end for one without documents; `MissingExtra` for parquet without pyarrow;
    `InvalidInput` for field names where there are no fields.
    """
    fields = (text_fields,) if isinstance(text_fields, str) else tuple(text_fields)
    name, found = _documents(source, id_field, fields, limits or Limits.default())
    return _not_empty(found, name)


def read_queries(source: str | os.PathLike[str] | ByteReader, *, limits: Limits | None = None) -> Iterator[Query]:
    """The queries of a source, one after the other.

    A BEIR folder or zip (queries.jsonl), .jsonl, .ndjson, .json, .csv, .tsv (id and text; header optional), .parquet,
    .txt (one a line), or "-". Ids are in _id, id, qid or query_id, texts in text, query, question or title; without ids,
    queries are numbered from 1.

    Raises as `read_documents` does, and `DuplicateId` naming both places.
    """
    name, found = _queries(source, limits or Limits.default())
    return _distinct(_not_empty(found, name))


def query_records(source: str | os.PathLike[str], *, limits: Limits | None = None) -> Iterator[Record]:
    """The records that `read_queries` would read, as they stand, each with its place: for who wants more of their fields.

    A BEIR folder or zip (queries.jsonl), .jsonl, .ndjson, .json, .csv, .tsv or .parquet. Raises as `read_queries` does, and
    `CorpusError` for a file without records.
    """
    path, kind = _located(source, "queries.jsonl")
    if path.is_dir() or kind not in (*RECORD_KINDS, ".zip", ""):
        raise CorpusError(
            f"{shown(path)}: questions are read from .jsonl, .json, .csv, .tsv or .parquet; give such a file"
        )
    given = limits or Limits.default()
    if kind:
        return _not_empty(_records(path, kind, "queries.jsonl", (), given), shown(path))
    records, _ = _sniffed(file_source(path, given))
    if records is None:
        raise CorpusError(f"{shown(path)}: no objects in it; write one question a line as JSON, in a file named .jsonl")
    return _not_empty(records, shown(path))


def _documents(
    source: str | os.PathLike[str] | ByteReader, id_field: str | None, text_fields: tuple[str, ...], limits: Limits
) -> tuple[str, Iterator[Document]]:
    asked = [name for name in (id_field, *text_fields) if name is not None]

    def of(records: Iterator[Record]) -> Iterator[Document]:
        return documents(records, id_field=id_field, text_fields=text_fields, limits=limits)

    stream = _stream(source, limits)
    if stream is not None:
        records, lines = _sniffed(stream)
        return stream.name, of(records) if records else line_documents(lines, stream.name, limits)
    path, kind = _located(source, "corpus.jsonl")
    name = shown(path)
    if path.is_dir() or kind not in (*RECORD_KINDS, ".zip", ""):
        if asked:
            raise InvalidInput(f"{name}: text has no fields: leave out --id-field and --text-field ({asked[0]!r})")
        return name, _texts(path, kind, limits)
    if kind == "":
        records, lines = _sniffed(file_source(path, limits))
        return name, of(records) if records else line_documents(lines, name, limits)
    return name, of(_records(path, kind, "corpus.jsonl", asked, limits))


def _queries(source: str | os.PathLike[str] | ByteReader, limits: Limits) -> tuple[str, Iterator[Query]]:
    stream, path, kind = _stream(source, limits), Path(), ""
    if stream is None:
        path, kind = _located(source, "queries.jsonl")
        if path.is_dir():
            raise CorpusError(f"{shown(path)}: no queries.jsonl in this folder; give a file of queries")
        if kind in (*RECORD_KINDS, ".zip"):
            return shown(path), queries(_records(path, kind, "queries.jsonl", (), limits), limits=limits)
        if kind not in (".txt", ""):
            raise CorpusError(f"{shown(path)}: queries are not read from pages; write them one a line in a .txt")
        stream = file_source(path, limits)
        if kind == ".txt":
            return stream.name, line_queries(stream.lines(), stream.name, limits)
    records, lines = _sniffed(stream)
    return stream.name, queries(records, limits=limits) if records else line_queries(lines, stream.name, limits)


def _stream(source: str | os.PathLike[str] | ByteReader, limits: Limits) -> Source | None:
    """Standard input or an open stream as a source; None for a path."""
    if source == "-":
        standard = getattr(sys.stdin, "buffer", None)
        if standard is None:
            raise CorpusError("stdin: there is no standard input to read; give a file")
        return stream_source(standard, "stdin", limits)
    if isinstance(source, str | os.PathLike):
        return None
    given: object = source
    if isinstance(given, io.TextIOBase) or not (hasattr(given, "read") and hasattr(given, "readline")):
        raise InvalidInput(f"a source is a path, '-' or a file opened in binary mode, not {type(source).__name__}")
    name = getattr(source, "name", None)
    return stream_source(source, shown(name) if isinstance(name, str) else "stream", limits)


def _sniffed(source: Source) -> tuple[Iterator[Record] | None, Iterator[tuple[int, str]]]:
    """Records when the first character that is not blank is "{", and the lines else. Reads no further than that line."""
    lines = source.lines()
    for number, line in lines:
        start = line.lstrip()
        if not start:
            continue
        lines = chain([(number, line)], lines)
        if start.startswith("{"):
            return parsed_lines(lines, source.name), lines
        if start.rstrip() == "[" or start.startswith("[{"):
            raise CorpusError(
                f"{source.name}:{number}: a JSON array; give one object a line (jq -c '.[]'), or a file named .json"
            )
        break
    return None, lines


def _records(path: Path, kind: str, member: str, asked: Sequence[str], limits: Limits) -> Iterator[Record]:
    if kind == ".parquet":
        return parquet_records(path, asked)
    source = zip_source(path, member, limits) if kind == ".zip" else file_source(path, limits)
    if kind == ".json":
        return json_records(source)
    if kind == ".csv":
        return csv_records(source)
    if kind == ".tsv":
        return tsv_records(source, header=True if asked else None)
    return line_records(source)


def _texts(path: Path, kind: str, limits: Limits) -> Iterator[Document]:
    if path.is_dir():
        pages = pages_of(path)
        if not pages:
            raise CorpusError(
                f"{shown(path)}: nothing to read in this folder: no corpus.jsonl (BEIR) and no .txt, .md, .markdown or .rst "
                "files; give another folder, or a file"
            )
        return folder_documents(path, pages, limits)
    if kind == ".txt":
        return text_documents(file_source(path, limits))
    return page_documents(path, path.name, limits)


def _located(source: str | os.PathLike[str] | ByteReader, member: str) -> tuple[Path, str]:
    """The file to read (a BEIR folder's member, or a folder itself) and its kind.

    The kind is the ending without that of a compression, "" for a file without one or a pipe. Raises `CorpusError` for a
    path that does not exist or has an ending that nothing reads.
    """
    path = Path(source)  # type: ignore[arg-type]
    try:
        is_folder, exists = path.is_dir(), path.exists()
        if is_folder:
            held = [path / name for name in (member, *(member + ending for ending in COMPRESSED))]
            path = next((candidate for candidate in held if candidate.is_file()), path)
    except (OSError, ValueError) as error:
        raise CorpusError(f"{shown(path)}: cannot be opened ({reason(error)}); check the path") from None
    if not exists:
        raise CorpusError(f"{shown(path)}: no such file or folder; {_meant(path)}")
    if path.is_dir():
        return path, ""
    endings = [ending.lower() for ending in path.suffixes[-2:]]
    compressed = bool(endings) and endings[-1] in COMPRESSED
    kind = (endings[-2] if len(endings) > 1 else "") if compressed else (endings[-1] if endings else "")
    plain_only = kind in (".parquet", ".zip") or (kind in BLOCK_READERS and kind != ".txt")
    if not path.is_file() and kind not in RECORD_KINDS:
        return path, ""  # a pipe, such as the shell's <(...)
    if kind not in (*RECORD_KINDS, *BLOCK_READERS, ".zip", "") or (compressed and plain_only):
        shown_kind = "".join(endings[-2:]) if compressed else kind
        raise CorpusError(f"{shown(path)}: files of the kind {shown_kind!r} are not read; readable are {READABLE}")
    return path, kind


def _meant(path: Path) -> str:
    """What a missing path could have been, for a message."""
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if folder != path.parent:
        return f"there is no folder {shown(path.parent)}"
    try:
        names = [entry.name for entry in folder.iterdir()]
    except OSError:
        return "check the path"
    close = difflib.get_close_matches(path.name, names, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(shown(name) for name in close)}?" if close else "check the path"


def _not_empty(found: Iterator[T], name: str) -> Iterator[T]:
    first = True
    for item in found:
        first = False
        yield item
    if first:
        raise CorpusError(f"{name}: empty: nothing to read in it; is it the right file?")


def _distinct(found: Iterator[Query]) -> Iterator[Query]:
    places: dict[str, str] = {}
    for query in found:
        if query.id in places:
            raise DuplicateId(
                f"{query.where}: the query id {query.id!r} was given at {places[query.id]} already; make ids distinct"
            )
        places[query.id] = query.where
        yield query
