"""The graph of an index searched: with the index as its first stage, vectors of facts that are stored with it, and nothing
written."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

import lsr
from lsr.encoders import Encoder
from lsr.errors import CorruptIndex, EncoderMismatch, InvalidInput, StoreMismatch
from lsr.rag.graph.extractors.given import GivenTriples
from lsr.rag.graph.matching import FactMatches, unit_vectors
from lsr.rag.graph.relations import fact_texts
from lsr.rag.graph.search import GraphResult, GraphSearch
from lsr.rag.graph.settings import GraphSettings
from lsr.rag.graph.store import Graph
from lsr.rag.graph.store.facts import StoredFacts
from tests.rag.graph.graph_index import TEXTS, Hashed, Words, built, indexed, source, synced

DOCUMENTS = [
    {"_id": "film", "text": "Vertigo is a film that Alfred Hitchcock directed in 1958.", "title": "Vertigo"},
    {"_id": "man", "text": "Alfred Hitchcock was born in Leytonstone, and moved to Bel Air."},
    {"_id": "town", "text": "Leytonstone is a part of London, with a station of its own."},
    {"_id": "soup", "text": "Leeks, potatoes and cream make a soup for six."},
]
TRIPLES = """
{"passage_id": "film", "triples": [["Vertigo", "directed by", "Alfred Hitchcock"]]}
{"passage_id": "man", "triples": [["Alfred Hitchcock", "born in", "Leytonstone"]]}
{"passage_id": "town", "triples": [["Leytonstone", "is part of", "London"]]}
"""
QUESTION = "Where was the director of Vertigo born?"
QUESTIONS = [QUESTION, "What is Leytonstone part of?", "leeks, potatoes, cream", "zzzz"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graph")
    (folder / "triples.jsonl").write_text(TRIPLES.strip())
    index = lsr.Index.build(DOCUMENTS, folder / "my.idx")
    Graph.build(index, GivenTriples(folder / "triples.jsonl"))
    return folder / "my.idx"


@pytest.fixture
def graph(path: Path) -> Graph:
    return Graph.open(lsr.Index.open(path))


@pytest.fixture
def bare(tmp_path: Path) -> lsr.Index:
    """An index of bare vectors, as `Hashed` makes them."""
    index = indexed(tmp_path / "bare.idx")
    built(index)
    return index


def hashed(hash: str = "hashed") -> Encoder:
    return cast(Encoder, Hashed(hash))


def plain(results: Sequence[GraphResult]) -> list[tuple[list[int], list[float]]]:
    return [(one.passages.tolist(), one.scores.tolist()) for one in results]


def facts_of(graph: Graph) -> StoredFacts:
    arrays = graph.manifest.arrays
    assert arrays is not None
    assert arrays.vectors is not None
    return StoredFacts(graph.path, arrays.vectors)


def made_of(graph: Graph) -> dict[str, str]:
    """The checksums of all arrays, those of the vectors of facts among them."""
    arrays = graph.manifest.arrays
    assert arrays is not None
    assert arrays.vectors is not None
    return {Path(file.name).name: file.xxh3_128 for file in (*arrays.files, *arrays.vectors.files)}


# -- searching -------------------------------------------------------------------------------------------------------------


def test_a_question_of_two_hops_finds_both_passages(graph: Graph) -> None:
    (result,) = graph.search(QUESTION, 2)
    assert {graph.id_of(row) for row in result.passages.tolist()} == {"film", "man"}
    (hits,) = graph.hits([result])
    assert hits.query == QUESTION
    assert [hit.row for hit in hits] == result.passages.tolist()
    assert np.allclose(hits.scores, result.scores)
    film = next(hit for hit in hits if hit.id == "film")
    assert (film.title, film.text) == ("Vertigo", DOCUMENTS[0]["text"])
    assert "Vertigo" in str(film.snippet)


def test_a_search_gives_what_its_parts_give_in_memory(path: Path, graph: Graph, tmp_path: Path) -> None:
    index, encoder = lsr.Index.open(path), lsr.load_encoder()
    side = index.query_encoder
    assert side is not None

    class First:
        def first(self, questions: Sequence[str], k: int) -> list[tuple[np.ndarray, np.ndarray]]:
            return [(hits.rows, hits.scores.astype(np.float64)) for hits in index.search(list(questions), k, recall=1)]

    facts = FactMatches(graph.arrays, encoder, tmp_path / "facts.idx", side.encode_batch)
    for settings in (GraphSettings(), GraphSettings.hipporag(), GraphSettings.catrag()):
        wanted = GraphSearch(graph.arrays, facts, First(), settings).search(QUESTIONS, 3)
        found = graph.search(QUESTIONS, 3, settings=settings)
        for one, other in zip(found, wanted, strict=True):
            assert one.passages.tolist() == other.passages.tolist()
            assert np.allclose(one.scores, other.scores, atol=1e-3), "vectors of facts have codes of 8 bits in both"
            assert one.fell_back == other.fell_back


def test_a_question_without_a_match_has_the_hits_of_the_index(path: Path, graph: Graph) -> None:
    index = lsr.Index.open(path)
    _, _, soup, nothing = graph.search(QUESTIONS, 3, settings=GraphSettings(anchoring=False))
    assert soup.fell_back is not None
    assert graph.hits([soup])[0].ids == index.search(QUESTIONS[2], 3).ids
    assert len(nothing.passages) == len(index.search(QUESTIONS[3], 3))


def test_searching_writes_nothing(path: Path, graph: Graph) -> None:
    def files() -> dict[Path, tuple[int, int]]:
        return {one: (one.stat().st_mtime_ns, one.stat().st_size) for one in path.rglob("*")}

    before = files()
    graph.search(QUESTIONS)
    assert files() == before


def test_searches_at_the_same_time_give_what_each_gives_alone(path: Path) -> None:
    alone = plain(Graph.open(lsr.Index.open(path)).search(QUESTIONS))
    graph = Graph.open(lsr.Index.open(path))
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda at: plain(graph.search(QUESTIONS[at % 4]))[0], range(32)))
    assert together == alone * 8


def test_what_a_search_needs_is_made_once_for_the_last_few_settings(graph: Graph) -> None:
    first = graph.searcher()
    assert graph.searcher(GraphSettings()) is first
    for at in range(1, 5):
        graph.searcher(GraphSettings(seeds=at))
    assert graph.searcher(GraphSettings(seeds=4)) is graph.searcher(GraphSettings(seeds=4))
    assert graph.searcher() is not first


def test_an_open_graph_stays_with_its_generation(bare: lsr.Index) -> None:
    graph = Graph.open(bare)
    before = plain(graph.search("Who wrote Notes", encoder=hashed()))
    ids = [graph.id_of(row) for row in before[0][0]]
    for name in "abc":
        bare.delete([name])
        synced(bare)
    assert plain(graph.search("Who wrote Notes", encoder=hashed())) == before
    assert [graph.id_of(row) for row in before[0][0]] == ids
    now = Graph.open(bare)
    (result,) = now.search("Who wrote Notes", encoder=hashed())
    assert not {"a", "b", "c"} & {now.id_of(row) for row in result.passages.tolist()}


def test_a_snapshot_is_searched_as_its_index(bare: lsr.Index, tmp_path: Path) -> None:
    wanted = plain(Graph.open(bare).search(["Who wrote Notes", "Engine"], encoder=hashed()))
    bare.save_snapshot(tmp_path / "my.tar.zst")
    again = lsr.Index.from_snapshot(tmp_path / "my.tar.zst", tmp_path / "again.idx")
    assert plain(Graph.open(again).search(["Who wrote Notes", "Engine"], encoder=hashed())) == wanted


def test_an_empty_index_is_searched(tmp_path: Path) -> None:
    index = indexed(tmp_path / "my.idx")
    index.delete(list(TEXTS))
    (result,) = built(index).search("Who wrote Notes", encoder=hashed())
    assert len(result.passages) == 0


# -- what may be wrong -----------------------------------------------------------------------------------------------------


def test_an_index_of_bare_vectors_needs_an_encoder(bare: lsr.Index) -> None:
    graph = Graph.open(bare)
    with pytest.raises(InvalidInput, match=r"keeps no encoder, which questions need; give encoder= to Graph\.search"):
        graph.search("Who wrote Notes")
    (result,) = graph.search("Who wrote Notes", encoder=hashed())
    ids = [graph.id_of(row) for row in result.passages.tolist()]
    assert "a" in ids
    assert graph.hits([result], encoder=hashed())[0].ids == ids
    with pytest.raises(EncoderMismatch, match="its vectors have 24 dimensions"):
        graph.search("Who wrote Notes", encoder=lsr.load_encoder())


def test_facts_of_another_encoder_are_refused(tmp_path: Path) -> None:
    index = indexed(tmp_path / "my.idx")
    graph = built(index, encoder=Hashed("earlier"))
    manifest = graph.manifest
    assert manifest.arrays is not None
    assert manifest.arrays.vectors is not None
    vectors = replace(manifest.arrays.vectors, encoder={**manifest.arrays.vectors.encoder, "source": "lsr-tiny"})
    moved = replace(manifest, arrays=replace(manifest.arrays, vectors=vectors))
    graph = Graph(graph.path, moved, None, graph.index)
    with pytest.raises(StoreMismatch, match=r"facts were encoded by another hashed .*lsr graph build .* --overwrite"):
        graph.search("Who wrote Notes", encoder=hashed())


@pytest.mark.parametrize("k", [0, 10_001])
def test_k_has_the_limits_of_an_index(k: int, graph: Graph) -> None:
    with pytest.raises(InvalidInput, match=f"k is {k}"):
        graph.search(QUESTION, k)


# -- the vectors of facts --------------------------------------------------------------------------------------------------


def test_the_vectors_of_facts_are_those_of_their_texts(bare: lsr.Index) -> None:
    graph, encoder = Graph.open(bare), hashed()
    facts = facts_of(graph)
    count = len(graph.arrays.predicates)
    wanted = unit_vectors(fact_texts(graph.arrays, 0, count), encoder)
    indptr, terms, weights = facts.gather(np.arange(count))
    assert (indptr.tolist(), terms.tolist()) == (wanted.indptr.tolist(), wanted.indices.tolist())
    assert np.abs(weights - wanted.values).max() <= 0.5 / 255 + 1e-6
    queries = encoder.encode_query(["Ada knew Babbage", "Engine"])
    products = queries.to_scipy().toarray() @ wanted.to_scipy().toarray().T
    for (found, likeness), exact in zip(facts.search(queries, 3), products, strict=True):
        assert np.allclose(likeness, np.sort(exact)[::-1][: len(found)], atol=0.02)
        assert np.allclose(likeness, exact[found], atol=0.02)


def test_only_facts_that_are_new_are_encoded_and_nothing_differs_from_a_new_build(bare: lsr.Index) -> None:
    bare.add(source({"g": "Georg met Ada", "h": "Hedy met Georg"}))
    bare.delete(["b"])
    encoder = Hashed()
    synced(bare, encoder=encoder)
    assert sorted(encoder.encoded) == ["georg met 1 ada", "hedy met 1 georg"]
    kept, fresh = made_of(Graph.open(bare)), made_of(built(bare, overwrite=True))
    assert kept == fresh


def test_an_encoder_that_is_another_one_encodes_all_facts(bare: lsr.Index) -> None:
    encoder = Hashed("later")
    bare.add(source({"g": "Georg met Ada"}))
    synced(bare, encoder=encoder)
    assert len(encoder.encoded) == len(Graph.open(bare).arrays.predicates)


def test_a_graph_without_facts_has_no_vectors_of_them(tmp_path: Path) -> None:
    index = indexed(tmp_path / "my.idx", {"a": "Ada Babbage"})
    encoder = Hashed()
    graph = built(index, Words(), encoder)
    assert graph.info()["bytes"]["vectors"] == 0
    assert encoder.encoded == []
    (result,) = graph.search("Who is Ada", encoder=hashed())
    assert result.fell_back is None


def test_forged_vectors_of_facts_are_refused(bare: lsr.Index) -> None:
    graph = Graph.open(bare)
    file = next(one for one in facts_of(graph).entry.files if one.name.endswith("forward_terms"))
    path = graph.path / file.name
    path.write_bytes(np.full(file.shape, 60_000, np.uint16).tobytes())
    with pytest.raises(CorruptIndex, match="terms outside the vocabulary; `lsr graph build INDEX --overwrite`"):
        facts_of(graph).gather(np.arange(2))
    facts = StoredFacts(graph.path, replace(facts_of(graph).entry, dim=30))
    with pytest.raises(CorruptIndex, match="made for 30 terms, not 24"):
        facts.search(hashed().encode_query(["Ada"]), 2)
