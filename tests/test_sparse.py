"""SparseVectors as a specification; scipy is the oracle."""

from __future__ import annotations

import io
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import lsr.disk
from lsr.errors import InvalidVectors, LsrError, StorageError, UnsupportedVersion
from lsr.sparse import SparseVectors

# Around the change from 16-bit to 32-bit term ids, and the ends of the legal range.
DIMS = st.sampled_from([1, 2, 7, 30_522, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 1 << 31, 1 << 32])
WEIGHTS = st.floats(0, exclude_min=True, allow_infinity=False, width=32)
# Every character that UTF-8 can write, NUL, controls and unassigned ones included.
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)

# The folder is shared by the examples of a test, which is fine here. Disks are slow at times: no deadline.
in_tmp_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@st.composite
def batches(draw: st.DrawFn, dims: st.SearchStrategy[int] = DIMS) -> SparseVectors:
    dim = draw(dims)
    rows = draw(st.lists(st.dictionaries(st.integers(0, dim - 1), WEIGHTS, max_size=6), max_size=6))
    ids = draw(st.none() | st.lists(IDS, min_size=len(rows), max_size=len(rows), unique=True))
    return batch(rows, dim, ids)


def batch(rows: list[dict[int, float]], dim: int, ids: list[str] | None = None) -> SparseVectors:
    return SparseVectors(
        indptr=np.cumsum([0] + [len(row) for row in rows]),
        indices=[term for row in rows for term in sorted(row)],
        values=[row[term] for row in rows for term in sorted(row)],
        dim=dim,
        ids=ids,
    )


def check_rules(vectors: SparseVectors) -> None:
    """All that the docstring says always holds."""
    assert vectors.indptr.dtype == np.int64
    assert vectors.indices.dtype == (np.uint16 if vectors.dim <= 1 << 16 else np.uint32)
    assert vectors.values.dtype == np.float32
    assert vectors.indptr[0] == 0
    assert vectors.indptr[-1] == len(vectors.indices) == len(vectors.values) == vectors.nnz
    for terms, weights in vectors:
        wide = terms.astype(np.int64)
        assert np.all(np.diff(wide) > 0)
        assert np.all(wide < vectors.dim)
        assert np.all(np.isfinite(weights))
        assert np.all(weights > 0)
    assert vectors.ids is None or len(set(vectors.ids)) == len(vectors)


@given(batches())
def test_holds_its_rules(vectors: SparseVectors) -> None:
    check_rules(vectors)
    assert vectors.shape == (len(vectors), vectors.dim)


# -- round trips -------------------------------------------------------------------------------------------------------


@given(batches())
def test_scipy_round_trip(vectors: SparseVectors) -> None:
    matrix = vectors.to_scipy()
    assert matrix.shape == vectors.shape
    assert matrix.dtype == np.float32
    matrix.eliminate_zeros()  # scipy's compiled code takes it, at any dim
    assert SparseVectors.from_scipy(matrix, ids=vectors.ids) == vectors


@in_tmp_path
@given(vectors=batches())
@example(vectors=batch([], 3, []))
@example(vectors=batch([{}, {}], 1, ["é\u0301", "\x00"]))
@example(vectors=batch([{0: 1e-45}], 1 << 32, ["\U0010ffff"]))
def test_file_round_trip(vectors: SparseVectors, tmp_path: Path) -> None:
    path = tmp_path / "vectors.npz"
    vectors.save(path)
    loaded = SparseVectors.load(path)
    assert loaded == vectors
    check_rules(loaded)
    assert loaded.values.flags.writeable


