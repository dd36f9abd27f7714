"""Searching a graph: a question of two hops on a graph whose answer can be seen, the parts that a question changes, and
what is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lsr.corpus import Document
from lsr.errors import InvalidInput
from lsr.rag import Pipeline, Resources, Runner
from lsr.rag.generators import FunctionGenerator
from lsr.rag.graph.arrays import build_arrays
from lsr.rag.graph.dense import DenseLikeness
from lsr.rag.graph.explain import explain
from lsr.rag.graph.files import load_arrays, save_arrays
from lsr.rag.graph.matching import FactMatches, Matcher
from lsr.rag.graph.search import GraphSearch
from lsr.rag.graph.settings import GraphSettings
from lsr.rag.graph.synonyms import SynonymSearch
from lsr.rag.graph.types import MENTION, Extracted, Fact
from lsr.rag.graph.weighting import relevance_weight

PASSAGES = {
    "film": Extracted("film", ("Vertigo", "Alfred Hitchcock"), (Fact("Vertigo", "directed by", "Alfred Hitchcock"),)),
    "man": Extracted("man", ("Alfred Hitchcock", "Leytonstone"), (Fact("Alfred Hitchcock", "born in", "Leytonstone"),)),
    "town": Extracted("town", ("Leytonstone", "London"), (Fact("Leytonstone", "is part of", "London"),)),
    "other": Extracted("other", ("Psycho", "Anthony Perkins"), (Fact("Anthony Perkins", "starred in", "Psycho"),)),
    "none": Extracted("none", ()),
}
QUESTION = "Where was the director of Vertigo born?"


class First:
    """A first stage that finds the film alone."""

    def first(self, questions: Sequence[str], k: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(np.array([0, 3], np.int64), np.array([2.0, 1.0])) for _ in questions]


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resources]:
    with Resources(folder=tmp_path_factory.mktemp("graphs")) as made:
        yield made


@pytest.fixture(scope="module")
def search(resources: Resources) -> GraphSearch:
    graph = build_arrays(PASSAGES.values(), list(PASSAGES))
    for array in (graph.indptr, graph.targets, graph.weights, graph.kinds):
        array.flags.writeable = False
    facts = FactMatches(graph, resources.encoder(), resources.folder / "facts.idx")
    return GraphSearch(graph, facts, First())


def names(search: GraphSearch, question: str = QUESTION, k: int = 3) -> list[str]:
    (result,) = search.search([question], k)
    return [list(PASSAGES)[place] for place in result.passages.tolist()]


def with_settings(search: GraphSearch, **changes: object) -> GraphSearch:
    settings = replace(search.settings, **changes)  # type: ignore[arg-type]
    return GraphSearch(search.graph, search.facts, search.first, settings)


def test_a_walk_finds_the_second_passage_of_a_question_of_two_hops(search: GraphSearch) -> None:
    assert names(search, k=2) == ["film", "man"] or names(search, k=2) == ["man", "film"]
    assert "other" not in names(search, k=3)


@pytest.mark.parametrize("settings", [GraphSettings.hipporag(), GraphSettings.catrag(), GraphSettings()], ids=str)
def test_every_way_to_walk_finds_the_chain(search: GraphSearch, settings: GraphSettings) -> None:
    found = GraphSearch(search.graph, search.facts, search.first, settings)
    assert set(names(found, k=2)) == {"film", "man"}


def test_the_phrases_that_a_question_names_are_seeds(search: GraphSearch) -> None:
    (result,) = search.search([QUESTION], 3)
    phrases = list(search.graph.phrases)
    assert phrases.index("vertigo") in result.seeds
    weak = with_settings(search, facts=1, anchor=0.2)
    (anchored,) = weak.search(["Is Leytonstone near Psycho?"], 3)
    assert phrases.index("leytonstone") in anchored.seeds
    (without,) = with_settings(weak, anchoring=False, seeds=1).search(["Is Leytonstone near Psycho?"], 3)
    assert len([seed for seed in without.seeds if seed < len(phrases)]) == 1


def test_passages_that_say_a_matched_fact_are_boosted_for_this_question_alone(search: GraphSearch) -> None:
    before = search.graph.weights.copy()
    (result,) = with_settings(search, weighting=False, boost=True, boosted=2.5).search([QUESTION], 3)
    assert result.overlay is not None
    graph = search.graph
    kinds = graph.kinds[result.overlay.edges]
    assert (kinds == MENTION).all()
    assert result.overlay.weights.tolist() == [3.5] * len(kinds)
    assert (graph.weights == before).all()
    (plain,) = with_settings(search, weighting=False, boost=False).search([QUESTION], 3)
    assert plain.overlay is None


def test_relations_are_weighed_by_what_their_facts_say(search: GraphSearch) -> None:
    (result,) = with_settings(search, weighting=True, boost=False).search([QUESTION], 3)
    assert result.overlay is not None
    graph, phrases = search.graph, list(search.graph.phrases)
    said = {
        (phrases[source], phrases[int(graph.targets[edge])]): weight
        for edge, weight in zip(result.overlay.edges.tolist(), result.overlay.weights.tolist(), strict=True)
        for source in [int(np.searchsorted(graph.indptr, edge, side="right")) - 1]
    }
    assert said["vertigo", "alfred hitchcock"] == 5, "the best fact says most"
    assert min(said.values()) == 0, "the least fact says nothing"
    assert all(0 <= weight <= 5 for weight in said.values())


@pytest.mark.parametrize(
    ("relevance", "factor"), [(0, 0), (3.4, 0), (4, 0.2), (6, 0.3), (7, 2), (9, 3), (9.4, 3), (9.6, 5), (10, 5)]
)
def test_relevance_becomes_a_factor_piece_by_piece(relevance: float, factor: float) -> None:
    assert relevance_weight(relevance) == pytest.approx(factor)


def test_a_question_that_matches_nothing_has_the_first_stage_and_says_so(search: GraphSearch) -> None:
    (result,) = search.search(["zzzz qqqq"], 3)
    assert result.fell_back is not None
    assert result.passages.tolist() == [0, 3]


def test_a_graph_without_any_fact_falls_back(resources: Resources, tmp_path: Path) -> None:
    graph = build_arrays([], ["a", "b", "c", "d"])
    empty = GraphSearch(graph, FactMatches(graph, resources.encoder(), tmp_path / "f.idx"), First())
    (result,) = empty.search([QUESTION], 3)
    assert result.fell_back is not None


def letters(side: str, texts: Sequence[str]) -> np.ndarray:
    """A dense model of sorts: how often each letter stands in a text."""
    counts = np.array([[text.casefold().count(chr(97 + at)) for at in range(26)] for text in texts], np.float32)
    assert side in ("query", "document")
    found: np.ndarray = counts / np.linalg.norm(counts, axis=1, keepdims=True)
    return found


def test_facts_may_be_like_a_question_by_dense_vectors(search: GraphSearch, tmp_path: Path) -> None:
    asked: list[str] = []

    def encode(side: str, texts: Sequence[str]) -> np.ndarray:
        asked.append(side)
        return letters(side, texts)

    dense = DenseLikeness(search.graph, encode, tmp_path / "facts.npy")
    assert asked == ["document"]
    texts = [search.relations.text(fact) for fact in range(len(search.graph.subjects))]
    wanted = letters("document", texts) @ letters("query", [QUESTION])[0]
    ((facts, likeness),) = dense.best([QUESTION], 3)
    assert facts.tolist() == np.argsort(-wanted, kind="stable")[:3].tolist()
    assert likeness == pytest.approx(wanted[facts])
    assert dense.likeness(QUESTION, np.array([2, 0])) == pytest.approx(wanted[[2, 0]])
    (result,) = GraphSearch(search.graph, dense, search.first, GraphSettings.catrag()).search([QUESTION], 3)
    assert [matched.fact for matched in result.facts] == np.argsort(-wanted, kind="stable")[:5].tolist()
    asked.clear()
    again = DenseLikeness(search.graph, encode, tmp_path / "facts.npy")
    assert asked == [], "what was encoded is kept"
    assert again.best([QUESTION], 99)[0][0].tolist() == np.argsort(-wanted, kind="stable").tolist()
    asked.clear()
    (tmp_path / "facts.npy").write_bytes(b"damaged")
    assert DenseLikeness(search.graph, encode, tmp_path / "facts.npy").best([], 3) == []
    assert asked == ["document"], "and made again where it cannot be read"


def test_numbers_that_are_none_are_unlike_everything(search: GraphSearch, tmp_path: Path) -> None:
    def broken(side: str, texts: Sequence[str]) -> np.ndarray:
        return np.full((len(texts), 4), np.nan, np.float32)

    walked = GraphSearch(search.graph, DenseLikeness(search.graph, broken, tmp_path / "f.npy"), search.first)
    for settings in (GraphSettings(), GraphSettings.catrag()):
        (result,) = walked.with_settings(settings).search([QUESTION], 3)
        assert result.facts == ()
        assert len(result.passages)


def test_searches_at_the_same_time_give_what_each_gives_alone(search: GraphSearch) -> None:
    questions = [QUESTION, "Who starred in Psycho?", "What is Leytonstone part of?"] * 8
    alone = [search.search([question], 4)[0] for question in questions]
    with ThreadPoolExecutor(4) as pool:
        together = [found[0] for found in pool.map(lambda question: search.search([question], 4), questions)]
    for one, other in zip(alone, together, strict=True):
        assert one.passages.tolist() == other.passages.tolist()
        assert one.scores.tolist() == other.scores.tolist()


def test_a_passage_is_explained_by_the_strongest_way_to_it(search: GraphSearch) -> None:
    (result,) = search.search([QUESTION], 3)
    path = explain(search, result, list(PASSAGES).index("man"))
    assert path is not None
    assert path.steps[-1].target == "passage 1"
    assert path.steps[-1].kind == "mention"
    product = path.seed_share
    for step in path.steps:
        product *= step.share
    assert path.strength == pytest.approx(product)
    assert path.seed in str(path)
    assert explain(search, result, list(PASSAGES).index("none")) is None


def test_facts_are_those_between_two_phrases_either_way_round(search: GraphSearch) -> None:
    graph = search.graph
    for one in range(graph.nodes):
        for other in range(graph.nodes):
            ends = zip(graph.subjects.tolist(), graph.objects.tolist(), graph.predicates, strict=True)
            wanted = [f"{graph.phrases[s]} {said} {graph.phrases[o]}" for s, o, said in ends if {s, o} == {one, other}]
            assert list(search.facts_between(one, other)) == wanted


def test_words_with_marks_are_matched_as_a_whole() -> None:
    graph = build_arrays([Extracted("p", ("दिल्ली", "Cafe\u0301 Nero"))], ["p"])
    assert Matcher(graph).named("दिल्ली कहाँ है") == [0]
    assert Matcher(graph).named("Where is Cafe\u0301 Nero?") == [1]


def test_phrases_of_a_script_that_the_encoder_lacks_have_no_synonyms(resources: Resources) -> None:
    a, b, likeness = SynonymSearch(resources.encoder()).pairs(["ᚠᚢᚦᚨᚱᚲ", "ᚷᚹᚺᚾᛁᛃ"])
    assert len(a) == len(b) == len(likeness) == 0


def test_names_in_questions_are_matched_by_the_longest_phrase(search: GraphSearch) -> None:
    matcher = Matcher(search.graph)
    phrases = list(search.graph.phrases)
    assert [phrases[number] for number in matcher.named("Did Alfred Hitchcock's Vertigo open in london?")] == [
        "alfred hitchcock",
        "vertigo",
    ]


def test_synonyms_are_found_without_comparing_all_with_all(resources: Resources) -> None:
    names = ["united states", "the united states of america", "united states of america", "volcano", "volcanoes", "a1"]
    a, b, likeness = SynonymSearch(resources.encoder(), threshold=0.7).pairs(names)
    found = {(names[x], names[y]) for x, y in zip(a.tolist(), b.tolist(), strict=True)}
    assert ("united states", "united states of america") in found
    assert not any("volcano" in one and "states" in other for one, other in found)
    vectors = resources.encoder().encode_query(names).to_scipy().toarray()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for x, y, value in zip(a.tolist(), b.tolist(), likeness.tolist(), strict=True):
        assert value == pytest.approx(min(1, float(unit[x] @ unit[y])), abs=1e-5)
        assert value >= 0.7


# -- kept, and in pipelines --------------------------------------------------------------------------------------------


def test_a_graph_is_read_as_it_was_written(search: GraphSearch, tmp_path: Path) -> None:
    save_arrays(search.graph, tmp_path / "g")
    read = load_arrays(tmp_path / "g")
    assert list(read.phrases) == list(search.graph.phrases)
    for name in (
        "indptr",
        "targets",
        "weights",
        "kinds",
        "subjects",
        "objects",
        "fact_indptr",
        "fact_passages",
        "mentions",
    ):
        assert np.array_equal(getattr(read, name), getattr(search.graph, name))


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("targets", np.full(16, 10**6, np.uint32)),
        ("indptr", np.zeros(3, np.int64)),
        ("subjects", np.full(4, 99, np.uint32)),
        ("weights", np.zeros(5, np.float64)),
    ],
)
def test_a_forged_graph_is_refused_before_a_kernel_sees_it(
    search: GraphSearch, tmp_path: Path, name: str, array: np.ndarray
) -> None:
    save_arrays(search.graph, tmp_path / "g")
    np.save(tmp_path / "g" / f"{name}.npy", array)
    with pytest.raises(InvalidInput, match="make it again"):
        load_arrays(tmp_path / "g")


DOCUMENTS = {
    "film": Document("film", "Vertigo is a film that Alfred Hitchcock directed in 1958.", "Vertigo"),
    "man": Document("man", "Alfred Hitchcock was born in Leytonstone, and moved to Bel Air.", "Alfred Hitchcock"),
    "town": Document("town", "Leytonstone is a part of London, with a station of its own.", "Leytonstone"),
    "cook": Document("cook", "Leeks, potatoes and cream make a soup for six.", "Soup"),
}


@pytest.mark.parametrize("extractor", ["names", "rules"])
def test_pipelines_search_graphs_and_keep_them(extractor: str, tmp_path: Path) -> None:
    if extractor == "rules":
        pytest.importorskip("spacy")
    retrieve = {"kind": "graph", "extractor": extractor}
    pipeline = Pipeline.from_mapping({"retrieve": retrieve})
    with Resources(folder=tmp_path) as one:
        (outcome,) = Runner(DOCUMENTS, one).run(pipeline, [QUESTION])
    assert {piece.passages[0] for piece in outcome.found[:2]} == {"film", "man"}
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    assert made
    with Resources(folder=tmp_path) as other:
        (again,) = Runner(DOCUMENTS, other).run(pipeline, [QUESTION])
    assert again.found == outcome.found
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")} == made


def test_a_graph_with_holes_is_not_kept_for_good(tmp_path: Path) -> None:
    documents = {f"d{at}": Document(f"d{at}", f"City {at} lies in Land {at}.", "") for at in range(20)}
    asked: list[str] = []

    def reading(broken: bool) -> FunctionGenerator:
        def reply(prompt: str) -> str:
            asked.append(prompt)
            if broken and "City 7 " in prompt:
                raise OSError("down")
            number = prompt.split("City ")[1].split()[0]
            return json.dumps({"entities": [], "triples": [[f"City {number}", "lies in", f"Land {number}"]]})

        return FunctionGenerator(reply, "m")

    pipeline = Pipeline.from_mapping({"retrieve": {"kind": "graph", "extractor": "llm"}})
    for broken in (True, False, False):
        with Resources(folder=tmp_path, generator=reading(broken)) as resources:
            passages = Runner(documents, resources).passages(pipeline)
            search = resources.graph(passages, "llm", "lsr-tiny", GraphSettings())
            assert len(search.graph.subjects) == (19 if broken else 20)
    assert len(asked) == 40, "what is whole is read once"


def test_graphs_are_kept_up_to_a_limit(tmp_path: Path) -> None:
    for chunk in ("documents", {"kind": "words", "words": 5, "overlap": 1}):
        pipeline = Pipeline.from_mapping({"chunk": chunk, "retrieve": {"kind": "graph", "extractor": "names"}})
        with Resources(folder=tmp_path, limit=1) as resources:
            Runner(DOCUMENTS, resources).run(pipeline, [QUESTION])
            assert len(list(tmp_path.glob("*.graph"))) == 1, "that which is in use"


def test_a_graph_can_be_fused_with_other_searches(tmp_path: Path) -> None:
    fusion = {"kind": "fusion", "of": ["sparse", "graph"], "extractor": "names", "how": "convex"}
    with Resources(folder=tmp_path) as resources:
        (outcome,) = Runner(DOCUMENTS, resources).run(Pipeline.from_mapping({"retrieve": fusion}), [QUESTION])
    assert {piece.passages[0] for piece in outcome.found[:2]} == {"film", "man"}


def test_a_question_is_expanded_by_the_phrases_of_its_walk(tmp_path: Path) -> None:
    pipeline = Pipeline.from_mapping({"query": {"kind": "graph", "extractor": "names"}, "retrieve": "bm25"})
    with Resources(folder=tmp_path) as resources:
        (outcome,) = Runner(DOCUMENTS, resources).run(pipeline, [QUESTION])
    assert outcome.queries.items[0].text == QUESTION
    assert "alfred hitchcock" in outcome.queries.items[1].text
    assert {piece.passages[0] for piece in outcome.found} >= {"film", "man"}
