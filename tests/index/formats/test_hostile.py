"""Files of anyone: whatever is wrong with them is one error that names the place, at once, whatever they claim to hold."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from lsr import Index, SparseVectors
from lsr.errors import CorpusError, DuplicateId, InvalidInput, LsrError
from lsr.index.formats import open_vectors, read_vectors, write_vectors
from tests.conftest import random_vectors
from tests.index.formats.collections import SUFFIXES, WRITTEN, vectors_path, with_ids
from tests.index.formats.test_bytes import CIFF, ciff_bytes, delimited, seismic_bytes, write_csr

mutations = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150, derandomize=True
)
SMALL = with_ids(random_vectors(12, 30, 4, seed=30, levels=9))
HUGE = 1 << 40


def outcome(path: Path, form: str) -> SparseVectors | str:
    """The vectors of a file, or the error: one of ours, else the test fails."""
    try:
        return read_vectors(path, form)
    except LsrError as error:
        return str(error)


# -- truncated and altered files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", sorted(set(WRITTEN) - {"seismic-jsonl", "anserini"}))
def test_a_file_that_is_not_whole_is_refused_wherever_it_ends(tmp_path: Path, form: str) -> None:
    path = vectors_path(tmp_path, form)
    write_vectors(SMALL, path, form)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(CorpusError, match=f"vectors{SUFFIXES[form]}"):
            read_vectors(path, form)


@pytest.mark.parametrize("form", sorted(set(WRITTEN) - {"seismic-jsonl", "anserini", "scipy"}))
def test_more_bytes_than_there_should_be_are_refused(tmp_path: Path, form: str) -> None:
    path = vectors_path(tmp_path, form)
    write_vectors(SMALL, path, form)
    path.write_bytes(path.read_bytes() + bytes(4))
    with pytest.raises(CorpusError, match=f"vectors{SUFFIXES[form]}"):
        read_vectors(path, form)


@pytest.mark.parametrize("form", WRITTEN)
def test_altered_bytes_give_vectors_that_hold_the_rules_or_an_error(tmp_path: Path, form: str) -> None:
    path = vectors_path(tmp_path, form)
    write_vectors(SMALL, path, form)
    whole = path.read_bytes()

    @mutations
    @given(changes=st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), min_size=1, max_size=4))
    def holds(changes: list[tuple[int, int]]) -> None:
        altered = bytearray(whole)
        for place, byte in changes:
            altered[place] = byte
        path.write_bytes(altered)
        found = outcome(path, form)
        if isinstance(found, SparseVectors):  # made again, every rule is checked
            SparseVectors(indptr=found.indptr, indices=found.indices, values=found.values, dim=found.dim, ids=found.ids)
        else:
            assert "\n" not in found

    holds()


@pytest.mark.parametrize("form", [*WRITTEN, "torch"])
@mutations
@given(content=st.binary(max_size=200))
def test_bytes_of_anything_are_an_error_or_vectors(tmp_path: Path, form: str, content: bytes) -> None:
    path = vectors_path(tmp_path, form)
    path.write_bytes(content)
    found = outcome(path, form)
    assert isinstance(found, SparseVectors) or "\n" not in found


# -- one mistake at a time ---------------------------------------------------------------------------------------------

Writer = Callable[[Path], object]


def data(content: bytes) -> Writer:
    return lambda path: path.write_bytes(content)


def text(*lines: str) -> Writer:
    return lambda path: path.write_text("".join(line + "\n" for line in lines))


def csr(rows: int, columns: int, nnz: int, indptr: list[int], indices: list[int], values: list[float]) -> Writer:
    head = np.array([rows, columns, nnz, *indptr], "<i8").tobytes()
    return data(head + np.array(indices, "<i4").tobytes() + np.array(values, "<f4").tobytes())


def parts(**arrays: Any) -> Writer:
    return lambda path: save_file({name: np.asarray(array) for name, array in arrays.items()}, path)


def postings(*content: Any, documents: int = 2, term: str = "tök") -> Writer:
    """A file of one list with these (gap, tf), as they stand."""
    header = CIFF["Header"](version=1, num_postings_lists=1, num_docs=documents)
    found = CIFF["PostingsList"](term=term, postings=[CIFF["Posting"](docid=gap, tf=tf) for gap, tf in content])
    records = [CIFF["DocRecord"](docid=row, collection_docid=f"d{row}") for row in range(documents)]
    return data(b"".join(map(delimited, (header, found, *records))))


def records(*ids: tuple[int, str]) -> Writer:
    header = CIFF["Header"](version=1, num_docs=len(ids))
    found = [CIFF["DocRecord"](docid=row, collection_docid=name) for row, name in ids]
    return data(b"".join(map(delimited, (header, *found))))


NAN, INF = float("nan"), float("inf")
ROWS = [0, 1, 3]
CROW = np.array([0, 1, 2])
ONES = np.ones(2, np.float32)


def mistakes() -> Iterator[tuple[str, str, Writer, str]]:
    """(format, what is wrong, who writes the file, what the error says after the file's name)."""
    yield "bigann", "no header", data(bytes(23)), "23 bytes, fewer than the header"
    yield "bigann", "absurd rows", csr(HUGE, 5, 0, [0], [], []), "claims 1,099,511,627,776 rows and 0 weights"
    yield "bigann", "absurd weights", csr(1, 5, HUGE, [0, HUGE], [], []), "claims 1 rows and 1,099,511,627,776 weights"
    yield "bigann", "wraps around", csr((1 << 61) - 2, 5, 0, [0], [], []), "claims 2,305,843"
    turns = [0, 1 << 62, -(1 << 63), -(1 << 62), 1]  # whose differences overflow to numbers above 0
    yield "bigann", "offsets that turn around", csr(4, 5, 1, turns, [1], [1.0]), "offsets fall"
    yield "bigann", "negative rows", csr(-1, 5, 1, [], [], [1.0]), "claims -1 rows"
    yield "bigann", "absurd columns", csr(1, 1 << 50, 1, [0, 1], [0], [1]), "has 1,125,899,906,842,624 dimensions"
    yield "bigann", "offsets fall", csr(2, 5, 1, [0, 5, 1], [0], [1]), "the row offsets fall, or leave the file"
    yield "bigann", "offsets start late", csr(1, 5, 1, [1, 1], [0], [1]), "its row offsets go from 1 to 1"
    yield "bigann", "term out of range", csr(2, 5, 3, ROWS, [0, 2, 5], [1, 1, 1]), "row 1: term 5: there are 5"
    yield "bigann", "negative term", csr(2, 5, 3, ROWS, [0, -2, 4], [1, 1, 1]), "row 1: term -2: there are 5"
    yield "bigann", "negative weight", csr(2, 5, 3, ROWS, [0, 1, 2], [1, 1, -3]), "row 1: term 2 has weight -3.0"
    yield "bigann", "NaN", csr(2, 5, 3, ROWS, [0, 1, 2], [NAN, 1, 1]), "row 0: term 0 has weight nan"
    yield "bigann", "infinity", csr(2, 5, 3, ROWS, [0, 1, 2], [1, INF, 1]), "row 1: term 1 has weight inf"

    yield "seismic-bin", "no number", data(b"\1\0"), "2 bytes are no file of 4-byte numbers"
    yield "seismic-bin", "absurd vectors", data(struct.pack("<I", 1 << 31)), "claims 2,147,483,648 vectors in 4 bytes"
    yield "seismic-bin", "absurd length", data(struct.pack("<III", 1, 1 << 31, 0)), "ends within vector 0 of 1"
    yield "seismic-bin", "left over", data(struct.pack("<III", 1, 0, 0)), "4 bytes follow the last of its 1 vectors"
    yield (
        "seismic-bin",
        "not rising",
        data(seismic_bytes([([1], [1]), ([5, 4], [1, 1])])),
        "vector 1: term 4 stands after",
    )
    yield "seismic-bin", "repeated", data(seismic_bytes([([5, 5], [1, 1])])), "vector 0: term 5 stands after"
    yield "seismic-bin", "negative weight", data(seismic_bytes([([5], [-1.0])])), "vector 0: term 5 has weight -1.0"
    yield "seismic-bin", "NaN", data(seismic_bytes([([5], [NAN])])), "vector 0: term 5 has weight nan"

    yield "seismic-jsonl", "broken JSON", text('{"id": "1", "vector": {}}', '{"id": '), ":2: malformed JSON"
    yield "seismic-jsonl", "no object", text("{}", "[1]"), ":1: no field 'vector' with an object"
    yield "seismic-jsonl", "a list of weights", text('{"id": "1", "vector": [1]}'), ":1: no field 'vector' with"
    yield "seismic-jsonl", "NaN", text('{"id": "1", "vector": {"a": NaN}}'), ":1: NaN is no JSON"
    yield "seismic-jsonl", "a text", text('{"id": "1", "vector": {"a": "1"}}'), ":1: the weight of 'a' is no number"
    yield "seismic-jsonl", "true", text('{"id": "1", "vector": {"a": true}}'), ":1: the weight of 'a' is no number"
    yield "seismic-jsonl", "negative", text('{"id": "1", "vector": {"a": 1, "b": -1}}'), ":1: term 1 has weight -1"
    yield "seismic-jsonl", "too large", text('{"id": "1", "vector": {"a": 1e39}}'), ":1: term 0 has weight 1e"
    yield "seismic-jsonl", "no float", text('{"id":"1","vector":{"a":1' + "0" * 400 + "}}"), ":1: term 0 has weight inf"
    yield "seismic-jsonl", "no id", text('{"id":"1","vector":{}}', '{"vector":{}}'), ":2: no id field 'id'"
    yield "seismic-jsonl", "empty id", text('{"id": "", "vector": {}}'), ":1: the id .* is empty"
    yield "seismic-jsonl", "UTF-8", data(b'{"id": "\xff"}\n'), ":1: byte 9 .* is not valid UTF-8"
    yield (
        "seismic-jsonl",
        "bomb",
        data(b'{"id":"1","vector":{"' + b"a" * (1 << 24) + b'":1}}'),
        ":1: the line is longer",
    )

    yield "ciff", "empty", data(b""), "the header cannot be read"
    yield "ciff", "number without end", data(b"\xff" * 20), "a number has more than 10 bytes"
    yield "ciff", "absurd header", data(b"\xff\xff\xff\xff\x7f"), "the header claims 34,359,738,367 bytes, 0 are left"
    yield "ciff", "absurd lists", data(ciff_bytes({}, [], num_postings_lists=1 << 30)), "claims 1,073,741,824 postings"
    yield "ciff", "absurd documents", data(ciff_bytes({}, [], num_docs=1 << 30)), "and 1,073,741,824 documents in"
    yield "ciff", "negative count", data(ciff_bytes({}, [], num_docs=-1)), "and 18,446,744,073,709,551,615 documents"
    yield (
        "ciff",
        "beyond the last document",
        postings((2, 1)),
        r"postings list 0 \('tök'\) has a document that the header",
    )
    yield "ciff", "gap of 0", postings((0, 1), (0, 1)), r"postings list 0 \('tök'\) has documents that do not rise"
    yield "ciff", "negative gap", postings((1, 1), (-1, 1)), r"postings list 0 \('tök'\) has a negative number"
    yield "ciff", "negative tf", postings((0, -5)), r"postings list 0 \('tök'\) has a negative number"
    yield (
        "ciff",
        "no UTF-8",
        data(ciff_bytes({"t": []}, []).replace(b"t", b"\xff")),
        "postings list 0 has a token that is no",
    )
    yield (
        "ciff",
        "the same token twice",
        data(ciff_bytes({"ab": [(0, 1)], "ac": [(0, 1)]}, ["1"]).replace(b"ac", b"ab")),
        "postings lists: a token has two of them",
    )
    yield (
        "ciff",
        "a document twice",
        records((0, "a"), (0, "b")),
        "document record 1 is of document 0, which is none or has",
    )
    yield "ciff", "another document", records((0, "a"), (7, "b")), "document record 1 is of document 7"
    yield "ciff", "an id twice", records((0, "a"), (1, "a")), "row 1 repeats the id 'a'"
    yield "ciff", "no id", records((0, "a"), (1, "")), "document 1 has no id, where others have one"

    yield "safetensors", "not one", data(b"hello, world"), "not a safetensors file that can be read"
    yield "safetensors", "another", parts(weight=ONES), "there is no 'size' of two whole numbers"
    yield "safetensors", "no columns", parts(crow_indices=CROW, values=ONES, size=[2, 5]), "there is no 'col_indices'"
    yield (
        "safetensors",
        "term out of range",
        parts(crow_indices=CROW, col_indices=[0, 5], values=ONES, size=[2, 5]),
        "row 1 has term 5: dim is 5",
    )
    yield (
        "safetensors",
        "offsets beyond",
        parts(crow_indices=[0, 9, 2], col_indices=[0, 1], values=ONES, size=[2, 5]),
        "indptr falls after row 1",
    )
    yield (
        "safetensors",
        "absurd rows",
        parts(indices=np.zeros((2, 0), np.int64), values=np.zeros(0, np.float32), size=[HUGE, 5]),
        "it claims 1,099,511,627,776 rows",
    )
    yield (
        "safetensors",
        "negative weight",
        parts(indices=np.array([[0, 1], [3, 3]]), values=-ONES, size=[2, 5]),
        "row 0 has weight -1.0",
    )
    yield "scipy", "not one", data(b"hello, world"), "not a file of sparse vectors"
    yield "torch", "not one", data(b"hello, world"), "torch cannot read it as tensors alone"


MISTAKES = list(mistakes())


@pytest.mark.parametrize(("form", "name", "write", "says"), MISTAKES, ids=[f"{m[0]}: {m[1]}" for m in MISTAKES])
def test_a_mistake_is_named_with_its_place(tmp_path: Path, form: str, name: str, write: Writer, says: str) -> None:
    path = vectors_path(tmp_path, form)
    write(path)
    with pytest.raises(CorpusError, match=f"vectors\\{SUFFIXES[form]}:? ?.*{says}") as caught:
        read_vectors(path, form)
    assert "\n" not in str(caught.value)


# -- files as such -----------------------------------------------------------------------------------------------------


def test_a_file_that_is_missing_or_of_an_unknown_kind(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "v.ciff.gz").write_bytes(gzip.compress(b"x"))
    (tmp_path / "folder").mkdir()
    for name, kind, says in (
        ("none.bin", CorpusError, r"none\.bin: no such file"),
        ("notes.txt", CorpusError, "its format is not to be seen; name it with --format: scipy, bigann"),
        ("folder", CorpusError, r"no \.jsonl, \.json, .* file in this folder"),
        ("v.ciff.gz", InvalidInput, "unpack the file"),
    ):
        with pytest.raises(kind, match=says):
            read_vectors(tmp_path / name)
    with pytest.raises(InvalidInput, match="format 'faiss' is not known"):
        read_vectors(tmp_path / "notes.txt", "faiss")
    for options, says in (({"dim": 0}, "dim is 0"), ({"scale": float("nan")}, "scale is nan")):
        with pytest.raises(InvalidInput, match=says):
            read_vectors(tmp_path / "notes.txt", **options)


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    for form in ("bigann", "seismic-bin", "ciff", "scipy", "safetensors"):
        with pytest.raises(CorpusError, match=str(tmp_path)):
            read_vectors(tmp_path, form)


def test_an_id_that_comes_again_much_later_is_refused(tmp_path: Path) -> None:
    lines = [json.dumps({"id": str(row % 5_000), "vector": {"a": 1}}) for row in range(5_001)]
    (tmp_path / "v.jsonl").write_text("\n".join(lines))
    with pytest.raises(CorpusError, match=r"v\.jsonl: row 5000 repeats the id '0'"):
        read_vectors(tmp_path / "v.jsonl")
    with pytest.raises(DuplicateId, match=r"v\.jsonl:5001: the id '0' is also that of document 1"):
        Index.build(open_vectors(tmp_path / "v.jsonl"), tmp_path / "my.idx")
    assert not (tmp_path / "my.idx").exists()


def test_a_file_without_documents_makes_no_index(tmp_path: Path) -> None:
    (tmp_path / "v.bin").write_bytes(bytes(4))
    assert len(read_vectors(tmp_path / "v.bin")) == 0
    (tmp_path / "v.jsonl").write_text("")
    assert len(read_vectors(tmp_path / "v.jsonl")) == 0
    write_csr(SMALL[:0].to_scipy(), tmp_path / "v.csr")
    for name in ("v.bin", "v.jsonl", "v.csr"):
        with pytest.raises(InvalidInput, match=f"{name}: there are no vectors to index"):
            Index.build(open_vectors(tmp_path / name), tmp_path / "my.idx")
