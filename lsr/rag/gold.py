"""Gold: which characters of which documents answer a question, from what people write for it.

A document's id is its whole text; {"document": ID, "start": 10, "end": 80} are characters of it, and {"document": ID,
"quote": "..."} is a passage of it, which may have other white space. Ids are those of the file of documents, also where
documents were joined; those of joined documents are known too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from lsr.corpus import Document
from lsr.errors import DuplicateId, EvaluationError, InvalidInput
from lsr.rag.types import Span

__all__ = ["Corpus", "GoldReader", "collected", "gold_items", "joined"]

JOINER = "\n\n"  # a blank line: what chunkers cut at first
AUTO_FIELD = "article_id"
SHOWN = 5  # of what is wrong, in a message
_SEARCHED = 20_000  # documents among whose ids a near one is looked for
_KEYS = ("document", "start", "end", "quote")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents by id, in the order of their file, and where each document of the file stands in them."""

    documents: dict[str, Document]
    places: Mapping[str, Span]

    def place(self, id: str) -> Span | None:
        """The characters that a document of the file, or a joined one, has; None where there is no such document."""
        if (place := self.places.get(id)) is not None:
            return place
        return Span(id, 0, len(self.documents[id].text)) if id in self.documents else None


def collected(documents: Iterable[Document]) -> Corpus:
    """Documents by their ids. Raises `DuplicateId` that names both places."""
    found: dict[str, Document] = {}
    for document in documents:
        if document.id in found:
            before = found[document.id].where
            raise DuplicateId(
                f"{document.where}: the document id {document.id!r} was given at {before} already; make ids distinct"
            )
        found[document.id] = document
    return Corpus(found, {id: Span(id, 0, len(document.text)) for id, document in found.items()})


def joined(corpus: Corpus, by: str) -> Corpus:
    """Documents with the same value of a metadata field as one, in the order of the file; see `open_rag_data`.

    by: the field, or "auto": article_id where all documents have it, otherwise nothing is joined.
    Raises `InvalidInput` where a document lacks the field, or its id is the name of a joined document that is not it alone.
    """
    lacking = next(
        (d for d in corpus.documents.values() if d.metadata.get(AUTO_FIELD if by == "auto" else by) in (None, "")), None
    )
    if lacking is not None:
        if by == "auto":
            return corpus
        close = get_close_matches(by, lacking.metadata, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(lacking.metadata) or 'no metadata'}"
        raise InvalidInput(f"{lacking.where or lacking.id}: no field {by!r} to join by; {hint}")
    field_name = AUTO_FIELD if by == "auto" else by
    groups: dict[str, list[Document]] = {}
    for document in corpus.documents.values():
        groups.setdefault(str(document.metadata[field_name]), []).append(document)
    places: dict[str, Span] = {}
    whole: dict[str, Document] = {}
    for id, parts in groups.items():
        if id in corpus.documents and [part.id for part in parts] != [id]:
            raise InvalidInput(
                f"{corpus.documents[id].where}: {id!r} is the id of a document and the {field_name} of others: gold would "
                "be ambiguous; rename one of them"
            )
        at = 0
        for part in parts:
            places[part.id] = Span(id, at, at + len(part.text))
            at += len(part.text) + len(JOINER)
        whole[id] = replace(
            parts[0],
            id=id,
            text=JOINER.join(part.text for part in parts),
            title=next((part.title for part in parts if part.title), ""),
            metadata=_shared(parts),
            numbered=False,
        )
    return Corpus(whole, places)


def _shared(parts: Sequence[Document]) -> dict[str, Any]:
    """Metadata that all parts have alike."""
    lacking = object()
    return {
        name: value
        for name, value in parts[0].metadata.items()
        if all(part.metadata.get(name, lacking) == value for part in parts[1:])
    }


def gold_items(value: Any, where: str) -> list[Any]:
    """The items of a field of gold: none, one or a list; text that is JSON, as tables hold it, is read."""
    if value is None or value == "":
        return []
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise EvaluationError(f"{where}: gold is malformed JSON ({error.msg}); write ids or a list") from None
    return value if isinstance(value, list) else [value]


