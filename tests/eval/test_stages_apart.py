"""`lsr eval --rerank`: a first stage, a second stage, and both, each a row with its own times."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsr.errors import EncoderNotFound, InvalidInput
from lsr.eval.evaluate import Evaluation, evaluate_collections
from lsr.eval.report import load_report
from lsr.index import Index
from lsr.rerank import (
    CrossEncoderReranker,
    MaxSimReranker,
    MultiVectorEncoder,
    Policy,
    TokenStore,
    index_tokens,
    load_multivector_encoder,
    save_policy,
)
from lsr.rerank.living import store_of
from lsr.run_file import read_run
from tests.cli import commands
from tests.eval.reranking import WORDS, texts
from tests.training import models

DOCUMENTS = texts(60)
QUERIES = {"q1": " ".join(WORDS[:4]), "q2": " ".join(WORDS[7:11]), "q3": " ".join(WORDS[20:23]), "q4": "xyzzy plugh"}
ROWS = ["my.idx", "maxsim over all of my.idx", "my.idx + maxsim"]


@pytest.fixture(scope="module")
def encoder(colbert: Path) -> MultiVectorEncoder:
    return load_multivector_encoder(colbert)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its queries find many documents."""
    path = tmp_path_factory.mktemp("stages") / "wide"
    (path / "qrels").mkdir(parents=True)
    for name, some in (("corpus", DOCUMENTS), ("queries", QUERIES)):
        lines = [json.dumps({"_id": identifier, "text": text}) + "\n" for identifier, text in some.items()]
        (path / f"{name}.jsonl").write_text("".join(lines))
    judged = [f"{query}\td{i}\t1\n" for i, query in enumerate(QUERIES)]
    (path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))
    return path


@pytest.fixture(scope="module")
def built(collection: Path, tmp_path_factory: pytest.TempPathFactory, encoder: MultiVectorEncoder) -> Path:
    index = Index.build(str(collection), tmp_path_factory.mktemp("built") / "my.idx")
    index_tokens(index, encoder, codec="f32")
    return index.path


@pytest.fixture
def index(built: Path, tmp_path: Path) -> Index:
    shutil.copytree(built, tmp_path / "my.idx")
    return Index.open(tmp_path / "my.idx")


def report_of(collection: Path, output: Path, index: Index, **options: Any) -> dict[str, Any]:
    options = {"systems": [str(index.path)], "rerank": "maxsim", "timing": False, **options}
    evaluate_collections([str(collection)], output, Evaluation(**options), lambda *_: None)
    return load_report(output / "report.json")


def run_of(report: dict[str, Any], output: Path, name: str) -> dict[str, list[str]]:
    part = next(part for part in report["systems"] if part["name"] == name)
    return {query: list(ranking.ids) for query, ranking in read_run(output / part["run"]).items()}


def test_the_rows_are_the_first_stage_the_second_and_both(
    collection: Path, tmp_path: Path, index: Index, encoder: MultiVectorEncoder
) -> None:
    report = report_of(collection, tmp_path / "r", index, baseline=str(index.path))
    assert [part["name"] for part in report["systems"]] == ROWS
    assert [part["kind"] for part in report["systems"]] == ["index", "exhaustive", "two-stage"]
    assert {comparison["system"] for comparison in report["comparisons"]} == set(ROWS[1:])
    assert len({model["hash"] for model in report["provenance"]["models"]}) == 2
    documents = encoder.encode_documents(list(DOCUMENTS.values()))
    first, alone, both = (run_of(report, tmp_path / "r", name) for name in ROWS)
    for query, text in QUERIES.items():
        tokens = encoder.encode_queries([text]).of(0)
        scores = {name: float((tokens @ documents.of(i).T).max(1).sum()) for i, name in enumerate(DOCUMENTS)}
        assert alone[query] == sorted(scores, key=lambda name: -scores[name])
        assert both.get(query, []) == sorted(first.get(query, []), key=lambda name: -scores[name])
        assert len(first.get(query, [])) < len(alone[query])


def test_after_the_candidates_come_the_other_hits_of_the_index(collection: Path, tmp_path: Path, index: Index) -> None:
    report = report_of(collection, tmp_path / "r", index, candidates=2)
    first, both = (run_of(report, tmp_path / "r", name) for name in (ROWS[0], ROWS[2]))
    assert max(map(len, first.values())) > 10
    for query, ids in first.items():
        expected = index.search(QUERIES[query], k=2, rerank=MaxSimReranker.of(index, Policy(kappa=2))).ids
        assert both[query] == expected + ids[2:]
    settings = report["systems"][2]["settings"]
    assert (settings["rerank"], settings["candidates"], settings["codec"]) == ("maxsim", 2, "f32")


