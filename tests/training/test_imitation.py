"""A head that learns another encoder's vectors before it learns to retrieve."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lsr import load_encoder
from lsr.errors import InvalidInput
from lsr.training import train
from lsr.training.head import pooled_logits
from lsr.training.imitation import imitate
from lsr.training.teachers import SparseTeacher
from lsr.training.warm_up import RATE
from tests.encoders import families
from tests.training import kit

SEED = 1


def teacher_of(made: kit.Made) -> SparseTeacher:
    assert made.trainer.materials.ensemble is not None
    found = made.trainer.materials.ensemble.teachers[0]
    assert isinstance(found, SparseTeacher)
    return found


def imitated(made: kit.Made, steps: int, chunk: int = 1 << 20) -> float:
    return imitate(
        made.student.documents,
        teacher_of(made),
        made.trainer.materials.documents,
        kit.DOCUMENTS,
        steps=steps,
        seed=SEED,
        chunk=chunk,
        processes=made.trainer.processes,
    )


def distance(made: kit.Made) -> float:
    """Of the student's vectors from the teacher's: squared, summed over terms, mean over documents."""
    rows = np.arange(kit.DOCUMENTS)
    wanted = teacher_of(made).weights(torch.from_numpy(rows)) * made.student.documents.keep
    with torch.no_grad():
        found = made.student.documents(*made.trainer.materials.documents.batch(rows))
    return float((found - wanted).square().sum(1).mean())


def test_the_teachers_weights_are_its_vectors(small: Path, tmp_path: Path) -> None:
    made = kit.trainer(kit.recipe(small), tmp_path / "made")
    texts = ["the fox jumps over the river", "posting lists"]
    teacher = teacher_of(made)
    teacher.prepare(texts[:1], texts)
    expected = load_encoder(small / "teacher").encode_documents(texts).to_scipy().toarray()
    np.testing.assert_allclose(teacher.weights(torch.tensor([1, 0])).numpy(), expected[[1, 0]], atol=1e-6)


@pytest.mark.parametrize("activation", ["log1p_relu", "log1p_log1p_relu", "relu"])
def test_the_vectors_come_near_the_teachers(
    activation: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the student begins without any term, from where a ReLU alone would learn nothing."""
    chosen = kit.recipe(small, document={"activation": activation})
    made = kit.trainer(chosen, tmp_path / "made")
    side, documents = made.student.documents, made.trainer.materials.documents
    assert side.transformer.bias is not None
    with torch.no_grad():
        ids, lengths = documents.batch(np.arange(kit.DOCUMENTS))
        hidden = side.transformer(ids, lengths)
        side.transformer.bias -= pooled_logits(hidden, lengths, side.transformer.table, side.transformer.bias).max()
    before = distance(made)
    monkeypatch.setattr("lsr.training.warm_up.RATE", 1e-2)
    last = imitated(made, 80)
    assert distance(made) < 0.5 * before
    assert last < 0.6 * before


def test_a_step_is_that_of_the_formula_whatever_the_chunk(small: Path, tmp_path: Path) -> None:
    makes = [kit.trainer(kit.recipe(small), tmp_path / str(i)) for i in range(3)]
    plain = makes[2]
    side, teacher, documents = plain.student.documents, teacher_of(plain), plain.trainer.materials.documents
    rows = np.random.default_rng([SEED, 7]).integers(0, kit.DOCUMENTS, 256)
    ids, lengths = documents.batch(rows)
    hidden = side.transformer(ids, lengths)
    logits = torch.nn.functional.linear(hidden, side.transformer.table, side.transformer.bias)
    real = torch.arange(ids.shape[1]) < lengths[:, None]
    logits = logits.masked_fill(~real[..., None], -torch.inf).amax(1)
    wanted = teacher.weights(torch.from_numpy(rows))
    weights = torch.where(logits > 0, torch.log1p(logits.clamp(min=0)), logits)
    error = torch.where(wanted > 0, weights - wanted, weights.clamp(min=0)) * side.keep
    loss = error.square().sum(1).mean()
    optimizer = torch.optim.AdamW(side.parameters(), lr=RATE, weight_decay=0.01)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(side.parameters(), 1.0)
    optimizer.step()
    for made, chunk in zip(makes, (1 << 20, 300), strict=False):
        assert imitated(made, 1, chunk) == pytest.approx(float(loss.detach()), rel=1e-5)
        # The gradient of the keys' biases is 0 but for rounding, which Adam makes steps of.
        for name, p in made.student.documents.named_parameters():
            if "key.bias" not in name:
                torch.testing.assert_close(p, dict(side.named_parameters())[name], rtol=0, atol=1e-5)


def test_a_training_begins_with_it_and_goes_on_after_it(small: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"start": {"imitate": "teacher", "imitate_steps": 5}}
    chosen = kit.recipe(small, **changes)
    whole = train(chosen, tmp_path / "whole")
    assert 0 < whole.card["data"]["imitation_loss"] < 1e4
    stages: list[str] = []

    def progress(stage: str, done: int, total: int | None) -> None:
        stages.append(stage)
        if stage == "training" and done == 3:
            raise kit.Interrupted

    with pytest.raises(kit.Interrupted):
        train(chosen, tmp_path / "stopped", progress=progress)
    assert stages.count("imitating teacher") == 5
    later: list[str] = []
    report = train(chosen, tmp_path / "stopped", resume=True, progress=lambda stage, *_: later.append(stage))
    assert "imitating teacher" not in later
    assert report.outcome.loss == whole.outcome.loss
    assert report.card["data"]["imitation_loss"] == whole.card["data"]["imitation_loss"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": {"imitate": "bm25"}}, "no sparse teacher is called 'bm25'"),
        ({"start": {"imitate": "teacher"}, "document": {"kind": "cls-mlm"}}, "kind mlm with max pooling"),
        ({"start": {"imitate": "teacher"}, "document": {"pooling": "sum"}}, "kind mlm with max pooling"),
    ],
)
def test_what_cannot_be_imitated_is_refused(changes: dict[str, Any], message: str, small: Path) -> None:
    with pytest.raises(InvalidInput, match=re.escape(message)):
        kit.recipe(small, **changes)


def test_another_vocabulary_is_refused(small: Path, tmp_path: Path) -> None:
    other = families.plain(tmp_path / "other", "roberta")
    teachers = [{"kind": "sparse", "model": str(other), "name": "other"}]
    with pytest.raises(InvalidInput, match=r"start\.imitate: other has .* terms, and they are not those"):
        train(kit.recipe(small, start={"imitate": "other"}, teachers=teachers), tmp_path / "model")