@dataclass(slots=True)
class GoldReader:
    """Reads gold against a corpus, and remembers all that is not in it, to be said at once by `check`."""

    corpus: Corpus
    missing: list[str] = field(default_factory=list)
    ambiguous: int = 0  # quotes that stand at several places; the first counts

    def spans(self, items: Iterable[Any], where: str) -> tuple[Span, ...]:
        """Raises `EvaluationError` for an item that is no id and no span; one that is not in the corpus is left out."""
        found = [self._span(item, where) for item in items]
        return tuple(dict.fromkeys(span for span in found if span is not None))

    def check(self) -> None:
        """Raises `EvaluationError` that lists what is missing."""
        if self.missing:
            more = f"; and {len(self.missing) - SHOWN:,} more" if len(self.missing) > SHOWN else ""
            raise EvaluationError(
                f"gold that is not in the corpus ({len(self.missing):,} in all): {'; '.join(self.missing[:SHOWN])}{more}; "
                "give the corpus that the questions were made for"
            )

    def _span(self, item: Any, where: str) -> Span | None:
        if isinstance(item, int) and not isinstance(item, bool):
            item = str(item)
        if isinstance(item, str):
            item = {"document": item}
        if not isinstance(item, Mapping):
            raise EvaluationError(f"{where}: gold is {str(item)[:40]!r}; it must be ids of documents, or spans")
        for key in item:
            if key not in _KEYS:
                close = get_close_matches(str(key), _KEYS, n=1, cutoff=0.5)
                hint = f"did you mean {close[0]}?" if close else f"a span has {', '.join(_KEYS)}"
                raise EvaluationError(f"{where}: gold has an unknown key {str(key)[:40]!r}; {hint}")
        id, start, end, quote = (item.get(key) for key in _KEYS)
        if not isinstance(id, str | int) or isinstance(id, bool):
            raise EvaluationError(f"{where}: gold names no document; write {{'document': ID, 'quote': TEXT}}")
        if quote is not None and (start is not None or end is not None):
            raise EvaluationError(f"{where}: gold has a quote and places; give one of them")
        place = self.corpus.place(str(id))
        if place is None:
            self.missing.append(f"{where}: no document {str(id)[:80]!r}{self._near(str(id))}")
            return None
        if quote is not None:
            return self._quoted(place, quote, where, str(id))
        return place if start is None and end is None else self._placed(place, start, end, where, str(id))

    def _placed(self, place: Span, start: Any, end: Any, where: str, id: str) -> Span | None:
        if not all(type(value) is int for value in (start, end)) or not 0 <= start < end:
            raise EvaluationError(
                f"{where}: gold is [{start!r}, {end!r}) of {id!r}; start and end are characters, start before end"
            )
        if end > place.length:
            self.missing.append(f"{where}: [{start:,}, {end:,}) of {id!r}, which has {place.length:,} characters")
            return None
        return Span(place.document, place.start + start, place.start + end)

    def _quoted(self, place: Span, quote: Any, where: str, id: str) -> Span | None:
        if not isinstance(quote, str) or not quote.strip():
            raise EvaluationError(f"{where}: the quote of {id!r} is {str(quote)[:40]!r}; it must be a text of it")
        text = self.corpus.documents[place.document].text[place.start : place.end]
        pattern = re.compile(r"\s+".join(map(re.escape, quote.split())))
        matches = list(pattern.finditer(text))
        if not matches:
            self.missing.append(f"{where}: no {' '.join(quote.split())[:60]!r} in the document {id!r}")
            return None
        self.ambiguous += len(matches) > 1
        return Span(place.document, place.start + matches[0].start(), place.start + matches[0].end())

    def _near(self, id: str) -> str:
        if self.missing or len(self.corpus.places) > _SEARCHED:
            return ""
        close = get_close_matches(id, [*self.corpus.places, *self.corpus.documents], n=1, cutoff=0.6)
        return f" (did you mean {close[0]!r}?)" if close else ""
