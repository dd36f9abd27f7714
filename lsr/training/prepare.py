"""From a recipe to what a trainer works with: data read, tokenised, scored by teachers, mined; all that takes long is
cached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lsr.encoders.idf import idf
from lsr.errors import InvalidInput
from lsr.training.batches import Batches
from lsr.training.cache import Cache, texts_hash
from lsr.training.candidates import Candidates, mine
from lsr.training.data import (
    MadeQueries,
    QuerySource,
    TokenStore,
    TrainingSet,
    load_training_set,
)
from lsr.training.development import Development
from lsr.training.held_out import Judged, judged_queries
from lsr.training.materials import Materials
from lsr.training.processes import Processes
from lsr.training.recipe import Recipe, TeacherChoice
from lsr.training.student import Student
from lsr.training.teachers import (
    BM25Teacher,
    CrossEncoderTeacher,
    DenseTeacher,
    Ensemble,
    MatrixTeacher,
    MultiVectorTeacher,
    PairTeacher,
    ScoreFile,
    SparseTeacher,
    Teacher,
)

__all__ = ["Prepared", "prepare"]

Progress = Callable[[str, int, int | None], None]
Rows = npt.NDArray[np.int64]
SAMPLE = 512  # queries whose targets are looked at before training


@dataclass(kw_only=True)
class Prepared:
    """What training needs, what the card says of it, and what looked odd."""

    materials: Materials
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def prepare(
    recipe: Recipe,
    student: Student,
    processes: Processes,
    cache: Cache,
    *,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> Prepared:
    """Reads, tokenises, teaches and mines; builds `student`, whose IDF comes from the documents, on the device.

    Raises as the readers and teachers do, and `InvalidInput` for queries without any candidate, or targets that teach
    nothing.
    """
    report = progress if progress is not None and processes.first else lambda stage, done, total: None
    training = _training_set(recipe, skip_bad, report)
    training, judged = judged_queries(recipe, training)
    length = min(recipe.run.max_length or recipe.document.max_length, recipe.document.max_length)
    documents = _tokens(student, "document", training.documents, length, cache, report)
    queries = _tokens(student, "query", training.queries, recipe.query.max_length, cache, report)
    dim = student.vocabulary.dim
    student.build(lambda: _idf(student, documents, dim))
    student.to(processes.device)
    teachers = _teachers(recipe, student, training, processes.device, cache)
    for number, teacher in enumerate(teachers):
        report("preparing teachers", number, len(teachers))
        _prepared(teacher, training, processes)
    candidates = _candidates(recipe, training, teachers, cache, report)
    usable, without = _usable(candidates, training)
    pairs = [teacher for teacher in teachers if isinstance(teacher, PairTeacher)]
    pair_scores = None
    if pairs:
        fixed = _Fixed(candidates.sample(np.arange(len(training.queries)), np.random.default_rng([recipe.seed, 3])))
        pair_scores = _pair_scores(pairs, training.queries, fixed.rows, processes.device)
    else:
        fixed = None
    batches = Batches(
        usable,
        training.kind,
        training.shares,
        candidates if fixed is None else fixed,
        steps=recipe.run.steps,
        batch=recipe.run.batch,
        seed=recipe.seed,
    )
    ensemble = _ensemble(recipe, teachers)
    materials = Materials(
        documents=documents.to(processes.device),
        queries=queries.to(processes.device),
        batches=batches,
        ensemble=ensemble,
        positives=training.positives,
        development=_tokenised(student, judged, recipe, cache, processes.device),
        pair_scores=pair_scores,
    )
    warnings = _checked_targets(ensemble, batches, pair_scores, recipe, processes.device) if recipe.loss.taught else []
    if processes.device.type == "cuda":
        torch.cuda.empty_cache()  # what the teachers' networks held
    facts = _facts(training, documents, batches, teachers, without, judged)
    return Prepared(materials=materials, facts=facts, warnings=warnings)


# -- data --------------------------------------------------------------------------------------------------------------


def _training_set(recipe: Recipe, skip_bad: bool, progress: Progress) -> TrainingSet:
    data = recipe.data
    if not data.documents:
        raise InvalidInput("data.documents: name the documents to train on")
    queries = [
        QuerySource(recipe.path(one.file), one.kind or Path(one.file).name.split(".")[0], one.share, one.inflect)
        for one in data.queries
    ]
    made = [
        MadeQueries(one.kind, one.count, inflect=one.inflect, kind=one.name or "", share=one.share) for one in data.made
    ]
    sources = [recipe.path(name) for name in data.documents]
    return load_training_set(sources, queries, made, skip_bad=skip_bad, seed=recipe.seed, progress=progress)


def _tokens(
    student: Student, side: str, texts: Sequence[str], max_length: int, cache: Cache, progress: Progress
) -> TokenStore:
    made: list[TokenStore] = []
    if prompt := student.prompt(side):
        texts = [prompt + text for text in texts]
    key = {
        "what": "tokens",
        "tokenizer": texts_hash([student.tokenizer_json]),  # its vocabulary says nothing of how it cuts texts
        "texts": texts_hash(texts),
        "max_length": max_length,
    }

    def array(name: str) -> Callable[[], npt.NDArray[Any]]:
        def make() -> npt.NDArray[Any]:
            if not made:
                made.append(TokenStore.of(texts, student.tokenizer_json, max_length, progress))
            return made[0].to_arrays()[name]

        return make

    names = ("ids", "starts", "special", "numbers")
    return TokenStore.from_arrays({name: cache.array({**key, "array": name}, array(name)) for name in names})


def _idf(student: Student, documents: TokenStore, dim: int) -> npt.NDArray[np.float32]:
    table = idf(documents.document_frequencies(dim), len(documents))
    table[sorted(student.vocabulary.special)] = 0
    return table


def _tokenised(
    student: Student, judged: Judged | None, recipe: Recipe, cache: Cache, device: torch.device
) -> Development | None:
    if judged is None:
        return None
    quiet: Progress = lambda stage, done, total: None  # noqa: E731
    documents = _tokens(student, "document", judged.documents, recipe.document.max_length, cache, quiet)
    queries = _tokens(student, "query", judged.queries, recipe.query.max_length, cache, quiet)
    return Development(
        documents=documents.to(device),
        queries=queries.to(device),
        count=len(judged.documents),
        judged=judged.judged,
        kind=judged.kind,
    )


# -- teachers and candidates -------------------------------------------------------------------------------------------


def _teachers(
    recipe: Recipe, student: Student, training: TrainingSet, device: torch.device, cache: Cache
) -> list[Teacher]:
    found = []
    for choice in recipe.teachers:
        teacher = _teacher(choice, recipe, student, training, device, cache)
        teacher.name = choice.called
        found.append(teacher)
    return found


def _teacher(
    choice: TeacherChoice,
    recipe: Recipe,
    student: Student,
    training: TrainingSet,
    device: torch.device,
    cache: Cache,
) -> Teacher:
    if choice.kind == "bm25":
        tokenizer = student.tokenizer_json if choice.tokens == "wordpieces" else None
        return BM25Teacher(device=device, tokens=choice.tokens, tokenizer_json=tokenizer, cache=cache)
    assert choice.model is not None
    model = recipe.model(choice.model)
    if choice.kind == "scores":
        rows = {text: row for row, text in reversed(list(enumerate(training.queries)))}
        return ScoreFile(model, rows, {ident: row for row, ident in enumerate(training.document_ids)})
    common: dict[str, Any] = {"device": device, "max_length": choice.max_length, "cache": cache}
    if choice.kind == "sparse":
        return SparseTeacher(model, precision=choice.precision, **common)
    kinds = {"dense": DenseTeacher, "cross-encoder": CrossEncoderTeacher, "multivector": MultiVectorTeacher}
    return kinds[choice.kind](model, precision=choice.precision, **common)  # type: ignore[no-any-return]


def _prepared(teacher: Teacher, training: TrainingSet, processes: Processes) -> None:
    """The first process fills the cache, the others read it."""
    processes.first_then_all(lambda: teacher.prepare(training.queries, training.documents))


def _candidates(
    recipe: Recipe, training: TrainingSet, teachers: Sequence[Teacher], cache: Cache, progress: Progress
) -> Candidates:
    choice = recipe.candidates
    miners = [teacher for teacher in teachers if isinstance(teacher, MatrixTeacher)]
    if choice.miners:
        miners = [teacher for teacher in miners if teacher.name in choice.miners]
        if len(miners) < len(choice.miners):
            raise InvalidInput("candidates.miners: only dense, sparse and bm25 teachers can mine")
    count = len(training.queries)
    if miners:
        progress("mining candidates", 0, None)
        depth = min(choice.depth, len(training.documents))
        rows = mine(miners, count, len(training.documents), depth, cache=cache)
    else:
        rows = _given_negatives(training, choice.depth)
    return Candidates(
        _widened(rows, max((last for _, last, _ in choice.strata), default=0)),
        training.positives,
        strata=choice.strata,
        random=choice.random,
        n_documents=len(training.documents),
    )


def _given_negatives(training: TrainingSet, depth: int) -> npt.NDArray[np.int32]:
    """Without a miner the candidates are the negatives that files of queries name."""
    sizes = np.minimum(np.diff(training.negative_starts), depth)
    rows = np.full((len(training.queries), max(1, int(sizes.max(initial=1)))), -1, np.int32)
    for q in np.flatnonzero(sizes):
        start = training.negative_starts[q]
        rows[q, : sizes[q]] = training.negatives[start : start + sizes[q]]
    return rows


def _widened(rows: npt.NDArray[np.int32], depth: int) -> npt.NDArray[np.int32]:
    """Padded with -1: strata may reach beyond the documents that there are."""
    missing = depth - rows.shape[1]
    return rows if missing <= 0 else np.pad(rows, ((0, 0), (0, missing)), constant_values=-1)


def _usable(candidates: Candidates, training: TrainingSet) -> tuple[Rows, int]:
    """The queries that have a document to compare with, and how many have none."""
    without = np.asarray(candidates.without(), np.int64)
    usable = np.setdiff1d(np.arange(len(training.queries)), without)
    if not len(usable):
        raise InvalidInput(
            "none of the queries has a candidate: name a dense, sparse or bm25 teacher that can mine some, or give "
            "positives"
        )
    return usable, len(without)


@dataclass(frozen=True)
class _Fixed:
    """The same candidates each time: teachers that see pairs are asked once."""

    rows: Rows

    def sample(self, queries: Rows, rng: np.random.Generator) -> Rows:
        return self.rows[queries]


def _pair_scores(
    teachers: Sequence[PairTeacher], queries: Sequence[str], rows: Rows, device: torch.device
) -> Callable[[Rows, Rows], Tensor]:
    """Scores of the pair teachers for fixed candidates, float32 [P, Q, K], given out as [P, B, K]."""
    there = rows >= 0
    # A query with several positives has several rows; a file of scores knows its text.
    place: dict[str, int] = {}
    first = np.array([place.setdefault(text, row) for row, text in enumerate(queries)], np.int64)
    asked = np.repeat(first, rows.shape[1])[there.ravel()]
    wanted = rows.ravel()[there.ravel()]
    tables = []
    for teacher in teachers:
        table = np.full(rows.size, np.nan, np.float32)
        table[there.ravel()] = teacher.pairs(asked, wanted)
        tables.append(table.reshape(rows.shape))
    scores = np.stack(tables)
    return lambda queries, own: torch.from_numpy(scores[:, queries]).to(device)


def _ensemble(recipe: Recipe, teachers: Sequence[Teacher]) -> Ensemble | None:
    if not teachers:
        return None
    weights = [choice.weight for choice in recipe.teachers]
    distillation = recipe.distillation
    return Ensemble(teachers, weights, distillation.normalize, distillation.scale)


def _checked_targets(
    ensemble: Ensemble | None,
    batches: Batches,
    pair_scores: Callable[[Rows, Rows], Tensor] | None,
    recipe: Recipe,
    device: torch.device,
) -> list[str]:
    """Looks at the targets of some queries before hours are spent on them. Returns what looks odd, refuses what teaches
    nothing."""
    assert ensemble is not None
    steps = min(recipe.run.steps, -(-SAMPLE // recipe.run.batch))
    first = [batches.at(step) for step in range(steps)]
    queries, candidates = (np.concatenate(parts)[:SAMPLE] for parts in zip(*first, strict=True))
    pairs = None if pair_scores is None else pair_scores(queries, candidates)
    asked, found = (torch.from_numpy(rows).to(device) for rows in (queries, candidates))
    if ensemble.normalize == "affine":
        ensemble.calibrate(asked, found, pairs)
    findings = ensemble.check(asked, found, pairs)
    findings.refuse()
    return findings.warnings


def _facts(
    training: TrainingSet,
    documents: TokenStore,
    batches: Batches,
    teachers: Sequence[Teacher],
    without: int,
    judged: Judged | None,
) -> dict[str, Any]:
    """What the card says of the data."""
    sizes = np.bincount(training.kind, minlength=len(training.kinds))
    return {
        "documents": len(training.documents),
        "documents_hash": texts_hash(training.documents),
        "tokens": int(documents.starts[-1]),
        "documents_cut": int(documents.cut),
        "queries": len(training.queries),
        "queries_hash": texts_hash(training.queries),
        "queries_without_candidates": without,
        "kinds": {
            name: {"queries": int(size), "share": round(float(share), 4)}
            for name, size, share in zip(training.kinds, sizes, batches.shares, strict=True)
        },
        "skipped": training.skipped,
        "dropped": training.dropped,
        "teachers": [teacher.name for teacher in teachers],
        "development": None if judged is None else {"documents": len(judged.documents), "queries": len(judged.judged)},
    }
