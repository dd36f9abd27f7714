"""Searching the graph of an index: its first stage is the index itself, of the generation that the graph was made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput, StoreMismatch
from lsr.index.asking import check_queries
from lsr.index.index import DEFAULT_RECALL
from lsr.index.query_side import check_encoder
from lsr.limits import Limits
from lsr.processors import available_cores
from lsr.sparse import SparseVectors

if TYPE_CHECKING:
    from lsr.encoders import Encoder
    from lsr.index.snapshot import Snapshot
    from lsr.rag.graph.store.manifest import FactsEntry

__all__ = ["Encode", "IndexFirst", "questions_to_facts", "questions_to_index"]

Encode = Callable[[Sequence[str]], SparseVectors]


class IndexFirst:
    """A generation of an index as the first stage of its graph: rows are passages."""

    def __init__(self, snapshot: Snapshot, encode: Encode, limits: Limits) -> None:
        self._snapshot, self._encode, self._limits = snapshot, encode, limits

    def first(self, questions: Sequence[str], k: int) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
        queries = self._encode(questions)
        check_queries(queries, self._snapshot.manifest.dim, self._limits)
        threads = 1 if len(queries) == 1 else available_cores()
        scores, rows, counts = self._snapshot.search(queries, k, DEFAULT_RECALL, threads, None, None)
        return [(rows[at, :count], scores[at, :count].astype(np.float64)) for at, count in enumerate(counts.tolist())]


def questions_to_index(snapshot: Snapshot, given: Encoder | None) -> Encode:
    """How questions become vectors that an index is searched with. given: for an index of bare vectors, the encoder that made
    them. Raises `InvalidInput` where there is none, `EncoderMismatch` for another."""
    if given is not None:
        check_encoder(snapshot.path, snapshot.manifest.encoder, given, snapshot.manifest.dim)
    side = snapshot.query_encoder
    if side is not None:
        return side.encode_batch
    if given is None:
        raise InvalidInput(
            f"{snapshot.path}: was made from vectors and keeps no encoder, which questions need; give encoder= to"
            " Graph.search or to Index.open"
        )
    return _all_of(given)


def questions_to_facts(path: Path, facts: FactsEntry, snapshot: Snapshot, given: Encoder | None) -> Encode:
    """How questions become vectors that facts of the graph at `path` are matched with: as for the index where one encoder
    made both. Raises `StoreMismatch` where the encoder of the facts is another by now, and as loading one does."""
    made = snapshot.manifest.encoder
    side = snapshot.query_encoder
    if made is not None and side is not None and made.hash == facts.encoder["hash"]:
        return side.encode_batch
    if given is None or given.hash != facts.encoder["hash"]:
        from lsr.encoders import load_encoder

        given = load_encoder(facts.encoder["source"], local_files_only=True)
    if given.hash != facts.encoder["hash"]:
        raise StoreMismatch(
            f"{path}: its facts were encoded by another {facts.encoder['name'][:100]} than there is now;"
            f" `lsr graph build {snapshot.path} --overwrite` makes the graph again"
        )
    return _all_of(given)


def _all_of(encoder: Encoder) -> Encode:
    return lambda texts: encoder.encode_query(list(texts))
