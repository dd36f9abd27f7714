"""Phrases and facts to arrays: what is a node, what is an edge, and that hubs stay bounded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.errors import InvalidInput
from lsr.rag.graph.arrays import Pairs, build_arrays
from lsr.rag.graph.normal import normal_form
from lsr.rag.graph.types import MENTION, RELATION, SYNONYM, Extracted, Fact, GraphArrays


class Given:
    def __init__(self, pairs: Sequence[tuple[str, str, float]]) -> None:
        self._pairs = pairs

    def pairs(self, phrases: Sequence[str]) -> Pairs:
        at = {phrase: i for i, phrase in enumerate(phrases)}
        rows = [(min(at[a], at[b]), max(at[a], at[b]), weight) for a, b, weight in self._pairs]
        a, b, weights = zip(*rows, strict=True)
        return np.array(a, np.int64), np.array(b, np.int64), np.array(weights, np.float32)


def edges_of(graph: GraphArrays) -> dict[tuple[str, str], tuple[float, int]]:
    names = [*graph.phrases, *(f"passage {i}" for i in range(graph.passages))]
    sources = np.repeat(np.arange(graph.nodes), np.diff(graph.indptr))
    rows = zip(sources.tolist(), graph.targets.tolist(), graph.weights.tolist(), graph.kinds.tolist(), strict=True)
    return {(names[a], names[b]): (weight, kind) for a, b, weight, kind in rows}


@pytest.mark.parametrize(
    ("phrase", "form"),
    [
        ("The  Eiffel Tower", "eiffel tower"),
        ("Eiffel Tower's", "eiffel tower"),
        ("“Paris”,", "paris"),
        ("the", "the"),
        ("ＮＡＳＡ", "nasa"),
        ("A-ha", "a-ha"),
        ("(the a-team's)", "a-team"),
        ("...", ""),
        ("हिन्दी।", "हिन्दी"),  # ends in a vowel sign, which is no letter by itself
        ("", ""),
    ],
)
def test_normal_forms(phrase: str, form: str) -> None:
    assert normal_form(phrase) == form


@given(
    st.text(max_size=30) | st.lists(st.sampled_from(["the", "a", " ", "'s", "(", "x", "."]), max_size=8).map("".join)
)
def test_a_normal_form_is_its_own(phrase: str) -> None:
    form = normal_form(phrase)
    assert normal_form(form) == form
    assert normal_form(f" {phrase.upper().lower()} ") == normal_form(phrase.upper().lower())


def test_a_small_graph_by_hand() -> None:
    extracted = [
        Extracted(
            "p", ("Eiffel Tower", "Paris"), (Fact("The Eiffel Tower", "is in", "Paris"), Fact("Paris", "is", "paris"))
        ),
        Extracted(
            "q", ("Paris",), (Fact("paris", "is capital of", "France"), Fact("Eiffel tower", "stands in", "Paris"))
        ),
        Extracted("r", ()),
    ]
    graph = build_arrays(extracted, ["p", "q", "r"], synonyms=Given([("paris", "france", 0.9)]))
    assert list(graph.phrases) == ["eiffel tower", "paris", "france"]
    assert edges_of(graph) == {
        ("eiffel tower", "paris"): (2.0, RELATION),  # a fact in each of two passages
        ("paris", "eiffel tower"): (2.0, RELATION),
        ("paris", "france"): (pytest.approx(1.9), RELATION),
        ("france", "paris"): (pytest.approx(1.9), RELATION),
        ("eiffel tower", "passage 0"): (1.0, MENTION),
        ("passage 0", "eiffel tower"): (1.0, MENTION),
        ("paris", "passage 0"): (1.0, MENTION),
        ("passage 0", "paris"): (1.0, MENTION),
        ("eiffel tower", "passage 1"): (1.0, MENTION),
        ("passage 1", "eiffel tower"): (1.0, MENTION),
        ("paris", "passage 1"): (1.0, MENTION),
        ("passage 1", "paris"): (1.0, MENTION),
        ("france", "passage 1"): (1.0, MENTION),
        ("passage 1", "france"): (1.0, MENTION),
    }
    assert graph.mentions.tolist() == [2, 2, 1]
    assert [graph.predicates[i] for i in range(3)] == ["is in", "is capital of", "stands in"]
    assert graph.fact_passages.tolist() == [0, 1, 1]
    assert graph.edge(0, 1) is not None
    assert graph.edge(0, 2) is None


def test_synonyms_alone_are_edges_of_their_own_kind() -> None:
    graph = build_arrays([Extracted("p", ("USA", "America"))], ["p"], synonyms=Given([("usa", "america", 0.8)]))
    weight, kind = edges_of(graph)["usa", "america"]
    assert weight == pytest.approx(0.8)
    assert kind == SYNONYM


NAMES = st.sampled_from([f"name {i}" for i in range(9)])
PASSAGES = st.lists(
    st.tuples(
        st.lists(NAMES, max_size=4), st.lists(st.builds(Fact, NAMES, st.sampled_from(["is", "has"]), NAMES), max_size=6)
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=80, deadline=None)
@given(found=PASSAGES, most=st.integers(1, 5))
def test_edges_come_both_ways_and_rise_and_hubs_keep_their_heaviest(
    found: list[tuple[list[str], list[Fact]]], most: int
) -> None:
    extracted = [Extracted(str(i), tuple(names), tuple(facts)) for i, (names, facts) in enumerate(found)]
    ids = [one.passage for one in extracted]
    whole = build_arrays(extracted, ids)
    edges = edges_of(whole)
    assert all(edges[b, a] == value for (a, b), value in edges.items())
    for node in range(whole.nodes):
        targets = whole.targets[whole.indptr[node] : whole.indptr[node + 1]]
        assert (np.diff(targets.astype(np.int64)) > 0).all()
    capped = edges_of(build_arrays(extracted, ids, most_edges=most))
    assert set(capped) <= set(edges)
    assert all(capped[b, a] == value for (a, b), value in capped.items())
    assert {edge for edge, value in edges.items() if value[1] == MENTION} <= set(capped)
    related = {edge: value[0] for edge, value in edges.items() if value[1] == RELATION}
    for a, b in related:
        # How many edges of either end are heavier or as heavy.
        rivals = [sum(w >= related[a, b] for (c, _), w in related.items() if c == end) for end in (a, b)]
        assert (a, b) in capped or max(rivals) > most
    for phrase in whole.phrases:
        assert sum(a == phrase and value[1] == RELATION for (a, _), value in capped.items()) <= most


def test_a_hub_keeps_its_heaviest_relations_then_those_of_rare_phrases() -> None:
    hub = [Extracted(f"p{i}", ("hub",), (Fact("hub", "has", f"leaf {i}"),)) for i in range(6)]
    twice = Extracted("p6", (), (Fact("hub", "has", "leaf 5"),))
    common = Extracted("p7", ("leaf 0", "leaf 2", "leaf 3"))
    graph = build_arrays([*hub, twice, common], [f"p{i}" for i in range(8)], most_edges=3)
    assert [b for (a, b), (_, kind) in edges_of(graph).items() if a == "hub" and kind == RELATION] == [
        "leaf 1",
        "leaf 4",
        "leaf 5",
    ]
    assert graph.mentions[0] == 7


def test_each_fact_of_each_passage_counts_once() -> None:
    facts = (Fact("a1", "made", "b1"), Fact("A1", "Made", "b1"), Fact("a1", "sold", "b1"), Fact("b1", "is of", "a1"))
    graph = build_arrays([Extracted("p", (), facts), Extracted("q", (), facts[:1])], ["p", "q"])
    assert edges_of(graph)["a1", "b1"] == edges_of(graph)["b1", "a1"] == (4.0, RELATION)


def test_passages_that_are_unknown_or_come_twice_are_refused() -> None:
    with pytest.raises(InvalidInput, match="not among the passages"):
        build_arrays([Extracted("x", ())], ["p"])
    with pytest.raises(InvalidInput, match="twice"):
        build_arrays([Extracted("p", ()), Extracted("p", ())], ["p"])


def test_a_graph_of_nothing() -> None:
    graph = build_arrays([], ["p", "q"])
    assert (graph.nodes, len(graph.targets)) == (2, 0)
