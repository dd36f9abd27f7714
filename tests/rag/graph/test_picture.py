"""The picture of a walk: what is on the page, that nobody's text becomes markup, and all the ways to a passage."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.errors import InvalidInput
from lsr.rag import Resources
from lsr.rag.graph.arrays import build_arrays
from lsr.rag.graph.explain import Path, explain, explain_all
from lsr.rag.graph.matching import FactMatches
from lsr.rag.graph.picture import picture
from lsr.rag.graph.search import GraphResult, GraphSearch
from lsr.rag.graph.settings import GraphSettings
from lsr.rag.graph.types import Extracted, Fact, GraphArrays, Overlay
from tests.rag.graph.graphs import random_graph

SVG = "{http://www.w3.org/2000/svg}"
EVIL = "<script>alert('x')</script> \"&\u202e\x00\x1b\ufffe\ud800 end"
PASSAGES = {
    "film": Extracted("film", ("Vertigo", "Alfred Hitchcock"), (Fact("Vertigo", "directed by", "Alfred Hitchcock"),)),
    "man": Extracted("man", ("Alfred Hitchcock", "Leytonstone"), (Fact("Alfred Hitchcock", "born in", "Leytonstone"),)),
    "town": Extracted("town", ("Leytonstone", "London"), (Fact("Leytonstone", "is part of", "London"),)),
    "other": Extracted("other", ("Psycho", "Anthony Perkins"), (Fact("Anthony Perkins", "starred in", "Psycho"),)),
    "none": Extracted("none", ()),
}
NAMES = list(PASSAGES)
QUESTION = "Where was the director of Vertigo born?"


class First:
    """A first stage that finds the film, and another one."""

    def first(self, questions: Sequence[str], k: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(np.array([0, 3], np.int64), np.array([2.0, 1.0])) for _ in questions]


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resources]:
    with Resources(folder=tmp_path_factory.mktemp("pictures")) as made:
        yield made


@pytest.fixture(scope="module")
def search(resources: Resources) -> GraphSearch:
    graph = build_arrays(PASSAGES.values(), NAMES)
    return GraphSearch(graph, FactMatches(graph, resources.encoder(), resources.folder / "facts.idx"), First())


def found(search: GraphSearch, question: str = QUESTION, k: int = 5) -> GraphResult:
    (result,) = search.search([question], k)
    return result


def drawn(page: str) -> ElementTree.Element:
    """The drawing, as a strict reader of XML has it."""
    (svg,) = re.findall(r'<svg [^>]*class="plot".*?</svg>', page, re.DOTALL)
    return ElementTree.fromstring(svg)


def titles(svg: ElementTree.Element) -> list[str]:
    return [title.text or "" for title in svg.iter(f"{SVG}title")]


def words(page: str) -> str:
    """What a page says outside of its drawing and style."""
    return re.sub(r"<[^>]+>", " ", re.sub(r"<(style|svg).*?</\1>", " ", page, flags=re.DOTALL))


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_tells_the_question_facts_seeds_and_ways(search: GraphSearch) -> None:
    result = found(search)
    page = picture(search, result, NAMES.__getitem__)
    said = words(page)
    assert QUESTION in said
    for matched in result.facts:
        graph = search.graph
        assert graph.phrases[int(graph.subjects[matched.fact])] in said
        assert f"{matched.likeness:.2f}" in said
    for seed in result.seeds:
        assert (search.graph.phrases[seed] if seed < len(search.graph.phrases) else "film") in said
    for passage in result.passages.tolist():
        for way in explain_all(search, result, passage, name_of=NAMES.__getitem__):
            if way.steps:
                assert " → ".join([way.steps[0].source, *(step.target for step in way.steps)]) in said


def test_the_strongest_way_to_each_of_the_first_passages_is_drawn(search: GraphSearch) -> None:
    result = found(search)
    svg = drawn(picture(search, result, NAMES.__getitem__, passages=3))
    arrows = [
        title.text.splitlines()[0]
        for group in svg.iter(f"{SVG}g")
        if group.find(f"{SVG}polygon") is not None
        for title in group.iter(f"{SVG}title")
        if title.text
    ]
    for rank, passage in enumerate(result.passages[:3].tolist(), start=1):
        assert any(f"{rank} {NAMES[passage]}" == "".join(t.itertext())[len(NAMES[passage]) :] for t in names(svg))
        way = explain(search, result, passage, name_of=NAMES.__getitem__)
        assert way is not None
        for step in way.steps:
            assert f"{step.source} → {step.target}" in arrows


def names(svg: ElementTree.Element) -> list[ElementTree.Element]:
    return [text for text in svg.iter(f"{SVG}text") if text.get("class") == "name"]


def test_passages_are_called_by_their_numbers_unless_names_are_given(search: GraphSearch) -> None:
    result = found(search)
    assert f"passage {result.passages[0]}" in words(picture(search, result))
    assert "passage 0" not in words(picture(search, result, NAMES.__getitem__))


def test_edges_whose_weight_the_question_changed_are_marked(search: GraphSearch) -> None:
    result = found(search)
    assert result.overlay is not None
    svg = drawn(picture(search, result, NAMES.__getitem__))
    assert any("weight 1 in the graph, 3.5 for this question" in title for title in titles(svg))
    assert "×3.5" in [text.text for text in svg.iter(f"{SVG}text")]
    still = GraphSearch(search.graph, search.facts, search.first, GraphSettings.hipporag())
    svg = drawn(picture(still, found(still), NAMES.__getitem__))
    assert not any("for this question" in title for title in titles(svg))


def test_named_phrases_are_told_from_phrases_of_matched_facts(search: GraphSearch) -> None:
    weak = GraphSearch(search.graph, search.facts, search.first, replace(search.settings, facts=1))
    result = found(weak, "Is Leytonstone near Psycho?")
    phrases = list(search.graph.phrases)
    assert [phrases[number] for number in result.anchors]
    svg = drawn(picture(weak, result, NAMES.__getitem__))
    for circle in svg.iter(f"{SVG}circle"):
        title = circle.find(f"{SVG}title")
        assert title is not None
        assert title.text is not None
        number = phrases.index(title.text.splitlines()[0])
        assert ("named" in str(circle.get("class"))) == (number in result.anchors)
        assert ("seed" in str(circle.get("class"))) == (number in result.seeds and number not in result.anchors)


def test_kinds_of_edges_differ_in_more_than_colour(search: GraphSearch) -> None:
    page = picture(search, found(search))
    dashes = {
        kind: re.findall(rf"\.{kind} {{[^}}]*stroke-dasharray: ([^;]+)", page) for kind in ("relation", "mention")
    }
    assert dashes["mention"]
    assert not dashes["relation"]


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(search: GraphSearch) -> None:
    page = picture(search, found(search))
    assert "<script" not in page
    assert not re.search(r"""(?:src|href)=["'](?!#)""", page)
    assert not re.search(r"url\(|@import", page)
    assert "default-src &#x27;none&#x27;" in page
    svg = drawn(page)
    assert {str(svg.get("aria-labelledby"))} == {" ".join(str(part.get("id")) for part in svg[:2])}
    assert [part.tag for part in svg[:2]] == [f"{SVG}title", f"{SVG}desc"]


