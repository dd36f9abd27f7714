"""The manifest: one JSON file that says what an index folder holds."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from lsr.disk import exists
from lsr.errors import CorruptIndex, IndexNotFound, LsrError, UnsupportedVersion
from lsr.index.storage.regular import open_regular, unopened
from lsr.limits import MAX_DIM

__all__ = [
    "FORMAT_VERSION",
    "EncoderEntry",
    "FileEntry",
    "Manifest",
    "SegmentEntry",
    "file_entries",
    "generation_of",
    "is_as_written",
    "is_index",
    "manifest_bytes",
    "manifest_name",
    "manifests",
    "newest",
]

MAGIC = "lsr-index"
FORMAT_VERSION = (4, 0)  # major: who reads it must know it; minor: additions that older readers may ignore
OLDEST_READ = (4, 0)  # the oldest version that this code reads
MANIFEST_LIMIT = 64 << 20  # bytes; a larger one is not ours
MAX_GENERATION = 10**12 - 2  # the next one still has a name of that form
_NAME = re.compile(r"manifest-(\d{6,12})\.json")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99})?")
_TAKEN = re.compile(
    r"(LOCK|manifest-.*|tmp-.*|unfinished-.*)", re.IGNORECASE
)  # what is written to is no file of a generation
_SHOWN = 200  # characters of something strange in a message


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file: path inside the folder, size in bytes, numpy type ("" for a file that is no array), shape, checksum."""

    name: str
    bytes: int
    dtype: str
    shape: tuple[int, ...]
    xxh3_128: str


@dataclass(frozen=True, slots=True)
class EncoderEntry:
    """The encoder that made the documents, and the files of its query side.

    `source` is what `load_encoder` finds it by. `reading` says what was read of the documents (`lsr.index.reading`); None for
    vectors that were made elsewhere. `policy` is how it encodes queries (see `QueryEncoder`; of an encoder whose queries go
    through its network, which is loaded when a text is searched, only top_k).
    """

    name: str
    source: str
    hash: str
    vocabulary_hash: str
    reading: dict[str, Any] | None
    term_weights: str  # where they come from, in words
    policy: dict[str, Any]
    files: tuple[FileEntry, ...]


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """One write-once group of documents. A stored weight is `code * scale`.

    `block_size` is that of the blocked engine, 0 for a segment without its arrays, whose documents are stored in row order;
    `curves` say what recall costs in a segment with them (`blocked.curves`).
    `documents` and `nnz` count what is stored; `deletions` is the file with a bit for each document that was deleted since,
    `deleted` how many there are.
    """

    name: str
    documents: int
    nnz: int
    scale: float
    block_size: int
    files: tuple[FileEntry, ...]
    curves: tuple[dict[str, Any], ...] = ()
    deleted: int = 0
    deletions: FileEntry | None = None

    @property
    def live(self) -> int:
        """How many of the documents were not deleted."""
        return self.documents - self.deleted


