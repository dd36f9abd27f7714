"""`train`: a recipe to a model in a folder."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lsr import disk
from lsr.encoders.layouts import is_model
from lsr.errors import InvalidInput, LsrError, OutputExists, StorageError
from lsr.training import masked
from lsr.training.cache import Cache
from lsr.training.card import card, readme, recipe_json
from lsr.training.imitation import imitate
from lsr.training.prepare import Prepared, prepare
from lsr.training.processes import Processes
from lsr.training.recipe import Recipe, read_recipe
from lsr.training.sparse_student import SparseStudent
from lsr.training.students import student_of
from lsr.training.teachers import SparseTeacher
from lsr.training.trainer import Outcome, Trainer

__all__ = ["Report", "train", "working_folder"]

Progress = Callable[[str, int, int | None], None]
MLM_STEPS = 2000  # for a new head, when the recipe does not say

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a training came to: the outcome of its loop, what the card says, and what looked wrong on the way."""

    outcome: Outcome
    card: dict[str, Any]
    warnings: tuple[str, ...]
    resumed: int


def working_folder(output: Path) -> Path:
    """Where a training keeps its checkpoints, log and cache until the model is written."""
    return output.with_name(f"{output.name}.training")


def train(
    recipe: Recipe | str | Path,
    output: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    cache: str | Path | None = None,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Trains the encoder of a recipe and writes it to the folder `output`, which `load_encoder` and
    sentence-transformers open.

    recipe: a `Recipe`, or the file of one.
    resume: go on from the last checkpoint of an interrupted training with the same recipe, exactly as if it had never
    stopped. overwrite: replace a model that is there, and throw away an interrupted training.
    device: "cuda", "cpu", ...; None takes a GPU if there is one. Under torchrun each process takes one.
    cache: folder for embeddings, tokens and candidates, to be used again by other recipes on the same data; beside the model,
      and removed at the end, when None.
    skip_bad: count lines of query files that cannot be read instead of refusing them.
    progress: called with (stage, done, total).

    Until it is done everything is in `working_folder(output)`: checkpoints, log.jsonl, what TensorBoard shows, the best
    weights so far.

    Raises `InvalidInput` for a recipe that cannot be trained, `OutputExists`, `Diverged` when the loss is no number any more,
    and what readers, teachers and models raise.
    """
    if not isinstance(recipe, Recipe):
        recipe = read_recipe(recipe)
    output = Path(output)
    processes = Processes(device)
    try:
        return _trained(recipe, output, processes, resume, overwrite, cache, skip_bad, progress)
    finally:
        processes.close()


def _trained(
    recipe: Recipe,
    output: Path,
    processes: Processes,
    resume: bool,
    overwrite: bool,
    cache: str | Path | None,
    skip_bad: bool,
    progress: Progress | None,
) -> Report:
    disk.check_name(output)
    if disk.exists(output):
        if not overwrite:
            raise OutputExists(f"{output}: is there already; choose another name, or give --overwrite")
        if not is_model(output):
            raise OutputExists(f"{output}: is no model, and is not replaced by one; choose another name")
    work = working_folder(output)
    processes.first_then_all(lambda: _begin(work, recipe, processes.first, resume, overwrite))
    torch.manual_seed(recipe.seed)
    precision = recipe.run.precision or ("bf16" if processes.device.type == "cuda" else "fp32")
    try:
        # The first process writes a bundled encoder where the others find it.
        student = processes.first_then_all(lambda: student_of(recipe, work / "scratch", precision))
        kept = Cache(cache or work / "cache")
        prepared = prepare(recipe, student, processes, kept, skip_bad=skip_bad, progress=progress)
        torch.manual_seed(recipe.seed)  # what teachers drew depends on what was cached
        trainer = Trainer(recipe, student, prepared.materials, processes, work)
    except LsrError:  # nothing was trained that could be gone on with
        if processes.first and not resume:
            shutil.rmtree(work, ignore_errors=True)
        raise
    for warning in prepared.warnings:
        logger.warning("%s", warning)
    if not (resume and trainer.resume()) and isinstance(student, SparseStudent):
        _warm_up(recipe, student, trainer, prepared, progress)
    resumed = trainer.step
    outcome = trainer.run(progress)
    found: dict[str, Any] = {}
    if processes.first:
        student.eval()
        trainer.take_best()
        outcome.best = trainer.best
        found = card(recipe, student, {**prepared.facts, **trainer.facts}, outcome, processes, precision)
        _write(trainer, found, work, output)
    warnings = [*prepared.warnings, *outcome.last.get("warnings", ())]
    return Report(outcome=outcome, card=found, warnings=tuple(warnings), resumed=resumed)


def _begin(work: Path, recipe: Recipe, first: bool, resume: bool, overwrite: bool) -> None:
    """Makes the working folder, or finds the one of an interrupted training of the same recipe."""
    if not first:
        return
    told = recipe_json(recipe)
    path = work / "recipe.json"
    if disk.exists(work):
        if resume and path.is_file():
            try:
                same = json.loads(path.read_text(encoding="utf-8")) == told
            except ValueError:
                raise InvalidInput(f"{path}: is damaged; remove {work}, or train without --resume") from None
            if not same:
                raise InvalidInput(
                    f"{work}: the interrupted training had another recipe; remove it, or train without --resume"
                )
            return
        if not path.is_file() and (not work.is_dir() or any(work.iterdir())):
            raise OutputExists(f"{work}: is in the way, and not of a training; move it, or choose another name")
        if not (resume or overwrite):
            raise OutputExists(
                f"{work}: a training was interrupted; go on with --resume, or give --overwrite to begin anew"
            )
        disk.remove_tree(work)
    try:
        work.parent.mkdir(parents=True, exist_ok=True)
        disk.make_folder(work)
        disk.write_new(path, json.dumps(told, indent=1).encode())
    except OSError as error:
        raise StorageError(f"{work}: cannot be made ({error.strerror or error})") from None


def _warm_up(
    recipe: Recipe, student: SparseStudent, trainer: Trainer, prepared: Prepared, progress: Progress | None
) -> None:
    """What comes before the first step: masked language modelling for a new head, the zero of its logits, a smaller head
    where it is too large, and imitation of another encoder. A checkpoint of step 0 keeps what took long."""
    processes = trainer.processes
    steps = recipe.start.mlm_steps
    if steps is None:
        steps = MLM_STEPS if student.new_head else 0
    documents = prepared.materials.documents
    count = prepared.facts["documents"]
    models = steps > 0 and recipe.document.kind != "mlp"
    if models:
        special = torch.zeros(student.vocabulary.dim, dtype=torch.bool, device=processes.device)
        special[sorted(student.vocabulary.special)] = True
        mask = student.vocabulary.id_of("[MASK]")
        mask = student.vocabulary.id_of("<mask>") if mask is None else mask
        trainer.facts["mlm_loss"] = masked.warm_up(
            student.documents.transformer,
            documents,
            count,
            steps=steps,
            mask=mask,
            special=special,
            seed=recipe.seed,
            chunk=trainer.chunk,
            processes=processes,
            progress=progress if processes.first else None,
        )
    rows = np.random.default_rng([recipe.seed, 5]).choice(count, min(64, count), replace=False)
    some = documents.batch(np.sort(rows))
    trainer.facts["head_scale"] = student.rescale(*some)
    if student.new_head:
        trainer.facts["head_lowered_by"] = student.lower(*some)
    if recipe.start.imitate is not None:
        trainer.facts["imitation_loss"] = imitate(
            student.documents,
            _imitated(recipe, student, prepared),
            documents,
            count,
            steps=recipe.start.imitate_steps,
            seed=recipe.seed,
            chunk=trainer.chunk,
            processes=processes,
            progress=progress if processes.first else None,
        )
    trainer.restart()
    if models or recipe.start.imitate is not None:
        trainer.save()


def _imitated(recipe: Recipe, student: SparseStudent, prepared: Prepared) -> SparseTeacher:
    """The teacher that `start.imitate` names. Raises `InvalidInput` for one of another vocabulary."""
    ensemble = prepared.materials.ensemble
    assert ensemble is not None
    found = next(teacher for teacher in ensemble.teachers if teacher.name == recipe.start.imitate)
    assert isinstance(found, SparseTeacher)
    if found.vocabulary.tokens != student.vocabulary.tokens:
        raise InvalidInput(
            f"start.imitate: {found.name} has {found.vocabulary.dim:,} terms, and they are not those of the start model;"
            " imitate an encoder with the same tokenizer"
        )
    return found


def _write(trainer: Trainer, found: dict[str, Any], work: Path, output: Path) -> None:
    """The model, its card and its log; the working folder goes when they are there."""
    ready = work / "model"
    if disk.exists(ready):
        disk.remove_tree(ready)
    trainer.student.save(work / "written", ready)
    disk.write_new(ready / "training.json", (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
    disk.write_new(ready / "README.md", readme(found).encode())
    trainer.log.copy(ready)
    disk.sync_folder(ready)
    if disk.exists(output):
        if disk.exchange(ready, output):
            disk.remove_tree(ready)
        else:
            disk.remove_tree(output)
            disk.rename(ready, output)
    else:
        disk.rename(ready, output)
    disk.sync_folder(output.parent)
    shutil.rmtree(work, ignore_errors=True)