def test_the_same_result_has_the_same_page(search: GraphSearch) -> None:
    result = found(search)
    assert picture(search, result) == picture(search, result)
    assert picture(search, found(search)) == picture(search, result)


def test_texts_of_others_stay_text(resources: Resources) -> None:
    phrases = [f"{EVIL} {at}" for at in range(3)]
    texts = [
        Extracted("a", (phrases[0], phrases[1]), (Fact(phrases[0], EVIL, phrases[1]),)),
        Extracted("b", (phrases[1], phrases[2]), (Fact(phrases[1], EVIL, phrases[2]),)),
    ]
    built = build_arrays(texts, ["a", "b"])
    # Normal forms may be tamer than what a graph of somebody else has.
    graph = replace(built, phrases=phrases, predicates=[EVIL] * len(built.predicates))
    evil = GraphSearch(graph, FactMatches(built, resources.encoder(), resources.folder / "evil.idx"), First0())
    result = replace(found(evil, "alert script end"), question=EVIL)
    assert result.fell_back is None
    page = picture(evil, result, lambda number: f"{EVIL}{number}")
    assert "<script" not in page
    assert not set(page) & {"\x00", "\x1b", "\u202e", "\ufffe", "\ud800"}
    page.encode("utf-8")
    svg = drawn(page)
    shown = "<script>alert('x')</script> \"&"
    assert any(title.startswith(shown) for title in titles(svg))
    assert {element.tag.removeprefix(SVG) for element in svg.iter()} <= {
        *("svg", "title", "desc", "g", "path", "polygon", "circle", "rect", "text", "tspan")
    }
    gone = picture(evil, replace(result, fell_back=EVIL, seeds={}), lambda number: EVIL)
    assert "<script" not in gone


