"""A small world for the search: stages that do nothing, and an evaluator that says how good they would be.

Quality of a question is the sum of its stages' worth, and noise that hangs on the pipeline and the question alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from lsr.errors import InvalidInput
from lsr.rag.search.evaluated import Evaluated, Measured, Objectives, Outcome
from lsr.rag.search.space import Space, read_space
from lsr.rag.stages import base
from lsr.rag.types import Failure, Usage
from lsr.schema import between


def _never(*given: Any) -> Any:
    raise AssertionError("stages of the tests do not run")


_nothing: Any = _never


@dataclass(frozen=True)
class Words(base.Chunking):
    kind: ClassVar[str] = "test-words"
    words: int = field(default=150, metadata=between(5, 1000))
    overlap: int = field(default=0, metadata=between(0, 1000))
    chunk = _nothing

    def __post_init__(self) -> None:
        if self.overlap >= self.words:
            raise InvalidInput(f"overlap is {self.overlap}: it must be less than words, {self.words}")


@dataclass(frozen=True)
class Hyde(base.QueryTransform):
    kind: ClassVar[str] = "test-hyde"
    needs: ClassVar[frozenset[str]] = frozenset({"generator"})
    transform = _nothing


@dataclass(frozen=True)
class Sparse(base.Retrieval):
    kind: ClassVar[str] = "test-sparse"
    retrieve = _nothing


@dataclass(frozen=True)
class Fused(base.Retrieval):
    kind: ClassVar[str] = "test-fused"
    weights: tuple[float, ...] = (0.5, 0.5)
    retrieve = _nothing


@dataclass(frozen=True)
class Rerank(base.Reranking):
    kind: ClassVar[str] = "test-maxsim"
    candidates: int = field(default=20, metadata=between(1, 1000))
    rerank = _nothing


@dataclass(frozen=True)
class Neighbours(base.Augmentation):
    kind: ClassVar[str] = "test-neighbours"
    augment = _nothing


@dataclass(frozen=True)
class Listing(base.Prompting):
    kind: ClassVar[str] = "test-list"
    pack = _nothing


@dataclass(frozen=True)
class Reader(base.Generation):
    kind: ClassVar[str] = "test-reader"
    generate = _nothing


@dataclass(frozen=True)
class Llm(base.Generation):
    kind: ClassVar[str] = "test-llm"
    needs: ClassVar[frozenset[str]] = frozenset({"generator"})
    generate = _nothing


@dataclass(frozen=True)
class Reflect(base.Revision):
    kind: ClassVar[str] = "test-reflect"
    needs: ClassVar[frozenset[str]] = frozenset({"generator"})
    revise = _nothing


STAGES = (Words, Hyde, Sparse, Fused, Rerank, Neighbours, Listing, Reader, Llm, Reflect)
KINDS: dict[str, dict[str, type[Any]]] = {}
for made in STAGES:
    KINDS.setdefault(made.family, {})[made.kind] = made

OPTIONS: dict[str, list[Any]] = {
    "chunk": [{"kind": "test-words", "words": [50, 100, 200], "overlap": [0, 20]}],
    "query": ["none", "test-hyde"],
    "retrieve": ["test-sparse", {"kind": "test-fused", "weights": [[0.7, 0.3], [0.5, 0.5]]}],
    "rerank": ["none", {"kind": "test-maxsim", "candidates": [20, 50, 100]}],
    "augment": ["none", "test-neighbours"],
}  # 6 x 2 x 3 x 4 x 2 = 288
OBJECTIVES = Objectives({"recall": 1.0}, ("tokens",))
BASELINE: dict[str, Any] = {"chunk": Words(50), "retrieve": Sparse()}


def space(**given: Any) -> Space:
    return read_space(OPTIONS, kinds=KINDS, available=["generator"], **given)


def worth(stages: Mapping[str, Any]) -> float:
    """What a pipeline is worth: the best is chunks of 100, sparse, 50 candidates, neighbours."""
    value = 0.4
    for family, stage in stages.items():
        if isinstance(stage, Words):
            value += {50: 0.0, 100: 0.06, 200: 0.02}.get(stage.words, 0.0) - 0.0005 * stage.overlap
        elif isinstance(stage, Rerank):
            value += {20: 0.03, 50: 0.08, 100: 0.07}[stage.candidates]
        elif isinstance(stage, Fused):
            value -= 0.05 * stage.weights[0]
        elif stage is not None:
            value += {"augment": 0.05, "query": -0.1}.get(family, 0.0)
    return value


def tokens(stages: Mapping[str, Any]) -> int:
    return 100 * sum(stage is not None and "generator" in stage.needs for stage in stages.values()) + 10


def noise(*about: Any) -> float:
    """Between -1/2 and 1/2, the same each time."""
    digest = hashlib.blake2b(repr(about).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 - 0.5


@dataclass
class World:
    """The evaluator. fails(stages, question) says whether a question fails; before(call) runs before each call, numbered
    from 1."""

    spread: float = 0.1
    fails: Callable[[Mapping[str, Any], str], bool] = lambda stages, question: False
    broken: Callable[[Mapping[str, Any]], bool] = lambda stages: False
    before: Callable[[int], None] = lambda call: None
    calls: int = 0
    asked: int = 0

    def evaluate(self, stages: Mapping[str, Any], question_ids: Sequence[str]) -> Evaluated | Failure:
        self.calls += 1
        self.before(self.calls)
        self.asked += len(question_ids)
        if self.broken(stages):
            return Failure("chunk: test-words", "cannot be built")
        return Evaluated({question: self._outcome(stages, question) for question in question_ids})

    def _outcome(self, stages: Mapping[str, Any], question: str) -> Outcome:
        if self.fails(stages, question):
            return Failure("retrieve: test-sparse", "no answer", usage=Usage(tokens_in=tokens(stages)))
        own = noise(question) + self.spread * noise(
            question, *(stage for stage in stages.values() if stage is not None)
        )
        return Measured({"recall": worth(stages) + own}, 0.01, tokens(stages), 0.0)


def questions(count: int) -> list[str]:
    return [f"q{number}" for number in range(count)]
