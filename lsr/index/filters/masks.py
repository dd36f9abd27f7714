"""From an expression to a mask of the documents that it allows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from lsr.errors import CorruptIndex, InvalidInput
from lsr.index.filters.columns import Column, Fields, Mask
from lsr.index.filters.expression import (
    AllOf,
    Among,
    AnyOf,
    Expression,
    Filter,
    Ids,
    Missing,
    Not,
    Order,
    Value,
    as_expression,
)
from lsr.index.filters.text import parse
from lsr.index.storage.records import Ids as IdTable

__all__ = ["Masks"]

_KEPT = 64 << 20  # bytes of masks kept for the next query
_MOST = 16  # masks kept
_TYPES_OF = {"bool": ("bool",), "number": ("int", "float"), "string": ("string",)}
_REMEDIES = {
    "bool": "true and false are compared with a field of type bool alone",
    "number": 'a string is written in quotes: "7"',
    "string": "a number is written without quotes",
}


class Masks:
    """The masks of a segment. Safe from several threads; the last few are kept."""

    def __init__(
        self,
        fields: Fields,
        ids: IdTable,
        rows_of: npt.NDArray[np.uint32],
        deleted: npt.NDArray[np.int64] | None = None,
        everywhere: Fields | None = None,
    ) -> None:
        """rows_of: the row of each stored document; empty where documents are stored in the order of rows.

        deleted: rows that no mask allows. everywhere: the fields of the whole index, where the segment is a part of it: a
        field that only others have, or with other types, is no mistake, and missing from the documents of this one.
        """
        self._fields, self._ids, self._rows_of = fields, ids, rows_of
        self._deleted, self._everywhere = deleted, everywhere or fields
        self._documents = len(ids)
        kept = max(1, min(_MOST, _KEPT // max(1, self._documents)))
        self._parsed = lru_cache(maxsize=_MOST)(parse)
        self._kept = lru_cache(maxsize=kept)(self._read_only)

    def allowed(self, given: Filter) -> Mask:
        """1 for each document that the filter allows, 0 for the others: uint8 [documents], read-only, as they are stored.

        Raises `InvalidInput` for a filter that cannot be read, a field that does not exist, which names those that do, and a
        value of another type than the field has.
        """
        return self._kept(self._parsed(given) if isinstance(given, str) else as_expression(given))

    def _read_only(self, expression: Expression) -> Mask:
        try:
            mask = self._mask(expression)
        except IndexError:
            raise CorruptIndex("the rows of a metadata column are damaged; run `lsr check --full`") from None
        return self._stored(mask)

    @cached_property
    def undeleted(self) -> Mask:
        """1 for each document that was not deleted: the mask of no filter."""
        return self._stored(np.ones(self._documents, np.uint8))

    def _stored(self, mask: Mask) -> Mask:
        """A mask by rows, without what was deleted, in the order of storage."""
        if self._deleted is not None:
            mask[self._deleted] = 0
        if len(self._rows_of):
            mask = mask[self._rows_of]
        mask.flags.writeable = False
        return mask

    def _mask(self, expression: Expression) -> Mask:
        match expression:
            case Not(part):
                return self._mask(part) ^ np.uint8(1)
            case AllOf(parts) | AnyOf(parts):
                joined = np.full(self._documents, isinstance(expression, AllOf), np.uint8)
                for part in parts:
                    if isinstance(expression, AllOf):
                        joined &= self._mask(part)
                    else:
                        joined |= self._mask(part)
                return joined
            case _:
                mask = np.zeros(self._documents, np.uint8)
                self._mark(expression, mask)
                return mask

    def _mark(self, condition: Among | Order | Missing | Ids, mask: Mask) -> None:
        match condition:
            case Ids(ids):
                mask[self._ids.find_all(ids)] = 1
            case Missing(field):
                self._everywhere[field]  # the name may be wrong
                for column in self._own(field):
                    column.mark_all(mask)
                mask ^= np.uint8(1)
            case Order(field, operator, value):
                for column in self._columns(field, value):
                    column.mark_order(operator, value, mask)
            case Among(field, values):
                self._everywhere[field]  # also when there is no value: the name may be wrong
                by_kind: dict[str, list[Value]] = {}
                for value in values:
                    by_kind.setdefault(value.kind, []).append(value)
                for alike in by_kind.values():
                    for column in self._columns(field, alike[0]):
                        column.mark_among(alike, mask)

    def _columns(self, name: str, value: Value) -> list[Column]:
        """The columns of a field that hold values of the kind."""
        field = self._everywhere[name]
        if not any(kind in _TYPES_OF[value.kind] for kind in field.kinds):
            raise InvalidInput(
                f"filter: the field {name!r} is of type {field.type} and cannot be compared with"
                f" the {value.kind} {value.value!r}; {_REMEDIES[value.kind]}"
            )
        return [column for column in self._own(name) if column.kind in _TYPES_OF[value.kind]]

    def _own(self, name: str) -> Sequence[Column]:
        """The columns of a field in this segment."""
        field = self._fields.get(name)
        return () if field is None else field.columns
