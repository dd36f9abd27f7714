"""Verifying a token store: structure always, checksums and contents on request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lsr.errors import CorruptIndex, InvalidInput
from lsr.index.storage.arrays import checksum
from lsr.index.storage.generations import is_as_written, manifest_name
from lsr.index.storage.locks import open_newest
from lsr.index.storage.remaining import check_distinct
from lsr.rerank.store.manifest import REMEDY, StoreManifest
from lsr.rerank.store.snapshot import StoreSnapshot

__all__ = ["check_store"]

_DECODED = 1 << 14  # tokens at a time


def check_store(path: Path, full: bool) -> Iterator[str]:
    """Yields a line for each thing checked, and raises the error of the first that is wrong.

    Without `full`: manifest, sizes and offsets, what `TokenStore.open` checks. With it also the checksum of every file, and
    that contents hold the rules: codes can be decoded, ids are distinct and readable.
    """
    manifest, pin = open_newest(path, StoreManifest)
    yield f"manifest: generation {manifest.generation}, checksum matches"
    snapshot = StoreSnapshot(path, manifest, pin)
    yield f"structure: {len(manifest.files())} files of the right type, size and shape; offsets in range"
    if not full:
        return
    if not is_as_written(path / manifest_name(manifest.generation)):
        raise CorruptIndex(f"{path}: its manifest is not as it was written; {REMEDY}")
    for file in manifest.files():
        if checksum(path, file, REMEDY) != file.xxh3_128:
            raise CorruptIndex(f"{path / file.name}: altered since it was written; {REMEDY}")
    yield f"checksums: {sum(file.bytes for file in manifest.files()):,} bytes match"
    for part in snapshot.parts:
        for first in range(0, part.entry.tokens, _DECODED):
            try:
                snapshot.codec.decode(part.segment.codes[first : first + _DECODED])
            except InvalidInput as error:
                raise CorruptIndex(f"{path / part.entry.name / 'codes'}: {error}; {REMEDY}") from None
        part.segment.ids.check()
        yield f"token vectors: {part.entry.tokens:,} of {part.entry.documents:,} documents; ids are distinct"
    if len(snapshot.parts) > 1:
        check_distinct(path, snapshot.parts)
        yield f"segments: no document is in two of {len(snapshot.parts)}"
