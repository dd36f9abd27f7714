"""Queries made from text, and other inflections of their words."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest

from lsr.errors import InvalidInput, MissingExtra
from lsr.training.data import MADE_KINDS, Inflections, MadeQueries, Passages, made_queries

DOCUMENTS = [
    "Rotating log files. The daemon renames old log files every night. It keeps seven copies. Old copies are compressed "
    "with gzip after the first rotation of the week.",
    "Mountain weather\nStorms above the tree line arrive in the early afternoon. Hikers should turn back before noon.",
    "Bread needs flour, water, salt and yeast; the dough rises (for about two hours in a warm kitchen, hardly any longer) "
    "before baking.",
    "x = foo(bar); return {x: 1}; for (i = 0; i < 10; i++) { a[i] = b[i]; }",
]


def made(
    kind: str, documents: list[str] = DOCUMENTS, titles: list[int] | None = None, **options: Any
) -> list[tuple[int, str]]:
    return sorted(made_queries(Passages(documents, titles or ()), MadeQueries(kind, **options)))


def test_titles_are_those_of_the_documents() -> None:
    documents = ["Solar panels. All about them and more", "Untitled text about many things", "Logs? what they hold"]
    assert made("titles", documents, [13, 0, 5]) == [(0, "Solar panels")]  # "Logs" alone says too little
    assert made("titles", documents) == []


def test_headings_are_titles_first_lines_and_short_beginnings() -> None:
    assert made("headings") == [(0, "Rotating log files"), (1, "Mountain weather")]
    assert made("headings", ["Solar panels: light becomes current in thin cells of silicon"], [12]) == [
        (0, "Solar panels")
    ]


def test_first_sentences_stand_below_the_heading() -> None:
    assert made("first-sentences") == [
        (0, "The daemon renames old log files every night"),
        (1, "Storms above the tree line arrive in the early afternoon"),
        # Cut at twenty words, and of the bracket only one half is left.
        (2, "Bread needs flour, water, salt and yeast; the dough rises for about two hours in a warm kitchen, hardly"),
    ]


def test_sentences_are_cut_and_can_be_asked_alone() -> None:
    found = made("sentences", per_document=9)
    assert {row for row, _ in found} >= {0, 1}
    assert all(len(query.split()) <= 20 for _, query in found)
    assert not any(query.startswith("It keeps") for _, query in found)
    words = " ".join(["copper kettle"] * 9 + ["boils"])
    assert made("sentences", [f"Start. A {words} of the and water for tea in the morning."]) == [(0, f"A {words}")]


def test_spans_are_consecutive_words() -> None:
    document = " ".join(
        f"{a}{b}" for a in ("copper", "silver", "golden", "wooden") for b in ("spoon", "kettle", "plate", "fork")
    )
    found = made("spans", [document], per_document=1)
    for _, query in found:
        assert query in document
        assert 5 <= len(query.split()) <= 12
    assert found


def test_keywords_are_the_distinctive_words_in_their_order() -> None:
    common = "system uses several parts"
    documents = [
        f"{common} {topic} number"
        for topic in ("glacier moraine crevasse", "violin cello viola", "basil thyme oregano")
    ]
    for row, query in made("keywords", documents):
        words = query.split()
        assert 3 <= len(words) <= 6
        assert words == [word for word in documents[row].split() if word in words]
        assert not {"uses", "several"} & set(words)  # stop words
    counts = Counter(word for seed in range(30) for _, query in _keywords(documents, seed) for word in query.split())
    assert min(counts["glacier"], counts["cello"]) > 1.5 * counts["parts"] / 3  # which stands in all three


def _keywords(documents: list[str], seed: int) -> list[tuple[int, str]]:
    return list(made_queries(Passages(documents), MadeQueries("keywords"), seed))


def test_no_two_queries_are_equal() -> None:
    documents = [
        f"{head} One document about copper kettles and silver spoons." for head in ("Solar panels.", "SOLAR panels:")
    ]
    assert len(made("headings", documents)) == 1
    found = made("keywords", documents, per_document=50)
    assert len({query.casefold() for _, query in found}) == len(found) > 1


@pytest.mark.parametrize("kind", MADE_KINDS)
def test_code_and_stumps_give_no_queries(kind: str) -> None:
    assert made(kind, [DOCUMENTS[3], "Go.", "", "1 2 3 4 5 6 7 8 9 10. 11 12 13 14 15 16 17 18 19 20"]) == []


@pytest.mark.parametrize("kind", [kind for kind in MADE_KINDS if kind != "titles"])
def test_a_kind_is_a_function_of_documents_and_seed(kind: str) -> None:
    rng = np.random.default_rng(0)
    words = ["glacier", "violin", "basil", "river", "copper", "kettle", "winter", "market", "engine", "garden"]
    documents = []
    for _ in range(60):
        head, one, two = (" ".join(rng.choice(words, count)) for count in (3, 9, 9))
        documents.append(f"{head.capitalize()}. The {one} ends. A {two}.")
    passages, wanted = Passages(documents), MadeQueries(kind, count=20)
    first = list(made_queries(passages, wanted, 3))
    list(made_queries(passages, MadeQueries("spans", count=5), 3))
    assert list(made_queries(passages, wanted, 3)) == first
    assert list(made_queries(passages, wanted, 4)) != first
    assert len(first) == 20
    assert len({query.casefold() for _, query in first}) == 20
    assert max(Counter(row for row, _ in first).values()) == 1
    whole = {row: documents[row].casefold() for row, _ in first}
    assert all(set(query.casefold().split()) <= set(whole[row].replace(".", " ").split()) for row, query in first)


@pytest.mark.parametrize("options", [{"count": -1}, {"per_document": 0}, {"inflect": 1.5}])
def test_wishes_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        MadeQueries("spans", **options)
    with pytest.raises(InvalidInput, match="cannot be made from 'poems': it must be one of titles, headings"):
        MadeQueries("poems")


# -- inflections -------------------------------------------------------------------------------------------------

COUNTS = {"rotate": 100, "rotates": 25, "rotating": 100, "rotated": 1, "run": 90, "runs": 90, "stop": 9, "stopping": 9}
ROOTS = [
    "universe",
    "universal",
    "university",
    "general",
    "generation",
    "police",
    "policy",
    "organ",
    "organization",
    "moral",
    "morale",
]


def test_inflections_share_a_stem_and_differ_in_an_ending() -> None:
    inflections = Inflections.learn(COUNTS)
    assert inflections.of("Rotate") == ("rotates", "rotating")  # "rotated" is too rare
    assert inflections.of("stop") == ("stopping",)
    assert inflections.of("run") == ()  # too short
    assert len(inflections) == 5


def test_words_that_only_share_a_root_are_strangers() -> None:
    inflections = Inflections.learn(dict.fromkeys(ROOTS, 50))
    assert {word: inflections.of(word) for word in ROOTS if inflections.of(word)} == {}


def test_inflections_are_learned_from_texts_too() -> None:
    assert Inflections.learn(["Rotate it. Rotating ROTATE"] * 5, least=5).of("rotating") == ("rotate",)


def test_words_vary_by_the_rate_and_the_root_of_how_often_they_occur() -> None:
    inflections, rng = Inflections.learn(COUNTS), np.random.default_rng(1)
    assert inflections.vary("rotate ROTATE Rotate_x run", rng, 0.0) == "rotate ROTATE Rotate_x run"
    words = Counter(inflections.vary("rotate the", rng, 0.5) for _ in range(3000))
    assert set(words) == {"rotate the", "rotates the", "rotating the"}
    assert words["rotate the"] == pytest.approx(1500, abs=120)
    assert words["rotating the"] == pytest.approx(1000, abs=120)  # roots of 100 and 25: two to one
    assert inflections.vary("Stop ROTATE!", rng, 1.0) == "Stopping ROTATE!"
    with pytest.raises(InvalidInput, match="must be between 0 and 1"):
        inflections.vary("x", rng, 2)


def test_inflections_need_a_stemmer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "Stemmer", None)
    with pytest.raises(MissingExtra, match="PyStemmer"):
        Inflections.learn(COUNTS)
