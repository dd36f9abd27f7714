"""A step of training against one plain computation, however it is cut into chunks and processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lsr.errors import InvalidInput
from lsr.training import train
from lsr.training.sparse_student import SparseStudent
from lsr.training.trainer import Trainer
from tests.encoders import families
from tests.training import kit

BETA = 0.9
# One step without clipping, so that Adam's first moment is the gradient times a tenth.
STEP: dict[str, Any] = {"steps": 1, "clip": 0, "betas": [BETA, 0.98], "weight_decay": 0}
MLM = {"kind": "mlm", "max_length": 16}

CASES: dict[str, dict[str, Any]] = {
    "idf, teachers": {"loss": {"kl": 1, "block_kl": 0.5, "margin_mse": 0.2, "temperature": 1.5}},
    "trained idf": {"query": {"kind": "idf", "train": True}, "loss": {"kl": 1, "block_kl": 0}},
    "mlm on both sides, in-batch negatives": {
        "query": MLM,
        "loss": {"kl": 0, "block_kl": 0, "info_nce": 1, "contrastive": 0.5},
        "regularizers": [
            {"kind": "flops", "strength": 0.3, "ramp": 0},
            {"kind": "l1", "side": "query", "strength": 0.2, "ramp": 0},
        ],
    },
    "term recall": {
        "loss": {"kl": 0, "block_kl": 0, "term_recall": 1},
        "regularizers": [{"kind": "flops", "idf_aware": True, "ramp": 0}],
    },
    "candidates that are missing": {
        "candidates": {"depth": 60, "strata": [[1, 4, 2], [38, 60, 4]], "random": 0},
        "teachers": [{"kind": "bm25"}],
        "loss": {"kl": 1, "block_kl": 1},
        "regularizers": [{"kind": "flops", "strength": 0.3, "ramp": 0}],
    },
}  # fmt: skip


def gradients(trainer: Trainer) -> dict[str, Tensor]:
    """Those of the one step that it does."""
    trainer.run()
    states = {name: trainer.optimizer.state[p] for name, p in trainer.parameters.items()}
    return {name: state["exp_avg"] / (1 - BETA) for name, state in states.items() if "exp_avg" in state}


def naive(trainer: Trainer) -> dict[str, Tensor]:
    """The same by whole logits of all texts at once and torch's own formulas."""
    materials, student, recipe = trainer.materials, trainer.student, trainer.recipe
    assert isinstance(student, SparseStudent)
    queries, candidates = materials.batches.at(0)
    there = torch.from_numpy(candidates >= 0)
    parameters = {name: p.detach().clone().requires_grad_() for name, p in trainer.parameters.items()}
    prefix = "documents.transformer."
    inside = {name.removeprefix(prefix + "model."): p for name, p in parameters.items() if prefix + "model." in name}
    with student.documents.transformer.whole() as model:
        decoder = next(name for name, module in model.named_modules() if module is model.get_output_embeddings())
        tied = {id(p): name for name, p in model.named_parameters()}
        embeddings = tied[id(model.get_input_embeddings().weight)]
        inside |= {f"{decoder}.weight": parameters[prefix + "table"], f"{decoder}.bias": parameters[prefix + "bias"]}
        inside[embeddings] = parameters[prefix + "table"]

        def vectors(texts: Any, rows: Any) -> Tensor:
            ids, lengths = texts.batch(rows)
            real = torch.arange(ids.shape[1]) < lengths[:, None]
            found = torch.func.functional_call(model, inside, kwargs={"input_ids": ids, "attention_mask": real.long()})
            logits = found.logits.masked_fill(~real[..., None], -float("inf")).amax(1)
            return torch.log1p(logits.relu()) * student.documents.keep

        documents = vectors(materials.documents, candidates.clip(min=0).ravel())
        if recipe.query.kind == "mlm":
            asked = vectors(materials.queries, queries)
        else:
            table = parameters.get("queries.values", student.idf).relu()
            table = table * torch.tensor([float(t not in student.vocabulary.special) for t in range(len(table))])
            asked = torch.stack([_words(materials.queries, row, len(table)) * table for row in queries])
    loss = _loss(trainer, asked, documents, queries, candidates, there)
    loss.backward()  # type: ignore[no-untyped-call]
    return {name: p.grad for name, p in parameters.items() if p.grad is not None}


