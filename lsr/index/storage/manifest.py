"""The manifest: one JSON file that says what an index folder holds."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lsr.index.storage.generations import Form, holds, manifest_bytes, newest, seal, unseal
from lsr.limits import MAX_DIM

__all__ = [
    "FORMAT_VERSION",
    "INDEX",
    "EncoderEntry",
    "FileEntry",
    "Manifest",
    "SegmentEntry",
    "checked_dim",
    "checked_scale",
    "count",
    "file_entries",
    "is_index",
    "plain",
    "text",
]

FORMAT_VERSION = (4, 1)  # major: who reads it must know it; minor: additions that older readers may ignore
OLDEST_READ = (4, 0)  # the oldest version that this code reads
INDEX = Form(
    noun="index",
    magic="lsr-index",
    version=FORMAT_VERSION,
    oldest=OLDEST_READ,
    made="`lsr index SOURCE -o FOLDER` builds one",
)
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99})?")
_TAKEN = re.compile(
    r"(LOCK|manifest-.*|tmp-.*|unfinished-.*)", re.IGNORECASE
)  # what is written to is no file of a generation


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

    def with_deletions(self, deleted: int, file: FileEntry | None) -> SegmentEntry:
        """The same segment, of which so many are deleted, as the file says: None where none is written yet."""
        return replace(self, deleted=deleted, deletions=file)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One generation of an index: everything that a reader needs to know of it.

    `format_version` is the version that the index was written in, which may be newer than this code's own.
    `scale` is the step of the weights that new segments are written with; `building` is how they are built (engine,
    block_size and postings_energy as `Index.build` was told, and whether term weights were adapted to the documents).
    `numbered` is the number that the next document without an id gets as its id: so many documents were ever added.
    `vocabulary` are the files with the text of each term, of vectors that came with words and without an encoder.
    """

    form: ClassVar[Form] = INDEX

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

    def names(self) -> list[str]:
        """The paths of `files`."""
        return [file.name for file in self.files()]

    def to_json(self) -> bytes:
        return seal(self.form, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The newest manifest of a folder.

        Raises `IndexNotFound` when there is none, `UnsupportedVersion` for a newer format, `CorruptIndex` when the newest
        one is damaged: an older generation is never taken silently in its place.
        """
        return cls.parse(newest(folder, cls.form))

    @classmethod
    def parse(cls, path: Path) -> Manifest:
        """The manifest in a file. Raises `UnsupportedVersion` or `CorruptIndex`."""
        return cls.decode(path, manifest_bytes(path))

    @classmethod
    def decode(cls, path: Path, data: bytes) -> Manifest:
        """The manifest in the bytes of a file. Raises as `parse` does."""
        return unseal(cls.form, path, data, _parse)


def is_index(folder: Path) -> bool:
    """Whether a folder holds a manifest of an index: what `--overwrite` may replace."""
    return holds(folder, INDEX)


def _parse(body: dict[str, Any]) -> Manifest:
    encoder = body["encoder"]
    found = Manifest(
        generation=count(body["generation"]),
        created=text(body["created"]),
        lsr_version=text(body["lsr_version"]),
        dim=checked_dim(body["dim"]),
        engine=text(body["engine"]),
        encoder=None
        if encoder is None
        else EncoderEntry(
            name=text(encoder["name"]),
            source=text(encoder["source"]),
            hash=text(encoder["hash"]),
            vocabulary_hash=text(encoder["vocabulary_hash"]),
            reading=_mapping(encoder["reading"]),
            term_weights=text(encoder["term_weights"]),
            policy=_mapping(encoder["policy"]) or {},
            files=file_entries(encoder["files"]),
        ),
        segments=tuple(
            SegmentEntry(
                name=plain(segment["name"]),
                documents=count(segment["documents"]),
                nnz=count(segment["nnz"]),
                scale=checked_scale(segment["scale"]),
                block_size=count(segment["block_size"]),
                files=file_entries(segment["files"]),
                curves=tuple(dict(curve) for curve in segment["curves"]),
                deleted=count(segment["deleted"]),
                deletions=None if segment["deletions"] is None else file_entries([segment["deletions"]])[0],
            )
            for segment in body["segments"]
        ),
        texts=bool(body["texts"]),
        scale=checked_scale(body["scale"]),
        building=dict(body["building"]),
        numbered=count(body["numbered"]),
        vocabulary=file_entries(body["vocabulary"]),
        source=dict(body["source"]),
        format_version=(body["format_version"][0], body["format_version"][1]),
    )
    if broken := next((segment for segment in found.segments if segment.live < 0), None):
        raise ValueError(f"{broken.deleted} deleted of {broken.documents} documents")
    return found


def file_entries(entries: list[dict[str, Any]]) -> tuple[FileEntry, ...]:
    """Entries from their JSON. Raises KeyError, TypeError or ValueError for what is none."""
    return tuple(
        FileEntry(
            name=plain(entry["name"]),
            bytes=count(entry["bytes"]),
            dtype=text(entry["dtype"]),
            shape=tuple(count(part) for part in entry["shape"]),
            xxh3_128=text(entry["xxh3_128"]),
        )
        for entry in entries
    )


def plain(name: Any) -> str:
    """A name that cannot lead out of the folder."""
    if not (isinstance(name, str) and _PLAIN.fullmatch(name)) or _TAKEN.fullmatch(name.partition("/")[0]):
        raise ValueError(f"file name {name!r}")
    return name


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text {value!r}")
    return value


def checked_scale(value: Any) -> float:
    """A step of weights: as a float32, in which scores are computed, finite and above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"scale {value!r}")
    if not np.finfo(np.float32).smallest_subnormal <= value <= np.finfo(np.float32).max:
        raise ValueError(f"scale {value!r}")
    return float(value)


def checked_dim(value: Any) -> int:
    if not 1 <= count(value) <= MAX_DIM:
        raise ValueError(f"dim {value!r}")
    return int(value)


def _mapping(value: Any) -> dict[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise TypeError(f"settings {value!r}")
    return value


def count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(f"count {value!r}")
    return value
