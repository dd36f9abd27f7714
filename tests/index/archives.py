"""Taking snapshots apart and putting them together again, in every wrong way."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import xxhash
import zstandard

from lsr import Index, SparseVectors
from lsr.index import policy
from tests.conftest import random_vectors

UNIT = 512
END = bytes(2 * UNIT)
RLE_BLOCK = 128 << 10


@contextmanager
def small_segments() -> Iterator[None]:
    """Additions take up the segments before them only where those are no larger, so that small indexes have several."""
    with mock.patch.object(policy, "SMALL", 0):
        yield


def named(vectors: SparseVectors, first: int = 0) -> SparseVectors:
    ids = [f"id{i}" for i in range(first, first + len(vectors))]
    return SparseVectors(
        indptr=vectors.indptr, indices=vectors.indices, values=vectors.values, dim=vectors.dim, ids=ids
    )


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def small_snapshot(folder: Path) -> Path:
    """A snapshot of two segments, of which a document is deleted; its index is beside it."""
    index = Index.build(named(random_vectors(60, 120, 6, seed=1)), folder / "my.idx")
    with small_segments():
        index.add(named(random_vectors(10, 120, 6, seed=2), 60))
    index.delete("id7")
    assert len(index.manifest.segments) == 2
    index.save_snapshot(folder / "my.tar.zst")
    return folder / "my.tar.zst"


@dataclass(frozen=True)
class Member:
    """A header, and what follows it."""

    header: bytes
    data: bytes

    @property
    def name(self) -> str:
        return self.header[:100].rstrip(b"\0").decode()

    def bytes(self) -> bytes:
        return self.header + self.data + bytes(-len(self.data) % UNIT)

    def with_header(self, **fields: Any) -> Member:
        return replace(self, header=with_fields(self.header, **fields))


def with_fields(header: bytes, **fields: Any) -> bytes:
    """A header with some fields changed, and its checksum made right: name, size, type, link."""
    at = {"name": (0, 100), "type": (156, 1), "link": (157, 100), "size": (124, 12)}
    block = bytearray(header)
    for field, value in fields.items():
        start, length = at[field]
        raw = b"%011o" % value if field == "size" else value.encode()
        block[start : start + length] = raw.ljust(length, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def unpacked(snapshot: bytes) -> list[Member]:
    """The members of a snapshot, read by zstandard and by hand."""
    raw = zstandard.ZstdDecompressor().decompress(snapshot)
    members, at = [], 0
    while raw[at : at + UNIT] != bytes(UNIT):
        header = raw[at : at + UNIT]
        size = tarfile.TarInfo.frombuf(header, "ascii", "strict").size
        members.append(Member(header, raw[at + UNIT : at + UNIT + size]))
        at += UNIT + size + -size % UNIT
    assert raw[at:] == END
    return members


def packed(members: list[Member], end: bytes = END) -> bytes:
    return compressed(b"".join(member.bytes() for member in members) + end)


def compressed(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(raw)


def with_manifest(members: list[Member], change: Callable[[dict[str, Any]], None]) -> list[Member]:
    """The same with another manifest, whose checksum is right."""
    body = json.loads(members[0].data)
    del body["checksum"]
    change(body)
    plain = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    body["checksum"] = xxhash.xxh3_128_hexdigest(plain)
    data = json.dumps(body).encode()
    return [replace(members[0].with_header(size=len(data)), data=data), *members[1:]]


def block_edges(frame: bytes) -> list[int]:
    """Where the blocks of a frame begin, and where the last one ends."""
    edges = [zstandard.frame_header_size(frame)]
    while True:
        header = int.from_bytes(frame[edges[-1] : edges[-1] + 3], "little")
        edges.append(edges[-1] + 3 + (1 if header >> 1 & 3 == 1 else header >> 3))
        if header & 1:
            return edges


def frame_of_zeros(start: bytes, zeros: int) -> bytes:
    """A frame of `start` and then many zeros, of which 128 KiB cost four bytes."""
    header = b"\x28\xb5\x2f\xfd" + bytes([0x00, 7 << 3])  # no checksum, no size; a window of 128 KiB
    blocks = [(len(start) << 3).to_bytes(3, "little") + start]
    count = zeros // RLE_BLOCK
    blocks += [(RLE_BLOCK << 3 | 1 << 1).to_bytes(3, "little") + b"\0"] * count
    return header + b"".join(blocks) + (1).to_bytes(3, "little")