def _words(texts: Any, row: int, dim: int) -> Tensor:
    ids, lengths = texts.batch(np.array([row]))
    return torch.bincount(ids[0, : int(lengths[0])], minlength=dim).clamp(max=1).float()


def _divergence(student: Tensor, targets: Tensor, temperature: float) -> Tensor:
    there = targets.isfinite()
    if there.sum() < 2:
        return torch.zeros(())
    found = (student[there] / temperature).log_softmax(0)
    return functional.kl_div(found, targets[there].softmax(0), reduction="sum")


def _loss(trainer: Trainer, asked: Tensor, documents: Tensor, queries: Any, candidates: Any, there: Tensor) -> Tensor:
    """Query by query."""
    recipe, materials, weights = trainer.recipe, trainer.materials, trainer.recipe.loss
    count, flat = len(queries), candidates.ravel()
    total = torch.zeros(())
    rows, columns = torch.from_numpy(queries), torch.from_numpy(candidates)
    if weights.taught:
        assert materials.ensemble is not None
        targets = materials.ensemble.own(rows, columns)
        if weights.block_kl:
            block = materials.ensemble.block(rows, columns.ravel())
    for i in range(count):
        positive = int(materials.positives[queries[i]])
        every = documents @ asked[i]
        mine = slice(i * candidates.shape[1], (i + 1) * candidates.shape[1])
        own = every[mine]
        place = int(np.flatnonzero(candidates[i] == positive)[0])
        if weights.kl:
            total = total + weights.kl * _divergence(own, targets[i], weights.temperature)
        if weights.block_kl:
            total = total + weights.block_kl * _divergence(every, block[i], weights.temperature)
        if weights.margin_mse:
            others = [k for k in range(len(own)) if k != place and targets[i, k].isfinite()]
            wanted = targets[i, place] - targets[i, others]
            total = total + weights.margin_mse * functional.mse_loss(own[place] - own[others], wanted)
        if weights.contrastive:
            known = own[there[i]][None]
            at = int(there[i, :place].sum())
            total = total + weights.contrastive * functional.cross_entropy(known, torch.tensor([at]))
        if weights.info_nce:
            # The positive once, and all that are no copy of it.
            negatives = every[torch.from_numpy((flat != positive) & (flat >= 0))]
            both = torch.cat([own[place : place + 1], negatives])[None]
            total = total + weights.info_nce * functional.cross_entropy(both, torch.tensor([0]))
        if weights.term_recall:
            terms = _words(materials.documents, positive, documents.shape[1]) * trainer.student.documents.keep
            wanted = _words(materials.queries, queries[i], documents.shape[1])
            error = (documents[mine][place] - wanted).square() * terms
            total = total + weights.term_recall * error.sum() / terms.sum()
    total = total / count
    for choice in recipe.regularizers:
        vectors = documents[there.ravel()] if choice.side == "document" else asked
        means = vectors.mean(0)
        if choice.idf_aware:
            known = trainer.student.idf.clamp(min=0.5)
            means = means * known.mean() / known
        total = total + choice.strength * (means.square().sum() if choice.kind == "flops" else means.sum())
    return total


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # Relative to the largest of the tensor: what is 0 but for rounding is compared to that.
        scale = max(float(value.abs().max()), 0.1)
        worst = float((found[name] - value).abs().max())
        assert worst <= 2e-5 * scale, f"{name}: differs by {worst:g}, of {scale:g}"


@pytest.mark.parametrize("case", CASES)
def test_the_gradients_are_those_of_one_plain_computation(case: str, small: Path, tmp_path: Path) -> None:
    made = kit.trainer(kit.recipe(small, run=STEP, **kit.merged({"regularizers": []}, CASES[case])), tmp_path)
    _, candidates = made.trainer.materials.batches.at(0)
    assert (candidates < 0).any() == (case == "candidates that are missing")
    expected = naive(made.trainer)
    found = gradients(made.trainer)
    assert_close(found, expected)
    assert sum(float(value.abs().max()) > 1e-3 for value in found.values()) > 20


