"""The words of an index that was made of another program's vectors and has no encoder: term -> token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lsr.errors import CorruptIndex
from lsr.index.storage.arrays import map_array, write_array
from lsr.index.storage.manifest import FileEntry

__all__ = ["StoredVocabulary", "write_vocabulary"]

_BYTES, _OFFSETS = "vocabulary/token_bytes", "vocabulary/token_offsets"


def write_vocabulary(folder: Path, tokens: Sequence[str]) -> tuple[FileEntry, ...]:
    """Writes the token of each term: one run of UTF-8 bytes, and offsets in it [terms + 1]."""
    encoded = [token.encode() for token in tokens]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return (
        write_array(folder, _BYTES, np.frombuffer(b"".join(encoded), np.uint8)),
        write_array(folder, _OFFSETS, offsets),
    )


class StoredVocabulary:
    """The tokens as an index keeps them. Raises `CorruptIndex` when they do not fit its dim, or are no UTF-8."""

    def __init__(self, folder: Path, files: Sequence[FileEntry], dim: int) -> None:
        arrays = {file.name: map_array(folder, file) for file in files}
        try:
            data, offsets = arrays[_BYTES], arrays[_OFFSETS]
        except KeyError as name:
            raise CorruptIndex(f"{folder}: {name} is not in its manifest; import the vectors again") from None
        if data.dtype != np.uint8 or offsets.dtype != np.int64 or offsets.shape != (dim + 1,):
            raise CorruptIndex(f"{folder}: its vocabulary is not one of {dim:,} terms; import the vectors again")
        if offsets[0] != 0 or offsets[-1] != len(data) or np.any(offsets[1:] < offsets[:-1]):
            raise CorruptIndex(f"{folder}: the offsets of its vocabulary do not rise; import the vectors again")
        self._where, self._data, self._offsets = folder, data, offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def token(self, term: int) -> str:
        """The text of a term."""
        start, end = self._offsets[term : term + 2].tolist()
        try:
            return self._data[start:end].tobytes().decode()
        except UnicodeDecodeError:
            raise CorruptIndex(f"{self._where}: the token of term {term} is damaged; run `lsr check --full`") from None

    def spans(self, text: str) -> list[tuple[int, int, int]]:
        """None: how another program cut a text into tokens is not known."""
        return []
