"""Stages without a language model: what each makes of evidence, and that places in documents stay true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.corpus import Document
from lsr.errors import InvalidInput
from lsr.rag.fusing import fused
from lsr.rag.pipeline import Pipeline
from lsr.rag.resources import Resources
from lsr.rag.runner import Outcome, Runner
from lsr.rag.stages.base import FAMILIES, Chunking, kinds_of
from lsr.rag.stages.chunking import Documents, Paragraphs, Sentences, Words
from lsr.rag.types import Found, Span, merged
from tests.rag.corpus import DOCUMENTS, QUESTIONS
from tests.training import models

QUESTION = "Who watched the eruption of Vesuvius?"


def run(resources: Resources, questions: Sequence[str] = (QUESTION,), **stages: Any) -> list[Outcome]:
    pipeline = Pipeline.from_mapping({"chunk": {"kind": "paragraphs", "words": 30}, "retrieve": "sparse", **stages})
    outcomes = Runner(DOCUMENTS, resources).run(pipeline, list(questions))
    assert all(outcome.failure is None for outcome in outcomes)
    return outcomes


def texts_are_true(pieces: Sequence[Found]) -> None:
    """Each piece stands in the document where it says."""
    assert pieces
    for piece in pieces:
        parts = [DOCUMENTS[span.document].text[span.start : span.end] for span in piece.spans]
        assert " ".join(" ".join(parts).split()) == " ".join(piece.text.replace(" … ", " ").split())


# -- chunking ----------------------------------------------------------------------------------------------------------

WORD = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)
TEXT = st.lists(st.tuples(WORD, st.sampled_from([" ", ". ", "! ", "\n", "\n\n", "  "])), max_size=60).map(
    lambda parts: "".join(word + mark for word, mark in parts)
)
CUTS = [Documents(), Paragraphs(words=10), Sentences(words=8), Sentences(words=9, overlap=1), Words(words=7, overlap=2)]


@pytest.mark.parametrize("cut", CUTS, ids=repr)
@given(text=TEXT)
def test_chunks_are_the_text_at_their_places_and_leave_no_word_out(cut: Chunking, text: str) -> None:
    document = Document("d", text, "Title")
    made = cut.chunk(document, Resources.__new__(Resources))
    covered = np.zeros(len(text), bool)
    for passage in made:
        (span,) = passage.spans
        assert passage.text == text[span.start : span.end]
        assert passage.title == "Title"
        covered[span.start : span.end] = True
    assert all(covered[at] or letter.isspace() for at, letter in enumerate(text))
    assert [passage.spans[0].start for passage in made] == sorted(passage.spans[0].start for passage in made)
    assert len({passage.id for passage in made}) == len(made)


@given(text=TEXT, words=st.integers(5, 12), overlap=st.integers(0, 4))
def test_windows_have_their_size_and_overlap(text: str, words: int, overlap: int) -> None:
    made = Words(words=words, overlap=overlap).chunk(Document("d", text), Resources.__new__(Resources))
    sizes = [len(passage.text.split()) for passage in made]
    assert all(size == words for size in sizes[:-1])
    assert all(size <= words for size in sizes)
    for one, other in pairwise(made):
        shared = text[other.spans[0].start : one.spans[0].end]
        assert len(shared.split()) == overlap


def test_paragraphs_are_joined_while_they_fit_and_cut_after_sentences_where_they_do_not() -> None:
    text = "One two three.\n\nFour five.\n\n" + "A b c d e f. " * 4
    made = Paragraphs(words=10).chunk(Document("d", text.strip()), Resources.__new__(Resources))
    assert [passage.text for passage in made] == ["One two three.\n\nFour five.", *["A b c d e f."] * 4]


def test_a_document_without_text_is_a_passage_of_its_title() -> None:
    (passage,) = Sentences().chunk(Document("d", "", "Only a title"), Resources.__new__(Resources))
    assert (passage.text, passage.content) == ("", "Only a title")


def test_an_overlap_that_never_ends_is_refused() -> None:
    with pytest.raises(InvalidInput, match="less than words"):
        Words(words=10, overlap=10)


# -- what passages are found by ----------------------------------------------------------------------------------------


def test_headers_name_the_document_and_the_nearest_heading(resources: Resources) -> None:
    runner = Runner(DOCUMENTS, resources)
    pipeline = Pipeline.from_mapping(
        {"chunk": {"kind": "paragraphs", "words": 30}, "prepare": "headers", "retrieve": "sparse"}
    )
    by_text = {passage.text: passage.keys[0] for passage in runner.passages(pipeline)}
    (effusive,) = (key for text, key in by_text.items() if text.startswith("Effusive"))
    assert effusive.startswith("Volcanoes. Eruptions. Effusive")


def test_headings_of_metadata_are_taken_where_the_text_has_none(resources: Resources) -> None:
    documents = {"d": Document("d", "Some words.", "Law", {"heading_path": "== Penalties =="})}
    runner = Runner(documents, resources)
    (passage,) = runner.passages(Pipeline.from_mapping({"prepare": "headers", "retrieve": "bm25"}))
    assert passage.keys == ("Law. Penalties. Some words.",)


def test_a_passage_that_is_found_by_its_parts_is_read_whole(resources: Resources) -> None:
    (outcome,) = run(resources, chunk="documents", prepare={"kind": "parent", "words": 12, "overlap": 2})
    assert outcome.found[0].text == DOCUMENTS["volcano"].text
    assert len({piece.passages for piece in outcome.found}) == len(outcome.found), (
        "a passage comes once, whatever its keys"
    )


# -- retrieval ---------------------------------------------------------------------------------------------------------

WAYS: list[Any] = [
    "sparse",
    "bm25",
    {"kind": "sparse", "terms": 4},
    {"kind": "fusion", "how": "rrf"},
    {"kind": "fusion", "how": "convex", "weights": [0.7, 0.3]},
    {"kind": "fusion", "how": "borda"},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_every_way_to_search_finds_the_article_that_answers(way: Any, resources: Resources) -> None:
    outcomes = run(resources, list(QUESTIONS), retrieve=way)
    for outcome, article in zip(outcomes, QUESTIONS.values(), strict=True):
        assert outcome.found[0].spans[0].document == article
        scores = [piece.score for piece in outcome.found]
        assert scores == sorted(scores, reverse=True)
        texts_are_true(outcome.found)


@pytest.mark.parametrize("way", ["sparse", "bm25"])
def test_long_documents_of_many_keys_leave_room_for_others(way: str, resources: Resources) -> None:
    long = {f"long-{n}": Document(f"long-{n}", "The bees dance here. " * 200 + f"Number {n}.") for n in range(4)}
    short = {
        f"short-{n}": Document(f"short-{n}", f"Number {n}, where bees are seldom seen to dance.") for n in range(4)
    }
    stages = {"prepare": {"kind": "parent", "words": 10, "overlap": 0}, "retrieve": {"kind": way, "k": 6}}
    (outcome,) = Runner(long | short, resources).run(Pipeline.from_mapping(stages), ["bees dance"])
    assert len(outcome.found) == 6


def test_sparse_retrieval_has_the_scores_of_an_index_of_the_same_passages(resources: Resources, tmp_path: Path) -> None:
    import lsr

    runner = Runner(DOCUMENTS, resources)
    pipeline = Pipeline.from_mapping({"chunk": {"kind": "paragraphs", "words": 30}, "retrieve": "sparse"})
    passages = runner.passages(pipeline)
    index = lsr.Index.build([{"id": p.id, "text": p.content} for p in passages], tmp_path / "own.idx")
    hits = index.search(QUESTION, k=20, recall=1)
    (outcome,) = runner.run(pipeline, [QUESTION])
    assert [piece.passages[0] for piece in outcome.found] == hits.ids
    assert [piece.score for piece in outcome.found] == pytest.approx(hits.scores.tolist())


def test_feedback_adds_terms_of_what_was_found_and_keeps_those_of_the_question(resources: Resources) -> None:
    (plain,) = run(resources, retrieve="sparse")
    (outcome,) = run(resources, query={"kind": "rm3", "documents": 2, "terms": 10})
    assert outcome.queries is not None
    (query,) = outcome.queries.items
    assert query.terms is not None
    assert query.weights is not None
    asked = resources.encoder().encode_query(QUESTION)
    assert set(asked.indices.tolist()) <= set(query.terms.tolist())
    added = [resources.encoder().token(term) for term in query.terms.tolist() if term not in asked.indices]
    assert {"buried", "volcano"} <= set(added)
    assert len(outcome.found) >= len(plain.found)


def test_all_weight_for_the_question_is_the_question(resources: Resources) -> None:
    (plain,) = run(resources, retrieve="sparse")
    (same,) = run(resources, query={"kind": "rm3", "weight": 1.0})
    assert [piece.passages for piece in same.found] == [piece.passages for piece in plain.found]
    assert [piece.score for piece in same.found] == pytest.approx([piece.score for piece in plain.found], rel=1e-5)


SCORES = st.dictionaries(st.integers(0, 20), st.floats(-5, 5, allow_nan=False), min_size=1, max_size=8)


@given(rankings=st.lists(SCORES, min_size=2, max_size=4), how=st.sampled_from(["rrf", "convex", "borda", "max"]))
def test_fusions_rank_all_that_was_found_and_do_not_mind_the_order_of_rankings(
    rankings: list[dict[int, float]], how: str
) -> None:
    one = fused(rankings, how)
    assert set(one) == set().union(*rankings)
    other = fused(rankings[::-1], how)
    assert other == pytest.approx(one)
    assert list(one.values()) == sorted(one.values(), reverse=True)


@given(ranking=SCORES, how=st.sampled_from(["rrf", "borda"]))
def test_a_ranking_fused_with_itself_keeps_its_order(ranking: dict[int, float], how: str) -> None:
    order = sorted(ranking, key=lambda place: (-ranking[place], place))
    assert list(fused([ranking, ranking], how)) == order


# -- reranking ---------------------------------------------------------------------------------------------------------


def test_maxsim_orders_by_the_scores_of_the_encoder(resources: Resources, tmp_path: Path) -> None:
    model = str(models.multi_vector(tmp_path / "model", work=tmp_path / "backbone"))
    (outcome,) = run(resources, rerank={"kind": "maxsim", "model": model, "candidates": 3})
    encoder = resources.multivector(model)
    (query,) = (encoder.encode_queries([QUESTION]).of(0),)
    for piece in outcome.found:
        document = encoder.encode_documents([piece.content]).of(0)
        assert piece.score == pytest.approx(float((query @ document.T).max(axis=1).sum()), abs=1e-4)
    assert len(outcome.found) == 3


def test_all_weight_for_the_first_score_keeps_the_first_order(resources: Resources, tmp_path: Path) -> None:
    model = str(models.multi_vector(tmp_path / "model", work=tmp_path / "backbone"))
    (plain,) = run(resources)
    (outcome,) = run(resources, rerank={"kind": "maxsim", "model": model, "weight": 1.0})
    assert [piece.passages for piece in outcome.found] == [piece.passages for piece in plain.found]


# -- filters, augmentation, compression, packing -----------------------------------------------------------------------


def test_filters_keep_the_best(resources: Resources) -> None:
    (plain,) = run(resources)
    (first,) = run(resources, filter={"kind": "top-k", "k": 2})
    assert first.found == plain.found[:2]
    (near,) = run(resources, filter={"kind": "threshold", "share": 0.6})
    low, high = plain.found[-1].score, plain.found[0].score
    assert near.found == tuple(piece for piece in plain.found if (piece.score - low) / (high - low) >= 0.6)


def test_mmr_with_all_weight_on_scores_is_the_ranking_and_with_little_prefers_what_is_new(resources: Resources) -> None:
    double = replace(DOCUMENTS["bee"], id="copy")
    runner = Runner({**DOCUMENTS, "copy": double}, resources)
    question = "How do bees dance, and who printed?"

    def documents(weight: float) -> list[str]:
        pipeline = Pipeline.from_mapping(
            {"retrieve": "sparse", "filter": {"kind": "mmr", "k": 2, "weight": weight}, "chunk": "documents"}
        )
        (outcome,) = runner.run(pipeline, [question])
        return [piece.spans[0].document for piece in outcome.found]

    assert documents(1.0) == ["bee", "copy"]
    assert documents(0.3)[0] == "bee"
    assert documents(0.3)[1] != "copy"


@pytest.mark.parametrize("kind", ["neighbours", "parents", "segments"])
def test_augmented_evidence_is_true_and_holds_what_was_found(kind: str, resources: Resources) -> None:
    plain = run(resources, list(QUESTIONS), filter={"kind": "top-k", "k": 2})
    outcomes = run(resources, list(QUESTIONS), filter={"kind": "top-k", "k": 2}, augment=kind)
    for before, outcome in zip(plain, outcomes, strict=True):
        texts_are_true(outcome.found)
        spans = [span for piece in outcome.found for span in piece.spans]
        assert len(merged(spans)) == len(spans), "no characters come twice"
        best = before.found[0].spans[0]
        assert any(s.document == best.document and s.start <= best.start and best.end <= s.end for s in spans)


def test_neighbours_are_those_of_the_same_document(resources: Resources) -> None:
    everything = {"kind": "neighbours", "before": 20, "after": 20}
    (outcome,) = run(resources, filter={"kind": "top-k", "k": 1}, augment=everything)
    (piece,) = outcome.found
    assert piece.text == DOCUMENTS["volcano"].text


def test_compression_keeps_the_sentence_that_answers_and_its_place(resources: Resources) -> None:
    (plain,) = run(resources, chunk="documents", filter={"kind": "top-k", "k": 1})
    (outcome,) = run(
        resources, chunk="documents", filter={"kind": "top-k", "k": 1}, compress={"kind": "extractive", "share": 0.3}
    )
    (piece,) = outcome.found
    texts_are_true(outcome.found)
    assert "Pliny the Younger watched the eruption" in piece.text
    assert len(piece.text) < 0.6 * len(plain.found[0].text)


def test_a_prompt_holds_what_fits_into_its_tokens(resources: Resources) -> None:
    (outcome,) = run(resources, prompt={"kind": "list", "tokens": 100})
    assert outcome.prompt is not None
    sizes = resources.count_tokens([piece.content for piece in outcome.prompt.context])
    assert sum(sizes) <= outcome.prompt.tokens <= 100
    assert outcome.prompt.dropped == len(outcome.found) - len(sizes) > 0


def test_the_ends_of_a_reordered_prompt_are_the_best(resources: Resources) -> None:
    five = {"kind": "top-k", "k": 5}
    asked = ["How do bees dance, and who printed?"]
    (listed,) = run(resources, asked, filter=five)
    (ends,) = run(resources, asked, filter=five, prompt={"kind": "reorder", "way": "ends"})
    (last,) = run(resources, asked, filter=five, prompt={"kind": "reorder", "way": "last"})
    assert listed.prompt is not None
    assert ends.prompt is not None
    assert last.prompt is not None
    best_first = listed.prompt.context
    assert [best_first.index(piece) for piece in ends.prompt.context] == [0, 2, 4, 3, 1]
    assert last.prompt.context == best_first[::-1]


# -- answers -----------------------------------------------------------------------------------------------------------


def test_the_extractive_reader_answers_with_a_sentence_and_cites_where_it_stands(resources: Resources) -> None:
    (outcome,) = run(resources, ["What does the waggle dance tell?"])
    assert outcome.answer is not None
    assert outcome.answer.text.endswith("the waggle dance tells direction and distance of flowers.")
    (cited,) = outcome.citations
    assert outcome.answer.text in cited.text


def test_no_evidence_is_no_answer(resources: Resources) -> None:
    (outcome,) = run(resources, ["zzzz qqqq"], retrieve="bm25")
    assert outcome.found == ()
    assert outcome.answer is not None
    assert (outcome.answer.text, outcome.citations) == ("", ())


# -- all together ------------------------------------------------------------------------------------------------------


@given(
    spans=st.lists(
        st.builds(lambda d, a, n: Span(d, a, a + n), st.sampled_from("ab"), st.integers(0, 30), st.integers(0, 9)),
        max_size=9,
    )
)
def test_merged_spans_cover_the_same_characters_once(spans: list[Span]) -> None:
    def characters(some: Sequence[Span]) -> set[tuple[str, int]]:
        return {(span.document, at) for span in some for at in range(span.start, span.end)}

    result = merged(spans)
    assert characters(result) == characters(spans)
    assert sum(span.length for span in result) == len(characters(spans))


def test_every_family_has_stages_and_all_can_be_written_and_read_again() -> None:
    for family in FAMILIES:
        assert kinds_of(family) or family == "revise"
    pipeline = Pipeline.from_mapping(
        {
            "chunk": {"kind": "sentences", "overlap": 1},
            "prepare": {"kind": "parent"},
            "query": "rm3",
            "retrieve": {"kind": "fusion", "weights": [0.6, 0.4], "how": "convex"},
            "filter": {"kind": "mmr", "weight": 0.4},
            "augment": "segments",
            "compress": {"kind": "extractive"},
            "prompt": {"kind": "reorder", "way": "last"},
        }
    )
    assert Pipeline.from_mapping(pipeline.to_mapping()) == pipeline
