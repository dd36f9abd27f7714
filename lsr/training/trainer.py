"""The loop of training: one step after another, with evaluation, checkpoints and a log, and exact resume.

A step is a function of the recipe, the step's number and the parameters: batches are drawn from (seed, step), vectors of all
processes and chunks are gathered before the loss, so its losses and penalties mean the same however it is computed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lsr.errors import InvalidInput, LsrError, one_line
from lsr.training import checkpoint
from lsr.training.development import Development, Found
from lsr.training.log import Log
from lsr.training.materials import Materials
from lsr.training.objective import Objective
from lsr.training.processes import Processes
from lsr.training.rates import groups, scheduled
from lsr.training.recipe import Recipe
from lsr.training.regularizers import Penalty
from lsr.training.student import Student
from lsr.training.vectors import SMALLEST_CHUNK, Vectors, fitting

__all__ = ["Diverged", "Outcome", "Trainer"]

Rows = npt.NDArray[np.int64]
Progress = Callable[[str, int, int | None], None]
# Tokens, with padding, that go through the network at a time.
CHUNK_ON_GPU, CHUNK_ON_CPU = 1 << 16, 1 << 12


class Diverged(LsrError):
    """The loss is no number any more."""


@dataclass(kw_only=True)
class Outcome:
    """What came of it: the last and the best evaluation, with their steps, and seconds of the loop."""

    steps: int
    seconds: float
    last: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    loss: float = math.nan


class Trainer:
    """Trains `student` by its recipe. `folder` holds the log and the checkpoints.

    facts: what came before the first step, as the card says it; checkpoints keep it.
    """

    def __init__(
        self, recipe: Recipe, student: Student, materials: Materials, processes: Processes, folder: Path
    ) -> None:
        self.recipe, self.student, self.materials, self.processes = recipe, student, materials, processes
        self.folder, self.device, self.log = folder, processes.device, Log(folder)
        run = recipe.run
        if run.batch % processes.world:
            raise InvalidInput(f"run.batch is {run.batch}: it must be a multiple of the {processes.world} processes")
        gpu = self.device.type == "cuda"
        self.chunk = run.chunk or (CHUNK_ON_GPU if gpu else CHUNK_ON_CPU)
        self.recompute = bool(run.recompute)
        idf = student.idf.to(self.device)
        self.penalties = [Penalty(choice, run.steps, idf, self.device) for choice in recipe.regularizers]
        self.objective = Objective(recipe, student, materials, processes, self.penalties)
        self.parameters = dict(_distinct(student))
        self.optimizer = torch.optim.AdamW(
            groups(recipe, student, self.parameters),
            lr=run.learning_rate,
            betas=run.betas,
            weight_decay=run.weight_decay,
            fused=gpu,
        )
        self.average: dict[str, Tensor] = {}
        self.start: dict[str, Tensor] = {}
        self.restart()
        self.sums: dict[str, Tensor] = {}
        self.best: dict[str, Any] = {}
        self.last: dict[str, Any] = {}
        self.facts: dict[str, Any] = {}
        self.loss = math.nan
        self.step = 0

    def restart(self) -> None:
        """What the student has now is its start, and where averaged weights begin."""
        if self.recipe.run.average is not None:
            self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        if self.recipe.run.start_share:
            self.start = {name: p.detach().clone() for name, p in self.parameters.items()}

    # -- the loop ------------------------------------------------------------------------------------------------------

    def run(self, progress: Progress | None = None) -> Outcome:
        """All steps from where it stands. Raises `Diverged` when the loss is no number; the last checkpoint is from
        before."""
        steps, evaluate = self.recipe.run.steps, self.recipe.evaluate
        began = time.monotonic()
        try:
            while self.step < steps:
                self._step()
                self.step += 1
                done, final = self.step, self.step == steps
                if final or done % evaluate.log == 0:
                    self.loss = self._log(time.monotonic() - began)
                if progress is not None and self.processes.first:
                    progress("training", done, steps)
                if self.materials.development is not None and (final or done % evaluate.every == 0):
                    self.last = self._evaluate(self.materials.development)
                if final or done % evaluate.checkpoint == 0:
                    self.save()
        finally:
            self.log.close()
        seconds = time.monotonic() - began
        return Outcome(steps=steps, seconds=seconds, last=self.last, best=self.best, loss=self.loss)

    def _step(self) -> None:
        while not self._fits(self.recipe.run.batch):
            self._smaller()
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.recipe.run.clip or math.inf, foreach=True)
        self._add(norm=norm)
        rate = scheduled(self.recipe.run, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average:
            assert self.recipe.run.average is not None
            weight = 1 - min(self.recipe.run.average, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(list(self.average.values()), [p.detach() for p in self.parameters.values()], weight)

    def _fits(self, batch: int) -> bool:
        """Adds the gradients of the step's first `batch` queries; whether the memory was there. If not, nothing was
        added."""
        noted = dict(self.sums)
        try:
            # Before the first step the optimizer has not taken yet what it needs: two numbers a parameter.
            reserved = [] if self.optimizer.state else [p.new_empty(2 * p.numel()) for p in self.parameters.values()]
            self._gradients(batch)
            del reserved
            return True
        except torch.cuda.OutOfMemoryError:
            self.optimizer.zero_grad(set_to_none=True)
            self.sums = noted
        torch.cuda.empty_cache()  # outside the handler, whose traceback holds the tensors
        return False

    def _smaller(self) -> None:
        """After a GPU had not the memory: chunks are computed again for their gradients, then halved. The step stays
        the same. Raises `InvalidInput` with the batch that fits where nothing is left to halve."""
        if self.processes.world > 1:  # the others wait for what this one has not
            raise InvalidInput(
                f"{self.device} has not the memory for {self.chunk:,} tokens at a time: give a smaller run.chunk, "
                "run.recompute, or a smaller run.batch"
            )
        if not self.recompute:
            self.recompute = True
        elif self.chunk > SMALLEST_CHUNK:
            self.chunk = max(self.chunk // 2, SMALLEST_CHUNK)
        else:
            raise InvalidInput(
                f"{self.device} has not the memory for a batch of {self.recipe.run.batch:,} queries{self._advice()}"
            )

    def _advice(self) -> str:
        """Tries what fits."""
        batch = self.recipe.run.batch // 2
        while batch and not self._fits(batch):
            batch //= 2
        if batch:
            return f": set run.batch to {batch:,}, which fits"
        return ", nor for one: set a smaller run.max_length, draw fewer candidates, or take a smaller model"

    # -- a step --------------------------------------------------------------------------------------------------------

    def _gradients(self, batch: int) -> None:
        """Adds the gradients of the loss of the step's first `batch` queries to the parameters, those of all processes."""
        student, materials, processes = self.student, self.materials, self.processes
        queries, candidates = (rows[:batch] for rows in materials.batches.at(self.step))
        mine = processes.share(len(queries))
        own_queries, own_candidates = queries[mine], candidates[mine]
        documents = Vectors(
            student.documents,
            materials.documents,
            own_candidates.clip(min=0).ravel(),
            self.chunk,
            recompute=self.recompute,
        )
        asked = Vectors(student.queries, materials.queries, own_queries, self.chunk, recompute=self.recompute)
        all_documents = processes.gathered(documents.values).requires_grad_()
        all_queries = processes.gathered(asked.values).requires_grad_()
        with torch.enable_grad():
            loss, noted = self.objective(self.step, queries, candidates, mine, all_queries, all_documents)
        self._add(**noted)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [x.grad if x.grad is not None else torch.zeros_like(x) for x in (all_documents, all_queries)]
        processes.sum_(gradients)
        count = candidates.shape[1]
        documents.backward(gradients[0][mine.start * count : mine.stop * count])
        asked.backward(gradients[1][mine])
        processes.sum_([p.grad for p in self.parameters.values() if p.grad is not None])

    # -- what is noted -------------------------------------------------------------------------------------------------

    def _add(self, **values: Tensor) -> None:
        """Sums since the last line of the log, on the device."""
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()

    def _check(self) -> None:
        """Raises `Diverged` in all processes when a loss since the last line of the log was no number in one,
        or a parameter is none."""
        bad = (~torch.stack([p.detach().isfinite().all() for p in self.parameters.values()])).sum(dtype=torch.float32)
        bad = bad + self.sums.get("bad", 0)
        self.processes.sum_([bad])
        self._checked(float(bad))

    def _checked(self, bad: float) -> None:
        if not bad:
            return
        kept = checkpoint.latest(self.folder)
        step = 0 if kept is None else int(kept.name.rsplit("-", 1)[1])
        where = f"the checkpoint of step {step:,} is kept" if kept else "there is no checkpoint yet"
        raise Diverged(
            f"the loss is no number any more (before step {self.step:,}); {where}; try a lower run.learning_rate, a larger "
            "run.warmup or precision fp32"
        )

    def _log(self, seconds: float) -> float:
        """A line of the log: means since the last one. Returns the loss."""
        names = sorted(self.sums)
        values = [self.sums[name] for name in names]
        self.processes.sum_(values)
        bad = float(self.sums["bad"])
        steps = self.step % self.recipe.evaluate.log or self.recipe.evaluate.log
        means = {name: float(self.sums[name]) / steps for name in names if name != "bad"}
        means["norm"] = means["norm"] / self.processes.world
        self.sums = {}
        self._checked(bad)
        strengths = [float(penalty.strength) * penalty.ramp(self.step - 1) for penalty in self.penalties]
        rate = scheduled(self.recipe.run, self.step - 1)
        line = {"step": self.step, "seconds": round(seconds, 2), **means, "strength": strengths, "learning_rate": rate}
        if self.processes.first:
            self.log.write(line)
        return means["loss"]

    def _evaluate(self, development: Development) -> dict[str, Any]:
        """Figures of the student, with averaged weights where they are averaged; keeps the best."""
        with self._averaged():
            found = self._figures(development)
            if self.processes.first:
                self.log.write({"step": self.step, "evaluation": found.to_json()})
            if not self.best or found.ndcg > self.best["ndcg"]:
                self.best = {"step": self.step, **found.to_json()}
                if self.processes.first:
                    weights = {f"parameter.{name}": p for name, p in self.parameters.items()}
                    checkpoint.save(self.folder / "best", self.step, weights, self.best)
        return {"step": self.step, **found.to_json()}

    def _figures(self, development: Development) -> Found:
        return fitting(lambda tokens: self.student.figures(development, tokens, self.folder), self.chunk, self.device)[
            0
        ]

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Within it the student is as it will be used: without dropout, with the averaged weights where there are some."""
        training = self.student.training
        self.student.eval()
        kept = {name: self.parameters[name].detach().clone() for name in self.average}
        with torch.no_grad():
            for name, value in self.average.items():
                self.parameters[name].copy_(value)
        try:
            yield
        finally:
            self.student.train(training)
            with torch.no_grad():
                for name, value in kept.items():
                    self.parameters[name].copy_(value)

    # -- stopping and going on -----------------------------------------------------------------------------------------

    def save(self) -> None:
        """Writes a checkpoint. Raises `Diverged` in place of one with a number that is none."""
        self._check()
        if not self.processes.first:
            return
        tensors: dict[str, Tensor] = {f"parameter.{name}": p for name, p in self.parameters.items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        tensors |= {f"start.{name}": value for name, value in self.start.items()}
        for name, p in self.parameters.items():
            for key, value in self.optimizer.state.get(p, {}).items():
                tensors[f"optimizer.{key}.{name}"] = value
        for i, penalty in enumerate(self.penalties):
            tensors |= {f"penalty.{i}.{key}": value for key, value in penalty.state().items()}
        tensors |= {f"sum.{name}": value for name, value in self.sums.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        loss = self.loss if math.isfinite(self.loss) else None
        facts = {"best": self.best, "last": self.last, "facts": self.facts, "loss": loss}
        checkpoint.save(self.folder, self.step, tensors, facts)

    def resume(self) -> bool:
        """Goes on from the newest checkpoint; whether there was one."""
        place = checkpoint.latest(self.folder)
        if place is None:
            if self.processes.first:
                self.log.forget_after(0)
            return False
        try:
            self._load(*checkpoint.load(place), place)
        except (KeyError, TypeError, RuntimeError) as error:  # a part is missing, or of another form
            raise InvalidInput(
                f"{place}: the checkpoint is damaged ({one_line(error)[:120]}); train without --resume"
            ) from None
        if self.processes.first:
            self.log.forget_after(self.step)
        return True

    def _load(self, tensors: dict[str, Tensor], facts: dict[str, Any], place: Path) -> None:
        self._restore(tensors, place)
        for name, p in self.parameters.items():
            for key in ("step", "exp_avg", "exp_avg_sq"):
                if (value := tensors.get(f"optimizer.{key}.{name}")) is not None:
                    # The counter of steps is on the CPU but for the fused form.
                    here = key != "step" or self.device.type == "cuda"
                    self.optimizer.state[p][key] = value.to(p.device) if here else value
        for i, penalty in enumerate(self.penalties):
            penalty.load(_under(f"penalty.{i}.", tensors))
        self.sums = {name: value.to(self.device) for name, value in _under("sum.", tensors).items()}
        torch.set_rng_state(tensors["random.cpu"])
        if self.device.type == "cuda" and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)
        self.step, self.best, self.last, self.facts = facts["step"], facts["best"], facts["last"], facts["facts"]
        self.loss = math.nan if facts["loss"] is None else facts["loss"]

    def _restore(self, tensors: dict[str, Tensor], place: Path) -> None:
        with torch.no_grad():
            for name, p in self.parameters.items():
                found = tensors.get(f"parameter.{name}")
                if found is None or found.shape != p.shape:
                    raise InvalidInput(f"{place}: is of another model; train without --resume")
                p.copy_(found)
                if name in self.average and f"average.{name}" in tensors:
                    self.average[name].copy_(tensors[f"average.{name}"])
                if name in self.start and f"start.{name}" in tensors:
                    self.start[name].copy_(tensors[f"start.{name}"])

    def take_best(self) -> None:
        """The student gets the weights of the best evaluation, or the last, averaged ones where the recipe says so or nothing
        was evaluated, and its share of those it started with; then `best` is what these come to."""
        last = self.recipe.evaluate.keep == "last"
        place = None if last else checkpoint.latest(self.folder / "best")
        if last:
            self.best = self.last
        with torch.no_grad():
            if place is not None:
                self._restore(checkpoint.load(place)[0], place)
            else:
                for name, value in self.average.items():
                    self.parameters[name].copy_(value)
            for name, value in self.start.items():
                self.parameters[name].lerp_(value, self.recipe.run.start_share)
        if self.start and self.materials.development is not None:
            self.average = {}  # the student is what is evaluated
            self.best = {
                "step": self.best.get("step", self.step),
                **self._figures(self.materials.development).to_json(),
            }


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, without that."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _distinct(student: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Trained parameters by name, each once."""
    for name, parameter in student.named_parameters():
        if parameter.requires_grad:
            yield name, parameter
