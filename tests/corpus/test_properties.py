"""Whatever the documents, they come back as they were written; whatever the bytes, the errors are ours."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lsr.corpus import Document, read_documents, read_queries
from lsr.errors import LsrError
from lsr.limits import Limits

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))

# Every character but NUL and half surrogate pairs.
characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
text = st.text(characters, max_size=60)
ids = st.text(characters, min_size=1, max_size=20)
documents = st.lists(st.builds(Document, id=ids, text=text, title=text), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def as_rows(found: list[Document]) -> list[list[str]]:
    return [["_id", "title", "text"], *([d.id, d.title, d.text] for d in found)]


@QUICK
@given(
    documents,
    st.dictionaries(text, st.recursive(st.none() | st.booleans() | st.integers() | text, st.lists)),
    st.booleans(),
)
def test_jsonl_round_trip(folder: Path, found: list[Document], metadata: dict[str, Any], ascii_only: bool) -> None:
    metadata = {f"m{key}": value for key, value in metadata.items()}
    records = [{"_id": d.id, "title": d.title, "text": d.text, "metadata": metadata} for d in found]
    path = folder / "d.jsonl"
    path.write_bytes("".join(json.dumps(r, ensure_ascii=ascii_only) + "\n" for r in records).encode())
    assert list(read_documents(path)) == [Document(d.id, d.text, d.title, metadata) for d in found]
    array = folder / "d.json"
    array.write_bytes(json.dumps(records, ensure_ascii=ascii_only).encode())
    assert list(read_documents(array)) == [Document(d.id, d.text, d.title, metadata) for d in found]


@QUICK
@given(documents)
def test_csv_and_tsv_round_trip(folder: Path, found: list[Document]) -> None:
    for name, delimiter in (("d.csv", ","), ("d.tsv", "\t")):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=delimiter).writerows(as_rows(found))
        assert list(read_documents(folder / name)) == found


@QUICK
@given(documents)
def test_tsv_without_a_header_round_trip(folder: Path, found: list[Document]) -> None:
    def flat(value: str) -> str:
        return value.replace("\t", " ").replace("\n", " ").replace("\r", " ")

    flattened = [Document("n" + flat(d.id), flat(d.text)) for d in found]
    path = folder / "d.tsv"
    path.write_bytes("".join(f"{d.id}\t{d.text}\n" for d in [Document("1", "x"), *flattened]).encode())
    assert list(read_documents(path))[1:] == flattened


@QUICK
@given(documents)
def test_parquet_round_trip(folder: Path, found: list[Document]) -> None:
    pa = pytest.importorskip("pyarrow", reason="parquet needs pyarrow")
    import pyarrow.parquet as pq

    header, *rows = as_rows(found)
    pq.write_table(pa.table(dict(zip(header, zip(*rows, strict=True), strict=True))), folder / "d.parquet")
    assert list(read_documents(folder / "d.parquet")) == found


# Bytes that get past the first checks of a reader.
pieces = st.sampled_from(
    [
        b'{"_id": "1", "text": "a"}\n',
        b'{"id": 1, "text": ',
        b"[",
        b"]",
        b",",
        b"{",
        b'"',
        b"\t",
        b"\n",
        b"\r",
        b"\n\n",
        b"id,text\n",
        b"id\ttext\n",
        b"# T\n",
        b"===\n",
        b"---\n",
        b"```\n",
        b"::\n\n  x\n",
        b".. note::",
        b":a:`b <c>`",
        b"\\ud800",
        b"\xef\xbb\xbf",
        b"\0",
        b"\xff",
        b"NaN",
        b"1" * 50,
    ]
)
data = st.binary(max_size=200) | st.lists(pieces | st.binary(max_size=5), max_size=30).map(b"".join)

KINDS = [
    *("d.jsonl", "d.json", "d.ndjson", "d.csv", "d.tsv", "d.txt", "d.md", "d.rst", "d.parquet", "d.zip", "d"),
    *("d.jsonl.gz", "d.jsonl.xz", "d.csv.bz2"),
]


def only_our_errors(read: Callable[[], Iterator[Any]]) -> None:
    try:
        for item in read():
            item.id.encode()
            item.text.encode()
            if isinstance(item, Document):
                json.dumps(dict(item.metadata), allow_nan=False).encode()
                item.title.encode()
    except LsrError as error:
        message = str(error)
        assert message.isprintable(), message
        assert len(message) < 1000
        assert "d" in message or "stream" in message


@pytest.mark.parametrize("name", KINDS)
@FUZZ
@given(content=data)
@example(content=b"")
@example(content=b"\xef\xbb\xbf")
@example(content=b"\xff\xfe{\0}\0")
@example(content=b'"id\t"\x00')
def test_arbitrary_bytes_raise_only_our_errors(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.write_bytes(content)
    small = Limits(line=100, text=50, id=20)
    only_our_errors(lambda: read_documents(path))
    only_our_errors(lambda: read_documents(path, limits=small))
    only_our_errors(lambda: read_queries(path, limits=small))


@FUZZ
@given(content=data)
def test_arbitrary_bytes_of_a_stream_raise_only_our_errors(content: bytes) -> None:
    only_our_errors(lambda: read_documents(io.BytesIO(content)))
    only_our_errors(lambda: read_queries(io.BytesIO(content)))


def containers(folder: Path) -> dict[str, bytes]:
    """Whole files of the kinds that have an inner form."""
    import bz2
    import gzip
    import lzma

    lines = b"".join(b'{"_id": "%d", "text": "some words"}\n' % i for i in range(20))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/corpus.jsonl", lines)
        archive.writestr("a/queries.jsonl", lines)
    whole = {"d.zip": buffer.getvalue()}
    whole |= {
        "d.jsonl.gz": gzip.compress(lines),
        "d.jsonl.xz": lzma.compress(lines),
        "d.jsonl.bz2": bz2.compress(lines),
    }
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return whole
    pq.write_table(pa.table({"_id": [str(i) for i in range(20)], "text": ["some words"] * 20}), folder / "w.parquet")
    return whole | {"d.parquet": (folder / "w.parquet").read_bytes()}


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_damaged_containers_raise_only_our_errors(folder: Path, drawn: st.DataObject) -> None:
    whole = containers(folder)
    name = drawn.draw(st.sampled_from(sorted(whole)))
    content = bytearray(whole[name])
    for _ in range(drawn.draw(st.integers(1, 4))):
        content[drawn.draw(st.integers(0, len(content) - 1))] = drawn.draw(st.integers(0, 255))
    content = content[: drawn.draw(st.integers(0, len(content)) | st.just(len(content)))]
    (folder / name).write_bytes(content)
    only_our_errors(lambda: read_documents(folder / name))
    only_our_errors(lambda: read_queries(folder / name))
