"""Systems on collections: what the report says is what the runs hold, and nothing finished is lost or done twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import pytrec_eval

from lsr.errors import EncoderNotFound, EvaluationError, InvalidInput, LsrError, OutputExists
from lsr.eval.evaluate import Evaluation, Outcome, evaluate_collections, report_again
from lsr.eval.measures import Measure
from lsr.eval.report import load_report, load_summary
from lsr.eval.systems import UnderTest
from lsr.eval.systems.bm25 import Bm25System
from lsr.eval.timing import fresh_process
from lsr.index import Index
from lsr.run_file import read_run
from tests.eval.conftest import QRELS, QUERIES, write_collection


def evaluated(collections: Path | list[str], output: Path, **options: Any) -> Outcome:
    specs = [str(collections)] if isinstance(collections, Path) else collections
    options.setdefault("timing", False)
    return evaluate_collections(specs, output, Evaluation(**options), lambda *_: None)


def system(report: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(part for part in report["systems"] if part["name"] == name)
    return found


def test_scores_are_those_of_trec_eval_on_the_run_that_is_kept(
    collection: Path, run_file: Path, tmp_path: Path
) -> None:
    evaluated(collection, tmp_path / "report", systems=["bm25", str(run_file)], depth=100)
    report = load_report(tmp_path / "report" / "report.json")
    for name in ("bm25", "other"):
        kept = read_run(tmp_path / "report" / system(report, name)["run"])
        run = {query: dict(zip(r.ids, r.scores, strict=True)) for query, r in kept.items()}
        measured = pytrec_eval.RelevanceEvaluator(QRELS, {"ndcg_cut.10", "recall.100", "recip_rank"}).evaluate(run)
        for ours, theirs in (("nDCG@10", "ndcg_cut_10"), ("R@100", "recall_100"), ("RR@10", "recip_rank")):
            mean = sum(values[theirs] for values in measured.values()) / len(QRELS)
            assert system(report, name)["metrics"][ours] == pytest.approx(mean, abs=1e-9)


def test_queries_that_find_nothing_count_zero_and_are_counted(collection: Path, run_file: Path, tmp_path: Path) -> None:
    evaluated(collection, tmp_path / "report", systems=["bm25", str(run_file)])
    report = load_report(tmp_path / "report" / "report.json")
    assert system(report, "bm25")["queries_without_hits"] == 1
    assert system(report, "other")["queries_without_hits"] == 1
    at = report["per_query"]["query_ids"].index("q4")
    assert report["per_query"]["scores"]["bm25"][at] == 0


def test_ties_of_a_run_are_broken_as_trec_eval_does(collection: Path, run_file: Path, tmp_path: Path) -> None:
    evaluated(collection, tmp_path / "report", systems=[str(run_file)], measures=[Measure.parse("RR@10")])
    report = load_report(tmp_path / "report" / "report.json")
    # d5 and d1 of q2 have one score: trec_eval puts d5 first.
    assert report["per_query"]["scores"]["other"][report["per_query"]["query_ids"].index("q2")] == 1


def test_bm25_ranks_as_bm25s_does(collection: Path, tmp_path: Path) -> None:
    import bm25s
    import Stemmer

    from tests.eval.conftest import DOCUMENTS

    texts = [f"{title} {text}".strip() for title, text in DOCUMENTS.values()]
    options = {"stopwords": "en", "stemmer": Stemmer.Stemmer("english"), "show_progress": False}
    engine = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
    engine.index(bm25s.tokenize(texts, **options), show_progress=False)
    evaluated(collection, tmp_path / "report", systems=["bm25"])
    kept = read_run(tmp_path / "report" / "runs" / "bm25.trec")
    for query in ("q1", "q2", "q3"):
        tokens = bm25s.tokenize([QUERIES[query]], return_ids=False, **options)
        scores = engine.get_scores(tokens[0])
        expected = {document: score for document, score in zip(DOCUMENTS, scores.tolist(), strict=True) if score > 0}
        assert dict(zip(kept[query].ids, kept[query].scores, strict=True)) == pytest.approx(expected, rel=1e-5)


def test_an_encoder_and_an_index_made_with_it_score_alike(collection: Path, tmp_path: Path) -> None:
    Index.build(str(collection), tmp_path / "my.idx")
    evaluated(collection, tmp_path / "report", systems=["lsr-tiny", str(tmp_path / "my.idx")], baseline="lsr-tiny")
    report = load_report(tmp_path / "report" / "report.json")
    assert system(report, "lsr-tiny")["metrics"] == system(report, "my.idx")["metrics"]
    assert {c["difference"] for c in report["comparisons"]} == {0.0}
    assert {c["p"] for c in report["comparisons"]} == {1.0}
    assert not (tmp_path / "report" / "work").exists()  # the index for the evaluation is gone


def test_what_is_measured_besides_scores(collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[bool] = []

    def warm_process(code: str, arguments: Sequence[str], *, empty_cache: bool = False) -> dict[str, Any]:
        """To compile everything once more, as it is told to for the last figure, takes 12 seconds."""
        emptied.append(empty_cache)
        return fresh_process(code, arguments)

    monkeypatch.setattr("lsr.eval.systems.indexes.fresh_process", warm_process)
    evaluated(collection, tmp_path / "report", systems=["lsr-tiny"], baseline="bm25", timing=True, latex=True)
    report = load_report(tmp_path / "report" / "report.json")
    assert (tmp_path / "report" / "report.tex").exists()
    ours = system(report, "lsr-tiny")
    assert set(ours["stages_ms"]) == {"encode", "search"}
    assert len(ours["latency_ms"]["quantiles"]) == 101
    assert ours["latency_ms"]["warmups"] >= 200
    assert ours["index"]["documents_per_s"] > 0
    assert ours["sparsity"]["flops"] > 0
    assert set(ours["start_ms"]) == {"open", "first_query", "compile"}
    assert emptied == [False, False, True]
    point = ours["approximation"]["points"][0]
    assert (point["overlap@10"], point["overlap@100"], point["ndcg_change"]) == (1, 1, 0)
    assert point["max_score_error"] < 1e-4
    assert set(system(report, "bm25")["stages_ms"]) == {"tokenise", "search"}
    assert {part["threads"] for part in ours["throughput"]} >= {1}


def test_a_document_that_is_the_query_is_dropped_where_the_collection_needs_it(tmp_path: Path) -> None:
    path = write_collection(tmp_path, name="arguana")
    corpus = path / "corpus.jsonl"
    corpus.write_text(corpus.read_text() + json.dumps({"_id": "q2", "title": "moon", "text": "moon"}) + "\n")
    evaluated(path, tmp_path / "report", systems=["bm25"])
    report = load_report(tmp_path / "report" / "report.json")
    assert report["dataset"]["self_retrieval_dropped"]
    assert system(report, "bm25")["self_hits_dropped"] == 1
    assert "q2" not in read_run(tmp_path / "report" / "runs" / "bm25.trec")["q2"].ids
    at = report["per_query"]["query_ids"].index("q2")
    assert report["per_query"]["scores"]["bm25"][at] == 1


def test_worst_losses_come_with_texts(collection: Path, run_file: Path, tmp_path: Path) -> None:
    evaluated(collection, tmp_path / "report", systems=[str(run_file)], baseline="bm25")
    report = load_report(tmp_path / "report" / "report.json")
    losses = report["failures"]
    assert losses
    assert all(loss["score"] < loss["baseline_score"] for loss in losses)
    first = next(loss for loss in losses if loss["query_id"] == "q1")
    assert first["query"] == QUERIES["q1"]
    assert first["relevant"][0] | {"text": ""} == {"id": "d1", "grade": 2, "rank": 2, "title": "Log files", "text": ""}
    assert "Rotate" in first["relevant"][0]["text"]
    evaluated(collection, tmp_path / "bare", systems=[str(run_file)], baseline="bm25", texts=False)
    assert "Rotate" not in (tmp_path / "bare" / "report.json").read_text()


def test_the_pages_are_made_again_from_the_json_alone(collection: Path, tmp_path: Path) -> None:
    evaluated(collection, tmp_path / "report", systems=["bm25"])
    shutil.rmtree(collection)
    report_again(tmp_path / "report" / "report.json", tmp_path / "again")
    for name in ("report.json", "report.md", "report.html"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "report" / name).read_bytes()


# -- what is there already ---------------------------------------------------------------------------------------------


def test_a_report_is_not_overwritten_unasked(collection: Path, tmp_path: Path) -> None:
    output = tmp_path / "report"
    evaluated(collection, output, systems=["bm25"])
    (output / "notes.txt").write_text("mine")
    before = (output / "report.json").read_bytes()
    with pytest.raises(OutputExists, match="--resume"):
        evaluated(collection, output, systems=["bm25"])
    assert (output / "report.json").read_bytes() == before
    evaluated(collection, output, systems=["bm25(k1=1.2)"], overwrite=True)
    assert not (output / "runs" / "bm25.trec").exists()
    assert (output / "notes.txt").read_text() == "mine"


def test_what_is_finished_is_not_run_again(collection: Path, run_file: Path, tmp_path: Path, monkeypatch: Any) -> None:
    output = tmp_path / "report"
    evaluated(collection, output, systems=["bm25"])
    searched: list[str] = []
    monkeypatch.setattr(Bm25System, "prepare", lambda self, test: searched.append(self.name))
    evaluated(collection, output, systems=["bm25", str(run_file)], resume=True)
    assert searched == []
    assert {part["name"] for part in load_report(output / "report.json")["systems"]} == {"bm25", "other"}


@pytest.mark.parametrize("change", ["run", "queries", "documents", "depth", "facts"])
def test_what_no_longer_fits_is_run_again(collection: Path, tmp_path: Path, change: str, monkeypatch: Any) -> None:
    output = tmp_path / "report"
    evaluated(collection, output, systems=["bm25"])
    if change == "run":
        (output / "runs" / "bm25.trec").write_text("q1 Q0 d1 1 1.0 x\n")
    elif change == "facts":
        facts = output / "systems" / "bm25.json"
        facts.write_text(facts.read_text().replace('"part": {', '"part": "damaged", "x": {'))
    elif change != "depth":
        name = {"queries": "queries.jsonl", "documents": "corpus.jsonl"}[change]
        text = (collection / name).read_text()
        (collection / name).write_text(text.replace("log", "old log"))
    prepared: list[str] = []
    real = Bm25System.prepare

    def prepare(self: Bm25System, test: UnderTest) -> None:
        prepared.append(self.name)
        real(self, test)

    monkeypatch.setattr(Bm25System, "prepare", prepare)
    evaluated(collection, output, systems=["bm25"], resume=True, depth=1001 if change == "depth" else None)
    assert prepared == ["bm25"]


def test_an_interrupted_evaluation_keeps_what_is_finished(collection: Path, tmp_path: Path, monkeypatch: Any) -> None:
    output = tmp_path / "report"

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Index, "build", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluated(collection, output, systems=["lsr-tiny"], baseline="bm25")
    assert (output / "runs" / "bm25.trec").exists()
    monkeypatch.setattr(Bm25System, "prepare", interrupted)
    evaluated(collection, output, systems=["lsr-tiny"], baseline="bm25", resume=True)
    assert len(load_report(output / "report.json")["systems"]) == 2


# -- failures ----------------------------------------------------------------------------------------------------------


def test_one_system_that_fails_does_not_stop_the_others(collection: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.trec").write_text("q1 Q0 d1 1 nan x\n")
    outcome = evaluated(collection, tmp_path / "report", systems=["bm25", str(tmp_path / "bad.trec")])
    report = load_report(tmp_path / "report" / "report.json")
    assert [part["name"] for part in report["systems"]] == ["bm25"]
    assert report["failed"][0]["name"] == "bad"
    assert "bad.trec:1" in outcome.failed["bad"]


def test_without_the_baseline_there_is_no_comparison(collection: Path, run_file: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.trec").write_text("q1 Q0 d1 1 1 x\nq1 Q0 d1 2 1 x\n")
    evaluated(collection, tmp_path / "report", systems=[str(run_file)], baseline=str(tmp_path / "bad.trec"))
    report = load_report(tmp_path / "report" / "report.json")
    assert report["comparisons"] == []
    assert report["baseline"] == "bad"
    assert "The baseline bad failed" in (tmp_path / "report" / "report.md").read_text()
    assert "already, for the same query" in report["failed"][0]["error"]


def test_no_system_left_is_an_error(collection: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.trec").write_text("zz Q0 d1 1 1 x\n")
    with pytest.raises(EvaluationError, match="none of its queries"):
        evaluated(collection, tmp_path / "report", systems=[str(tmp_path / "bad.trec")])


def test_an_index_of_something_else_is_refused(collection: Path, tmp_path: Path) -> None:
    Index.build(["one text"], tmp_path / "other.idx")
    with pytest.raises(EvaluationError, match="holds 1 documents, small 6"):
        evaluated(collection, tmp_path / "report", systems=[str(tmp_path / "other.idx")])
    Index.build(["a text"] * 6, tmp_path / "six.idx")
    with pytest.raises(EvaluationError, match="are the ids the same"):
        evaluated(collection, tmp_path / "report2", systems=[str(tmp_path / "six.idx")])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"systems": []}, InvalidInput, "no system"),
        ({"systems": ["bm25", "bm25"]}, InvalidInput, "two systems are called 'bm25'"),
        ({"systems": ["lsr-tinny"]}, EncoderNotFound, "did you mean lsr-tiny"),
        ({"systems": ["bm25(k=3)"]}, InvalidInput, "cannot read 'k=3'"),
        ({"systems": ["bm25(b=7)"]}, InvalidInput, "b lie between"),
        ({"systems": ["=bm25"]}, EncoderNotFound, "no encoder '=bm25'"),
        ({"systems": ["bm25"], "resume": True, "overwrite": True}, InvalidInput, "one of them"),
        ({"systems": ["bm25"], "depth": 10_000}, InvalidInput, "depth"),
        ({"systems": ["bm25"], "depth": 10, "measures": [Measure.parse("R@100")]}, InvalidInput, "R@100 looks at more"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_run(
    collection: Path, tmp_path: Path, options: dict[str, Any], error: type[LsrError], message: str
) -> None:
    with pytest.raises(error, match=message.replace("(", r"\(")):
        evaluated(collection, tmp_path / "report", **options)
    assert not (tmp_path / "report").exists()


def test_names_given_to_systems_are_used(collection: Path, tmp_path: Path) -> None:
    evaluated(collection, tmp_path / "report", systems=["tuned=bm25(k1=1.2, b=0.75)"])
    report = load_report(tmp_path / "report" / "report.json")
    assert report["systems"][0]["name"] == "tuned"
    assert report["systems"][0]["settings"]["k1"] == 1.2


def test_measures_deeper_than_the_depth_are_left_out_when_nobody_named_them(collection: Path, tmp_path: Path) -> None:
    evaluated(collection, tmp_path / "report", systems=["bm25"], depth=100)
    assert "R@1000" not in load_report(tmp_path / "report" / "report.json")["measures"]


# -- several collections -----------------------------------------------------------------------------------------------


def test_several_collections_with_a_summary(tmp_path: Path, run_file: Path) -> None:
    one, two = write_collection(tmp_path, name="one"), write_collection(tmp_path, name="two")
    (two / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq3\td3\t1\n")
    missing = str(tmp_path / "three")
    outcome = evaluated([str(one), missing, str(two)], tmp_path / "r", systems=[str(run_file)], baseline="bm25")
    assert list(outcome.failed) == [missing]
    summary = load_summary(tmp_path / "r" / "summary.json")
    assert summary["set"] == ["one", "two"]
    assert summary["failed"][0]["name"] == "three"
    parts = [load_report(tmp_path / "r" / name / "report.json") for name in ("one", "two")]
    for name in ("bm25", "other"):
        mean = sum(system(part, name)["metrics"]["nDCG@10"] for part in parts) / 2
        assert summary["macro"][name]["nDCG@10"] == pytest.approx(mean)
    before = (tmp_path / "r" / "summary.html").read_bytes()
    report_again(tmp_path / "r" / "summary.json", tmp_path / "again")
    assert (tmp_path / "again" / "summary.html").read_bytes() == before
    # Holm over all collections: twice the smaller p of two.
    tested = [c for c in summary["comparisons"] if c["measure"] == "nDCG@10"]
    assert {c["dataset"] for c in tested} == {"one", "two"}
    least = min(tested, key=lambda c: c["p"])
    assert least["p_holm"] == pytest.approx(min(1, 2 * least["p"]))


def test_the_parts_of_cqadupstack_count_once_in_the_mean(tmp_path: Path, run_file: Path) -> None:
    parts = [write_collection(tmp_path / "cqadupstack", name=name) for name in ("android", "english")]
    (parts[0] / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    (parts[1] / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq3\td3\t1\n")
    other = write_collection(tmp_path, name="other")
    (other / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq3\td4\t1\n")
    specs = [str(path) for path in (*parts, other)]
    evaluated(specs, tmp_path / "r", systems=[str(run_file)], measures=[Measure.parse("RR@10")])
    # 1/2 and 0 in the parts, 1 in the other.
    assert load_summary(tmp_path / "r" / "summary.json")["macro"]["other"]["RR@10"] == pytest.approx((0.25 + 1) / 2)


def test_collections_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    specs = [str(write_collection(tmp_path / part, name="x")) for part in "ab"]
    outcome = evaluated(specs, tmp_path / "r", systems=["bm25"])
    assert len({page.parent for page in outcome.pages if page.name == "report.json"}) == 2
