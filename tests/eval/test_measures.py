"""Measures: how they are named, what each is on a ranking small enough to work out by hand, and what always holds."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.errors import InvalidInput
from lsr.eval.measures import DEFAULT_MEASURES, Measure, evaluate, mean

Qrels = dict[str, dict[str, int]]


def value(measure: str, judged: dict[str, int], ranking: list[str], threshold: int = 1) -> float:
    """One measure of one query."""
    (values,) = evaluate([Measure.parse(measure)], {"q": judged}, {"q": ranking}, threshold=threshold).values()
    assert values.shape == (1,)
    return float(values[0])


# ---- Names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("nDCG@10", "nDCG@10"),
        ("ndcg@10", "nDCG@10"),
        ("NDCG", "nDCG"),
        (" nDCG@10 ", "nDCG@10"),
        ("nDCG(gain=linear)@10", "nDCG@10"),
        ("ndcg(GAIN=EXP)@10", "nDCG(gain=exp)@10"),
        ("nDCG(dcg='exp-log2')@10", "nDCG(gain=exp)@10"),  # as ir_measures writes it
        ("nDCG(dcg='log2')@10", "nDCG@10"),
        ("dcg@5", "DCG@5"),
        ("MRR@10", "RR@10"),
        ("rr", "RR"),
        ("recall@100", "R@100"),
        ("R(rel=2)@100", "R(rel=2)@100"),
        ("MAP@1000", "AP@1000"),
        ("AP( rel = 2 )@1000", "AP(rel=2)@1000"),
        ("Precision@10", "P@10"),
        ("HitRate@5", "Success@5"),
        ("hit_rate@5", "Success@5"),
        ("judged@10", "Judged@10"),
        ("f1@10", "F1@10"),
        ("rprec", "Rprec"),
        ("R-Precision", "Rprec"),
        ("BPREF", "Bpref"),
        ("RBP", "RBP(p=0.8)"),
        ("RBP(p=0.95)@10", "RBP(p=0.95)@10"),
        ("rbp(rel=2, p=.5)@10", "RBP(p=0.5,rel=2)@10"),
        ("full_chain@10", "FullChain@10"),
        ("ndcg_cut_10", "nDCG@10"),
        ("ndcg_cut.10", "nDCG@10"),
        ("map", "AP"),
        ("map_cut_1000", "AP@1000"),
        ("recip_rank", "RR"),
        ("recall_1000", "R@1000"),
        ("P_10", "P@10"),
        ("success_5", "Success@5"),
        ("set_F", "F1"),
    ],
)
def test_a_measure_is_known_by_its_usual_names_and_has_one_of_its_own(written: str, name: str) -> None:
    assert str(Measure.parse(written)) == name


def test_the_default_measures_start_with_the_headline() -> None:
    names = "nDCG@10 RR@10 R@100 R@1000 AP@1000 Judged@10 Success@5 FullChain@10"
    assert " ".join(map(str, DEFAULT_MEASURES)) == names


@pytest.mark.parametrize(
    "text", ["", "nDGC@10", "10", "@10", "nDCG@10@10", "nDCG@ten", "nDCG@-1", "nDCG@1.5", "ndcg_10", "P@"]
)
def test_an_unknown_name_lists_the_known_ones(text: str) -> None:
    with pytest.raises(
        InvalidInput, match=r"unknown measure .*nDCG\[@K\], DCG.*FullChain@K.*Bpref.*ndcg_cut_10"
    ) as error:
        Measure.parse(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nDCG@0", "cutoff of nDCG is 0; it must be a whole number from 1"),
        ("recall_0", "cutoff of R is 0"),
        ("R", "R needs a cutoff.*write R@100"),
        ("P", "P needs a cutoff"),
        ("Success", "Success needs a cutoff"),
        ("Judged", "Judged needs a cutoff"),
        ("FullChain", "FullChain needs a cutoff"),
        ("Rprec@10", "Rprec has no cutoff"),
        ("Bpref@10", "Bpref has no cutoff"),
        ("AP(rel=0)@10", "rel of AP is 0"),
        ("AP(rel=two)", "rel must be a whole number"),
        ("AP(rel=1.5)", "rel must be a whole number"),
        ("AP(gain=exp)", "AP has no parameter 'gain'; it takes rel"),
        ("nDCG(rel=2)@10", "nDCG has no parameter 'rel'; it takes gain"),
        ("Judged(rel=2)@10", "Judged has no parameter 'rel'; it takes none"),
        ("nDCG(gain=cubic)@10", "gain of nDCG is 'cubic'; it must be linear or exp"),
        ("RBP(p=1)", "p of RBP is 1.0; it must lie between 0 and 1"),
        ("RBP(p=0)", "between 0 and 1"),
        ("RBP(p=nan)", "between 0 and 1"),
        ("RBP(p=much)", "p a number between 0 and 1"),
        ("AP(rel=1,rel=2)", "each once"),
        ("AP(level=2)", "cannot read 'level=2'"),
        ("AP(rel)", "cannot read 'rel'"),
    ],
)
def test_a_measure_with_wrong_parameters_says_what_is_right(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Measure.parse(text)


def test_a_measure_made_without_parsing_is_checked_too() -> None:
    assert Measure("nDCG", 10) == Measure.parse("nDCG@10")
    assert Measure("RBP") == Measure.parse("RBP(p=0.8)")
    with pytest.raises(InvalidInput, match="unknown measure 'MRR'"):
        Measure("MRR", 10)
    with pytest.raises(InvalidInput, match="cutoff of nDCG is True"):
        Measure("nDCG", True)
    with pytest.raises(InvalidInput, match=r"cutoff of nDCG is 2\.5"):
        Measure("nDCG", 2.5)  # type: ignore[arg-type]


any_cutoff = st.one_of(st.none(), st.integers(1, 10**9 - 1))
any_level = st.one_of(st.none(), st.integers(1, 9))
any_measure = st.one_of(
    st.builds(Measure, st.sampled_from(["nDCG", "DCG"]), any_cutoff, gain=st.sampled_from(["linear", "exp"])),
    st.builds(Measure, st.sampled_from(["RR", "AP", "F1"]), any_cutoff, any_level),
    st.builds(Measure, st.sampled_from(["R", "P", "Success", "FullChain"]), st.integers(1, 10**9 - 1), any_level),
    st.builds(Measure, st.sampled_from(["Rprec", "Bpref"]), rel=any_level),
    st.builds(Measure, st.just("RBP"), any_cutoff, any_level, p=st.floats(0, 1, exclude_min=True, exclude_max=True)),
)


@given(any_measure)
def test_the_name_of_a_measure_reads_back_as_the_measure_in_any_case(measure: Measure) -> None:
    name = str(measure)
    assert Measure.parse(name) == measure == Measure.parse(name.upper()) == Measure.parse(name.lower())


# ---- Values worked out by hand ---------------------------------------------------------------------------------------

GRADED = {"a": 3, "b": 2, "c": 1, "z": 0}  # z is judged and not relevant
FOUND = ["c", "x", "z", "a", "y"]  # x and y are not judged, b is not found


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("DCG", 1 / 1 + 3 / math.log2(5)),
        ("DCG@3", 1.0),
        ("DCG(gain=exp)", 1 / 1 + 7 / math.log2(5)),
        ("nDCG", (1 + 3 / math.log2(5)) / (3 + 2 / math.log2(3) + 1 / 2)),
        ("nDCG@1", 1 / 3),
        ("nDCG@2", 1 / (3 + 2 / math.log2(3))),  # the ideal holds b, which was not found
        ("nDCG(gain=exp)", (1 + 7 / math.log2(5)) / (7 + 3 / math.log2(3) + 1 / 2)),
        ("RR", 1.0),
        ("RR(rel=2)", 1 / 4),
        ("RR(rel=2)@3", 0.0),
        ("RR(rel=2)@4", 1 / 4),
        ("AP", (1 / 1 + 2 / 4) / 3),
        ("AP@3", 1 / 3),  # over all three relevant documents, though only three ranks count
        ("AP(rel=2)", (1 / 4) / 2),
        ("R@1", 1 / 3),
        ("R@4", 2 / 3),
        ("R(rel=3)@4", 1.0),
        ("P@4", 2 / 4),
        ("P@10", 2 / 10),  # five were found: divided by ten all the same
        ("F1", 2 * (2 / 5) * (2 / 3) / (2 / 5 + 2 / 3)),
        ("F1@10", 2 * (2 / 10) * (2 / 3) / (2 / 10 + 2 / 3)),
        ("Success@1", 1.0),
        ("Success(rel=2)@3", 0.0),
        ("Success(rel=2)@4", 1.0),
        ("FullChain@10", 0.0),
        ("FullChain(rel=3)@4", 1.0),
        ("FullChain(rel=3)@3", 0.0),
        ("Rprec", 1 / 3),
        ("Bpref", (1 + (1 - 1 / 1)) / 3),  # a stands below z, the one judged document that is not relevant
        ("Bpref(rel=2)", (1 - 2 / 2) / 2),  # c and z are above a
        ("RBP(p=0.5)", 0.5 * (1 + 0.5**3)),
        ("RBP(p=0.5)@3", 0.5),
        ("RBP(p=0.5,rel=2)", 0.5 * 0.5**3),
        ("Judged@1", 1.0),
        ("Judged@2", 1 / 2),
        ("Judged@10", 3 / 5),  # of the five there are
    ],
)
def test_each_measure_is_what_its_definition_gives_by_hand(measure: str, expected: float) -> None:
    assert value(measure, GRADED, FOUND) == pytest.approx(expected, abs=1e-12)


def test_the_threshold_is_for_binary_measures_that_do_not_name_a_grade() -> None:
    """TREC Deep Learning: AP and recall from grade 2, nDCG with all grades."""
    names = [Measure.parse(name) for name in ("nDCG@10", "AP", "AP(rel=1)", "R@10")]
    one = evaluate(names, {"q": GRADED}, {"q": FOUND})
    two = evaluate(names, {"q": GRADED}, {"q": FOUND}, threshold=2)
    assert two["nDCG@10"] == one["nDCG@10"]
    assert two["AP"] == evaluate([Measure.parse("AP(rel=2)")], {"q": GRADED}, {"q": FOUND})["AP(rel=2)"] != one["AP"]
    assert two["AP(rel=1)"] == one["AP"]
    assert two["R@10"] == 1 / 2


ALL = [Measure.parse(form.replace("[@K]", "@3").replace("@K", "@3")) for form in Measure.known()]


def test_values_stand_in_the_order_of_the_judged_queries() -> None:
    qrels = {"q2": {"a": 1}, "q10": {"a": 1}, "q1": {"a": 1}}
    rankings = {"q1": ["x", "y", "a"], "q2": ["a"], "q10": ["x", "a"]}
    assert evaluate([Measure("RR")], qrels, rankings)["RR"].tolist() == [1, 1 / 2, 1 / 3]


def test_a_judged_query_without_ranking_or_hits_counts_0() -> None:
    qrels = {"q1": {"a": 1}, "missing": {"a": 1}, "empty": {"a": 1}}
    for name, values in evaluate(ALL, qrels, {"q1": ["a"], "empty": []}).items():
        assert values.dtype == np.float64
        assert values.shape == (3,)
        assert values[0] > 0, name
        assert values[1:].tolist() == [0, 0], name


def test_a_ranking_of_a_query_without_judgments_is_left_out() -> None:
    alone = evaluate(ALL, {"q": GRADED}, {"q": FOUND})
    among = evaluate(ALL, {"q": GRADED}, {"other": ["a", "b"], "q": FOUND})
    assert {name: values.tolist() for name, values in alone.items()} == {
        name: values.tolist() for name, values in among.items()
    }


@pytest.mark.parametrize("judged", [{"a": 0}, {"a": -1, "b": -2}, {"a": 0, "b": -1}, {}])
def test_a_query_without_relevant_documents_counts_0(judged: dict[str, int]) -> None:
    values = evaluate(ALL, {"q": judged}, {"q": ["a", "b"]})
    assert {name: column[0] for name, column in values.items() if column[0] != 0} == (
        {"Judged@3": len(judged) / 2} if judged else {}
    )


def test_negative_grades_have_no_gain_are_not_relevant_and_count_as_judged_in_judged_alone() -> None:
    judged = {"junk": -2, "good": 1, "bad": 0}
    ranking = ["junk", "good", "bad"]
    assert value("nDCG", judged, ranking) == pytest.approx(1 / math.log2(3))
    assert value("DCG(gain=exp)", judged, ranking) == pytest.approx(1 / math.log2(3))
    assert value("RR", judged, ranking) == 1 / 2
    assert value("Judged@10", judged, ranking) == 1
    # In bpref only `bad` is a judged document that is not relevant, and it stands below `good`.
    assert value("Bpref", judged, ranking) == 1
    assert value("Bpref", {**judged, "junk": 0}, ranking) == 0


def test_bpref_is_defined_where_nothing_is_judged_to_be_not_relevant() -> None:
    assert value("Bpref", {"a": 1, "b": 1}, ["x", "a"]) == 1 / 2


def test_the_order_of_a_ranking_is_kept() -> None:
    """Ties were broken before: no measure may look at ids or scores again."""
    assert value("RR", {"a": 1}, ["b", "a"]) == 1 / 2
    assert value("RR", {"b": 1}, ["b", "a"]) == 1


def test_no_measure_and_no_query_give_no_values() -> None:
    assert evaluate([], {"q": {"a": 1}}, {}) == {}
    assert evaluate([Measure("Bpref")], {}, {})["Bpref"].shape == (0,)


# ---- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("twice", ["a", "x"])  # judged or not: the ranks below are wrong either way
def test_a_document_twice_in_a_ranking_is_refused_by_name(twice: str) -> None:
    with pytest.raises(InvalidInput, match=f"query 'q' holds document '{twice}' twice"):
        evaluate([Measure("RR")], {"q": {"a": 1}}, {"q": ["a", "x", "y", twice]})


@pytest.mark.parametrize("grade", [0.5, "1", None, 2**64])
def test_a_grade_that_is_no_whole_number_is_refused(grade: object) -> None:
    with pytest.raises(InvalidInput, match="whole numbers"):
        evaluate([Measure("RR")], {"q": {"a": 1, "b": grade}}, {"q": ["a"]})  # type: ignore[dict-item]


@pytest.mark.parametrize("ranking", ["abc", [1, 2], [b"a"]])
def test_a_ranking_of_anything_but_strings_is_refused(ranking: object) -> None:
    with pytest.raises(InvalidInput, match="sequence of document ids"):
        evaluate([Measure("RR")], {"q": {"a": 1}}, {"q": ranking})  # type: ignore[dict-item]


@pytest.mark.parametrize("threshold", [0, -1, 1.5, True, "1"])
def test_a_threshold_that_is_no_grade_is_refused(threshold: object) -> None:
    with pytest.raises(InvalidInput, match="threshold"):
        evaluate([Measure("RR")], {"q": {"a": 1}}, {"q": ["a"]}, threshold=threshold)  # type: ignore[arg-type]


def test_a_grade_too_large_for_exponential_gain_is_refused() -> None:
    assert value("nDCG(gain=exp)", {"a": 1000, "b": 1}, ["a"]) == 1
    with pytest.raises(InvalidInput, match=r"2 to the power of the grade 1024.*gain=linear"):
        value("nDCG(gain=exp)", {"a": 1024}, ["a"])


def test_numpy_ids_thresholds_and_grades_are_taken_as_they_are() -> None:
    ranking, grades = np.array(["b", "a"]), {"a": np.int32(2)}
    values = evaluate([Measure("RR")], {"q": grades}, {"q": ranking}, threshold=np.int64(2))  # type: ignore[dict-item,arg-type]
    assert values["RR"].tolist() == [1 / 2]


def test_the_mean_is_over_all_queries_and_refuses_what_has_none() -> None:
    assert mean(np.array([1.0, 0.0, 0.5])) == 0.5
    assert type(mean([1.0])) is float
    for bad in ([], [1.0, math.nan], [math.inf]):
        with pytest.raises(InvalidInput, match="average"):
            mean(bad)


# ---- What always holds -----------------------------------------------------------------------------------------------

documents = st.integers(0, 12).map("d{}".format)
judgments = st.dictionaries(documents, st.integers(-2, 4), max_size=8)
rankings = st.lists(documents, unique=True)
BOUNDED = [measure for measure in ALL if measure.name != "DCG"]


@given(judgments, rankings)
def test_every_measure_lies_between_0_and_1(judged: dict[str, int], ranking: list[str]) -> None:
    for name, values in evaluate(BOUNDED, {"q": judged}, {"q": ranking}).items():
        assert 0 <= values[0] <= 1 + 1e-12, name


@given(judgments, rankings, st.integers(0, 12), st.integers(1, 3))
def test_a_cutoff_is_the_measure_of_the_ranking_cut_off(
    judged: dict[str, int], ranking: list[str], cut: int, level: int
) -> None:
    """Not so nDCG, P and F1, which divide by something that depends on the cutoff."""
    measures = [Measure(name) for name in ("RR", "AP", "RBP", "DCG")] + [
        Measure(name, 20) for name in ("R", "Success", "FullChain", "Judged")
    ]
    cut = max(cut, 1)
    expected = evaluate(measures, {"q": judged}, {"q": ranking[:cut]}, threshold=level)
    found = evaluate([Measure(m.name, cut) for m in measures], {"q": judged}, {"q": ranking}, threshold=level)
    assert [v[0] for v in found.values()] == [v[0] for v in expected.values()]


@given(judgments, rankings, st.data())
def test_moving_a_relevant_document_up_past_one_that_is_not_never_hurts(
    judged: dict[str, int], ranking: list[str], data: st.DataObject
) -> None:
    """True of every measure here but Judged, which asks for no relevance."""
    swaps = [i for i in range(1, len(ranking)) if judged.get(ranking[i], 0) > 0 and judged.get(ranking[i - 1], 0) <= 0]
    if not swaps:
        return
    at = data.draw(st.sampled_from(swaps))
    better = [*ranking[: at - 1], ranking[at], ranking[at - 1], *ranking[at + 1 :]]
    measures = [measure for measure in ALL if measure.name != "Judged"]
    before = evaluate(measures, {"q": judged}, {"q": ranking})
    after = evaluate(measures, {"q": judged}, {"q": better})
    for name in before:
        assert after[name][0] >= before[name][0] - 1e-12, name


@given(judgments.filter(lambda judged: any(grade > 0 for grade in judged.values())))
def test_the_ideal_ranking_scores_1(judged: dict[str, int]) -> None:
    ideal = sorted(judged, key=judged.__getitem__, reverse=True)
    for text in (
        "nDCG",
        "nDCG(gain=exp)@3",
        "AP",
        "RR",
        "Rprec",
        "Bpref",
        "Success@1",
        "FullChain@8",
        "R@8",
        "Judged@8",
    ):
        assert value(text, judged, ideal) == pytest.approx(1), text


@given(st.lists(st.tuples(judgments, rankings), max_size=5), st.randoms(use_true_random=False))
def test_a_query_has_the_values_it_has_alone(
    pairs: list[tuple[dict[str, int], list[str]]], shuffler: random.Random
) -> None:
    """All queries are computed at once; none may leak into another."""
    qrels = {f"q{i}": judged for i, (judged, _) in enumerate(pairs)}
    ranked = {f"q{i}": ranking for i, (_, ranking) in enumerate(pairs)}
    shuffled = list(ranked)
    shuffler.shuffle(shuffled)
    together = evaluate(ALL, qrels, {query: ranked[query] for query in shuffled})
    for row, (judged, ranking) in enumerate(pairs):
        alone = evaluate(ALL, {"q": judged}, {"q": ranking})
        assert {name: column[row] for name, column in together.items()} == {
            name: column[0] for name, column in alone.items()
        }
