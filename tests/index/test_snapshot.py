"""A snapshot: an index in one file, the same bytes each time, and back."""

from __future__ import annotations

import errno
import json
import os
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
import zstandard

from lsr import Index, disk, open_vectors
from lsr.errors import CorruptIndex, IndexNotFound, LsrError, OutputExists, StorageError
from lsr.index.storage import arrays
from lsr.index.storage.archive import member_header
from lsr.index.storage.check import check_index
from tests.conftest import random_vectors
from tests.index.archives import (
    END,
    compressed,
    files,
    named,
    names,
    small_segments,
)

QUERIES = random_vectors(8, 120, 6, seed=9)
TEXTS = [
    {"id": "gzip", "text": "Compress a file with gzip, and rotate the log.", "year": 2001},
    {"id": "atexit", "text": "Run a function when the interpreter exits.", "year": 2002},
    {"id": "sort", "text": "Sort the items of a list in order.", "year": 2003},
]


pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


# -- there and back ----------------------------------------------------------------------------------------------------


def exact(path: Path) -> Index:
    return Index.build(random_vectors(300, 120, 12, seed=1), path)


def blocked(path: Path) -> Index:
    return Index.build(named(random_vectors(600, 120, 12, seed=1)), path, engine="blocked")


def changed(path: Path) -> Index:
    index = Index.build(named(random_vectors(300, 120, 12, seed=1)), path)
    with small_segments():
        index.add(named(random_vectors(40, 120, 12, seed=2), 300))
    index.delete(["id3", "id310"])
    assert len(index.manifest.segments) == 2
    return index


def of_words(path: Path) -> Index:
    source = path.with_name("words.jsonl")
    lines = [{"id": "1", "vector": {"dog": 2, "cat": 1}}, {"id": "2", "vector": {"eel": 1}}]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Index.build(open_vectors(source), path)


def of_texts(path: Path) -> Index:
    return Index.build(TEXTS, path)


def emptied(path: Path) -> Index:
    index = Index.build(named(random_vectors(3, 120, 6, seed=1)), path)
    index.delete(["id0", "id1", "id2"])
    return index


KINDS = [exact, blocked, changed, of_words, of_texts, emptied]


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_an_index_comes_back_file_by_file(make: Callable[[Path], Index], tmp_path: Path) -> None:
    index = make(tmp_path / "my.idx")
    index.save_snapshot(tmp_path / "my.tar.zst")
    again = Index.from_snapshot(tmp_path / "my.tar.zst", tmp_path / "again.idx")
    assert again.manifest == index.manifest
    before = files(index.path)
    manifest = f"manifest-{index.generation:06}.json"
    assert files(again.path) == {
        name: before[name] for name in [manifest, *(file.name for file in index.manifest.files())]
    }
    list(check_index(again.path, full=True))
    if make is of_texts:
        assert again.search("how to sort a list")[0].text == TEXTS[2]["text"]
        again.add([{"id": "new", "text": "Send a request to a server."}])
        assert again.search("send a request")[0].id == "new"
        return
    queries = QUERIES if index.dim == 120 else random_vectors(3, index.dim, 2, seed=3)
    for one, other in zip(index.search(queries), again.search(queries), strict=True):
        assert one.ids == other.ids
        assert one.scores.tolist() == other.scores.tolist()
    assert again.tokens == index.tokens
    assert names(tmp_path)[:2] == ["again.idx", "my.idx"]


def test_the_same_index_gives_the_same_bytes_which_any_tar_reads(small: Path, tmp_path: Path) -> None:
    index = Index.open(small.with_name("my.idx"))
    index.save_snapshot(tmp_path / "again.tar.zst")
    assert (tmp_path / "again.tar.zst").read_bytes() == small.read_bytes()
    Index.from_snapshot(small, tmp_path / "copy.idx").save_snapshot(tmp_path / "of-copy.tar.zst")
    assert (tmp_path / "of-copy.tar.zst").read_bytes() == small.read_bytes()
    raw = zstandard.ZstdDecompressor().decompress(small.read_bytes())
    with tarfile.open(fileobj=BytesIO(raw)) as archive:
        assert archive.getnames() == ["manifest-000003.json", *(file.name for file in index.manifest.files())]
        for member in archive:
            assert (member.isreg(), member.mode, member.uid, member.gid, member.mtime) == (True, 0o644, 0, 0, 0)
            file = archive.extractfile(member)
            assert file is not None
            assert file.read() == (index.path / member.name).read_bytes()
    parameters = zstandard.get_frame_parameters(small.read_bytes())
    assert (parameters.has_checksum, parameters.content_size) == (True, len(raw))


