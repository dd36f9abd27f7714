"""The bytes of each format against its definition: files made by hand or by the reference library are read, and what is
written is what those who defined the format say."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsr import SparseVectors
from lsr.errors import CorpusError, InvalidInput
from lsr.index.formats import open_vectors, read_vectors, write_vectors
from tests.conftest import random_vectors
from tests.index.formats.collections import COLLECTIONS, with_ids

in_tmp_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
ORDINARY = COLLECTIONS["ordinary"]


def dense(vectors: SparseVectors) -> list[list[float]]:
    found: list[list[float]] = vectors.to_scipy().toarray().tolist()
    return found


# -- BigANN ------------------------------------------------------------------------------------------------------------


def write_csr(matrix: Any, path: Path) -> Path:
    """As big-ann-benchmarks' dataset_io writes one."""
    with path.open("wb") as file:
        np.array([matrix.shape[0], matrix.shape[1], matrix.nnz], dtype="int64").tofile(file)
        matrix.indptr.astype("int64").tofile(file)
        matrix.indices.astype("int32").tofile(file)
        matrix.data.astype("float32").tofile(file)
    return path


def test_a_csr_file_of_bigann(tmp_path: Path) -> None:
    path = write_csr(ORDINARY.to_scipy(), tmp_path / "reference.csr")
    assert read_vectors(path).to_scipy().shape == (300, 500)
    assert dense(read_vectors(path)) == dense(ORDINARY)
    write_vectors(ORDINARY, tmp_path / "ours.csr")
    assert (tmp_path / "ours.csr").read_bytes() == path.read_bytes()


def test_terms_of_a_csr_file_in_any_order_repeated_or_of_weight_0(tmp_path: Path) -> None:
    matrix = sp.csr_array(
        (np.array([1.0, 2, 4, 0, 8]), np.array([3, 1, 3, 2, 0]), np.array([0, 4, 4, 5])), shape=(3, 5)
    )
    found = read_vectors(write_csr(matrix, tmp_path / "v.csr"))
    assert found.indices.tolist() == [1, 3, 0]
    assert dense(found) == [[0, 2, 0, 5, 0], [0] * 5, [8, 0, 0, 0, 0]]


# -- SciPy -------------------------------------------------------------------------------------------------------------


def test_scipy_reads_what_is_written_and_is_read(tmp_path: Path) -> None:
    write_vectors(ORDINARY, tmp_path / "v.npz")
    matrix = sp.load_npz(tmp_path / "v.npz")
    assert isinstance(matrix, sp.csr_array)
    assert matrix.dtype == np.float32
    assert matrix.toarray().tolist() == dense(ORDINARY)
    assert read_vectors(tmp_path / "v.npz").ids == ORDINARY.ids
    for compressed in (True, False):
        sp.save_npz(tmp_path / "theirs.npz", matrix, compressed=compressed)
        assert dense(read_vectors(tmp_path / "theirs.npz")) == dense(ORDINARY)


def test_vectors_that_lsr_encode_wrote_are_read_too(tmp_path: Path) -> None:
    ORDINARY.save(tmp_path / "encoded.npz")
    assert read_vectors(tmp_path / "encoded.npz") == ORDINARY


# -- Seismic -----------------------------------------------------------------------------------------------------------


def seismic_bytes(rows: Sequence[tuple[Sequence[int], Sequence[float]]]) -> bytes:
    """As Seismic's scripts/convert_json_to_inner_format.py writes them."""
    out = io.BytesIO()
    out.write(len(rows).to_bytes(4, "little"))
    for terms, weights in rows:
        out.write(len(terms).to_bytes(4, "little"))
        out.write(b"".join(int(term).to_bytes(4, "little") for term in terms))
        out.write(b"".join(struct.pack("<f", weight) for weight in weights))
    return out.getvalue()


@pytest.mark.parametrize("name", COLLECTIONS)
def test_seismics_inner_format(tmp_path: Path, name: str) -> None:
    vectors = COLLECTIONS[name]
    expected = seismic_bytes([(terms.tolist(), weights.tolist()) for terms, weights in vectors])
    write_vectors(vectors, tmp_path / "ours.bin")
    assert (tmp_path / "ours.bin").read_bytes() == expected
    assert dense(read_vectors(tmp_path / "ours.bin", dim=vectors.dim)) == dense(vectors)


