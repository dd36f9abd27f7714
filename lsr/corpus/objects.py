"""Documents from Python objects: the same rules as for records of a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lsr.corpus.fields import Record, check_name, documents
from lsr.corpus.records import Document
from lsr.corpus.streams import shown
from lsr.errors import CorpusError, InvalidInput
from lsr.limits import Limits

__all__ = ["given_documents"]

# Limits are against files that nobody has seen; what is given here is in memory already.
_NO_LIMITS = Limits(line=1 << 62, text=1 << 62, id=1 << 62, archive_ratio=1 << 62)


def given_documents(
    items: Iterable[Document | Mapping[str, Any] | str],
    *,
    id_field: str | None = None,
    text_fields: Sequence[str] = (),
    limits: Limits = _NO_LIMITS,
) -> Iterator[Document]:
    """Documents from texts, `Document`s, or mappings with the field names that files may have.

    Raises as `read_documents` does for values that a file could not hold, naming the number of the document (from 0) or
    its own `where`, and `InvalidInput` for an item of another kind. Sizes are not limited unless `limits` says so.
    """
    # A mapping would be read as its keys, a table of pandas as the names of its columns.
    if (
        isinstance(items, str | bytes | Mapping | Document)
        or hasattr(items, "columns")
        or not hasattr(items, "__iter__")
    ):
        raise InvalidInput(
            f"the documents are given as a {type(items).__name__}: give a list or another iterable of texts, mappings or"
            " lsr.Document"
        )
    fields = (text_fields,) if isinstance(text_fields, str) else tuple(text_fields)
    return documents(_records(items), id_field=id_field, text_fields=fields, limits=limits)


def _records(items: Iterable[Document | Mapping[str, Any] | str]) -> Iterator[Record]:
    for number, item in enumerate(items):
        where = f"document {number}"
        if isinstance(item, str):
            yield {"text": item}, where
        elif isinstance(item, Document):
            where = shown(item.where) if item.where else where
            if not isinstance(item.metadata, Mapping):
                raise CorpusError(f"{where}: its metadata are a {type(item.metadata).__name__}; give a mapping")
            yield {"id": item.id, "title": item.title, "text": item.text, "metadata": item.metadata}, where
        elif isinstance(item, Mapping):
            for name in item:
                check_name(name, name, where)
            yield item, where
        else:
            raise InvalidInput(f"{where} is a {type(item).__name__}: give texts, mappings or lsr.Document")
