"""Measures of retrieval from gold spans, beside those of documents."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.errors import InvalidInput
from lsr.eval.measures import Measure, evaluate
from lsr.rag.judging.spans import SpanScores, covered, first_ranks, grouped, span_scores
from lsr.rag.types import Found, Span, merged


def piece(*spans: Span) -> Found:
    return Found("text", "", spans, 1.0, ())


def at(start: int, end: int, document: str = "d") -> Span:
    return Span(document, start, end)


spans = st.builds(
    lambda document, start, length: Span(document, start, start + length),
    st.sampled_from("abc"),
    st.integers(0, 60),
    st.integers(0, 30),
)
golds = st.lists(spans, min_size=1, max_size=6)
contexts = st.lists(st.lists(spans, max_size=3).map(lambda parts: piece(*parts)), max_size=8)


@given(
    ranking=st.permutations([f"d{i}" for i in range(9)]),
    length=st.integers(0, 9),
    gold=st.sets(st.sampled_from([f"d{i}" for i in range(12)]), min_size=1),
    k=st.integers(1, 12),
)
def test_whole_documents_have_the_scores_of_trec_eval(ranking: list[str], length: int, gold: set[str], k: int) -> None:
    """Passages that are the documents, one to one; some of the gold may not be in the corpus that was searched."""
    context = [piece(at(0, 10, document)) for document in ranking[:length]]
    ours = span_scores([at(0, 10, document) for document in sorted(gold)], context, k=k)
    names = {f"R@{k}": "recall", f"AP@{k}": "ap", f"nDCG@{k}": "ndcg", f"RR@{k}": "rr", f"FullChain@{k}": "full_chain"}
    theirs = evaluate([Measure.parse(name) for name in names], {"q": dict.fromkeys(gold, 1)}, {"q": ranking[:length]})
    for name, mine in names.items():
        assert getattr(ours, mine) == pytest.approx(theirs[name][0], abs=1e-12), name


@given(golds, contexts, st.none() | st.integers(1, 9), st.sampled_from([0.1, 0.5, 1.0]))
def test_no_measure_exceeds_1(gold: list[Span], context: list[Found], k: int | None, threshold: float) -> None:
    scores = span_scores(gold, context, k=k, threshold=threshold)
    for value in (
        scores.recall,
        scores.ap,
        scores.ndcg,
        scores.rr,
        scores.full_chain,
        scores.density,
        scores.retrieval,
    ):
        assert 0 <= value <= 1 + 1e-12


@given(golds, contexts, st.integers(0, 7))
def test_finding_gold_earlier_never_lowers_a_score(gold: list[Span], context: list[Found], place: int) -> None:
    better = list(context)
    better.insert(min(place, len(context)), piece(*gold))
    before, after = span_scores(gold, [*context, piece(*gold)]), span_scores(gold, better)
    for name in ("recall", "ap", "ndcg", "rr"):
        assert getattr(after, name) >= getattr(before, name) - 1e-12


@given(golds, contexts)
def test_a_longer_context_finds_no_less(gold: list[Span], context: list[Found]) -> None:
    scores = [span_scores(gold, context, k=k) for k in range(1, len(context) + 2)]
    assert all(a.recall <= b.recall and a.rr <= b.rr and a.ap <= b.ap + 1e-12 for a, b in pairwise(scores))


@given(golds, contexts)
def test_ranks_are_those_of_counting_characters_one_by_one(gold: list[Span], context: list[Found]) -> None:
    def slow(span: Span) -> int | None:
        wanted = {(span.document, i) for i in range(span.start, span.end)}
        seen: set[tuple[str, int]] = set()
        for rank, found in enumerate(context, 1):
            seen |= {(s.document, i) for s in found.spans for i in range(s.start, s.end)}
            if 2 * len(wanted & seen) >= len(wanted):
                return rank
        return None

    with_text = [span for span in gold if span.length]
    assert first_ranks(with_text, context) == [slow(span) for span in with_text]


@given(golds, contexts)
def test_density_is_a_share_of_characters_counted_one_by_one(gold: list[Span], context: list[Found]) -> None:
    wanted = {(s.document, i) for s in gold for i in range(s.start, s.end)}
    shown = [(s.document, i) for found in context for s in found.spans for i in range(s.start, s.end)]
    expected = len(wanted & set(shown)) / len(shown) if shown else 0.0
    assert span_scores(gold, context).density == pytest.approx(expected)
    assert covered(merged(gold), [s for found in context for s in found.spans]) == len(wanted & set(shown))


def test_gold_is_found_where_pieces_together_hold_half_of_it() -> None:
    context = [piece(at(0, 30)), piece(at(20, 49)), piece(at(0, 50, "other")), piece(at(95, 200))]
    assert first_ranks([at(0, 100)], context) == [4]
    assert first_ranks([at(0, 100)], context, threshold=0.3) == [1]
    assert first_ranks([at(0, 100)], context, threshold=0.6) == [None]
    assert first_ranks([at(0, 98)], context) == [2]  # exactly half


def test_a_document_of_a_title_alone_is_found_with_its_piece() -> None:
    assert first_ranks([at(0, 0, "e")], [piece(at(0, 5)), piece(at(0, 0, "e"))]) == [2]


def test_one_piece_with_all_gold_is_the_best_there_is() -> None:
    gold = [at(0, 10), at(20, 30), at(40, 50)]
    scores = span_scores(gold, [piece(at(0, 60))], k=1)
    assert (scores.recall, scores.ap, scores.ndcg, scores.rr, scores.full_chain) == (1, 1, 1, 1, 1)
    assert scores.density == 0.5
    later = span_scores(gold, [piece(at(0, 5, "x")), piece(at(0, 60))])
    assert later.ap == pytest.approx((1 / 2 + 2 / 2 + 3 / 3) / 3)


def test_a_piece_without_spans_is_a_rank_of_its_own() -> None:
    assert span_scores([at(0, 10)], [piece(), piece(at(0, 10))]).rr == 0.5


def test_a_budget_of_tokens_ends_the_context_at_the_first_piece_that_does_not_fit() -> None:
    gold, context = [at(0, 10), at(20, 30)], [piece(at(0, 10)), piece(at(10, 20)), piece(at(20, 30))]
    scores = span_scores(gold, context, tokens=150, sizes=[100, 60, 40])
    assert (scores.recall, scores.pieces, scores.tokens) == (0.5, 1, 100)
    assert span_scores(gold, context, tokens=200, sizes=[100, 60, 40]).recall == 1
    assert span_scores(gold, context, tokens=200, sizes=[100, 60, 40], k=2).tokens == 160
    assert span_scores(gold, context, tokens=50, sizes=[100, 60, 40]).pieces == 0


def test_the_retrieval_score_is_the_mean_of_four() -> None:
    scores = SpanScores(recall=1.0, ap=0.5, ndcg=0.7, rr=0.2, full_chain=1, density=0, pieces=3, characters=9, tokens=7)
    assert scores.retrieval == pytest.approx(0.6)
    named = scores.named("@5")
    assert (named["R@5"], named["retrieval@5"], named["context tokens@5"]) == (1, scores.retrieval, 7)


def test_scores_by_hops() -> None:
    found = grouped([1.0, 0.0, 0.5, float("nan"), 1.0], [2, 2, 3, 3, None])
    assert dict(found) == {2: (0.5, 2), 3: (0.5, 1)}
    assert list(grouped([1.0, 0.0], ["b", "a"])) == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"tokens": 0, "sizes": [1]}, "tokens is 0"),
        ({"tokens": 9}, "sizes"),
        ({"sizes": [1, 2]}, "2 sizes for 1 pieces"),
        ({"threshold": 0}, "threshold"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        span_scores([at(0, 10)], [piece(at(0, 10))], **arguments)  # type: ignore[arg-type]


def test_a_question_without_gold_has_no_score() -> None:
    with pytest.raises(InvalidInput, match="without gold"):
        span_scores([], [piece(at(0, 10))])
