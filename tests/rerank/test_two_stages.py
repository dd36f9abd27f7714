"""Two stages over one index: the sparse engine, then MaxSim over the token vectors in its folder."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import lsr
from lsr.errors import CorruptIndex, InvalidInput, StoreMismatch
from lsr.rerank import (
    MaxSimReranker,
    MultiVectorEncoder,
    Policy,
    TokenStore,
    index_tokens,
    load_multivector_encoder,
    save_policy,
)
from lsr.rerank.store import IndexIdentity
from tests.cli import commands
from tests.training import models

TEXTS = {
    "a": "rotate the log file every night",
    "b": "a log of wood in the river, and a file of soldiers",
    "c": "the file system keeps a log",
    "d": "night falls over the river",
    "e": "to rotate is to turn",
}
QUERY = "rotate a log file"


def written(folder: Path) -> Path:
    lines = [json.dumps({"_id": name, "title": name.upper(), "text": text}) for name, text in TEXTS.items()]
    (folder / "docs.jsonl").write_text("\n".join(lines))
    return folder / "docs.jsonl"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, encoder: MultiVectorEncoder) -> lsr.Index:
    folder = tmp_path_factory.mktemp("two")
    built = lsr.Index.build(written(folder), folder / "my.idx")
    index_tokens(built, encoder, codec="f32")
    return built


def maxsim(encoder: MultiVectorEncoder, ids: list[str]) -> list[float]:
    """By the definition, from the vectors themselves."""
    query = encoder.encode_queries([QUERY]).of(0)
    documents = encoder.encode_documents([f"{name.upper()} {TEXTS[name]}" for name in ids])
    return [float((query @ documents.of(i).T).max(1).sum()) for i in range(len(ids))]


def test_candidates_are_ordered_by_maxsim(index: lsr.Index, encoder: MultiVectorEncoder) -> None:
    first = index.search(QUERY, k=50)
    stage = MaxSimReranker.of(index)
    hits = index.search(QUERY, k=3, rerank=stage)
    expected = dict(zip(first.ids, maxsim(encoder, first.ids), strict=True))
    assert hits.ids == sorted(first.ids, key=lambda name: -expected[name])[:3]
    np.testing.assert_allclose(hits.scores, [expected[name] for name in hits.ids], rtol=1e-5)
    assert (stage.scored, stage.missing) == (len(first), 0)
    assert [found.ids for found in index.search([QUERY, "zzzz"], k=3, rerank=stage)] == [hits.ids, []]


def test_the_policy_says_which_are_scored(index: lsr.Index, encoder: MultiVectorEncoder) -> None:
    stage = MaxSimReranker.of(index, Policy(kappa=2))
    hits = index.search(QUERY, k=2, rerank=stage)
    assert set(hits.ids) == set(index.search(QUERY, k=2).ids)
    assert stage.scored == 2
    first = index.search(QUERY, k=50)
    alone = index.search(QUERY, k=len(first), rerank=MaxSimReranker.of(index, Policy(weight=1.0)))
    assert alone.ids == first.ids


def test_a_saved_policy_is_followed_where_none_is_given(tmp_path: Path, encoder: MultiVectorEncoder) -> None:
    index = lsr.Index.build(written(tmp_path), tmp_path / "my.idx")
    store = index_tokens(index, encoder)
    assert MaxSimReranker.of(index).policy == Policy()
    save_policy(store.path, Policy(kappa=2, beta=3))
    assert MaxSimReranker.of(index).policy == Policy(kappa=2, beta=3)
    assert MaxSimReranker.of(index, Policy(kappa=7)).policy == Policy(kappa=7)
    store.delete(["a"])  # a change of the token vectors is none of the policy
    assert MaxSimReranker.of(index).policy == Policy(kappa=2, beta=3)
    assert list(store.check(full=True))
    (store.path / "policy.json").write_text("{}")
    with pytest.raises(CorruptIndex, match="remove the file, or write it again with lsr tune --save"):
        MaxSimReranker.of(index)
    assert MaxSimReranker.of(index, Policy(kappa=7)).policy == Policy(kappa=7)
    index_tokens(index, encoder, overwrite=True)
    assert MaxSimReranker.of(index).policy == Policy()


def test_documents_without_token_vectors_keep_their_place_and_are_counted(
    tmp_path: Path, encoder: MultiVectorEncoder
) -> None:
    index = lsr.Index.build(written(tmp_path), tmp_path / "my.idx")
    store = index_tokens(index, encoder)
    first = index.search(QUERY, k=50)
    assert len(first) >= 3
    lost = first.ids[1]
    store.delete([lost])
    stage = MaxSimReranker.of(index)
    hits = index.search(QUERY, k=len(first), rerank=stage)
    assert stage.missing == 1
    assert hits.ids[1] == lost
    assert sorted(hits.ids) == sorted(first.ids)
    rest = [name for name in hits.ids if name != lost]
    scores = dict(zip(rest, maxsim(encoder, rest), strict=True))
    assert rest == sorted(rest, key=lambda name: -scores[name])
    assert hits.scores.tolist() == sorted(hits.scores.tolist(), reverse=True)


def test_token_vectors_of_another_index_or_encoder_are_refused(
    tmp_path: Path, index: lsr.Index, encoder: MultiVectorEncoder
) -> None:
    other = models.multi_vector(tmp_path / "other", work=tmp_path / "backbone")
    weights = next(path for path in other.rglob("model.safetensors") if path.parent != other)  # of the projection
    save_file({name: tensor + 0.1 for name, tensor in load_file(weights).items()}, weights)
    with pytest.raises(StoreMismatch, match="give that model, or build the token vectors again"):
        MaxSimReranker.of(index, encoder=load_multivector_encoder(other))
    with pytest.raises(InvalidInput, match="has no token vectors; lsr index SOURCE"):
        MaxSimReranker.of(lsr.Index.build(written(tmp_path), tmp_path / "bare.idx"))
    built = lsr.Index.build(written(tmp_path), tmp_path / "again.idx")
    TokenStore.build(
        tmp_path / "again.idx" / "multivector",
        [(["a"], encoder.encode_documents([TEXTS["a"]]))],
        index=replace(IndexIdentity.of(built), created="2020-01-01T00:00:00Z"),
    )
    with pytest.raises(StoreMismatch):
        MaxSimReranker.of(built, encoder=encoder)


def test_an_index_without_texts_and_a_query_without_one_are_refused(
    tmp_path: Path, index: lsr.Index, encoder: MultiVectorEncoder
) -> None:
    bare = lsr.Index.build([{"_id": "a", "text": TEXTS["a"]}], tmp_path / "bare.idx", keep_text=False)
    with pytest.raises(InvalidInput, match="keeps no texts, which reranking needs"):
        index_tokens(bare, encoder)
    vectors = index.query_encoder.encode_batch([QUERY])  # type: ignore[union-attr]
    with pytest.raises(InvalidInput, match="ask with one, not with a vector"):
        index.search(vectors, rerank=MaxSimReranker.of(index))


def test_the_command_line_does_both(tmp_path: Path, colbert: Path) -> None:
    path = tmp_path / "my.idx"
    done = commands.lsr("index", written(tmp_path), "-o", path, "--multivector", colbert)
    assert done.returncode == 0, done.stderr
    assert "token vectors of 5 documents" in done.stderr
    index = lsr.Index.open(path)
    expected = index.search(QUERY, k=2, rerank=MaxSimReranker.of(index)).ids
    found = json.loads(commands.lsr("search", path, QUERY, "-k", 2, "--rerank", "maxsim", "--json").stdout)["hits"]
    assert [hit["id"] for hit in found] == expected
    assert commands.lsr("check", path, "--full").returncode == 0
    TokenStore.open(path / "multivector").delete([expected[0]])
    told = commands.lsr("search", path, QUERY, "-k", 2, "--rerank", "maxsim", "--json")
    assert "1 candidate has no token vectors" in told.stderr
    small = commands.lsr(
        "index", written(tmp_path), "-o", tmp_path / "y.idx", "--multivector", colbert, "--codec", "int4"
    )
    assert small.returncode == 0, small.stderr
    store = TokenStore.open(tmp_path / "y.idx" / "multivector")
    assert store.codec.name == "int4"
    told = json.loads(commands.lsr("info", tmp_path / "y.idx", "--json").stdout)["multivector"]
    assert told.pop("encoder") == colbert.name
    assert told == {name: store.info()[name] for name in ("documents", "tokens", "bytes", "codec", "dim", "pool")}
    assert re.search(r"multivector codec +int4 ", commands.lsr("info", tmp_path / "y.idx").stdout)
    lsr.Index.build(written(tmp_path), tmp_path / "z.idx")
    assert "multivector" not in json.loads(commands.lsr("info", tmp_path / "z.idx", "--json").stdout)
    other = commands.lsr(
        "index", written(tmp_path), "-o", tmp_path / "x.idx", "--multivector", colbert, "--codec", "int3"
    )
    assert "there is no codec 'int3'" in commands.one_line(other)
    assert not (tmp_path / "x.idx").exists()
    none = commands.lsr("index", written(tmp_path), "-o", tmp_path / "x.idx", "--multivector", tmp_path / "nowhere")
    assert "no model" in commands.one_line(none)
    assert not (tmp_path / "x.idx").exists()
    bare = commands.lsr(
        "index", written(tmp_path), "-o", tmp_path / "x.idx", "--multivector", colbert, "--no-keep-text"
    )
    assert bare.returncode == 2
    assert "made of the stored texts" in bare.stderr
    assert not (tmp_path / "x.idx").exists()
