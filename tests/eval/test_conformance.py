"""Measures beside trec_eval (by its Python binding, pytrec_eval) and beside ranx, on the same judgments and runs.

trec_eval is right by definition: every measure equals it to 1e-9, on random runs with all the traps in them and on real ones.
ranx is a second oracle where it agrees with trec_eval. Where it does not, each difference is a test that shows all three
values: they are why the measures are not computed by ranx.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lsr.eval.measures import Measure, evaluate
from lsr.run_file import trec_order

pytrec_eval = pytest.importorskip("pytrec_eval", reason="pytrec_eval is not installed: pip install 'lsr-engine[dev]'")

Qrels = dict[str, dict[str, int]]
Run = dict[str, dict[str, float]]

EXACT = 1e-9
CUTOFFS = (1, 5, 10, 100)
MEASURES = [
    *(f"{name}@{k}" for name in ("nDCG", "nDCG(gain=exp)", "RR", "AP", "R", "P", "F1", "Success") for k in CUTOFFS),
    *(f"{name}@{k}" for name in ("FullChain", "Judged") for k in CUTOFFS),
    *("nDCG", "nDCG(gain=exp)", "RR", "AP", "F1", "Rprec", "Bpref"),
]


def ours(measures: Iterable[str], qrels: Qrels, run: Run, level: int = 1) -> dict[str, npt.NDArray[np.float64]]:
    rankings = {query: trec_order(scores).ids for query, scores in run.items()}
    values = evaluate([Measure.parse(name) for name in measures], qrels, rankings, threshold=level)
    return dict(zip(measures, values.values(), strict=True))


# ---- trec_eval -------------------------------------------------------------------------------------------------------


def trec_eval(names: Iterable[str], qrels: Qrels, run: Run, level: int = 1) -> dict[str, dict[str, float]]:
    """Values by query of trec_eval's own measures; a query that it leaves out has none.

    Queries with negative grades alone are not asked for: form_res_rels.c takes the highest grade for the size of an array,
    and m_ndcg_cut.c then reads what the query before left in it. They have no relevant document, so they count 0.
    """
    asked = {query: grades for query, grades in qrels.items() if max(grades.values(), default=-1) >= 0}
    return pytrec_eval.RelevanceEvaluator(asked, set(names), relevance_level=level).evaluate(run)  # type: ignore[no-any-return]


def expected(measure: str, qrels: Qrels, run: Run, level: int = 1) -> npt.NDArray[np.float64]:
    """A measure of ours from trec_eval's own measures: [len(qrels)], 0 for the queries that it leaves out."""
    parsed = Measure.parse(measure)
    name, k = parsed.name, parsed.cutoff

    def column(trec: str, qrels: Qrels = qrels, run: Run = run) -> npt.NDArray[np.float64]:
        values = trec_eval([trec], qrels, run, level)
        return np.array([values.get(query, {}).get(trec, 0.0) for query in qrels])

    if parsed.gain == "exp":  # the gains in the place of the grades
        qrels = {
            query: {document: 2**grade - 1 if grade > 0 else grade for document, grade in grades.items()}
            for query, grades in qrels.items()
        }
        return column("ndcg" if k is None else f"ndcg_cut_{k}", qrels)
    if name == "RR" and k is not None:  # trec_eval has no cutoff there: give it the first k hits
        first = {q: {d: -float(at) for at, d in enumerate(trec_order(scores).ids[:k])} for q, scores in run.items()}
        return column("recip_rank", run=first)
    if name == "F1" and k is not None:
        precision, recall = column(f"P_{k}"), column(f"recall_{k}")
        return np.array([2 * p * r / (p + r) if p + r else 0.0 for p, r in zip(precision, recall, strict=True)])
    if name == "FullChain":
        return np.where(column(f"recall_{k}") == 1, 1.0, 0.0)
    if name == "Judged":  # precision where every judged document is relevant, over the hits there are
        assert k is not None
        level = 1
        every = {query: dict.fromkeys(grades, 1) for query, grades in qrels.items()}
        hits = [max(1, min(k, len(run.get(query, {})))) for query in qrels]
        return np.array([p * k / n for p, n in zip(column(f"P_{k}", every), hits, strict=True)])
    plain = {"nDCG": "ndcg", "RR": "recip_rank", "AP": "map", "F1": "set_F", "Rprec": "Rprec", "Bpref": "bpref"}
    cut = {"nDCG": "ndcg_cut", "AP": "map_cut", "R": "recall", "P": "P", "Success": "success"}
    return column(plain[name] if k is None else f"{cut[name]}_{k}")


