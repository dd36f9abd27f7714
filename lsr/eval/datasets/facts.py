"""Counting and checking a collection before anything is measured on it."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash

from lsr.corpus import Document, Query
from lsr.errors import DuplicateId, EvaluationError
from lsr.eval.datasets.dataset import Dataset
from lsr.eval.qrels import Qrels

__all__ = ["DatasetFacts", "survey"]

# progress(stage, done, total): as for building an index.
Progress = Callable[[str, int, int | None], None]

RELEVANT = 1  # the lowest grade that says relevant at all
EVERY = 1000  # documents between two reports of progress


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """Counts, hashes (xxh3_128, hexadecimal) and caveats of a collection, from the data themselves.

    `documents_hash` is over ids, titles and texts in their order (which breaks ties of engines), `queries_hash` and
    `judgments_hash` over the queries evaluated and their judgments, sorted. `relevant` counts grades of 1 and more;
    `missing_documents` the judged documents that the corpus lacks. `mean_characters` is of title, blank and text.
    """

    name: str
    split: str | None
    source: str
    documents: int
    queries: int
    judgments: int
    grades: dict[int, int]
    relevant: int
    queries_without_relevant: int
    relevance_threshold: int
    mean_characters: float
    documents_hash: str
    queries_hash: str
    judgments_hash: str
    drop_self: bool
    missing_documents: int
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The part "dataset" of a report."""
        return {
            "name": self.name,
            "split": self.split,
            "source": self.source,
            "documents": self.documents,
            "queries": self.queries,
            "judgments": self.judgments,
            "grades": {str(grade): count for grade, count in sorted(self.grades.items())},
            "relevant": self.relevant,
            "queries_without_relevant": self.queries_without_relevant,
            "relevance_threshold": self.relevance_threshold,
            "mean_document_characters": round(self.mean_characters, 1),
            "hashes": {
                "documents": self.documents_hash,
                "queries": self.queries_hash,
                "judgments": self.judgments_hash,
            },
            "self_retrieval_dropped": self.drop_self,
            "missing_documents": self.missing_documents,
            "notes": list(self.notes),
        }


def survey(dataset: Dataset, allow_missing: bool = False, progress: Progress | None = None) -> DatasetFacts:
    """Counts and hashes of a dataset, in one pass over its documents (8 bytes of memory a document).

    Raises `EvaluationError` when there are no judgments, or none that says relevant; when judged queries have no text; and
    when judged documents are not in the corpus, unless `allow_missing` (then they count as never found, and a note says
    so). Raises `DuplicateId` when two documents share an id, and as the readers do.
    """
    _check_judgments(dataset)
    corpus = _Corpus(dataset, progress)
    missing = len(corpus.unseen)
    if missing and not allow_missing:
        raise EvaluationError(
            f"{dataset.name}: {missing:,} judged {_documents(missing)} not in the corpus: {_first(corpus.unseen)}; is it the "
            "whole corpus? --allow-missing evaluates without them"
        )
    grades = Counter(grade for judged in dataset.qrels.values() for grade in judged.values())
    return DatasetFacts(
        name=dataset.name,
        split=dataset.split,
        source=dataset.source,
        documents=corpus.count,
        queries=len(dataset.queries),
        judgments=grades.total(),
        grades=dict(sorted(grades.items())),
        relevant=sum(count for grade, count in grades.items() if grade >= RELEVANT),
        queries_without_relevant=_without(dataset.qrels, RELEVANT),
        relevance_threshold=dataset.relevance_threshold,
        mean_characters=corpus.characters / corpus.count,
        documents_hash=corpus.hash,
        queries_hash=_queries_hash(dataset.queries),
        judgments_hash=_judgments_hash(dataset.qrels),
        drop_self=dataset.drop_self,
        missing_documents=missing,
        notes=(*dataset.notes, *_notes(dataset, corpus)),
    )


