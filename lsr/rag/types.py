"""What travels through a pipeline: passages with their places in the documents, queries, what was found, prompt, answer.

Places are kept at every stage: `Span`s say which characters of which document a text is made of. So what pipelines find is
compared by documents' characters, however they cut them, and no technique loses a passage by giving it another name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from lsr.corpus import Document
from lsr.errors import InvalidInput

__all__ = [
    "Answer",
    "Failure",
    "Found",
    "Made",
    "Passage",
    "Passages",
    "Prompt",
    "Queries",
    "Query",
    "Span",
    "Usage",
    "merged",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Characters [start, end) of the text of a document (its title is not counted)."""

    document: str
    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise InvalidInput(
                f"a span of {self.document!r} is [{self.start}, {self.end}): it must not end before it starts"
            )

    @property
    def length(self) -> int:
        return self.end - self.start


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same characters as few spans, in the order of documents' first appearance, then of places."""
    by_document: dict[str, list[Span]] = {}
    for span in spans:
        by_document.setdefault(span.document, []).append(span)
    result: list[Span] = []
    for parts in by_document.values():
        parts.sort()
        start, end = parts[0].start, parts[0].end
        for part in parts[1:]:
            if part.start > end:
                result.append(Span(part.document, start, end))
                start, end = part.start, part.end
            end = max(end, part.end)
        result.append(Span(parts[0].document, start, end))
    return tuple(result)


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document, as readers get it.

    text: what is read; title: of the document or section. spans: where the text stands. keys: the texts that it is found by
    where they are others than title and text: with a header, questions that it answers, or its smaller pieces. A passage
    scores as the best of its keys.
    """

    id: str
    text: str
    title: str = ""
    spans: tuple[Span, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def content(self) -> str:
        """Title and text joined by a space, as encoders read them."""
        return f"{self.title} {self.text}" if self.title and self.text else self.title or self.text

    @property
    def searched(self) -> tuple[str, ...]:
        """The texts that it is found by."""
        return self.keys or (self.content,)


class Passages(Sequence[Passage]):
    """The passages of a corpus in the order of documents and of places in them.

    documents: what they are pieces of, by id. key: a hash of all that they depend on (documents, and the stages that made
    them): equal keys are equal passages. Raises `InvalidInput` for two passages of one id.
    """

    def __init__(self, passages: Iterable[Passage], documents: Mapping[str, Document], key: str) -> None:
        self._passages = tuple(passages)
        self.documents = documents
        self.key = key
        self._at = {passage.id: at for at, passage in enumerate(self._passages)}
        if len(self._at) != len(self._passages):
            seen: set[str] = set()
            twice = next(p.id for p in self._passages if p.id in seen or seen.add(p.id))  # type: ignore[func-returns-value]
            raise InvalidInput(f"two passages are called {twice!r}: ids of documents must be distinct")

    def __len__(self) -> int:
        return len(self._passages)

    def __iter__(self) -> Iterator[Passage]:
        return iter(self._passages)

    def __getitem__(self, at: Any) -> Any:
        return self._passages[at]

    def named(self, id: str) -> Passage:
        return self._passages[self._at[id]]

    def place(self, id: str) -> int:
        """The number of a passage, from 0. Raises `KeyError`."""
        return self._at[id]

    def text_of(self, spans: Sequence[Span]) -> str:
        """The characters of spans; what does not follow on each other in a document is parted by " … "."""
        return " … ".join(self.documents[span.document].text[span.start : span.end] for span in spans)

    def beside(self, id: str, offset: int) -> Passage | None:
        """The passage `offset` places further in the same document; None where it ends."""
        at = self._at[id] + offset
        if not 0 <= at < len(self._passages):
            return None
        here, there = self.named(id), self._passages[at]
        mine = here.spans[0].document if here.spans else None
        other = there.spans[0].document if there.spans else None
        return there if mine is not None and mine == other else None


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for: a text, and where a stage made one the sparse vector that stands for it (terms int64 [n],
    weights float32 [n] of the encoder's vocabulary)."""

    text: str
    weight: float = 1.0
    terms: npt.NDArray[np.int64] | None = field(default=None, compare=False)
    weights: npt.NDArray[np.float32] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Queries:
    """The searches made for one question, and how what they find becomes one list: "rrf" (reciprocal ranks), "convex"
    (scores brought to 0 ... 1, weighted sum), "borda" (points by rank), or "max"."""

    items: tuple[Query, ...]
    fusion: str = "rrf"


@dataclass(frozen=True, slots=True)
class Found:
    """A piece of evidence for a question: text, its title, where it stands, its score, and the passages it was made of."""

    text: str
    title: str
    spans: tuple[Span, ...]
    score: float
    passages: tuple[str, ...]

    @classmethod
    def of(cls, passage: Passage, score: float) -> Found:
        return cls(passage.text, passage.title, passage.spans, float(score), (passage.id,))

    @property
    def content(self) -> str:
        return f"{self.title} {self.text}" if self.title and self.text else self.title or self.text


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a generator reads: the evidence in the order it is told (numbered from 1 for citations), and its size in tokens.

    dropped: how many pieces of evidence did not fit into the budget.
    """

    context: tuple[Found, ...]
    tokens: int
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and which pieces of the prompt's context it rests on: numbers from 1, as they are cited."""

    text: str
    citations: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """What generators consumed: calls, tokens in and out, money in the unit of the user's price list, seconds of
    waiting."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.cost + other.cost,
            self.seconds + other.seconds,
        )

    def __sub__(self, other: Usage) -> Usage:
        return self + Usage(-other.calls, -other.tokens_in, -other.tokens_out, -other.cost, -other.seconds)


@dataclass(frozen=True, slots=True)
class Made(Generic[T]):
    """What a stage made for one question, with what that consumed of generators."""

    value: T
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Failure:
    """A stage that could not do its work for one question. It is not an answer of score 0: it is never scored or cached.

    stage: "family: kind". transient: another try may succeed (an endpoint that is down, a time-out).
    """

    stage: str
    message: str
    transient: bool = False
    usage: Usage = Usage()

    def to_json(self) -> Mapping[str, Any]:
        return {"stage": self.stage, "message": self.message, "transient": self.transient}
