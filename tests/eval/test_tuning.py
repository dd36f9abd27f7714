"""Choosing a policy: what the table says is what searches give, and the choice is the cheapest that is good enough."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsr.errors import InvalidInput
from lsr.eval import evaluate, tune
from lsr.eval.measures import Measure
from lsr.eval.significance import holm
from lsr.eval.tuning import Configuration, Grid, Tuned
from lsr.eval.tuning.choosing import best_unpruned, chosen, front
from lsr.index import Index
from lsr.rerank import MaxSimReranker, MultiVectorEncoder, Policy, TokenStore, index_tokens, load_multivector_encoder
from lsr.rerank.living import store_of
from tests.cli import commands
from tests.eval.reranking import DEPTH, build, judged_by_maxsim

SMALL = Grid(kappas=(5, 10, 20, DEPTH), alphas=(None, 0.05, 0.2), betas=(None, 2), weights=(None, 0.3))
# 20 candidates lose about .25 with the random weights: the tokenizer, and so these, differ a little each time.
LOSS = 0.45


@pytest.fixture(scope="module")
def encoder(colbert: Path) -> MultiVectorEncoder:
    return load_multivector_encoder(colbert)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, encoder: MultiVectorEncoder) -> Index:
    return build(tmp_path_factory.mktemp("tuning"), encoder)


@pytest.fixture(scope="module")
def judged(index: Index, encoder: MultiVectorEncoder) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    return judged_by_maxsim(index, encoder)


@pytest.fixture(scope="module")
def tuned(index: Index, judged: Any, encoder: MultiVectorEncoder) -> Tuned:
    return tune(index, *judged, k=5, grid=SMALL, encoder=encoder)


@pytest.fixture(scope="module")
def cheap(index: Index, judged: Any, encoder: MultiVectorEncoder) -> Tuned:
    return tune(index, *judged, k=5, grid=SMALL, max_loss=LOSS, encoder=encoder)


def searched(
    index: Index, judged: Any, names: tuple[str, ...], stage: MaxSimReranker | None, k: int = 5
) -> np.ndarray[Any, Any]:
    """nDCG of each query by searches as anyone makes them."""
    queries, qrels = judged
    found = index.search([queries[name] for name in names], k=k, rerank=stage)
    ids = {name: hits.ids for name, hits in zip(names, found, strict=True)}
    return evaluate([Measure.parse(f"nDCG@{k}")], {name: qrels[name] for name in names}, ids)[f"nDCG@{k}"]


def check_rows(tuned: Tuned, index: Index, judged: Any, encoder: MultiVectorEncoder) -> None:
    for row in tuned.table:
        stage = MaxSimReranker.of(index, row.policy, encoder=encoder)
        assert row.quality == pytest.approx(searched(index, judged, tuned.queries, stage).mean(), abs=1e-12), row
        assert row.scored == pytest.approx(stage.scored / len(tuned.queries)), row


def test_every_row_is_what_searches_with_its_policy_give(
    tuned: Tuned, index: Index, judged: Any, encoder: MultiVectorEncoder
) -> None:
    assert [row.policy for row in tuned.table] == list(SMALL.policies(5))
    assert len({row.quality for row in tuned.table}) > 10
    check_rows(tuned, index, judged, encoder)


def test_documents_without_token_vectors_are_placed_as_in_a_search(
    tmp_path: Path, judged: Any, encoder: MultiVectorEncoder
) -> None:
    index = build(tmp_path, encoder)
    TokenStore.open(store_of(index)).delete([f"d{i}" for i in range(0, 150, 3)])
    check_rows(tune(index, *judged, k=5, grid=SMALL, encoder=encoder), index, judged, encoder)


def test_the_choice_is_checked_on_queries_that_had_no_part_in_it(
    cheap: Tuned, index: Index, judged: Any, encoder: MultiVectorEncoder
) -> None:
    held = cheap.held_out
    assert sorted([*cheap.queries, *held.queries]) == sorted(judged[0])
    assert abs(len(cheap.queries) - len(held.queries)) <= 1
    unpruned = Policy(kappa=DEPTH, weight=cheap.policy.weight)
    values = [
        searched(index, judged, held.queries, stage)
        for stage in (
            MaxSimReranker.of(index, cheap.policy, encoder=encoder),
            None,
            MaxSimReranker.of(index, unpruned, encoder=encoder),
        )
    ]
    assert (held.chosen, held.sparse, held.unpruned) == pytest.approx(tuple(each.mean() for each in values))
    for comparison, theirs in ((held.over_sparse, values[1]), (held.over_unpruned, values[2])):
        assert comparison.difference == pytest.approx((values[0] - theirs).mean())
        assert comparison.interval[0] <= comparison.difference <= comparison.interval[1]
    assert held.over_sparse.difference > 0.1  # judgments are MaxSim's own
    assert held.over_unpruned.difference < 0
    tests = (held.over_sparse, held.over_unpruned)
    assert [test.p_holm for test in tests] == holm([test.p for test in tests])  # two at once


def test_the_cheapest_is_chosen_that_loses_no_more_than_is_allowed(
    tuned: Tuned, cheap: Tuned, index: Index, judged: Any, encoder: MultiVectorEncoder
) -> None:
    best = best_unpruned(tuned.table)
    assert best == pytest.approx(1)
    for loss, found in ((0.0, tuned), (LOSS, cheap)):
        assert found.chosen in found.table
        assert found.chosen.quality >= best - loss - 1e-9
        assert found.chosen.scored == min(row.scored for row in found.table if row.quality >= best - loss - 1e-9)
    assert cheap.chosen.scored < tuned.chosen.scored
    assert [row.quality for row in cheap.table] == [row.quality for row in tuned.table]  # the same halves
    other = tune(index, *judged, k=5, grid=SMALL, seed=1, encoder=encoder)
    assert set(other.queries) != set(tuned.queries)


def test_only_what_no_other_beats_is_timed(tuned: Tuned) -> None:
    assert 1 < len(tuned.front) < len(tuned.table)
    assert all(row.ms is not None and row.ms > 0 for row in tuned.front)
    for row in tuned.table:
        beaten = any(
            (other.quality, -other.scored) != (row.quality, -row.scored)
            and other.quality >= row.quality - 1e-12
            and other.scored <= row.scored
            for other in tuned.table
        )
        assert not (row.ms is not None and beaten)
    assert set(tuned.fixed_ms) == {"search", "encode"}


# -- codecs ------------------------------------------------------------------------------------------------------------


def test_a_simulated_codec_scores_as_a_store_that_has_it(
    tmp_path: Path, index: Index, judged: Any, encoder: MultiVectorEncoder
) -> None:
    grid = Grid(kappas=(10, 30), alphas=(None, 0.1), betas=(None, 2), weights=(None, 0.4))
    found = tune(index, *judged, k=5, grid=grid, encoder=encoder, codecs=["f32", "int8", "int4"], max_loss=1.0)
    shutil.copytree(index.path, tmp_path / "copy.idx")
    for name in ("int8", "int4"):
        copy = Index.open(tmp_path / "copy.idx")
        index_tokens(copy, encoder, codec=name, overwrite=True)
        real = tune(copy, *judged, k=5, grid=grid, encoder=encoder)
        rows = [row for row in found.table if row.codec == name]
        assert all(row.simulated for row in rows)
        assert not any(row.simulated for row in real.table)
        assert [(row.policy, row.quality, row.scored) for row in rows] == [
            (row.policy, row.quality, row.scored) for row in real.table
        ]
    assert {row.codec for row in found.front} == {"f32", "int8", "int4"}
    if found.codec != "f32":
        with pytest.raises(
            InvalidInput, match=f"the policy is for {found.codec}, and its token vectors are kept as f32"
        ):
            found.save(index)


def test_codecs_that_are_trained_can_be_tried(index: Index, judged: Any, encoder: MultiVectorEncoder) -> None:
    grid = Grid(kappas=(30,), alphas=(None,), betas=(None,), weights=(None,))
    found = tune(index, *judged, k=5, grid=grid, encoder=encoder, codecs=["f32", "residual2", "pq"])
    quality = {row.codec: row.quality for row in found.table}
    assert quality["f32"] > max(quality["residual2"], quality["pq"]) > found.held_out.sparse
    assert found.codec == "f32"


@pytest.mark.parametrize(
    ("own", "other", "message"),
    [("int8", "f16", "f16 keeps more than its codec int8"), ("pq", "int4", "its codec pq keeps too little for others")],
)
def test_codecs_of_which_nothing_can_be_learned_are_refused(
    tmp_path: Path, judged: Any, encoder: MultiVectorEncoder, own: str, other: str, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        tune(build(tmp_path, encoder, own), *judged, codecs=[other], encoder=encoder)


# -- the choice --------------------------------------------------------------------------------------------------------


def row(quality: float, scored: float, ms: float | None = None, codec: str = "int8", **policy: Any) -> Configuration:
    return Configuration(codec, Policy(**policy), quality, scored, ms)


def test_the_rule_of_the_choice() -> None:
    rows = [row(0.5, 50, 5.0), row(0.49, 20, 2.0, beta=2), row(0.4, 10, 1.0, beta=2), row(0.48, 15, 3.0, "pq", beta=2)]
    assert best_unpruned(rows) == 0.5
    assert chosen(rows, 0.5, None, 0.0) == rows[0]
    assert chosen(rows, 0.5, None, 0.01) == rows[1]
    assert chosen(rows, 0.5, None, 0.02) == rows[1]  # between codecs it is time that counts
    assert chosen(rows, 0.5, 4.0, 0.0) == rows[1]  # the best that the time allows
    assert chosen(rows, 0.5, 4.0, 0.2) == rows[2]
    assert chosen(rows, 0.3, 1.5, 0.0) == rows[2]
    with pytest.raises(InvalidInput, match=r"no policy takes at most 0.5 ms: the fastest takes 1"):
        chosen(rows, 0.5, 0.5, 0.0)


def test_the_front_keeps_what_no_other_row_of_its_codec_beats() -> None:
    rows = [row(0.5, 50), row(0.5, 50, beta=2), row(0.4, 30), row(0.4, 20), row(0.3, 25), row(0.4, 30, codec="pq")]
    assert front(rows) == [3, 0, 5]


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_too_few_queries_are_refused(index: Index, judged: Any, encoder: MultiVectorEncoder) -> None:
    queries, qrels = judged
    few = dict(list(qrels.items())[:19])
    with pytest.raises(InvalidInput, match=r"queries with a relevant document: 19; .*needs 20 at least"):
        tune(index, queries, few, encoder=encoder)
    nothing = {query: dict.fromkeys(grades, 0) for query, grades in qrels.items()}
    with pytest.raises(InvalidInput, match="queries with a relevant document: 0"):
        tune(index, queries, nothing, encoder=encoder)
    elsewhere = {query: {f"x{query}": 1} for query in qrels}
    with pytest.raises(InvalidInput, match="holds none of the judged documents, such as 'xq0'; are the ids the same"):
        tune(index, queries, elsewhere, encoder=encoder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 5, "measure": "R@100"}, "R@100 looks at more hits than k = 5 gives"),
        ({"k": 0}, "k is 0"),
        ({"max_ms": 0.0}, "max_ms is 0"),
        ({"max_ms": float("nan")}, "max_ms is nan"),
        ({"max_loss": -0.1}, "max_loss is -0.1"),
        ({"measure": "quality"}, "unknown measure"),
        ({"codecs": ["int3"]}, "there is no codec 'int3'"),
        ({"max_ms": 1e-9}, "no policy takes at most 1e-09 ms"),
    ],
)
def test_arguments_out_of_range_are_refused(
    index: Index, judged: Any, encoder: MultiVectorEncoder, options: dict[str, Any], message: str
) -> None:
    grid = Grid(kappas=(10,), alphas=(None,), betas=(None,), weights=(None,))
    with pytest.raises(InvalidInput, match=message):
        tune(index, *judged, encoder=encoder, grid=grid, **options)


@pytest.mark.parametrize("values", [{"kappas": ()}, {"betas": (2,)}, {"alphas": (0.1,)}, {"kappas": (0,)}])
def test_grids_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Grid(**values)


# -- the command line --------------------------------------------------------------------------------------------------


def test_the_command_prints_saves_and_is_followed(
    tmp_path: Path, index: Index, judged: Any, encoder: MultiVectorEncoder
) -> None:
    queries, qrels = judged[0], dict(list(judged[1].items())[:20])
    shutil.copytree(index.path, tmp_path / "my.idx")
    (tmp_path / "q.tsv").write_text("".join(f"{name}\t{text}\n" for name, text in queries.items()))
    (tmp_path / "qrels.tsv").write_text(
        "".join(
            f"{query} 0 {document} {grade}\n" for query, grades in qrels.items() for document, grade in grades.items()
        )
    )
    files = ("--queries", tmp_path / "q.tsv", "--qrels", tmp_path / "qrels.tsv")
    typed = ("tune", tmp_path / "my.idx", *files, "-k", 5, "--max-loss", 0.1)
    done = commands.lsr(*typed, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert not (tmp_path / "my.idx" / "multivector" / "policy.json").exists()
    assert told["chosen"]["policy"] == told["policy"]
    assert len(told["table"]) == len(list(Grid().policies(5)))
    done = commands.lsr(*typed, "--save")
    assert done.returncode == 0, done.stderr
    assert f"MaxSimReranker.of(index, Policy(kappa={told['policy']['kappa']}" in done.stdout
    assert "On the other 10 queries, nDCG@5 of the choice is" in done.stdout
    opened = Index.open(tmp_path / "my.idx")
    stage = MaxSimReranker.of(opened)
    assert stage.policy == Policy(**told["policy"])
    text = next(iter(queries.values()))
    search = ("search", tmp_path / "my.idx", text, "--rerank", "maxsim", "--json")
    hits = json.loads(commands.lsr(*search, "-k", 5).stdout)["hits"]
    assert [hit["id"] for hit in hits] == opened.search(text, k=5, rerank=stage).ids
    wide = replace(stage.policy, kappa=120)
    deep = json.loads(commands.lsr(*search, "-k", 120).stdout)["hits"]  # more hits than the policy has candidates
    assert [hit["id"] for hit in deep] == opened.search(text, k=120, rerank=MaxSimReranker.of(opened, wide)).ids
    assert len(deep) > stage.policy.kappa
    few = json.loads(commands.lsr(*search, "-k", 5, "--candidates", 3).stdout)["hits"]
    assert len(few) == 3
    (tmp_path / "my.idx" / "multivector" / "policy.json").write_text("{")
    assert "damaged" in commands.one_line(commands.lsr(*search))
    (tmp_path / "few.tsv").write_text("q0 0 d1 1\n")
    refused = commands.lsr(*typed[:2], "--queries", tmp_path / "q.tsv", "--qrels", tmp_path / "few.tsv")
    assert "queries with a relevant document: 1;" in commands.one_line(refused)