IDS = [f"d{i}" for i in range(36)] + ["D2", "é", "日本", "\U0001f600"]
SAME_FLOAT32 = [16777216.0, 16777217.0, 0.1, 0.1 + 1e-12]


def random_pair(seed: int) -> tuple[Qrels, Run]:
    """Judgments and run of a few queries with all that goes wrong in real ones.

    Ties, scores that only a float64 tells apart, grades from -2 to 4, queries without ranking, with an empty one, without
    judgments, without relevant documents or with nothing judged to be not relevant, and relevant documents not found.
    """
    random = np.random.default_rng(seed)
    qrels: Qrels = {}
    run: Run = {}
    for number in range(random.integers(1, 6)):
        query = f"q{number}"
        lowest, highest = [(-2, 5), (0, 2), (1, 5), (-2, 1), (0, 1), (-2, 0)][
            random.choice(6, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.05])
        ]
        judged = random.choice(len(IDS), random.integers(1, 25), replace=False)
        qrels[query] = {IDS[at]: int(random.integers(lowest, highest)) for at in judged}
        found = [IDS[at] for at in random.choice(len(IDS), random.integers(0, len(IDS) + 1), replace=False)]
        kind = random.integers(5)
        if kind == 0:  # no ranking
            continue
        run[query] = {
            document: float(
                random.integers(0, 4) if kind == 1 else random.choice(SAME_FLOAT32) if kind == 2 else random.normal()
            )
            for document in found
        }
    run["not judged"] = {"d1": 1.0}
    return qrels, run


@pytest.mark.parametrize("level", [1, 2])
def test_every_measure_equals_trec_eval_on_1000_random_runs(level: int) -> None:
    pairs = [random_pair(seed) for seed in range(1000)]
    # One evaluation of all: the ids of queries made different, the queries as they were.
    qrels = {f"{seed}-{query}": grades for seed, (qrels, _) in enumerate(pairs) for query, grades in qrels.items()}
    run = {f"{seed}-{query}": scores for seed, (_, run) in enumerate(pairs) for query, scores in run.items()}
    assert len(qrels) > 2500
    assert len(qrels) - len(qrels.keys() & run.keys()) > 400
    found = ours(MEASURES, qrels, run, level)
    for measure in MEASURES:
        np.testing.assert_allclose(
            found[measure], expected(measure, qrels, run, level), rtol=0, atol=EXACT, err_msg=measure
        )


@pytest.mark.parametrize("seed", range(20))
def test_each_random_run_equals_trec_eval_by_itself(seed: int) -> None:
    qrels, run = random_pair(seed)
    found = ours(MEASURES, qrels, run)
    for measure in MEASURES:
        np.testing.assert_allclose(found[measure], expected(measure, qrels, run), rtol=0, atol=EXACT, err_msg=measure)


def test_dcg_is_ndcg_times_the_dcg_of_the_ideal_ranking() -> None:
    """trec_eval shows no DCG alone; its nDCG and the definition fix it, and so do ranx and the examples by hand."""
    qrels, run = random_pair(7)
    ideal = {query: {d: float(grade) for d, grade in grades.items()} for query, grades in qrels.items()}
    for measure in ("DCG@10", "DCG", "DCG(gain=exp)@10"):
        best, found = ours([measure], qrels, ideal)[measure], ours([measure], qrels, run)[measure]
        np.testing.assert_allclose(found, best * expected("n" + measure, qrels, run), rtol=0, atol=EXACT)
        assert found.any()


def bm25_run(folder: Path) -> Run:
    """BM25 with its ties as they are, 1000 hits a query."""
    bm25s = pytest.importorskip("bm25s", reason="bm25s is not installed: pip install 'lsr-engine[dev]'")
    from lsr.corpus import read_documents, read_queries

    documents, queries = list(read_documents(folder)), list(read_queries(folder))
    retriever = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
    options = {"stopwords": "en", "show_progress": False}
    retriever.index(bm25s.tokenize([document.content for document in documents], **options), show_progress=False)
    tokens = bm25s.tokenize([query.text for query in queries], **options)
    rows, scores = retriever.retrieve(tokens, k=1000, show_progress=False)
    return {
        query.id: {documents[row].id: float(score) for row, score in zip(line, values, strict=True) if score > 0}
        for query, line, values in zip(queries, rows, scores, strict=True)
    }


