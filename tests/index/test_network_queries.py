"""An index whose queries go through the network that made its documents, and one that needs no network once it is made."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lsr import Encoder, Hits, Index, load_encoder
from lsr.errors import EncoderError, EncoderMismatch
from lsr.index.query_side import NetworkQueries
from tests.encoders import families

pytest.importorskip("transformers")

QUERIES = ["rotate the log", "What's the weather?", "the dog", "naïve café", "", "漢字 posting list"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.plain(tmp_path_factory.mktemp("siamese") / "model")


@pytest.fixture(scope="module")
def encoder(model: Path) -> Encoder:
    return load_encoder(model)


@pytest.fixture(scope="module")
def index(model: Path) -> Index:
    return Index.build(families.TEXTS, model.parent / "my.idx", encoder=model)


@pytest.fixture
def moved(model: Path, tmp_path: Path) -> tuple[Index, Path]:
    """An index whose model is gone from where it was, and where it is now."""
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(model, old)
    index = Index.build(families.TEXTS, tmp_path / "my.idx", encoder=old)
    old.rename(new)
    return index, new


def answers(found: list[Hits]) -> list[list[tuple[int, float]]]:
    return [[(hit.row, hit.score) for hit in hits] for hits in found]


def test_texts_are_answered_as_their_vectors_are(index: Index, encoder: Encoder) -> None:
    found = answers(index.search(QUERIES))
    assert found == answers(index.search(encoder.encode_query(QUERIES)))
    assert [len(hits) > 0 for hits in found] == [bool(query) for query in QUERIES]
    assert answers([index.search(QUERIES[0])]) == found[:1]


def test_scores_are_dot_products_of_what_the_network_gives(index: Index, encoder: Encoder) -> None:
    stored = index.vectors(range(len(index))).to_scipy()
    products = (encoder.encode_query(QUERIES).to_scipy() @ stored.T).toarray()
    for hits, expected in zip(index.search(QUERIES, k=len(index)), products, strict=True):
        assert sorted(hit.row for hit in hits) == np.flatnonzero(expected).tolist()
        for hit in hits:
            assert hit.score == pytest.approx(expected[hit.row], rel=1e-5)
            assert hit.explain().score == hit.score


def test_an_index_that_is_opened_again_finds_the_network_by_itself(index: Index) -> None:
    again = Index.open(index.path)
    assert isinstance(again.query_encoder, NetworkQueries)
    assert answers(again.search(QUERIES)) == answers(index.search(QUERIES))


def test_an_index_says_that_its_queries_go_through_a_network(index: Index, encoder: Encoder, model: Path) -> None:
    facts = index.info()["encoder"]
    assert (facts["name"], facts["source"], facts["hash"]) == ("model", str(model), encoder.hash)
    assert facts["term_weights"] == "by its network"


def test_vectors_made_elsewhere_are_searched_through_the_network_given(
    index: Index, encoder: Encoder, model: Path, tmp_path: Path
) -> None:
    bare = Index.build(encoder.encode_documents(families.TEXTS), tmp_path / "my.idx")
    for given in (model, encoder):
        assert answers(Index.open(bare.path, given).search(QUERIES)) == answers(index.search(QUERIES))


def test_a_network_that_is_gone_is_named_with_what_to_do(moved: tuple[Index, Path], tmp_path: Path) -> None:
    reopened = Index.open(moved[0].path)
    where = re.escape(str(tmp_path / "old"))
    says = rf"my\.idx: .*network of old.*{where}.*give its folder or hub id as encoder= to Index\.open"
    with pytest.raises(EncoderError, match=says):
        reopened.search("the river")


def test_without_the_network_vectors_are_still_searched(moved: tuple[Index, Path], encoder: Encoder) -> None:
    found = Index.open(moved[0].path).search(encoder.encode_query(["the river"]))
    assert answers(found) == answers(Index.open(moved[0].path, encoder).search(["the river"]))


def test_a_network_that_moved_may_be_given(moved: tuple[Index, Path], index: Index) -> None:
    built, new = moved
    for given in (new, str(new), load_encoder(new)):
        assert answers(Index.open(built.path, given).search(QUERIES)) == answers(index.search(QUERIES))


def test_another_network_is_refused(moved: tuple[Index, Path], tmp_path: Path) -> None:
    """Given, or put where the right one was."""
    other = families.plain(tmp_path / "other", seed=9)
    with pytest.raises(EncoderMismatch, match=r"made with the encoder old .*, not other "):
        Index.open(moved[0].path, other)
    other.rename(tmp_path / "old")
    with pytest.raises(EncoderMismatch, match=r"what is at .*old now is not the encoder old that made it"):
        Index.open(moved[0].path).search("the river")


def test_an_index_with_a_table_of_query_weights_needs_no_model_any_more(tmp_path: Path) -> None:
    model = families.router5(tmp_path / "router")
    encoder = load_encoder(model)
    assert encoder.inference_free
    built = Index.build(families.TEXTS, tmp_path / "my.idx", encoder=model)
    expected = answers(built.search(encoder.encode_query(QUERIES)))
    assert any(expected)
    shutil.rmtree(model)
    assert answers(Index.open(tmp_path / "my.idx").search(QUERIES)) == expected


def test_a_folder_with_an_at_sign_is_found_again(tmp_path: Path) -> None:
    built = Index.build(families.TEXTS, tmp_path / "my.idx", encoder=families.plain(tmp_path / "m@v2"))
    assert Index.open(built.path).search("river")


@pytest.mark.parametrize("layout", [families.plain, families.router5])
def test_an_index_remembers_how_many_terms_of_a_query_are_kept(layout: Callable[[Path], Path], tmp_path: Path) -> None:
    encoder = load_encoder(layout(tmp_path / "model"), query_top_k=2)
    built = Index.build(families.TEXTS, tmp_path / "my.idx", encoder=encoder)
    again = Index.open(built.path)
    assert again.query_encoder is not None
    assert len(again.query_encoder.encode_batch(["the river the fox the dog"]).indices) == 2
    assert answers(again.search(QUERIES)) == answers(built.search(QUERIES))


def test_an_encoder_with_a_query_side_of_its_own_must_be_given_again(tmp_path: Path) -> None:
    folder = families.plain(tmp_path / "model")
    other = families.plain(tmp_path / "other", seed=3)
    encoder = load_encoder(folder, query=other)
    built = Index.build(families.TEXTS, tmp_path / "my.idx", encoder=encoder)
    with pytest.raises(EncoderMismatch, match=r"had another query= .*encoder= to Index\.open"):
        Index.open(built.path).search("river")
    assert answers(Index.open(built.path, encoder).search(QUERIES)) == answers(built.search(QUERIES))
