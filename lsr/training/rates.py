"""Who learns at which rate, and when: groups of parameters, and the schedule of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from lsr.training.recipe import Recipe, Run
from lsr.training.student import Student

__all__ = ["groups", "scheduled"]


def groups(recipe: Recipe, student: Student, parameters: Mapping[str, nn.Parameter]) -> list[dict[str, Any]]:
    """Groups of an optimizer, `factor` being what the learning rate is multiplied by: weights decay, biases and
    normalisation do not; a trained table has a rate of its own."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    table: list[nn.Parameter] = []
    of_table = {id(p) for p in student.queries.parameters()} if recipe.query.kind == "idf" else set()
    for parameter in parameters.values():
        chosen = table if id(parameter) in of_table else decayed if parameter.ndim > 1 else plain
        chosen.append(parameter)
    own = recipe.query.learning_rate / max(recipe.run.learning_rate, 1e-12)
    found = [
        {"params": decayed, "factor": 1.0},
        {"params": plain, "factor": 1.0, "weight_decay": 0.0},
        {"params": table, "factor": own, "weight_decay": 0.0},
    ]
    return [group for group in found if group["params"]]


def scheduled(run: Run, step: int) -> float:
    """The learning rate at a step: it rises over the warm-up, then falls as `run.schedule` says."""
    warm = max(1, round(run.warmup * run.steps))
    if step < warm:
        return run.learning_rate * (step + 1) / warm
    done = (step - warm) / max(1, run.steps - warm)
    if run.schedule == "linear":
        return run.learning_rate * (1 - done)
    return run.learning_rate * (0.5 * (1 + math.cos(math.pi * done)) if run.schedule == "cosine" else 1.0)
