"""Documents and queries as a training set."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsr.errors import CorpusError, DuplicateId, InvalidInput
from lsr.training.data import (
    Forbidden,
    MadeQueries,
    QuerySource,
    TrainingSet,
    development_split,
    load_training_set,
    read_training_queries,
    without_texts,
)


def jsonl(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return jsonl(
        tmp_path / "corpus.jsonl",
        {"_id": "a", "title": "Logs", "text": "Rotating a log file."},
        {"_id": "b", "text": "Stars are hot."},
        {"_id": "c", "text": "Stars are hot."},
    )


def load(corpus: Path, queries: Path, **options: Any) -> TrainingSet:
    return load_training_set([corpus], [QuerySource(queries, "own")], **options)


def test_titles_join_the_text_and_equal_documents_are_one(corpus: Path, tmp_path: Path) -> None:
    more = jsonl(tmp_path / "more.jsonl", {"_id": "d", "text": "Logs Rotating a log file."}, {"_id": "e", "text": " "})
    found = load_training_set([corpus, more], [QuerySource(jsonl(tmp_path / "q.jsonl", {"query": "x"}), "own")])
    assert found.documents == ["Logs Rotating a log file.", "Stars are hot."]
    assert found.document_ids == ["a", "b"]


def test_positives_are_ids_or_texts_and_new_texts_become_documents(corpus: Path, tmp_path: Path) -> None:
    queries = jsonl(
        tmp_path / "q.jsonl",
        {"query": "by id", "positive_ids": ["c"]},
        {"text": "by whole text", "positive": "Logs Rotating a log file."},
        {"query": "by text below the title", "positive": "Rotating a log file."},
        {
            "query": "a new one",
            "positives": ["Moons are cold.", "Stars are hot."],
            "negatives": ["Rain is wet.", "Stars are hot."],
        },
        {"query": "without"},
    )
    found = load(corpus, queries)
    assert found.documents[2:] == ["Moons are cold.", "Rain is wet."]
    assert len(set(found.document_ids)) == 4
    assert found.queries == ["by id", "by whole text", "by text below the title", "a new one", "a new one", "without"]
    assert found.positives.tolist() == [1, 0, 0, 2, 1, -1]
    assert found.positives.dtype == np.int64
    assert found.kind.dtype == np.uint8
    assert found.negative_starts.tolist() == [0, 0, 0, 0, 1, 2, 2]
    assert found.negatives.tolist() == [3, 3]  # never what is a positive too
    assert found.origins.tolist() == list(range(6))


def test_numbered_documents_of_two_files_get_ids_of_their_own(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.txt").write_text(f"first of {name}\nsecond of {name}\n")
    queries = jsonl(tmp_path / "q.jsonl", {"query": "x", "positive_ids": 1})
    found = load_training_set([tmp_path / "one.txt", tmp_path / "two.txt"], [QuerySource(queries, "own")])
    assert found.document_ids == ["0", "1", "0.2", "1.2"]
    assert found.positives.tolist() == [1]


def test_one_id_for_two_texts_is_refused(corpus: Path, tmp_path: Path) -> None:
    other = jsonl(tmp_path / "other.jsonl", {"_id": "a", "text": "Something else."})
    with pytest.raises(DuplicateId, match=r"other\.jsonl:1: the id 'a' was given to a document with another text"):
        load_training_set([corpus, other], [])


def test_a_query_that_is_repeated_with_its_positive_is_kept_once(corpus: Path, tmp_path: Path) -> None:
    lines = [
        {"query": "Hot stars", "positive_ids": "b"},
        {"query": "hot  stars", "positive_ids": "c"},
        {"query": "hot stars"},
    ]
    found = load(corpus, jsonl(tmp_path / "q.jsonl", *lines))
    assert found.queries == ["Hot stars", "hot stars"]
    assert found.dropped["repeated queries"] == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"q\.jsonl:2: malformed JSON"),
        ("[1]", r"q\.jsonl:2: a JSON list, not an object"),
        ('{"answer": "x"}', r"q\.jsonl:2: no query in it; name the field 'query'"),
        ('{"query": 7}', r"q\.jsonl:2: the field 'query' is the number 7"),
        ('{"query": "x", "positive": [1]}', r"q\.jsonl:2: the field 'positive' is the number 1"),
        ('{"query": "x", "positive": ""}', r"q\.jsonl:2: the field 'positive' holds an empty text"),
        ('{"query": "x", "positive_ids": 1.5}', r"q\.jsonl:2: the field 'positive_ids' must be an id or a list of ids"),
        ('{"query": "x", "positive_ids": ["nobody"]}', r"q\.jsonl:2: no document has the id 'nobody'"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_or_counted(corpus: Path, tmp_path: Path, line: str, message: str) -> None:
    queries = tmp_path / "q.jsonl"
    queries.write_text(f'{{"query": "before"}}\n{line}\n{{"query": "after"}}\n')
    with pytest.raises(CorpusError, match=message):
        load(corpus, queries)
    found = load(corpus, queries, skip_bad=True)
    assert found.queries == ["before", "after"]
    assert found.skipped == {str(queries): 1}


def test_empty_and_endless_queries_are_counted(corpus: Path, tmp_path: Path) -> None:
    queries = jsonl(tmp_path / "q.jsonl", {"query": " "}, {"query": "x" * 1001}, {"query": "x" * 1000})
    found = load(corpus, queries)
    assert [len(query) for query in found.queries] == [1000]
    assert found.skipped == {str(queries): 2}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("q1\thow?\nq2\twhy not?\n", [("how?", ()), ("why not?", ())]),
        ("how so?\tthus\nwhy?\tfor that\n", [("how so?", ("thus",)), ("why?", ("for that",))]),
        ("q1\thow so?\tthus\n", [("how so?", ("thus",))]),
        ('positive\tquery\n"a ""b"""\tc d\n', [("c d", ('a "b"',))]),
        ("how?\nwhy?\n", [("how?", ()), ("why?", ())]),
    ],
)
def test_columns_of_a_table(tmp_path: Path, text: str, expected: list[tuple[str, tuple[str, ...]]]) -> None:
    path = tmp_path / "q.tsv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    assert [(query.text, query.positives) for query in read_training_queries(path)] == expected


