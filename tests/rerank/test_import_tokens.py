"""Token vectors of other programs: decoded as those decode them, kept by the right ids, refused where anything does not fit.

The folders in tests/rerank/stores were written by the programs themselves, and so was what they decode to.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sqlite3
import sys
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import lsr
from lsr import Index, SparseVectors
from lsr.errors import CorpusError, InvalidInput, MissingExtra, StoreMismatch
from lsr.rerank import (
    MaxSimReranker,
    MultiVectorEncoder,
    TokenVectors,
    import_tokens,
    load_multivector_encoder,
    open_token_file,
)
from lsr.rerank.formats import token_file
from lsr.rerank.formats.pylate import plain_object
from tests.cli import commands
from tests.conftest import random_vectors
from tests.training import models

STORES = Path(__file__).parent / "stores"
WRITTEN = ("fast-plaid-1.4", "fast-plaid-1.7", "pylate-fast", "pylate-stanford")
DIM = 16

Floats = npt.NDArray[np.float32]


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[str], Path]:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(STORES / name, tmp_path / name))

    return copy


def index_of(count: int, path: Path, ids: list[str] | None = None) -> Index:
    found = random_vectors(count, 50, 5)
    named = SparseVectors(indptr=found.indptr, indices=found.indices, values=found.values, dim=found.dim, ids=ids)
    return Index.build(named, path)


def decoded(folder: Path) -> Floats:
    vectors: Floats = np.concatenate([read().vectors for _, read in open_token_file(folder).batches()])
    return vectors


# -- decoding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITTEN)
def test_vectors_are_those_that_the_program_decodes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = np.load(STORES / f"{name}.decoded.npy").astype(np.float32)
    np.testing.assert_allclose(decoded(STORES / name), wanted, atol=2e-3)  # both float16 there
    monkeypatch.setattr(token_file, "TOKENS", 7)  # batches that end within chunks, and documents longer than a batch
    np.testing.assert_allclose(decoded(STORES / name), wanted, atol=2e-3)


def plaid(folder: Path, bits: int, lengths: list[list[int]], seed: int = 0) -> Floats:
    """Writes a store of fast-plaid by the formula, bit by bit; returns the vectors it stands for."""
    generator = np.random.default_rng(seed)
    centroids = generator.standard_normal((9, DIM)).astype(np.float16)
    weights = np.sort(generator.standard_normal(1 << bits)).astype(np.float32)
    folder.mkdir()
    np.save(folder / "centroids.npy", centroids)
    np.save(folder / "bucket_weights.npy", weights)
    vectors = []
    for number, part in enumerate(lengths):
        tokens = sum(part)
        codes, choices = generator.integers(0, 9, tokens), generator.integers(0, 1 << bits, (tokens, DIM))
        stream = [(int(choice) >> bit) & 1 for row in choices for choice in row for bit in range(bits)]
        octets = [int("".join(map(str, stream[i : i + 8])), 2) for i in range(0, len(stream), 8)]
        np.save(folder / f"{number}.codes.npy", codes)
        np.save(folder / f"{number}.residuals.npy", np.array(octets, np.uint8).reshape(tokens, DIM * bits // 8))
        (folder / f"doclens.{number}.json").write_text(json.dumps(part))
        vectors.append(centroids[codes].astype(np.float32) + weights[choices])
    documents, tokens = sum(map(len, lengths)), sum(map(sum, lengths))
    said = {"num_chunks": len(lengths), "nbits": bits, "num_documents": documents, "num_embeddings": tokens}
    (folder / "metadata.json").write_text(json.dumps(said))
    whole = np.concatenate(vectors)
    unit: Floats = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    return unit


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_plaid_of_any_number_of_bits(tmp_path: Path, bits: int) -> None:
    wanted = plaid(tmp_path / "store", bits, [[3, 0, 5], [], [1]])
    found = open_token_file(tmp_path / "store")
    assert found.lengths.tolist() == [3, 0, 5, 1]
    np.testing.assert_allclose(decoded(tmp_path / "store"), wanted, atol=1e-6)


def kannolo(folder: Path) -> tuple[list[int], Floats]:
    folder.mkdir()
    lengths, generator = [2, 0, 3], np.random.default_rng(1)
    vectors = generator.standard_normal((5, DIM)).astype(np.float16)
    np.save(folder / "doclens.npy", np.array(lengths, np.int32))
    np.save(folder / "documents.npy", vectors.view(np.uint16))
    return lengths, vectors.astype(np.float32)


def kannolo_pq(folder: Path) -> tuple[list[int], Floats]:
    folder.mkdir()
    lengths, generator = [2, 0, 3], np.random.default_rng(1)
    centroids, parts = generator.standard_normal((4, DIM)).astype(np.float32), generator.standard_normal((8, 256, 2))
    near, codes = generator.integers(0, 4, 5).astype(np.uint64), generator.integers(0, 256, (5, 8)).astype(np.uint8)
    np.save(folder / "doclens.npy", np.array(lengths, np.int32))
    np.save(folder / "centroids.npy", centroids)
    np.save(folder / "index_assignment.npy", near)
    np.save(folder / "residuals.npy", codes)
    np.save(folder / "pq_centroids.npy", parts.astype(np.float32).reshape(-1))
    rows = [
        centroids[int(near[t])] + np.concatenate([parts[m, codes[t, m]] for m in range(8)]).astype(np.float32)
        for t in range(5)
    ]
    return lengths, np.array(rows, np.float32)


@pytest.mark.parametrize("write", [kannolo, kannolo_pq])
def test_kannolo(tmp_path: Path, write: Callable[[Path], tuple[list[int], Floats]]) -> None:
    lengths, vectors = write(tmp_path / "store")
    assert open_token_file(tmp_path / "store").lengths.tolist() == lengths
    np.testing.assert_allclose(decoded(tmp_path / "store"), vectors, atol=1e-6)


# -- into a token store ------------------------------------------------------------------------------------------------


def test_documents_are_those_of_the_index_in_its_order(tmp_path: Path) -> None:
    wanted = plaid(tmp_path / "store", 2, [[3, 1], [4]])
    index = index_of(3, tmp_path / "my.idx", ["x", "y", "z"])
    store = import_tokens(tmp_path / "store", index, codec="f32")
    assert list(store.ids()) == ["x", "y", "z"]
    offsets, vectors = store.decoded(["x", "y", "z"])
    assert offsets.tolist() == [0, 3, 4, 8]
    np.testing.assert_allclose(vectors, wanted, atol=1e-6)


def test_ids_that_are_given_say_which_document_is_which(tmp_path: Path) -> None:
    wanted = plaid(tmp_path / "store", 2, [[3, 1], [4]])
    index = index_of(3, tmp_path / "my.idx", ["x", "y", "z"])
    store = import_tokens(tmp_path / "store", index, codec="f32", ids=["z", "x", "y"])
    np.testing.assert_allclose(store.decoded(["x"])[1], wanted[3:4], atol=1e-6)
    np.testing.assert_allclose(store.decoded(["z"])[1], wanted[:3], atol=1e-6)


@pytest.mark.parametrize("name", ["pylate-fast", "pylate-stanford"])
def test_ids_that_pylate_kept(tmp_path: Path, name: str) -> None:
    """Two documents were deleted: fast-plaid's store has them no more, ColBERT's only their ids."""
    left = [f"passage-{i}" for i in range(60) if i not in (3, 40)]
    index = index_of(58, tmp_path / "my.idx", left[::-1])
    store = import_tokens(STORES / name, index, codec="f32")
    assert sorted(store.ids()) == sorted(left)
    opened, vectors = open_token_file(STORES / name), decoded(STORES / name)
    assert opened.ids is not None
    place = list(opened.ids).index("passage-41")
    start = int(opened.lengths[:place].sum())
    mine = vectors[start : start + opened.lengths[place]]
    assert np.array_equal(store.decoded(["passage-41"])[1], mine)


def test_a_document_without_an_id_is_left_out(tmp_path: Path, copied: Callable[[str], Path]) -> None:
    """ColBERT's store keeps the vectors of a deleted document until it is written again; PyLate forgets its id at once."""
    folder = copied("pylate-fast")
    ids = {row: f"passage-{row}" for row in range(58) if row != 7}
    (folder / "plaid_ids_to_documents_ids.pkl").write_bytes(pickle.dumps(ids))
    index = index_of(57, tmp_path / "my.idx", list(ids.values()))
    store = import_tokens(folder, index, codec="f32")
    opened, vectors = open_token_file(folder), decoded(folder)
    ends = np.cumsum(opened.lengths)
    assert opened.lengths[7] > 0
    assert np.array_equal(store.decoded(["passage-6"])[1], vectors[ends[5] : ends[6]])
    assert np.array_equal(store.decoded(["passage-8"])[1], vectors[ends[7] : ends[8]])
    assert "passage-7" not in store


