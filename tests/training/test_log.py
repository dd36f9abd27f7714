"""The log of a training, as lines and as TensorBoard shows it: each step once, whatever was interrupted."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lsr.training import train, working_folder
from tests.training import kit

CHANGES: dict[str, Any] = {
    "regularizers": [{"kind": "flops", "strength": 0.3, "ramp": 0}, {"kind": "l1", "strength": 0.1}],
    "run": {"steps": 6},
    "evaluate": {"every": 3, "checkpoint": 2, "log": 1},
}
FIGURES = {"ndcg", "nnz", "nnz_p50", "nnz_p95", "flops", "document_flops", "longest_list"}

Curves = dict[str, list[tuple[int, Any]]]


def shown(folder: Path) -> Curves:
    """The curves that TensorBoard reads from a folder: steps and values."""
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: no events are written")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def told(folder: Path) -> Curves:
    """The same from the lines."""
    found: Curves = {}
    for line in kit.log_of(folder):
        evaluation = line.get("evaluation")
        if evaluation is None:
            one = {f"training/{name}": value for name, value in line.items() if name not in ("step", "seconds")}
            strengths = one.pop("training/strength")
            one |= {"training/strength_0": strengths[0], "training/strength_1": strengths[1]}
        else:
            one = {f"evaluation/{name}": evaluation[name] for name in FIGURES}
            one |= {f"evaluation/ndcg/{kind}": value for kind, value in evaluation["kinds"].items()}
        for tag, value in one.items():
            found.setdefault(tag, []).append((line["step"], pytest.approx(value, rel=1e-6)))
    return found


@pytest.mark.parametrize("at", [[], [1], [3, 5]], ids=["at once", "before a checkpoint", "twice after one"])
def test_tensorboard_shows_the_lines_of_the_log(at: list[int], small: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    work, recipe = working_folder(output), kit.recipe(small, **CHANGES)
    for number, last in enumerate(at):

        def looking(stage: str, done: int, total: int | None, last: int = last) -> None:
            if stage == "training" and done == last:
                # While it goes on all that was logged is to be seen, what will be done again too.
                curves = shown(work / "tensorboard")
                assert curves == told(work)
                assert curves["training/loss"][-1][0] == last
                raise kit.Interrupted

        with pytest.raises(kit.Interrupted):
            train(recipe, output, resume=number > 0, progress=looking)
    train(recipe, output, resume=bool(at))
    curves = shown(output / "tensorboard")
    assert curves == told(output)
    assert [step for step, _ in curves["training/learning_rate"]] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in curves["evaluation/ndcg/queries"]] == [3, 6]
    assert {f"training/{name}" for name in ("loss", "kl", "block_kl", "penalty_0", "penalty_1", "nnz")} < curves.keys()


def test_the_learning_rate_is_that_of_the_step(small: Path, tmp_path: Path) -> None:
    """AdamW's first step is as long as its rate, wherever the gradient is not small."""
    one_step = {"steps": 4, "warmup": 0.5, "learning_rate": 0.01, "weight_decay": 0, "clip": 0}
    made = kit.trainer(kit.recipe(small, run=one_step, data={"held_out": 0}), tmp_path)
    (name,) = [name for name in made.trainer.parameters if name.endswith("transformer.table")]
    seen = [made.trainer.parameters[name].detach().clone()]
    made.trainer.run(lambda *_: seen.append(made.trainer.parameters[name].detach().clone()))
    rates = [line["learning_rate"] for line in kit.log_of(tmp_path)]
    assert rates == pytest.approx([0.005, 0.01, 0.01, 0.005])
    assert float((seen[1] - seen[0]).abs().max()) == pytest.approx(rates[0], rel=1e-3)


def test_without_tensorboard_there_are_the_lines_alone(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    output = tmp_path / "model"
    train(kit.recipe(small, **CHANGES), output)
    assert not (output / "tensorboard").exists()
    assert [line["step"] for line in kit.steps_of(output)] == [1, 2, 3, 4, 5, 6]
    assert json.loads((output / "training.json").read_text(encoding="utf-8"))["steps"] == 6
