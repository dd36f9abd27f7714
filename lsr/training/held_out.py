"""What a student is looked at with while it trains: a collection of its own, or queries held out of the training set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lsr.eval.datasets import open_dataset
from lsr.training.data import TrainingSet, development_split
from lsr.training.recipe import Recipe

__all__ = ["Judged", "judged_queries"]

HELD_OUT = 5  # one query in so many is held out at most


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A development set, not yet tokenised: queries by their place, {place: {row of a document: grade}}."""

    documents: list[str]
    queries: list[str]
    judged: dict[int, dict[int, int]]
    kind: dict[int, str]


def judged_queries(recipe: Recipe, training: TrainingSet) -> tuple[TrainingSet, Judged | None]:
    """The training set without the development set, which is a collection of its own or a part of it."""
    data = recipe.data
    if data.development is not None:
        dataset = open_dataset(str(recipe.path(data.development)))
        rows, texts = {}, []
        for row, document in enumerate(dataset.documents()):
            rows[document.id] = row
            texts.append(document.content)
        judged = {
            place: {rows[d]: grade for d, grade in dataset.qrels[query.id].items() if d in rows}
            for place, query in enumerate(dataset.queries)
        }
        kind = {place: _kind_of(query.id) for place, query in enumerate(dataset.queries)}
        asked = [query.text for query in dataset.queries]
        return training, Judged(documents=texts, queries=asked, judged=judged, kind=kind)
    if not data.held_out or not (training.positives >= 0).any():
        return training, None
    sizes = np.bincount(training.kind[training.positives >= 0], minlength=len(training.kinds)).tolist()
    # Of a small collection a part: there must be something to train on.
    share = max(1, data.held_out // len(training.kinds))
    counts = {name: min(share, size // HELD_OUT) for name, size in zip(training.kinds, sizes, strict=True)}
    rest, held = development_split(training, counts, recipe.seed)
    if not len(held.queries) or not len(rest.queries):
        return training, None
    return rest, _held_out(held, recipe)


def _kind_of(ident: str) -> str:
    """The kind of a query in a development folder: what stands before the number of its id."""
    return ident.rstrip("0123456789").rstrip("-_:") or "all"


def _held_out(held: TrainingSet, recipe: Recipe) -> Judged:
    """The held-out queries, over the documents that answer them and others by chance."""
    rng = np.random.default_rng([recipe.seed, 4])
    positives = np.unique(held.positives[held.positives >= 0])
    others = np.setdiff1d(np.arange(len(held.documents)), positives)
    count = min(len(others), max(0, recipe.evaluate.documents - len(positives)))
    rows = np.sort(np.concatenate([positives, rng.choice(others, count, replace=False)]))
    place = {int(row): i for i, row in enumerate(rows)}
    judged: dict[int, dict[int, int]] = {}
    first: dict[tuple[str, int], int] = {}
    for i, (text, kind, positive) in enumerate(zip(held.queries, held.kind, held.positives, strict=True)):
        judged.setdefault(first.setdefault((text, int(kind)), i), {})[place[int(positive)]] = 1
    return Judged(
        documents=[held.documents[row] for row in rows],
        queries=held.queries,
        judged=judged,
        kind={i: held.kinds[held.kind[i]] for i in judged},
    )
