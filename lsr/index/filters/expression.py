"""What a filter says, and how it is read from Python objects.

An expression is a tree of conditions, each about one field. A document meets a condition when any of its values in that
field does: a field may hold a list. A document without a value in the field meets none, but `Missing`. `Not` turns an
answer round, so `!=` means: no value equals.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lsr.errors import InvalidInput

__all__ = [
    "CONNECTIVES",
    "ID",
    "OPERATORS",
    "AllOf",
    "Among",
    "AnyOf",
    "Expression",
    "Filter",
    "Ids",
    "Missing",
    "Not",
    "Order",
    "Value",
    "among",
    "as_expression",
    "compare",
    "conjunction",
    "disjunction",
]

ID = "id"  # stands for the ids of the documents, in no field of theirs
CONNECTIVES = ("and", "or", "not")
ORDERINGS = ("<", "<=", ">", ">=")
OPERATORS = ("==", "!=", *ORDERINGS, "in")
MAX_DEPTH = 100  # of expressions in expressions: reading and answering them recurses

# What `Index.search` takes: a text, a mapping, or the ids of documents.
Filter = str | Mapping[str, Any] | Iterable[str]


class Value(NamedTuple):
    """A constant. Its kind tells True from 1, which Python holds to be equal."""

    kind: str  # "bool", "number", "string"
    value: bool | int | float | str


@dataclass(frozen=True, slots=True)
class Among:
    """The field has one of the values."""

    field: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """The field has a value before or after another, which is a number or a string."""

    field: str
    operator: str
    value: Value


@dataclass(frozen=True, slots=True)
class Missing:
    """The document has no value in the field."""

    field: str


@dataclass(frozen=True, slots=True)
class Ids:
    """The document has one of the ids."""

    ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class AllOf:
    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Expression


Expression = Among | Order | Missing | Ids | AllOf | AnyOf | Not


def as_expression(given: Filter) -> Expression:
    """The expression that a filter stands for.

    given: a text (see `text.parse`); a mapping of fields to conditions, all of which are to be met, where a condition is a
    value, a list of values, or a mapping of operators to values, and "and", "or" (with a list of mappings) and "not" (with
    a mapping) join them; or an iterable of ids.

    Raises `InvalidInput` for anything else.
    """
    if isinstance(given, str):
        from lsr.index.filters.text import parse

        return parse(given)
    if isinstance(given, Mapping):
        return _mapping(given, 0)
    if not isinstance(given, Iterable):
        raise InvalidInput(f"the filter is a {type(given).__name__}: give a mapping, a text, or a list of ids")
    return among(ID, given)


# -- what both forms are made with -------------------------------------------------------------------------------------


def compare(field: str, operator: str, value: Any) -> Expression:
    """A condition. Raises `InvalidInput` for a value that the operator cannot be used with."""
    if operator == "==":
        return among(field, (value,))
    if operator == "!=":
        return Not(among(field, (value,)))
    if operator == "in":
        if not isinstance(value, list | tuple | set | frozenset | np.ndarray):
            raise InvalidInput(f"filter: 'in' is followed by {value!r}; give a list of values")
        return among(field, value)
    if operator not in ORDERINGS:
        raise InvalidInput(f"filter: {operator!r} is no operator; they are {', '.join(OPERATORS)}")
    found = _value(field, value)
    if field == ID or found is None or found.kind == "bool":
        what = "ids have" if field == ID else f"{value!r} has"
        raise InvalidInput(f"filter: {what} no order, so {field!r} cannot be compared by {operator}; use == or in")
    return Order(field, operator, found)


def among(field: str, values: Iterable[Any]) -> Expression:
    """The condition that a field has one of the values; None among them stands for no value at all."""
    if field == ID:
        ids = list(values)  # there may be very many
        wrong = next((value for value in ids if not isinstance(value, str)), None)
        if wrong is not None or None in ids:
            raise InvalidInput(f"filter: ids are strings, not {wrong!r}")
        return Ids(frozenset(ids))
    found = [_value(field, value) for value in values]
    known = Among(field, tuple(value for value in found if value is not None))
    if len(known.values) == len(found):
        return known
    return disjunction([*([known] if known.values else []), Missing(field)])


def conjunction(parts: list[Expression]) -> Expression:
    """All of the parts; of no parts, every document."""
    return parts[0] if len(parts) == 1 else AllOf(tuple(parts))


def disjunction(parts: list[Expression]) -> Expression:
    """Any of the parts; of no parts, no document."""
    return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))


def _value(field: str, value: Any) -> Value | None:
    if value is None:
        return None
    if isinstance(value, bool | np.bool_):
        return Value("bool", bool(value))
    if isinstance(value, int | np.integer):
        return Value("number", int(value))
    if isinstance(value, float | np.floating):
        if not math.isfinite(value):
            raise InvalidInput(f"filter: {field!r} is compared with {value}; give a finite number")
        return Value("number", float(value))
    if isinstance(value, str):
        return Value("string", str(value))
    raise InvalidInput(
        f"filter: {field!r} is compared with a {type(value).__name__}; give a string, a number, True, False or None"
    )


# -- mappings ----------------------------------------------------------------------------------------------------------


def _mapping(given: Any, depth: int) -> Expression:
    if depth > MAX_DEPTH:
        raise InvalidInput(f"the filter is nested deeper than {MAX_DEPTH} levels; flatten it")
    if not isinstance(given, Mapping):
        raise InvalidInput(f"filter: a {type(given).__name__} stands where a mapping of fields to conditions belongs")
    parts: list[Expression] = []
    for name, condition in given.items():
        if not isinstance(name, str):
            raise InvalidInput(f"filter: {name!r} is no name of a field; names are strings")
        if name == "not":
            parts.append(Not(_mapping(condition, depth + 1)))
        elif name in CONNECTIVES:
            if not isinstance(condition, list | tuple):
                raise InvalidInput(f"filter: {name!r} joins a list of mappings, not a {type(condition).__name__}")
            inner = [_mapping(part, depth + 1) for part in condition]
            parts.append(conjunction(inner) if name == "and" else disjunction(inner))
        else:
            parts.append(_condition(name, condition))
    return conjunction(parts)


def _condition(field: str, condition: Any) -> Expression:
    if isinstance(condition, Mapping):
        if not condition:
            raise InvalidInput(f"filter: no condition for {field!r}; the operators are {', '.join(OPERATORS)}")
        return conjunction([compare(field, operator, value) for operator, value in condition.items()])
    if isinstance(condition, list | tuple | set | frozenset | np.ndarray):
        return among(field, condition)
    return among(field, (condition,))