def test_ids_in_the_sqlite_tables_of_older_pylates(tmp_path: Path, copied: Callable[[str], Path]) -> None:
    folder = copied("pylate-fast")
    (folder / "plaid_ids_to_documents_ids.pkl").unlink()
    with closing(sqlite3.connect(folder / "plaid_ids_to_documents_ids.sqlite")) as database, database:
        database.execute("CREATE TABLE unnamed (key TEXT PRIMARY KEY, value BLOB)")
        rows = [(row, sqlite3.Binary(pickle.dumps(f"old-{row}", protocol=5))) for row in range(58)]
        database.executemany("INSERT INTO unnamed VALUES (?, ?)", rows)
    assert open_token_file(folder).ids == [f"old-{row}" for row in range(58)]


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (
            "CREATE VIEW unnamed AS WITH RECURSIVE n(key) AS (SELECT 0 UNION ALL SELECT key + 1 FROM n) "
            "SELECT key, x'80042e' AS value FROM n",
            "no table unnamed",
        ),
        ("CREATE TABLE unnamed AS SELECT 0 AS key, 9 AS value", "a value is no blob"),
        ("CREATE TABLE named AS SELECT 0 AS key, 9 AS value", "no table unnamed"),
    ],
    ids=["rows without end", "a number", "another name"],
)
def test_other_tables_than_those_of_pylate_are_refused(
    tmp_path: Path, copied: Callable[[str], Path], made: str, told: str
) -> None:
    folder = copied("pylate-fast")
    (folder / "plaid_ids_to_documents_ids.pkl").unlink()
    with closing(sqlite3.connect(folder / "plaid_ids_to_documents_ids.sqlite")) as database, database:
        database.execute(made)
    with pytest.raises(CorpusError, match=told):
        open_token_file(folder)


