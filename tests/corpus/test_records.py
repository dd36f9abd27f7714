"""Records of JSON: which fields become what, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lsr.corpus import Document, Query, read_documents, read_queries
from lsr.errors import CorpusError, DuplicateId, InvalidInput
from lsr.limits import Limits


def written(folder: Path, *records: Any, name: str = "docs.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def first(path: Path, **options: Any) -> Document:
    return next(read_documents(path, **options))


def test_a_record_gives_id_text_title_metadata_and_place(tmp_path: Path) -> None:
    path = written(tmp_path, {"_id": "a", "title": "T", "text": "body", "year": 2020, "metadata": {"lang": "en"}})
    document = first(path)
    assert document == Document("a", "body", "T", {"year": 2020, "lang": "en"})
    assert document.where == f"{path}:1"


def test_fields_of_the_record_go_before_those_inside_metadata(tmp_path: Path) -> None:
    path = written(
        tmp_path, {"text": "x", "year": 1, "metadata": {"year": 2, "a": 3}}, {"text": "y", "metadata": "plain"}
    )
    assert [d.metadata for d in read_documents(path)] == [{"year": 1, "a": 3}, {"metadata": "plain"}]


@pytest.mark.parametrize(
    ("title", "text", "content"), [("T", "x", "T x"), ("", "x", "x"), ("T", "", "T"), ("", "", "")]
)
def test_content_is_title_and_text(title: str, text: str, content: str) -> None:
    assert Document("1", text, title).content == content


def test_documents_compare_without_their_place() -> None:
    assert Document("1", "x", where="a:1") == Document("1", "x", where="b:2")
    assert len({Query("1", "x", "a:1"), Query("1", "x", "b:2")}) == 1


@pytest.mark.parametrize("name", ["_id", "id", "docid", "doc_id", "pid", "document_id", "ID"])
def test_ids_are_found_by_their_usual_names(tmp_path: Path, name: str) -> None:
    document = first(written(tmp_path, {"text": "x", name: 7}))
    assert document.id == "7"
    assert document.metadata == {}


@pytest.mark.parametrize("name", ["text", "contents", "content", "body", "passage", "document", "Text"])
def test_texts_are_found_by_their_usual_names(tmp_path: Path, name: str) -> None:
    assert first(written(tmp_path, {"other": 1, name: "x"})).text == "x"


def test_earlier_names_win_and_the_others_are_metadata(tmp_path: Path) -> None:
    document = first(written(tmp_path, {"id": "b", "_id": "a", "body": "B", "text": "A", "headline": "H"}))
    assert document == Document("a", "A", "H", {"id": "b", "body": "B"})


def test_without_an_id_field_ids_are_row_numbers(tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_text('{"text": "a"}\n\n  \n{"text": "b"}\n', "utf-8")
    assert [(d.id, d.where) for d in read_documents(path)] == [("0", f"{path}:1"), ("1", f"{path}:4")]


def test_named_fields_are_the_only_ones_used(tmp_path: Path) -> None:
    path = written(
        tmp_path, {"key": "k", "id": "i", "title": "T", "abstract": "A", "text": "x"}, {"key": "l", "title": "U"}
    )
    documents = list(read_documents(path, id_field="key", text_fields=["title", "abstract"]))
    assert documents[0] == Document("k", "T A", "", {"id": "i", "text": "x"})
    assert documents[1] == Document("l", "U")  # one of several may be missing
    assert first(path, text_fields="text").text == "x"


def test_null_is_an_empty_text(tmp_path: Path) -> None:
    assert first(written(tmp_path, {"id": "a", "title": None, "text": None})) == Document("a", "")


def test_byte_order_mark_crlf_and_a_missing_last_line_end(tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": 1, "text": "a"}\r\n{"id": 2, "text": "b"}')
    assert [d.text for d in read_documents(path)] == ["a", "b"]


# Each: the file's bytes, the line that must be named, and what the message must say.
REFUSED = {
    "malformed": (b'{"text": "a"}\n{"text": \n', 2, "malformed JSON at character"),
    "array": (b'{"text": "a"}\n[1]\n', 2, "not an object"),
    "array in jsonl": (b'[{"text": "a"}]', 1, "name a file with one array .json"),
    "number": (b"1\n", 1, "each line must be one object"),
    "no text field": (b'{"id": 1, "abstract": "a"}\n', 1, "'id', 'abstract': name one with --text-field"),
    "text went missing": (b'{"text": "a"}\n{"body": "b"}\n', 2, "no text field 'text'; the record has 'body'"),
    "id went missing": (b'{"id": 1, "text": "a"}\n{"text": "b"}\n', 2, "no id field 'id'; the record has 'text'"),
    "id came late": (b'{"text": "a"}\n{"id": 1, "text": "b"}\n', 2, "the first record lacks; give ids to all"),
    "float id": (b'{"id": 1.5, "text": "a"}\n', 1, "ids are strings or whole numbers"),
    "bool id": (b'{"id": true, "text": "a"}\n', 1, "is true; ids are strings"),
    "null id": (b'{"id": null, "text": "a"}\n', 1, "is null; ids are strings"),
    "list id": (b'{"id": [], "text": "a"}\n', 1, "is a list; ids are strings"),
    "empty id": (b'{"id": "", "text": "a"}\n', 1, "empty; give every record an id"),
    "long id": (b'{"id": "%s", "text": "a"}\n' % (b"x" * 513), 1, "longer than 512 bytes; shorten it"),
    "long id in bytes": (b'{"id": "%s", "text": "a"}\n' % ("é" * 257).encode(), 1, "longer than 512 bytes"),
    "nul in id": (b'{"id": "a\\u0000", "text": "a"}\n', 1, "NUL character; remove it"),
    "nul in text": (b'{"id": "a", "text": "ab\\u0000"}\n', 1, "character 3 of the field 'text' is NUL; remove it"),
    "number as text": (b'{"text": 5}\n', 1, "the number 5, not a text; name another with --text-field"),
    "list as text": (b'{"text": ["a"]}\n', 1, "a list, not a text"),
    "object as title": (b'{"text": "a", "title": {}}\n', 1, "an object, not a text"),
    "half a surrogate pair": (b'{"text": "\\ud800"}\n', 1, "half a surrogate pair"),
    "half a surrogate pair in an id": (b'{"id": "\\udfff", "text": "a"}\n', 1, "half a surrogate pair"),
    "half a surrogate pair in metadata": (b'{"text": "a", "x": {"y": ["\\ud83d"]}}\n', 1, "half a surrogate pair"),
    "half a surrogate pair in a name": (b'{"text": "a", "\\ud83d": 1}\n', 1, "half a surrogate pair"),
    "nan": (b'{"text": "a", "x": NaN}\n', 1, "NaN is no JSON; write null"),
    "infinity": (b'{"text": "a", "x": -Infinity}\n', 1, "-Infinity is no JSON; write null"),
    "too large a number": (b'{"text": "a", "x": 1e999}\n', 1, "out of range; write it as a string"),
    "too many digits": (b'{"text": "a", "x": %s}\n' % (b"9" * 5000), 1, "too many digits; write it as a string"),
    "too deep to parse": (b'{"text": "a", "x": %s}\n' % (b"[" * 100_000), 1, "nested too deeply; flatten it"),
    "too deep to keep": (
        b'{"text": "a", "x": %s}\n' % (b"[" * 200 + b"]" * 200),
        1,
        "deeper than 100 levels; flatten it",
    ),
    "invalid utf-8": (
        b'{"text": "a"}\n{"text": "\xff"}\n',
        2,
        "byte 11 (0xff) is not valid UTF-8; save the file as UTF-8",
    ),
    "utf-16": ('{"text": "a"}\n'.encode("utf-16"), 1, "UTF-16; save it as UTF-8"),
    "gzip by another name": (
        b"\x1f\x8b\x08\x00",
        1,
        "these are gzip data, not text; give the file the ending of its kind",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_named_by_file_and_line(tmp_path: Path, case: str) -> None:
    data, line, message = REFUSED[case]
    path = tmp_path / "docs.jsonl"
    path.write_bytes(data)
    with pytest.raises(CorpusError) as caught:
        list(read_documents(path))
    said = str(caught.value)
    assert said.startswith(f"{path}:{line}: ")
    assert message in said
    assert "\n" not in said
    said.encode()  # can be printed


def test_limits_are_inclusive_and_can_be_raised(tmp_path: Path) -> None:
    path = written(tmp_path, {"id": "ab", "text": "éé"})
    line = len(path.read_bytes()) - 1
    assert first(path, limits=Limits(line=line, text=4, id=2)).text == "éé"
    for limits, message in [
        (Limits(line=line - 1), f"longer than {line - 1} bytes; is it one record a line?"),
        (Limits(text=3), "longer than 3 bytes; split it in passages"),
        (Limits(id=1), "longer than 1 bytes; shorten it"),
    ]:
        with pytest.raises(CorpusError, match=r"docs\.jsonl:1: ") as caught:
            first(path, limits=limits)
        assert message in str(caught.value)
    with pytest.raises(InvalidInput, match="Limits: text is 0"):
        Limits(text=0)


def test_named_fields_that_do_not_exist(tmp_path: Path) -> None:
    path = written(tmp_path, {"id": 1, "text": "a"})
    with pytest.raises(CorpusError, match=r":1: no field 'key' \(--id-field\); the record has 'id', 'text'"):
        first(path, id_field="key")
    with pytest.raises(
        CorpusError, match=r":1: no text field 'x' or 'y'; the record has 'id', 'text': see --text-field"
    ):
        first(path, text_fields=["x", "y"])


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ('[{"id": 1, "text": "a"}, {"id": 2, "text": "b"}]', ["1", "2"]),
        ('\n [\n{"id": 1, "text": "]},{"}\n,\n{"id": 2, "text": "b",\n "x": [{}]}\n]\n', ["1", "2"]),
        ('{"id": 1, "text": "a"}\n{"id": 2, "text": "b"}\n', ["1", "2"]),
    ],
)
def test_json_is_an_array_or_lines(tmp_path: Path, text: str, ids: list[str]) -> None:
    path = tmp_path / "docs.json"
    path.write_text(text, "utf-8")
    assert [d.id for d in read_documents(path)] == ids


def test_objects_of_an_array_may_cross_the_pieces_that_are_read(tmp_path: Path) -> None:
    records = [{"id": i, "text": "é" * (i * 1000), "x": {"y": [i]}} for i in range(300)]
    path = tmp_path / "docs.json"
    path.write_text(json.dumps(records, ensure_ascii=False, indent=1), "utf-8")
    found = list(read_documents(path))
    assert [(int(d.id), d.text, {"x": d.metadata["x"]}) for d in found] == [
        (r["id"], r["text"], {"x": r["x"]}) for r in records
    ]
    assert found[1].where == f"{path}:11"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('[\n{"text": "a"},\n5\n]', 3, "an object must stand here"),
        ('[\n{"text": "a"}\n{"text": "b"}]', 3, "',' must stand here"),
        ('[\n{"text": "a"},\n]', 3, "an object must stand here"),
        ('[\n{"text": "a"}\n', 3, "',' must stand here, not 'the end'"),
        ('[\n{"text": "a"}\n]\n{}', 4, "more after the end of the array"),
        ('[\n{"text":\nx"a"}]', 3, "malformed JSON"),
        ('[\n{"text": "a", "x": NaN}]', 2, "NaN is no JSON"),
        ("[" * 100_000, 1, "an object must stand here"),
    ],
)
def test_malformed_arrays_are_named_by_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = tmp_path / "docs.json"
    path.write_text(text, "utf-8")
    with pytest.raises(CorpusError) as caught:
        list(read_documents(path))
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert message in str(caught.value)


def test_invalid_utf8_in_an_array_is_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "docs.json"
    path.write_bytes(b'[\n{"text": "a"},\n{"text": "\xff"}\n]')
    with pytest.raises(CorpusError, match=r"docs\.json:3: byte 11 \(0xff\) is not valid UTF-8"):
        list(read_documents(path))


def test_queries_have_ids_and_texts(tmp_path: Path) -> None:
    path = written(tmp_path, {"_id": "q1", "text": "a", "metadata": {}}, {"_id": "q2", "text": ""}, name="q.jsonl")
    assert list(read_queries(path)) == [Query("q1", "a"), Query("q2", "")]
    assert [q.where for q in read_queries(path)] == [f"{path}:1", f"{path}:2"]
    plain = written(tmp_path, {"question": "a"}, {"question": "b"}, name="p.jsonl")
    assert [q.id for q in read_queries(plain)] == ["1", "2"]


def test_a_query_id_given_twice_is_refused_with_both_places(tmp_path: Path) -> None:
    path = written(
        tmp_path, {"_id": "q", "text": "a"}, {"_id": "r", "text": "b"}, {"_id": "q", "text": "c"}, name="q.jsonl"
    )
    with pytest.raises(DuplicateId, match=r"q\.jsonl:3: the query id 'q' was given at .*q\.jsonl:1 already"):
        list(read_queries(path))


def test_queries_without_a_text_field(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"q\.jsonl:1: no text field among '_id', 'words'; name the field"):
        list(read_queries(written(tmp_path, {"_id": "q", "words": "a"}, name="q.jsonl")))