@pytest.mark.parametrize(("name", "levels"), [("cacm", [1]), ("cranfield", [1, 3])])
def test_every_measure_equals_trec_eval_on_bm25_runs(shared: Path, name: str, levels: list[int]) -> None:
    folder = shared / "data" / name
    qrels: Qrels = {}
    with (folder / "qrels" / "test.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    run = bm25_run(folder)
    assert any(len(set(scores.values())) < len(scores) for scores in run.values())  # ties
    for level in levels:
        found = ours(MEASURES, qrels, run, level)
        for measure in MEASURES:
            wanted = expected(measure, qrels, run, level)
            np.testing.assert_allclose(found[measure], wanted, rtol=0, atol=EXACT, err_msg=measure)
        assert 0.2 < found["nDCG@10"].mean() < 0.6


def test_the_mean_of_trec_evals_binding_is_too_high_where_queries_have_no_ranking() -> None:
    qrels, run = {"q1": {"a": 1}, "q2": {"a": 1}}, {"q1": {"a": 1.0}}
    values = trec_eval(["recip_rank"], qrels, run)
    assert sum(query["recip_rank"] for query in values.values()) / len(values) == 1
    assert ours(["RR"], qrels, run)["RR"].mean() == 1 / 2


# ---- ranx ------------------------------------------------------------------------------------------------------------

# In a process of its own: importing ranx changes Numba's threading layer, which stays as first used for the whole process.
RANX = """
import json, sys, warnings
warnings.simplefilter("ignore")
import numba
before = numba.config.THREADING_LAYER
import ranx
answers = {"layers": [before, numba.config.THREADING_LAYER]}
for name, qrels, run, measures, objects in json.load(sys.stdin):
    try:
        given = (ranx.Qrels(qrels), ranx.Run(run)) if objects else (qrels, run)
        values = ranx.evaluate(*given, measures, return_mean=False)
        answers[name] = values if isinstance(values, dict) else {measures[0]: values}
        answers[name] = {measure: list(column) for measure, column in answers[name].items()}
    except (AssertionError, KeyError, ValueError) as error:
        answers[name] = type(error).__name__
json.dump(answers, sys.stdout)
"""
AGREES = {
    "ndcg": "nDCG",
    "ndcg@10": "nDCG@10",
    "ndcg_burges@10": "nDCG(gain=exp)@10",
    "dcg@10": "DCG@10",
    "dcg_burges@10": "DCG(gain=exp)@10",
    "mrr@5": "RR@5",
    "map@10": "AP@10",
    "map-l2": "AP(rel=2)",
    "recall@10": "R@10",
    "precision@10": "P@10",
    "precision@10-l2": "P(rel=2)@10",
    "f1@10": "F1@10",
    "f1": "F1",
    "hit_rate@5": "Success@5",
    "r-precision": "Rprec",
}
TIED: tuple[Qrels, Run] = {"q": {"a": 1}}, {"q": {"a": 1.0, "b": 1.0}}
TIED_TURNED: tuple[Qrels, Run] = {"q": {"a": 1}}, {"q": {"b": 1.0, "a": 1.0}}
TURNED: tuple[Qrels, Run] = {"q1": {"a": 1}, "q2": {"b": 1}}, {"q2": {"b": 1.0}, "q1": {"a": 1.0}}
MISSING: tuple[Qrels, Run] = {"q1": {"a": 1}, "q2": {"b": 1}}, {"q1": {"a": 1.0}}
NOTHING: tuple[Qrels, Run] = {"q1": {"a": 1}}, {"q1": {}}
GRADED: tuple[Qrels, Run] = {"q": {"a": 2, "b": 1, "c": 0}}, {"q": {"c": 3.0, "a": 2.0, "b": 1.0}}
NEGATIVE: tuple[Qrels, Run] = {"q": {"junk": -1, "a": 1, "b": 0}}, {"q": {"junk": 3.0, "a": 2.0, "b": 1.0}}
ALL_RELEVANT: tuple[Qrels, Run] = {"q": {"a": 1}}, {"q": {"x": 2.0, "a": 1.0}}
CLOSE: tuple[Qrels, Run] = {"q": {"a": 1}}, {"q": {"a": 16777216.0, "b": 16777217.0}}


def tame_pair() -> tuple[Qrels, Run]:
    """What ranx and trec_eval agree on: no ties, no negative grades, hits for each query."""
    random = np.random.default_rng(3)
    qrels: Qrels = {}
    run: Run = {}
    for number in range(60):
        judged = random.choice(len(IDS), random.integers(2, 25), replace=False)
        qrels[f"q{number:02}"] = {IDS[at]: int(random.integers(0, 4)) for at in judged}
        found = random.choice(len(IDS), random.integers(1, len(IDS) + 1), replace=False)
        run[f"q{number:02}"] = {
            IDS[at]: float(score) for at, score in zip(found, random.permutation(len(found)), strict=True)
        }
    return qrels, run


def binary(qrels: Qrels) -> Qrels:
    return {query: {d: int(grade > 0) for d, grade in grades.items()} for query, grades in qrels.items()}


@pytest.fixture(scope="module")
def ranx() -> Mapping[str, Any]:
    """What ranx answers to each question, by name: values by measure, or the name of the error."""
    if importlib.util.find_spec("ranx") is None:
        pytest.skip("ranx is not installed: pip install 'lsr-engine[dev]'")
    qrels, run = tame_pair()
    both = ["mrr", "precision"]  # of one measure alone it gives no dictionary
    questions = [
        ("agrees", qrels, run, [*AGREES, "mrr"], True),
        ("agrees, binary", binary(qrels), run, ["rbp.8", "mrr"], True),
        ("tied", *TIED, both, True),
        ("tied, turned", *TIED_TURNED, both, True),
        ("tied, as dictionaries", *TIED, both, False),
        ("turned, as dictionaries", *TURNED, both, False),
        ("missing", *MISSING, both, True),
        ("nothing", *NOTHING, both, True),
        ("graded", *GRADED, ["rbp.8", "ndcg@10-l2"], True),
        ("negative", *NEGATIVE, ["bpref", "mrr"], True),
        ("all relevant", *ALL_RELEVANT, ["bpref", "mrr"], True),
        ("close", *CLOSE, both, True),
        ("one measure with a cutoff", *TURNED, ["precision@10"], False),
    ]
    done = subprocess.run(
        [sys.executable, "-c", RANX],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", AGREES)
@pytest.mark.slow  # ranx compiles for minutes
def test_ranx_agrees_on_runs_without_traps(ranx: Mapping[str, Any], name: str) -> None:
    qrels, run = tame_pair()
    np.testing.assert_allclose(ours([AGREES[name]], qrels, run)[AGREES[name]], ranx["agrees"][name], rtol=0, atol=EXACT)


@pytest.mark.slow  # ranx compiles for minutes
def test_ranx_agrees_on_rbp_of_binary_judgments(ranx: Mapping[str, Any]) -> None:
    """trec_eval's binding has no RBP: this is its oracle."""
    qrels, run = tame_pair()
    found = ours(["RBP(p=0.8)"], binary(qrels), run)["RBP(p=0.8)"]
    np.testing.assert_allclose(found, ranx["agrees, binary"]["rbp.8"], rtol=0, atol=EXACT)


@pytest.mark.slow  # ranx compiles for minutes
def test_ranx_breaks_ties_by_the_order_of_insertion_and_trec_eval_by_id(ranx: Mapping[str, Any]) -> None:
    assert ranx["tied"]["mrr"] == [1]
    assert ranx["tied, turned"]["mrr"] == [1 / 2]
    assert ranx["tied, as dictionaries"]["mrr"] == [1 / 2]  # the same run as "tied", given in another way
    for pair in (TIED, TIED_TURNED):
        assert trec_eval(["recip_rank"], *pair)["q"]["recip_rank"] == ours(["RR"], *pair)["RR"][0] == 1 / 2


@pytest.mark.slow  # ranx compiles for minutes
def test_ranx_pairs_queries_of_dictionaries_by_their_place(ranx: Mapping[str, Any]) -> None:
    """A perfect run whose queries stand in another order than the judgments' scores 0, without a word."""
    assert ranx["turned, as dictionaries"]["mrr"] == [0, 0]
    assert ours(["RR"], *TURNED)["RR"].tolist() == [1, 1]
    assert {query: value["recip_rank"] for query, value in trec_eval(["recip_rank"], *TURNED).items()} == {
        "q1": 1,
        "q2": 1,
    }


@pytest.mark.slow  # ranx compiles for minutes
def test_ranx_refuses_a_run_that_misses_a_query_and_one_without_hits(ranx: Mapping[str, Any]) -> None:
    assert ranx["missing"] == "AssertionError"
    assert ours(["RR"], *MISSING)["RR"].tolist() == [1, 0]
    assert list(trec_eval(["recip_rank"], *MISSING)) == ["q1"]
    assert ranx["nothing"] == "ValueError"
    assert ours(["RR"], *NOTHING)["RR"].tolist() == [0]
    assert trec_eval(["recip_rank"], *NOTHING)["q1"]["recip_rank"] == 0


@pytest.mark.slow  # ranx compiles for minutes
def test_ranx_takes_grades_for_gains_in_rbp(ranx: Mapping[str, Any]) -> None:
    """It can pass 1. RBP is of a document that is relevant or not (Moffat and Zobel 2008); pytrec_eval has none."""
    assert ranx["graded"]["rbp.8"] == pytest.approx([0.2 * (2 * 0.8 + 1 * 0.8**2)])
    assert ours(["RBP(p=0.8)"], *GRADED)["RBP(p=0.8)"] == pytest.approx([0.2 * (0.8 + 0.8**2)])


@pytest.mark.slow  # ranx compiles for minutes
def test_ranx_loses_the_lower_grades_in_ndcg_when_told_what_is_relevant(ranx: Mapping[str, Any]) -> None:
    right = (2 / math.log2(3) + 1 / 2) / (2 + 1 / math.log2(3))
    assert ranx["graded"]["ndcg@10-l2"] == pytest.approx([1 / math.log2(3)])
    assert trec_eval(["ndcg_cut_10"], *GRADED, 2)["q"]["ndcg_cut_10"] == pytest.approx(right)
    assert ours(["nDCG@10"], *GRADED, 2)["nDCG@10"] == pytest.approx([right])


@pytest.mark.slow  # ranx compiles for minutes
def test_ranx_counts_negative_grades_against_bpref(ranx: Mapping[str, Any]) -> None:
    assert ranx["negative"]["bpref"] == [0]
    assert trec_eval(["bpref"], *NEGATIVE)["q"]["bpref"] == ours(["Bpref"], *NEGATIVE)["Bpref"][0] == 1


@pytest.mark.slow  # ranx compiles for minutes
def test_ranx_has_nan_for_bpref_where_nothing_is_judged_to_be_not_relevant(ranx: Mapping[str, Any]) -> None:
    assert math.isnan(ranx["all relevant"]["bpref"][0])
    assert trec_eval(["bpref"], *ALL_RELEVANT)["q"]["bpref"] == ours(["Bpref"], *ALL_RELEVANT)["Bpref"][0] == 1


@pytest.mark.slow  # ranx compiles for minutes
def test_ranx_tells_scores_apart_that_are_one_float32_in_trec_eval(ranx: Mapping[str, Any]) -> None:
    """Rankings come here in their final order; `trec_order` is what makes it trec_eval's."""
    assert ranx["close"]["mrr"] == [1 / 2]
    run = {"q": {"a": 16777217.0, "b": 16777216.0}}
    assert trec_eval(["recip_rank"], CLOSE[0], run)["q"]["recip_rank"] == ours(["RR"], CLOSE[0], run)["RR"][0] == 1 / 2


@pytest.mark.slow  # ranx compiles for minutes
def test_ranx_forgets_the_name_of_a_single_measure_with_a_cutoff(ranx: Mapping[str, Any]) -> None:
    assert ranx["one measure with a cutoff"] == "KeyError"


@pytest.mark.slow  # ranx compiles for minutes
def test_ranx_changes_numbas_threading_layer_for_the_whole_process(ranx: Mapping[str, Any]) -> None:
    assert ranx["layers"] == ["default", "workqueue"]
