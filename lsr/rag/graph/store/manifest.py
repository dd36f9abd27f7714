"""The manifest of a graph: one JSON file that says what its folder holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from lsr.index.storage.generations import Form, manifest_bytes, seal, unseal
from lsr.index.storage.graph_files import GRAPH_FORM
from lsr.index.storage.manifest import FileEntry, checked_dim, checked_scale, count, file_entries, plain, text
from lsr.rag.graph.types import Extractor
from lsr.rerank.store import IndexIdentity

__all__ = ["ArraysEntry", "ExtractorEntry", "FactsEntry", "GraphManifest", "RecordSegmentEntry", "as_json"]


def as_json(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON makes of an identity: what a manifest holds, and what is compared with it."""
    body: dict[str, Any] = json.loads(json.dumps(dict(identity)))
    return body


@dataclass(frozen=True, slots=True)
class ExtractorEntry:
    """Who found the phrases and facts. kind: the name that `open_extractor` knows, "" for one of somebody's own."""

    name: str
    kind: str
    identity: dict[str, Any]

    @classmethod
    def of(cls, extractor: Extractor) -> ExtractorEntry:
        identity = as_json(extractor.identity())
        kind = identity.get("extractor")
        return cls(extractor.name, kind if isinstance(kind, str) else "", identity)


@dataclass(frozen=True, slots=True)
class RecordSegmentEntry:
    """One write-once group of passages with what was found in them. `deletions` is the file with a bit for each that went or
    was replaced since."""

    name: str
    documents: int
    files: tuple[FileEntry, ...]
    deleted: int = 0
    deletions: FileEntry | None = None

    @property
    def live(self) -> int:
        """How many of the passages were not deleted."""
        return self.documents - self.deleted

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    def with_deletions(self, deleted: int, file: FileEntry | None) -> RecordSegmentEntry:
        """The same segment, of which so many are deleted, as the file says: None where none is written yet."""
        return replace(self, deleted=deleted, deletions=file)


@dataclass(frozen=True, slots=True)
class FactsEntry:
    """The vectors of facts (`lsr.rag.graph.store.facts`). A stored weight is `code * scale`. encoder: name, source, hash and
    reading of the one that made them."""

    name: str
    files: tuple[FileEntry, ...]
    facts: int
    nnz: int
    scale: float
    dim: int
    encoder: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ArraysEntry:
    """The arrays, and what they were made of. records: the generation in which what was found changed last before; documents:
    a digest of the ids and texts of the index, in their order; index: one of its manifest, which saves reading these.
    vectors: of the facts, None where there are none."""

    name: str
    files: tuple[FileEntry, ...]
    records: int
    documents: str
    index: str
    passages: int
    phrases: int
    facts: int
    edges: tuple[int, int, int]  # relations, mentions, synonyms: each direction counts
    without_phrases: int
    vectors: FactsEntry | None = None


@dataclass(frozen=True, slots=True)
class GraphManifest:
    """One generation of a graph. records: the generation in which what was found changed last; arrays: None until they were
    made once. synonyms: the identity of what finds synonyms, None without."""

    form: ClassVar[Form] = GRAPH_FORM

    generation: int
    created: str
    lsr_version: str
    index: IndexIdentity
    extractor: ExtractorEntry
    synonyms: dict[str, Any] | None
    segments: tuple[RecordSegmentEntry, ...] = ()
    records: int = 0
    arrays: ArraysEntry | None = None
    format_version: tuple[int, int] = GRAPH_FORM.version

    @property
    def current(self) -> bool:
        """Whether the arrays are those of what was found."""
        return self.arrays is not None and self.arrays.records == self.records

    def files(self) -> list[FileEntry]:
        """Every file the manifest names."""
        deletions = [segment.deletions for segment in self.segments if segment.deletions is not None]
        arrays = () if self.arrays is None else self.arrays.files
        vectors = () if self.arrays is None or self.arrays.vectors is None else self.arrays.vectors.files
        return [*(file for segment in self.segments for file in segment.files), *deletions, *arrays, *vectors]

    def names(self) -> list[str]:
        """The paths of `files`."""
        return [file.name for file in self.files()]

    def to_json(self) -> bytes:
        return seal(self.form, asdict(self))

    @classmethod
    def parse(cls, path: Path) -> GraphManifest:
        """The manifest in a file. Raises `UnsupportedVersion` or `CorruptIndex`."""
        return unseal(GRAPH_FORM, path, manifest_bytes(path), _parse)


def _parse(body: dict[str, Any]) -> GraphManifest:
    segments = []
    for segment in body["segments"]:
        deletions = segment["deletions"]
        entry = RecordSegmentEntry(
            name=plain(segment["name"]),
            documents=count(segment["documents"]),
            files=file_entries(segment["files"]),
            deleted=count(segment["deleted"]),
            deletions=None if deletions is None else file_entries([deletions])[0],
        )
        if entry.live < 0:
            raise ValueError(f"{entry.deleted} deleted of {entry.documents} passages")
        segments.append(entry)
    extractor, synonyms, arrays = body["extractor"], body["synonyms"], body["arrays"]
    return GraphManifest(
        generation=count(body["generation"]),
        created=text(body["created"]),
        lsr_version=text(body["lsr_version"]),
        index=IndexIdentity.parse(body["index"]),
        extractor=ExtractorEntry(text(extractor["name"]), text(extractor["kind"]), dict(extractor["identity"])),
        synonyms=None if synonyms is None else dict(synonyms),
        segments=tuple(segments),
        records=count(body["records"]),
        arrays=None if arrays is None else _arrays(arrays),
        format_version=(body["format_version"][0], body["format_version"][1]),
    )


def _arrays(body: dict[str, Any]) -> ArraysEntry:
    relations, mentions, synonyms = body["edges"]
    return ArraysEntry(
        name=plain(body["name"]),
        files=file_entries(body["files"]),
        records=count(body["records"]),
        documents=text(body["documents"]),
        index=text(body["index"]),
        passages=count(body["passages"]),
        phrases=count(body["phrases"]),
        facts=count(body["facts"]),
        edges=(count(relations), count(mentions), count(synonyms)),
        without_phrases=count(body["without_phrases"]),
        vectors=None if body["vectors"] is None else _facts(body["vectors"], count(body["facts"])),
    )


def _facts(body: dict[str, Any], facts: int) -> FactsEntry:
    if count(body["facts"]) != facts:
        raise ValueError(f"vectors of {body['facts']} facts, of {facts}")
    encoder = dict(body["encoder"])
    return FactsEntry(
        name=plain(body["name"]),
        files=file_entries(body["files"]),
        facts=facts,
        nnz=count(body["nnz"]),
        scale=checked_scale(body["scale"]),
        dim=checked_dim(body["dim"]),
        encoder={**encoder, **{key: text(encoder[key]) for key in ("name", "source", "hash")}},
    )