def test_saving_adds_no_suffix_and_gives_the_same_bytes_again(tmp_path: Path) -> None:
    vectors = batch([{1: 2.0}], 5, ["a"])
    vectors.save(tmp_path / "one")
    vectors.save(str(tmp_path / "two"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("compressed", [True, False])
def test_loads_what_scipy_saved(tmp_path: Path, compressed: bool) -> None:
    matrix = sp.random_array((20, 100), density=0.2, format="csr", dtype=np.float64, rng=np.random.default_rng(1))
    sp.save_npz(tmp_path / "m.npz", matrix, compressed=compressed)
    assert SparseVectors.load(tmp_path / "m.npz") == SparseVectors.from_scipy(matrix)
    sp.save_npz(tmp_path / "m.npz", matrix.tocsc())
    with pytest.raises(InvalidVectors, match="CSR"):
        SparseVectors.load(tmp_path / "m.npz")


def test_loads_arrays_in_fortran_order_and_other_byte_order(tmp_path: Path) -> None:
    vectors = batch([{1: 2.0, 4: 0.5}], 5)
    np.savez(
        tmp_path / "v.npz",
        indptr=vectors.indptr.astype(">i8"),
        indices=np.asfortranarray(vectors.indices),
        values=vectors.values.astype(">f4"),
        dim=5,
        lsr_version=1,
    )
    assert SparseVectors.load(tmp_path / "v.npz") == vectors


def test_a_large_file_round_trips(tmp_path: Path) -> None:
    n = 2_000_000  # 8 MB of weights: more than is read at a time
    vectors = SparseVectors(indptr=np.arange(n + 1), indices=np.zeros(n, int), values=np.arange(1, n + 1), dim=1)
    vectors.save(tmp_path / "v.npz")
    assert SparseVectors.load(tmp_path / "v.npz") == vectors


# -- rows, slices, joins, equality -------------------------------------------------------------------------------------


@given(batches(), st.data())
def test_slices_like_a_list_of_rows(vectors: SparseVectors, data: st.DataObject) -> None:
    bounds = st.none() | st.integers(-len(vectors) - 2, len(vectors) + 2)
    part = slice(data.draw(bounds), data.draw(bounds))
    sliced = vectors[part]
    check_rules(sliced)
    expected = list(vectors)[part]
    assert len(sliced) == len(expected)
    for (terms, weights), (expected_terms, expected_weights) in zip(sliced, expected, strict=True):
        np.testing.assert_array_equal(terms, expected_terms)
        np.testing.assert_array_equal(weights, expected_weights)
    assert sliced.ids == (None if vectors.ids is None else vectors.ids[part])


def test_rows_count_from_the_end_too() -> None:
    vectors = batch([{1: 1.0}, {2: 2.0}], 3)
    assert vectors.row(-1)[0].tolist() == [2]
    assert vectors.row(-2)[1].tolist() == [1.0]
    for i in (2, -3):
        with pytest.raises(IndexError):
            vectors.row(i)
    with pytest.raises(TypeError, match="slices"):
        vectors[0]  # type: ignore[index]
    with pytest.raises(InvalidVectors, match="step"):
        vectors[::-1]


@given(st.lists(batches(st.sampled_from([5, 70_000])), min_size=1, max_size=4))
def test_concat_stacks_rows(parts: list[SparseVectors]) -> None:
    parts = [part for part in parts if part.dim == parts[0].dim]
    names = [name for part in parts for name in part.ids or ()]
    if all(part.ids is not None for part in parts) and len(set(names)) < len(names):
        with pytest.raises(InvalidVectors, match="repeats"):
            SparseVectors.concat(parts)
        return
    joined = SparseVectors.concat(parts)
    check_rules(joined)
    difference = joined.to_scipy() != sp.vstack([part.to_scipy() for part in parts], format="csr")
    assert difference.nnz == 0
    assert joined.ids == (tuple(names) if all(part.ids is not None for part in parts) else None)


@given(batches(), st.data())
def test_concat_undoes_slicing(vectors: SparseVectors, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(vectors)))
    assert SparseVectors.concat([vectors[:at], vectors[at:]]) == vectors


def test_concat_refuses_nothing_and_different_dims() -> None:
    with pytest.raises(InvalidVectors, match="at least one"):
        SparseVectors.concat([])
    with pytest.raises(InvalidVectors, match="different dim"):
        SparseVectors.concat([batch([], 3), batch([], 4)])


def test_equality_sees_every_part() -> None:
    base = batch([{1: 1.0}, {}], 5, ["a", "b"])
    assert base == batch([{1: 1.0}, {}], 5, ["a", "b"])
    others = [
        batch([{1: 1.0}, {}], 5),
        batch([{1: 1.0}, {}], 5, ["a", "c"]),
        batch([{1: 1.0}, {}], 6, ["a", "b"]),
        batch([{2: 1.0}, {}], 5, ["a", "b"]),
        batch([{1: 1.5}, {}], 5, ["a", "b"]),
        batch([{}, {1: 1.0}], 5, ["a", "b"]),
        batch([{1: 1.0}], 5, ["a"]),
    ]
    assert all(base != other for other in others)
    assert base != "a"
    with pytest.raises(TypeError):
        hash(base)


def test_says_its_size() -> None:
    assert repr(batch([{1: 1.0, 2: 1.0}, {}], 30_522, ["a", "b"])) == (
        "SparseVectors(2 x 30,522, 1.0 terms a vector, with ids)"
    )
    assert repr(batch([], 3)) == "SparseVectors(0 x 3, 0.0 terms a vector)"


# -- the rules, broken one at a time -----------------------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "indptr": [0, 2, 2, 3],
    "indices": [1, 4, 0],
    "values": [0.5, 1.0, 2.0],
    "dim": 5,
    "ids": ["a", "b", "c"],
}

