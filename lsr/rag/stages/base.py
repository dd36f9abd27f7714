"""What a stage is: one class a technique, one base class a family.

A stage is a frozen dataclass. Its fields are the parameters that a pipeline's YAML may set, checked by the metadata of
`lsr.schema` (`between`, `choice`). The base class of its family says what it is given and what it gives. Stages of
questions work on a batch of questions at a time, since generators and encoders are faster so, and give one result for
each: the value, `Made` with what it consumed, or a `Failure`, which ends that question and no other.

    @stage("filter", "top-k")
    @dataclass(frozen=True)
    class TopK(Filter):
        k: int = field(default=5, metadata=between(1, 1000))

        def filter(self, questions, found, resources):
            return [pieces[: self.k] for pieces in found]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

from lsr.corpus import Document
from lsr.errors import InvalidInput
from lsr.rag.types import Answer, Failure, Found, Made, Passage, Passages, Prompt, Queries, Query

if TYPE_CHECKING:
    from lsr.rag.pipeline import Pipeline
    from lsr.rag.resources import Resources

__all__ = [
    "FAMILIES",
    "NONE",
    "Augmentation",
    "Chunking",
    "Compression",
    "Filter",
    "Generation",
    "Preparation",
    "Prompting",
    "QueryTransform",
    "Reranking",
    "Retrieval",
    "Revision",
    "Stage",
    "kinds_of",
    "stage",
    "stage_class",
]

T = TypeVar("T")
Evidence: TypeAlias = tuple[Found, ...]
Results: TypeAlias = Sequence[T | Made[T] | Failure]

NONE = "none"


@dataclass(frozen=True)
class Stage(ABC):
    """A technique with its parameters.

    family, kind: its names in YAML. needs: what of the resources must be there: "generator" is one of text. prompts:
    names of the prompt templates that it uses. models: names of its fields that name a model."""

    family: ClassVar[str]
    kind: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    prompts: ClassVar[tuple[str, ...]] = ()
    models: ClassVar[tuple[str, ...]] = ()

    @property
    def name(self) -> str:
        return f"{self.family}: {self.kind}"

    def ready(self, passages: Passages, resources: Resources) -> None:  # noqa: B027  # most have nothing to open
        """Opens indexes and models, so that this is not counted as time that questions take."""

    def __rshift__(self, other: Stage | Pipeline) -> Pipeline:
        """A pipeline of both."""
        from lsr.rag.pipeline import Pipeline

        return Pipeline.of(self) >> other

    def parameters(self) -> dict[str, Any]:
        """Its parameters, as JSON can say them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def identity(self, resources: Resources) -> Mapping[str, Any]:
        """All that its results depend on beside what it is given: parameters, templates, models, the generator."""
        about: dict[str, Any] = {"stage": self.name, **self.parameters()}
        for name in self.prompts:
            about[f"prompt {name}"] = resources.prompts.fingerprint(name)
        for name in self.models:
            about[f"model {name}"] = resources.fingerprint(self, name)
        if "generator" in self.needs:
            about["generator"] = resources.generator_identity()
        return about


class Chunking(Stage):
    """Documents to passages. The text of a passage must be that of its one span."""

    family = "chunk"

    @abstractmethod
    def chunk(self, document: Document, resources: Resources) -> list[Passage]: ...


class Preparation(Stage):
    """What passages are found by (their `keys`), or larger passages found by their parts; before they are encoded."""

    family = "prepare"

    @abstractmethod
    def prepare(self, passages: Passages, resources: Resources) -> list[Passage]: ...


class QueryTransform(Stage):
    """A question to what is searched for."""

    family = "query"

    @abstractmethod
    def transform(self, questions: Sequence[str], passages: Passages, resources: Resources) -> Results[Queries]: ...


class Retrieval(Stage):
    """Queries to evidence, best first."""

    family = "retrieve"

    @abstractmethod
    def retrieve(self, queries: Sequence[Queries], passages: Passages, resources: Resources) -> Results[Evidence]: ...


class Reranking(Stage):
    """Evidence in another order, with other scores."""

    family = "rerank"

    @abstractmethod
    def rerank(
        self, questions: Sequence[str], found: Sequence[Evidence], passages: Passages, resources: Resources
    ) -> Results[Evidence]: ...


class Filter(Stage):
    """Less evidence."""

    family = "filter"

    @abstractmethod
    def filter(
        self, questions: Sequence[str], found: Sequence[Evidence], resources: Resources
    ) -> Results[Evidence]: ...


class Augmentation(Stage):
    """Evidence with what stands around it."""

    family = "augment"

    @abstractmethod
    def augment(
        self, questions: Sequence[str], found: Sequence[Evidence], passages: Passages, resources: Resources
    ) -> Results[Evidence]: ...


class Compression(Stage):
    """Shorter texts of the evidence. Spans are those that the text still rests on."""

    family = "compress"

    @abstractmethod
    def compress(
        self, questions: Sequence[str], found: Sequence[Evidence], resources: Resources
    ) -> Results[Evidence]: ...


class Prompting(Stage):
    """The order in which the evidence is told, and what of it fits."""

    family = "prompt"

    @abstractmethod
    def pack(self, questions: Sequence[str], found: Sequence[Evidence], resources: Resources) -> Results[Prompt]: ...


class Generation(Stage):
    """The answer."""

    family = "generate"

    @abstractmethod
    def generate(
        self, questions: Sequence[str], prompts: Sequence[Prompt], resources: Resources
    ) -> Results[Answer]: ...


class Revision(Stage):
    """The answer, looked at again."""

    family = "revise"

    @abstractmethod
    def revise(
        self, questions: Sequence[str], prompts: Sequence[Prompt], answers: Sequence[Answer], resources: Resources
    ) -> Results[Answer]: ...


BASES: tuple[type[Stage], ...] = (
    Chunking,
    Preparation,
    QueryTransform,
    Retrieval,
    Reranking,
    Filter,
    Augmentation,
    Compression,
    Prompting,
    Generation,
    Revision,
)
# In the order in which a pipeline runs them.
FAMILIES = tuple(base.family for base in BASES)

_KINDS: dict[str, dict[str, type[Stage]]] = {family: {} for family in FAMILIES}

Class = TypeVar("Class", bound=type[Stage])


def stage(family: str, kind: str) -> Callable[[Class], Class]:
    """Gives a class of stage its names; it must be one of the family's base class."""

    def named(made: Class) -> Class:
        base = BASES[FAMILIES.index(family)]
        assert issubclass(made, base), f"{made.__name__} is no {base.__name__}"
        assert kind not in _KINDS[family], f"{family} has two stages {kind!r}"
        made.kind = kind
        _KINDS[family][kind] = made
        return made

    return named


def kinds_of(family: str) -> Mapping[str, type[Stage]]:
    """The stages of a family by their names."""
    import lsr.rag.stages  # noqa: F401  # whose modules name them

    return _KINDS[family]


def stage_class(family: str, kind: str, where: str) -> type[Stage]:
    """Raises `InvalidInput`, with the nearest name, where there is none."""
    kinds = kinds_of(family)
    if kind in kinds:
        return kinds[kind]
    close = get_close_matches(kind, [*kinds, NONE], n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(kinds))}"
    raise InvalidInput(f"{where}: there is no {family} stage {kind!r}; {hint}")


def alone(query: str) -> Queries:
    """A question as it was asked."""
    return Queries((Query(query),))
