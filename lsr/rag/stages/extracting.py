"""Compression without a language model: the sentences that matter, as they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from lsr.corpus.passages import sentence_places
from lsr.rag.resources import Resources
from lsr.rag.stages.base import Compression, Evidence, Results, stage
from lsr.rag.types import Found, Span
from lsr.schema import between

__all__ = ["Extractive", "sentences_of"]


@stage("compress", "extractive")
@dataclass(frozen=True)
class Extractive(Compression):
    """Of each piece, the share of its sentences that are most like the question (scores of the bundled encoder), at least
    one, in their order. Spans become those of the sentences that stay."""

    share: float = field(default=0.5, metadata=between(0.01, 1))

    def compress(self, questions: Sequence[str], found: Sequence[Evidence], resources: Resources) -> Results[Evidence]:
        cut = [[sentences_of(piece) for piece in pieces] for pieces in found]
        flat = [[part.content for parts in pieces for part in parts] for pieces in cut]
        scores = resources.relevance(questions, flat)
        result = []
        for pieces, parts_of, mine in zip(found, cut, scores, strict=True):
            kept, at = [], 0
            for piece, parts in zip(pieces, parts_of, strict=True):
                kept.append(self._kept(piece, parts, mine[at : at + len(parts)]))
                at += len(parts)
            result.append(tuple(kept))
        return result

    def _kept(self, piece: Found, parts: list[Found], scores: npt.ArrayLike) -> Found:
        if not parts:
            return piece
        most = max(1, round(self.share * len(parts)))
        chosen = sorted(np.argsort(-np.asarray(scores), kind="stable")[:most].tolist())
        spans = tuple(span for at in chosen for span in parts[at].spans)
        return replace(piece, text=" ".join(parts[at].text for at in chosen), spans=spans)


def sentences_of(piece: Found) -> list[Found]:
    """The sentences of a piece, each with its own place where the piece is one stretch of a document, else with all of
    them."""
    whole = piece.spans[0] if len(piece.spans) == 1 and piece.spans[0].length == len(piece.text) else None
    made = []
    for start, end in sentence_places(piece.text):
        spans = piece.spans if whole is None else (Span(whole.document, whole.start + start, whole.start + end),)
        made.append(replace(piece, text=piece.text[start:end], spans=spans))
    return made
