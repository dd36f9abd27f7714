"""Which reader a source gets: BEIR folders and zips, compressed files, streams, and paths that are wrong."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lsr.corpus import Document, Query, read_documents, read_queries
from lsr.errors import CorpusError, InvalidInput, LsrError
from lsr.limits import Limits

CORPUS = b'{"_id": "d1", "title": "T", "text": "a", "metadata": {}}\n{"_id": "d2", "title": "", "text": "b"}\n'
QUERIES = b'{"_id": "q1", "text": "x"}\n'
EXPECTED = [Document("d1", "a", "T"), Document("d2", "b")]


def zipped(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_a_beir_folder(tmp_path: Path, packed: bool) -> None:
    pack: Callable[[bytes], bytes] = gzip.compress if packed else bytes
    ending = ".gz" if packed else ""
    (tmp_path / f"corpus.jsonl{ending}").write_bytes(pack(CORPUS))
    (tmp_path / f"queries.jsonl{ending}").write_bytes(pack(QUERIES))
    (tmp_path / "README.md").write_text("not a document")
    assert list(read_documents(tmp_path)) == EXPECTED
    assert list(read_queries(str(tmp_path))) == [Query("q1", "x")]


@pytest.mark.parametrize("folder", ["", "scifact/"])
def test_a_beir_zip(tmp_path: Path, folder: str) -> None:
    path = zipped(tmp_path / "b.zip", {f"{folder}corpus.jsonl": CORPUS, f"{folder}queries.jsonl": QUERIES, "x": b""})
    documents = list(read_documents(path))
    assert documents == EXPECTED
    assert documents[1].where == f"{path}/{folder}corpus.jsonl:2"
    assert list(read_queries(path)) == [Query("q1", "x")]
    assert sorted(tmp_path.iterdir()) == [path]  # nothing was unpacked


def test_zips_that_are_no_beir_zips(tmp_path: Path) -> None:
    none = zipped(tmp_path / "n.zip", {"a/b/corpus.jsonl": CORPUS, "my-corpus.jsonl": CORPUS})
    with pytest.raises(CorpusError, match=r"n\.zip: no corpus\.jsonl at the root of the archive or one folder down"):
        read_documents(none)
    two = zipped(tmp_path / "t.zip", {"a/corpus.jsonl": CORPUS, "b/corpus.jsonl": CORPUS})
    with pytest.raises(CorpusError, match=r"several corpus\.jsonl \(a/corpus\.jsonl, b/corpus\.jsonl\); unpack it"):
        read_documents(two)
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with pytest.raises(
        CorpusError, match=r"x\.zip: not a zip file that can be read \(File is not a zip file\); download"
    ):
        read_documents(tmp_path / "x.zip")


def test_a_damaged_member_is_named_by_line(tmp_path: Path) -> None:
    path = zipped(tmp_path / "b.zip", {"corpus.jsonl": CORPUS}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b'"b"', b'"c"'))  # the checksum no longer holds
    with pytest.raises(CorpusError, match=r"b\.zip/corpus\.jsonl:\d: cannot be read from here on \(Bad CRC-32"):
        list(read_documents(path))


def test_archives_that_grow_without_bound_are_refused(tmp_path: Path) -> None:
    line = b'{"text": "' + b"a" * 1000 + b'"}\n'
    bomb = line * 20_000  # 20 MB, about 1000:1
    path = zipped(tmp_path / "b.zip", {"corpus.jsonl": bomb})
    with pytest.raises(CorpusError, match=r"b\.zip: corpus\.jsonl would grow to .* more than 200 times"):
        read_documents(path)
    assert sum(1 for _ in read_documents(path, limits=Limits(archive_ratio=5000))) == 20_000
    for name, packed in (("b.jsonl.gz", gzip.compress(bomb)), ("b.jsonl.xz", lzma.compress(bomb, preset=0))):
        (tmp_path / name).write_bytes(packed)
        with pytest.raises(
            CorpusError, match=rf"{name}:\d+: one compressed byte has become more than 200 bytes; .*unpack"
        ):
            list(read_documents(tmp_path / name))
    small = zipped(tmp_path / "s.zip", {"corpus.jsonl": line * 5000})  # 5 MB
    assert sum(1 for _ in read_documents(small)) == 5000


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)])
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("d.jsonl", CORPUS),
        ("d.ndjson", CORPUS),
        ("d.json", CORPUS),
        ("d.csv", b"_id,title,text\nd1,T,a\nd2,,b\n"),
        ("d.tsv", b"d1\ta\tT\nd2\tb\t\n"),
        ("D.JSONL", CORPUS),
    ],
)
def test_files_may_be_compressed(
    tmp_path: Path, name: str, data: bytes, ending: str, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / (name + ending)
    path.write_bytes(pack(data))
    assert list(read_documents(path)) == EXPECTED
    path.write_bytes(pack(data)[:-9])
    with pytest.raises(
        CorpusError, match=rf"{name}{ending}:\d: cannot be read from here on .*; is the file complete\?"
    ):
        list(read_documents(path))
    path.write_bytes(data)
    with pytest.raises(CorpusError, match=rf"{name}{ending}:1: cannot be read from here on"):
        list(read_documents(path))


def test_an_open_stream(tmp_path: Path) -> None:
    stream = io.BytesIO(b"\n" + CORPUS)
    documents = list(read_documents(stream))
    assert documents == EXPECTED
    assert documents[0].where == "stream:2"
    assert not stream.closed
    (tmp_path / "x").write_bytes(b"one {\ntwo\n")
    with (tmp_path / "x").open("rb") as file:
        assert [(d.text, d.where) for d in read_documents(file)] == [
            ("one {", f"{tmp_path}/x:1"),
            ("two", f"{tmp_path}/x:2"),
        ]
    assert [q.text for q in read_queries(io.BytesIO(b"one\ntwo"))] == ["one", "two"]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def give(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    give(CORPUS)
    assert list(read_documents("-")) == EXPECTED
    give(b"one\n\ntwo\n")
    assert [(d.id, d.text, d.where) for d in read_documents("-")] == [("0", "one", "stdin:1"), ("1", "two", "stdin:3")]
    give(QUERIES)
    assert list(read_queries("-")) == [Query("q1", "x")]
    give(b"{broken\n")
    with pytest.raises(CorpusError, match="stdin:1: malformed JSON"):
        list(read_documents("-"))
    give(b'[{"text": "a"}]')
    with pytest.raises(CorpusError, match="stdin:1: a JSON array; give one object a line"):
        read_documents("-")
    give(b"")
    with pytest.raises(CorpusError, match="stdin: empty"):
        list(read_documents("-"))
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CorpusError, match="stdin: there is no standard input"):
        read_documents("-")


@pytest.mark.skipif(os.name == "nt", reason="named pipes of POSIX")
def test_a_pipe_is_read_once_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(CORPUS,))
    writer.start()
    assert list(read_documents(path)) == EXPECTED
    writer.join()


def test_a_file_without_an_ending_is_read_as_a_stream(tmp_path: Path) -> None:
    (tmp_path / "corpus").write_bytes(CORPUS)
    assert list(read_documents(tmp_path / "corpus")) == EXPECTED


def test_a_missing_file_is_answered_with_names_that_are_near(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_bytes(CORPUS)
    with pytest.raises(CorpusError, match=r"corpus\.json: no such file or folder; did you mean corpus\.jsonl\?"):
        read_documents(tmp_path / "corpus.json")
    with pytest.raises(CorpusError, match="no such file or folder; check the path"):
        read_documents(tmp_path / "something else")
    with pytest.raises(CorpusError, match="no such file or folder; there is no folder"):
        read_documents(tmp_path / "nowhere" / "corpus.jsonl")


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_paths_that_cannot_exist(tmp_path: Path, name: str) -> None:
    with pytest.raises(CorpusError) as caught:
        read_documents(tmp_path / name)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["a.pdf", "a.pdf.gz", "a.parquet.gz", "a.md.gz", "a.zip.xz"])
def test_kinds_that_are_not_read_are_answered_with_those_that_are(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(CorpusError, match=r"are not read; readable are \.jsonl, .*\.parquet.*BEIR folder or \.zip"):
        read_documents(tmp_path / name)


@pytest.mark.parametrize(
    ("read", "name"),
    [
        *(
            (read_documents, name)
            for name in ("a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt", "a.md", "a.rst", "a.jsonl.gz")
        ),
        *((read_queries, name) for name in ("a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt", "a.jsonl.gz")),
    ],
)
def test_an_empty_source_is_refused(tmp_path: Path, name: str, read: Callable[..., Any]) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b"\n") if name.endswith("gz") else b"\n\n")
    with pytest.raises(CorpusError, match=rf"{name}: empty: nothing to read in it; is it the right file\?"):
        list(read(tmp_path / name))


def test_a_table_of_no_rows_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n")
    with pytest.raises(CorpusError, match=r"a\.csv: empty"):
        list(read_documents(tmp_path / "a.csv"))


def test_a_folder_without_queries(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no queries\.jsonl in this folder; give a file of queries"):
        read_queries(tmp_path)


def test_queries_are_not_read_from_pages(tmp_path: Path) -> None:
    (tmp_path / "q.md").write_text("# Questions")
    with pytest.raises(CorpusError, match=r"q\.md: queries are not read from pages; write them one a line in a \.txt"):
        read_queries(tmp_path / "q.md")


def test_what_is_no_source() -> None:
    with pytest.raises(InvalidInput, match="or a file opened in binary mode, not StringIO"):
        read_documents(io.StringIO("x"))  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="not int"):
        read_queries(5)  # type: ignore[arg-type]


def test_a_name_of_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"\xff.md")).write_text("x")
    except OSError:
        pytest.skip("this file system refuses such names")
    with pytest.raises(
        CorpusError, match=r"\\udcff\.md: the file's name is not UTF-8, so it cannot be an id; rename it"
    ):
        list(read_documents(tmp_path))


def test_memory_is_bounded_by_the_record_not_by_the_file(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "big.jsonl"
    with path.open("w") as file:
        for i in range(20_000):
            file.write(f'{{"id": {i}, "text": "{"word " * 200}"}}\n')
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_documents(path)) == 20_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 20_000_000
    assert peak < 2_000_000


def test_the_error_is_one_that_every_caller_catches() -> None:
    with pytest.raises(LsrError):
        read_documents("/nowhere/at/all.jsonl")
