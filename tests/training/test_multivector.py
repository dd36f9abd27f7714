"""Multivector students: MaxSim and its gradient, what is written is what was trained, and what cannot be trained."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lsr.errors import InvalidInput
from lsr.index import Index
from lsr.rerank import MaxSimReranker, index_tokens, load_multivector_encoder
from lsr.training import Recipe, train
from lsr.training import maxsim as kernel
from lsr.training.cache import Cache
from lsr.training.data.tokens import TokenStore
from lsr.training.maxsim import maxsim
from lsr.training.prepare import prepare
from lsr.training.processes import Processes
from lsr.training.students import student_of
from lsr.training.token_student import TokenStudent
from tests.encoders import families
from tests.rerank.encoders import forms
from tests.training import kit

TOKENS: dict[str, Any] = {
    "query": {"kind": "multivector"},
    "document": {"kind": "multivector", "dim": 12, "drop": ["punctuation"]},
    "regularizers": [],
}


def recipe(folder: Path, **changes: Any) -> Recipe:
    return kit.recipe(folder, **kit.merged(TOKENS, changes))


@pytest.fixture(scope="module")
def trained(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("multivector") / "model"
    train(recipe(small), folder)
    return folder


# -- MaxSim ------------------------------------------------------------------------------------------------------------


def ragged(count: int, places: int, width: int, seed: int, empty: int | None = None) -> Tensor:
    """Vectors of texts of different lengths, zeros behind them and one between; those of text `empty` are all zeros."""
    torch.manual_seed(seed)
    vectors = torch.nn.functional.normalize(torch.randn(count, places, width), dim=2)
    lengths = torch.randint(2, places + 1, (count,))
    lengths[0] = places
    vectors *= (torch.arange(places) < lengths[:, None])[..., None]
    vectors[:, 1] = 0
    if empty is not None:
        vectors[empty] = 0
    return vectors


def naive(queries: Tensor, documents: Tensor) -> Tensor:
    rows = []
    for query, document in itertools.product(queries, documents):
        left, right = query[query.any(1)], document[document.any(1)]
        rows.append((left @ right.T).amax(1).sum() if len(right) and len(left) else query.sum() * 0)
    return torch.stack(rows).view(len(queries), len(documents))


@pytest.mark.parametrize("numbers", [1, 500, 1 << 26], ids=["one by one", "some", "all at a time"])
def test_maxsim_and_its_gradient_are_those_of_the_formula(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "NUMBERS", numbers)
    queries, documents = ragged(3, 6, 8, 1, empty=2), ragged(7, 11, 8, 2, empty=4)
    weights = torch.randn(3, 7)
    found = []
    for formula in (maxsim, naive):
        left, right = queries.clone().requires_grad_(), documents.clone().requires_grad_()
        scores = formula(left, right)
        (scores * weights).sum().backward()  # type: ignore[no-untyped-call]
        found.append((scores.detach(), left.grad, right.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_maxsim_of_no_vectors_is_nothing() -> None:
    queries = torch.zeros(2, 3, 4, requires_grad=True)
    scores = maxsim(queries, torch.zeros(5, 6, 4))
    assert scores.tolist() == [[0.0] * 5] * 2
    scores.sum().backward()  # type: ignore[no-untyped-call]
    assert queries.grad is not None


def test_a_number_that_is_none_stays_none() -> None:
    """A loss that is no number must be seen."""
    queries, documents = ragged(2, 3, 4, 1), ragged(3, 3, 4, 2, empty=1)
    documents[2, 0, 0] = torch.nan
    assert torch.isnan(maxsim(queries, documents)).tolist() == [[False, False, True]] * 2


# -- what is written ---------------------------------------------------------------------------------------------------


def student(chosen: Recipe, folder: Path) -> tuple[TokenStudent, TokenStore, TokenStore]:
    """A student before its first step, and how it reads the sentences as documents and as queries."""
    torch.manual_seed(chosen.seed)
    made = student_of(chosen, folder / "scratch", "fp32")
    assert isinstance(made, TokenStudent)
    prepare(chosen, made, Processes("cpu"), Cache(None))
    stores = [
        TokenStore.of([made.prompt(side) + text for text in families.SENTENCES], made.tokenizer_json, length)
        for side, length in (("document", chosen.document.max_length), ("query", chosen.query.max_length))
    ]
    return made, stores[0], stores[1]


@pytest.mark.parametrize("start", ["plain", "native"])
def test_what_is_written_gives_the_vectors_that_were_trained(start: str, small: Path, tmp_path: Path) -> None:
    """Also for a start that is a multivector model, whose markers and projection stay; sentence-transformers agrees."""
    changes: dict[str, Any] = {}
    if start == "native":
        chosen = recipe(small)
        first = student_of(chosen, tmp_path / "scratch", "fp32")
        assert isinstance(first, TokenStudent)
        prepare(chosen, first, Processes("cpu"), Cache(None))
        first.save(tmp_path / "first", tmp_path / "native")
        changes = {"start": {"model": str(tmp_path / "native")}, "document": {"dim": None}}
    made, documents, queries = student(recipe(small, **changes), tmp_path)
    made.save(tmp_path / "written", tmp_path / "model")
    encoder = load_multivector_encoder(tmp_path / "model")
    rows = np.arange(len(families.SENTENCES))
    with torch.no_grad():
        asked = made.queries(*queries.to("cpu").batch(rows)).view(len(rows), -1, 12)
        found = made.documents(*documents.to("cpu").batch(rows)).view(len(rows), -1, 12)
    read = [encoder.encode_queries(families.SENTENCES), encoder.encode_documents(families.SENTENCES)]
    with families.quiet():
        from sentence_transformers import MultiVectorEncoder

        oracle = MultiVectorEncoder(str(tmp_path / "model"), device="cpu")
        theirs = [oracle.encode_query(families.SENTENCES), oracle.encode_document(families.SENTENCES)]
    for trained_, written, other in zip((asked, found), read, theirs, strict=True):
        for row in rows.tolist():
            mine = trained_[row][trained_[row].any(1)].numpy()
            np.testing.assert_allclose(written.of(row), mine, atol=1e-5)
            np.testing.assert_allclose(np.asarray(other[row]), mine, atol=1e-5)
    with torch.no_grad():
        scores = made.scores(asked.flatten(1), found.flatten(1))
    expected = [
        [float((a @ b.T).max(1).sum()) / len(a) for b in map(read[1].of, rows.tolist())]
        for a in map(read[0].of, rows.tolist())
    ]
    np.testing.assert_allclose(scores.numpy(), np.array(expected) * 50, rtol=1e-4)
    assert len(read[1].vectors) < documents.starts[-1]  # punctuation has left none


def test_a_start_that_is_a_multivector_model_keeps_its_weights(small: Path, trained: Path, tmp_path: Path) -> None:
    """With a learning rate of nothing it stays what it was."""
    changes: dict[str, Any] = {"start": {"model": str(trained)}, "run": {"learning_rate": 0.0}}
    train(recipe(small, document={"dim": None}, **changes), tmp_path / "again")
    before, after = load_multivector_encoder(trained), load_multivector_encoder(tmp_path / "again")
    assert before.dim == after.dim == 12
    for encode in ("encode_queries", "encode_documents"):
        first, second = (getattr(encoder, encode)(families.SENTENCES) for encoder in (before, after))
        np.testing.assert_array_equal(first.vectors, second.vectors)


def test_the_skiplist_of_a_start_stays_as_its_model_reads_it(small: Path, trained: Path, tmp_path: Path) -> None:
    """On both sides where it says so, and with ids that the vocabulary does not have."""
    start = Path(shutil.copytree(trained, tmp_path / "start"))
    (path,) = (file for file in start.glob("*/config.json") if "skiplist_words" in file.read_text())
    told = {"skiplist_words": [".", "the"], "skiplist_tasks": ["query", "document"]}
    only = [*range(5), *range(6, 200), 10**6]
    path.write_text(json.dumps({**json.loads(path.read_text()), **told, "keep_only_token_ids": only}))
    made, documents, queries = student(
        recipe(small, start={"model": str(start)}, document={"dim": None, "drop": []}), tmp_path
    )
    encoder = load_multivector_encoder(start)
    rows = np.arange(len(families.SENTENCES))
    with torch.no_grad():
        found = made.documents(*documents.to("cpu").batch(rows)), made.queries(*queries.to("cpu").batch(rows))
    read = encoder.encode_documents(families.SENTENCES), encoder.encode_queries(families.SENTENCES)
    for trained_, written in zip(found, read, strict=True):
        assert made.sizes(trained_).tolist() == written.lengths.tolist()


def test_a_trained_model_reranks_an_index(trained: Path, tmp_path: Path) -> None:
    card = (trained / "README.md").read_text(encoding="utf-8")
    assert re.search(
        r"A multivector encoder .* --multivector FOLDER.*nDCG@10 0\.\d+, \d+ vectors a document\.", card, re.S
    )
    index = Index.build(families.SENTENCES, tmp_path / "my.idx")
    store = index_tokens(index, load_multivector_encoder(trained), codec="f32")
    assert store.dim == 12
    stage = MaxSimReranker.of(index)
    hits = index.search(families.SENTENCES[3], k=5, rerank=stage)
    assert hits[0].text == families.SENTENCES[3]
    assert stage.scored > 1


def test_training_brings_the_scores_nearer_to_the_teachers(small: Path, tmp_path: Path) -> None:
    report = train(recipe(small, run={"steps": 40}, evaluate={"log": 10, "every": 40}), tmp_path / "model")
    losses = [line["loss"] for line in kit.steps_of(tmp_path / "model")]
    assert losses[-1] < 0.8 * losses[0]
    assert report.outcome.best["vectors"] > 5


# -- the loop ----------------------------------------------------------------------------------------------------------


def test_chunks_do_not_change_the_model_and_a_resumed_training_is_the_same(small: Path, tmp_path: Path) -> None:
    chosen = recipe(small, run={"dropout": 0.1})
    whole = train(chosen, tmp_path / "whole")
    with pytest.raises(kit.Interrupted):
        train(chosen, tmp_path / "stopped", progress=kit.interrupting(3))
    assert train(chosen, tmp_path / "stopped", resume=True).outcome.loss == whole.outcome.loss
    assert kit.largest_difference(kit.weights_of(tmp_path / "whole"), kit.weights_of(tmp_path / "stopped")) == 0
    plain = recipe(small)
    train(plain, tmp_path / "plain")
    train(recipe(small, run={"chunk": 64, "recompute": True}), tmp_path / "chunks")
    losses = [[line["loss"] for line in kit.steps_of(tmp_path / name)] for name in ("plain", "chunks")]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


# -- refused -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query": {"kind": "idf"}}, "multivector must be both or none"),
        ({"document": {"kind": "mlm"}}, "multivector must be both or none"),
        ({"query": {"kind": "idf"}, "document": {"kind": "mlm"}}, "document.dim: is for multivector"),
        ({"document": {"pooling": "sum"}}, "document.pooling: is about terms"),
        ({"query": {"shared": False}}, "query.shared: is about terms"),
        ({"query": {"idf": "start"}}, "query.idf: is about terms"),
        ({"start": {"rescale": 0.5}}, "start.rescale: is about terms"),
        ({"start": {"mlm_steps": 9}}, "start.mlm_steps: trains a vocabulary head"),
        ({"regularizers": [{"kind": "l1"}]}, "write regularizers: []"),
        ({"loss": {"term_recall": 1}}, "loss.term_recall: is about terms"),
    ],
)
def test_what_is_about_terms_is_refused(changes: dict[str, Any], message: str, small: Path) -> None:
    with pytest.raises(InvalidInput, match=re.escape(message)):
        recipe(small, **changes)


def test_a_start_with_query_expansion_is_refused(small: Path, tmp_path: Path) -> None:
    start = forms.pylate(tmp_path / "pylate")
    with pytest.raises(InvalidInput, match="query expansion"):
        train(recipe(small, start={"model": str(start)}), tmp_path / "model")
    assert kit.nothing_left(tmp_path / "model")


def test_a_dim_other_than_that_of_the_start_is_refused(small: Path, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"document\.dim is 24, the start model has 12"):
        train(recipe(small, start={"model": str(trained)}, document={"dim": 24}), tmp_path / "model")