# What is changed, and a pattern of the message. Where a row is to blame, the message names it.
BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"dim": 0}, "dim is 0"),
    ({"dim": -5}, "dim is -5"),
    ({"dim": (1 << 32) + 1}, "dim is 4294967297"),
    ({"dim": 5.0}, "dim is 5.0.*whole"),
    ({"dim": "5"}, "dim is '5'.*whole"),
    ({"indptr": []}, "indptr must start with 0"),
    ({"indptr": [1, 2, 2, 3]}, "indptr must start with 0"),
    ({"indptr": [0, 2, 1, 3]}, "indptr falls after row 1"),
    ({"indptr": np.array([0, 2, 1, 3], np.uint64)}, "indptr falls after row 1"),
    ({"indptr": [0, 2, 2, 4]}, "indptr ends at 4 but there are 3 indices"),
    ({"indptr": [0, 2, 2, 2]}, "indptr ends at 2 but there are 3 indices"),
    ({"indptr": [0.0, 2.0, 2.0, 3.0]}, "indptr has type float64"),
    ({"indptr": [[0, 2, 2, 3]]}, "indptr has 2 dimensions"),
    ({"indptr": [0, [2], 2, 3]}, "indptr is no array"),
    ({"indices": [1, 4, 5]}, "row 2 has term 5: dim is 5"),
    ({"indices": [-1, 4, 0]}, "row 0 has term -1"),
    ({"indices": np.array([1, 4, 1 << 63], np.uint64)}, "row 2 has term 9223372036854775808"),
    ({"indices": [4, 1, 0]}, "row 0: term ids must rise"),
    ({"indices": np.array([4, 1, 0], np.uint16)}, "row 0: term ids must rise"),
    ({"indices": [4, 4, 0]}, "row 0: term ids must rise"),
    ({"indices": [True, False, True]}, "indices has type bool"),
    ({"indices": ["1", "4", "0"]}, "indices has type <U1"),
    ({"indices": np.array([1, 4, 0], object)}, "indices has type object"),
    ({"indices": 1}, "indices has 0 dimensions"),
    ({"values": [0.5, 1.0]}, r"values has shape \(2,\): there are 3 indices"),
    ({"values": [[0.5, 1.0, 2.0]]}, r"values has shape \(1, 3\)"),
    ({"values": [0.5, 1.0, 0.0]}, "row 2 has weight 0.0"),
    ({"values": [0.5, -1.0, 2.0]}, "row 0 has weight -1.0"),
    ({"values": [0.5, 1.0, np.nan]}, "row 2 has weight nan"),
    ({"values": [np.inf, 1.0, 2.0]}, "row 0 has weight inf"),
    ({"values": [0.5, 1.0, 1e39]}, "row 2 has weight inf"),
    ({"values": [0.5, 1.0, 1e-46]}, "row 2 has weight 0.0"),
    ({"values": [0.5, 1.0, 2j]}, "values has type complex128"),
    ({"values": ["0.5", "1", "2"]}, "values has type <U3"),
    ({"values": np.array([0.5, 1.0, None])}, "values has type object"),
    ({"values": [0.5, [1.0], 2.0]}, "values is no array"),
    ({"ids": ["a", "b"]}, "2 ids for 3 vectors"),
    ({"ids": ["a", "b", "a"]}, "row 2 repeats the id 'a'"),
    ({"ids": ["a", "", "c"]}, "id of row 1 is ''"),
    ({"ids": ["a", "b", 3]}, "id of row 2 is 3"),
    ({"ids": ["a", "\ud800", "c"]}, "id of row 1 .*UTF-8"),
    ({"ids": "abc"}, "one string"),
]


