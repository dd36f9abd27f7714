"""The training set: documents of all sources, queries of files and made ones, as rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lsr.corpus import Document, read_documents
from lsr.errors import CorpusError, DuplicateId, InvalidInput
from lsr.limits import Limits
from lsr.training.data.inflections import Inflections
from lsr.training.data.made import MadeQueries, Passages, generator_of, made_queries
from lsr.training.data.queries_file import TrainingQuery, read_training_queries
from lsr.training.data.split import Forbidden

__all__ = ["QuerySource", "TrainingSet", "load_training_set"]

MOST_KINDS = 256  # kinds are kept as uint8
INFLECTION_RATE = 0.5  # chance of a word of a varied copy to change
COUNTED = 100_000  # documents that inflections are learned from
REPORTED = 10_000  # documents or queries between two reports of progress

Rows = npt.NDArray[np.int64]
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True)
class QuerySource:
    """A file of queries and the kind that they are of.

    share: of the kind among the queries of a batch, None for its share of all queries; inflect: share of the queries that
    get a copy with other inflections.
    """

    file: str | os.PathLike[str]
    kind: str
    share: float | None = None
    inflect: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.inflect <= 1:
            raise InvalidInput(f"{self.file}: inflect is {self.inflect}: it must be between 0 and 1")


@dataclass
class TrainingSet:
    """What a model is trained on. Documents are rows 0..D-1, queries rows 0..Q-1.

    documents: title and text joined as for an index, and `document_ids`; queries; positives int64 [Q]: the document that
    answers each, -1 where none is known (a query with several has a row for each); kind uint8 [Q]: rows of `kinds`; shares:
    of each kind in a batch, None where the number of its queries decides; origins int64 [Q]: the query that one is an
    inflected copy of, itself where it is none; negatives int64: documents that the files name as wrong, those of query q at
    negative_starts[q]:negative_starts[q + 1], int64 [Q + 1].

    skipped: lines of each file that were left out; dropped: what was left out because it is forbidden or repeats another.
    """

    documents: list[str]
    document_ids: list[str]
    queries: list[str]
    positives: Rows
    kind: npt.NDArray[np.uint8]
    kinds: list[str]
    skipped: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    shares: list[float | None] = field(default_factory=list)
    origins: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    negatives: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    negative_starts: Rows = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        count = len(self.queries)
        self.shares = self.shares or [None] * len(self.kinds)
        if not len(self.origins):
            self.origins = np.arange(count, dtype=np.int64)
        if not len(self.negative_starts):
            self.negative_starts = np.zeros(count + 1, np.int64)
        sizes = (len(self.positives), len(self.kind), len(self.origins), len(self.negative_starts) - 1)
        if any(size != count for size in sizes) or len(self.documents) != len(self.document_ids):
            raise InvalidInput(f"a training set of {count:,} queries has arrays of other lengths: {sizes}")

    def take(self, rows: npt.ArrayLike) -> TrainingSet:
        """The set with these queries alone, in this order; all documents stay."""
        chosen = np.asarray(rows, np.int64)
        place = np.full(len(self.queries), -1, np.int64)
        place[chosen] = np.arange(len(chosen))
        origins = place[self.origins[chosen]]
        begin = self.negative_starts[chosen]
        sizes = self.negative_starts[chosen + 1] - begin
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        places = np.arange(starts[-1]) + np.repeat(begin - starts[:-1], sizes)
        return TrainingSet(
            documents=self.documents,
            document_ids=self.document_ids,
            queries=[self.queries[row] for row in chosen.tolist()],
            positives=self.positives[chosen],
            kind=self.kind[chosen],
            kinds=self.kinds,
            skipped=self.skipped,
            dropped=self.dropped,
            shares=self.shares,
            origins=np.where(origins < 0, np.arange(len(chosen)), origins),
            negatives=self.negatives[places],
            negative_starts=starts,
        )


def load_training_set(
    documents: Sequence[str | os.PathLike[str]],
    queries: Sequence[QuerySource] = (),
    made: Sequence[MadeQueries] = (),
    *,
    skip_bad: bool = False,
    seed: int = 0,
    forbidden: Forbidden | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> TrainingSet:
    """Reads documents and queries, and makes queries.

    documents: any sources that `lsr.corpus.read_documents` reads; equal contents are kept once. Positives and negatives
    that files of queries give as texts become documents where no document is equal to them. `forbidden` documents and
    queries are left out; a query whose only positives are forbidden stays, without a positive. Queries that repeat one of
    their kind with the same positive are left out.

    Raises as the readers do; with `skip_bad`, lines of query files that cannot be read, or name an id that no document has,
    are counted instead. `DuplicateId` when two documents of different texts have one id, `InvalidInput` when nothing is
    given to train on.
    """
    report = progress or (lambda stage, done, total: None)
    found = _Documents(forbidden)
    for source in documents:
        for number, document in enumerate(read_documents(source, limits=limits), 1):
            found.read(document)
            if number % REPORTED == 0:
                report("reading documents", len(found.contents), None)
    collected = _Queries(found, forbidden)
    for file in queries:
        collected.read(file, skip_bad, limits, report)
    passages = Passages(found.contents, found.titles)
    for wanted in made:
        kind = collected.kind(wanted.name, wanted.share)
        for row, text in made_queries(passages, wanted, seed):
            collected.add(text, kind, [row], ())
        report(f"making {wanted.name}", len(collected.texts), None)
    shares = {source.kind: source.inflect for source in queries} | {one.name: one.inflect for one in made}
    if any(shares.values()):
        step = max(1, len(found.contents) // COUNTED)
        report("learning inflections", 0, None)
        collected.vary(Inflections.learn(found.contents[::step]), shares, seed)
    if not collected.texts:
        raise InvalidInput(
            "there are no queries to train on: name files of queries, or have some made from the documents"
        )
    return collected.finished()


class _Documents:
    """Documents in the making, each content once."""

    def __init__(self, forbidden: Forbidden | None) -> None:
        self.contents: list[str] = []
        self.ids: list[str] = []
        self.titles: list[int] = []  # characters of each title
        self.forbidden, self.dropped = forbidden, 0
        self._by_content: dict[str, int] = {}
        self._by_text: dict[str, int] = {}  # of documents with a title, whose text alone may be given as a positive
        self._by_id: dict[str, int] = {}

    def read(self, document: Document) -> None:
        content = document.content
        if not content or content.isspace():
            return
        row = self._row(content)
        row = self._new(content, document.id, len(document.title) if document.text else 0) if row is None else row
        if row >= 0 and document.title and document.text:
            self._by_text.setdefault(document.text, row)
        known = self._by_id.setdefault(document.id, row)
        if known != row and not document.numbered:
            raise DuplicateId(
                f"{document.where}: the id {document.id!r} was given to a document with another text; make ids distinct"
            )

    def of_text(self, text: str, where: str) -> int:
        """The row of a document with this text, which is made where there is none; -1 when it is forbidden."""
        row = self._row(text)
        if row is None:
            row = self._by_text.get(text)
        return self._new(text, Path(where).name, 0) if row is None else row

    def of_id(self, ident: str, where: str) -> int:
        """The row of the document with this id; -1 when it is forbidden."""
        try:
            return self._by_id[ident]
        except KeyError:
            raise CorpusError(f"{where}: no document has the id {ident!r}; is a source of documents missing?") from None

    def _row(self, content: str) -> int | None:
        return self._by_content.get(content)

    def _new(self, content: str, ident: str, title: int) -> int:
        if self.forbidden is not None and self.forbidden.has_document(content):
            self.dropped += 1
            row = -1
        else:
            row = len(self.contents)
            self.contents.append(content)
            self.ids.append(self._fresh(ident))
            self.titles.append(title)
        self._by_content[content] = row
        return row

    def _fresh(self, ident: str) -> str:
        """The id, or with a number behind it when it is taken: documents of two files may both be numbered."""
        fresh, number = ident, 1
        while fresh in self._by_id:
            number += 1
            fresh = f"{ident}.{number}"
        self._by_id[fresh] = len(self.contents) - 1
        return fresh


class _Queries:
    """Queries in the making."""

    def __init__(self, documents: _Documents, forbidden: Forbidden | None) -> None:
        self.texts: list[str] = []
        self._documents, self._forbidden = documents, forbidden
        self._kinds: dict[str, float | None] = {}
        self._positives: list[int] = []
        self._kind: list[int] = []
        self._origins: list[int] = []
        self._negatives: list[int] = []
        self._sizes: list[int] = []
        self._seen: set[int] = set()
        self._skipped: dict[str, int] = {}
        self._refused = self._repeated = self._without = 0

    def kind(self, name: str, share: float | None) -> int:
        """The number of a kind."""
        if name not in self._kinds and len(self._kinds) == MOST_KINDS:
            raise InvalidInput(f"there are more than {MOST_KINDS} kinds of queries; give some the same kind")
        known = self._kinds.get(name)
        if share is not None and known is not None and share != known:
            raise InvalidInput(f"the kind {name!r} has the shares {known} and {share}; give it one")
        self._kinds[name] = share if known is None else known
        return list(self._kinds).index(name)

    def read(self, source: QuerySource, skip_bad: bool, limits: Limits | None, report: Progress) -> None:
        kind, name = self.kind(source.kind, source.share), str(source.file)
        skipped: list[str] = []
        lines = read_training_queries(source.file, skipped=skipped.append, skip_bad=skip_bad, limits=limits)
        for number, query in enumerate(lines, 1):
            try:
                positives, negatives = self._answers(query)
            except CorpusError as error:
                if not skip_bad:
                    raise
                skipped.append(str(error))
                continue
            self.add(query.text, kind, positives, negatives)
            if number % REPORTED == 0:
                report("reading queries", len(self.texts), None)
        self._skipped[name] = self._skipped.get(name, 0) + len(skipped)

    def add(self, text: str, kind: int, positives: Iterable[int], negatives: Sequence[int]) -> None:
        """A row for each positive, one row with -1 where none is left."""
        if self._forbidden is not None and self._forbidden.has_query(text):
            self._refused += 1
            return
        given = list(positives)
        rows = [row for row in dict.fromkeys(given) if row >= 0]
        self._without += bool(given) and not rows
        for row in rows or [-1]:
            key = hash((kind, text.casefold(), row))
            if key in self._seen:
                self._repeated += 1
            else:
                self._seen.add(key)
                self._append(text, kind, row, len(self.texts), negatives)

    def vary(self, inflections: Inflections, shares: dict[str, float], seed: int) -> None:
        """Adds copies of queries with other inflections."""
        kinds = np.array(self._kind)
        for number, name in enumerate(self._kinds):
            rng, rows = generator_of(seed, f"{name}, inflected"), np.flatnonzero(kinds == number)
            for row in rows[rng.random(len(rows)) < shares.get(name, 0.0)].tolist():
                varied = inflections.vary(self.texts[row], rng, INFLECTION_RATE)
                if varied != self.texts[row] and not (self._forbidden and self._forbidden.has_query(varied)):
                    self._append(varied, number, self._positives[row], row, ())

    def finished(self) -> TrainingSet:
        dropped = {
            "forbidden documents": self._documents.dropped,
            "forbidden queries": self._refused,
            "queries whose positives are forbidden": self._without,
            "repeated queries": self._repeated,
        }
        return TrainingSet(
            documents=self._documents.contents,
            document_ids=self._documents.ids,
            queries=self.texts,
            positives=np.array(self._positives, np.int64),
            kind=np.array(self._kind, np.uint8),
            kinds=list(self._kinds),
            skipped=self._skipped,
            dropped=dropped,
            shares=list(self._kinds.values()),
            origins=np.array(self._origins, np.int64),
            negatives=np.array(self._negatives, np.int64),
            negative_starts=np.concatenate([[0], np.cumsum(self._sizes)]).astype(np.int64),
        )

    def _answers(self, query: TrainingQuery) -> tuple[list[int], list[int]]:
        documents, where = self._documents, query.where
        # Ids first: they may be unknown, and then no document shall have been made of the line.
        positives = [documents.of_id(ident, where) for ident in query.positive_ids]
        negatives = [documents.of_id(ident, where) for ident in query.negative_ids]
        positives += [documents.of_text(text, where) for text in query.positives]
        negatives += [documents.of_text(text, where) for text in query.negatives]
        wrong = [row for row in dict.fromkeys(negatives) if row >= 0 and row not in positives]
        return positives, wrong

    def _append(self, text: str, kind: int, positive: int, origin: int, negatives: Sequence[int]) -> None:
        self.texts.append(text)
        self._kind.append(kind)
        self._positives.append(positive)
        self._origins.append(origin)
        self._negatives += negatives
        self._sizes.append(len(negatives))
