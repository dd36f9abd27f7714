"""The options of a family: stages, each perhaps with several values of its parameters, read from YAML.

    rerank:
      - none
      - maxsim
      - {kind: cross-encoder, model: a-model, candidates: [20, 50, 100]}

A list is a list of choices, and every combination is an option of its own. A parameter that is a list itself (of a tuple
type) has its value written as a list, and choices as a list of such lists: `weights: [0.7, 0.3]` is one value, `weights:
[[0.7, 0.3], [0.5, 0.5]]` two. Combinations that a stage refuses are left out, with the reason, as long as each value is in
one that it accepts.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from lsr.errors import InvalidInput
from lsr.rag.search.constraints import NONE, Technique
from lsr.schema import from_mapping

__all__ = ["Family", "Option", "read_family"]

Digits = tuple[int, ...]


@dataclass(frozen=True)
class Option:
    """One line of a family. grid: parameters that have choices, with their values; variants: what the combinations that are
    accepted give, by the numbers of the values; refused: why others are not."""

    kind: str
    grid: Mapping[str, tuple[Any, ...]]
    variants: Mapping[Digits, Technique | None]
    refused: Mapping[Digits, str]

    def nearest(self, digits: Digits) -> Digits:
        """The accepted combination that differs in the fewest parameters; the first of several."""
        if digits in self.variants:
            return digits
        return min(self.variants, key=lambda other: sum(a != b for a, b in zip(digits, other, strict=True)))


class Family:
    """A family with its options in the order written. A gene is the number of a variant among those of all its options."""

    def __init__(self, name: str, options: tuple[Option, ...]) -> None:
        self.name = name
        self.options = options
        self.places = tuple((i, digits) for i, option in enumerate(options) for digits in option.variants)
        self.techniques = tuple(options[i].variants[digits] for i, digits in self.places)
        self._gene = {technique: gene for gene, technique in enumerate(self.techniques)}
        self._gene_at = {place: gene for gene, place in enumerate(self.places)}
        if len(self._gene) != len(self.techniques):
            twice = next(t for gene, t in enumerate(self.techniques) if self._gene[t] != gene)
            raise InvalidInput(f"{name}: {called(twice)} stands twice among the options")

    def gene(self, technique: Technique | None) -> int:
        """Raises `KeyError` for what is no option."""
        return self._gene[technique]

    def gene_at(self, option: int, digits: Digits) -> int:
        """The gene of a combination of values, or of the nearest that is accepted."""
        return self._gene_at[option, self.options[option].nearest(digits)]


def called(technique: Technique | None) -> str:
    """A technique in one line: its kind, and its parameters where it has any."""
    if technique is None:
        return NONE
    parameters = ", ".join(f"{name} {value}" for name, value in technique.parameters().items())
    return f"{technique.kind} ({parameters})" if parameters else technique.kind


def read_family(family: str, data: Any, find: Callable[[str, str, str], type[Any]], where: str) -> Family:
    """find(family, kind, where) gives the class of a stage. Raises `InvalidInput` for all that is not as it must be."""
    if not isinstance(data, list | tuple) or not data:
        raise InvalidInput(f"{where}: must be a list of options, each none, a kind, or a mapping with kind")
    return Family(family, tuple(_option(family, item, find, f"{where}[{i}]") for i, item in enumerate(data)))


def _option(family: str, item: Any, find: Callable[[str, str, str], type[Any]], where: str) -> Option:
    if item is None or item == NONE:
        return Option(NONE, {}, {(): None}, {})
    if isinstance(item, str):
        item = {"kind": item}
    if not isinstance(item, Mapping) or not isinstance(item.get("kind"), str):
        raise InvalidInput(f"{where}: must be none, a kind, or a mapping with kind and parameters")
    if item["kind"] == NONE:
        raise InvalidInput(f"{where}: none has no parameters; write it alone")
    made = find(family, item["kind"], where)
    hints = typing.get_type_hints(made)
    fixed: dict[str, Any] = {}
    grid: dict[str, tuple[Any, ...]] = {}
    for name, value in item.items():
        if name == "kind":
            continue
        if name in hints and _depth(value) > _depth_of(hints[name]):
            if not value:
                raise InvalidInput(f"{where}: {name} has no choices")
            grid[name] = tuple(value)
        else:
            fixed[name] = value
    return _combined(item["kind"], made, fixed, grid, f"{where}: {family} {item['kind']}")


def _combined(
    kind: str, made: type[Any], fixed: Mapping[str, Any], grid: Mapping[str, tuple[Any, ...]], where: str
) -> Option:
    variants: dict[Digits, Technique | None] = {}
    refused: dict[Digits, InvalidInput] = {}
    for digits in product(*(range(len(values)) for values in grid.values())):
        values = {name: choices[at] for (name, choices), at in zip(grid.items(), digits, strict=True)}
        try:
            variants[digits] = from_mapping(made, {**fixed, **values}, where)
        except InvalidInput as error:
            refused[digits] = error
    for digits, reason in refused.items():
        # A value that no combination takes is a mistake; a combination that cannot be is only no option.
        if any(all(other[i] != at for other in variants) for i, at in enumerate(digits)) or not variants:
            raise reason
    return Option(kind, grid, variants, {digits: str(reason) for digits, reason in refused.items()})


def _depth(value: Any) -> int:
    """How deep lists stand within each other."""
    if not isinstance(value, list | tuple):
        return 0
    return 1 + max((_depth(part) for part in value), default=0)


def _depth_of(hint: Any) -> int:
    """The same of a type."""
    if isinstance(hint, types.UnionType):
        return max(_depth_of(part) for part in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return 1 + max(_depth_of(part) for part in typing.get_args(hint) if part is not Ellipsis)
    return 0
