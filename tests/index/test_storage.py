"""An index on disk: all of it or nothing, checked before it is trusted, and never lost by mistake."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xxhash

from lsr import Index, SparseVectors
from lsr.errors import (
    CorruptIndex,
    DuplicateId,
    IndexNotFound,
    InvalidInput,
    LsrError,
    OutputExists,
    StorageError,
    UnsupportedVersion,
)
from lsr.index.storage import arrays
from lsr.index.storage.check import check_index
from lsr.index.storage.manifest import Manifest
from tests.conftest import random_vectors


@pytest.fixture
def vectors() -> SparseVectors:
    return random_vectors(400, 120, 12, seed=1)


@pytest.fixture
def index_path(vectors: SparseVectors, tmp_path: Path) -> Path:
    path = tmp_path / "my.idx"
    Index.build(vectors, path)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def edit_manifest(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes a manifest and makes its checksum right again."""
    file = path / "manifest-000001.json"
    body = json.loads(file.read_text())
    del body["checksum"]
    change(body)
    plain = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    body["checksum"] = xxhash.xxh3_128_hexdigest(plain)
    file.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


# -- appearing as a whole or not at all --------------------------------------------------------------------------------


def test_a_finished_build_leaves_the_index_and_nothing_else(index_path: Path) -> None:
    assert names(index_path.parent) == ["my.idx"]
    assert names(index_path) == ["manifest-000001.json", "segment-0001"]


def test_missing_parent_folders_are_made(vectors: SparseVectors, tmp_path: Path) -> None:
    assert len(Index.build(vectors, tmp_path / "a" / "b" / "my.idx")) == 400


