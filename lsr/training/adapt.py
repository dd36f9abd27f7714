"""The recipe that fits an encoder to a collection without labels: `lsr train --corpus`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lsr.encoders import load_encoder
from lsr.errors import InvalidInput
from lsr.training.recipe import (
    Candidates,
    Data,
    Evaluate,
    Made,
    QuerySide,
    Recipe,
    Regularizer,
    Run,
    Start,
    TeacherChoice,
    read_recipe,
)

__all__ = ["recipe_for"]

START = "lsr-tiny"


def recipe_for(
    path: str | Path | None = None,
    *,
    corpus: tuple[str, ...] = (),
    teachers: tuple[str, ...] = (),
    start: str | None = None,
    steps: int | None = None,
    name: str | None = None,
) -> Recipe:
    """The recipe of a file, or the one that fits an encoder to documents; `start` and `steps` replace what it says.

    teachers: dense models beside the start and BM25; folders or hub ids, of sentence-transformers.
    Raises `InvalidInput` when neither or both are given, or teachers beside the recipe of a file.
    """
    if (path is None) == (not corpus):
        raise InvalidInput("give either a recipe, or --corpus with documents to fit an encoder to")
    if path is not None and teachers:
        raise InvalidInput("--teacher goes with --corpus: a recipe names its teachers itself")
    recipe = read_recipe(path) if path is not None else _adapting(corpus, teachers, start or START, name or "adapted")
    if start is not None:
        recipe = replace(recipe, start=replace(recipe.start, model=start))
    if steps is not None:
        if steps < 1:
            raise InvalidInput(f"steps is {steps}: it must be 1 or more")
        recipe = replace(recipe, run=replace(recipe.run, steps=steps))
    return recipe


def _adapting(corpus: tuple[str, ...], teachers: tuple[str, ...], start: str, name: str) -> Recipe:
    """Queries made of the documents in four ways; the start model itself and BM25 are the teachers.

    Small enough for a laptop. The start is a teacher so that what it knows is kept, BM25 brings in the words of the
    collection; and half of the start stays in the weights, for a model of so few steps on made queries forgets more than it
    learns (docs/quality.md has what it lost without). Queries are weighed by the start's table, where it has one, otherwise
    by the IDF of the documents.
    """
    return Recipe(
        name=name,
        start=Start(model=start),
        query=QuerySide(kind="idf", idf="start" if load_encoder(start).inference_free else "corpus"),
        data=Data(
            documents=corpus,
            made=(
                Made(kind="sentences", share=0.4),
                Made(kind="keywords", share=0.2),
                Made(kind="titles", share=0.2),
                Made(kind="spans", share=0.2),
            ),
            held_out=400,
        ),
        teachers=(
            *(TeacherChoice(kind="dense", model=model) for model in teachers),
            TeacherChoice(kind="sparse", model=start, name="start"),
            TeacherChoice(kind="bm25"),
        ),
        candidates=Candidates(depth=50, strata=((1, 10, 2), (11, 50, 1)), random=1),
        regularizers=(Regularizer(kind="flops", strength=0.002, ramp=0.1),),
        run=Run(steps=400, batch=16, max_length=128, learning_rate=1e-4, average=0.99, start_share=0.5),
        evaluate=Evaluate(every=100, checkpoint=100, log=20, documents=1500),
    )