class First0:
    def first(self, questions: Sequence[str], k: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(np.array([0], np.int64), np.array([1.0])) for _ in questions]


def test_a_result_that_fell_back_says_why_and_has_no_drawing(search: GraphSearch) -> None:
    result = found(search, "zzzz qqqq")
    assert result.fell_back is not None
    page = picture(search, result, NAMES.__getitem__)
    assert result.fell_back in words(page)
    assert "<svg" not in page
    for passage in result.passages.tolist():
        assert NAMES[passage] in words(page)


def test_a_drawing_has_no_more_nodes_than_asked_for(search: GraphSearch) -> None:
    result = found(search)
    for most in (6, 7, 40):
        svg = drawn(picture(search, result, most=most))
        assert len(names(svg)) <= most
    with pytest.raises(InvalidInput, match="most is 5"):
        picture(search, result, most=5)
    with pytest.raises(InvalidInput, match="passages is 0"):
        picture(search, result, passages=0)


# -- larger graphs -----------------------------------------------------------------------------------------------------


class Nothing:
    def best(self, questions: Sequence[str], k: int) -> list[tuple[np.ndarray, np.ndarray]]:
        raise AssertionError

    def likeness(self, question: str, facts: np.ndarray) -> np.ndarray:
        raise AssertionError


def walked(
    graph: GraphArrays, seeds: dict[int, float], overlay: Overlay | None = None
) -> tuple[GraphSearch, GraphResult]:
    """A search of a graph, and the result of a walk from seeds."""
    search = GraphSearch(graph, Nothing(), First(), replace(GraphSettings(), synonym=1.0))
    nodes, scores = search.walked(seeds, overlay)
    first = len(graph.phrases)
    passages, of_passages = nodes[nodes >= first] - first, scores[nodes >= first]
    order = np.lexsort((passages, -of_passages))[:10]
    near = [(int(node), float(score)) for node, score in zip(nodes, scores, strict=True) if node < first]
    near.sort(key=lambda pair: (-pair[1], pair[0]))
    result = GraphResult("?", passages[order], of_passages[order], (), seeds, overlay, tuple(near[:10]))
    return search, result