@pytest.mark.parametrize(
    "how",
    [{"chunk": 40}, {"chunk": 40, "recompute": True}, {"recompute": True}, {"checkpoint_layers": True}],
    ids=["chunks", "chunks again", "again", "layers"],
)
def test_chunks_and_recomputation_change_nothing(how: dict[str, Any], small: Path, tmp_path: Path) -> None:
    case = kit.merged(CASES["mlm on both sides, in-batch negatives"], {"data": {"held_out": 0}})
    one, other = (
        kit.trainer(kit.recipe(small, run=kit.merged(STEP, run), **case), tmp_path / name)
        for name, run in (("whole", {}), ("other", how))
    )
    calls: list[int] = []
    layers = other.student.documents.transformer.model.base_model.encoder.layer
    layers[0].attention.register_forward_hook(lambda *_: calls.append(1))
    assert_close(gradients(other.trainer), gradients(one.trainer))
    if how.get("chunk"):
        assert len(calls) > 4
    else:  # documents and queries, each twice
        assert len(calls) == 4


@pytest.mark.parametrize("how", [{"recompute": True}, {"checkpoint_layers": True}], ids=["chunks", "layers"])
def test_dropout_draws_the_same_when_it_is_done_again(how: dict[str, Any], small: Path, tmp_path: Path) -> None:
    dropping = {**STEP, "dropout": 0.2, "chunk": 100}
    found = [
        gradients(kit.trainer(kit.recipe(small, run=run), tmp_path / name).trainer)
        for name, run in (("kept", dropping), ("again", {**dropping, **how}), ("none", {**STEP, "chunk": 100}))
    ]
    assert_close(found[1], found[0])
    with pytest.raises(AssertionError):
        assert_close(found[2], found[0])


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "mpnet", "modernbert"])
def test_without_dropout_training_computes_what_the_model_does(family: str, small: Path, tmp_path: Path) -> None:
    """Whatever dropout config.json names."""
    families.plain(tmp_path / "start", family)
    path = tmp_path / "start" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    keys = ("hidden_dropout_prob", "attention_probs_dropout_prob", "attention_dropout", "dropout", "embedding_dropout")
    path.write_text(
        json.dumps(config | {key: 0.3 for key in (*keys, "mlp_dropout") if key in config}), encoding="utf-8"
    )
    changes = {"start": {"model": str(tmp_path / "start")}, "teachers": [{"kind": "bm25"}]}
    for dropout in (0.0, 0.1):
        made = kit.trainer(kit.recipe(small, run={"dropout": dropout}, **changes), tmp_path / f"{dropout}")
        batch = made.trainer.materials.documents.batch(np.arange(4))
        with torch.no_grad():
            training, resting = (made.student.train(mode).documents(*batch) for mode in (True, False))
        assert torch.equal(training, resting) == (dropout == 0)


def test_a_step_that_lacked_memory_is_done_again_in_smaller_pieces(small: Path, tmp_path: Path) -> None:
    controlled = {"regularizers": [{"kind": "flops", "nnz": 10, "ramp": 0}]}
    one, other = (kit.trainer(kit.recipe(small, **controlled), tmp_path / name) for name in ("one", "other"))
    failures = iter([False, True, True])

    def failing(gradient: Tensor) -> Tensor:
        if next(failures, False):
            raise torch.cuda.OutOfMemoryError("no memory")
        return gradient

    next(iter(other.trainer.parameters.values())).register_hook(failing)  # type: ignore[no-untyped-call]
    one.trainer.run()
    other.trainer.run()
    assert next(failures, None) is None
    assert other.trainer.recompute
    assert other.trainer.chunk < one.trainer.chunk
    torch.testing.assert_close(other.trainer.penalties[0].strength, one.trainer.penalties[0].strength)
    for found, expected in zip(kit.steps_of(tmp_path / "other"), kit.steps_of(tmp_path / "one"), strict=True):
        assert found["nnz"] == pytest.approx(expected["nnz"], rel=1e-3)
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-3)


def lacking(monkeypatch: pytest.MonkeyPatch, queries: int) -> None:
    """The loss of more queries than that does not fit in memory."""
    from lsr.training import losses

    plain = losses.kl_divergence

    def divergence(student: Tensor, *others: Any) -> Tensor:
        if len(student) > queries:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return plain(student, *others)

    monkeypatch.setattr("lsr.training.losses.kl_divergence", divergence)


