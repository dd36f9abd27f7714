"""A pipeline: at most one stage of each family, in the order in which they run.

    pipeline = Sentences(words=120) >> Fusion() >> TopK(k=5) >> ExtractiveReader()
    Pipeline.from_mapping({"chunk": {"kind": "sentences", "words": 120}, "retrieve": "fusion"})

What it is as YAML: a mapping of families to the name of a stage, or to a mapping of its kind and parameters; "none", or a
family that is left out, is no stage. Without one of their own, documents stay whole (chunk: documents), evidence is
listed best first (prompt: list), and the answer is a sentence of it (generate: extractive)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from lsr.errors import InvalidInput
from lsr.rag.stages.base import FAMILIES, NONE, Stage, stage_class
from lsr.schema import from_mapping

__all__ = ["DEFAULTS", "Pipeline", "read_stage", "stage_as_data", "terms_of"]

_TERMS = (("query", "rm3"), ("retrieve", "sparse"), ("retrieve", "fusion"))
DEFAULTS = {"chunk": "documents", "prompt": "list", "generate": "extractive"}


class Pipeline:
    """Stages by their families. Two pipelines are equal when their stages and parameters are.

    Raises `InvalidInput` for two stages of a family, one before another that runs later, or terms of another encoder than
    the one that is searched with.
    """

    def __init__(self, stages: Iterable[Stage] = ()) -> None:
        self.stages: tuple[Stage, ...] = tuple(stages)
        for one, other in zip(self.stages, self.stages[1:], strict=False):
            first, second = FAMILIES.index(one.family), FAMILIES.index(other.family)
            if first == second:
                raise InvalidInput(
                    f"a pipeline has one {one.family} stage at most: {one.kind} and {other.kind} are two"
                )
            if first > second:
                order = " >> ".join(FAMILIES)
                raise InvalidInput(f"{other.name} cannot come after {one.name}: the order is {order}")
        made, retrieval = self.get("query"), self.get("retrieve")
        if made is not None and retrieval is not None and (terms := terms_of(made)) is not None:
            searched = terms_of(retrieval)
            if searched is None:
                raise InvalidInput(
                    f"query: {made.kind} makes terms, which retrieve: {retrieval.kind} does not search; retrieve sparse, or"
                    " a fusion with it"
                )
            if terms != searched:
                raise InvalidInput(
                    f"query: {made.kind} has the encoder {terms!r}, and what is retrieved by its terms {searched!r}: name"
                    " the same"
                )

    @classmethod
    def of(cls, *stages: Stage) -> Pipeline:
        return cls(stages)

    @classmethod
    def from_mapping(cls, values: Any, where: str = "pipeline") -> Pipeline:
        """Of what a YAML holds, with `DEFAULTS`. Raises `InvalidInput` that names the place, with the nearest names."""
        if not isinstance(values, Mapping):
            raise InvalidInput(f"{where}: must be a mapping of families to stages: {', '.join(FAMILIES)}")
        for family in values:
            if family not in FAMILIES:
                close = get_close_matches(str(family), FAMILIES, n=1, cutoff=0.5)
                hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(FAMILIES)}"
                raise InvalidInput(f"{where}: there is no family {family!r}; {hint}")
        stages = (read_stage(family, values.get(family), f"{where}.{family}") for family in FAMILIES)
        return cls(stage for stage in stages if stage is not None).complete(where)

    def complete(self, where: str = "pipeline") -> Pipeline:
        """With the default stages of families that every pipeline has. Raises `InvalidInput` where nothing retrieves."""
        if self.get("retrieve") is None:
            raise InvalidInput(f"{where}: nothing retrieves; name a stage, such as retrieve: sparse")
        stages = [self.get(family) or _default(family) for family in FAMILIES]
        return Pipeline(stage for stage in stages if stage is not None)

    def get(self, family: str) -> Stage | None:
        return next((stage for stage in self.stages if stage.family == family), None)

    def to_mapping(self) -> dict[str, Any]:
        """As YAML has it, parameters in full."""
        return {stage.family: stage_as_data(stage) for stage in self.stages}

    @property
    def needs(self) -> frozenset[str]:
        return frozenset().union(*(stage.needs for stage in self.stages))

    def __rshift__(self, other: Stage | Pipeline) -> Pipeline:
        return Pipeline((*self.stages, *(other.stages if isinstance(other, Pipeline) else (other,))))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pipeline) and self.stages == other.stages

    def __hash__(self) -> int:
        return hash(self.stages)

    def __repr__(self) -> str:
        return " >> ".join(map(repr, self.stages)) or "Pipeline()"


def read_stage(family: str, value: Any, where: str) -> Stage | None:
    """A stage of what a YAML holds: a name, a mapping with its kind, or nothing. Raises `InvalidInput`."""
    if value is None or value == NONE:
        return None
    if isinstance(value, str):
        value = {"kind": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
        raise InvalidInput(f"{where}: must be the name of a stage, or a mapping with its kind, such as {{kind: NAME}}")
    parameters = {name: given for name, given in value.items() if name != "kind"}
    if value["kind"] == NONE:
        if parameters:
            raise InvalidInput(f"{where}: none has no parameters; leave out {', '.join(map(str, parameters))}")
        return None
    made = from_mapping(stage_class(family, value["kind"], where), parameters, f"{where}: {value['kind']}")
    assert isinstance(made, Stage)
    return made


def stage_as_data(stage: Stage) -> dict[str, Any]:
    """A stage as a YAML has it, without parameters that are None."""
    parameters = stage.parameters()
    given = {field.name: parameters[field.name] for field in fields(stage) if parameters[field.name] is not None}
    return {"kind": stage.kind, **given}


def terms_of(stage: Stage) -> str | None:
    """The encoder whose terms a stage of queries makes, or one of retrieval searches; None where it does neither."""
    if (stage.family, stage.kind) not in _TERMS:
        return None
    parameters = stage.parameters()
    return parameters["encoder"] if "sparse" in parameters.get("of", ["sparse"]) else None


def _default(family: str) -> Stage | None:
    return read_stage(family, DEFAULTS.get(family), family)
