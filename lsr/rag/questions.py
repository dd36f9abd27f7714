"""Questions with what answers them, and the documents that they are asked of: what pipelines are evaluated on."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xxhash

from lsr.corpus import Document, read_documents
from lsr.corpus.fields import Record, queries
from lsr.corpus.sources import query_records
from lsr.corpus.streams import shown
from lsr.disk import atomic_write
from lsr.errors import DuplicateId, EvaluationError, InvalidInput
from lsr.eval.datasets import Dataset, open_dataset
from lsr.eval.qrels import Qrels
from lsr.limits import Limits
from lsr.rag.gold import SHOWN, GoldReader, collected, gold_items, joined
from lsr.rag.types import Span

__all__ = ["Question", "RagData", "open_rag_data", "write_questions"]


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and what is known of its answer.

    answers: texts that are right, each alone. gold: the places that answer it, all of which are needed; empty where nobody
    said. type, hops: of the question, for figures by group. drafted: what made the question from the corpus, None for one
    that somebody asked. where: the place that it was read from, which does not count when questions are compared.
    """

    id: str
    text: str
    answers: tuple[str, ...] = ()
    gold: tuple[Span, ...] = ()
    type: str | None = None
    hops: int | None = None
    drafted: str | None = None
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class RagData:
    """Documents by id in their order, and questions about them. `notes` are caveats, a sentence each."""

    documents: Mapping[str, Document] = field(repr=False)
    questions: tuple[Question, ...] = field(repr=False)
    name: str
    notes: tuple[str, ...] = ()

    @property
    def corpus_key(self) -> str:
        """A hash of ids, titles and texts of the documents."""
        digest = xxhash.xxh3_128()
        for document in self.documents.values():
            digest.update(json.dumps([document.id, document.title, document.text]).encode())
        return digest.hexdigest()

    @property
    def key(self) -> str:
        """A hash of documents and questions: equal keys are equal data."""
        digest = xxhash.xxh3_128(self.corpus_key.encode())
        for question in self.questions:
            digest.update(json.dumps(_record(question)).encode())
        return digest.hexdigest()

    def require_gold(self) -> RagData:
        """The data themselves. Raises `EvaluationError` that lists questions without gold."""
        return self._require("gold", "their gold (document ids or spans), or choose measures of answers alone")

    def require_answers(self) -> RagData:
        """The data themselves. Raises `EvaluationError` that lists questions without answers."""
        return self._require("answers", "their answers, or choose measures of retrieval alone")

    def _require(self, what: str, remedy: str) -> RagData:
        lacking = [question.where or question.id for question in self.questions if not getattr(question, what)]
        if lacking:
            more = ", ..." if len(lacking) > SHOWN else ""
            raise EvaluationError(
                f"{self.name}: {len(lacking):,} of {len(self.questions):,} questions have no {what} "
                f"({', '.join(lacking[:SHOWN])}{more}); give {remedy}"
            )
        return self


def open_rag_data(
    source: str | Path | None = None,
    *,
    join: str | None = None,
    corpus: str | Path | None = None,
    questions: str | Path | None = None,
    split: str | None = None,
) -> RagData:
    """Documents and questions from a folder or zip of BEIR's form, or from files of one's own.

    source: a folder or zip with corpus, queries and, where gold is not in the queries, qrels (`split`: "test" when None, or
      the only one). Documents of a grade that counts as relevant are gold as a whole.
    corpus: anything that `lsr.read_documents` reads, instead of the documents of the source.
    questions: .jsonl, .json, .csv, .tsv or .parquet, instead of the queries of the source: `question` or `text`, and if
    known
      `answers` or `answer` (a text or a list), `gold` (ids of documents, or spans as `lsr.rag.gold` says), `type`, `hops`.
    join: a metadata field. Documents with the same value of it become one, whose id is the value: texts in the order of the
      file with a blank line between them, the first title, the metadata that all share; gold moves with its text. So
      chunkings are compared on whole articles where a corpus comes in chunks. "auto": by article_id, where all have one.

    Raises `EvaluationError` for gold that is not in the corpus (lists it), questions that cannot be read as given, and none
    at all; `DuplicateId`; `InvalidInput` for a join by a field that documents lack, when a file is not said, and when a
    source or a split is that would not be read; `CorpusError` and `DatasetNotFound` as the readers do.
    """
    if source is not None and corpus is not None and questions is not None:
        raise InvalidInput(
            f"data {str(source)!r} would not be read beside corpus and questions: leave one or the other out"
        )
    qrels: Qrels | None = None
    notes: list[str] = []
    at_corpus = corpus or source
    name = Path(questions or source or "").resolve().stem
    if source is not None and corpus is None and questions is None and _has_judgments(Path(source)):
        dataset = open_dataset(str(source), split=split)
        qrels, name, documents = _relevant(dataset), dataset.name, dataset.documents()
        notes.extend(dataset.notes)
    elif split is not None:
        raise InvalidInput(
            f"split {split!r} is one of the judgments of a folder or zip (data), whose own corpus and questions are used"
        )
    elif at_corpus is not None:
        documents = read_documents(at_corpus)
    at_questions = questions or (None if source is None else _queries_of(Path(source)))
    if at_corpus is None or at_questions is None:
        raise InvalidInput("data are a folder or zip with both, or corpus= and questions=: one of them is missing")
    place = collected(documents)
    if join is not None:
        place = joined(place, join)
    read = GoldReader(place)
    found = tuple(_questions(query_records(at_questions), read, qrels))
    read.check()
    if not found:
        raise EvaluationError(f"{shown(str(at_questions))}: no question has judgments; give qrels of these queries")
    return RagData(place.documents, found, name, (*notes, *_remarks(found, read)))


