"""The typed columns of a segment, and the documents whose values lie in a range.

field_table               |u1   JSON: the fields, their columns, and those that cannot be filtered on
field_<i>_<type>_values   the values of field i that have this type, in document order: bool |u1 (0 or 1), int <i8, float
                          <f8, string |u1, <u2 or <u4 (its place in the sorted table of the column)
field_<i>_<type>_rows     <u4   the document of each value, rising; no file where every document has exactly one
field_<i>_string_strings  |u1   the table, as UTF-8
field_<i>_string_offsets  <i8   where each of its strings begins, and the end

Numpy checks bounds, so nothing in these files can lead out of memory; contents are checked by `lsr check --full`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.errors import CorruptIndex, InvalidInput
from lsr.index.filters.expression import Value
from lsr.index.filters.strings import Strings

__all__ = [
    "MAX_FIELDS",
    "MAX_NAME",
    "TABLE",
    "TYPES",
    "Column",
    "Field",
    "FieldEntry",
    "FieldTable",
    "Fields",
    "prefix",
]

TABLE = "field_table"
TYPES = {"bool": "|u1", "int": "<i8", "float": "<f8", "string": "<u4"}  # on disk; codes of strings may be narrower
MAX_FIELDS = 256
MAX_NAME = 256  # characters
_TABLE_LIMIT = 4 << 20  # bytes
_CHUNK = 1 << 18  # values looked at together: what is computed from them stays in the cache
_FEW = 4  # values compared one after the other; more are looked up in a sorted list
_SHOWN = 20  # fields named in a message
_INT64 = np.iinfo(np.int64)

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.uint8]  # 1 for each document that is meant [documents]


def prefix(number: int, kind: str) -> str:
    """What the names of the files of a column begin with."""
    return f"field_{number}_{kind}"


# -- what there is -----------------------------------------------------------------------------------------------------


class FieldEntry(NamedTuple):
    """A field: its name, how many documents have it, whether one has several values, and its types, each with whether every
    document has exactly one value of it."""

    name: str
    documents: int
    lists: bool
    columns: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class FieldTable:
    """The fields; those that cannot be filtered on, and why; and one that was left out because there were too many."""

    fields: Sequence[FieldEntry] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    left_out: str = ""

    def to_bytes(self) -> bytes:
        body = {
            "fields": [entry._asdict() for entry in self.fields],
            "refused": self.refused,
            "left_out": self.left_out,
        }
        return json.dumps(body, ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> FieldTable:
        """Raises ValueError for what is no such table."""
        if len(data) > _TABLE_LIMIT:
            raise ValueError("larger than it can be")
        try:
            body = json.loads(data)
            fields = [FieldEntry(**entry) for entry in body["fields"]]
            for entry in fields:
                known = all(kind in TYPES and isinstance(whole, bool) for kind, whole in entry.columns.items())
                types = (type(entry.name), type(entry.documents), type(entry.lists))
                if not known or types != (str, int, bool):
                    raise ValueError("a field of another kind")
            found = cls(fields, {str(name): str(why) for name, why in body["refused"].items()}, str(body["left_out"]))
            found.to_bytes()  # half surrogate pairs could not be written again
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{error!r} is wrong or missing in it") from None
        if len({entry.name for entry in fields}) < len(fields):
            raise ValueError("a field is there twice")
        return found


# -- columns -----------------------------------------------------------------------------------------------------------


class Column:
    """The values of one type in a field. rows None: value i is that of document i."""

    def __init__(self, kind: str, values: Array, rows: npt.NDArray[np.uint32] | None, strings: Strings | None) -> None:
        self.kind, self.values, self.rows, self.strings = kind, values, rows, strings

    def mark_order(self, operator: str, value: Value, mask: Mask) -> None:
        """Sets the documents that have a value in the order that the operator says."""
        low, high = self._bounds(operator, value)
        if low <= high:
            self._mark(lambda values: (values >= low) & (values <= high), mask)

    def mark_among(self, values: Sequence[Value], mask: Mask) -> None:
        """Sets the documents that have one of the values."""
        bounds = [self._bounds("==", value) for value in values]
        wanted = [low for low, high in bounds if low <= high]
        if len(wanted) > _FEW:
            members = np.unique(np.array(wanted, self.values.dtype))
            self._mark(lambda values: np.isin(values, members), mask)
        else:
            for one in wanted:
                self._mark(partial(np.equal, one), mask)

    def mark_all(self, mask: Mask) -> None:
        """Sets the documents that have a value."""
        if self.rows is None:
            mask[:] = 1
        else:
            mask[self.rows] = 1

    def _mark(self, test: Callable[[Array], npt.NDArray[np.bool_]], mask: Mask) -> None:
        for first in range(0, len(self.values), _CHUNK):
            part = slice(first, first + _CHUNK)
            found = test(self.values[part])
            if self.rows is None:
                mask[part] |= found
            else:
                mask[self.rows[part][found]] = 1

    def _bounds(self, operator: str, value: Value) -> tuple[Any, Any]:
        """The least and the greatest of the stored values that are meant; the least is greater where there is none.

        Exact also where the value has another type than the column: 2.5 lies between whole numbers, and few whole numbers
        beyond 2^53 are floats.
        """
        if self.strings is not None:
            return _string_bounds(operator, str(value.value), self.strings)
        number = value.value
        assert not isinstance(number, str)
        if self.kind == "float":
            return _float_bounds(operator, number)
        low, high = _int_bounds(operator, number)
        return max(low, _INT64.min), min(high, _INT64.max)


def _string_bounds(operator: str, value: str, strings: Strings) -> tuple[int, int]:
    place = strings.place(value)
    there = place < len(strings) and strings[place] == value.encode("utf-8", "surrogatepass")
    if operator == "==":
        return place, place if there else place - 1
    if operator in (">=", ">"):
        return place + (there and operator == ">"), len(strings) - 1
    return 0, place - 1 + (there and operator == "<=")


def _int_bounds(operator: str, value: float) -> tuple[int, int]:
    low, high = int(_INT64.min), int(_INT64.max)
    if operator in ("==", ">="):
        low = math.ceil(value)
    elif operator == ">":
        low = math.floor(value) + 1
    if operator in ("==", "<="):
        high = math.floor(value)
    elif operator == "<":
        high = math.ceil(value) - 1
    return low, high


def _float_bounds(operator: str, value: float) -> tuple[float, float]:
    try:
        near = float(value)
    except OverflowError:
        near = math.inf if value > 0 else -math.inf
    up = near if near >= value else math.nextafter(near, math.inf)  # the least float that is not below the value
    down = near if near <= value else math.nextafter(near, -math.inf)
    low, high = -math.inf, math.inf
    if operator in ("==", ">="):
        low = up
    elif operator == ">":
        low = math.nextafter(down, math.inf)
    if operator in ("==", "<="):
        high = down
    elif operator == "<":
        high = math.nextafter(up, -math.inf)
    return low, high


class Field(NamedTuple):
    entry: FieldEntry
    columns: Sequence[Column]

    @property
    def kinds(self) -> Sequence[str]:
        """The types of its values, in alphabetical order."""
        return sorted({column.kind for column in self.columns})

    def having(self, documents: int) -> Mask:
        """1 for each row of a segment with a value. Raises `CorruptIndex` where a value belongs to none."""
        mask = np.zeros(documents, np.uint8)
        try:
            for column in self.columns:
                column.mark_all(mask)
        except IndexError:
            raise CorruptIndex(
                f"the rows of the field {self.entry.name!r} are damaged; run `lsr check --full`"
            ) from None
        return mask

    @property
    def type(self) -> str:
        """The types of its values: "int", or "int or string"."""
        return " or ".join(self.kinds)


class Fields:
    """The fields of a segment, or of several, by name."""

    def __init__(self, table: FieldTable | None = None, columns: Sequence[Sequence[Column]] = ()) -> None:
        self.table = table or FieldTable()
        self._fields = {
            entry.name: Field(entry, found) for entry, found in zip(self.table.fields, columns, strict=True)
        }

    @classmethod
    def of_all(cls, several: Sequence[Fields]) -> Fields:
        """The fields of several segments as those of one collection: a field has the types that it has anywhere, and what
        cannot be filtered on in one cannot in any."""
        refused = {name: why for fields in several for name, why in fields.table.refused.items()}
        found: dict[str, list[Field]] = {}
        for one in (one for fields in several for one in fields if one.entry.name not in refused):
            found.setdefault(one.entry.name, []).append(one)
        entries, columns = [], []
        for name, alike in sorted(found.items()):
            documents = sum(one.entry.documents for one in alike)
            entries.append(FieldEntry(name, documents, any(one.entry.lists for one in alike), {}))
            columns.append([column for one in alike for column in one.columns])
        left_out = next((fields.table.left_out for fields in several if fields.table.left_out), "")
        return cls(FieldTable(entries, refused, left_out), columns)

    def get(self, name: str) -> Field | None:
        """A field, None where there is none by that name."""
        return self._fields.get(name)

    def __len__(self) -> int:
        return len(self._fields)

    def __iter__(self) -> Iterator[Field]:
        return iter(self._fields.values())

    def __getitem__(self, name: str) -> Field:
        """Raises `InvalidInput`, which names the fields that there are."""
        found = self._fields.get(name)
        if found is not None:
            return found
        if name in self.table.refused:
            why = " ".join(self.table.refused[name].split())
            raise InvalidInput(f"filter: the field {name!r} cannot be filtered on: {why}")
        if not self._fields:
            raise InvalidInput(
                f"filter: no field {name!r}: this index has none; build it from documents with metadata"
                " (ids can be filtered on without)"
            )
        known = list(self._fields.items())[:_SHOWN]
        shown = [f"{one if one.isprintable() else repr(one)} ({found.type})" for one, found in known]
        more = [f"{len(self._fields) - _SHOWN} more (see lsr info)"] if len(self._fields) > _SHOWN else []
        kept = f"; only the first {MAX_FIELDS} fields of the documents are kept" if self.table.left_out else ""
        raise InvalidInput(f"filter: no field {name!r}; the fields are {', '.join(shown + more)}{kept}")

    def describe(self) -> dict[str, dict[str, Any]]:
        """Type and number of documents of each field, as `lsr info --json` prints them."""
        return {
            name: {"type": found.type, "documents": found.entry.documents, "lists": found.entry.lists}
            for name, found in self._fields.items()
        }
