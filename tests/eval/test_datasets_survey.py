"""What is counted, hashed and refused before anything is measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import xxhash

from lsr.corpus import Document, Query
from lsr.errors import DuplicateId, EvaluationError
from lsr.eval.datasets import Dataset, survey
from lsr.eval.qrels import Qrels

DOCUMENTS = (Document("d1", "text", "Title"), Document("d2", "äöü"), Document("d3", ""))
QRELS: Qrels = {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}, "q3": {"d3": -1}}


def dataset(
    documents: Sequence[Document] = DOCUMENTS, qrels: Qrels = QRELS, queries: str = "q1 q2 q3", threshold: int = 1
) -> Dataset:
    return Dataset(
        name="tiny",
        split="test",
        source="tiny (made up)",
        queries=tuple(Query(name, f"text of {name}") for name in queries.split()),
        qrels=qrels,
        relevance_threshold=threshold,
        drop_self=False,
        notes=("A note.",),
        reader=lambda: iter(documents),
    )


def test_the_facts_of_a_collection() -> None:
    facts = survey(dataset())
    assert (facts.documents, facts.queries, facts.judgments) == (3, 3, 4)
    assert facts.grades == {-1: 1, 0: 1, 1: 1, 2: 1}
    assert (facts.relevant, facts.queries_without_relevant, facts.missing_documents) == (2, 1, 0)
    assert facts.mean_characters == pytest.approx((len("Title text") + 3 + 0) / 3)
    assert facts.notes == (
        "A note.",
        "1 document is without title and text.",
        "1 query has no document of grade 1 or more: binary measures are 0 there, whatever a system finds.",
    )


def hashed(*fields: str) -> str:
    """xxh3_128 of fields, each after its length in bytes."""
    data = [field.encode() for field in fields]
    digest: str = xxhash.xxh3_128_hexdigest(b"".join(len(field).to_bytes(8, "little") + field for field in data))
    return digest


def test_the_form_in_a_report() -> None:
    assert survey(dataset()).as_json() == {
        "name": "tiny",
        "split": "test",
        "source": "tiny (made up)",
        "documents": 3,
        "queries": 3,
        "judgments": 4,
        "grades": {"-1": 1, "0": 1, "1": 1, "2": 1},
        "relevant": 2,
        "queries_without_relevant": 1,
        "relevance_threshold": 1,
        "mean_document_characters": 4.3,
        "hashes": {
            "documents": hashed("d1", "Title", "text", "d2", "", "äöü", "d3", "", ""),
            "queries": hashed("q1", "text of q1", "q2", "text of q2", "q3", "text of q3"),
            "judgments": hashed("q1", "d1", "2", "q1", "d2", "0", "q2", "d2", "1", "q3", "d3", "-1"),
        },
        "self_retrieval_dropped": False,
        "missing_documents": 0,
        "notes": list(survey(dataset()).notes),
    }


def hashes(given: Dataset) -> tuple[str, str, str]:
    facts = survey(given)
    return facts.documents_hash, facts.queries_hash, facts.judgments_hash


def test_hashes_change_with_what_they_are_of_and_with_nothing_else() -> None:
    documents, queries, judgments = hashes(dataset())
    assert hashes(replace(dataset(), name="other", notes=(), drop_self=True)) == (documents, queries, judgments)
    # Queries and judgments are sets; the order of documents breaks ties in engines.
    turned = {query: dict(reversed(judged.items())) for query, judged in reversed(QRELS.items())}
    assert hashes(dataset(qrels=turned, queries="q3 q1 q2")) == (documents, queries, judgments)
    assert hashes(dataset(DOCUMENTS[::-1]))[0] != documents
    other = (Document("d1", "text2", "Title"), *DOCUMENTS[1:])
    assert hashes(dataset(other))[0] != documents
    assert hashes(dataset(other))[1:] == (queries, judgments)
    assert hashes(dataset(qrels={**QRELS, "q2": {"d2": 2}}))[2] != judgments
    # Where one field ends and the next begins is a part of it.
    assert hashes(dataset((Document("d1", "ext", "Titlet"), *DOCUMENTS[1:])))[0] != documents
    # Where a document was read and its metadata are not.
    moved = [replace(document, where="elsewhere", metadata={"a": 1}) for document in DOCUMENTS]
    assert hashes(dataset(moved))[0] == documents


def test_the_source_is_read_once() -> None:
    times = []

    def reader() -> Iterator[Document]:
        times.append(1)
        return iter(DOCUMENTS)

    survey(replace(dataset(), reader=reader))
    assert len(times) == 1


def test_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int | None]] = []
    monkeypatch.setattr("lsr.eval.datasets.facts.EVERY", 2)
    survey(dataset(), progress=lambda *report: told.append(report))
    assert told == [("reading documents", 2, None), ("reading documents", 3, 3)]


# Refused


def test_judged_documents_that_the_corpus_lacks_are_refused_unless_allowed() -> None:
    qrels: Qrels = {"q1": {"d1": 1, **{f"x{i}": 1 for i in range(6)}}}
    lacking = dataset(qrels=qrels, queries="q1")
    with pytest.raises(
        EvaluationError,
        match=r"tiny: 6 judged documents are not in the corpus: 'x0', 'x1', 'x2', 'x3', 'x4', \.\.\..*--allow-missing",
    ):
        survey(lacking)
    facts = survey(lacking, allow_missing=True)
    assert (facts.missing_documents, facts.judgments, facts.relevant) == (6, 7, 7)
    assert facts.notes[1].startswith("6 judged documents are not in the corpus and count as not found: 'x0', 'x1'")


@pytest.mark.parametrize("qrels", [{}, {"q1": {}}])
def test_a_collection_without_judgments_is_refused(qrels: Qrels) -> None:
    with pytest.raises(EvaluationError, match=r"tiny: no judgments \(qrels\)"):
        survey(dataset(qrels=qrels))


def test_judgments_that_say_relevant_of_nothing_are_refused() -> None:
    with pytest.raises(EvaluationError, match="no judgment has a grade of 1 or more"):
        survey(dataset(qrels={"q1": {"d1": 0}, "q2": {"d2": -1}}))


def test_judged_queries_without_a_text_are_refused() -> None:
    qrels: Qrels = {f"q{i}": {"d1": 1} for i in range(1, 9)}
    with pytest.raises(
        EvaluationError, match=r"tiny: 6 judged queries have no text: 'q3', 'q4', 'q5', 'q6', 'q7', \.\.\."
    ):
        survey(dataset(qrels=qrels, queries="q1 q2"))
    with pytest.raises(EvaluationError, match="1 judged query has no text: 'q9'"):
        survey(dataset(qrels={"q1": {"d1": 1}, "q9": {"d1": 1}}, queries="q1"))


def test_an_id_given_twice_is_refused_with_both_places() -> None:
    twice = [*DOCUMENTS, Document("d2", "other", where="c.jsonl:9")]
    with pytest.raises(DuplicateId, match=r"c\.jsonl:9: the document id 'd2' was given at tiny: document 1 already"):
        survey(dataset(twice))


def test_ids_whose_hashes_meet_are_not_called_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xxhash.xxh3_64_intdigest", lambda data: 7)
    assert survey(dataset()).documents == 3


def test_a_corpus_without_documents_is_refused() -> None:
    with pytest.raises(EvaluationError, match="tiny: no documents"):
        survey(dataset(()))


def test_a_text_that_utf8_cannot_say_is_counted_all_the_same() -> None:
    assert survey(dataset([*DOCUMENTS, Document("d4", "half \ud800")])).documents == 4


def test_with_a_higher_threshold_queries_without_such_a_grade_are_noted() -> None:
    facts = survey(dataset(threshold=2))
    assert facts.queries_without_relevant == 1
    assert facts.notes[-1].startswith("2 queries have no document of grade 2 or more")
