"""Runs pipelines over questions, stage by stage, and computes nothing twice.

What a stage makes for a question has a key: a hash of the documents, of the question, and of the identities of all stages
up to it. So two pipelines that differ only in their reranker share what comes before it, in one run, in a study, and on
the disk. A failure is never kept."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import xxhash

from lsr.corpus import Document
from lsr.errors import InvalidInput
from lsr.rag.blobs import Blobs
from lsr.rag.coding import decoded, decoded_passages, encoded, encoded_passages
from lsr.rag.pipeline import Pipeline
from lsr.rag.resources import Resources
from lsr.rag.stages.base import (
    FAMILIES,
    Augmentation,
    Chunking,
    Compression,
    Evidence,
    Filter,
    Generation,
    Preparation,
    Prompting,
    QueryTransform,
    Reranking,
    Results,
    Retrieval,
    Revision,
    Stage,
    alone,
)
from lsr.rag.types import Answer, Failure, Made, Passage, Passages, Prompt, Queries, Usage

__all__ = ["Outcome", "Runner", "Step", "documents_key"]

_CORPORA = 16  # sets of passages that are held


@dataclass(frozen=True, slots=True)
class Step:
    """One stage for one question: the seconds that it took when it was done (a share of its batch's), what it consumed, and
    whether that was now or read from the cache."""

    stage: str
    seconds: float
    usage: Usage
    cached: bool
    given: int
    made: int


@dataclass(slots=True)
class Outcome:
    """What became of one question. `failure` says why there is no answer; what stages before made is there nevertheless."""

    question: str
    queries: Queries | None = None
    found: Evidence = ()
    prompt: Prompt | None = None
    answer: Answer | None = None
    failure: Failure | None = None
    steps: list[Step] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return sum(step.seconds for step in self.steps)

    @property
    def usage(self) -> Usage:
        return sum((step.usage for step in self.steps), Usage())

    @property
    def citations(self) -> Evidence:
        """The evidence that the answer cites."""
        if self.answer is None or self.prompt is None:
            return ()
        return tuple(self.prompt.context[number - 1] for number in self.answer.citations)


def documents_key(documents: Mapping[str, Document]) -> str:
    """A hash of ids, titles, texts and metadata, in their order."""
    digest = xxhash.xxh3_128()
    for document in documents.values():
        about = [document.id, document.title, document.text, document.metadata]
        raw = json.dumps(about, sort_keys=True, default=str).encode()
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.hexdigest()


class Runner:
    """Pipelines over one corpus.

    cache: where results are kept; None keeps none beyond the passages in use. May be shared between threads. `stage_runs`
    counts the results of stages that were computed, `stage_hits` those that were read, a stage and question each.
    """

    def __init__(self, documents: Mapping[str, Document], resources: Resources, cache: Blobs | None = None) -> None:
        if not documents:
            raise InvalidInput("a pipeline needs documents: the corpus is empty")
        self.documents, self.resources, self.cache = documents, resources, cache
        self.key = documents_key(documents)
        self.stage_runs = self.stage_hits = 0
        self._passages: dict[str, tuple[Passages, Usage]] = {}

    # -- passages ------------------------------------------------------------------------------------------------------

    def passages(self, pipeline: Pipeline) -> Passages:
        """The passages that a pipeline searches. Raises `InvalidInput` where there are none, and as its stages do."""
        return self._corpus(pipeline)[0]

    def preparation(self, pipeline: Pipeline) -> Usage:
        """What making the passages of a pipeline consumed of a generator, once for the corpus."""
        return self._corpus(pipeline)[1]

    def _corpus(self, pipeline: Pipeline) -> tuple[Passages, Usage]:
        chunking, preparation = pipeline.get("chunk"), pipeline.get("prepare")
        assert isinstance(chunking, Chunking), "a pipeline is complete before it runs"
        chunked = _digest(self.key, chunking.identity(self.resources))
        key = chunked if preparation is None else _digest(chunked, preparation.identity(self.resources))
        if key not in self._passages:
            pieces = [
                passage for document in self.documents.values() for passage in chunking.chunk(document, self.resources)
            ]
            if not pieces:
                raise InvalidInput(f"{chunking.name} makes no passage of this corpus: its texts are empty")
            made, usage = Passages(pieces, self.documents, chunked), Usage()
            if isinstance(preparation, Preparation):
                prepared, usage = self._prepared(preparation, made, key)
                made = Passages(prepared, self.documents, key)
            while len(self._passages) >= _CORPORA:
                del self._passages[next(iter(self._passages))]
            self._passages[key] = made, usage
        return self._passages[key]

    def _prepared(self, stage: Preparation, passages: Passages, key: str) -> tuple[list[Passage], Usage]:
        """The passages that a stage makes; those of a generator are kept on the disk."""
        kept = self.cache is not None and "generator" in stage.needs
        name = bytes.fromhex(key)
        if kept:
            assert self.cache is not None
            for data in self.cache.get([name]).values():
                self.stage_hits += 1
                made, usage, _ = decoded_passages(data)
                return made, usage
        self.stage_runs += 1
        started = time.perf_counter()
        before = self.resources.consumed
        made = stage.prepare(passages, self.resources)
        usage = self.resources.consumed - before
        if kept:
            assert self.cache is not None
            self.cache.put({name: encoded_passages(made, usage, time.perf_counter() - started)})
        return made, usage

    # -- questions -----------------------------------------------------------------------------------------------------

    def run(self, pipeline: Pipeline, questions: Sequence[str], until: str = FAMILIES[-1]) -> list[Outcome]:
        """An outcome for each question, in their order. until: the last family that runs ("prompt" for retrieval alone).

        Raises `InvalidInput` for a pipeline that needs a generator where there is none, and what stages raise of models
        that cannot be used; what fails for a question alone is in its outcome."""
        pipeline = pipeline.complete()
        last = FAMILIES.index(until)
        stages = [stage for stage in pipeline.stages if FAMILIES.index(stage.family) <= last]
        for stage in stages:
            if "generator" in stage.needs and self.resources.generator is None:
                raise InvalidInput(f"{stage.name} needs a generator: name one (generator: in the YAML)")
        passages = self.passages(pipeline)
        outcomes = [Outcome(question) for question in questions]
        keys = [_digest(passages.key, question) for question in questions]
        if not any(stage.family == "query" for stage in stages):
            for outcome in outcomes:
                outcome.queries = alone(outcome.question)
        for stage in stages:
            if not isinstance(stage, Chunking | Preparation):
                identity = stage.identity(self.resources)
                keys = [_digest(key, identity) for key in keys]
                self._step(stage, outcomes, keys, passages)
        return outcomes

    def _step(self, stage: Stage, outcomes: Sequence[Outcome], keys: Sequence[str], passages: Passages) -> None:
        """One stage for all questions that have not failed."""
        going = [at for at, outcome in enumerate(outcomes) if outcome.failure is None]
        names = {at: bytes.fromhex(keys[at]) for at in going}
        kept: dict[int, tuple[Any, Usage, float]] = {}
        if self.cache is not None:
            found = self.cache.get(names.values())
            for at in going:
                if names[at] in found:
                    try:
                        kept[at] = decoded(found[names[at]], passages)
                    except (ValueError, KeyError, TypeError, IndexError):
                        continue  # not what we wrote: made again
        # Equal questions are asked once.
        first: dict[bytes, int] = {}
        for at in going:
            if at not in kept:
                first.setdefault(names[at], at)
        fresh = list(first.values())
        if fresh:
            stage.ready(passages, self.resources)
        started = time.perf_counter()
        results = _run(stage, [outcomes[at] for at in fresh], passages, self.resources) if fresh else []
        share = (time.perf_counter() - started) / max(1, len(fresh))
        made: dict[bytes, Made[Any] | Failure] = {}
        for at, result in zip(fresh, results, strict=True):
            made[names[at]] = result if isinstance(result, Made | Failure) else Made(result)
        self.stage_runs += len(fresh)
        self.stage_hits += len(going) - len(fresh)
        fresh_names = set(first.values())
        for at in going:
            outcome = outcomes[at]
            given = len(outcome.found)
            if at in kept:
                value, usage, seconds = kept[at]
            else:
                result = made[names[at]]
                usage = result.usage
                # Waiting for a generator is a question's own; the rest of a batch's time is shared.
                seconds = usage.seconds if usage.calls else share
                if isinstance(result, Failure):
                    outcome.failure = result
                    outcome.steps.append(Step(stage.name, seconds, usage, False, given, 0))
                    continue
                value = result.value
            count = _put(stage, outcome, value)
            outcome.steps.append(Step(stage.name, seconds, usage, at not in fresh_names, given, count))
        if self.cache is not None:
            self.cache.put(
                {
                    name: encoded(
                        result.value, result.usage, result.usage.seconds if result.usage.calls else share, passages
                    )
                    for name, result in made.items()
                    if isinstance(result, Made)
                }
            )


def _run(stage: Stage, outcomes: Sequence[Outcome], passages: Passages, resources: Resources) -> Results[Any]:
    """The results of a stage for some questions."""
    questions = [outcome.question for outcome in outcomes]
    found = [outcome.found for outcome in outcomes]
    if isinstance(stage, QueryTransform):
        return stage.transform(questions, passages, resources)
    if isinstance(stage, Retrieval):
        return stage.retrieve([outcome.queries or alone(outcome.question) for outcome in outcomes], passages, resources)
    if isinstance(stage, Reranking):
        return stage.rerank(questions, found, passages, resources)
    if isinstance(stage, Augmentation):
        return stage.augment(questions, found, passages, resources)
    if isinstance(stage, Filter):
        return stage.filter(questions, found, resources)
    if isinstance(stage, Compression):
        return stage.compress(questions, found, resources)
    if isinstance(stage, Prompting):
        return stage.pack(questions, found, resources)
    prompts = [outcome.prompt or Prompt((), 0) for outcome in outcomes]
    if isinstance(stage, Generation):
        return stage.generate(questions, prompts, resources)
    assert isinstance(stage, Revision)
    return stage.revise(questions, prompts, [outcome.answer or Answer("") for outcome in outcomes], resources)


def _put(stage: Stage, outcome: Outcome, value: Any) -> int:
    """Notes what a stage made, and returns how many things that are."""
    if isinstance(value, Queries):
        outcome.queries = value
        return len(value.items)
    if isinstance(value, Prompt):
        outcome.prompt = value
        return len(value.context)
    if isinstance(value, Answer):
        outcome.answer = value
        return 1
    outcome.found = value
    return len(value)


def _digest(*parts: Any) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(parts, sort_keys=True, default=str).encode("utf-8", "surrogatepass"))