def test_search_after_an_import(tmp_path: Path) -> None:
    """What the model encodes is given to kANNolo's form, comes back, and reranks as if it had been encoded here."""
    texts = ["rotate the log file", "a log in the river", "night falls"]
    colbert = models.multi_vector(tmp_path / "model", work=tmp_path / "backbone")
    index = lsr.Index.build(
        [{"id": name, "text": text} for name, text in zip("abc", texts, strict=True)], tmp_path / "i"
    )
    encoder = load_multivector_encoder(colbert)
    vectors = encoder.encode_documents(texts)
    (tmp_path / "store").mkdir()
    np.save(tmp_path / "store/doclens.npy", vectors.lengths)
    np.save(tmp_path / "store/documents.npy", vectors.vectors)
    (tmp_path / "ids.txt").write_text("a\nb\nc\n")
    done = commands.lsr(
        "import-tokens",
        tmp_path / "store",
        tmp_path / "i",
        "--model",
        colbert,
        "--ids",
        tmp_path / "ids.txt",
        "--codec",
        "f32",
    )
    assert done.returncode == 0, done.stderr
    assert f"{int(vectors.offsets[-1])} token vectors of 3 documents" in done.stderr
    hits = index.search("rotate a log", rerank=MaxSimReranker.of(index))
    query = encoder.encode_queries(["rotate a log"]).of(0)
    scores = {name: float((query @ vectors.of(i).T).max(axis=1).sum()) for i, name in enumerate("abc")}
    assert hits.ids == sorted(hits.ids, key=lambda name: -scores[name])
    assert hits.scores == pytest.approx([scores[name] for name in hits.ids], abs=0.05)  # int8