@pytest.mark.parametrize("name", ["segment-0001/x", "s" * 100, f"{'f' * 100}/{'n' * 100}"])
@pytest.mark.parametrize("size", [0, 1, 8**11 - 1, 8**11, 8**12, 1 << 45])
def test_long_names_and_large_files_have_headers_that_any_tar_reads(name: str, size: int) -> None:
    header = member_header(name, size)
    found = tarfile.TarInfo.frombuf(header, "ascii", "strict")
    assert (len(header), found.name, found.size, found.isreg()) == (512, name, size, True)


def test_the_generation_that_is_open_is_written_whatever_a_writer_does(tmp_path: Path) -> None:
    index = exact(tmp_path / "my.idx")
    index.save_snapshot(tmp_path / "before.tar.zst")
    writer = Index.open(index.path)
    for number in range(3):
        writer.add(named(random_vectors(20, 120, 12, seed=number), 1000 * number))
    writer.delete("5")
    writer.compact()
    assert (index.generation, writer.generation) == (1, 6)
    index.save_snapshot(tmp_path / "beside.tar.zst")
    assert (tmp_path / "beside.tar.zst").read_bytes() == (tmp_path / "before.tar.zst").read_bytes()
    assert len(Index.from_snapshot(tmp_path / "beside.tar.zst", tmp_path / "again.idx")) == 300
    writer.save_snapshot(tmp_path / "newest.tar.zst")
    assert Index.from_snapshot(tmp_path / "newest.tar.zst", tmp_path / "newest.idx").generation == 6


def test_a_restored_index_goes_on_from_its_generation(small: Path, tmp_path: Path) -> None:
    index = Index.from_snapshot(small, tmp_path / "my.idx")
    assert (index.generation, len(index)) == (3, 69)
    index.add(named(random_vectors(5, 120, 6, seed=5), 500))
    index.delete("id8")
    assert (index.generation, len(index)) == (5, 73)
    index.compact()
    list(check_index(index.path, full=True))


