"""Bytes to lines of text: opening, decompressing, decoding, with every failure named by file and line."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, Protocol

from lsr.errors import CorpusError, one_line
from lsr.limits import Limits, raising

__all__ = ["COMPRESSED", "ByteReader", "Source", "file_source", "shown", "stream_source"]

COMPRESSED = {".gz": "gzip", ".xz": "xz", ".bz2": "bzip2"}
MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2", b"PK\x03\x04": "zip", b"PAR1": "parquet"}
CHUNK = 1 << 18
# A ratio says little about small files: "a" ten million times compresses 1000:1 and harms nobody.
RATIO_FROM = 10_000_000

# What the decompressors of the standard library raise on damaged data.
DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError, MemoryError)


class ByteReader(Protocol):
    """The part of a binary file that the readers need."""

    def read(self, size: int = -1, /) -> bytes: ...

    def readline(self, size: int = -1, /) -> bytes: ...


# An open file, and how many compressed bytes were taken from it so far (None: it is not compressed).
Opened = tuple[ByteReader, Callable[[], int] | None]


class Source:
    """A named stream of bytes that can be read as lines or as chunks of text, from the start.

    A source made from a path can be read again; one made from an open stream only once.
    """

    def __init__(self, name: str, opened: Callable[[], AbstractContextManager[Opened]], limits: Limits) -> None:
        self.name, self.limits = name, limits
        self._opened = opened

    def lines(self, *, ends: bool = False) -> Iterator[tuple[int, str]]:
        """(number from 1, line) for each line, without its end (LF or CRLF) unless `ends`; a byte order mark is dropped.

        Raises `CorpusError` for a file that cannot be opened, damaged compression, invalid UTF-8 and a line that is too
        long, naming the line.
        """
        limit, total, number = self.limits.line, 0, 0
        with self._open() as (file, packed):
            while True:
                number += 1
                try:
                    raw = file.readline(limit + 3)
                except DAMAGED as error:
                    raise self._damaged(error, number) from None
                if not raw:
                    return
                total += len(raw)
                line = raw.removesuffix(b"\n").removesuffix(b"\r")
                if len(line) > limit:
                    raise CorpusError(
                        f"{self.name}:{number}: the line is longer than {limit:,} bytes; "
                        f"is it one record a line? {raising('line')} raises the limit"
                    )
                if packed is not None:
                    self._check_ratio(total, packed(), number)
                if ends:
                    line = raw
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                try:
                    text = line.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise self._not_text(line, error, number) from None
                yield number, text

    def chunks(self) -> Iterator[str]:
        """The text in pieces of about 256 KiB, line ends as they are. Raises as `lines` does."""
        decoder, total, number = codecs.getincrementaldecoder("utf-8-sig")(), 0, 1
        with self._open() as (file, packed):
            while True:
                try:
                    raw = file.read(CHUNK)
                except DAMAGED as error:
                    raise self._damaged(error, number) from None
                total += len(raw)
                if packed is not None:
                    self._check_ratio(total, packed(), number)
                try:
                    text = decoder.decode(raw, final=not raw)
                except UnicodeDecodeError as error:
                    number += error.object.count(b"\n", 0, error.start)
                    raise self._not_text(error.object, error, number) from None
                number += text.count("\n")
                if text:
                    yield text
                if not raw:
                    return

    @contextmanager
    def _open(self) -> Iterator[Opened]:
        try:
            manager = self._opened()
            opened = manager.__enter__()
        except DAMAGED as error:
            raise CorpusError(f"{self.name}: cannot be opened ({reason(error)})") from None
        try:
            yield opened
        finally:
            manager.__exit__(None, None, None)

    def _damaged(self, error: BaseException, number: int) -> CorpusError:
        remedy = "is the file complete? Copy or compress it again"
        return CorpusError(f"{self.name}:{number}: cannot be read from here on ({reason(error)}); {remedy}")

    def _check_ratio(self, total: int, packed: int, number: int) -> None:
        ratio = self.limits.archive_ratio
        if total > RATIO_FROM and total > ratio * max(packed, 1):
            raise CorpusError(
                f"{self.name}:{number}: one compressed byte has become more than {ratio} bytes; "
                f"if that is right, unpack the file first, or raise {raising('archive_ratio')}"
            )

    def _not_text(self, data: bytes, error: UnicodeDecodeError, number: int) -> CorpusError:
        where = f"{self.name}:{number}"
        if number == 1:
            for magic, kind in MAGIC.items():
                if data.startswith(magic):
                    return CorpusError(
                        f"{where}: these are {kind} data, not text; give the file the ending of its kind"
                    )
            if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return CorpusError(f"{where}: the text is UTF-16; save it as UTF-8")
        column = error.start - data.rfind(b"\n", 0, error.start)
        byte = data[error.start]
        return CorpusError(f"{where}: byte {column} (0x{byte:02x}) is not valid UTF-8; save the file as UTF-8")


def file_source(path: Path, limits: Limits) -> Source:
    """The lines of a file, decompressed by its ending (.gz, .xz, .bz2)."""

    @contextmanager
    def opened() -> Iterator[Opened]:
        with path.open("rb") as raw:
            unpack = _unpacker(path.suffix.lower(), raw)
            if unpack is None:
                yield raw, None
            else:
                with unpack:
                    yield unpack, raw.tell

    return Source(shown(path), opened, limits)


def stream_source(file: ByteReader, name: str, limits: Limits) -> Source:
    """The lines of a binary stream that is open already, and stays open."""
    return Source(name, lambda: nullcontext((file, None)), limits)


def _unpacker(suffix: str, raw: BinaryIO) -> io.BufferedIOBase | None:
    if suffix == ".gz":
        return gzip.GzipFile(fileobj=raw, mode="rb")
    if suffix == ".xz":
        return lzma.LZMAFile(raw)
    if suffix == ".bz2":
        return bz2.BZ2File(raw)
    return None


def shown(path: Path | str) -> str:
    """A path as it can be printed in one line: bytes that are not UTF-8 and control characters are escaped."""
    text = str(path)
    return text if text.isprintable() else text.encode("unicode_escape", "backslashreplace").decode("ascii")


def reason(error: BaseException) -> str:
    """The message of an error of another library in one line, without the path that OSError repeats."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return shown(one_line(error))[:200]
