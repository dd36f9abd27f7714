"""Runs pipelines over questions, stage by stage, and computes nothing twice.

What a stage makes for a question has a key: a hash of the documents, of the question, and of the identities of all stages
up to it. So two pipelines that differ only in their reranker share what comes before it, in one run, in a study, and on
the disk. A failure is never kept."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import xxhash

import lsr
from lsr.corpus import Document
from lsr.errors import InvalidInput
from lsr.rag.blobs import Blobs
from lsr.rag.coding import decoded, decoded_passages, encoded, encoded_passages, with_price, without_price
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
    queries: Queries
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
        self._lock = threading.Lock()
        self._making: dict[str, threading.Lock] = {}
        self._warm: set[str] = set()
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
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:  # a generator is not asked twice
            found = self._passages.get(key)
            if found is None:
                found = self._cut(chunking, chunked, preparation, key)
                with self._lock:
                    while len(self._passages) >= _CORPORA:
                        del self._passages[next(iter(self._passages))]
                    self._passages[key] = found
        return found

    def _cut(self, chunking: Chunking, chunked: str, preparation: Stage | None, key: str) -> tuple[Passages, Usage]:
        pieces = [
            passage for document in self.documents.values() for passage in chunking.chunk(document, self.resources)
        ]
        if not pieces:
            raise InvalidInput(f"{chunking.name} makes no passage of this corpus: its texts are empty")
        made = Passages(pieces, self.documents, chunked)
        if not isinstance(preparation, Preparation):
            return made, Usage()
        prepared, usage = self._prepared(preparation, made, key)
        return Passages(prepared, self.documents, key), usage

    def _prepared(self, stage: Preparation, passages: Passages, key: str) -> tuple[list[Passage], Usage]:
        """The passages that a stage makes; those of a generator are kept on the disk."""
        kept = self.cache is not None and "generator" in stage.needs
        name = bytes.fromhex(key)
        if kept:
            assert self.cache is not None
            for data in self.cache.get([name]).values():
                self._count(0, 1)
                made, usage, _ = decoded_passages(data)
                return made, usage
        self._count(1, 0)
        started = time.perf_counter()
        before = self.resources.consumed
        made = stage.prepare(passages, self.resources)
        usage = self.resources.consumed - before
        if kept:
            assert self.cache is not None
            self.cache.put({name: encoded_passages(made, usage, time.perf_counter() - started)})
        return made, usage

    def _count(self, runs: int, hits: int) -> None:
        with self._lock:
            self.stage_runs += runs
            self.stage_hits += hits

    # -- questions -----------------------------------------------------------------------------------------------------

    def run(
        self, pipeline: Pipeline, questions: Sequence[str], until: str = FAMILIES[-1], *, timed: bool = False
    ) -> list[Outcome]:
        """An outcome for each question, in their order. until: the last family that runs ("prompt" for retrieval alone).
        timed: seconds are to be compared, so each stage without a generator is tried on a question before its first time
        counts, which takes longer than others.

        Raises `InvalidInput` for a pipeline that needs a generator where there is none, and what stages raise of models
        that cannot be used; what fails for a question alone is in its outcome."""
        pipeline = pipeline.complete()
        last = FAMILIES.index(until)
        stages = [stage for stage in pipeline.stages if FAMILIES.index(stage.family) <= last]
        for stage in stages:
            if "generator" in stage.needs and self.resources.generator is None:
                raise InvalidInput(f"{stage.name} needs a generator: name one (generator: in the YAML)")
        passages = self.passages(pipeline)
        going = [_Going(Outcome(question, alone(question)), passages.key) for question in questions]
        for stage in stages:
            if not isinstance(stage, Chunking | Preparation):
                self._step(stage, going, passages, timed)
        return [each.outcome for each in going]

    def _step(self, stage: Stage, going: Sequence[_Going], passages: Passages, timed: bool) -> None:
        """One stage for all questions that have not failed."""
        asked = [each for each in going if each.outcome.failure is None]
        identity = stage.identity(self.resources)
        names = [bytes.fromhex(_digest(identity, each.outcome.question, each.reads(stage))) for each in asked]
        known: dict[bytes, _Known] = {}
        if self.cache is not None:
            for name, data in self.cache.get(names).items():
                with contextlib.suppress(ValueError, KeyError, TypeError, IndexError):  # not what we wrote: made again
                    value, usage, seconds = without_price(data)
                    known[name] = _Known(decoded(value, passages), value, usage, seconds)
        kept = set(known)
        # Equal questions with equal evidence are asked once.
        fresh = {name: each for name, each in zip(names, asked, strict=True) if name not in known}
        failed = self._made(stage, fresh, known, passages, timed)
        self._count(len(fresh), len(asked) - len(fresh))
        for name, each in zip(names, asked, strict=True):
            outcome, given = each.outcome, len(each.outcome.found)
            if name in failed:
                failure = outcome.failure = failed[name]
                outcome.steps.append(Step(stage.name, failure.usage.seconds, failure.usage, False, given, 0))
                continue
            found = known[name]
            count = _put(outcome, found.value)
            each.content = _digest(passages.key, xxhash.xxh3_128_hexdigest(found.data))
            outcome.steps.append(Step(stage.name, found.seconds, found.usage, name in kept, given, count))

    def _made(
        self, stage: Stage, fresh: Mapping[bytes, _Going], known: dict[bytes, _Known], passages: Passages, timed: bool
    ) -> dict[bytes, Failure]:
        """Makes what is not known, adds it to it and to the cache, and returns what failed."""
        if not fresh:
            return {}
        stage.ready(passages, self.resources)
        outcomes = [each.outcome for each in fresh.values()]
        if timed and "generator" not in stage.needs:
            key = _digest(stage.identity(self.resources), passages.key)
            if key not in self._warm:
                _run(stage, outcomes[:1], passages, self.resources)
                self._warm.add(key)
        started = time.perf_counter() + self.resources.spared
        results = _run(stage, outcomes, passages, self.resources)
        share = (time.perf_counter() - started + self.resources.spared) / len(fresh)
        failed: dict[bytes, Failure] = {}
        kept: dict[bytes, bytes] = {}
        for name, result in zip(fresh, results, strict=True):
            if isinstance(result, Failure):
                failed[name] = result
                continue
            made = result if isinstance(result, Made) else Made(result)
            data = encoded(made.value, passages)
            # Waiting for a generator is a question's own; the rest of a batch's time is shared.
            seconds = made.usage.seconds if made.usage.calls else share
            known[name] = _Known(made.value, data, made.usage, seconds)
            kept[name] = with_price(data, made.usage, seconds)
        if self.cache is not None:
            self.cache.put(kept)
        return failed


class _Known(NamedTuple):
    """What a stage made for a question, as it is and encoded, and what that took."""

    value: Any
    data: bytes
    usage: Usage
    seconds: float


@dataclass(slots=True)
class _Going:
    """A question on its way. content: a hash of what the stages so far made of it, and of the passages."""

    outcome: Outcome
    content: str

    def reads(self, stage: Stage) -> str:
        """A hash of all that a stage is given beside the question. Those that write an answer are told texts: the scores of
        these, and how they were found, do not matter."""
        if not isinstance(stage, Generation | Revision):
            return self.content
        context = () if self.outcome.prompt is None else self.outcome.prompt.context
        told = [[piece.title, piece.text, [[s.document, s.start, s.end] for s in piece.spans]] for piece in context]
        answer = self.outcome.answer
        return _digest(told, None if answer is None else [answer.text, answer.citations])


def _run(stage: Stage, outcomes: Sequence[Outcome], passages: Passages, resources: Resources) -> Results[Any]:
    """The results of a stage for some questions."""
    questions = [outcome.question for outcome in outcomes]
    found = [outcome.found for outcome in outcomes]
    if isinstance(stage, QueryTransform):
        return stage.transform(questions, passages, resources)
    if isinstance(stage, Retrieval):
        return stage.retrieve([outcome.queries for outcome in outcomes], passages, resources)
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


def _put(outcome: Outcome, value: Any) -> int:
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
    """A key of parts, and of the version of lsr: what another one made may differ."""
    text = json.dumps([lsr.__version__, *parts], sort_keys=True, default=str)
    return xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))