def test_a_table_with_a_tab_too_many_is_refused_at_its_line(tmp_path: Path) -> None:
    path = tmp_path / "q.tsv"
    path.write_text("q1\thow?\nq2\twhy\t?\n")
    with pytest.raises(CorpusError, match=r"q\.tsv:2: 3 columns, not 2 \(_id, query\)"):
        list(read_training_queries(path))


def test_other_files_and_missing_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"q\.csv: training queries are read from \.jsonl"):
        read_training_queries(tmp_path / "q.csv")
    with pytest.raises(CorpusError, match=r"q\.txt: no such file"):
        read_training_queries(tmp_path / "q.txt")


def test_nothing_to_train_on_is_refused(corpus: Path) -> None:
    with pytest.raises(InvalidInput, match="no queries to train on"):
        load_training_set([corpus])


def test_kinds_and_shares(corpus: Path, tmp_path: Path) -> None:
    one, two = jsonl(tmp_path / "1.jsonl", {"query": "x"}), jsonl(tmp_path / "2.jsonl", {"query": "y"})
    found = load_training_set([corpus], [QuerySource(one, "a"), QuerySource(two, "b", 0.5), QuerySource(two, "a", 0.1)])
    assert (found.kinds, found.shares, found.kind.tolist()) == (["a", "b"], [0.1, 0.5], [0, 1, 0])
    with pytest.raises(InvalidInput, match=r"the kind 'a' has the shares 0\.5 and 0\.1"):
        load_training_set([corpus], [QuerySource(one, "a", 0.5), QuerySource(two, "a", 0.1)])


def test_made_queries_join_those_of_files(tmp_path: Path) -> None:
    words = ("solar panels", "winter tyres", "garden hoses", "copper kettles")
    texts = [{"_id": str(i), "title": word, "text": f"All about {word} in one page."} for i, word in enumerate(words)]
    corpus = jsonl(tmp_path / "corpus.jsonl", *texts)
    found = load_training_set([corpus], made=[MadeQueries("titles", kind="title", share=0.25)])
    assert {(query, found.document_ids[row]) for query, row in zip(found.queries, found.positives, strict=True)} == {
        (word, str(i)) for i, word in enumerate(words)
    }
    assert (found.kinds, found.shares) == (["title"], [0.25])


def test_inflected_copies_keep_kind_and_positive(tmp_path: Path) -> None:
    texts = [{"_id": str(i), "text": f"{form} item number {i}"} for i, form in enumerate(["rotate", "rotating"] * 6)]
    corpus = jsonl(tmp_path / "corpus.jsonl", *texts)
    lines = [{"query": f"rotate thing {i}", "positive_ids": [str(i)]} for i in range(12)]
    queries = jsonl(tmp_path / "q.jsonl", *lines)
    found = load_training_set([corpus], [QuerySource(queries, "plain"), QuerySource(queries, "varied", inflect=1.0)])
    copies = np.flatnonzero(found.origins != np.arange(len(found.queries)))
    assert 1 <= len(copies) < 12  # each word changes in half of the cases
    for row in copies.tolist():
        origin = found.origins[row]
        assert found.queries[row] == found.queries[origin].replace("rotate", "rotating")
        assert found.positives[row] == found.positives[origin]
        assert found.kinds[found.kind[row]] == found.kinds[found.kind[origin]] == "varied"


