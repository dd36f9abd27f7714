"""Comma- and tab-separated values, and parquet."""

from __future__ import annotations

import csv
import datetime
import decimal
import sys
from pathlib import Path
from typing import Any

import pytest

from lsr.corpus import Document, Query, read_documents, read_queries
from lsr.errors import CorpusError, LsrError, MissingExtra
from lsr.limits import Limits


def put(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_csv_has_a_header_and_quoted_cells(tmp_path: Path) -> None:
    path = put(tmp_path / "d.csv", 'ID,Title,Text,year\r\n1,"a, b","say ""hi""\r\nand go",2020\r\n\r\n2,,x,\r\n')
    documents = list(read_documents(path))
    assert documents == [
        Document("1", 'say "hi"\r\nand go', "a, b", {"year": "2020"}),
        Document("2", "x", "", {"year": ""}),
    ]
    assert [d.where for d in documents] == [f"{path}:2", f"{path}:5"]


def test_a_column_without_a_name_is_left_out(tmp_path: Path) -> None:
    path = put(tmp_path / "d.csv", ",text\n0,a\n1,b\n")
    assert list(read_documents(path)) == [Document("0", "a"), Document("1", "b")]


def test_tsv_without_a_header_is_id_and_text_taken_literally(tmp_path: Path) -> None:
    path = put(tmp_path / "d.tsv", '7\t"quoted" and \'not\n8\t\n')
    assert list(read_documents(path)) == [Document("7", '"quoted" and \'not'), Document("8", "")]
    titled = put(tmp_path / "t.tsv", "7\tbody\ttitle\n")
    assert list(read_documents(titled)) == [Document("7", "body", "title")]
    texts = put(tmp_path / "o.tsv", "only\ntexts\n")
    assert [(d.id, d.text) for d in read_documents(texts)] == [("0", "only"), ("1", "texts")]


def test_line_ends_are_no_part_of_the_text(tmp_path: Path) -> None:
    path = put(tmp_path / "d.tsv", "7\tone\r\n\r\n8\ttwo\r\n")
    assert list(read_documents(path)) == [Document("7", "one"), Document("8", "two")]


def test_tsv_with_a_header_may_quote(tmp_path: Path) -> None:
    path = put(tmp_path / "d.tsv", 'docid\tbody\tlang\nd1\t"a ""b""\tc"\ten\n')
    assert list(read_documents(path)) == [Document("d1", 'a "b"\tc', "", {"lang": "en"})]


@pytest.mark.parametrize(
    ("first_line", "is_header"),
    [
        ("id\ttext", True),
        ("QID\tQuery", True),
        ("text\tx", True),
        ("1\ttext", False),
        ("a\tb", False),
        ("x\ttexts", False),
    ],
)
def test_the_first_row_of_a_tsv_is_a_header_if_it_has_a_known_name_and_no_number(
    tmp_path: Path, first_line: str, is_header: bool
) -> None:
    path = put(tmp_path / "q.tsv", f"{first_line}\n5\tsomething\n")
    assert len(list(read_queries(path))) == (1 if is_header else 2)


def test_naming_a_field_says_that_there_is_a_header(tmp_path: Path) -> None:
    path = put(tmp_path / "d.tsv", "key\twords\na\tb\n")
    assert list(read_documents(path, id_field="key", text_fields=["words"])) == [Document("a", "b")]


def test_queries_of_a_tsv(tmp_path: Path) -> None:
    assert list(read_queries(put(tmp_path / "q.tsv", "1\thow?\n2\twhy?\n"))) == [Query("1", "how?"), Query("2", "why?")]


@pytest.mark.parametrize(
    ("name", "text", "line", "message"),
    [
        ("d.csv", "id,text\n1,a\n2,b,c\n", 3, "3 columns, the header has 2; quote cells that hold a comma"),
        ("d.csv", "id,text\n1\n", 2, "1 columns, the header has 2"),
        ("d.csv", "id,text,text\n1,a,b\n", 1, "2 columns are named 'text'; rename all but one"),
        ("d.csv", "id;text\n1;a\n", 1, "separated by ';'; save the file with ','"),
        ("d.csv", 'id,text\n1,a\n2,"b\nc\n', 3, "the file ends inside a quoted cell); is a quote missing?"),
        ("d.csv", 'id,text\n1,"a" b\n', 2, "is a quote missing?"),
        ("d.csv", "id,text\n1,a\rb\n", 2, "malformed"),
        ("d.csv", "id,words\n1,a\n", 2, "no text field; the record has 'id', 'words': name one with --text-field"),
        ("d.csv", "id,text\n,a\n", 2, "the id ('id') is empty"),
        ("d.csv", "id,text\n1,a\0\n", 2, "NUL"),
        ("d.tsv", "id\ttext\n1\ta\tb\n", 2, "3 columns, the header has 2; does a cell hold a tab?"),
        ("d.tsv", "1\ta\n2\tb\tc\n", 2, "3 columns, the first line has 2; does the text hold a tab?"),
        ("d.tsv", "1\ta\tb\tc\n", 1, "4 columns without a header; put their names in the first line"),
    ],
)
def test_malformed_tables_are_named_by_file_and_line(
    tmp_path: Path, name: str, text: str, line: int, message: str
) -> None:
    path = put(tmp_path / name, text)
    with pytest.raises(CorpusError) as caught:
        list(read_documents(path))
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert message in str(caught.value)


def test_a_quote_that_is_never_closed_does_not_collect_the_file(tmp_path: Path) -> None:
    path = put(tmp_path / "d.csv", 'id,text\n1,"' + "a line\n" * 10_000)
    with pytest.raises(CorpusError, match=r"d\.csv:2: the row that starts here is longer than 5,000 characters"):
        list(read_documents(path, limits=Limits(line=5000)))


def test_large_cells_are_read_and_the_limit_of_the_csv_module_is_put_back(tmp_path: Path) -> None:
    path = put(tmp_path / "d.csv", f"id,text\n1,{'x' * 200_000}\n2,y\n")
    before = csv.field_size_limit()
    reader = read_documents(path)
    assert len(next(reader).text) == 200_000
    assert csv.field_size_limit() == before
    assert len(list(reader)) == 1


# -- parquet -----------------------------------------------------------------------------------------------------


def parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pytest.importorskip("pyarrow", reason="parquet needs pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path, **options)
    return path


def test_parquet_rows_are_documents(tmp_path: Path) -> None:
    columns = {
        "docid": [1, 2],
        "text": ["a", None],
        "price": [1.5, float("nan")],
        "on": [datetime.date(2020, 1, 2), None],
        "at": [datetime.datetime(2020, 1, 2, 3, 4), None],
        "cost": [decimal.Decimal("1.20"), None],
        "tags": [["x"], []],
        "raw": [b"\xff", b"\xfe"],
    }
    path = parquet(tmp_path / "d.parquet", columns, row_group_size=1)
    documents = list(read_documents(path))
    metadata = {"price": 1.5, "on": "2020-01-02", "at": "2020-01-02T03:04:00", "cost": "1.20", "tags": ["x"]}
    assert documents[0] == Document("1", "a", "", metadata)
    assert documents[1] == Document("2", "", "", {**dict.fromkeys(metadata), "tags": []})
    assert documents[1].where == f"{path}: row 1"


def test_parquet_texts_may_be_bytes_of_utf8(tmp_path: Path) -> None:
    path = parquet(tmp_path / "d.parquet", {"id": [b"a"], "words": ["é".encode()]})
    assert list(read_documents(path, text_fields=["words"])) == [Document("a", "é")]
    broken = parquet(tmp_path / "e.parquet", {"text": [b"a", b"\xff"]})
    with pytest.raises(CorpusError, match=r"e\.parquet: row 1: the field 'text' is not valid UTF-8"):
        list(read_documents(broken))


def test_rows_of_parquet_are_counted_through_all_batches(tmp_path: Path) -> None:
    path = parquet(tmp_path / "d.parquet", {"text": [f"text {i}" for i in range(1500)]})
    for row, document in enumerate(read_documents(path)):
        assert (document.id, document.where) == (str(row), f"{path}: row {row}")
    broken = parquet(tmp_path / "e.parquet", {"text": [*([b"a"] * 1000), b"\xff"]})
    with pytest.raises(CorpusError, match=r"e\.parquet: row 1000: the field 'text' is not valid UTF-8"):
        list(read_documents(broken))


def test_damaged_parquet(tmp_path: Path) -> None:
    path = parquet(tmp_path / "d.parquet", {"text": ["a" * 1000] * 100}, compression="none", use_dictionary=False)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorpusError, match=r"d\.parquet: row 0: cannot be read .* whole parquet file\? Write it again"):
        list(read_documents(path))


def test_parquet_without_pyarrow_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = tmp_path / "d.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(MissingExtra, match=r"pip install 'lsr-engine\[parquet\]'") as caught:
        read_documents(path)
    assert isinstance(caught.value, LsrError)
