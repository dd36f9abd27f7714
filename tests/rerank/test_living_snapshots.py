"""A snapshot of an index holds its token vectors, which are those of its texts there too."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

import lsr
from lsr import disk
from lsr.errors import CorruptIndex, LsrError, UnsupportedVersion
from lsr.rerank import MaxSimReranker, MultiVectorEncoder, sync_tokens
from lsr.rerank.store import TokenStore
from tests.cli import commands
from tests.index.archives import Member, files, names, packed, unpacked, with_manifest
from tests.rerank.living_index import NEW, QUERY, TEXTS, encoded, lines, search, stored


def test_token_vectors_go_along(index: lsr.Index, encoder: MultiVectorEncoder, tmp_path: Path) -> None:
    index.upsert(lines({"a": NEW}))
    sync_tokens(index, encoder)
    file, path = tmp_path / "my.tar.zst", tmp_path / "again.idx"
    assert commands.lsr("export", index.path, "-o", file).returncode == 0
    assert commands.lsr("import", file, "-o", path).returncode == 0
    again = lsr.Index.open(path)
    assert stored(again) == stored(index) == encoded(encoder, {**TEXTS, "a": NEW})
    stages = [MaxSimReranker.of(one, encoder=encoder) for one in (index, again)]
    assert search(again, stages[1]) == search(index, stages[0])
    assert stages[1].missing == 0
    done = commands.lsr("check", path, "--full")
    assert "token vectors: 5 of 5 documents have those of their text" in done.stdout
    again.add(lines({"g": NEW}))
    assert sync_tokens(again, encoder).encoded == 1
    index.save_snapshot(tmp_path / "twice.tar.zst")
    assert (tmp_path / "twice.tar.zst").read_bytes() == file.read_bytes()
    with (
        zstandard.ZstdDecompressor().stream_reader(file.open("rb")) as raw,
        tarfile.open(fileobj=raw, mode="r|") as tar,
    ):
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    there = files(index.path)
    assert members == {name: there[name] for name in members}
    assert sum(name.startswith("multivector/manifest-") for name in members) == 1


def test_what_is_written_is_one_generation_of_each(
    index: lsr.Index, encoder: MultiVectorEncoder, tmp_path: Path
) -> None:
    """An index that is open at an earlier generation than its token vectors, which change while they are packed."""
    index.upsert(lines({"a": NEW}))
    other = lsr.Index.open(index.path)
    other.upsert(lines({"c": NEW}))
    sync_tokens(other, encoder)
    changed = False

    def change(stage: str, done: int, total: int | None) -> None:
        nonlocal changed
        if not changed:
            changed = True
            store = TokenStore.open(index.path / "multivector")
            for name in "bde":
                store.delete(name)
                store.compact()

    index.save_snapshot(tmp_path / "my.tar.zst", progress=change)
    again = lsr.Index.from_snapshot(tmp_path / "my.tar.zst", tmp_path / "again.idx")
    assert (again.generation, sorted(stored(again))) == (index.generation, list("abcde"))
    stage = MaxSimReranker.of(again, encoder=encoder)
    assert "c" in search(again, stage)
    assert stage.missing == 1, "c has vectors of a text that this generation does not have yet"
    report = sync_tokens(again, encoder)
    assert (report.encoded, report.replaced, report.missing) == (1, 1, 0)
    assert stored(again) == encoded(encoder, {**TEXTS, "a": NEW})


def test_a_store_that_is_damaged_is_not_exported(index: lsr.Index, tmp_path: Path) -> None:
    [codes] = index.path.glob("multivector/segment-0001/codes")
    codes.write_bytes(b"x" + codes.read_bytes()[1:])
    with pytest.raises(CorruptIndex, match="codes"):
        index.save_snapshot(tmp_path / "my.tar.zst")
    assert names(tmp_path) == ["my.idx"]


def first_of_tokens(members: list[Member]) -> int:
    return next(i for i, member in enumerate(members) if member.name.startswith("multivector/"))


def renamed(members: list[Member], name: str) -> list[Member]:
    at = first_of_tokens(members)
    return [*members[:at], members[at].with_header(name=name), *members[at + 1 :]]


def newer(members: list[Member]) -> list[Member]:
    at = first_of_tokens(members)

    def change(body: dict[str, object]) -> None:
        body.update(format_version=[9, 0], oldest_reader=[9, 0])

    return [*members[:at], *with_manifest(members[at:], change)]


def leading_out(members: list[Member]) -> list[Member]:
    at = first_of_tokens(members)

    def change(body: dict[str, object]) -> None:
        body["segments"][0]["files"][0]["name"] = "../../escaped"  # type: ignore[index]

    return [*members[:at], *with_manifest(members[at:], change)]


def flipped(members: list[Member]) -> list[Member]:
    last = members[-1]
    return [*members[:-1], replace(last, data=bytes([last.data[0] ^ 1]) + last.data[1:])]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (flipped, CorruptIndex, "multivector/.* is not what its checksum says"),
        (lambda members: members[:-1], CorruptIndex, "the end of the archive where multivector/"),
        (lambda members: [*members, members[-1]], CorruptIndex, "something between or after its files"),
        (lambda members: renamed(members, "multivector/codes"), CorruptIndex, "something between or after"),
        (lambda members: renamed(members, "other/manifest-000001.json"), CorruptIndex, "something between or after"),
        (newer, UnsupportedVersion, r"written in token store format 9\.0"),
        (leading_out, CorruptIndex, "wrong or missing in it"),
    ],
)
def test_a_forged_or_damaged_snapshot_is_refused_and_leaves_nothing(
    change: Callable[[list[Member]], list[Member]],
    error: type[LsrError],
    message: str,
    index: lsr.Index,
    tmp_path: Path,
) -> None:
    file = tmp_path / "my.tar.zst"
    index.save_snapshot(file)
    file.write_bytes(packed(change(unpacked(file.read_bytes()))))
    with pytest.raises(error, match=message):
        lsr.Index.from_snapshot(file, tmp_path / "again.idx")
    assert names(tmp_path) == ["my.idx", "my.tar.zst"]


def test_what_a_snapshot_became_is_on_the_disk_before_it_is_there(
    index: lsr.Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.save_snapshot(tmp_path / "my.tar.zst")
    synced: set[str] = set()
    real = disk.sync_folder

    def sync(folder: Path) -> None:
        synced.add(f"{folder.parent.name}/{folder.name}")
        real(folder)

    monkeypatch.setattr(disk, "sync_folder", sync)
    again = lsr.Index.from_snapshot(tmp_path / "my.tar.zst", tmp_path / "again.idx")
    assert {"target/multivector", "multivector/segment-0001", "target/segment-0001"} <= synced
    assert again.search(QUERY, 3).ids == index.search(QUERY, 3).ids