def test_take_keeps_what_belongs_to_a_query(corpus: Path, tmp_path: Path) -> None:
    queries = jsonl(
        tmp_path / "q.jsonl",
        {"query": "one", "negative_ids": ["a", "b"]},
        {"query": "two"},
        {"query": "three", "positive_ids": "a", "negative_ids": ["b"]},
    )
    found = load(corpus, queries)
    found.origins[2] = 0
    some = found.take([2, 0])
    assert some.queries == ["three", "one"]
    assert some.positives.tolist() == [0, -1]
    assert some.origins.tolist() == [1, 1]
    assert some.negative_starts.tolist() == [0, 1, 3]
    assert some.negatives.tolist() == [1, 0, 1]
    assert found.take([2]).origins.tolist() == [0]


def test_a_set_of_other_lengths_is_refused() -> None:
    with pytest.raises(InvalidInput, match="arrays of other lengths"):
        TrainingSet(["d"], ["0"], ["q"], np.zeros(2, np.int64), np.zeros(1, np.uint8), ["k"])


# -- what must not be trained on ---------------------------------------------------------------------------------


def test_forbidden_texts_are_told_by_their_letters_alone() -> None:
    long = "A text of many words, " * 30
    forbidden = Forbidden(documents=["Stars — are HOT.", long, "Go."], queries=["Why is the sky blue?"])
    texts = ["stars are hot", "stars are not", long + "that goes on", long[:250], "go"]
    assert without_texts(texts, forbidden).tolist() == [1, 3, 4]
    assert forbidden.has_query("why is the  sky blue")
    assert not forbidden.has_query("why is the sky")


def test_forbidden_documents_and_queries_are_left_out_and_counted(corpus: Path, tmp_path: Path) -> None:
    lines = [
        {"query": "why hot?", "positive_ids": ["b"]},
        {"query": "Secret question"},
        {"query": "x y", "positive": "STARS are hot"},
    ]
    queries = jsonl(tmp_path / "q.jsonl", *lines)
    found = load(corpus, queries, forbidden=Forbidden(["stars are hot"], ["secret question"]))
    assert found.documents == ["Logs Rotating a log file."]
    assert found.queries == ["why hot?", "x y"]
    assert found.positives.tolist() == [-1, -1]
    assert found.dropped == {
        "forbidden documents": 2,
        "forbidden queries": 1,
        "queries whose positives are forbidden": 2,
        "repeated queries": 0,
    }


def test_a_collection_is_forbidden_with_its_titles_and_without(corpus: Path, tmp_path: Path) -> None:
    jsonl(tmp_path / "queries.jsonl", {"_id": "1", "text": "how to rotate logs"})
    forbidden = Forbidden.of([tmp_path])
    assert forbidden.has_document("Rotating a log file")
    assert forbidden.has_document("Logs: rotating a log file")
    assert forbidden.has_query("How to rotate logs?")


def training_set(texts: list[str], kinds: list[int], positives: list[int]) -> TrainingSet:
    count = max(positives) + 1
    return TrainingSet(
        documents=[f"document {i}" for i in range(count)],
        document_ids=[str(i) for i in range(count)],
        queries=texts,
        positives=np.array(positives, np.int64),
        kind=np.array(kinds, np.uint8),
        kinds=["a", "b"],
    )


def test_development_queries_are_apart_by_kind_and_have_positives() -> None:
    texts = [f"query {i}" for i in range(200)]
    everything = training_set(texts, [i % 2 for i in range(200)], [i if i % 4 < 2 else -1 for i in range(200)])
    training, dev = development_split(everything, 20)
    assert np.bincount(dev.kind).tolist() == [20, 20]
    assert (dev.positives >= 0).all()
    assert sorted(training.queries + dev.queries) == sorted(texts)
    assert training.documents == dev.documents == everything.documents
    assert np.bincount(development_split(everything, {"b": 5})[1].kind).tolist() == [0, 5]
    assert len(development_split(everything, 1000)[1].queries) == 100


def test_more_data_leaves_most_development_queries_where_they_are() -> None:
    texts = [f"query {i}" for i in range(1000)]
    before = set(development_split(training_set(texts, [0] * 1000, list(range(1000))), 100)[1].queries)
    texts = [f"another {i}" for i in range(100)] + texts
    after = set(development_split(training_set(texts, [0] * 1100, list(range(1100))), 100)[1].queries)
    assert len(before & after) > 80
    assert set(development_split(training_set(texts, [0] * 1100, list(range(1100))), 100, seed=1)[1].queries) != after


def test_nothing_like_a_development_query_is_trained_on() -> None:
    texts = ["rotate logs", "Rotate logs!", "rotating logs", "cold moons", "two answers", "two answers", "Rotate Logs"]
    everything = training_set(texts, [0, 1, 0, 1, 0, 0, 1], [0, 1, 0, -1, 2, 3, -1])
    everything.origins[2] = 0  # a copy of one that is held out
    everything.origins[6] = 3  # a copy of another that came out like it
    training, dev = development_split(everything, {"a": 2})
    assert dev.queries == ["rotate logs", "two answers", "two answers"]
    assert training.queries == ["cold moons"]