def test_progress_goes_to_the_end(small: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    index = Index.from_snapshot(small, tmp_path / "my.idx", progress=lambda *step: seen.append(step))
    index.save_snapshot(tmp_path / "my.tar.zst", progress=lambda *step: seen.append(step))
    assert {stage for stage, _, _ in seen} == {"unpacking, MB", "packing, MB"}
    assert all(total is not None and done <= total for _, done, total in seen)


# -- what is there already ---------------------------------------------------------------------------------------------


def test_nothing_is_overwritten_unless_asked(small: Path, tmp_path: Path) -> None:
    index = exact(tmp_path / "my.idx")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputExists, match="a file is there already; --overwrite"):
        index.save_snapshot(tmp_path / "file")
    with pytest.raises(OutputExists, match="a folder; give the name of a file"):
        index.save_snapshot(tmp_path, overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(OutputExists, match="an index is there already; --overwrite"):
        Index.from_snapshot(tmp_path / "not looked for", index.path)
    with pytest.raises(OutputExists, match="is not an index, so it is left alone"):
        Index.from_snapshot(small, tmp_path / "file", overwrite=True)
    index.save_snapshot(tmp_path / "file", overwrite=True)
    assert len(Index.from_snapshot(small, index.path, overwrite=True)) == 69
    assert len(Index.from_snapshot(tmp_path / "file", index.path, overwrite=True)) == 300
    assert names(tmp_path) == ["file", "my.idx"]


def test_what_is_no_snapshot_is_named(small: Path, tmp_path: Path) -> None:
    def refused(file: Path, kind: type[LsrError], says: str) -> None:
        with pytest.raises(kind, match=says):
            Index.from_snapshot(file, tmp_path / "out.idx")
        assert not (tmp_path / "out.idx").exists()

    refused(tmp_path / "none.tar.zst", IndexNotFound, r"none\.tar\.zst: no such file; `lsr export INDEX -o FILE")
    refused(tmp_path, StorageError, "not a regular file")
    os.mkfifo(tmp_path / "fifo")
    refused(tmp_path / "fifo", StorageError, "not a regular file")
    refused(tmp_path / "a\nb\0", StorageError, r"a\\nb\\x00: cannot be opened")
    archive = tmp_path / "other.tar.zst"
    for content, says in [
        (b"", "not compressed by zstd"),
        (b"\x1f\x8b" + bytes(40), "not compressed by zstd"),
        (b"\x28\xb5\x2f\xfd", "damaged or no snapshot"),
        (compressed(b""), "ends too early"),
        (compressed(b"text " * 1000), "begins with no header of tar, not with the manifest of an index"),
        (compressed(END), "begins with the end of the archive, not with"),
        (compressed(tarfile.TarInfo("docs.jsonl").tobuf() + END), "begins with 'docs.jsonl' of 0 bytes, not with"),
    ]:
        archive.write_bytes(content)
        refused(archive, CorruptIndex, rf"other\.tar\.zst: .*{says}")


# -- a damaged index is never exported ---------------------------------------------------------------------------------


@pytest.mark.parametrize("existing", [False, True])
def test_a_damaged_index_is_not_exported(tmp_path: Path, existing: bool) -> None:
    index = changed(tmp_path / "my.idx")
    out = tmp_path / "my.tar.zst"
    if existing:
        out.write_text("mine")
    before = names(tmp_path)
    for entry in index.manifest.files():
        file = index.path / entry.name
        content = file.read_bytes()
        damages = [(content[:-1] + bytes([content[-1] ^ 1]), "altered since")] if content else []
        for damaged, says in [*damages, (content + b"x", "bytes where")]:
            file.write_bytes(damaged)
            with pytest.raises(CorruptIndex, match=f"{file.name}: .*{says}"):
                index.save_snapshot(out, overwrite=True)
        file.unlink()
        with pytest.raises(CorruptIndex, match=f"{file.name}: missing"):
            index.save_snapshot(out, overwrite=True)
        assert names(tmp_path) == before
        file.write_bytes(content)
    if existing:
        assert out.read_text() == "mine"
    index.save_snapshot(out, overwrite=True)


def test_an_index_that_grows_while_it_is_read_is_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = exact(tmp_path / "my.idx")
    file = index.path / index.manifest.files()[0].name
    monkeypatch.setattr(arrays, "_CHUNK", 16)
    steps = 0

    def change(*step: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 3:  # after the manifest, a header, and the first 16 bytes
            file.write_bytes(file.read_bytes() + b"x" * 40_000)

    with pytest.raises(CorruptIndex, match=f"{file.name}: altered since"):
        index.save_snapshot(tmp_path / "my.tar.zst", progress=change)
    assert steps > 3
    assert names(tmp_path) == ["my.idx"]


def test_an_index_that_took_the_place_of_the_one_that_is_open_is_not_exported_for_it(tmp_path: Path) -> None:
    index = exact(tmp_path / "my.idx")
    Index.build(QUERIES, index.path, overwrite=True)
    with pytest.raises(StorageError, match="another index is there since it was opened; open it again"):
        index.save_snapshot(tmp_path / "my.tar.zst")
    assert names(tmp_path) == ["my.idx"]


# -- a full disk -------------------------------------------------------------------------------------------------------


def full_disk_at(number: int) -> Callable[[str, Path, disk.Detail], None]:
    left = number

    def hook(step: str, path: Path, detail: disk.Detail) -> None:
        nonlocal left
        left -= 1
        if left < 0 and step != "remove":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    return hook


def steps_of(job: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> int:
    count: list[str] = []
    monkeypatch.setattr(disk, "hook", lambda step, path, detail: count.append(step))
    job()
    monkeypatch.setattr(disk, "hook", None)
    return len(count)


@pytest.mark.parametrize("replacing", [False, True])
def test_a_disk_that_is_full_leaves_what_was_there(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replacing: bool
) -> None:
    index, out, file = exact(tmp_path / "my.idx"), tmp_path / "out.idx", tmp_path / "out.tar.zst"

    def unpack() -> Index:
        return Index.from_snapshot(small, out, overwrite=True)

    def pack() -> None:
        index.save_snapshot(file, overwrite=True)

    packing, unpacking = steps_of(pack, monkeypatch), steps_of(unpack, monkeypatch)
    assert packing >= 4
    assert unpacking > 90
    if replacing:
        Index.build(QUERIES, out, overwrite=True)
        file.write_text("mine")
        unpacking -= 1  # the first was into nothing, as this ends with two names exchanged and one folder gone
    else:
        file.unlink()
        Index.build(QUERIES, tmp_path / "spare.idx")
        out.rename(tmp_path / "aside.idx")
    before = {name: content for name, content in files(tmp_path).items() if not name.endswith("LOCK")}
    for job, steps in ((pack, packing - 1), (unpack, unpacking - 1)):
        for number in range(0, steps, 1 if steps < 20 else 5):
            monkeypatch.setattr(disk, "hook", full_disk_at(number))
            with pytest.raises(StorageError, match="No space left on device"):
                job()
            monkeypatch.setattr(disk, "hook", None)
            now = {name: content for name, content in files(tmp_path).items() if not name.endswith("LOCK")}
            assert now == before, number
            assert not [name for name in names(tmp_path) if name.startswith(".")]
    pack()
    unpack()