# -- what does not fit -------------------------------------------------------------------------------------------------


def test_other_numbers_of_documents_are_refused_with_both(tmp_path: Path) -> None:
    plaid(tmp_path / "store", 2, [[3, 1], [4]])
    index = index_of(4, tmp_path / "my.idx")
    with pytest.raises(InvalidInput, match=r"token vectors of 3 documents, and .*my\.idx has 4; .*--ids"):
        import_tokens(tmp_path / "store", index)
    with pytest.raises(InvalidInput, match=r"token vectors of 3 documents, and there are 2 ids"):
        import_tokens(tmp_path / "store", index, ids=["0", "1"])
    assert not (tmp_path / "my.idx/multivector").exists()


def test_documents_that_the_index_does_not_have_are_refused(tmp_path: Path) -> None:
    plaid(tmp_path / "store", 2, [[3, 1], [4]])
    index = index_of(3, tmp_path / "my.idx", ["x", "y", "z"])
    with pytest.raises(InvalidInput, match=r"1 of its documents are not in .*'w' among them"):
        import_tokens(tmp_path / "store", index, ids=["x", "w", "y"])


def test_a_model_of_another_dim_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    np.save(tmp_path / "store/doclens.npy", np.array([1]))
    np.save(tmp_path / "store/documents.npy", np.ones((1, 24), np.float32))
    encoder = load_multivector_encoder(models.multi_vector(tmp_path / "model", work=tmp_path / "backbone"))
    assert isinstance(encoder, MultiVectorEncoder)
    with pytest.raises(StoreMismatch, match=rf"vectors of 24 numbers, and .* gives {encoder.dim}"):
        import_tokens(tmp_path / "store", index_of(1, tmp_path / "my.idx"), encoder=encoder)


def test_a_folder_of_something_else_is_told_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no store of token vectors that is known: PyLate .*fast-plaid .*kANNolo"):
        open_token_file(tmp_path)
    with pytest.raises(CorpusError, match="no such folder"):
        open_token_file(tmp_path / "nothing")


def test_tensors_of_torch_need_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"lsr-engine\[torch\]"):
        open_token_file(STORES / "pylate-stanford")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edit(name: str, **values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        facts = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(facts | values))

    return change


def saved(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, change(np.load(folder / name)))


def archived(folder: Path) -> None:
    np.savez(folder / "found.npz", centroids=np.load(folder / "centroids.npy"))
    (folder / "found.npz").rename(folder / "centroids.npy")


def headed(header: str) -> Callable[[Path], object]:
    """Centroids whose file begins so, and has 64 bytes of numbers."""
    start = np.lib.format.MAGIC_PREFIX + b"\x01\x00" + (len(header) + 1).to_bytes(2, "little")
    return lambda folder: (folder / "centroids.npy").write_bytes(start + header.encode() + b"\n" + bytes(64))


