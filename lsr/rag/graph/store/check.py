"""Verifying the graph of an index: structure always, checksums and contents on request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from lsr.errors import CorruptIndex
from lsr.index.storage.arrays import checksum
from lsr.index.storage.generations import is_as_written, manifest_name
from lsr.index.storage.graph_files import GRAPH, GRAPH_FORM, has_graph
from lsr.index.storage.locks import open_newest
from lsr.index.storage.remaining import check_distinct
from lsr.rag.graph.store.arrays import check_contents, open_arrays
from lsr.rag.graph.store.facts import StoredFacts
from lsr.rag.graph.store.manifest import GraphManifest
from lsr.rag.graph.store.snapshot import GraphSnapshot, check_belongs, documents_digest

if TYPE_CHECKING:
    from lsr.index import Index

__all__ = ["check_graph"]


def check_graph(index: Index, full: bool) -> Iterator[str]:
    """Yields a line for each thing checked of the graph of an index, if it has one, and raises the error of the first that is
    wrong. That it is behind the index is said; it is no error.

    Without `full`: manifest, sizes, offsets and numbers of nodes. With it also the checksum of every file, and that contents
    hold the rules: edges in order, weights above 0, records and texts can be read, ids are distinct.
    """
    if not has_graph(index.path):
        return
    path = index.path / GRAPH
    manifest, pin = open_newest(path, GraphManifest)
    check_belongs(path, manifest, index.snapshot)
    store = GraphSnapshot(path, manifest, pin)
    vectors = None
    if manifest.arrays is not None:
        open_arrays(path, manifest.arrays)
        vectors = None if manifest.arrays.vectors is None else StoredFacts(path, manifest.arrays.vectors)
    yield f"graph: generation {manifest.generation}, checksum matches"
    yield f"graph: {len(manifest.files())} files of the right type, size and shape; numbers are those of nodes"
    if full:
        if not is_as_written(path / manifest_name(manifest.generation)):
            raise CorruptIndex(f"{path}: its manifest is not as it was written; {GRAPH_FORM.remedy}")
        for file in manifest.files():
            if checksum(path, file, GRAPH_FORM.remedy) != file.xxh3_128:
                raise CorruptIndex(f"{path / file.name}: altered since it was written; {GRAPH_FORM.remedy}")
        yield f"graph: checksums of {sum(file.bytes for file in manifest.files()):,} bytes match"
        if manifest.arrays is not None:
            check_contents(path, manifest.arrays)
            if vectors is not None:
                vectors.check()
            yield f"graph: {manifest.arrays.phrases:,} phrases, {manifest.arrays.facts:,} facts, edges in order"
        for part in store.parts:
            part.segment.ids.check()
            for row in np.flatnonzero(part.is_left).tolist():
                part.segment.found(row, "")
        check_distinct(path, store.parts)
        yield f"graph: records of {store.passages:,} passages open; ids are distinct"
    lacking, failed, _ = store.difference(index.snapshot)
    arrays = manifest.arrays if manifest.current else None
    behind = arrays is None or arrays.documents != documents_digest(index.snapshot)
    there = len(index) - len(lacking) - len(failed)
    said = f"; it is behind the index, `lsr graph build {index.path} --resume` brings it up" if behind else ""
    yield f"graph: {there:,} of {len(index):,} passages have phrases and facts of their text{said}"
