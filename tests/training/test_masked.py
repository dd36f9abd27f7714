"""Masked language modelling before the first step: one mean over a batch, however it is cut, and done once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lsr.errors import InvalidInput
from lsr.training import Diverged, train, working_folder
from lsr.training.masked import warm_up
from lsr.training.warm_up import BATCH
from tests.training import kit

STAGE = "masked language modelling"
SEED = 7


def data_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "training.json").read_text(encoding="utf-8"))["data"]
    return found


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> None:
    # The gradient of the keys' biases is 0 but for rounding, which Adam makes steps of.
    sure = [name for name in expected if "key.bias" not in name]
    assert found.keys() == expected.keys()
    assert max(float((expected[name] - start[name]).detach().abs().max()) for name in sure) > 5e-4
    for name in sure:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-5)


def warmed(made: kit.Made, *, steps: int = 1, chunk: int = 1 << 20) -> float:
    """The warm-up of a student by itself."""
    vocabulary = made.student.vocabulary
    special = torch.zeros(vocabulary.dim, dtype=torch.bool)
    special[sorted(vocabulary.special)] = True
    return warm_up(
        made.student.documents.transformer,
        made.trainer.materials.documents,
        kit.DOCUMENTS,
        steps=steps,
        mask=vocabulary.id_of("[MASK]"),
        special=special,
        seed=SEED,
        chunk=chunk,
        processes=made.trainer.processes,
    )


# -- one mean ----------------------------------------------------------------------------------------------------------


def plainly(made: kit.Made, steps: int) -> float:
    """The same by BertForMaskedLM itself, with labels at the masked tokens, and AdamW. Returns the last loss."""
    documents, vocabulary = made.trainer.materials.documents, made.student.vocabulary
    rows, generator = np.random.default_rng([SEED, 2]), torch.Generator().manual_seed(SEED)
    mask = vocabulary.id_of("[MASK]")
    assert mask is not None
    with made.student.documents.transformer.whole() as model:
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
        for step in range(steps):
            ids, lengths = documents.batch(rows.integers(0, kit.DOCUMENTS, BATCH))
            real = torch.arange(ids.shape[1]) < lengths[:, None]
            ordinary = real & ~torch.isin(ids, torch.tensor(sorted(vocabulary.special)))
            chosen = ordinary & (torch.rand(ids.shape, generator=generator) < 0.15)
            assert int(chosen.sum()) == pytest.approx(0.15 * int(ordinary.sum()), rel=0.2)
            optimizer.zero_grad()
            labels = torch.where(chosen, ids, -100)
            loss = model(input_ids=torch.where(chosen, mask, ids), attention_mask=real.long(), labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for group in optimizer.param_groups:  # a tenth of the steps up, the others down
                group["lr"] = 5e-4 * min(1, (steps - step) / (0.9 * steps))
            optimizer.step()
    return float(loss.detach())


@pytest.mark.parametrize("chunk", [1 << 20, 300, 120])
def test_it_is_what_one_plain_computation_does(chunk: int, small: Path, tmp_path: Path) -> None:
    ours, theirs = (kit.trainer(kit.recipe(small), tmp_path / name) for name in ("ours", "theirs"))
    start = {name: p.detach().clone() for name, p in theirs.trainer.parameters.items()}
    expected = plainly(theirs, 4)
    assert warmed(ours, steps=4, chunk=chunk) == pytest.approx(expected, rel=1e-5)
    assert_same(ours.trainer.parameters, theirs.trainer.parameters, start)
    assert all(p.grad is None for p in ours.trainer.parameters.values())


def test_each_process_does_its_part(small: Path, tmp_path: Path) -> None:
    """Three of them, whose number does not divide the batch: together they see each document of it once. That two come to
    what one does is for tests/training/test_step.py."""
    seen = []
    for rank in range(3):
        made = kit.trainer(kit.recipe(small), tmp_path / str(rank))
        processes = made.trainer.processes
        processes.rank, processes.world = rank, 3
        processes.sum_ = lambda tensors: None  # type: ignore[method-assign]
        rows: list[int] = []
        made.student.documents.transformer.register_forward_pre_hook(
            lambda _, inputs, rows=rows: rows.append(len(inputs[0]))
        )
        warmed(made, chunk=1000)
        seen.append(sum(rows))
    assert sum(seen) == BATCH
    assert max(seen) - min(seen) <= 1


# -- memory ------------------------------------------------------------------------------------------------------------


def limited(made: kit.Made, tokens: int, call: int | None = None) -> list[int]:
    """Whoever gives the network more tokens lacks the memory, and so does one call. Returns what was given, growing."""
    given: list[int] = []

    def check(_: Any, inputs: tuple[Tensor, ...]) -> None:
        given.append(inputs[0].numel())
        if given[-1] > tokens or len(given) == call:
            raise torch.OutOfMemoryError("CUDA out of memory")

    made.student.documents.transformer.register_forward_pre_hook(check)
    return given


@pytest.mark.parametrize("call", [None, 8], ids=["at once", "within a step too"])
def test_memory_that_lacks_makes_chunks_smaller(call: int | None, small: Path, tmp_path: Path) -> None:
    whole, other = (kit.trainer(kit.recipe(small), tmp_path / name) for name in ("whole", "other"))
    start = {name: p.detach().clone() for name, p in whole.trainer.parameters.items()}
    given = limited(other, 1024, call)
    losses = [warmed(made, steps=5, chunk=1 << 12) for made in (whole, other)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert_same(other.trainer.parameters, whole.trainer.parameters, start)
    # 4096 and 2048 tokens at a time: tried once, not in each step. Padding counts.
    assert [one for one in given if one > 1024] == [24 * (4096 // 24), 24 * (2048 // 24)]


def test_memory_that_lacks_for_the_smallest_chunk_is_told(small: Path, tmp_path: Path) -> None:
    made = kit.trainer(kit.recipe(small), tmp_path)
    limited(made, 0)
    with pytest.raises(InvalidInput, match=r"^cpu has not the memory for 512 tokens at a time: set a smaller run\.max"):
        warmed(made, chunk=1 << 12)


# -- stopping and going on ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [(STAGE, 3), ("training", 1), ("training", 3)], ids=["within", "after", "far after"])
def test_a_resumed_training_tells_and_does_the_same(at: tuple[str, int], small: Path, tmp_path: Path) -> None:
    """Once the warm-up is done it is not done again; stopped within, it begins anew."""
    recipe = kit.recipe(small, start={"mlm_steps": 5, "rescale": 0.9}, run={"average": 0.9, "start_share": 0.1})
    whole = train(recipe, tmp_path / "whole")

    def interrupting(stage: str, done: int, total: int | None) -> None:
        if (stage, done) == at:
            raise kit.Interrupted

    with pytest.raises(kit.Interrupted):
        train(recipe, tmp_path / "stopped", progress=interrupting)
    stages: list[str] = []
    report = train(recipe, tmp_path / "stopped", resume=True, progress=lambda stage, *_: stages.append(stage))
    assert (STAGE in stages) == (at[0] == STAGE)
    assert data_of(tmp_path / "stopped") == data_of(tmp_path / "whole")
    assert data_of(tmp_path / "whole")["head_scale"] == 0.9
    assert np.isfinite(data_of(tmp_path / "whole")["mlm_loss"])
    assert report.outcome.best == whole.outcome.best
    assert kit.largest_difference(kit.weights_of(tmp_path / "whole"), kit.weights_of(tmp_path / "stopped")) == 0


def test_a_loss_that_is_no_number_is_told_and_nothing_of_it_kept(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lsr.training.warm_up.RATE", 1e30)
    with pytest.raises(Diverged, match=r"of masked language modelling is no number any more; try precision fp32"):
        train(kit.recipe(small, start={"mlm_steps": 5}), tmp_path / "model")
    assert not list(working_folder(tmp_path / "model").glob("checkpoint-*"))
