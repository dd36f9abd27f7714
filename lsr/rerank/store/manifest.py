"""The manifest of a token store: one JSON file that says what its folder holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lsr.errors import InvalidInput
from lsr.index.storage.generations import Form, manifest_bytes, seal, unseal
from lsr.index.storage.manifest import FileEntry, Manifest, count, file_entries, plain, text
from lsr.index.storage.token_files import STORE
from lsr.rerank.store.report import CodecReport

if TYPE_CHECKING:
    from lsr.index import Index

__all__ = ["REMEDY", "STORE", "IndexIdentity", "StoreEncoder", "StoreManifest", "TokenSegmentEntry"]

REMEDY = STORE.remedy


@dataclass(frozen=True, slots=True)
class IndexIdentity:
    """What tells an index from others, whatever is added to it or deleted.

    created, dim, encoder (its hash, None for vectors made elsewhere): of its first generation, and of all that follow.
    numbered: how many documents were ever added, those that took the place of others too: it tells whether a store, which
    notes it, has seen them.
    """

    created: str
    dim: int
    encoder: str | None
    numbered: int

    @classmethod
    def of(cls, index: Index | Manifest | str | Path) -> IndexIdentity:
        """That of an open index, of a generation of one, or of what lies in a folder. Raises as opening an index does."""
        if isinstance(index, str | Path):
            index = Manifest.read(Path(index))
        manifest = index if isinstance(index, Manifest) else index.manifest
        encoder = None if manifest.encoder is None else manifest.encoder.hash
        return cls(manifest.created, manifest.dim, encoder, manifest.numbered)

    @classmethod
    def parse(cls, body: dict[str, Any]) -> IndexIdentity:
        """That in a manifest. Raises `KeyError`, `TypeError` or `ValueError`."""
        encoder = body["encoder"]
        return cls(
            created=text(body["created"]),
            dim=count(body["dim"]),
            encoder=None if encoder is None else text(encoder),
            numbered=count(body["numbered"]),
        )

    def same(self, other: IndexIdentity) -> bool:
        """Whether both are of one index."""
        return replace(self, numbered=0) == replace(other, numbered=0)


@dataclass(frozen=True, slots=True)
class StoreEncoder:
    """What made the token vectors: its name, what it is loaded by, and the fingerprint of its weights and settings."""

    name: str
    source: str
    fingerprint: str

    @classmethod
    def of(cls, given: StoreEncoder | dict[str, str] | None) -> StoreEncoder | None:
        """Raises `InvalidInput` for a dict of another form."""
        if not isinstance(given, dict):
            return given
        try:
            return cls(**{name: text(value) for name, value in given.items()})
        except TypeError:
            raise InvalidInput("an encoder is given as its name, source and fingerprint, which are strings") from None


@dataclass(frozen=True, slots=True)
class TokenSegmentEntry:
    """One write-once group of documents. `deletions` is the file with a bit for each that was deleted since."""

    name: str
    documents: int
    tokens: int
    files: tuple[FileEntry, ...]
    deleted: int = 0
    deletions: FileEntry | None = None

    @property
    def live(self) -> int:
        """How many of the documents were not deleted."""
        return self.documents - self.deleted

    def with_deletions(self, deleted: int, file: FileEntry | None) -> TokenSegmentEntry:
        """The same segment, of which so many are deleted, as the file says: None where none is written yet."""
        return replace(self, deleted=deleted, deletions=file)


@dataclass(frozen=True, slots=True)
class StoreManifest:
    """One generation of a token store. `parameters` are the files of what the codec knows, by their
    names; `report` is what it was found to lose when the store was built. `pool` is how many tokens of a document its vectors
    are pooled by (`TokenVectors.pooled`), as far as is known."""

    form: ClassVar[Form] = STORE

    generation: int
    created: str
    lsr_version: str
    dim: int
    codec: str
    bytes_per_token: int
    parameters: tuple[FileEntry, ...]
    encoder: StoreEncoder | None
    index: IndexIdentity | None
    segments: tuple[TokenSegmentEntry, ...]
    report: CodecReport | None = None
    pool: int = 1
    format_version: tuple[int, int] = STORE.version

    def files(self) -> list[FileEntry]:
        """Every file the manifest names."""
        deletions = [segment.deletions for segment in self.segments if segment.deletions is not None]
        return [*self.parameters, *(file for segment in self.segments for file in segment.files), *deletions]

    def names(self) -> list[str]:
        """The paths of `files`."""
        return [file.name for file in self.files()]

    def to_json(self) -> bytes:
        return seal(self.form, asdict(self))

    @classmethod
    def parse(cls, path: Path) -> StoreManifest:
        """The manifest in a file. Raises `UnsupportedVersion` or `CorruptIndex`."""
        return unseal(STORE, path, manifest_bytes(path), _parse)


def _parse(body: dict[str, Any]) -> StoreManifest:
    encoder, index = body["encoder"], body["index"]
    segments = []
    for segment in body["segments"]:
        deletions = segment["deletions"]
        entry = TokenSegmentEntry(
            name=plain(segment["name"]),
            documents=count(segment["documents"]),
            tokens=count(segment["tokens"]),
            files=file_entries(segment["files"]),
            deleted=count(segment["deleted"]),
            deletions=None if deletions is None else file_entries([deletions])[0],
        )
        if entry.live < 0:
            raise ValueError(f"{entry.deleted} deleted of {entry.documents} documents")
        segments.append(entry)
    return StoreManifest(
        generation=count(body["generation"]),
        created=text(body["created"]),
        lsr_version=text(body["lsr_version"]),
        dim=count(body["dim"]),
        codec=text(body["codec"]),
        bytes_per_token=count(body["bytes_per_token"]),
        parameters=file_entries(body["parameters"]),
        encoder=None
        if encoder is None
        else StoreEncoder(text(encoder["name"]), text(encoder["source"]), text(encoder["fingerprint"])),
        index=None if index is None else IndexIdentity.parse(index),
        segments=tuple(segments),
        report=None if body["report"] is None else CodecReport.from_json(body["report"]),
        pool=max(1, count(body.get("pool", 1))),
        format_version=(body["format_version"][0], body["format_version"][1]),
    )