def write_questions(questions: Iterable[Question], path: str | Path) -> None:
    """Questions as a .jsonl that `open_rag_data` reads, at once or not at all. Raises `StorageError`."""
    with atomic_write(Path(path)) as file:
        for question in questions:
            file.write(json.dumps(_record(question), ensure_ascii=False).encode() + b"\n")


def _record(question: Question) -> dict[str, Any]:
    gold = [{"document": span.document, "start": span.start, "end": span.end} for span in question.gold]
    record = {
        "_id": question.id,
        "text": question.text,
        "answers": list(question.answers),
        "gold": gold,
        "type": question.type,
        "hops": question.hops,
        "drafted": question.drafted,
    }
    return {name: value for name, value in record.items() if value not in (None, [])}


def _queries_of(source: Path) -> Path:
    """The file of queries in a folder, which may have another ending than that of BEIR; the source itself elsewhere."""
    there = source / "queries.jsonl"
    others = sorted(source.glob("queries.*")) if source.is_dir() and not there.is_file() else []
    return others[0] if len(others) == 1 else source


def _has_judgments(path: Path) -> bool:
    if path.is_dir():
        return (path / "qrels").is_dir() or any(path.glob("qrels.*"))
    if path.suffix == ".zip" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any("qrels/" in name for name in archive.namelist())
    return False


def _relevant(dataset: Dataset) -> Qrels:
    """The judgments that count as gold; a query without any keeps its place."""
    return {
        query: {document: grade for document, grade in grades.items() if grade >= dataset.relevance_threshold}
        for query, grades in dataset.qrels.items()
    }


def _questions(records: Iterable[Record], read: GoldReader, qrels: Qrels | None) -> Iterator[Question]:
    kept = list(records)
    places: dict[str, str] = {}
    for (record, where), query in zip(kept, queries(iter(kept), limits=Limits.default()), strict=True):
        if query.id in places:
            raise DuplicateId(
                f"{where}: the question id {query.id!r} was given at {places[query.id]} already; make ids distinct"
            )
        places[query.id] = where
        if not query.text.strip():
            raise EvaluationError(f"{where}: the question {query.id!r} is empty; write it, or remove the line")
        items = gold_items(record.get("gold"), where)
        if not items and qrels is not None:
            if query.id not in qrels:
                continue
            items = list(qrels[query.id])
        yield Question(
            id=query.id,
            text=query.text,
            answers=_answers(record, where),
            gold=read.spans(items or gold_items(record.get("gold_ids"), where), where),
            type=_text(record, "type", where),
            hops=_hops(record.get("hops"), where),
            drafted=_text(record, "drafted", where),
            where=where,
        )


def _answers(record: Mapping[str, Any], where: str) -> tuple[str, ...]:
    value = record.get("answers", record.get("answer"))
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(json.JSONDecodeError):  # a text that begins with a bracket
            value = json.loads(value)  # a list in the cell of a table
    several = [] if value in (None, "") else value if isinstance(value, list) else [value]
    for answer in several:
        if not isinstance(answer, str | int | float) or isinstance(answer, bool):
            raise EvaluationError(f"{where}: an answer is {str(answer)[:40]!r}; answers are texts")
    return tuple(dict.fromkeys(str(answer) for answer in several if str(answer).strip()))


def _text(record: Mapping[str, Any], name: str, where: str) -> str | None:
    value = record.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise EvaluationError(f"{where}: {name} is {str(value)[:40]!r}; it must be a text")
    return value


def _hops(value: Any, where: str) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if type(value) is not int or value < 1:
        raise EvaluationError(f"{where}: hops is {str(value)[:40]!r}; it must be a whole number from 1")
    return value


def _remarks(questions: tuple[Question, ...], read: GoldReader) -> Iterator[str]:
    for what, lacking in (
        ("gold", sum(not question.gold for question in questions)),
        ("answers", sum(not question.answers for question in questions)),
    ):
        if lacking:
            yield f"{lacking:,} of {len(questions):,} questions have no {what}."
    if drafted := sum(question.drafted is not None for question in questions):
        yield (
            f"{drafted:,} of {len(questions):,} questions were drafted from the corpus: each is easier for whatever finds "
            "the words of the passage that it was made from."
        )
    if read.ambiguous:
        yield f"{read.ambiguous:,} quotes stand at several places of their document: the first counts as gold."
