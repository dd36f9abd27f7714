"""Questions with their gold, from folders and files; joined documents; questions drafted from a corpus."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.corpus import Document
from lsr.errors import CorpusError, DatasetNotFound, DuplicateId, EvaluationError, InvalidInput
from lsr.rag.drafting import GAP, draft_questions
from lsr.rag.generators.base import Reply, Request
from lsr.rag.gold import Corpus, collected, joined
from lsr.rag.questions import Question, RagData, open_rag_data, write_questions
from lsr.rag.types import Failure, Span, Usage

DOMAINS = ["finance", "law", "maths", "medicine", "military", "programming"]
CORPUS: list[dict[str, Any]] = [
    {"_id": "a1", "title": "Rome", "text": "Rome is the capital\n of Italy.", "article_id": "a", "section": "Lead"},
    {"_id": "b1", "title": "Oslo", "text": "Oslo is in Norway.", "article_id": "b", "section": "Lead"},
    {"_id": "a2", "title": "Rome", "text": "It lies on the Tiber.", "article_id": "a", "section": "River"},
]


def lines(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def own(folder: Path, *questions: Mapping[str, Any], **options: Any) -> RagData:
    """The data of questions in a file beside the corpus."""
    asked = lines(folder / "questions.jsonl", questions)
    return open_rag_data(corpus=lines(folder / "docs.jsonl", CORPUS), questions=asked, **options)


def beir(folder: Path) -> Path:
    lines(folder / "corpus.jsonl", CORPUS)
    lines(
        folder / "queries.jsonl",
        [
            {"_id": "q1", "text": "Which river?", "answers": ["Tiber", "the Tiber"], "type": "FACT", "hops": 2},
            {"_id": "q2", "text": "Unjudged?"},
        ],
    )
    (folder / "qrels").mkdir(exist_ok=True)
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\ta2\t1\nq1\tb1\t0\n")
    return folder


# -- BEIR's form ---------------------------------------------------------------------------------------------------------


def test_a_beir_folder_by_one_line(tmp_path: Path) -> None:
    data = open_rag_data(beir(tmp_path / "small"))
    assert data.name == "small"
    assert list(data.documents) == ["a1", "b1", "a2"]
    (question,) = data.questions  # the other has no judgments
    assert question == Question("q1", "Which river?", ("Tiber", "the Tiber"), (Span("a2", 0, 21),), "FACT", 2)
    assert question.where.endswith("queries.jsonl:1")
    assert data.require_gold() is data.require_answers() is data


def test_a_zip_is_the_same_as_the_folder_in_it(tmp_path: Path) -> None:
    folder = beir(tmp_path / "small")
    with zipfile.ZipFile(tmp_path / "small.zip", "w") as archive:
        for path in folder.rglob("*.*"):
            archive.write(path, Path("small") / path.relative_to(folder))
    zipped, unpacked = open_rag_data(tmp_path / "small.zip"), open_rag_data(folder)
    assert zipped.key == unpacked.key
    assert zipped == unpacked


def test_a_folder_without_qrels_has_its_gold_in_the_queries(tmp_path: Path) -> None:
    lines(tmp_path / "corpus.jsonl", CORPUS)
    lines(tmp_path / "queries.jsonl", [{"_id": "q", "text": "?", "gold_ids": ["b1"]}, {"_id": "r", "text": "?"}])
    data = open_rag_data(tmp_path)
    assert [question.gold for question in data.questions] == [(Span("b1", 0, 18),), ()]
    assert data.notes == ("1 of 2 questions have no gold.", "2 of 2 questions have no answers.")


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_domains_of_ragsmith(shared: Path, domain: str) -> None:
    folder = shared / "data" / "ragsmith" / domain
    chunks, articles = open_rag_data(folder).require_gold(), open_rag_data(folder, join="auto").require_gold()
    assert len(chunks.questions) == len(articles.questions) == 100
    assert len(articles.documents) in (10, 11)
    assert chunks.key != articles.key
    records = {}
    for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        records[record["_id"]] = record
    for before, after in zip(chunks.questions, articles.questions, strict=True):
        assert {span.document for span in before.gold} == set(records[before.id]["gold_ids"])
        assert [text_of(chunks, span) for span in before.gold] == [text_of(articles, span) for span in after.gold]


def test_multihop_questions(shared: Path) -> None:
    data = open_rag_data(shared / "data" / "multihop" / "musique-498", join="auto").require_gold()
    assert len(data.documents) == 5966  # nothing to join by
    assert [sum(q.hops == hops for q in data.questions) for hops in (2, 3, 4)] == [166, 166, 166]
    assert all(len(q.gold) == q.hops for q in data.questions)


def text_of(data: RagData, span: Span) -> str:
    return data.documents[span.document].text[span.start : span.end]


# -- one's own files -----------------------------------------------------------------------------------------------------


def test_gold_is_a_document_places_of_it_or_a_quote(tmp_path: Path) -> None:
    data = own(
        tmp_path,
        {"question": "one?", "answer": "x", "gold": "b1"},
        {"question": "two?", "gold": ["a1", {"document": "b1", "start": 0, "end": 4}]},
        {"question": "three?", "gold": {"document": "a1", "quote": "the capital of Italy"}},
    )
    first, second, third = data.questions
    assert (first.id, first.answers, first.gold) == ("1", ("x",), (Span("b1", 0, 18),))
    assert [text_of(data, span) for span in second.gold] == [CORPUS[0]["text"], "Oslo"]
    assert [text_of(data, span) for span in third.gold] == ["the capital\n of Italy"]


def test_questions_from_a_table_and_from_an_array_are_those_of_lines(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        {"id": "q1", "question": "Where?", "answers": ["in Rome", "Rome"], "gold": ["a1", "b1"], "hops": 2},
        {
            "id": "q2",
            "question": "What [is it]?",
            "answers": "[it] is",
            "gold": {"document": "a2", "start": 3, "end": 7},
        },
    ]
    data = own(tmp_path, *records)
    (tmp_path / "questions.json").write_text(json.dumps(records))
    with (tmp_path / "questions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        for record in records:
            cells = {
                name: json.dumps(value) if isinstance(value, list | dict) else value for name, value in record.items()
            }
            writer.writerow(cells)
    for name in ("questions.json", "questions.csv"):
        assert open_rag_data(corpus=tmp_path / "docs.jsonl", questions=tmp_path / name).questions == data.questions


def test_questions_of_ones_own_about_the_corpus_of_a_folder(tmp_path: Path) -> None:
    asked = lines(tmp_path / "mine.jsonl", [{"question": "Where?", "gold": "b1"}])
    data = open_rag_data(beir(tmp_path / "small"), questions=asked)
    assert [q.text for q in data.questions] == ["Where?"]
    assert data.name == "mine"


def test_what_would_not_be_read_is_refused(tmp_path: Path) -> None:
    folder, asked = beir(tmp_path / "small"), lines(tmp_path / "mine.jsonl", [{"question": "Where?", "gold": "b1"}])
    with pytest.raises(InvalidInput, match="would not be read beside corpus and questions"):
        open_rag_data(folder, corpus=folder, questions=asked)
    with pytest.raises(InvalidInput, match="split 'dev' is one of the judgments of a folder"):
        open_rag_data(folder, split="dev", questions=asked)
    with pytest.raises(InvalidInput, match="split 'dev' is one of the judgments of a folder"):
        open_rag_data(folder, split="dev", corpus=folder)


def test_texts_and_folders_of_pages_can_be_the_corpus(tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "rome.md").write_text("# Rome\n\nRome is the capital of Italy.\n")
    asked = lines(tmp_path / "q.jsonl", [{"question": "?", "gold": {"document": "rome.md#0", "quote": "capital"}}])
    data = open_rag_data(corpus=tmp_path / "pages", questions=asked)
    assert text_of(data, data.questions[0].gold[0]) == "capital"


def test_answers_alone_are_enough_unless_gold_is_asked_for(tmp_path: Path) -> None:
    data = own(tmp_path, {"question": "one?", "answer": "x"}, {"question": "two?", "gold": "b1"})
    with pytest.raises(EvaluationError, match=r"1 of 2 questions have no gold \(.*questions.jsonl:1\); give"):
        data.require_gold()
    with pytest.raises(EvaluationError, match=r"1 of 2 questions have no answers \(.*questions.jsonl:2\)"):
        data.require_answers()


def test_the_key_changes_with_documents_and_questions_and_nothing_else(tmp_path: Path) -> None:
    question = {"question": "one?", "answer": "x"}
    data, same = own(tmp_path / "1", question), own(tmp_path / "2", question)
    other = own(tmp_path / "3", {**question, "answer": "y"})
    assert data.key == same.key != other.key
    assert data.corpus_key == other.corpus_key != own(tmp_path / "4", question, join="article_id").corpus_key


# -- joining -------------------------------------------------------------------------------------------------------------


def test_documents_of_an_article_become_one(tmp_path: Path) -> None:
    gold = [{"document": "a2", "quote": "the Tiber"}, "a2", "b1", {"document": "a", "start": 0, "end": 4}]
    data = own(tmp_path, {"question": "?", "gold": gold}, join="article_id")
    assert list(data.documents) == ["a", "b"]
    article = data.documents["a"]
    assert article.text == "Rome is the capital\n of Italy.\n\nIt lies on the Tiber."
    assert (article.title, dict(article.metadata)) == ("Rome", {"article_id": "a"})
    assert dict(data.documents["b"].metadata) == {"article_id": "b", "section": "Lead"}
    texts = [text_of(data, span) for span in data.questions[0].gold]
    assert texts == ["the Tiber", CORPUS[2]["text"], CORPUS[1]["text"], "Rome"]


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.text(max_size=6)), min_size=1, max_size=12))
def test_joining_loses_no_character_and_keeps_the_order(parts: list[tuple[str, str]]) -> None:
    documents = [Document(f"d{i}", text, metadata={"of": of}) for i, (of, text) in enumerate(parts)]
    whole = joined(collected(documents), "of")
    assert list(whole.documents) == list(dict.fromkeys(of for of, _ in parts))
    for document in documents:
        span = whole.place(document.id)
        assert span is not None
        assert whole.documents[span.document].text[span.start : span.end] == document.text
    for name, document in whole.documents.items():
        assert document.text == "\n\n".join(text for of, text in parts if of == name)


def test_joining_by_a_field_that_is_not_there(tmp_path: Path) -> None:
    question = {"question": "?", "answer": "x"}
    with pytest.raises(InvalidInput, match=r"docs.jsonl:1: no field 'articel' to join by; did you mean article_id\?"):
        own(tmp_path, question, join="articel")
    lines(tmp_path / "plain.jsonl", [{"_id": "a", "text": "x"}])
    asked = tmp_path / "questions.jsonl"
    assert len(open_rag_data(corpus=tmp_path / "plain.jsonl", questions=asked, join="auto").documents) == 1


def test_ids_that_joining_would_make_ambiguous_are_refused() -> None:
    documents = [Document("a", "x", metadata={"of": "b"}), Document("b", "y", metadata={"of": "b"})]
    with pytest.raises(InvalidInput, match="'b' is the id of a document and the of of others"):
        joined(collected(documents), "of")
    alone = collected([Document("b", "y", metadata={"of": "b"})])
    assert isinstance(joined(alone, "of"), Corpus)


# -- wrong input ---------------------------------------------------------------------------------------------------------


def test_all_gold_that_is_not_in_the_corpus_is_listed_with_its_places(tmp_path: Path) -> None:
    missing = [{"question": f"{i}?", "gold": [f"nowhere{i}"]} for i in range(8)]
    with pytest.raises(EvaluationError) as error:
        own(
            tmp_path,
            {"question": "?", "gold": ["a11", {"document": "b1", "start": 3, "end": 19}]},
            {"question": "?", "gold": [{"document": "b1", "quote": "in  Sweden"}, "b1"]},
            *missing,
        )
    message = str(error.value)
    assert "(11 in all)" in message
    assert "questions.jsonl:1: no document 'a11' (did you mean 'a1'?)" in message
    assert "questions.jsonl:1: [3, 19) of 'b1', which has 18 characters" in message
    assert "questions.jsonl:2: no 'in Sweden' in the document 'b1'" in message
    assert "and 6 more" in message


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"question": "?", "gold": {"document": "b1", "qoute": "x"}}, r"'qoute'; did you mean quote\?"),
        ({"question": "?", "gold": {"quote": "x"}}, "names no document"),
        ({"question": "?", "gold": {"document": "b1", "start": 3}}, r"\[3, None\) of 'b1'"),
        ({"question": "?", "gold": {"document": "b1", "start": 3, "end": 3}}, "start before end"),
        ({"question": "?", "gold": {"document": "b1", "start": 3, "end": 5, "quote": "x"}}, "a quote and places"),
        ({"question": "?", "gold": [2.5]}, "gold is '2.5'"),
        ({"question": "?", "gold": "[b1"}, "malformed JSON"),
        ({"question": "?", "hops": "two"}, "hops is 'two'"),
        ({"question": "?", "type": 3}, "type is '3'"),
        ({"question": "?", "answers": [{"text": "x"}]}, "answers are texts"),
        ({"question": " "}, "is empty"),
    ],
)
def test_questions_that_cannot_be_read_name_their_line(
    question: Mapping[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(EvaluationError, match=rf"questions\.jsonl:2: .*{message}"):
        own(tmp_path, {"question": "fine?"}, question)


def test_ids_must_be_distinct(tmp_path: Path) -> None:
    with pytest.raises(DuplicateId, match=r"questions\.jsonl:2: the question id 'q' was given at .*jsonl:1"):
        own(tmp_path, {"id": "q", "question": "a?"}, {"id": "q", "question": "b?"})
    twice = lines(tmp_path / "twice.jsonl", [*CORPUS, CORPUS[0]])
    with pytest.raises(DuplicateId, match=r"twice\.jsonl:4: the document id 'a1'"):
        open_rag_data(corpus=twice, questions=tmp_path / "questions.jsonl")


def test_files_that_are_missing_or_empty(tmp_path: Path) -> None:
    asked = lines(tmp_path / "q.jsonl", [{"question": "?"}])
    with pytest.raises(InvalidInput, match="one of them is missing"):
        open_rag_data(questions=asked)
    with pytest.raises((CorpusError, DatasetNotFound), match="no such file"):
        open_rag_data(tmp_path / "nowhere")
    with pytest.raises(CorpusError, match="empty"):
        open_rag_data(corpus=lines(tmp_path / "docs.jsonl", CORPUS), questions=lines(tmp_path / "none.jsonl", []))
    folder = beir(tmp_path / "small")
    lines(folder / "queries.jsonl", [{"_id": "other", "text": "?"}])
    with pytest.raises(EvaluationError, match="no question has judgments"):
        open_rag_data(folder)


def test_a_quote_that_stands_twice_is_noted(tmp_path: Path) -> None:
    data = own(tmp_path, {"question": "?", "answer": "x", "gold": {"document": "b1", "quote": "o"}})
    assert data.questions[0].gold == (Span("b1", 3, 4),)
    assert "stand at several places" in data.notes[0]


# -- drafting ------------------------------------------------------------------------------------------------------------

PROSE = [
    Document(
        "rome",
        "Rome lies on the river Tiber in the middle of Italy.\n\n"
        + "The city has 2,748,109 people who live in it today. " * 2,
    ),
    Document("oslo", "Oslo is the capital of Norway and was founded by king Harald Hardrade. It is old."),
    Document("tiny", "Too short."),
]


def test_clozes_ask_for_a_name_or_number_of_their_passage() -> None:
    drafted = draft_questions(PROSE, 9)
    by_answer = {question.answers[0]: question for question in drafted}
    assert "2,748,109" in by_answer
    for question in drafted:
        (span,) = question.gold
        passage = next(document for document in PROSE if document.id == span.document).text[span.start : span.end]
        assert question.drafted == "cloze"
        assert GAP in question.text
        assert question.answers[0] not in question.text
        assert question.text.replace(GAP, question.answers[0]) in passage
    assert draft_questions(PROSE, 9) == drafted
    assert len(draft_questions(PROSE, 1)) == 1


def test_drafted_questions_are_read_back_and_marked(tmp_path: Path) -> None:
    lines(tmp_path / "corpus.jsonl", [{"_id": d.id, "text": d.text} for d in PROSE])
    drafted = draft_questions(PROSE, 2, seed=3)
    write_questions(drafted, tmp_path / "drafted.jsonl")
    data = open_rag_data(corpus=tmp_path / "corpus.jsonl", questions=tmp_path / "drafted.jsonl")
    assert data.questions == tuple(drafted)
    assert "2 of 2 questions were drafted from the corpus" in data.notes[0]


class Writer:
    """Writes what it is told to, in order, then always the last."""

    name = "writer"
    context: int | None = None

    def __init__(self, *replies: str | Failure) -> None:
        self.replies, self.asked = list(replies), list[Request]()

    def identity(self) -> dict[str, str]:
        return {"name": self.name}

    def generate(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        self.asked.extend(requests)
        said = [self.replies.pop(0) if len(self.replies) > 1 else self.replies[0] for _ in requests]
        return [one if isinstance(one, Failure) else Reply(one, Usage()) for one in said]


def test_a_generator_drafts_from_the_passage_that_it_is_shown() -> None:
    writer = Writer("I cannot.", "QUESTION: Where is Rome?\nANSWER: In Italy")
    (question,) = draft_questions(PROSE, 1, generator=writer)
    assert (question.text, question.answers, question.drafted) == ("Where is Rome?", ("In Italy",), "writer")
    (span,) = question.gold
    document = next(document for document in PROSE if document.id == span.document)
    prompt = writer.asked[1].messages[-1].content
    assert f"<passage 1>\n{document.text[span.start : span.end].strip()}\n</passage 1>" in prompt
    assert len(writer.asked) == 2


def test_why_nothing_could_be_drafted() -> None:
    with pytest.raises(EvaluationError, match="writer does not write the two lines"):
        draft_questions(PROSE, 2, generator=Writer("No."))
    with pytest.raises(EvaluationError, match="endpoint is down"):
        draft_questions(PROSE, 2, generator=Writer(Failure("", "the endpoint is down")))
    with pytest.raises(EvaluationError, match="0 passages"):
        draft_questions(PROSE[2:], 2)
    with pytest.raises(InvalidInput, match="0 questions"):
        draft_questions(PROSE, 0)