def test_the_unbroken_example_is_accepted() -> None:
    check_rules(SparseVectors(**GOOD))


@pytest.mark.parametrize(("change", "message"), BROKEN, ids=[f"{next(iter(c))}-{m}" for c, m in BROKEN])
def test_a_broken_rule_is_refused_and_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidVectors, match=message) as caught:
        SparseVectors(**{**GOOD, **change})
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


def test_a_term_may_fall_only_where_a_row_starts() -> None:
    vectors = SparseVectors(indptr=[0, 0, 2, 2, 2, 3, 4, 4], indices=[3, 4, 2, 1], values=[1, 1, 1, 1], dim=5)
    assert [terms.tolist() for terms, _ in vectors] == [[], [3, 4], [], [], [2], [1], []]


@given(
    indptr=hnp.arrays(st.sampled_from([np.int8, np.uint8, np.int64, np.uint64]), st.integers(0, 5)),
    indices=hnp.arrays(st.sampled_from([np.int8, np.uint8, np.uint16, np.int64]), st.integers(0, 5)),
    values=hnp.arrays(st.sampled_from([np.float32, np.float64, np.int16]), st.integers(0, 5)),
    dim=st.integers(-2, 300),
)
@example(np.array([0, 2], np.uint8), np.array([0, 255], np.uint8), np.array([1, 1]), 256)
def test_any_arrays_are_either_refused_or_within_the_rules(
    indptr: np.ndarray[Any, Any], indices: np.ndarray[Any, Any], values: np.ndarray[Any, Any], dim: int
) -> None:
    try:
        vectors = SparseVectors(indptr=indptr, indices=indices, values=values, dim=dim)
    except InvalidVectors:
        return
    check_rules(vectors)
    np.testing.assert_array_equal(vectors.indices, indices)


# -- from scipy --------------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 9), st.sampled_from([0, 1, 2, 100, 120])), min_size=1, max_size=30
    ),
    st.sampled_from(["coo", "csr", "csc", "lil", "dok", "bsr"]),
    st.sampled_from([np.int8, np.uint8, np.int64, np.float32, np.float64]),
)
def test_from_scipy_sorts_sums_and_drops(entries: list[tuple[int, int, int]], form: str, dtype: Any) -> None:
    dense = np.zeros((4, 10))
    for row, term, weight in entries:
        dense[row, term] += weight
    rows, terms, weights = (np.array(column) for column in zip(*entries, strict=True))
    matrix: Any = sp.coo_array((weights.astype(dtype), (rows, terms)), shape=(4, 10))
    if form == "csr":  # as made by hand: out of order, with duplicates and zeros
        order = np.argsort(rows, kind="stable")
        indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=4))])
        matrix = sp.csr_array((weights[order].astype(dtype), terms[order], indptr), shape=(4, 10))
    elif form != "coo":
        if dense.max() > np.iinfo(np.int8).max:
            return  # scipy itself sums on the way to these, in the small type
        matrix = matrix.asformat(form)
    vectors = SparseVectors.from_scipy(matrix)
    check_rules(vectors)
    np.testing.assert_array_equal(vectors.to_scipy().toarray(), dense.astype(np.float32))


