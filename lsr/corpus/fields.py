"""From records (mappings of field names to values) to documents and queries."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lsr.corpus.records import Document, Query
from lsr.errors import CorpusError
from lsr.limits import Limits, raising

__all__ = ["KNOWN_FIELDS", "FieldNames", "Record", "check_json", "check_name", "checked_text", "documents", "queries"]

# A record and the place that it was read from.
Record = tuple[Mapping[str, Any], str]

ID_FIELDS = ("_id", "id", "docid", "doc_id", "pid", "document_id")
TEXT_FIELDS = ("text", "contents", "content", "body", "passage", "document")
TITLE_FIELDS = ("title", "headline")
QUERY_ID_FIELDS = ("_id", "id", "qid", "query_id")
QUERY_TEXT_FIELDS = ("text", "query", "question", "title")
KNOWN_FIELDS = frozenset(ID_FIELDS + TEXT_FIELDS + TITLE_FIELDS + QUERY_ID_FIELDS + QUERY_TEXT_FIELDS)

# json.dumps and every later walk over metadata recurse; Python's own limit is near 1,000 frames.
MAX_DEPTH = 100
# Python neither writes nor reads numbers of more than 4,300 digits (sys.get_int_max_str_digits).
MAX_BITS = 14_000


@dataclass(frozen=True, slots=True)
class FieldNames:
    """Which fields hold what: settled by the first record of a source, and asked of all others."""

    id: str | None
    texts: tuple[str, ...]
    title: str | None

    @property
    def used(self) -> frozenset[str]:
        """The names that do not become metadata."""
        return frozenset(name for name in (self.id, self.title, *self.texts) if name is not None)


def documents(
    records: Iterable[Record], *, id_field: str | None, text_fields: Sequence[str], limits: Limits
) -> Iterator[Document]:
    """A document for each record. Raises `CorpusError` that names the place and the fields that exist."""
    names: FieldNames | None = None
    for row, (record, where) in enumerate(records):
        if names is None:
            names = _choose(record, where, id_field, text_fields)
            used = names.used
        yield Document(
            id=_id(record, names, row, where, limits, ID_FIELDS),
            text=_text(record, names, where, limits),
            title="" if names.title is None else checked_text(record.get(names.title), names.title, where, limits),
            metadata=_metadata(record, used, where),
            where=where,
            numbered=names.id is None,
        )


def queries(records: Iterable[Record], *, limits: Limits) -> Iterator[Query]:
    """A query for each record; without an id field they are numbered from 1. Raises as `documents` does."""
    names: FieldNames | None = None
    for row, (record, where) in enumerate(records, start=1):
        if names is None:
            text = _first_of(QUERY_TEXT_FIELDS, record)
            if text is None:
                raise CorpusError(
                    f"{where}: no text field among {_listed(record)}; name the field of the query 'text' or 'query'"
                )
            names = FieldNames(id=_first_of(QUERY_ID_FIELDS, record), texts=(text,), title=None)
        yield Query(
            id=_id(record, names, row, where, limits, QUERY_ID_FIELDS),
            text=_text(record, names, where, limits),
            where=where,
        )


def _choose(record: Mapping[str, Any], where: str, id_field: str | None, text_fields: Sequence[str]) -> FieldNames:
    if id_field is not None and id_field not in record:
        raise CorpusError(f"{where}: no field {id_field!r} (--id-field); the record has {_listed(record)}")
    ident = id_field if id_field is not None else _first_of(ID_FIELDS, record, without=text_fields)
    if text_fields:
        return FieldNames(id=ident, texts=tuple(text_fields), title=None)
    text = _first_of(TEXT_FIELDS, record, without=(ident,))
    if text is None:
        raise CorpusError(f"{where}: no text field; the record has {_listed(record)}: name one with --text-field")
    # Records may have a title though the first has none: it would be lost as metadata.
    title = _first_of(TITLE_FIELDS, record, without=(ident, text)) or "title"
    return FieldNames(id=ident, texts=(text,), title=None if title in (ident, text) else title)


def _first_of(wanted: Sequence[str], record: Mapping[str, Any], without: Sequence[str | None] = ()) -> str | None:
    """The first wanted name that is in the record: as it is, else in other capitals (spreadsheets say ID and Text)."""
    for name in wanted:
        if name in record and name not in without:
            return name
    folded = {name.casefold(): name for name in record if name not in without}
    return next((folded[name] for name in wanted if name in folded), None)


def _id(
    record: Mapping[str, Any], names: FieldNames, row: int, where: str, limits: Limits, known: Sequence[str]
) -> str:
    if names.id is None:
        for name in known:  # half the ids from the file and half made up would be a mess found too late
            if name in record and name not in names.texts:
                raise CorpusError(
                    f"{where}: has the id field {name!r}, which the first record lacks; give ids to all records or to none"
                )
        return str(row)
    try:
        value = record[names.id]
    except KeyError:
        raise CorpusError(
            f"{where}: no id field {names.id!r}; the record has {_listed(record)}: give every record an id"
        ) from None
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= MAX_BITS:
        value = str(value)
    if not isinstance(value, str):
        raise CorpusError(f"{where}: the id ({names.id!r}) is {_kind(value)}; ids are strings or whole numbers")
    if not value:
        raise CorpusError(f"{where}: the id ({names.id!r}) is empty; give every record an id of its own")
    if len(value) > limits.id or len(_encoded(value, "id", names.id, where)) > limits.id:
        raise CorpusError(
            f"{where}: the id {value[:40]!r}... is longer than {limits.id:,} bytes; shorten it, or raise"
            f" {raising('id')}"
        )
    if "\0" in value:
        raise CorpusError(f"{where}: the id {value[:40]!r} has a NUL character; remove it")
    return value


def _text(record: Mapping[str, Any], names: FieldNames, where: str, limits: Limits) -> str:
    if len(names.texts) == 1:
        name = names.texts[0]
        if name in record:
            return checked_text(record[name], name, where, limits)
    else:
        parts = [checked_text(record[name], name, where, limits) for name in names.texts if name in record]
        if parts:
            return checked_text(" ".join(part for part in parts if part), names.texts[0], where, limits)
    wanted = " or ".join(repr(name) for name in names.texts)
    raise CorpusError(f"{where}: no text field {wanted}; the record has {_listed(record)}: see --text-field")


def checked_text(value: Any, field: str, where: str, limits: Limits) -> str:
    """The text of a field; null is empty.

    Raises `CorpusError` for a value that is no text, NUL characters, half surrogate pairs and more than `limits.text`
    bytes.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CorpusError(f"{where}: the field {field!r} is {_kind(value)}, not a text; name another with --text-field")
    if "\0" in value:
        at = value.index("\0")
        raise CorpusError(f"{where}: character {at + 1} of the field {field!r} is NUL; remove it from the text")
    if len(value) > limits.text or len(_encoded(value, "text", field, where)) > limits.text:
        raise CorpusError(
            f"{where}: the field {field!r} is longer than {limits.text:,} bytes; split it in passages, "
            f"or raise {raising('text')}"
        )
    return value