def test_a_saved_policy_is_followed_and_a_new_one_is_run_anew(collection: Path, tmp_path: Path, index: Index) -> None:
    output = tmp_path / "r"
    save_policy(store_of(index), Policy(kappa=3, beta=1))
    report = report_of(collection, output, index)
    settings = report["systems"][2]["settings"]
    assert (settings["candidates"], settings["beta"]) == (3, 1)
    kept = (output / "systems" / "my.idx-+-maxsim.json", output / "systems" / "my.idx.json")
    before = [path.stat().st_mtime_ns for path in kept]
    save_policy(store_of(index), Policy(kappa=1))
    report = report_of(collection, output, index, resume=True)
    assert report["systems"][2]["settings"]["candidates"] == 1
    after = [path.stat().st_mtime_ns for path in kept]
    assert (after[0] > before[0], after[1] == before[1]) == (True, True)
    first, both = (run_of(report, output, name) for name in (ROWS[0], ROWS[2]))
    assert both == first  # one candidate stays where it is


def test_times_are_those_of_each_stage(
    collection: Path, tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lsr.eval.systems.indexes.IndexSystem.costs", lambda self, test: {})  # starts processes
    report = report_of(collection, tmp_path / "r", index, timing=True)
    first, alone, both = report["systems"]
    assert list(first["stages_ms"]) == ["encode", "search"]
    assert list(alone["stages_ms"]) == ["encode tokens", "rerank"]
    assert list(both["stages_ms"]) == ["encode", "search", "encode tokens", "rerank"]
    parts = sum(stage["mean"] for stage in both["stages_ms"].values())
    assert parts == pytest.approx(both["latency_ms"]["mean"])
    assert both["latency_ms"]["warmups"] == 200
    size = TokenStore.open(store_of(index)).info()["bytes"]
    assert alone["index"]["bytes"]["total"] == size
    assert both["index"]["bytes"]["total"] == size + index.info()["bytes"]["total"]
    assert "encode tokens" in (tmp_path / "r" / "report.md").read_text()


def test_too_many_documents_are_not_all_scored(
    collection: Path, tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lsr.eval.systems.two_stages.EXHAUSTIVE", len(DOCUMENTS) - 1)
    report = report_of(collection, tmp_path / "r", index)
    assert [part["name"] for part in report["systems"]] == [ROWS[0], ROWS[2]]


def test_documents_without_token_vectors_are_not_in_the_second_stage_alone(
    collection: Path, tmp_path: Path, index: Index
) -> None:
    lost = index.search(QUERIES["q1"], k=3).ids[2]
    TokenStore.open(store_of(index)).delete([lost])
    report = report_of(collection, tmp_path / "r", index)
    for query, ids in run_of(report, tmp_path / "r", ROWS[1]).items():
        assert sorted(ids) == sorted(set(DOCUMENTS) - {lost}), query
    both = run_of(report, tmp_path / "r", ROWS[2])
    assert both["q1"].index(lost) == 2


def test_a_cross_encoder_orders_the_candidates(collection: Path, tmp_path: Path, index: Index) -> None:
    model = models.cross_encoder(tmp_path / "cross")
    report = report_of(
        collection, tmp_path / "r", index, rerank=str(model), candidates=3, systems=["bm25", f"mine={index.path}"]
    )
    assert [part["name"] for part in report["systems"]] == ["bm25", "mine", "mine + cross"]
    first, both = (run_of(report, tmp_path / "r", name) for name in ("mine", "mine + cross"))
    stage = CrossEncoderReranker(model, candidates=3)
    for query, ids in first.items():
        assert both[query] == index.search(QUERIES[query], k=3, rerank=stage).ids + ids[3:]


def test_what_does_not_fit_is_said_before_anything_is_run(collection: Path, tmp_path: Path, index: Index) -> None:
    for options, error, message in (
        ({"systems": ["bm25"]}, InvalidInput, r"of the systems \(bm25\) none is one"),
        ({"rerank": None, "candidates": 5}, InvalidInput, "name one with --rerank"),
        ({"candidates": 0}, InvalidInput, "candidates are 0: they must be 1 to 10,000"),
        ({"candidates": 10_001}, InvalidInput, "candidates are 10001: they must be 1 to 10,000"),
        ({"rerank": "nowhere"}, EncoderNotFound, "no model 'nowhere'"),
        ({"systems": [str(index.path)] * 2}, InvalidInput, "two systems are called 'my.idx'"),
    ):
        with pytest.raises(error, match=message):
            report_of(collection, tmp_path / "r", index, **options)
    bare = Index.build(str(collection), tmp_path / "bare.idx")
    with pytest.raises(InvalidInput, match="has no token vectors; lsr index SOURCE"):
        report_of(collection, tmp_path / "r", bare)
    textless = Index.build(str(collection), tmp_path / "textless.idx", keep_text=False)
    with pytest.raises(InvalidInput, match="keeps no texts, which reranking needs"):
        report_of(collection, tmp_path / "r", textless, rerank="cross-encoder/any")
    assert not (tmp_path / "r").exists()


def test_the_command(collection: Path, tmp_path: Path, index: Index) -> None:
    done = commands.lsr(
        "eval", collection, "-o", tmp_path / "r", "--system", index.path, "--rerank", "maxsim", "--candidates", 4,
        "--no-timing",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in ROWS)
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert [part["name"] for part in report["systems"]] == ROWS
    assert np.isfinite(report["systems"][2]["metrics"]["nDCG@10"])
    alone = commands.lsr("eval", collection, "-o", tmp_path / "r2", "--system", "bm25", "--candidates", 4)
    assert "name one with --rerank" in commands.one_line(alone)