def test_the_dim_of_a_bin_file_is_that_of_its_largest_component_unless_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "v.bin"
    path.write_bytes(seismic_bytes([([2, 9], [1.0, 2.0]), ([], [])]))
    assert read_vectors(path).dim == 10
    assert read_vectors(path, dim=70_000).indices.dtype == np.uint32
    with pytest.raises(CorpusError, match="has 10 dimensions, more than the 9 that it should have"):
        read_vectors(path, dim=9)


def lines(*records: dict[str, Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def test_seismics_jsonl_and_its_optional_content(tmp_path: Path) -> None:
    (tmp_path / "v.jsonl").write_text(
        lines(
            {"id": 7, "content": "the first", "vector": {"dog": 2.45, "cat": 1}},
            {"id": "x", "vector": {}},
            {"id": "y", "content": None, "vector": {"ant": 0, "dog": 0.5}, "year": 2020},
        )
    )
    opened = open_vectors(tmp_path / "v.jsonl")
    assert (opened.tokens, opened.dim, opened.texts) == (("ant", "cat", "dog"), 3, True)
    ((vectors, documents),) = opened.batches()
    assert vectors.ids == ("7", "x", "y")
    assert dense(vectors) == [[0, 1, np.float32(2.45)], [0, 0, 0], [0, 0, 0.5]]
    assert documents is not None
    assert [(document.text, dict(document.metadata)) for document in documents] == [
        ("the first", {}),
        ("", {}),
        ("", {"year": 2020}),
    ]


def test_documents_without_ids_have_the_number_of_their_line(tmp_path: Path) -> None:
    (tmp_path / "v.jsonl").write_text(lines({"vector": {"a": 1}}, {"vector": {"a": 2}}))
    assert read_vectors(tmp_path / "v.jsonl").ids == ("0", "1")


# -- Anserini ----------------------------------------------------------------------------------------------------------


def test_a_json_vector_collection_is_a_folder_of_files_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "collection"
    folder.mkdir()
    (folder / "b.jsonl").write_text(lines({"id": "2", "contents": "", "vector": {"x": 3}}))
    (folder / "a.json").write_text(json.dumps([{"id": "1", "contents": "text", "vector": {"y": 1, "x": 2}}]))
    (folder / "notes.txt").write_text("not a collection")
    found = read_vectors(folder)
    assert found.ids == ("1", "2")
    assert dense(found) == [[2, 1], [3, 0]]


def test_what_is_written_for_anserini_has_whole_numbers_and_contents(tmp_path: Path) -> None:
    vectors = with_ids(random_vectors(20, 30, 5, seed=2))
    written = write_vectors(vectors, tmp_path / "v.jsonl", "anserini")
    records = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    assert written.scale is not None
    for record, identifier, (terms, weights) in zip(records, vectors.ids or (), vectors, strict=True):
        assert list(record) == ["id", "contents", "vector"]
        assert (record["id"], record["contents"]) == (identifier, "")
        expected = {str(t): round(float(w) / written.scale) for t, w in zip(terms, weights, strict=True)}
        assert record["vector"] == {token: number for token, number in expected.items() if number}
        assert all(type(number) is int for number in record["vector"].values())


# -- CIFF --------------------------------------------------------------------------------------------------------------


def _messages() -> dict[str, Any]:
    """The message classes of CIFF, by Google's protobuf library from the definition in osirrc/ciff."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="ciff.proto", package="ciff", syntax="proto3")

    def add(name: str, **fields: tuple[int, int]) -> Any:
        message = file.message_type.add(name=name)
        for label, (number, kind) in fields.items():
            message.field.add(name=label, number=number, type=kind, label=field.LABEL_OPTIONAL)
        return message

    int32, int64, text = field.TYPE_INT32, field.TYPE_INT64, field.TYPE_STRING
    add(
        "Header",
        version=(1, int32),
        num_postings_lists=(2, int32),
        num_docs=(3, int32),
        total_postings_lists=(4, int32),
        total_docs=(5, int32),
        total_terms_in_collection=(6, int64),
        average_doclength=(7, field.TYPE_DOUBLE),
        description=(8, text),
    )
    add("Posting", docid=(1, int32), tf=(2, int32))
    postings = add("PostingsList", term=(1, text), df=(2, int64), cf=(3, int64))
    postings.field.add(
        name="postings",
        number=4,
        type=field.TYPE_MESSAGE,
        label=field.LABEL_REPEATED,
        type_name=".ciff.Posting",
    )
    add("DocRecord", docid=(1, int32), collection_docid=(2, text), doclength=(3, int32))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = message_factory.GetMessages([file], pool=pool)
    return {name.removeprefix("ciff."): message for name, message in found.items()}


CIFF = _messages()


def delimited(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    size, prefix = len(data), bytearray()
    while size > 127:
        prefix.append(size & 127 | 128)
        size >>= 7
    return bytes([*prefix, size]) + data


def ciff_bytes(postings: dict[str, list[tuple[int, int]]], ids: list[str], **header: Any) -> bytes:
    """postings: (document, tf) of each term, in the order in which they are written."""
    counts = {"num_postings_lists": len(postings), "num_docs": len(ids), **header}
    out = [delimited(CIFF["Header"](version=1, **counts))]
    for term, found in postings.items():
        gaps, last = [], 0
        for document, tf in found:
            gaps.append(CIFF["Posting"](docid=document - last, tf=tf))
            last = document
        out.append(
            delimited(CIFF["PostingsList"](term=term, df=len(found), cf=sum(tf for _, tf in found), postings=gaps))
        )
    for row, identifier in enumerate(ids):
        out.append(delimited(CIFF["DocRecord"](docid=row, collection_docid=identifier, doclength=3)))
    return b"".join(out)


def parsed(data: bytes) -> Iterator[Any]:
    """Header, PostingsLists and DocRecords of a file, by Google's library."""
    at = 0

    def next_message(kind: str) -> Any:
        nonlocal at
        size = shift = 0
        while True:
            byte = data[at]
            at += 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        at += size
        return CIFF[kind].FromString(data[at - size : at])

    header = next_message("Header")
    yield header
    for _ in range(header.num_postings_lists):
        yield next_message("PostingsList")
    for _ in range(header.num_docs):
        yield next_message("DocRecord")
    assert at == len(data)


def test_a_ciff_file_of_the_reference_library(tmp_path: Path) -> None:
    path = tmp_path / "v.ciff"
    path.write_bytes(
        ciff_bytes({"zebra": [(1, 300)], "ant": [(0, 1), (2, 70_000)], "naïve": [(0, 2), (1, 1)]}, ["d0", "d1", "d2"])
    )
    opened = open_vectors(path)
    assert opened.tokens == ("ant", "naïve", "zebra")
    assert opened.vectors().ids == ("d0", "d1", "d2")
    assert dense(opened.vectors()) == [[1, 2, 0], [0, 1, 300], [70_000, 0, 0]]


@in_tmp_path
@given(
    documents=st.lists(
        st.dictionaries(st.integers(0, 6), st.integers(1, (1 << 31) - 1), max_size=5), min_size=1, max_size=6
    ),
    order=st.permutations(range(7)),
)
def test_any_ciff_file_of_the_reference_library(
    tmp_path: Path, documents: list[dict[int, int]], order: list[int]
) -> None:
    rows = {str(t): [(row, d[t]) for row, d in enumerate(documents) if t in d] for t in order}
    (tmp_path / "v.ciff").write_bytes(ciff_bytes(rows, [f"d{i}" for i in range(len(documents))]))
    expected = [[float(np.float32(document.get(term, 0))) for term in range(7)] for document in documents]
    assert dense(read_vectors(tmp_path / "v.ciff", dim=7)) == expected


def test_the_reference_library_reads_what_is_written_as_ciff(tmp_path: Path) -> None:
    vectors = ORDINARY
    write_vectors(vectors, tmp_path / "v.ciff", vocabulary=[f"tök{i}" for i in range(500)])
    header, *rest = parsed((tmp_path / "v.ciff").read_bytes())
    matrix = vectors.to_scipy().toarray()
    present = sorted(f"tök{term}" for term in np.flatnonzero(matrix.sum(axis=0)))
    assert (header.version, header.num_docs, header.total_docs) == (1, 300, 300)
    assert header.num_postings_lists == header.total_postings_lists == len(present)
    assert header.total_terms_in_collection == int(matrix.sum())
    assert header.average_doclength == pytest.approx(matrix.sum() / 300)
    assert header.description == "written by lsr: weight = tf * 1.0"
    lists, records = rest[: len(present)], rest[len(present) :]
    assert [found.term for found in lists] == present
    again = np.zeros_like(matrix)
    for found in lists:
        documents = np.cumsum([posting.docid for posting in found.postings])
        again[documents, int(found.term[3:])] = [posting.tf for posting in found.postings]
        assert (found.df, found.cf) == (len(documents), sum(posting.tf for posting in found.postings))
    np.testing.assert_array_equal(again, matrix)
    assert [(r.docid, r.collection_docid, r.doclength) for r in records] == [
        (row, identifier, int(matrix[row].sum())) for row, identifier in enumerate(vectors.ids or ())
    ]


def test_parts_of_an_index_and_fields_of_the_future_are_passed_over(tmp_path: Path) -> None:
    """A header may count more than is in the file, and messages may have fields that nobody knew."""
    unknown = bytes([0x78, 5, 0x72, 2, 9, 9, 0x7D, 1, 2, 3, 4, 0x79, *range(8)])  # one of each kind
    posting = bytes([0x08, 1, 0x10, 6]) + unknown
    postings = unknown + bytes([0x22, len(posting)]) + posting + bytes([0x0A, 1]) + b"t"  # the term last
    header = CIFF["Header"](version=1, num_postings_lists=1, num_docs=2, total_docs=900, total_postings_lists=50)
    records = [delimited(CIFF["DocRecord"](docid=row, collection_docid=f"d{row}")) for row in (1, 0)]  # in any order
    (tmp_path / "v.ciff").write_bytes(delimited(header) + bytes([len(postings)]) + postings + b"".join(records))
    opened = open_vectors(tmp_path / "v.ciff")
    assert opened.tokens == ("t",)
    assert opened.vectors().ids == ("d0", "d1")
    assert dense(opened.vectors()) == [[0], [6]]


def test_documents_of_ciff_without_ids_are_known_by_their_row(tmp_path: Path) -> None:
    (tmp_path / "v.ciff").write_bytes(ciff_bytes({"t": [(1, 2)]}, ["", ""]))
    assert read_vectors(tmp_path / "v.ciff").ids is None


# -- tokens and terms --------------------------------------------------------------------------------------------------

WORDS = lines({"id": "1", "vector": {"dog": 1, "cat": 2}}, {"id": "2", "vector": {"eel": 3}})


@pytest.mark.parametrize("vocabulary", [["bee", "cat", "dog", "eel"], {"cat": 1, "dog": 2, "eel": 3, "bee": 0}])
def test_a_vocabulary_that_is_given_says_the_terms(tmp_path: Path, vocabulary: Any) -> None:
    (tmp_path / "v.jsonl").write_text(WORDS)
    opened = open_vectors(tmp_path / "v.jsonl", vocabulary=vocabulary)
    assert (opened.dim, opened.tokens) == (4, None)
    assert dense(opened.vectors()) == [[0, 2, 1, 0], [0, 0, 0, 3]]


def test_a_token_outside_of_the_vocabulary_is_refused_with_its_place_or_dropped(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    path.write_text(WORDS)
    with pytest.raises(CorpusError, match=r"v\.jsonl:2: the token 'eel' is not in the vocabulary; .*--drop-unknown"):
        read_vectors(path, vocabulary=["cat", "dog"])
    opened = open_vectors(path, vocabulary=["cat", "dog"], drop_unknown=True)
    assert dense(opened.vectors()) == [[2, 1], [0, 0]]
    assert opened.terms is not None
    assert opened.terms.dropped == 1


def test_tokens_that_are_all_numbers_are_the_numbers_of_their_terms(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    path.write_text(lines({"id": "1", "vector": {"10": 1, "9": 2}}))
    opened = open_vectors(path)
    assert (opened.tokens, opened.dim) == (None, 11)
    assert opened.vectors().indices.tolist() == [9, 10]
    assert read_vectors(path, dim=30).dim == 30
    with pytest.raises(CorpusError, match="has the term 10, outside of the 10 that it should have"):
        read_vectors(path, dim=10)
    for word in ("010", "-1", "1.5", "٣", "4294967296"):  # which are not
        path.write_text(lines({"id": "1", "vector": {"10": 1, word: 2}}))
        assert open_vectors(path).tokens == tuple(sorted(["10", word]))


def test_a_vocabulary_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    path.write_text(WORDS)
    for vocabulary, dim, says in (
        (["a", "b", "a"], None, "the token 'a' twice"),
        ("abc", None, "is one text"),
        ({"a": -1}, None, "terms outside of 0 to"),
        (["a", "b"], 1, "terms outside of 0 to 0"),
        (None, 9, "its terms are words, so --dim 9 says nothing"),
    ):
        with pytest.raises(InvalidInput, match=says):
            read_vectors(path, vocabulary=vocabulary, dim=dim)
