"""Which pipelines are illegal, and why, as data.

A constraint is a conjunction: it forbids the pipelines in which every family that it names matches. So legal pipelines
can be counted without listing them (`space.Space.count`). Some follow from what stages need (`built_in`); users add
theirs:

    forbid:
      - when: {rerank: llm, filter: {kind: top-k, k: [50, 100]}}
        reason: too many calls

A pattern is "none", "any" (anything but none), the kind of a stage, a mapping of a kind and values of its parameters
(several in a list are each a match; for a parameter that is a list itself, a list of lists), {not: PATTERN}, or a list of
patterns of which one must match.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Protocol

from lsr.errors import InvalidInput
from lsr.rag.pipeline import terms_of
from lsr.rag.stages.base import Stage

__all__ = ["NONE", "Constraint", "Technique", "built_in", "kind_of", "read_constraints", "unknown"]

NONE = "none"
ANY = "any"


class Technique(Protocol):
    """What can be chosen in a family: a stage of `lsr.rag.stages`, or anything that has these members."""

    @property
    def family(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def needs(self) -> frozenset[str]: ...
    def parameters(self) -> dict[str, Any]: ...


Pattern = Callable[[Technique | None], bool]


@dataclass(frozen=True)
class Constraint:
    """Pipelines in which all the patterns match are illegal. `reason` may name what was chosen: {query} is its kind."""

    when: Mapping[str, Pattern]
    reason: str

    def why(self, choice: Mapping[str, Any]) -> str | None:
        """The reason why it forbids that choice; None where it does not. A family that is not there is none."""
        if not all(matches(choice.get(family)) for family, matches in self.when.items()):
            return None
        return self.reason.format_map({family: kind_of(choice.get(family)) for family in self.when})


def kind_of(technique: Technique | None) -> str:
    return NONE if technique is None else technique.kind


def built_in(families: Iterable[str], needs: Iterable[str], available: frozenset[str]) -> list[Constraint]:
    """What follows from the stages themselves.

    families: those of the space. needs: all that its stages name in `needs`; what is not `available` makes a stage illegal.
    """

    def asks_for(need: str) -> Pattern:
        return lambda technique: technique is not None and need in technique.needs

    result = [
        Constraint({family: asks_for(need)}, f"{family}: {{{family}}} needs a {need}, and none is configured")
        for need in sorted(set(needs) - available)
        for family in families
    ]
    result += [
        Constraint(
            {"query": _has_terms, "retrieve": lambda technique: technique is not None and not _has_terms(technique)},
            "query: {query} makes terms, which retrieve: {retrieve} does not search",
        ),
        Constraint({"retrieve": _none}, "nothing is retrieved: a pipeline needs a retrieve stage"),
        Constraint(
            {"generate": _any, "prompt": _none}, "generate: {generate} reads a prompt, and there is no prompt stage"
        ),
        Constraint({"revise": _any, "generate": _none}, "revise: {revise} has no answer to look at without generate"),
        Constraint(
            {
                "revise": asks_for("generator"),
                "generate": lambda technique: technique is not None and "generator" not in technique.needs,
            },
            "revise: {revise} asks the generator about its own answer, which generate: {generate} is not",
        ),
    ]
    return result


def _has_terms(technique: Technique | None) -> bool:
    return isinstance(technique, Stage) and terms_of(technique) is not None


def _none(technique: Technique | None) -> bool:
    return technique is None


def _any(technique: Technique | None) -> bool:
    return technique is not None


def read_constraints(data: Any, options: Mapping[str, Sequence[Technique | None]], known: Any) -> list[Constraint]:
    """The constraints of a user (`forbid:`). options: what can be chosen, by family. known(family, kind, where) raises
    `InvalidInput` for a kind that does not exist.

    Raises `InvalidInput` for unknown families, kinds, parameters, and for values that no option of that kind has: such a
    constraint would say nothing.
    """
    if data is None:
        return []
    if not isinstance(data, list | tuple):
        raise InvalidInput("forbid: must be a list of mappings with when and reason")
    return [_constraint(item, f"forbid[{i}]", options, known) for i, item in enumerate(data)]


def _constraint(item: Any, where: str, options: Mapping[str, Sequence[Technique | None]], known: Any) -> Constraint:
    if not isinstance(item, Mapping) or set(item) != {"when", "reason"}:
        raise InvalidInput(f"{where}: must be a mapping with when (families and what they match) and reason")
    when, reason = item["when"], item["reason"]
    if not isinstance(reason, str) or not reason.strip():
        raise InvalidInput(f"{where}.reason: must be a text that says why")
    if not isinstance(when, Mapping) or not when:
        raise InvalidInput(f"{where}.when: must be a mapping of families and what they match")
    patterns = {}
    for family, pattern in when.items():
        if family not in options:
            raise InvalidInput(f"{where}.when: {unknown('family', family, options)}")
        patterns[family] = _pattern(pattern, f"{where}.when.{family}", family, options[family], known)
    return Constraint(patterns, reason.replace("{", "{{").replace("}", "}}"))


def _pattern(data: Any, where: str, family: str, options: Sequence[Technique | None], known: Any) -> Pattern:
    if data is None or data == NONE:
        return _none
    if data == ANY:
        return _any
    if isinstance(data, str):
        known(family, data, where)
        return lambda technique: kind_of(technique) == data
    if isinstance(data, list | tuple) and data:
        several = [_pattern(part, f"{where}[{i}]", family, options, known) for i, part in enumerate(data)]
        return lambda technique: any(matches(technique) for matches in several)
    if isinstance(data, Mapping) and set(data) == {"not"}:
        inner = _pattern(data["not"], where, family, options, known)
        return lambda technique: not inner(technique)
    if isinstance(data, Mapping) and isinstance(data.get("kind"), str):
        return _of_kind(data, where, family, options, known)
    raise InvalidInput(
        f"{where}: must be none, any, a kind, a mapping with kind, a list of these, or not: one of these"
    )


def _of_kind(
    data: Mapping[str, Any], where: str, family: str, options: Sequence[Technique | None], known: Any
) -> Pattern:
    kind = data["kind"]
    known(family, kind, where)
    there = [option.parameters() for option in options if option is not None and option.kind == kind]
    wanted: dict[str, list[Any]] = {}
    for name, value in data.items():
        if name == "kind" or not there:
            continue
        if name not in there[0]:
            raise InvalidInput(f"{where}: {unknown('parameter', name, there[0])}")
        present = [parameters[name] for parameters in there]
        # A list is several values, unless it is the value of a parameter that is a list.
        wanted[name] = list(value) if isinstance(value, list | tuple) and value not in present else [value]
        for one in wanted[name]:
            if one not in present:
                shown = ", ".join(sorted({repr(other) for other in present}))
                raise InvalidInput(
                    f"{where}.{name}: no {family} option {kind} of the space has {one!r}; there are {shown}"
                )

    def matches(technique: Technique | None) -> bool:
        if technique is None or technique.kind != kind:
            return False
        parameters = technique.parameters()
        return all(parameters[name] in values for name, values in wanted.items())

    return matches


def unknown(what: str, name: Any, known: Iterable[str]) -> str:
    """What an error says of a name that does not exist: the nearest one, or all."""
    close = get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f"unknown {what} {name!r}; " + (f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}")