def test_from_scipy_does_not_change_its_input() -> None:
    data, indices, indptr = np.array([2.0, 0.0, 1.0, 3.0]), np.array([4, 2, 4, 0]), np.array([0, 3, 4])
    matrix = sp.csr_matrix((data, indices, indptr), shape=(2, 5))
    before = [part.copy() for part in (matrix.data, matrix.indices, matrix.indptr)]
    SparseVectors.from_scipy(matrix)
    for part, was in zip((matrix.data, matrix.indices, matrix.indptr), before, strict=True):
        np.testing.assert_array_equal(part, was)


def test_the_matrix_of_to_scipy_has_memory_of_its_own() -> None:
    vectors = batch([{1: 2.0}], 5)
    vectors.to_scipy().data[:] = -1
    check_rules(vectors)


def test_from_scipy_drops_what_is_too_small_for_a_float32() -> None:
    vectors = SparseVectors.from_scipy(sp.csr_array(np.array([[1e-60, 1.0]])))
    assert vectors.row(0)[0].tolist() == [1]


def test_from_scipy_takes_booleans_as_ones() -> None:
    vectors = SparseVectors.from_scipy(sp.csr_array(np.array([[True, False, True]])))
    assert vectors.row(0)[1].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(3), "not ndarray"),
        ([[1.0]], "not list"),
        (sp.csr_array(np.array([[1j]])), "complex"),
        (sp.coo_array(np.array([1.0, 2.0])), "1 dimensions"),
        (sp.csr_array((3, 0)), "dim is 0"),
        (sp.csr_array(np.array([[1.0], [-1.0]])), "row 1 has weight -1.0"),
        (sp.csr_array(np.array([[1.0], [np.nan]])), "row 1 has weight nan"),
    ],
)
def test_from_scipy_refuses(matrix: Any, message: str) -> None:
    with pytest.raises(InvalidVectors, match=message):
        SparseVectors.from_scipy(matrix)


def test_from_scipy_checks_bounds_before_compiled_code_does_not() -> None:
    matrix = sp.csr_array(np.eye(3))
    matrix.indptr[1] = 1 << 20
    with pytest.raises(InvalidVectors, match="indptr falls after row 1"):
        SparseVectors.from_scipy(matrix)


# -- hostile and damaged files -----------------------------------------------------------------------------------------


def parts_of(vectors: SparseVectors) -> dict[str, Any]:
    """The arrays of a saved file."""
    buffer = io.BytesIO()
    arrays = {"indptr": vectors.indptr, "indices": vectors.indices, "values": vectors.values}
    np.savez(buffer, dim=vectors.dim, lsr_version=1, **arrays)  # type: ignore[arg-type]
    buffer.seek(0)
    with np.load(buffer) as archive:
        return dict(archive)


def load_bytes(folder: Path, content: bytes) -> SparseVectors:
    path = folder / "hostile.npz"
    path.write_bytes(content)
    return SparseVectors.load(path)


def load_arrays(folder: Path, **arrays: Any) -> SparseVectors:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return load_bytes(folder, buffer.getvalue())


def saved(folder: Path) -> bytes:
    batch([{1: 0.5, 4: 1.0}, {}, {0: 2.0}], 5, ["a", "b", "ç"]).save(folder / "good.npz")
    return (folder / "good.npz").read_bytes()


@in_tmp_path
@given(content=st.binary(max_size=200) | st.binary(max_size=100).map(lambda b: b"PK\x03\x04" + b))
@example(content=b"")
@example(content=b"\x93NUMPY")
@example(content=pickle.dumps([1, 2]))
def test_arbitrary_bytes_are_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(LsrError):
        load_bytes(tmp_path, content)


@in_tmp_path
@given(st.data())
def test_a_truncated_file_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    content = saved(tmp_path)
    with pytest.raises(StorageError, match=r"hostile\.npz: not a file of sparse vectors"):
        load_bytes(tmp_path, content[: data.draw(st.integers(0, len(content) - 1))])


