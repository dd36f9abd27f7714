"""What an index knows of the token vectors in its folder: that they are there, and which files they are.

They are a folder of generations of their own, which `lsr.rerank.store` reads. A snapshot of the index holds them too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from lsr.index.storage.generations import Form, manifest_bytes, unseal
from lsr.index.storage.manifest import FileEntry, count, file_entries

__all__ = ["STORE", "TOKENS", "TokenFiles", "has_tokens"]

TOKENS = "multivector"  # their folder, in that of the index
STORE = Form(
    noun="token store",
    magic="lsr-token-store",
    version=(1, 1),
    oldest=(1, 0),
    made="TokenStore.build makes one",
    remedy="build the token store again or restore a copy",
)


def has_tokens(index: Path) -> bool:
    """Whether the index in a folder has token vectors."""
    return (index / TOKENS).is_dir()


@dataclass(frozen=True, slots=True)
class TokenFiles:
    """A generation of a token store, as far as someone needs to know who copies it: its manifest, and the files that this
    names."""

    form: ClassVar[Form] = STORE

    generation: int
    data: bytes
    files: tuple[FileEntry, ...]

    def names(self) -> list[str]:
        """The paths of `files`."""
        return [file.name for file in self.files]

    def to_json(self) -> bytes:
        return self.data

    @classmethod
    def parse(cls, path: Path) -> Self:
        """The manifest in a file. Raises `UnsupportedVersion` or `CorruptIndex`."""
        return cls.decode(path, manifest_bytes(path))

    @classmethod
    def decode(cls, path: Path, data: bytes) -> Self:
        """The manifest in the bytes of a file. Raises as `parse` does."""

        def parse(body: dict[str, Any]) -> tuple[int, tuple[FileEntry, ...]]:
            return count(body["generation"]), file_entries(list(_entries(body)))

        generation, files = unseal(cls.form, path, data, parse)
        return cls(generation, data, files)


def _entries(value: Any) -> Iterator[dict[str, Any]]:
    """All that looks like the entry of a file, in the order of the manifest."""
    if isinstance(value, dict):
        if "xxh3_128" in value:
            yield value
            return
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _entries(one)
