"""What must not be trained on: queries held out for development, and the texts of evaluation collections."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import xxhash

from lsr.corpus import read_documents, read_queries
from lsr.training.data.words import normalised

if TYPE_CHECKING:
    from lsr.training.data.training_set import TrainingSet

__all__ = ["Forbidden", "development_split", "without_texts"]

# Texts whose first so many letters and digits are equal are the same text, one of them cut.
COMPARED = 300
# What is shorter says too little to be a copy: "Parameters" may be a document of any collection.
SHORTEST = 8


def _key(text: str) -> int | None:
    """Equal for equal texts, whatever their spaces, punctuation and case, and for a long text and its beginning."""
    # Cut before it is folded: a fold of a long text would take longer than all the rest.
    short = normalised(text[: 4 * COMPARED])[:COMPARED]
    return xxhash.xxh3_64_intdigest(short.encode("utf-8", "replace")) if len(short) >= SHORTEST else None


class Forbidden:
    """Documents and queries that must not be trained on.

    Texts are compared by their letters and digits, case folded, and no further than the first 300 of them: the same text
    with other punctuation, or cut elsewhere, is the same text.
    """

    def __init__(self, documents: Iterable[str] = (), queries: Iterable[str] = ()) -> None:
        self._documents = {_key(text) for text in documents} - {None}
        self._queries = {_key(text) for text in queries} - {None}

    @classmethod
    def of(cls, collections: Iterable[str | os.PathLike[str]]) -> Forbidden:
        """All documents (with their titles and without) and queries of BEIR folders. Raises as their readers do."""
        found = cls()
        for folder in collections:
            for document in read_documents(folder):
                found._documents |= {_key(document.text), _key(document.content)} - {None}
            found._queries |= {_key(query.text) for query in read_queries(folder)} - {None}
        return found

    def has_document(self, text: str) -> bool:
        """Whether this text is one of the documents."""
        return _key(text) in self._documents

    def has_query(self, text: str) -> bool:
        """Whether this text is one of the queries."""
        return _key(text) in self._queries


def without_texts(texts: Sequence[str], forbidden: Forbidden) -> npt.NDArray[np.int64]:
    """The rows, rising, of the texts that are no document of `forbidden`."""
    kept = [row for row, text in enumerate(texts) if not forbidden.has_document(text)]
    return np.array(kept, np.int64)


def development_split(
    training: TrainingSet, per_kind: int | Mapping[str, int], seed: int = 0
) -> tuple[TrainingSet, TrainingSet]:
    """(training, development): of each kind `per_kind` queries that have a positive are held out, or all if there are fewer.

    per_kind may give a number for each kind by name; none is held out of one that it does not name. Held out are those whose
    text has the smallest hash: when data is added, nearly all of them stay. Queries with the same text as one that is held
    out, and their inflected copies, are in neither part. Documents are the same in both.
    """
    hashes = np.array([_hash(text, seed) for text in training.queries], np.uint64)
    own = training.origins == np.arange(len(training.queries))
    held = np.zeros(len(training.queries), bool)
    for kind, name in enumerate(training.kinds):
        count = per_kind if isinstance(per_kind, int) else per_kind.get(name, 0)
        rows = np.flatnonzero((training.kind == kind) & (training.positives >= 0) & own)
        # A query with several positives has several rows: the smallest hashes, all rows of each.
        smallest = np.unique(hashes[rows])[:count]
        held[rows[np.isin(hashes[rows], smallest)]] = True
    taken = np.isin(hashes, hashes[held]) | np.isin(hashes[training.origins], hashes[held])
    return training.take(np.flatnonzero(~taken)), training.take(np.flatnonzero(held))


def _hash(text: str, seed: int) -> int:
    return xxhash.xxh3_64_intdigest(normalised(text).encode("utf-8", "replace"), seed=seed)
