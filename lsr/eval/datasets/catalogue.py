"""A collection of ir_datasets' catalogue, by its id, from the files that are on this machine."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

from lsr.corpus import Document, Query
from lsr.errors import DatasetNotFound, EvaluationError, LsrError, one_line
from lsr.eval.datasets import guard
from lsr.eval.datasets.dataset import Dataset, assembled
from lsr.eval.datasets.folder import chosen_split
from lsr.eval.qrels import Judgment, Qrels, collected

__all__ = ["catalogue_dataset"]

BATCH = 256  # documents taken while ir_datasets is guarded
TEXT_FIELDS = ("text", "body", "abstract", "contents", "code", "summary")


def catalogue_dataset(
    spec: str,
    split: str | None = None,
    threshold: int | None = None,
    *,
    download: bool = False,
    places: tuple[str, ...] = (),
    local_names: Callable[[], Iterable[str]] = tuple,
) -> Dataset:
    """The collection that ir_datasets knows by the id `spec`, or by `spec`/`split`.

    split: where the id has judgments only below it, "test" if None, or the only one. download: fetch what is missing.
    places and local_names: where else the collection could be, and what is there, for messages.

    Raises `DatasetNotFound` for an unknown id, with the nearest names, and for files that are not on this machine, with the
    place for each; `MissingExtra` without ir_datasets; `EvaluationError` for a collection that cannot be read so.
    """
    ir = guard.imported(f"{spec}: no such folder or zip; looking it up in a catalogue")
    with _translated(spec), guard.guarded(ir, download=download):
        ident, chosen = _judged(ir.registry, spec, split, places, local_names)
        found = ir.registry[ident]
        for part in ("docs", "queries"):
            if not found.has(part):
                raise EvaluationError(f"{ident}: ir_datasets has no {part} for it; choose a collection that has")
    qrels, queries = _present(ir, found, ident, download, places)
    name = ident.removesuffix(f"/{chosen}") if chosen else ident
    return assembled(
        name,
        chosen,
        f"{ident} (ir_datasets {ir.__version__})",
        queries,
        qrels,
        partial(_documents, ir, found, ident, download),
        threshold,
    )


def _judged(
    registry: Any, spec: str, split: str | None, places: tuple[str, ...], local_names: Callable[[], Iterable[str]]
) -> tuple[str, str | None]:
    """The id that has the judgments, and its split: the last part of the id where it names one."""
    known = spec.strip("/")
    ident = known if split is None or known.endswith(f"/{split}") else f"{known}/{split}"
    if _has_judgments(registry, ident):
        # beir/scifact/test is the split "test" of beir/scifact, wherever it is read from.
        last = ident.rsplit("/", 1)[-1]
        of_beir = ident.startswith("beir/") and last in ("train", "dev", "test")
        return ident, last if of_beir or split is not None else None
    parent, _, last = ident.rpartition("/")
    if parent.startswith("beir/") and last == "test" and _has_judgments(registry, parent):
        return parent, None  # ir_datasets names no split where there is one only
    if not _known(registry, known):
        raise _unknown(registry, known, places, local_names())
    below = [name.removeprefix(f"{known}/") for name in registry if name.startswith(f"{known}/")]
    splits = [part for part in below if "/" not in part and _has_judgments(registry, f"{known}/{part}")]
    if not splits and not _has_judgments(registry, known):
        raise EvaluationError(f"{known}: ir_datasets has no judgments for it; choose a collection that has")
    chosen = chosen_split(splits, split, known)
    return f"{known}/{chosen}", chosen


def _known(registry: Any, ident: str) -> bool:
    try:
        registry[ident]
    except KeyError:
        return False
    return True


def _has_judgments(registry: Any, ident: str) -> bool:
    return _known(registry, ident) and bool(registry[ident].has("qrels"))


def _unknown(registry: Any, spec: str, places: tuple[str, ...], local_names: Iterable[str]) -> DatasetNotFound:
    names = dict.fromkeys([*local_names, *registry])
    close = difflib.get_close_matches(spec, names, n=3, cutoff=0.6)
    last = spec.rsplit("/", 1)[-1]  # "scifact" is far from "beir/scifact" in letters
    close += [name for name in names if name not in close and last in name.split("/")]
    hint = (
        f"did you mean {' or '.join(close[:3])}?" if close else "give a folder, a BEIR zip, or an id of ir-datasets.com"
    )
    looked = f", not in {' or '.join(places)} either" if places else ""
    return DatasetNotFound(f"{spec}: no such folder or zip{looked}, and no such id in ir_datasets; {hint}")


def _present(ir: Any, found: Any, ident: str, download: bool, places: tuple[str, ...]) -> tuple[Qrels, list[Query]]:
    """Judgments and queries, and the first document too, so that all that is missing is said at once and early."""
    missing: list[str] = []

    def tried(read: Callable[[], Any]) -> Any:
        with _translated(ident), guard.guarded(ir, download=download):
            try:
                return read()
            except (guard.NotHere, FileNotFoundError) as error:
                missing.append(_absent(error))

    qrels = tried(lambda: collected(_judgments(found, ident), ident))
    queries = tried(lambda: _queries(found, ident))
    tried(lambda: next(iter(found.docs_iter()), None))
    if missing:
        raise _not_here(ident, missing, places)
    return qrels, queries


def _not_here(ident: str, missing: Iterable[str], places: tuple[str, ...] = ()) -> DatasetNotFound:
    looked = f", or the collection in {' or '.join(places)}" if places else ""
    files = "; ".join(dict.fromkeys(missing))
    return DatasetNotFound(f"{ident}: not on this machine: {files}; put it there{looked}, or use --download")


def _absent(error: guard.NotHere | FileNotFoundError) -> str:
    """A file that is missing, and where it goes, for a message."""
    if isinstance(error, FileNotFoundError):
        return str(error.filename or one_line(error))
    if error.path is None:
        return f"{error.url} (of which ir_datasets keeps no copy)"
    return f"{error.url} (its place is {error.path})"


@contextmanager
def _translated(ident: str) -> Iterator[None]:
    """What ir_datasets raises, which may be anything, as errors of ours."""
    try:
        yield
    except LsrError:
        raise
    except (guard.NotHere, FileNotFoundError) as error:
        raise _not_here(ident, [_absent(error)]) from None
    except Exception as error:
        raise EvaluationError(f"{ident}: ir_datasets cannot read it ({one_line(error)})") from error


def _judgments(found: Any, ident: str) -> Iterator[Judgment]:
    for number, judgment in enumerate(found.qrels_iter(), start=1):
        grade = judgment.relevance
        if int(grade) != grade:
            raise EvaluationError(f"{ident}: judgment {number}: the grade {grade} is no whole number")
        yield Judgment(str(judgment.query_id), str(judgment.doc_id), int(grade), f"{ident}: judgment {number}")


def _queries(found: Any, ident: str) -> list[Query]:
    queries: dict[str, Query] = {}
    for number, query in enumerate(found.queries_iter(), start=1):
        where = f"{ident}: query {number}"
        text = query.default_text() if hasattr(query, "default_text") else getattr(query, "text", None)
        if not isinstance(text, str):
            raise EvaluationError(f"{where}: it is no text (fields: {', '.join(query._fields)}); nothing can be asked")
        if query.query_id in queries:
            raise EvaluationError(f"{where}: the query id {query.query_id!r} comes twice")
        queries[query.query_id] = Query(str(query.query_id), text, where)
    return list(queries.values())


def _documents(ir: Any, found: Any, ident: str, download: bool) -> Iterator[Document]:
    """The documents. ir_datasets is guarded only while it works: nothing stays changed between two documents."""
    number = 0
    documents: Iterator[Any] | None = None
    batch: list[Document] = []
    while documents is None or len(batch) == BATCH:
        with _translated(ident), guard.guarded(ir, download=download):
            if documents is None:
                documents = iter(found.docs_iter())
            batch = [
                _document(item, f"{ident}: document {at}")
                for at, item in enumerate(islice(documents, BATCH), start=number + 1)
            ]
        number += len(batch)
        yield from batch


def _document(item: Any, where: str) -> Document:
    """A document of ir_datasets: title and text are such that `content` is what ir_datasets calls the default text.

    Of a kind without default text, title and the first field with a text are taken.
    """
    title = getattr(item, "title", "")
    title = title if isinstance(title, str) else ""
    if hasattr(item, "default_text"):
        text = item.default_text()
        if isinstance(text, str) and text.startswith(title) and not text[len(title) : len(title) + 1].strip():
            text = text[len(title) + 1 :]
        else:
            title = ""
    else:
        fields = [value for name in TEXT_FIELDS if isinstance(value := getattr(item, name, None), str)]
        text = fields[0] if fields else None
    if not isinstance(text, str):
        raise EvaluationError(f"{where}: it has no text (fields: {', '.join(item._fields)}); it cannot be searched")
    return Document(id=str(item.doc_id), text=text, title=title, where=where)