def test_an_index_is_not_replaced_unless_asked(vectors: SparseVectors, index_path: Path) -> None:
    before = (index_path / "manifest-000001.json").read_bytes()
    with pytest.raises(OutputExists, match="--overwrite"):
        Index.build(vectors[:10], index_path)
    assert (index_path / "manifest-000001.json").read_bytes() == before
    assert len(Index.build(vectors[:10], index_path, overwrite=True)) == 10
    assert names(index_path.parent) == ["my.idx"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_index_is_never_overwritten(vectors: SparseVectors, tmp_path: Path, kind: str) -> None:
    mine = tmp_path / "thesis"
    if kind == "folder":
        mine.mkdir()
        (mine / "chapter1.txt").write_text("years of work")
    else:
        mine.write_text("years of work")
    with pytest.raises(OutputExists, match="is not an index, so it is left alone"):
        Index.build(vectors, mine, overwrite=True)
    assert (mine / "chapter1.txt" if kind == "folder" else mine).read_text() == "years of work"


def test_an_empty_folder_may_become_an_index(vectors: SparseVectors, tmp_path: Path) -> None:
    (tmp_path / "my.idx").mkdir()
    assert len(Index.build(vectors, tmp_path / "my.idx")) == 400


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
@pytest.mark.parametrize("replacing", [False, True])
def test_a_build_that_fails_leaves_what_was_there(
    vectors: SparseVectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, replacing: bool
) -> None:
    path = tmp_path / "my.idx"
    if replacing:
        Index.build(vectors, path)
    before = names(tmp_path)
    written = 0

    def failing(self: arrays.AppendFile, data: Any) -> None:
        nonlocal written
        written += 1
        if written > 9:
            raise failure
        original(self, data)

    original = arrays.AppendFile.append
    monkeypatch.setattr(arrays.AppendFile, "append", failing)
    with pytest.raises((KeyboardInterrupt, StorageError)) as caught:
        Index.build(vectors[:50], path, overwrite=True)
    if isinstance(failure, OSError):
        assert "No space left on device" in str(caught.value)
        assert str(path) in str(caught.value)
    assert names(tmp_path) == before
    if replacing:
        assert len(Index.open(path)) == 400


def test_an_open_index_survives_its_replacement(vectors: SparseVectors, index_path: Path) -> None:
    index = Index.open(index_path)
    before = [hits.ids for hits in index.search(vectors[:5])]
    Index.build(vectors[:10], index_path, overwrite=True)
    assert [hits.ids for hits in index.search(vectors[:5])] == before


@pytest.mark.skipif(os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0), reason="root writes anywhere")
def test_a_folder_that_cannot_be_written_is_named(vectors: SparseVectors, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(StorageError, match="locked"):
        Index.build(vectors, tmp_path / "locked" / "my.idx")


# -- ids ---------------------------------------------------------------------------------------------------------------


def test_ids_come_back_and_lead_to_their_document(vectors: SparseVectors, tmp_path: Path) -> None:
    ids = [f"Dokument {i} – ä€𝄞" for i in range(400)]
    named = SparseVectors(
        indptr=vectors.indptr, indices=vectors.indices, values=vectors.values, dim=vectors.dim, ids=ids
    )
    index = Index.build(named, tmp_path / "my.idx")
    assert [index.id_of(row) for row in range(400)] == ids
    assert [index.row_of(name) for name in ids] == list(range(400))
    assert index.row_of("nobody") is None


def test_documents_without_ids_get_their_row_number(index_path: Path) -> None:
    index = Index.open(index_path)
    assert index.id_of(17) == "17"
    assert index.row_of("399") == 399


def test_many_ids_are_checked_in_little_memory(tmp_path: Path) -> None:
    """Across the runs that ids are kept in: 150,000 of them, then one again."""
    from lsr.index.storage.records import IdsWriter

    writer = IdsWriter(tmp_path, "segment")
    for first in range(0, 150_000, 10_000):
        writer.append([f"id{i}" for i in range(first, first + 10_000)])
    for again in (0, 70_000, 149_999):
        with pytest.raises(DuplicateId, match=rf"here:7: the id 'id{again}' is also that of document {again + 1:,}"):
            writer.append([f"id{again}"], ["here:7"])
    writer.close()


# -- opening what is not sound -----------------------------------------------------------------------------------------


def test_no_index_there(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFound, match="no such index; `lsr index SOURCE -o"):
        Index.open(tmp_path / "none.idx")
    with pytest.raises(IndexNotFound, match="holds no manifest"):
        Index.open(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(IndexNotFound, match="a file, not an index folder"):
        Index.open(tmp_path / "file")


def test_an_index_of_a_newer_format_is_refused_by_name_and_version(index_path: Path) -> None:
    def newer(body: dict[str, Any]) -> None:
        body.update(format_version=[7, 2], oldest_reader=[7, 0], lsr_version="9.9", surprise={})

    edit_manifest(index_path, newer)
    with pytest.raises(UnsupportedVersion, match=r"format 7\.2 by lsr 9\.9.*pip install --upgrade lsr-engine"):
        Index.open(index_path)


def test_a_minor_addition_to_the_format_is_read(index_path: Path) -> None:
    def newer_minor(body: dict[str, Any]) -> None:
        body.update(format_version=[4, 9], addition="ignored")
        body["segments"][0]["addition"] = {"ignored": [1]}
        body["segments"][0]["files"][0]["addition"] = None

    edit_manifest(index_path, newer_minor)
    index = Index.open(index_path)
    assert len(index) == 400
    assert index.info()["format_version"] == "4.9"


@pytest.mark.parametrize("version", [[3, 9], [1, 0], [0, 0]])
def test_an_index_of_a_format_that_is_no_longer_read_is_refused_by_its_version(
    index_path: Path, version: list[int]
) -> None:
    edit_manifest(index_path, lambda body: body.update(format_version=version, oldest_reader=[version[0], 0]))
    says = rf"my\.idx: written in index format {version[0]}\.{version[1]} by lsr .* from 4\.0 on: build it again"
    with pytest.raises(UnsupportedVersion, match=says):
        Index.open(index_path)


def test_every_truncated_or_missing_file_is_found_on_opening(index_path: Path) -> None:
    for entry in Manifest.read(index_path).files():
        file = index_path / entry.name
        content = file.read_bytes()
        if content:
            file.write_bytes(content[:-1])
            with pytest.raises(CorruptIndex, match=f"{file.name}: .* bytes where"):
                Index.open(index_path)
        file.unlink()
        with pytest.raises(CorruptIndex, match=f"{file.name}: missing"):
            Index.open(index_path)
        file.write_bytes(content)
    assert len(Index.open(index_path)) == 400


def test_every_altered_file_is_found_by_check_full(index_path: Path) -> None:
    for entry in Manifest.read(index_path).files():
        file = index_path / entry.name
        content = file.read_bytes()
        if not content:
            continue
        for position in {0, len(content) // 2, len(content) - 1}:
            altered = bytearray(content)
            altered[position] ^= 1 << (position % 8)
            file.write_bytes(altered)
            with pytest.raises(CorruptIndex):
                list(check_index(index_path, full=True))
        file.write_bytes(content)
    assert len(list(check_index(index_path, full=True))) >= 5


def test_an_altered_manifest_is_found_on_opening(index_path: Path) -> None:
    file = index_path / "manifest-000001.json"
    content = file.read_bytes()
    for position in range(0, len(content), 37):
        altered = bytearray(content)
        altered[position] ^= 1
        file.write_bytes(altered)
        if json_equal(content, bytes(altered)):
            continue  # white space
        with pytest.raises(LsrError):
            Index.open(index_path)


def json_equal(a: bytes, b: bytes) -> bool:
    try:
        return bool(json.loads(a) == json.loads(b))
    except ValueError:
        return False


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "segment-0001/../x", "a/b/c", ".hidden", "", "a\\b", "x\0y", 7]
)
def test_a_name_that_leads_out_of_the_folder_is_refused(index_path: Path, name: object) -> None:
    edit_manifest(index_path, lambda body: body["segments"][0]["files"][0].update(name=name))
    with pytest.raises(CorruptIndex, match="file name"):
        Index.open(index_path)


@pytest.mark.skipif(os.name == "nt", reason="no symbolic links")
def test_a_symbolic_link_in_place_of_a_file_is_refused(index_path: Path, tmp_path: Path) -> None:
    file = index_path / "segment-0001" / "forward_codes"
    shutil.move(file, tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptIndex, match="forward_codes: not a regular file"):
        Index.open(index_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("documents", 401),
        ("documents", 10**9),
        ("nnz", 1),
        ("scale", 0.0),
        ("scale", -1.0),
        ("scale", float("inf")),
        ("documents", -1),
        ("documents", "400"),
        ("files", []),
    ],
)
def test_a_manifest_that_contradicts_its_files_is_refused(index_path: Path, field: str, value: object) -> None:
    edit_manifest(index_path, lambda body: body["segments"][0].update({field: value}))
    with pytest.raises(CorruptIndex):
        Index.open(index_path)