def overlay_of(graph: GraphArrays, seed: int) -> Overlay:
    generator = np.random.default_rng(seed)
    edges = np.sort(generator.choice(len(graph.targets), len(graph.targets) // 5, replace=False)).astype(np.int64)
    return Overlay(edges, generator.choice([0, 0.5, 3.5], len(edges)).astype(np.float32))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("passages", "most"), [(5, 40), (10, 12), (10, 80)])
def test_names_do_not_overlap(seed: int, passages: int, most: int) -> None:
    graph = random_graph(300, 900, seed)
    graph = replace(graph, phrases=[f"a phrase of several words, number {at}" for at in range(len(graph.phrases))])
    seeds = {at: 1.0 / (at + 1) for at in range(8)} | {graph.nodes - 1 - at: 0.02 for at in range(5)}
    search, result = walked(graph, seeds, overlay_of(graph, seed))
    svg = drawn(picture(search, result, lambda at: f"The passage of number {at}", passages=passages, most=most))
    left, top, width, height = map(float, str(svg.get("viewBox")).split())
    boxes = []
    for text in names(svg):
        written = "".join(part for part in text.itertext())[len(text[0].text or "") :]
        wide, x, y = 6.0 * len(written), float(str(text.get("x"))), float(str(text.get("y")))
        start = {"start": 0.0, "middle": 0.5, "end": 1.0}[str(text.get("text-anchor"))] * wide
        boxes.append((x - start, y - 10, x - start + wide, y + 3))
    assert boxes
    for at, (x1, y1, x2, y2) in enumerate(boxes):
        assert left <= x1 < x2 <= left + width
        assert top <= y1 < y2 <= top + height
        assert not any(x1 < x4 and x3 < x2 and y1 < y4 and y3 < y2 for x3, y3, x4, y4 in boxes[at + 1 :])


# -- all ways ----------------------------------------------------------------------------------------------------------


def every_way(search: GraphSearch, result: GraphResult, goal: int, longest: int) -> dict[int, float]:
    """The strength of the strongest way from each seed, by trying all of them."""
    graph, damping, total = search.graph, search.settings.damping, sum(result.seeds.values())
    weights = graph.weights.astype(np.float64)
    if result.overlay is not None:
        weights[result.overlay.edges] = result.overlay.weights
    best: dict[int, float] = {}

    def follow(seed: int, node: int, strength: float, left: int) -> None:
        if node == goal:
            best[seed] = max(best.get(seed, 0.0), strength)
        if not left:
            return
        start, end = graph.indptr[node], graph.indptr[node + 1]
        out = weights[start:end].sum()
        for edge in range(int(start), int(end)):
            if weights[edge] > 0:
                follow(seed, int(graph.targets[edge]), strength * damping * weights[edge] / out, left - 1)

    for seed, weight in result.seeds.items():
        follow(seed, seed, weight / total, longest)
    return best


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), longest=st.integers(1, 4), changed=st.booleans())
def test_the_ways_are_the_strongest_of_all_ways(seed: int, longest: int, changed: bool) -> None:
    graph = random_graph(12, 16, seed)
    seeds = {0: 1.0, 2: 0.3, 4: 0.05, len(graph.phrases): 0.2}
    search, result = walked(graph, seeds, overlay_of(graph, seed) if changed else None)
    for passage in range(graph.passages):
        expected = every_way(search, result, len(graph.phrases) + passage, longest)
        ways = explain_all(search, result, passage, most=10, longest=longest)
        told = {way.nodes[0]: way.strength for way in ways}
        strongest = max(expected.values(), default=0.0)
        assert told == pytest.approx({at: one for at, one in expected.items() if one > 1e-3 * strongest}, rel=1e-6)
        assert [way.strength for way in ways] == sorted(told.values(), reverse=True)
        assert explain_all(search, result, passage, most=2, longest=longest) == ways[:2]
        assert explain(search, result, passage, longest=longest) == (ways[0] if ways else None)
        for way in ways:
            assert len(way.steps) == len(way.nodes) - 1 <= longest
            assert way.nodes[-1] == len(graph.phrases) + passage
            assert all(graph.edge(*ends) is not None for ends in pairwise(way.nodes))


def test_a_way_is_data_that_json_can_say(search: GraphSearch) -> None:
    result = found(search)
    way = explain(search, result, NAMES.index("man"), name_of=NAMES.__getitem__)
    assert isinstance(way, Path)
    data = json.loads(json.dumps(way.as_dict()))
    assert data["seed"] == way.seed
    assert data["strength"] == way.strength
    assert [step["target"] for step in data["steps"]][-1] == "man"
    assert data["steps"][0].keys() == {"source", "target", "kind", "share", "facts"}


def test_ways_to_what_is_no_passage_are_refused(search: GraphSearch) -> None:
    result = found(search)
    for passage in (-1, 5):
        with pytest.raises(InvalidInput, match="no passage"):
            explain(search, result, passage)
    with pytest.raises(InvalidInput, match="most"):
        explain_all(search, result, 0, most=0)