@dataclass(frozen=True, slots=True)
class Manifest:
    """One generation of an index: everything that a reader needs to know of it.

    `format_version` is the version that the index was written in, which may be newer than this code's own.
    `scale` is the step of the weights that new segments are written with; `building` is how they are built (engine,
    block_size and postings_energy as `Index.build` was told, and whether term weights were adapted to the documents).
    `numbered` is the number that the next document without an id gets as its id: so many documents were ever added.
    `vocabulary` are the files with the text of each term, of vectors that came with words and without an encoder.
    """

    generation: int
    created: str
    lsr_version: str
    dim: int
    engine: str
    encoder: EncoderEntry | None
    segments: tuple[SegmentEntry, ...]
    texts: bool
    scale: float
    building: dict[str, Any]
    numbered: int
    vocabulary: tuple[FileEntry, ...] = ()
    source: dict[str, Any] = field(default_factory=dict)
    format_version: tuple[int, int] = FORMAT_VERSION

    def files(self) -> list[FileEntry]:
        """Every file the manifest names."""
        encoder = self.encoder.files if self.encoder else ()
        deletions = [segment.deletions for segment in self.segments if segment.deletions is not None]
        segments = [file for segment in self.segments for file in segment.files]
        return [*encoder, *self.vocabulary, *segments, *deletions]

    @property
    def documents(self) -> int:
        """How many documents there are, those that were deleted left out."""
        return sum(segment.live for segment in self.segments)

    def to_json(self) -> bytes:
        body = {"magic": MAGIC, "format_version": self.format_version, "oldest_reader": [self.format_version[0], 0]}
        body.update(asdict(self))
        body["checksum"] = _checksum(body)
        return json.dumps(body, indent=1, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The newest manifest of a folder.

        Raises `IndexNotFound` when there is none, `UnsupportedVersion` for a newer format, `CorruptIndex` when the newest
        one is damaged: an older generation is never taken silently in its place.
        """
        return cls.parse(newest(folder))

    @classmethod
    def parse(cls, path: Path) -> Manifest:
        """The manifest in a file. Raises `UnsupportedVersion` or `CorruptIndex`."""
        return cls.decode(path, manifest_bytes(path))

    @classmethod
    def decode(cls, path: Path, data: bytes) -> Manifest:
        """The manifest in the bytes of a file. Raises as `parse` does."""
        try:
            body = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise CorruptIndex(
                f"{path}: cannot be read ({error}); `lsr repair` it, build it again or restore a copy"
            ) from None
        if not isinstance(body, dict) or body.get("magic") != MAGIC:
            raise CorruptIndex(f"{path}: not a manifest of lsr; `lsr repair` it, build it again or restore a copy")
        _check_version(path, body)
        told = body.pop("checksum", None)
        try:
            matches = told == _checksum(body)
        except (UnicodeEncodeError, RecursionError):  # lsr writes neither half surrogate pairs nor anything that deep
            matches = False
        if not matches:
            raise CorruptIndex(
                f"{path}: its checksum does not match; `lsr repair` it, build it again or restore a copy"
            )
        try:
            found = _parse(body)
            if found.generation != generation_of(path) or found.generation > MAX_GENERATION:
                raise ValueError(f"generation {found.generation}")
            if broken := next((segment for segment in found.segments if segment.live < 0), None):
                raise ValueError(f"{broken.deleted} deleted of {broken.documents} documents")
            return found
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            what = repr(error)[:_SHOWN]
            raise CorruptIndex(f"{path}: {what} is wrong or missing in it; build the index again") from None


def manifest_bytes(path: Path) -> bytes:
    """What is in the file of a manifest. Raises `CorruptIndex` for one that is too large, or `StorageError`."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            data = file.read(MANIFEST_LIMIT + 1)
    except OSError as error:
        raise unopened(path, error) from None
    if len(data) > MANIFEST_LIMIT:
        raise CorruptIndex(f"{path}: larger than a manifest can be; restore it from a copy")
    return data


def manifest_name(generation: int) -> str:
    return f"manifest-{generation:06}.json"


def is_as_written(path: Path) -> bool:
    """Whether a manifest has the very bytes that lsr wrote: its checksum does not count white space, nor how numbers look."""
    data = manifest_bytes(path)
    return data == json.dumps(json.loads(data), indent=1, ensure_ascii=False).encode() + b"\n"


def is_index(folder: Path) -> bool:
    """Whether a folder holds a manifest of lsr: what `--overwrite` may replace."""
    try:
        body = json.loads(manifest_bytes(newest(folder)))
    except (LsrError, OSError, ValueError, RecursionError):
        return False
    return isinstance(body, dict) and body.get("magic") == MAGIC


def newest(folder: Path) -> Path:
    """The newest manifest of a folder. Raises `IndexNotFound` when there is none."""
    if not exists(folder):
        raise IndexNotFound(f"{folder}: no such index; `lsr index SOURCE -o {folder}` builds one")
    if not folder.is_dir():
        raise IndexNotFound(f"{folder}: a file, not an index folder; `lsr index SOURCE -o INDEX` builds one")
    found = manifests(folder)
    if not found:
        raise IndexNotFound(f"{folder}: holds no manifest, so it is no index; `lsr index SOURCE -o INDEX` builds one")
    return found[max(found)]


def manifests(folder: Path) -> dict[int, Path]:
    """The manifests of a folder by generation."""
    try:
        return {int(match[1]): path for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    except OSError as error:
        raise unopened(folder, error) from None


def generation_of(path: Path) -> int:
    """The number in the name of a manifest, 0 for another name."""
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def _checksum(body: dict[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(
        json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    )


def _check_version(path: Path, body: dict[str, Any]) -> None:
    version, oldest = body.get("format_version"), body.get("oldest_reader")
    for value in (version, oldest):
        if not (isinstance(value, list) and len(value) == 2 and all(type(part) is int for part in value)):
            raise CorruptIndex(f"{path}: no format version in it; `lsr repair` it, build it again or restore a copy")
    assert version is not None
    assert oldest is not None
    if tuple(oldest) > FORMAT_VERSION:
        raise UnsupportedVersion(
            f"{path.parent}: written in index format {version[0]}.{version[1]} by lsr {_shown(body)}; this lsr"
            f" reads up to {FORMAT_VERSION[0]}.{FORMAT_VERSION[1]}: pip install --upgrade lsr-engine"
        )
    if tuple(version) < OLDEST_READ:
        raise UnsupportedVersion(
            f"{path.parent}: written in index format {version[0]}.{version[1]} by lsr {_shown(body)}; this lsr"
            f" reads from {OLDEST_READ[0]}.{OLDEST_READ[1]} on: build it again"
        )


def _shown(body: dict[str, Any]) -> str:
    """The version that a manifest says wrote it, fit for a message, whatever it says."""
    return "".join(c if c.isprintable() else "?" for c in str(body.get("lsr_version"))[:_SHOWN])


def _parse(body: dict[str, Any]) -> Manifest:
    encoder = body["encoder"]
    return Manifest(
        generation=_count(body["generation"]),
        created=_text(body["created"]),
        lsr_version=_text(body["lsr_version"]),
        dim=_dim(body["dim"]),
        engine=_text(body["engine"]),
        encoder=None
        if encoder is None
        else EncoderEntry(
            name=_text(encoder["name"]),
            source=_text(encoder["source"]),
            hash=_text(encoder["hash"]),
            vocabulary_hash=_text(encoder["vocabulary_hash"]),
            reading=_mapping(encoder["reading"]),
            term_weights=_text(encoder["term_weights"]),
            policy=_mapping(encoder["policy"]) or {},
            files=file_entries(encoder["files"]),
        ),
        segments=tuple(
            SegmentEntry(
                name=_plain(segment["name"]),
                documents=_count(segment["documents"]),
                nnz=_count(segment["nnz"]),
                scale=_scale(segment["scale"]),
                block_size=_count(segment["block_size"]),
                files=file_entries(segment["files"]),
                curves=tuple(dict(curve) for curve in segment["curves"]),
                deleted=_count(segment["deleted"]),
                deletions=None if segment["deletions"] is None else file_entries([segment["deletions"]])[0],
            )
            for segment in body["segments"]
        ),
        texts=bool(body["texts"]),
        scale=_scale(body["scale"]),
        building=dict(body["building"]),
        numbered=_count(body["numbered"]),
        vocabulary=file_entries(body["vocabulary"]),
        source=dict(body["source"]),
        format_version=(body["format_version"][0], body["format_version"][1]),
    )


def file_entries(entries: list[dict[str, Any]]) -> tuple[FileEntry, ...]:
    """Entries from their JSON. Raises KeyError, TypeError or ValueError for what is none."""
    return tuple(
        FileEntry(
            name=_plain(entry["name"]),
            bytes=_count(entry["bytes"]),
            dtype=_text(entry["dtype"]),
            shape=tuple(_count(part) for part in entry["shape"]),
            xxh3_128=_text(entry["xxh3_128"]),
        )
        for entry in entries
    )


def _plain(name: Any) -> str:
    """A name that cannot lead out of the folder."""
    if not (isinstance(name, str) and _PLAIN.fullmatch(name)) or _TAKEN.fullmatch(name.partition("/")[0]):
        raise ValueError(f"file name {name!r}")
    return name


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text {value!r}")
    return value


def _scale(value: Any) -> float:
    """A step of weights: as a float32, in which scores are computed, finite and above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"scale {value!r}")
    if not np.finfo(np.float32).smallest_subnormal <= value <= np.finfo(np.float32).max:
        raise ValueError(f"scale {value!r}")
    return float(value)


def _dim(value: Any) -> int:
    if not 1 <= _count(value) <= MAX_DIM:
        raise ValueError(f"dim {value!r}")
    return int(value)


def _mapping(value: Any) -> dict[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise TypeError(f"settings {value!r}")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(f"count {value!r}")
    return value