def piped(folder: Path) -> None:
    (folder / "0.codes.npy").unlink()
    os.mkfifo(folder / "0.codes.npy")


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "metadata cut": (lambda folder: cut(folder / "metadata.json"), r"metadata\.json: cannot be read as JSON"),
    "no chunks": (edit("metadata.json", num_chunks="many"), "num_chunks"),
    "nbits": (edit("metadata.json", nbits=3), "nbits is 3: it must be 1, 2, 4 or 8"),
    "other nbits": (edit("metadata.json", nbits=4), "4 bucket weights for 4 bits: there must be 16"),
    "tokens": (edit("metadata.json", num_embeddings=9), "num_embeddings is 9, and the doclens files come to 8"),
    "documents": (edit("metadata.json", num_documents=9), "num_documents is 9, and the doclens files come to 3"),
    "doclens missing": (lambda folder: (folder / "doclens.1.json").unlink(), r"doclens\.1\.json: cannot be read"),
    "doclens": (lambda folder: (folder / "doclens.1.json").write_text("[4.5]"), "must be a list of how many tokens"),
    "doclens below 0": (lambda folder: (folder / "doclens.1.json").write_text("[-4]"), "cannot have -4 tokens"),
    "codes cut": (lambda folder: cut(folder / "1.codes.npy"), r"1\.codes\.npy: cannot be read as an array"),
    "codes short": (saved("1.codes.npy", lambda a: a[1:]), "chunk 1: codes of 3 tokens, and doclens of 4"),
    "codes long": (saved("1.codes.npy", lambda a: np.append(a, 0)), "chunk 1: codes of 5 tokens, and doclens of 4"),
    "codes too high": (saved("1.codes.npy", lambda a: a + 9), r"chunk 1: names centroid \d+ of 9"),
    "codes below 0": (saved("1.codes.npy", lambda a: a - 9), r"chunk 1: names centroid -\d of 9"),
    "codes floats": (
        saved("1.codes.npy", lambda a: a / 2),
        r"1\.codes\.npy: is float64 \[4\]; it must be whole numbers",
    ),
    "codes merged": (lambda folder: (folder / "0.codes.npy").unlink(), "chunk 0 is merged and others are not"),
    "residuals short": (saved("0.residuals.npy", lambda a: a[1:]), "chunk 0: residuals of 3 tokens, and doclens of 4"),
    "residuals narrow": (saved("0.residuals.npy", lambda a: a[:, 1:]), r"residuals are uint8 \[\.\., 3\]"),
    "centroids": (saved("centroids.npy", lambda a: a * np.nan), "no finite number"),
    "nbits real": (edit("metadata.json", nbits=2.0), "nbits is 2.0: it must be 1, 2, 4 or 8"),
    "centroids in an archive": (
        archived,
        r"centroids\.npy: cannot be read as an array of numpy \(it does not begin as",
    ),
    "archive cut": (lambda folder: (folder / "centroids.npy").write_bytes(b"PK\x03\x04"), "cannot be read as an array"),
    "header cut": (headed("{'descr': '<f4', 'fortran_order': False, 'shape': (2, "), "cannot be read as an array"),
    "header of bools": (
        headed("{'descr': '<f4', 'fortran_order': False, 'shape': (True, 16)}"),
        "cannot be read as an",
    ),
    "header too large": (
        headed(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({1 << 33}, {1 << 33})}}"),
        "too big",
    ),
    "vectors too large": (
        headed(f"{{'descr': '<f4', 'fortran_order': False, 'shape': (0, {1 << 40})}}"),
        "no store of",
    ),
    "pipe": (piped, r"0\.codes\.npy: is no regular file"),
    "pickled centroids": (saved("centroids.npy", lambda a: a.astype(object)), r"centroids\.npy: cannot be read"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_store_that_is_not_whole_is_refused(tmp_path: Path, kind: str) -> None:
    plaid(tmp_path / "store", 2, [[3, 1], [4]])
    damage, told = DAMAGE[kind]
    damage(tmp_path / "store")
    index = index_of(3, tmp_path / "my.idx")
    with pytest.raises(CorpusError, match=told):
        import_tokens(tmp_path / "store", index, codec="f32")
    assert not (tmp_path / "my.idx/multivector").exists()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("documents.npy", np.zeros((4, DIM), np.float32), "holds 4 tokens, and doclens.npy of 5"),
        ("documents.npy", np.zeros((5, DIM), np.uint8), "is uint8; it must be float32"),
        ("documents.npy", np.full((5, DIM), np.inf, np.float32), "documents from 0 on: text 0 has a vector with NaN"),
        ("doclens.npy", np.array([6, -1]), "cannot have -1 tokens"),
        ("doclens.npy", np.array([[5]]), "must be whole numbers in 1 dimension"),
    ],
)
def test_a_folder_of_kannolo_that_does_not_fit_is_refused(
    tmp_path: Path, name: str, content: npt.NDArray[Any], told: str
) -> None:
    kannolo(tmp_path / "store")
    np.save(tmp_path / "store" / name, content)
    with pytest.raises(CorpusError, match=told):
        decoded(tmp_path / "store")