def _encoded(value: str, what: str, field: str, where: str) -> bytes | str:
    """UTF-8, or the string itself where it is as long."""
    if value.isascii():
        return value
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise CorpusError(
            f"{where}: the {what} ({field!r}) holds half a surrogate pair (\\ud800 to \\udfff), which UTF-8 cannot say; "
            "repair the escape or remove it"
        ) from None


def _metadata(record: Mapping[str, Any], used: frozenset[str], where: str) -> dict[str, Any]:
    """The fields that have no other use. A field "metadata" that is an object is opened: BEIR keeps them there."""
    rest = {name: value for name, value in record.items() if name not in used}
    inner = rest.get("metadata")
    if isinstance(inner, Mapping):
        del rest["metadata"]
        rest = {**inner, **rest}
    for name, value in rest.items():
        check_name(name, name, where)
        check_json(value, name, where)
    return rest


def check_json(value: Any, field: str, where: str) -> None:
    """Refuses what strict JSON in UTF-8 cannot say, or would give back as something else: a tuple comes back as a list.

    Nothing then fails when the index is written, and what is read from it is equal to what was given.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                _encoded(item, "metadata", field, where)
            elif item is None or isinstance(item, bool):
                pass
            elif isinstance(item, int):
                if item.bit_length() > MAX_BITS:
                    raise CorpusError(f"{where}: the field {field!r} holds {_kind(item)}; write it as a string")
            elif isinstance(item, float):
                if not math.isfinite(item):
                    raise CorpusError(f"{where}: the field {field!r} holds {item}, which is no JSON; use null instead")
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, dict):
                for name, inner in item.items():
                    check_name(name, field, where)
                    below.append(inner)
            else:
                remedy = "give a list" if isinstance(item, tuple) else "give a text, a number, a list or a dict"
                raise CorpusError(f"{where}: the field {field!r} holds {_kind(item)}, which JSON cannot keep; {remedy}")
        if not below:
            return
        # Python objects may hold each other in circles: without this, their number could double with each level.
        level = list({id(item): item for item in below}.values())
    raise CorpusError(f"{where}: the field {field!r} is nested deeper than {MAX_DEPTH} levels; flatten it")


def check_name(name: Any, field: Any, where: str) -> None:
    """Refuses a name of a field, or of a value inside it, that is no text: JSON would make texts of numbers, and the
    names 1 and "1" one."""
    if not isinstance(name, str):
        raise CorpusError(f"{where}: a field has {_kind(name)} as its name; names are strings")
    _encoded(name, "metadata", field, where)


def _listed(record: Mapping[str, Any]) -> str:
    """The field names, for a message: quoted, and not more than fit a line."""
    names = [repr(name[:40]) for name in list(record)[:12]]
    if len(record) > 12:
        names.append(f"{len(record) - 12} more")
    return ", ".join(names) or "no fields"


def _kind(value: Any) -> str:
    """A JSON value by the name of its kind, anything else by its type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        return "a number of too many digits"
    if isinstance(value, int | float):
        return f"the number {str(value)[:20]}"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    kind = type(value)
    return f"a {kind.__qualname__}" if kind.__module__ == "builtins" else f"a {kind.__module__}.{kind.__qualname__}"
