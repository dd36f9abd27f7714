"""A snapshot: one generation of an index as one file, FILE.tar.zst, and back to an index.

A tar archive in one zstd frame: the manifest as it is, then the files that it names, in its order, and nothing else. So it
is as trustworthy as a folder: the manifest has a checksum of its own, and one of every file, which are compared when the
snapshot is written and again when it is read. Where the index has token vectors, their manifest and files follow in the same
way, below their folder, and then those of its graph: the newest generation there is, which tells by itself of which texts of
the index it is.

There is one form of each member: a plain file, mode 0644, owner 0, time 0. The same generation gives the same bytes, from
the same version of zstd. A reader knows every header beforehand from the manifest, and compares it as bytes. Nothing in an
archive is interpreted, so there is no link, path, extended header or sparse file that could lead it astray. Any tar reads
it, too.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import struct
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import zstandard

from lsr import disk
from lsr.corpus.streams import RATIO_FROM, shown
from lsr.errors import CorruptIndex, IndexNotFound, LsrError, OutputExists, StorageError, UnsupportedVersion
from lsr.index.storage.arrays import AppendFile, verified
from lsr.index.storage.folder import check_output, new_folder
from lsr.index.storage.frame import Frame, too_much
from lsr.index.storage.generations import MANIFEST_LIMIT, generation_of, manifest_bytes, manifest_name, manifests
from lsr.index.storage.graph_files import GRAPH, GraphFiles
from lsr.index.storage.locks import Pin, open_newest
from lsr.index.storage.manifest import FileEntry, Manifest
from lsr.index.storage.token_files import TOKENS, TokenFiles
from lsr.limits import Limits

if TYPE_CHECKING:
    from lsr.index.segment_writer import Progress

__all__ = ["SUFFIX", "member_header", "read_snapshot", "write_snapshot"]

logger = logging.getLogger(__name__)

SUFFIX = ".tar.zst"
_LEVEL = 3
_BESIDE: dict[str, type[TokenFiles]] = {TOKENS: TokenFiles, GRAPH: GraphFiles}  # folders in that of the index, in order
_UNIT = 512
_END = bytes(2 * _UNIT)
_BEYOND = "there is something between or after its files"
_OCTAL = re.compile(rb"[0-7]{11}\0")


# -- writing -----------------------------------------------------------------------------------------------------------


def write_snapshot(folder: Path, manifest: Manifest, path: Path, overwrite: bool, progress: Progress) -> None:
    """Writes a generation, whose files the caller keeps from being collected. The file appears whole or not at all.

    Raises `OutputExists`, `CorruptIndex` naming the file of the index that is damaged, `StorageError` when the disk does not
    take it or the index was replaced meanwhile.
    """
    if path.is_dir():
        raise OutputExists(f"{path}: a folder; give the name of a file")
    if path.exists() and not overwrite:
        raise OutputExists(f"{path}: a file is there already; --overwrite (overwrite=True) replaces it")
    source = folder / manifest_name(manifest.generation)
    first = manifest_bytes(source)
    if Manifest.decode(source, first) != manifest:
        raise StorageError(f"{folder}: another index is there since it was opened; open it again")
    parts = [_Part("", source.name, first, manifest.files())]
    pins: list[Pin | None] = []
    for name, kind in _BESIDE.items():
        if (folder / name).is_dir() and manifests(folder / name):
            held, pin = open_newest(folder / name, kind)
            pins.append(pin)  # held to the end: its files are not collected meanwhile
            parts.append(_Part(f"{name}/", manifest_name(held.generation), held.data, held.files))
    total, done, packed = _total(parts), 0, 0
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj(size=total)
    with disk.atomic_write(path) as file:

        def add(data: bytes) -> None:
            nonlocal done
            done += len(data)
            put(compressor.compress(data))
            progress("packing, MB", done >> 20, total >> 20)

        def put(data: bytes) -> None:
            nonlocal packed
            if data:
                disk.write(file, path, data)
                packed += len(data)

        for part in parts:
            size = len(part.manifest)
            add(member_header(part.below + part.name, size) + part.manifest + _padding(size))
            for entry in part.files:
                add(member_header(part.below + entry.name, entry.bytes))
                for piece in verified(folder / part.below, entry):
                    add(piece)
                add(_padding(entry.bytes))
        add(_END)
        put(compressor.flush())
    del pins
    ratio = Limits.default().archive_ratio
    if total > max(RATIO_FROM, ratio * packed):
        logger.warning("%s", too_much(str(path), ratio))


# -- reading -----------------------------------------------------------------------------------------------------------


def read_snapshot(
    file: Path, path: Path, overwrite: bool, limits: Limits, check: Callable[[Path], object], progress: Progress
) -> None:
    """Makes an index folder of a snapshot, or nothing. Memory is bounded, whatever the file says.

    check: opens a folder, and raises where its structure is not sound; called before the folder takes its place.

    Raises `OutputExists` before anything is read, `IndexNotFound` when there is no such file, `UnsupportedVersion` for an
    index in a format that this lsr does not read, `CorruptIndex` for a damaged or hostile file, `StorageError` for one that
    becomes too large, and when the disk does not take the index.
    """
    check_output(path, overwrite)
    name = shown(file)
    with _opened(file) as (raw, size):
        frame = Frame(raw, name, size, limits.archive_ratio)
        first, data = _manifest(frame, name)
        manifest = Manifest.decode(file / first, data)
        total = done = 0

        def begun(parts: Sequence[_Part]) -> None:
            """Refuses the last part where it is too large, or names a file twice."""
            nonlocal total
            _check_names(frame, parts[-1].files)
            total = _total(parts)
            if total > max(RATIO_FROM, limits.archive_ratio * size):
                raise too_much(name, limits.archive_ratio)

        def extract(folder: Path, entry_name: str, pieces: Iterator[bytes]) -> str:
            nonlocal done
            with closing(AppendFile(folder, entry_name)) as out:
                for piece in pieces:
                    out.append(piece)
                    done += len(piece)
                    progress("unpacking, MB", done >> 20, total >> 20)
                return out.finish().xxh3_128

        def extract_part(folder: Path, part: _Part) -> None:
            extract(folder, part.below + part.name, iter([part.manifest]))
            for entry in part.files:
                member = part.below + entry.name
                found = frame.read(_UNIT)
                if found != member_header(member, entry.bytes):
                    raise frame.damaged(f"{_described(found)} where {member} of {entry.bytes:,} bytes belongs")
                if extract(folder, member, frame.pieces(entry.bytes)) != entry.xxh3_128:
                    raise frame.damaged(f"{member} is not what its checksum says")
                _skip(frame, _padding(entry.bytes))

        parts = [_Part("", first, data, manifest.files())]
        begun(parts)
        with new_folder(path, overwrite) as place:
            extract_part(place.target, parts[0])
            found = frame.read(_UNIT)
            for beside, form in _BESIDE.items():
                if not found.startswith(f"{beside}/".encode()):
                    continue
                parts.append(_beside(frame, found, name, beside, form))
                begun(parts)
                disk.make_folder(place.target / beside)
                extract_part(place.target, parts[-1])
                found = frame.read(_UNIT)
            if any(found):
                raise frame.damaged(_BEYOND)
            _skip(frame, _END[_UNIT:])
            frame.end()
            try:
                check(place.target)
            except LsrError as error:
                message = str(error).replace(f"{place.target}{os.sep}", "").replace(str(place.target), "its index")
                kind = type(error) if isinstance(error, CorruptIndex | UnsupportedVersion) else StorageError
                raise kind(f"{name}: {message}") from None


@contextmanager
def _opened(file: Path) -> Iterator[tuple[BinaryIO, int]]:
    """The file and its size."""
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise IndexNotFound(f"{shown(file)}: no such file; `lsr export INDEX -o FILE{SUFFIX}` writes one") from None
    except (OSError, ValueError) as error:
        raise StorageError(f"{shown(file)}: cannot be opened ({getattr(error, 'strerror', None) or error})") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise StorageError(f"{shown(file)}: not a regular file, and a snapshot is one")
    with os.fdopen(descriptor, "rb") as raw:
        yield raw, status.st_size


def _manifest(frame: Frame, name: str) -> tuple[str, bytes]:
    """The name and the bytes of the first member."""
    found = frame.read(_UNIT)
    first, data = _manifest_of(frame, found, "")
    if data is None:
        raise CorruptIndex(
            f"{name}: begins with {_described(found)}, not with the manifest of an index, so it is no snapshot;"
            f" `lsr export INDEX -o FILE{SUFFIX}` writes one"
        )
    return first, data


def _beside(frame: Frame, found: bytes, name: str, folder: str, kind: type[TokenFiles]) -> _Part:
    """What the archive says of token vectors or a graph, from the header of their manifest on."""
    below = f"{folder}/"
    first, data = _manifest_of(frame, found, below)
    if data is None:
        raise frame.damaged(_BEYOND)
    return _Part(below, first, data, kind.decode(Path(name) / below / first, data).files)


def _manifest_of(frame: Frame, found: bytes, below: str) -> tuple[str, bytes | None]:
    """The name and the bytes of a manifest in a folder, whose header was read; None where that is the header of none."""
    member = found[:100].rstrip(b"\0").decode("ascii", "replace")
    first = member.removeprefix(below)
    size = int(found[124:135], 8) if _OCTAL.fullmatch(found[124:136]) else -1
    fits = generation_of(Path(first)) and "/" not in first and 0 <= size <= MANIFEST_LIMIT
    if not fits or found != member_header(below + first, size):
        return first, None
    data = frame.read(size)
    _skip(frame, _padding(size))
    return first, data


def _check_names(frame: Frame, entries: Sequence[FileEntry]) -> None:
    """A manifest names every file once."""
    names = [entry.name for entry in entries]
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    seen: set[str] = set()
    for name in names:
        if name in seen or name in folders:
            raise frame.damaged(f"its manifest may not name {name}, or not twice")
        seen.add(name)


def _skip(frame: Frame, expected: bytes) -> None:
    if frame.read(len(expected)) != expected:
        raise frame.damaged(_BEYOND)


# -- the form of an archive --------------------------------------------------------------------------------------------


def member_header(name: str, size: int) -> bytes:
    """The header of a plain file (POSIX ustar; a size of 8 GiB or more as GNU tar writes it)."""
    folder, _, last = name.rpartition("/") if len(name) > 100 else ("", "", name)
    length = b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    fields: tuple[Any, ...] = (
        last.encode(),
        b"0000644\0",
        b"0000000\0",  # owner
        b"0000000\0",  # group
        length,
        b"00000000000\0",  # time
        b" " * 8,  # checksum, counted as spaces
        b"0",  # a plain file
        b"",
        b"ustar\0",
        b"00",
        b"",
        b"",
        b"0000000\0",
        b"0000000\0",
        folder.encode(),
    )
    block = struct.pack("100s8s8s8s12s12s8s1s100s6s2s32s32s8s8s155s12x", *fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _padding(size: int) -> bytes:
    return bytes(-size % _UNIT)


class _Part(NamedTuple):
    """A folder of generations in an archive: where it is below that of the index, the name and the bytes of its manifest, and
    the files that this names."""

    below: str
    name: str
    manifest: bytes
    files: Sequence[FileEntry]


def _total(parts: Sequence[_Part]) -> int:
    """The size of the archive before it is compressed."""
    sizes = [size for part in parts for size in (len(part.manifest), *(entry.bytes for entry in part.files))]
    return sum(_UNIT + size + -size % _UNIT for size in sizes) + len(_END)


def _described(header: bytes) -> str:
    """What is there in place of what belongs there, for a person."""
    if not any(header):
        return "the end of the archive"
    try:
        found = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return "no header of tar"
    kind = "" if found.type == tarfile.REGTYPE else f" (of type {found.type!r}, no plain file)"
    return f"{shown(found.name[:100])!r}{kind} of {found.size:,} bytes"
