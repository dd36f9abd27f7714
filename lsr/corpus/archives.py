"""The corpus or the queries inside a BEIR zip, read in place."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lsr.corpus.streams import DAMAGED, RATIO_FROM, Opened, Source, reason, shown
from lsr.errors import CorpusError
from lsr.limits import Limits, raising

__all__ = ["zip_source"]

# What zipfile raises on damaged, encrypted and exotic archives.
FAILURES = (*DAMAGED, zipfile.BadZipFile, RuntimeError, LookupError, TypeError, struct.error)


def zip_source(path: Path, member: str, limits: Limits) -> Source:
    """The lines of `member` at the root of a zip, or one folder down. Nothing is unpacked to the disk.

    Raises `CorpusError` for a damaged archive, none or several such members, and one that grows by more than
    `limits.archive_ratio`.
    """
    name = shown(path)
    try:
        with zipfile.ZipFile(path) as archive:
            info = _member(archive, member, name)
    except FAILURES as error:
        raise CorpusError(f"{name}: not a zip file that can be read ({reason(error)}); download it again") from None
    if info.file_size > RATIO_FROM and info.file_size > limits.archive_ratio * max(info.compress_size, 1):
        raise CorpusError(
            f"{name}: {shown(info.filename)} would grow to {info.file_size:,} bytes, more than {limits.archive_ratio} times "
            f"its size; if that is right, unpack it first, or raise {raising('archive_ratio')}"
        )

    @contextmanager
    def opened() -> Iterator[Opened]:
        try:
            with zipfile.ZipFile(path) as archive, archive.open(info) as file:
                # Lines of ZipExtFile are slow: a buffer in front of it finds them at the speed of a plain file.
                yield io.BufferedReader(_Raw(file), 1 << 16), lambda: info.compress_size
        except FAILURES as error:
            raise CorpusError(f"{name}: {shown(info.filename)} cannot be read ({reason(error)})") from None

    return Source(f"{name}/{shown(info.filename)}", opened, limits)


class _Raw(io.RawIOBase):
    """A member of an archive as a raw stream, with every failure as an OSError."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._file.read(len(buffer))
        except FAILURES as error:
            raise OSError(reason(error)) from None
        buffer[: len(data)] = data
        return len(data)


def _member(archive: zipfile.ZipFile, member: str, name: str) -> zipfile.ZipInfo:
    infos = [info for info in archive.infolist() if info.filename.split("/")[-1] == member]
    root = [info for info in infos if info.filename == member]
    below = [info for info in infos if info.filename.count("/") == 1 and not info.filename.startswith("__MACOSX/")]
    found = root or below
    if not found:
        raise CorpusError(f"{name}: no {member} at the root of the archive or one folder down; is it a BEIR zip?")
    if len(found) > 1:
        listed = ", ".join(shown(info.filename) for info in found[:4])
        raise CorpusError(f"{name}: several {member} ({listed}); unpack it and give the folder of one")
    return found[0]
