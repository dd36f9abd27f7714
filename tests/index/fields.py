"""An index of vectors whose documents have metadata: what `Index.build` makes of texts, without encoding any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lsr import Document, Index, SparseVectors
from lsr.index.filters.collect import FieldsWriter
from tests.index.test_storage import edit_manifest


def index_with(vectors: SparseVectors, metadata: Sequence[Mapping[str, Any]], folder: Path) -> Index:
    """An index at `folder` / "my.idx", of one vector and one mapping a document."""
    path = folder / "my.idx"
    Index.build(vectors, path, overwrite=True)
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    writer = FieldsWriter(path, "segment-0001", scratch)
    for first in range(0, len(metadata), 100):
        writer.append([Document(id="", text="", metadata=found) for found in metadata[first : first + 100]])
    files = [asdict(file) for file in writer.finish()]
    edit_manifest(path, lambda body: body["segments"][0]["files"].extend(files))
    return Index.open(path)
