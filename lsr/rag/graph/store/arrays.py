"""The arrays of a graph on disk: raw and little-endian, written once, mapped into memory. Their names are those of
`GraphArrays`; texts are one run of UTF-8 with offsets, NAME_bytes |u1 and NAME_offsets <i8 [n + 1]."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from lsr.errors import CorruptIndex
from lsr.index.storage.arrays import write_array
from lsr.index.storage.graph_files import GRAPH_FORM
from lsr.index.storage.manifest import FileEntry
from lsr.index.storage.segment_arrays import SegmentArrays
from lsr.rag.graph.files import TEXTS, TYPES, check_arrays
from lsr.rag.graph.store.manifest import ArraysEntry
from lsr.rag.graph.types import MENTION, RELATION, SYNONYM, GraphArrays

__all__ = ["StoredTexts", "check_contents", "open_arrays", "write_arrays"]

_TOGETHER = 4096  # texts that are read at a time
_ROWS = 1 << 20  # edges that are checked at a time


class StoredTexts(Sequence[str]):
    """Texts as they are stored: each is decoded when it is asked for. Raises `CorruptIndex` for what is no UTF-8."""

    def __init__(self, where: Path, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> None:
        self._where, self._data, self._offsets = where, data, offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> list[str]: ...

    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self[place] for place in range(*at.indices(len(self)))]
        place = at + len(self) if at < 0 else at
        if not 0 <= place < len(self):
            raise IndexError(f"text {at} of {len(self)}")
        start, end = self._offsets[place : place + 2].tolist()
        return self._decoded(self._data[start:end].tobytes())

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _TOGETHER):
            ends = self._offsets[first : first + _TOGETHER + 1].tolist()
            data = self._data[ends[0] : ends[-1]].tobytes()
            for start, end in pairwise(ends):
                yield self._decoded(data[start - ends[0] : end - ends[0]])

    def _decoded(self, data: bytes) -> str:
        try:
            return data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise CorruptIndex(f"{self._where}: a text is no UTF-8; {GRAPH_FORM.remedy}") from None


def write_arrays(
    folder: Path, name: str, graph: GraphArrays, *, records: int, documents: str, index: str
) -> ArraysEntry:
    """Writes the arrays of a graph below a folder, each synced; see `ArraysEntry` for the rest."""
    files: list[FileEntry] = []
    for array, kind in TYPES.items():
        files.append(write_array(folder, f"{name}/{array}", getattr(graph, array).astype(kind, copy=False)))
    for texts in TEXTS:
        encoded = [one.encode("utf-8", "surrogatepass") for one in getattr(graph, texts)]
        offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        files.append(write_array(folder, f"{name}/{texts}_bytes", np.frombuffer(b"".join(encoded), np.uint8)))
        files.append(write_array(folder, f"{name}/{texts}_offsets", offsets))
    kinds = np.bincount(graph.kinds, minlength=3)
    phrases = len(graph.phrases)
    return ArraysEntry(
        name=name,
        files=tuple(files),
        records=records,
        documents=documents,
        index=index,
        passages=graph.passages,
        phrases=phrases,
        facts=len(graph.predicates),
        edges=(int(kinds[RELATION]), int(kinds[MENTION]), int(kinds[SYNONYM])),
        without_phrases=int(np.count_nonzero(np.diff(graph.indptr[phrases:]) == 0)),
    )


def open_arrays(folder: Path, entry: ArraysEntry) -> GraphArrays:
    """The arrays, mapped. All that memory safety rests on is checked: types, sizes, that offsets rise, that numbers are those
    of nodes. Raises `CorruptIndex`."""
    files = SegmentArrays(folder, entry.name, entry.files, GRAPH_FORM.remedy)
    texts: dict[str, Any] = {}
    for name in TEXTS:
        data, offsets = files.take(f"{name}_bytes", None, np.uint8), files.take(f"{name}_offsets", None, np.int64)
        files.check_offsets(f"{name}_offsets", offsets, len(data))
        texts[name] = StoredTexts(folder / entry.name / name, data, offsets)
    arrays: dict[str, Any] = {name: files.take(name, None, kind) for name, kind in TYPES.items()}
    graph = GraphArrays(passages=entry.passages, **texts, **arrays)
    try:
        check_arrays(graph)
        if (len(graph.phrases), len(graph.predicates)) != (entry.phrases, entry.facts):
            raise ValueError("other phrases or facts than the manifest says")
    except ValueError as error:
        raise CorruptIndex(f"{folder / entry.name}: {error}; {GRAPH_FORM.remedy}") from None
    return graph


def check_contents(folder: Path, entry: ArraysEntry) -> None:
    """What `GraphArrays` promises beyond what `open_arrays` checks. Reads everything. Raises `CorruptIndex`."""
    graph = open_arrays(folder, entry)

    def corrupt(what: str) -> CorruptIndex:
        return CorruptIndex(f"{folder / entry.name}: {what}; {GRAPH_FORM.remedy}")

    for first in range(0, len(graph.targets), _ROWS):
        targets = graph.targets[first : first + _ROWS + 1].astype(np.int64)
        falls = np.flatnonzero(targets[1:] <= targets[:-1]) + first + 1
        if not np.isin(falls, graph.indptr).all():
            raise corrupt("edges of a node are out of order")
        weights = graph.weights[first : first + _ROWS]
        if not (np.isfinite(weights) & (weights > 0)).all():
            raise corrupt("a weight is no positive number")
    if len(graph.kinds) and int(graph.kinds.max()) > SYNONYM:
        raise corrupt("an edge is of no kind")
    phrases = sum(1 for _ in graph.phrases)
    if len(set(graph.phrases)) != phrases:
        raise corrupt("a phrase is there twice")
    for _ in graph.predicates:
        pass
