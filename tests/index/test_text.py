"""From texts to hits: an index built from documents keeps ids, texts and the query side of its encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lsr
from lsr import Document, Encoder, Hits, Index
from lsr.encoders import QueryEncoder
from lsr.errors import CorpusError, DuplicateId, EncoderMismatch, InvalidInput
from lsr.hits import Snippet
from lsr.index.explain import snippet
from tests.index.encoders import with_other_weights

TEXTS = [
    "Open a gzip-compressed file in binary or text mode.",
    "Register a function to be executed at normal program termination.",
    "A handler for logging to a set of files, which switches from one file to the next when it is full.",
    "Return a new sorted list from the items in an iterable.",
    "Compute the largest eigenvalues of a square sparse matrix.",
]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return lsr.load_encoder()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Index:
    return Index.build(TEXTS, tmp_path_factory.mktemp("text") / "my.idx", encoder=encoder)


def test_a_question_finds_its_document(index: Index) -> None:
    assert index.search("read a compressed file")[0].id == "0"
    assert index.search("eigenvalues of sparse matrices", k=1)[0].text == TEXTS[4]


def test_several_questions_are_answered_in_their_order(index: Index) -> None:
    answers = index.search(["sort a list", "", "run a function at exit"])
    assert [hits.query for hits in answers] == ["sort a list", "", "run a function at exit"]
    assert [hits.ids[:1] for hits in answers] == [["3"], [], ["1"]]


def test_scores_are_dot_products_of_query_and_document_vectors(index: Index, encoder: Encoder) -> None:
    documents = encoder.encode_documents(TEXTS)
    query = index.query_encoder.encode_batch(["compressed file list"])  # type: ignore[union-attr]
    expected = (query.to_scipy() @ documents.to_scipy().T).toarray()[0]
    hits = index.search("compressed file list")
    step = documents.values.max() / 255
    for hit in hits:
        assert hit.score == pytest.approx(expected[hit.row], abs=float(query.values.sum() * step / 2) + 1e-4)


def test_explanations_add_up_to_the_score(index: Index) -> None:
    for hit in index.search("write log messages to a file when the program ends"):
        explanation = hit.explain()
        assert explanation.score == hit.score
        assert sum(term.contribution for term in explanation.terms) == pytest.approx(hit.score, rel=1e-5)
        for term in explanation.terms:
            assert term.query_weight * term.document_weight == pytest.approx(term.contribution, rel=1e-5)
        assert [t.contribution for t in explanation.terms] == sorted(
            (t.contribution for t in explanation.terms), reverse=True
        )


def test_hits_read_well(index: Index) -> None:
    hits = index.search("compressed file", k=2)
    assert repr(hits).startswith("2 hits for 'compressed file'\n   1 ")
    assert "«file»" in str(hits[0].explain())
    page = hits._repr_html_()
    assert "<mark>file</mark>" in page
    assert "<table>" in hits[0].explain()._repr_html_()
    assert isinstance(hits[:1], Hits)
    assert [hit.rank for hit in hits] == [1, 2]
    with pytest.raises(IndexError):
        hits[2]


def test_html_is_escaped(tmp_path: Path) -> None:
    index = Index.build([{"id": "<i>", "title": "<b>x", "text": "<script>alert(1)</script> script"}], tmp_path / "x")
    hits = index.search("script <u>")
    assert "<script>" not in hits._repr_html_() + hits[0].explain()._repr_html_()
    assert "<b>x" not in hits._repr_html_()
    assert "<i></td>" not in hits._repr_html_()


def test_documents_keep_id_title_text_and_metadata(tmp_path: Path) -> None:
    documents = [
        Document(id=f"d{i}", title=f"Title {i}", text=f"Körper {i} 𝄞", metadata={"year": 2000 + i, "tags": ["a", "b"]})
        for i in range(40)
    ]
    index = Index.build(iter(documents), tmp_path / "my.idx")
    hit = index.search("title 17", k=1)[0]
    assert (hit.id, hit.title, hit.text) == ("d17", "Title 17", "Körper 17 𝄞")
    assert hit.metadata == {"year": 2017, "tags": ["a", "b"]}
    assert [index.record_of(row).text for row in range(40)] == [d.text for d in documents]  # type: ignore[union-attr]


def test_title_counts_for_search(tmp_path: Path) -> None:
    index = Index.build([{"title": "volcano", "text": "a mountain"}, {"text": "a river"}], tmp_path / "my.idx")
    assert index.search("volcano")[0].row == 0


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (7, "is a int"),
        ({"title": "x"}, "no text field 'text'"),
        ({"text": 5}, "the field 'text' is the number 5"),
        (None, "is a NoneType"),
        ({"text": "x", "when": (1, 2)}, "give a list"),
        ({"text": "x", "when": {1: 2}}, "names are strings"),
        ({"text": "x", "id": "a"}, "the first record lacks"),
        ({"text": "a\0b"}, "NUL"),
    ],
)
def test_what_is_no_document_is_refused(tmp_path: Path, item: object, says: str) -> None:
    with pytest.raises((InvalidInput, CorpusError), match=f"document 1.*{says}"):
        Index.build(["fine", item], tmp_path / "my.idx")  # type: ignore[list-item]
    assert list(tmp_path.iterdir()) == []


def test_no_documents_make_no_index(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no documents"):
        Index.build([], tmp_path / "my.idx")


def test_the_same_id_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DuplicateId, match="document 2: the id 'a' is also that of document 0"):
        Index.build([{"id": "a", "text": "x"}, {"id": "b", "text": "y"}, {"id": "a", "text": "z"}], tmp_path / "my.idx")


# -- the encoder of an index -------------------------------------------------------------------------------------------


def test_an_index_is_refused_with_another_encoder(index: Index, tmp_path: Path, encoder: Encoder) -> None:
    encoder.save(tmp_path / "same")
    assert len(Index.open(index.path, tmp_path / "same")) == 5
    other = with_other_weights(tmp_path / "same", tmp_path / "other")
    with pytest.raises(EncoderMismatch, match=r"made with the encoder lsr-tiny .*, not lsr-tiny-2 .*; open it without"):
        Index.open(index.path, other)


def test_vectors_of_another_dim_are_refused_with_an_encoder(tmp_path: Path, encoder: Encoder) -> None:
    vectors = lsr.SparseVectors(indptr=[0, 1], indices=[1], values=[1.0], dim=600)
    with pytest.raises(InvalidInput, match="600 dimensions, the encoder lsr-tiny 30,522"):
        Index.build(vectors, tmp_path / "v.idx", encoder=encoder)
    Index.build(vectors, tmp_path / "v.idx")
    with pytest.raises(EncoderMismatch, match="600 dimensions"):
        Index.open(tmp_path / "v.idx", encoder)


def test_vectors_with_an_encoder_are_searched_with_text(encoder: Encoder, tmp_path: Path) -> None:
    vectors = encoder.encode_documents(TEXTS)
    index = Index.build(vectors, tmp_path / "my.idx", encoder="lsr-tiny")
    assert index.search("sorted list")[0].row == 3
    bare = Index.build(vectors, tmp_path / "bare.idx")
    with pytest.raises(InvalidInput, match="keeps no encoder"):
        bare.search("sorted list")
    assert Index.open(tmp_path / "bare.idx", encoder).search("sorted list")[0].row == 3


def test_term_weights_follow_the_documents_unless_told_not_to(tmp_path: Path, encoder: Encoder) -> None:
    """A word that every document has is worth less in this collection than elsewhere."""
    texts = [f"zebra number {i}" for i in range(300)]
    adapted = Index.build(texts, tmp_path / "a.idx", encoder=encoder).query_encoder
    kept = Index.build(texts, tmp_path / "b.idx", encoder=encoder, corpus_idf=False).query_encoder
    assert isinstance(adapted, QueryEncoder)
    assert isinstance(kept, QueryEncoder)
    np.testing.assert_array_equal(kept.weights, encoder.query.weights)
    zebra = int(encoder.query.encode("zebra")[0][0])
    assert adapted.weights[zebra] < 0.7 * kept.weights[zebra]


# -- snippets ----------------------------------------------------------------------------------------------------------


def test_a_snippet_shows_the_part_that_matters(index: Index) -> None:
    encoder = index.query_encoder
    assert isinstance(encoder, QueryEncoder)
    text = "Nothing to see here. " * 60 + "The volcano erupted at night over the sea. " + "More of the same. " * 60
    term = int(encoder.encode("volcano")[0][0])
    shown = snippet(text, {term: 3.0}, encoder)
    assert "«volcano» erupted" in str(shown)
    assert shown.text.startswith("…")
    assert shown.text.endswith("…")
    assert len(shown.text) < 300
    assert "".join(piece for piece, _ in shown.pieces()) == shown.text


def test_a_snippet_is_one_line_with_its_marks_in_place(index: Index) -> None:
    encoder = index.query_encoder
    assert isinstance(encoder, QueryEncoder)
    terms = {int(term): 1.0 for term in encoder.encode("volcano sea")[0]}
    assert str(snippet("\n  The\n\n    volcano \t and the\nsea.\n", terms, encoder)) == "The «volcano» and the «sea». "


def test_a_snippet_without_matches_is_the_beginning(index: Index) -> None:
    shown = snippet("One two three. " * 100, {}, index.query_encoder)
    assert shown.text.startswith("One two three.")
    assert shown.marks == ()
    assert snippet("", {}, index.query_encoder) == Snippet("")
