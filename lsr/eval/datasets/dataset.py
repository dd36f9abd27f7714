"""Dataset: what a system is evaluated on, whatever it was read from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from lsr.corpus import Document, Query
from lsr.errors import InvalidInput
from lsr.eval.datasets import conventions
from lsr.eval.qrels import Qrels

__all__ = ["Dataset", "assembled"]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A collection with judged queries.

    `source` says for people what it was read from, without the path. `queries` are the judged ones, in the order of their
    file. `relevance_threshold` is the grade from which a document counts as relevant in binary measures (graded ones use
    the grades). `drop_self`: hits with the id of the query do not count. `notes` are caveats, a sentence each.
    """

    name: str
    split: str | None
    source: str
    queries: tuple[Query, ...] = field(repr=False)
    qrels: Qrels = field(repr=False)
    relevance_threshold: int
    drop_self: bool
    notes: tuple[str, ...]
    reader: Callable[[], Iterator[Document]] = field(repr=False, compare=False)

    def documents(self) -> Iterator[Document]:
        """The documents, streamed from the source; each call starts again. Raises as the source's reader does."""
        return self.reader()


def assembled(
    name: str,
    split: str | None,
    source: str,
    queries: Iterable[Query],
    qrels: Qrels,
    reader: Callable[[], Iterator[Document]],
    threshold: int | None = None,
    notes: tuple[str, ...] = (),
) -> Dataset:
    """A dataset with the conventions that its name stands for; `threshold` given overrides that of the name.

    Raises `InvalidInput` for a threshold below 1.
    """
    if threshold is not None and threshold < 1:
        raise InvalidInput(f"a relevance threshold of {threshold}: it is the lowest grade that is relevant, at least 1")
    judged, unjudged = [], 0
    for query in queries:
        if query.id in qrels:
            judged.append(query)
        else:
            unjudged += 1
    full_name = f"{name}/{split}" if split else name
    usual, drop_self = conventions.relevance_threshold(full_name), conventions.drops_self(name)
    remarks = [*notes, *conventions.caveats(name)]
    if unjudged:
        remarks.append(f"{unjudged:,} queries without judgments are left out.")
    if threshold is None and usual > 1:
        remarks.append(f"Binary measures count grades of {usual} and more as relevant, as TREC Deep Learning does.")
    if drop_self:
        remarks.append("A document that has the id of the query is left out of its hits.")
    return Dataset(
        name=name,
        split=split,
        source=source,
        queries=tuple(judged),
        qrels=qrels,
        relevance_threshold=usual if threshold is None else threshold,
        drop_self=drop_self,
        notes=tuple(remarks),
        reader=reader,
    )