def test_tensors_that_are_cut_or_no_tensors_are_refused(copied: Callable[[str], Path]) -> None:
    import torch

    folder = copied("pylate-stanford")
    cut(folder / "0.codes.pt")
    with pytest.raises(CorpusError, match=r"0\.codes\.pt: torch cannot read it as tensors alone"):
        decoded(folder)
    torch.save(torch.zeros(1).expand(1 << 20, 16), folder / "centroids.pt")
    with pytest.raises(CorpusError, match="claim more bytes"):
        decoded(folder)
    torch.save({"a": torch.zeros(2)}, folder / "centroids.pt")
    with pytest.raises(CorpusError, match="must hold 1 plain tensor"):
        decoded(folder)


class Harmful:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_ids_are_read_without_unpickling(protocol: int) -> None:
    plain = {0: "a", 1: "ä\n", 2: "a", 3: 7, 300: "x" * 300, 70_000: -5, 1 << 40: ""}
    many = {i: f"name {i}" for i in range(2500)}  # several batches of items
    for given in ({}, {1: "one"}, plain, many):
        assert plain_object(pickle.dumps(given, protocol), "it") == given
    for other in ({0: Harmful()}, {0: 1.5}, [1], {0: ("a",)}, {0: np.str_("a")}):
        with pytest.raises(CorpusError, match=r"other than strings and whole numbers.*--ids"):
            plain_object(pickle.dumps(other, protocol), "it")


def test_a_damaged_pickle_is_refused() -> None:
    whole = pickle.dumps({i: f"name {i}" for i in range(20)}, 4)
    for size in range(len(whole)):
        with pytest.raises(CorpusError, match="damaged pickle"):
            plain_object(whole[:size], "it")


def test_ids_of_documents_that_are_not_there_are_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("pylate-fast")
    (folder / "plaid_ids_to_documents_ids.pkl").write_bytes(pickle.dumps({58: "one more"}))
    with pytest.raises(CorpusError, match="has an id for document 58, and the store has 58 documents"):
        open_token_file(folder)


def test_an_id_that_is_a_dict_is_refused(copied: Callable[[str], Path]) -> None:
    """Dicts of dicts, each named twice: a few hundred bytes, and a text of millions."""
    nested: Any = "x"
    for _ in range(24):
        nested = {0: nested, 1: nested}
    folder = copied("pylate-fast")
    (folder / "plaid_ids_to_documents_ids.pkl").write_bytes(pickle.dumps({0: nested}))
    with pytest.raises(CorpusError, match="the id of document 0 is no string"):
        open_token_file(folder)


def test_tensors_that_are_packed_are_refused_before_they_are_unpacked(
    copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    path = copied("pylate-stanford") / "centroids.pt"
    torch.save(torch.zeros(1 << 16, 16), path)
    with zipfile.ZipFile(path) as plain:
        parts = {name: plain.read(name) for name in plain.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in parts.items():
            packed.writestr(name, data)
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(CorpusError, match=r"centroids\.pt: .*its parts claim more bytes than it has"):
        open_token_file(path.parent)


def test_wide_vectors_are_decoded_in_smaller_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = plaid(tmp_path / "store", 2, [[3, 1], [4]])
    monkeypatch.setattr(token_file, "NUMBERS", 4 * DIM)
    parts = [read().vectors for _, read in open_token_file(tmp_path / "store").batches()]
    assert [len(part) for part in parts] == [4, 4]
    np.testing.assert_allclose(np.concatenate(parts), wanted, atol=1e-6)


def test_what_is_read_is_a_validated_batch() -> None:
    ((rows, read),) = open_token_file(STORES / "fast-plaid-1.4").batches()
    assert rows == range(60)
    assert isinstance(read(), TokenVectors)