def _check_judgments(dataset: Dataset) -> None:
    if not any(dataset.qrels.values()):
        raise EvaluationError(f"{dataset.name}: no judgments (qrels): nothing can be measured without them")
    asked = {query.id for query in dataset.queries}
    textless = [query for query in dataset.qrels if query not in asked]
    if textless:
        raise EvaluationError(
            f"{dataset.name}: {len(textless):,} judged {'query has' if len(textless) == 1 else 'queries have'} no text: "
            f"{_first(textless)}; do queries and judgments belong together?"
        )
    if all(grade < RELEVANT for judged in dataset.qrels.values() for grade in judged.values()):
        raise EvaluationError(
            f"{dataset.name}: no judgment has a grade of {RELEVANT} or more, so every measure would be 0; check the grades"
        )


class _Corpus:
    """What one pass over the documents gives."""

    def __init__(self, dataset: Dataset, progress: Progress | None) -> None:
        self.count = self.characters = self.empty = 0
        wanted = {document for judged in dataset.qrels.values() for document in judged}
        seen: set[str] = set()
        ids, digest = array("Q"), xxhash.xxh3_128()
        for document in dataset.documents():
            self.count += 1
            ids.append(xxhash.xxh3_64_intdigest(_bytes(document.id)))
            if document.id in wanted:
                seen.add(document.id)
            characters = len(document.content)
            self.characters += characters
            self.empty += not characters
            digest.update(_framed(document.id, document.title, document.text))
            if progress is not None and self.count % EVERY == 0:
                progress("reading documents", self.count, None)
        if not self.count:
            raise EvaluationError(f"{dataset.name}: no documents; is it the right corpus?")
        if progress is not None:
            progress("reading documents", self.count, self.count)
        hashes = np.sort(np.frombuffer(ids, np.uint64))
        if bool((hashes[1:] == hashes[:-1]).any()):
            _refuse_duplicates(dataset.documents(), dataset.name)
        self.hash: str = digest.hexdigest()
        # In the order of the judgments, so that the message is the same each time.
        self.unseen = list(
            dict.fromkeys(document for judged in dataset.qrels.values() for document in judged if document not in seen)
        )


def _refuse_duplicates(documents: Iterable[Document], name: str) -> None:
    """Raises for the first id that comes twice. Two ids may share a hash of 64 bits: then this finds nothing wrong."""
    places: dict[str, str] = {}
    for number, document in enumerate(documents):
        where = document.where or f"{name}: document {number}"
        if document.id in places:
            raise DuplicateId(
                f"{where}: the document id {document.id!r} was given at {places[document.id]} already; make ids distinct"
            )
        places[document.id] = where


def _notes(dataset: Dataset, corpus: _Corpus) -> list[str]:
    notes = []
    if missing := len(corpus.unseen):
        notes.append(
            f"{missing:,} judged {_documents(missing)} not in the corpus and count as not found: {_first(corpus.unseen)}."
        )
    if corpus.empty:
        notes.append(f"{corpus.empty:,} {_documents(corpus.empty)} without title and text.")
    if lost := _without(dataset.qrels, dataset.relevance_threshold):
        notes.append(
            f"{lost:,} {'query has' if lost == 1 else 'queries have'} no document of grade {dataset.relevance_threshold} or "
            "more: binary measures are 0 there, whatever a system finds."
        )
    return notes


def _without(qrels: Qrels, threshold: int) -> int:
    return sum(all(grade < threshold for grade in judged.values()) for judged in qrels.values())


def _queries_hash(queries: Iterable[Query]) -> str:
    return _hash(_framed(query.id, query.text) for query in sorted(queries, key=lambda query: query.id))


def _judgments_hash(qrels: Qrels) -> str:
    return _hash(
        _framed(query, document, str(grade))
        for query, judged in sorted(qrels.items())
        for document, grade in sorted(judged.items())
    )


def _hash(records: Iterable[bytes]) -> str:
    digest = xxhash.xxh3_128()
    for record in records:
        digest.update(record)
    found: str = digest.hexdigest()
    return found


def _framed(*fields: str) -> bytes:
    """Fields, each after its length in bytes (64 bits, little-endian): no two records give the same bytes."""
    encoded = [_bytes(field) for field in fields]
    return b"".join(part for field in encoded for part in (len(field).to_bytes(8, "little"), field))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _documents(count: int) -> str:
    return "document is" if count == 1 else "documents are"


def _first(ids: Iterable[str]) -> str:
    """The first five ids, for a message."""
    listed = list(ids)
    return ", ".join(repr(identifier[:60]) for identifier in listed[:5]) + (", ..." if len(listed) > 5 else "")
