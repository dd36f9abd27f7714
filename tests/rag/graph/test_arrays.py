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
        ("...", ""),
        ("", ""),
    ],
)
def test_normal_forms(phrase: str, form: str) -> None:
    assert normal_form(phrase) == form


@given(st.text(max_size=30))
def test_a_normal_form_is_its_own(phrase: str) -> None:
    form = normal_form(phrase)
    again = normal_form(form)
    assert again == normal_form(again)


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
    for phrase in whole.phrases:
        relations = sorted(v[0] for (a, b), v in edges.items() if a == phrase and v[1] == RELATION)
        kept = sorted(v[0] for (a, b), v in capped.items() if a == phrase and v[1] == RELATION)
        assert len(kept) >= min(most, len(relations))
        assert kept[-1:] == relations[-1:]


def test_passages_that_are_unknown_or_come_twice_are_refused() -> None:
    with pytest.raises(InvalidInput, match="not among the passages"):
        build_arrays([Extracted("x", ())], ["p"])
    with pytest.raises(InvalidInput, match="twice"):
        build_arrays([Extracted("p", ()), Extracted("p", ())], ["p"])


def test_a_graph_of_nothing() -> None:
    graph = build_arrays([], ["p", "q"])
    assert (graph.nodes, len(graph.targets)) == (2, 0)