@pytest.mark.parametrize("name", ["postings_offsets", "forward_indptr", "ids_offsets"])
@pytest.mark.parametrize("value", [-1, 1 << 40, 3])
def test_offsets_that_leave_their_array_are_refused_even_with_right_checksums(
    index_path: Path, name: str, value: int
) -> None:
    """Kernels do not check bounds: an offset out of range would read or write other memory."""
    file = index_path / "segment-0001" / name
    content = bytearray(file.read_bytes())
    content[-16:-8] = value.to_bytes(8, "little", signed=True)  # the one before the last
    file.write_bytes(content)

    def fix(body: dict[str, Any]) -> None:
        for entry in body["segments"][0]["files"]:
            if entry["name"].endswith(name):
                entry["xxh3_128"] = xxhash.xxh3_128_hexdigest(bytes(content))

    edit_manifest(index_path, fix)
    with pytest.raises(CorruptIndex, match=name):
        Index.open(index_path)


def test_engines_of_a_newer_lsr_are_refused(index_path: Path) -> None:
    edit_manifest(index_path, lambda body: body.update(engine="quantum"))
    with pytest.raises(UnsupportedVersion, match="newer lsr"):
        Index.open(index_path)


@pytest.mark.parametrize(("option", "value"), [("engine", "fast"), ("batch_size", 0)])
def test_options_out_of_range_are_refused(vectors: SparseVectors, tmp_path: Path, option: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=option):
        Index.build(vectors, tmp_path / "my.idx", **{option: value})


def test_a_vectors_file_is_indexed_like_the_vectors(vectors: SparseVectors, tmp_path: Path, index_path: Path) -> None:
    vectors.save(tmp_path / "vectors.npz")
    index = Index.build(tmp_path / "vectors.npz", tmp_path / "other.idx")
    assert [hits.ids for hits in index.search(vectors[:9])] == [
        hits.ids for hits in Index.open(index_path).search(vectors[:9])
    ]


def test_building_twice_gives_the_same_bytes(vectors: SparseVectors, tmp_path: Path, index_path: Path) -> None:
    Index.build(vectors, tmp_path / "again.idx")
    for entry in Manifest.read(index_path).files():
        assert (index_path / entry.name).read_bytes() == (tmp_path / "again.idx" / entry.name).read_bytes()
