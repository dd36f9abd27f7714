"""Whatever the file of a snapshot says, it becomes all of an index or nothing."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from lsr import Index, SparseVectors, disk
from lsr.errors import CorruptIndex, LsrError, StorageError, UnsupportedVersion
from lsr.index.storage.archive import member_header
from lsr.limits import Limits
from tests.conftest import random_vectors
from tests.index.archives import (
    END,
    Member,
    block_edges,
    compressed,
    files,
    frame_of_zeros,
    names,
    packed,
    unpacked,
    with_fields,
    with_manifest,
)

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture(scope="module")
def members(small: Path) -> list[Member]:
    return unpacked(small.read_bytes())


# -- hostile archives --------------------------------------------------------------------------------------------------


def at(members: list[Member], place: int, *new: Member) -> list[Member]:
    return [*members[:place], *new, *members[place + 1 :]]


def links_and_paths(members: list[Member]) -> Iterator[tuple[str, list[Member], str]]:
    """(name, archive, what is said of it): in the place of the fifth member, or before it."""
    good = members[4]
    nothing = Member(with_fields(good.header, size=0), b"")
    for name, kind in {"symlink": "2", "hardlink": "1"}.items():
        yield name, at(members, 4, nothing.with_header(type=kind, link="/etc/passwd")), "no plain file"
        # A link first, then the file that would be written through it.
        yield (
            f"{name}, then the file",
            at(members, 4, nothing.with_header(type=kind, link="/tmp"), good),
            "no plain file",
        )
    for name, kind in {"device": "3", "block device": "4", "folder": "5", "fifo": "6", "contiguous": "7"}.items():
        yield name, at(members, 4, nothing.with_header(type=kind)), "no plain file"
    yield "old type", at(members, 4, good.with_header(type="\0")), "where segment"
    yield "sparse", at(members, 4, good.with_header(type="S")), "no plain file"
    pax = b"30 path=../../stolen/escaped!!\n"
    yield "pax", at(members, 4, Member(nothing.with_header(type="x", size=len(pax)).header, pax), good), "no plain file"
    for name, kind in {"pax": "x", "global pax": "g", "long name": "L", "long link": "K"}.items():
        huge = nothing.with_header(type=kind, size=8**11 - 1)
        yield f"{name} of 8 GiB", at(members, 4, huge, good), "no plain file.* of 8,589,934,591 bytes"
    first = members[0]
    link = first.with_header(type="2", link="/etc/passwd")
    yield "manifest by a link", at(members, 0, link), "begins with 'manifest-000003.json' .*no plain file"
    yield (
        "pax before the manifest",
        [Member(nothing.with_header(type="x", size=len(pax)).header, pax), *members],
        "begins",
    )
    large = at(members, 0, first.with_header(size=8**11 - 1))
    yield "manifest of 8 GiB", large, "begins with 'manifest-000003.json' of 8,589,934,591 bytes, not with"
    yield "absolute", at(members, 4, good.with_header(name="/tmp/stolen")), "'/tmp/stolen' of"
    yield "parent", at(members, 4, good.with_header(name="../stolen")), r"'\.\./stolen' of"
    yield "parent inside", at(members, 4, good.with_header(name="segment-0001/../../stolen")), "stolen' of"
    yield "unknown name", at(members, 4, good.with_header(name="segment-0001/evil")), "'segment-0001/evil' of"
    yield "one more", [*members, good.with_header(name="segment-0001/evil")], "something between or after"
    yield "duplicate", at(members, 4, good, good), "where segment-0001"
    yield "duplicate at the end", [*members, good], "something between or after"
    yield "manifest again", at(members, 4, members[0], good), "'manifest-000003.json' of"
    yield "missing", at(members, 4), "where segment-0001"
    yield "last missing", members[:-1], "the end of the archive where deleted-0001-0003"
    yield "no files", members[:1], "the end of the archive where segment-0001"
    yield "other order", [*members[:4], members[5], members[4], *members[6:]], "where segment-0001"
    yield "short", at(members, 4, replace(good.with_header(size=len(good.data) - 1), data=good.data[:-1])), "belongs"
    yield "long", at(members, 4, replace(good.with_header(size=len(good.data) + 1), data=good.data + b"x")), "belongs"
    yield (
        "altered",
        at(members, 4, replace(good, data=good.data[:-1] + bytes([good.data[-1] ^ 1]))),
        "its checksum says",
    )
    yield "header without checksum", at(members, 4, replace(good, header=good.header[:-1] + b"x")), "no header of tar"


def test_an_archive_holds_the_files_of_its_manifest_and_nothing_else(members: list[Member], tmp_path: Path) -> None:
    made = list(links_and_paths(members))
    assert len(made) == 35
    for _, archive, says in made:
        refused(packed(archive), tmp_path, CorruptIndex, says)


def refused(content: bytes, tmp_path: Path, kind: type[LsrError], says: str = ".") -> None:
    """The file is refused in one line that names it, and nothing is left of it anywhere."""
    (tmp_path / "work").mkdir(exist_ok=True)
    file = tmp_path / "work" / "hostile.tar.zst"
    file.write_bytes(content)
    with pytest.raises(kind, match=says) as caught:
        Index.from_snapshot(file, tmp_path / "work" / "my.idx")
    message = str(caught.value)
    assert message.startswith(str(file))
    assert "\n" not in message
    assert "building" not in message  # the name of the folder that is gone
    assert names(tmp_path / "work") == ["hostile.tar.zst"]
    assert names(tmp_path) == ["work"]


def test_an_archive_ends_where_its_last_file_does(small: Path, members: list[Member], tmp_path: Path) -> None:
    sound = small.read_bytes()
    for end, says in [
        (b"", "ends too early"),
        (END[:-1], "ends too early"),
        (END + b"\0", "goes on after its end"),
        (END + bytes(9 * 1024), "goes on after its end"),
        (END[:-1] + b"x", "something between or after"),
    ]:
        refused(packed(members, end), tmp_path, CorruptIndex, says)
    skippable = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"free"
    for after in (b"x", sound, compressed(b"x"), compressed(b""), skippable, b"\0" * 8):
        refused(sound + after, tmp_path, CorruptIndex, "goes on after its end")
    refused(skippable + sound, tmp_path, CorruptIndex, "not compressed by zstd")
    unsound = packed([*members[:4], replace(members[4], data=members[4].data + b"x" * 9), *members[5:]])
    refused(unsound, tmp_path, CorruptIndex)  # something in the padding


def test_a_manifest_in_an_archive_is_as_suspect_as_one_in_a_folder(members: list[Member], tmp_path: Path) -> None:
    def manifest(change: Callable[[dict[str, Any]], None]) -> bytes:
        return packed(with_manifest(members, change))

    def first_file(body: dict[str, Any], **values: Any) -> None:
        body["segments"][0]["files"][0].update(values)

    newer = manifest(lambda body: body.update(format_version=[9, 1], oldest_reader=[9, 0], lsr_version="8.0"))
    refused(newer, tmp_path, UnsupportedVersion, r"hostile\.tar\.zst: written in index format 9\.1 by lsr 8\.0")
    older = manifest(lambda body: body.update(format_version=[3, 0], oldest_reader=[3, 0]))
    refused(older, tmp_path, UnsupportedVersion, r"index format 3\.0 .*build it again")
    for name in ("LOCK", "LOCK/x", "manifest-000009.json", "manifest-000000.json", "segment-0001"):
        renamed = with_manifest(members, lambda body, name=name: first_file(body, name=name))  # type: ignore[misc]
        renamed[1] = renamed[1].with_header(name=name)
        refused(packed(renamed), tmp_path, CorruptIndex, f"name .*{name}")
    again = members[2].name
    refused(
        manifest(lambda body: first_file(body, name=again)), tmp_path, CorruptIndex, f"may not name {again}, or not"
    )
    refused(manifest(lambda body: first_file(body, name="../x")), tmp_path, CorruptIndex, "file name '../x'")
    refused(manifest(lambda body: body.update(generation=4)), tmp_path, CorruptIndex, "generation 4")
    refused(
        manifest(lambda body: first_file(body, dtype="|O")),
        tmp_path,
        CorruptIndex,
        rf"zst: {members[1].name}: type '\|O'",
    )
    refused(
        manifest(lambda body: body.update(dim=3)), tmp_path, CorruptIndex, "zst: segment-0001/postings_terms: terms do"
    )
    spoiled = replace(members[0], data=members[0].data.replace(b'"dim": 120', b'"dim": 121'))
    refused(packed([spoiled, *members[1:]]), tmp_path, CorruptIndex, r"manifest-000003\.json: its checksum")


def test_a_bomb_is_refused_before_it_takes_memory_or_space(members: list[Member], tmp_path: Path) -> None:
    size = 40 << 30

    def claim(body: dict[str, Any]) -> None:
        body["segments"][0]["files"][0].update(bytes=size, shape=[size // 8])

    agreeing = with_manifest(members, claim)
    start = agreeing[0].bytes() + member_header(agreeing[1].name, size)
    manifest = with_fields(members[0].header, size=60 << 20)
    steps: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "hook", lambda step, path, detail: steps.append(step))
        tracemalloc.start()
        refused(frame_of_zeros(start, 4 << 30), tmp_path, StorageError, "one byte of it becomes more than 200")
        # Not even the manifest is what it says: it is the zeros.
        refused(frame_of_zeros(manifest, 1 << 30)[:3000], tmp_path, StorageError, "becomes more than 200")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert steps == []
    assert peak < 40 << 20


def test_a_window_larger_than_a_snapshot_needs_is_not_given(members: list[Member], tmp_path: Path) -> None:
    raw = zstandard.ZstdDecompressor().decompress(packed(members))
    parameters = zstandard.ZstdCompressionParameters(window_log=27, compression_level=3)
    wide = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    refused(wide.compress(raw) + wide.flush(), tmp_path, StorageError, "a window of 134,217,728 bytes")
    narrow = zstandard.ZstdCompressor(level=19, write_checksum=True).compressobj()  # whoever compresses it again
    (tmp_path / "again.tar.zst").write_bytes(narrow.compress(raw) + narrow.flush())
    assert len(Index.from_snapshot(tmp_path / "again.tar.zst", tmp_path / "again.idx")) == 69


def test_an_index_that_compresses_too_well_says_so_when_it_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Four thousand times the same document: its snapshot is a bomb, in all but intent."""
    rows, terms = 4_000, 1_000
    vectors = SparseVectors(
        indptr=[i * terms for i in range(rows + 1)],
        indices=list(range(terms)) * rows,
        values=[1.0] * (rows * terms),
        dim=terms,
    )
    index = Index.build(vectors, tmp_path / "my.idx")
    file = tmp_path / "my.tar.zst"
    index.save_snapshot(file)
    assert "becomes more than 200" in caplog.text
    with pytest.raises(StorageError, match=r"limits=Limits\(archive_ratio"):
        Index.from_snapshot(file, tmp_path / "again.idx")
    assert len(Index.from_snapshot(file, tmp_path / "again.idx", limits=Limits(archive_ratio=2_000))) == rows


