"""Metadata become typed columns while documents stream by: bounded, resumed, described, and checked before they are used."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

from lsr import Document, Index
from lsr.errors import CorruptIndex, InvalidInput
from lsr.index.filters import collect
from lsr.index.storage.check import check_index
from tests.conftest import random_vectors
from tests.index.fields import index_with
from tests.index.test_resume import tree
from tests.index.test_storage import edit_manifest

METADATA = [
    {"n": row % 7, "s": f"s{row % 13}", "b": row % 2 == 0, "f": row / 8, "l": ["x"] * (row % 3), "url": f"u/{row:05}"}
    for row in range(400)
]


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return index_with(random_vectors(400, 50, 20, seed=1, levels=3), METADATA, tmp_path)


def allowed(index: Index, asked: Any) -> list[int]:
    """Rows that a filter allows, all of which share a term with the query."""
    return sorted(index.search("log files", 10_000, filter=asked).rows.tolist())


def documents(count: int = 150) -> Iterator[Document]:
    for row in range(count):
        yield Document(id=f"d{row}", text="log files", metadata={"n": row % 5, "lang": "en" if row % 2 else "de"})


# -- building ----------------------------------------------------------------------------------------------------------


def test_info_lists_the_fields(index: Index) -> None:
    assert index.info()["fields"] == {
        "b": {"type": "bool", "documents": 400, "lists": False},
        "f": {"type": "float", "documents": 400, "lists": False},
        "l": {"type": "string", "documents": 266, "lists": True},
        "n": {"type": "int", "documents": 400, "lists": False},
        "s": {"type": "string", "documents": 400, "lists": False},
        "url": {"type": "string", "documents": 400, "lists": False},
    }
    sizes = index.info()["bytes"]
    assert sizes["fields"] > 400 * (8 + 1 + 1 + 8 + 2)
    assert sizes["total"] == sum(size for name, size in sizes.items() if name != "total")
    assert "fields: 6, whose values belong to documents" in list(check_index(index.path, full=True))


def test_columns_are_the_same_however_often_the_buffers_were_full(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "again").mkdir()
    for limit in ("_BUFFERED", "_CHARACTERS"):
        with monkeypatch.context() as patch:
            patch.setattr(collect, limit, 100)
            vectors = random_vectors(400, 50, 20, seed=1, levels=3)
            assert tree(index_with(vectors, METADATA, tmp_path / "again")) == tree(index)


def test_texts_and_vectors_need_not_be_kept_for_filters(tmp_path: Path) -> None:
    index = Index.build(documents(), tmp_path / "my.idx", keep_text=False)
    assert index.record_of(0) is None
    assert allowed(index, "n == 3 and lang == 'en'") == [row for row in range(150) if row % 5 == 3 and row % 2]


def test_passages_are_filtered_by_their_document(tmp_path: Path) -> None:
    texts = [{"id": name, "text": f"{name} log files. " * 40, "year": 2020} for name in ("a", "b")]
    index = Index.build(texts, tmp_path / "my.idx", long="passages", max_length=64)
    hits = index.search("log files", 100, filter={"parent": "b", "year": 2020})
    assert len(hits) > 1
    assert all(name.startswith("b#") for name in hits.ids)


@pytest.mark.parametrize("keep_text", [True, False])
def test_a_resumed_build_has_the_fields_of_all_documents(tmp_path: Path, keep_text: bool) -> None:
    def interrupted() -> Iterator[Document]:
        yield from documents(100)
        raise KeyboardInterrupt

    options: dict[str, Any] = {"batch_size": 32, "keep_text": keep_text}
    with pytest.raises(KeyboardInterrupt):
        Index.build(interrupted(), tmp_path / "my.idx", resume=True, **options)
    index = Index.build(documents(), tmp_path / "my.idx", resume=True, **options)
    assert index.build_report is not None
    assert index.build_report.resumed == 64
    assert tree(index) == tree(Index.build(documents(), tmp_path / "whole.idx", **options))
    assert allowed(index, {"n": 3}) == list(range(3, 150, 5))


def test_documents_without_metadata_have_no_columns(tmp_path: Path) -> None:
    index = Index.build(["log files"], tmp_path / "my.idx")
    assert index.info()["fields"] == {}
    assert not list(index.path.glob("*/field_*"))


# -- what cannot be filtered on ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("id", ["x"], "'id' means something else there"),
        ("not", [True], "'not' means something else there"),
        ("text2", ["short", "é" * 600], "it holds a text of more than 1,024 bytes"),
        ("n", [1, 2, 2**63], "it holds a whole number of more than 64 bits"),
        ("n", ["seven", -(2**63) - 1, 7], "it holds a whole number of more than 64 bits"),
    ],
)
def test_a_field_that_filters_cannot_hold_is_refused_with_its_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, values: list[Any], why: str
) -> None:
    vectors = random_vectors(4, 50, 20, levels=3)
    with caplog.at_level(logging.WARNING, "lsr"):
        index = index_with(vectors, [{"good": 1}, *({name: value} for value in values)], tmp_path)
    assert f"the field {name!r} cannot be used in filters: {why}" in caplog.text
    assert list(index.info()["fields"]) == ["good"]
    if name not in ("id", "not"):
        with pytest.raises(InvalidInput, match=f"the field '{name}' cannot be filtered on: {why}"):
            index.search(vectors, filter={name: 1})


def test_beyond_a_number_of_fields_none_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    vectors = random_vectors(300, 50, 20, levels=3)
    with caplog.at_level(logging.WARNING, "lsr"):
        index = index_with(vectors, [{f"field{row}": row, "n" * 300: 1} for row in range(300)], tmp_path)
    assert "filters know the first 256 fields" in caplog.text
    assert len(index.info()["fields"]) == 256
    query = random_vectors(1, 50, 20, levels=3)
    assert index.search(query, filter={"field255": 255})[0].rows.tolist() == [255]
    with pytest.raises(
        InvalidInput, match=r"no field 'field256'; .* 236 more .*; only the first 256 fields .* are kept"
    ):
        index.search(query, filter={"field256": 256})


# -- files that are not sound ------------------------------------------------------------------------------------------


def alter(index: Index, name: str, change: Callable[[bytes], bytes]) -> None:
    """Changes a file of the segment; size, shape and checksum in the manifest follow."""
    file = index.path / "segment-0001" / name
    content = change(file.read_bytes())
    file.write_bytes(content)

    def follow(body: dict[str, Any]) -> None:
        for entry in body["segments"][0]["files"]:
            if entry["name"].endswith(f"/{name}"):
                width = int(entry["dtype"][-1])
                entry.update(
                    bytes=len(content), shape=[len(content) // width], xxh3_128=xxhash.xxh3_128_hexdigest(content)
                )

    edit_manifest(index.path, follow)


def with_table(change: Callable[[dict[str, Any]], None]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        body = json.loads(content)
        change(body)
        return json.dumps(body).encode()

    return changed


def put(at: int, value: int, width: int = 1) -> Callable[[bytes], bytes]:
    """A number in place of the one at `at`."""
    start = at * width
    return lambda content: content[:start] + value.to_bytes(width, "little") + content[start + width :]


# Columns in the order of names: b 0, f 1, l 2, n 3, s 4, url 5.
REFUSED_ON_OPENING = [
    ("field_table", lambda content: b"", "cannot be read"),
    ("field_table", lambda content: b"[" * 5_000, "cannot be read"),
    ("field_table", lambda content: b"[]", "cannot be read"),
    ("field_table", lambda content: b'{"fields": []}', "cannot be read"),
    ("field_table", with_table(lambda body: body["fields"][0].update(name=7)), "another kind"),
    ("field_table", with_table(lambda body: body["fields"][0].update(name="f")), "twice"),
    ("field_table", with_table(lambda body: body["fields"][0].update(columns={"date": True})), "another kind"),
    ("field_table", with_table(lambda body: body["fields"][0].update(columns={"int": True})), "not in the manifest"),
    ("field_table", with_table(lambda body: body["fields"][0].update(columns={"bool": False})), "not in the manifest"),
    ("field_table", with_table(lambda body: body["fields"][2].update(columns={"string": True})), "has shape"),
    ("field_table", with_table(lambda body: body["fields"][0].update(surprise=1)), "cannot be read"),
    ("field_0_bool_values", lambda content: content[:-1], "has shape"),
    ("field_1_float_values", lambda content: content + bytes(8), "has shape"),
    ("field_2_string_rows", lambda content: content[:-4], "has shape"),
    ("field_2_string_offsets", lambda content: b"", "does not rise"),
    ("field_4_string_offsets", put(1, 1 << 40, 8), "does not rise"),
    ("field_4_string_offsets", put(0, 1, 8), "does not rise"),
    ("field_4_string_strings", lambda content: content + b"x", "does not rise"),
]


@pytest.mark.parametrize(("name", "change", "says"), REFUSED_ON_OPENING)
def test_columns_that_contradict_each_other_are_refused_on_opening(
    index: Index, name: str, change: Callable[[bytes], bytes], says: str
) -> None:
    alter(index, name, change)
    with pytest.raises(CorruptIndex, match=says):
        Index.open(index.path)


def test_a_column_of_another_type_is_refused_on_opening(index: Index) -> None:
    def change(body: dict[str, Any]) -> None:
        for entry in body["segments"][0]["files"]:
            if entry["name"].endswith("field_3_int_values"):
                entry["dtype"] = "<f8"

    edit_manifest(index.path, change)
    with pytest.raises(CorruptIndex, match="field_3_int_values: holds float64"):
        Index.open(index.path)


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("field_0_bool_values", put(5, 2), "'b' is damaged: a value is neither true nor false"),
        ("field_1_float_values", put(5, 0x7FF0 << 48, 8), "'f' is damaged: a value is no number"),
        ("field_2_string_rows", put(3, 399, 4), "'l' is damaged: rows are out of order"),
        ("field_2_string_rows", lambda content: content[:-4] + b"\x90\x01\0\0", "'l' is damaged: rows .* point past"),
        ("field_4_string_values", put(5, 13), "'s' is damaged: values point past the last string"),
        ("field_4_string_strings", put(1, 255), "'s' is damaged: a string is no UTF-8"),
        ("field_4_string_strings", put(0, ord("t")), "'s' is damaged: strings are out of order"),
        ("field_table", with_table(lambda body: body["fields"][2].update(documents=265)), "'l' is damaged: counts"),
        ("field_table", with_table(lambda body: body["fields"][2].update(lists=False)), "'l' is damaged: counts"),
    ],
)
def test_values_that_break_a_rule_are_found_by_check_full(
    index: Index, name: str, change: Callable[[bytes], bytes], says: str
) -> None:
    alter(index, name, change)
    Index.open(index.path)
    with pytest.raises(CorruptIndex, match=says):
        list(check_index(index.path, full=True))


def test_a_row_past_the_last_document_is_an_error_of_the_search_too(index: Index) -> None:
    alter(index, "field_2_string_rows", lambda content: content[:-4] + b"\xff\xff\xff\xff")
    with pytest.raises(CorruptIndex, match="rows of a metadata column are damaged"):
        Index.open(index.path).search(random_vectors(1, 50, 20), filter="l == 'x'")


def test_terms_past_the_vocabulary_lead_nowhere_when_few_documents_are_scored(index: Index) -> None:
    """`check --full` finds them; until then they must not be looked up beyond the end of a table."""
    alter(index, "forward_terms", lambda content: np.full(len(content) // 2, 65_535, "<u2").tobytes())
    damaged = Index.open(index.path)
    assert len(damaged.search(random_vectors(1, 50, 20), filter="url == 'u/00007'")[0]) == 0