def test_a_batch_that_cannot_fit_is_told_with_the_one_that_does(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking(monkeypatch, 2)
    with pytest.raises(InvalidInput) as raised:
        train(kit.recipe(small, run={"batch": 12}), tmp_path / "model")
    # Of the halves 6, 3 and 1 it is the first that was seen to fit.
    assert str(raised.value) == "cpu has not the memory for a batch of 12 queries: set run.batch to 1, which fits"
    with pytest.raises(InvalidInput, match=r"a batch of 4 queries: set run\.batch to 2, which fits"):
        train(kit.recipe(small), tmp_path / "model", overwrite=True)
    report = train(kit.recipe(small, run={"batch": 2}), tmp_path / "model", overwrite=True)
    assert report.outcome.steps == 4
    assert np.isfinite(report.outcome.loss)


def test_a_query_that_cannot_fit_is_told(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking(monkeypatch, 0)
    with pytest.raises(InvalidInput, match=r"a batch of 4 queries, nor for one: set a smaller run\.max_length"):
        train(kit.recipe(small), tmp_path / "model")


def test_an_evaluation_that_lacks_memory_is_done_in_smaller_pieces(small: Path, tmp_path: Path) -> None:
    one, other = (kit.trainer(kit.recipe(small), tmp_path / name) for name in ("one", "other"))
    lacked: list[int] = []

    def check(_: Any, inputs: tuple[Tensor, ...]) -> None:
        if not torch.is_grad_enabled() and inputs[0].numel() > 900:
            lacked.append(inputs[0].numel())
            raise torch.OutOfMemoryError("CUDA out of memory")

    other.student.documents.register_forward_pre_hook(check)
    expected, found = (made.trainer.run() for made in (one, other))
    assert lacked
    assert found.last["ndcg"] == pytest.approx(expected.last["ndcg"])
    assert found.last["nnz"] == expected.last["nnz"]
    assert other.trainer.chunk == one.trainer.chunk


# -- processes ---------------------------------------------------------------------------------------------------------

WORKER = """
import json, os, sys
from pathlib import Path
from lsr.training import train
from tests.training import kit
changes, folder, output = json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
report = train(kit.recipe(folder, **changes), output, device="cpu")
assert bool(report.card) == (os.environ["RANK"] == "0")
"""


def test_processes_and_chunks_compute_the_same(small: Path, tmp_path: Path) -> None:
    """Penalties and their controller mean the same: the number of terms is that of one process. So does the masked language
    modelling that comes before."""
    changes = {
        "start": {"mlm_steps": 4},
        "data": {"held_out": 0},
        "query": {"kind": "mlm"},
        "loss": {"kl": 1, "block_kl": 1, "info_nce": 0.5},
        "regularizers": [{"kind": "flops", "strength": 0.3, "ramp": 0, "nnz": 20}],
        "run": {"steps": 4, "batch": 8, "learning_rate": 4e-4},
        "evaluate": {"every": 4, "checkpoint": 4, "log": 1},
    }
    pieces = kit.merged(changes, {"run": {"chunk": 260, "recompute": True}})  # a step is about four chunks
    train(kit.recipe(small, **changes), tmp_path / "one", device="cpu")
    train(kit.recipe(small, **pieces), tmp_path / "pieces", device="cpu")
    kit.in_processes(2, WORKER, json.dumps(changes), small, tmp_path / "two")
    one = kit.steps_of(tmp_path / "one")
    start = kit.weights_of(small / "start")
    for other in ("pieces", "two"):
        for found, expected in zip(kit.steps_of(tmp_path / other), one, strict=True):
            assert found["nnz"] == pytest.approx(expected["nnz"], rel=1e-2)
            for key in ("loss", "kl", "block_kl", "info_nce", "penalty_0", "norm"):
                assert found[key] == pytest.approx(expected[key], rel=1e-3)
            assert found["strength"] == pytest.approx(expected["strength"], rel=1e-5)
        weights, expected_weights = kit.weights_of(tmp_path / other), kit.weights_of(tmp_path / "one")
        # The gradient of the keys' biases is 0 but for rounding, which Adam makes steps of.
        sure = [name for name in weights if "key.bias" not in name]
        moved = max(float((expected_weights[name] - start[name]).abs().max()) for name in sure)
        assert moved > 5e-4
        for name in sure:
            torch.testing.assert_close(weights[name], expected_weights[name], rtol=0, atol=1e-5)
    cards = {
        name: json.loads((tmp_path / name / "training.json").read_text(encoding="utf-8"))
        for name in ("one", "pieces", "two")
    }
    assert cards["two"]["machine"]["processes"] == 2
    for other in ("pieces", "two"):
        assert cards[other]["data"]["mlm_loss"] == pytest.approx(cards["one"]["data"]["mlm_loss"], rel=1e-5)
    assert not list(tmp_path.glob("*.training"))