# -- damage ------------------------------------------------------------------------------------------------------------


def cut_off(content: bytes, points: range, tmp_path: Path) -> None:
    for point in points:
        refused(content[:point], tmp_path, CorruptIndex)


def flipped(content: bytes, points: range, tmp_path: Path) -> int:
    """Refused; or, where zstd has two ways to say the same, the same index. Returns how often the latter."""
    whole = {member.name: member.data for member in unpacked(content)}
    same = 0
    for point in points:
        damaged = bytearray(content)
        damaged[point // 8] ^= 1 << point % 8
        if zstandard_reads(bytes(damaged)):
            (tmp_path / "same.tar.zst").write_bytes(damaged)
            index = Index.from_snapshot(tmp_path / "same.tar.zst", tmp_path / "same.idx")
            assert files(index.path) == whole
            shutil.rmtree(index.path)
            (tmp_path / "same.tar.zst").unlink()
            same += 1
        else:
            refused(bytes(damaged), tmp_path, LsrError)
    return same


def zstandard_reads(content: bytes) -> bool:
    """Whether it decompresses to what its checksum says, and ends there. The bit that a reader may ignore is to be 0."""
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    with suppress(zstandard.ZstdError):
        decompressor.decompress(content)
        return bool(decompressor.eof and not decompressor.unused_data and not content[4] & 0x10)
    return False


def test_a_file_that_is_cut_off_is_refused_wherever_it_is_cut(small: Path, tmp_path: Path) -> None:
    content = small.read_bytes()
    cut_off(content, range(0, len(content), len(content) // 60), tmp_path)
    cut_off(content, range(len(content) - 9, len(content)), tmp_path)


def test_a_file_that_is_cut_off_between_two_blocks_is_refused(tmp_path: Path) -> None:
    index = Index.build(random_vectors(2_000, 120, 30, seed=1), tmp_path / "my.idx")
    index.save_snapshot(tmp_path / "my.tar.zst")
    content = (tmp_path / "my.tar.zst").read_bytes()
    assert len(Index.from_snapshot(tmp_path / "my.tar.zst", tmp_path / "again.idx")) == 2_000
    for path in (index.path, tmp_path / "again.idx"):
        shutil.rmtree(path)
    (tmp_path / "my.tar.zst").unlink()
    edges = block_edges(content)
    assert len(edges) > 3
    for edge in edges:
        cut_off(content, range(edge, min(edge + 4, len(content))), tmp_path)


def test_a_bit_that_flipped_is_noticed_wherever_it_is(small: Path, tmp_path: Path) -> None:
    content = small.read_bytes()
    points = range(18 * 8, 8 * len(content), 8 * len(content) // 120 | 1)
    assert flipped(content, range(18 * 8), tmp_path) + flipped(content, points, tmp_path) < 20


@pytest.mark.slow
def test_all_cuts_and_many_flips(small: Path, tmp_path: Path) -> None:
    content = small.read_bytes()
    cut_off(content, range(len(content)), tmp_path)
    assert flipped(content, range(0, 8 * len(content), 7), tmp_path) < 100