@settings(in_tmp_path, max_examples=300)
@given(st.data())
def test_altered_bytes_give_a_clean_error_or_legal_vectors(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(saved(tmp_path))
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns about odd headers
        try:
            vectors = load_bytes(tmp_path, bytes(content))
        except LsrError as error:
            message = str(error)
        else:
            check_rules(vectors)
            return
    assert "hostile.npz" in message
    assert "\n" not in message


class Canary:
    """Unpickling one makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, int]]:
        return os.open, (str(self.path), os.O_CREAT | os.O_WRONLY)


@pytest.mark.parametrize("name", ["indptr", "indices", "values", "dim", "lsr_version", "id_bytes", "format", "other"])
def test_nothing_is_ever_unpickled(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    trap = np.array([Canary(canary)], object)
    arrays = {**parts_of(batch([{1: 1.0}], 5)), "id_offsets": np.array([0, 1]), name: trap}
    with pytest.raises(StorageError, match="holds pickled objects"):
        load_arrays(tmp_path, **arrays)
    assert not canary.exists()


def test_a_bare_pickle_or_a_single_array_is_refused(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    with pytest.raises(StorageError):
        load_bytes(tmp_path, pickle.dumps(Canary(canary)))
    assert not canary.exists()
    np.save(tmp_path / "single.npy", np.arange(3))
    with pytest.raises(StorageError, match=r"single\.npy: not a file of sparse vectors"):
        SparseVectors.load(tmp_path / "single.npy")


@pytest.mark.parametrize("shape", [(1 << 45,), (1 << 31, 1 << 31, 1 << 31), (-4,), (-1, -4)])
def test_a_claimed_shape_is_compared_with_the_bytes_that_are_there(tmp_path: Path, shape: tuple[int, ...]) -> None:
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": shape})
    buffer = io.BytesIO()
    np.savez(buffer, indptr=[0, 4], indices=[0, 1, 2, 3], dim=5, lsr_version=1)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("values.npy", member.getvalue() + bytes(16))
    with pytest.raises(StorageError, match="claims"):
        load_bytes(tmp_path, buffer.getvalue())


GOOD_FILE: dict[str, Any] = {**parts_of(batch([{1: 0.5, 4: 1.0}, {}], 5)), "id_bytes": np.array([97, 98], np.uint8)}
GOOD_FILE["id_offsets"] = np.array([0, 1, 2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indptr": None}, "no array 'indptr'"),
        ({"indices": None}, "no array 'indices'"),
        ({"values": None}, "no array 'values'"),
        ({"dim": None}, "no array 'dim'"),
        ({"id_offsets": None}, "no array 'id_offsets'"),
        ({"lsr_version": None}, "its arrays are dim, id_bytes"),
        ({"lsr_version": np.array([1, 1])}, "not a file of sparse vectors"),
        ({"lsr_version": np.array(np.inf)}, "not a file of sparse vectors"),
        ({"dim": np.array([5, 5])}, "not a file of sparse vectors"),
        ({"dim": np.array(5.5)}, "dim is 5.5"),
        ({"dim": np.array(-1)}, "dim is -1"),
        ({"dim": np.array(4)}, "row 0 has term 4"),
        ({"indptr": np.array([0, 2, 1 << 40])}, "indptr ends at"),
        ({"values": np.array([0.5], np.float32)}, "values has shape"),
        ({"values": np.array([b"x", b"y"])}, "values has type"),
        ({"id_offsets": np.array([0, 2, 1])}, "id_offsets"),
        ({"id_offsets": np.array([0, 1, 3])}, "id_offsets"),
        ({"id_offsets": np.array([0, -1, 2])}, "id_offsets"),
        ({"id_offsets": np.array([], np.int64)}, "id_offsets"),
        ({"id_offsets": np.array([0.0, 1.0, 2.0])}, "id_offsets has type float64"),
        ({"id_offsets": np.array([0, 2])}, "1 ids for 2 vectors"),
        ({"id_bytes": np.array([97, 97], np.uint8)}, "repeats the id"),
        ({"id_bytes": np.array([97, 255], np.uint8)}, "utf-8"),
        ({"id_bytes": np.array([97, 98])}, "not a file of sparse vectors"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    load_arrays(tmp_path, **GOOD_FILE)
    arrays = {name: array for name, array in {**GOOD_FILE, **change}.items() if array is not None}
    with pytest.raises(LsrError, match=rf"hostile\.npz: .*{message}"):
        load_arrays(tmp_path, **arrays)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": np.array([2])},
        {"shape": np.array([-1, 5])},
        {"shape": np.array([2, -5])},
        {"shape": np.array([7, 5])},
        {"shape": np.array([1, 2, 3])},
        {"shape": np.array([2.0, 5.0])},
        {"indptr": np.array([0, 1 << 40, 2])},
        {"indices": np.array([0, 1 << 30])},
        {"indices": np.array([0, -1])},
        {"indices": np.array([0.0, 1.0])},
        {"data": np.array([1.0])},
        {"data": np.array(["a", "b"])},
        {"data": np.array([[1.0, 2.0]])},
        {"format": np.array(3)},
        {"format": np.array([b"csr", b"csr"])},
    ],
)
def test_scipy_files_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    good = {"format": b"csr", "shape": [2, 5], "indptr": [0, 1, 2], "indices": [0, 1], "data": [1.0, 2.0]}
    assert load_arrays(tmp_path, **good).nnz == 2
    with pytest.raises(LsrError, match=r"hostile\.npz"):
        load_arrays(tmp_path, **{**good, **change})


def test_other_archives_are_refused(tmp_path: Path) -> None:
    for name, content in (("word/document.xml", b"<xml/>"), ("indptr.npy", b"no array"), ("lsr_version", b"1")):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(name, content)
        with pytest.raises(StorageError, match="not a file of sparse vectors"):
            load_bytes(tmp_path, buffer.getvalue())


def test_a_file_of_a_newer_version_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedVersion, match=r"newer lsr.*pip install -U lsr-engine"):
        load_arrays(tmp_path, **{**GOOD_FILE, "lsr_version": np.array(2)})


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such file"):
        SparseVectors.load(tmp_path / "missing.npz")
    with pytest.raises(StorageError, match="not a file"):
        SparseVectors.load(tmp_path)
    with pytest.raises(StorageError):
        SparseVectors.load("nul\x00byte.npz")


# -- saving is all or nothing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    path = tmp_path / "v.npz"
    old = batch([{1: 1.0}], 5)
    old.save(path)

    def fail(file: Any, **arrays: Any) -> None:
        file.write(b"half")
        raise failure

    monkeypatch.setattr(np, "savez", fail)
    expected = KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else StorageError
    with pytest.raises(expected):
        batch([{2: 1.0}], 5).save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["v.npz"]
    assert SparseVectors.load(path) == old


def test_the_content_is_on_the_disk_before_the_name_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.npz"
    batch([{1: 1.0}], 5).save(path)
    before = path.read_bytes()
    seen: list[bytes] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        seen.append(path.read_bytes())
        real(descriptor)

    monkeypatch.setattr("lsr.disk.os.fsync", fsync)
    batch([{2: 1.0}], 5).save(path)
    assert seen[0] == before
    assert path.read_bytes() != before


@pytest.mark.parametrize("name", ["missing/v.npz", "file/v.npz", "folder", "", "nul\x00byte"])
def test_a_path_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError):
        batch([{1: 1.0}], 5).save(name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "kept"


def test_a_name_as_long_as_the_file_system_allows_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("v" * 251 + ".npz")
    batch([{1: 1.0}], 5).save(path)
    assert SparseVectors.load(path).nnz == 1


def test_an_error_of_lsr_itself_passes_through_a_write(tmp_path: Path) -> None:
    with (
        pytest.raises(lsr.errors.IndexNotFound, match="my words"),
        lsr.disk.atomic_write(tmp_path / "out"),
    ):
        raise lsr.errors.IndexNotFound("my words")
    assert list(tmp_path.iterdir()) == []
