"""Evidence with what stands around it in its document.

What comes out are stretches of documents: pieces that overlap or touch become one, in the place and with the score of the
better. Their texts are the document's own characters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from lsr.rag.resources import Resources
from lsr.rag.stages.base import Augmentation, Evidence, Results, stage
from lsr.rag.types import Found, Passage, Passages, Span
from lsr.schema import between

__all__ = ["Neighbours", "Parents", "Segments", "joined"]


@stage("augment", "neighbours")
@dataclass(frozen=True)
class Neighbours(Augmentation):
    """Each piece with the passages before and after it."""

    before: int = field(default=1, metadata=between(0, 20))
    after: int = field(default=1, metadata=between(0, 20))

    def augment(
        self, questions: Sequence[str], found: Sequence[Evidence], passages: Passages, resources: Resources
    ) -> Results[Evidence]:
        return [
            joined([(self._around(piece, passages), piece.score) for piece in pieces], passages) for pieces in found
        ]

    def _around(self, piece: Found, passages: Passages) -> list[Passage]:
        around = []
        for id in piece.passages:
            for offset in range(-self.before, self.after + 1):
                beside = passages.beside(id, offset)
                if beside is not None and beside not in around:
                    around.append(beside)
        return around or [passages.named(id) for id in piece.passages]


@stage("augment", "parents")
@dataclass(frozen=True)
class Parents(Augmentation):
    """Each piece becomes its document, or where that has more words the passages around it up to so many."""

    words: int = field(default=600, metadata=between(20, 100_000))

    def augment(
        self, questions: Sequence[str], found: Sequence[Evidence], passages: Passages, resources: Resources
    ) -> Results[Evidence]:
        return [joined([(self._grown(piece, passages), piece.score) for piece in pieces], passages) for pieces in found]

    def _grown(self, piece: Found, passages: Passages) -> list[Passage]:
        taken = [passages.named(id) for id in piece.passages]
        first, last = piece.passages[0], piece.passages[-1]
        size = sum(len(passage.text.split()) for passage in taken)
        sides = [-1, 1]
        while sides:
            for side in list(sides):
                beside = passages.beside(first if side < 0 else last, side)
                more = 0 if beside is None else len(beside.text.split())
                if beside is None or size + more > self.words:
                    sides.remove(side)
                    continue
                size += more
                taken.insert(0, beside) if side < 0 else taken.append(beside)
                first, last = taken[0].id, taken[-1].id
        return taken


@stage("augment", "segments")
@dataclass(frozen=True)
class Segments(Augmentation):
    """Relevant segment extraction (dsRAG; RAGSmith 2025): the runs of neighbouring passages with the largest sums of
    values.

    The value of a passage is exp(-rank / decay) x its score as a share of the best, less `penalty`; one that was not found
    has -penalty, so a run may span it where what lies around is worth it. At most `length` passages a segment, `total` in
    all."""

    length: int = field(default=5, metadata=between(1, 100))
    total: int = field(default=10, metadata=between(1, 1000))
    penalty: float = field(default=0.18, metadata=between(0, 1))
    decay: float = field(default=30.0, metadata=between(0.1, 10_000))

    def augment(
        self, questions: Sequence[str], found: Sequence[Evidence], passages: Passages, resources: Resources
    ) -> Results[Evidence]:
        return [self._segments(pieces, passages) for pieces in found]

    def _segments(self, pieces: Evidence, passages: Passages) -> Evidence:
        best = max((piece.score for piece in pieces), default=0.0)
        values: dict[int, float] = {}
        scores: dict[int, float] = {}
        for rank, piece in enumerate(pieces):
            share = piece.score / best if best > 0 else 1.0
            for id in piece.passages:
                place = passages.place(id)
                values.setdefault(place, math.exp(-rank / self.decay) * share - self.penalty)
                scores.setdefault(place, piece.score)
        taken: set[int] = set()
        segments: list[tuple[list[Passage], float]] = []
        while len(taken) < self.total:
            run = self._best_run(values, taken, min(self.length, self.total - len(taken)), passages)
            if run is None:
                break
            taken.update(run)
            segments.append(([passages[place] for place in run], max(scores.get(place, 0.0) for place in run)))
        return joined(segments, passages)

    def _best_run(self, values: dict[int, float], taken: set[int], most: int, passages: Passages) -> range | None:
        """Places of the run that begins at a passage that was found and ends at one, with the largest sum above 0."""
        best, chosen = 0.0, None
        for first in sorted(values):
            total = 0.0
            for last in range(first, min(first + most, len(passages))):
                if last in taken or passages.beside(passages[first].id, last - first) is None:
                    break
                total += values.get(last, -self.penalty)
                if last in values and total > best:
                    best, chosen = total, range(first, last + 1)
        return chosen


def joined(groups: Sequence[tuple[Sequence[Passage], float]], passages: Passages) -> Evidence:
    """Stretches of documents that groups of passages, each with a score, cover. Of groups that touch in a document one
    piece is made, where the first of them stood."""
    stretches: list[tuple[Span, float, list[Passage]]] = []
    for group, score in groups:
        members = [passage for passage in group if passage.spans]
        if not members:
            continue
        span = _whole([place for passage in members for place in passage.spans])
        touching = [at for at, (other, _, _) in enumerate(stretches) if _touch(span, other, passages)]
        for at in touching:
            other, better, theirs = stretches[at]
            span, score = _whole([span, other]), max(score, better)
            members += [passage for passage in theirs if passage not in members]
        if touching:
            stretches[touching[0]] = span, score, members
            for at in reversed(touching[1:]):
                del stretches[at]
        else:
            stretches.append((span, score, members))
    made = []
    for span, score, members in stretches:
        members.sort(key=lambda passage: passages.place(passage.id))
        text = passages.text_of([span])
        made.append(Found(text, members[0].title, (span,), score, tuple(passage.id for passage in members)))
    return tuple(made)


def _whole(spans: Sequence[Span]) -> Span:
    return Span(spans[0].document, min(span.start for span in spans), max(span.end for span in spans))


def _touch(one: Span, other: Span, passages: Passages) -> bool:
    same = one.document == other.document
    return same and one.start <= _next(other, passages) and other.start <= _next(one, passages)


def _next(span: Span, passages: Passages) -> int:
    """Where what follows on a span begins: white space between two passages parts nothing."""
    text = passages.documents[span.document].text
    end = span.end
    while end < len(text) and text[end].isspace():
        end += 1
    return end
