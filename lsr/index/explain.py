"""Why a document was found: matched terms, and the part of its text that shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lsr.errors import CorruptIndex
from lsr.hits import Explanation, Snippet, TermMatch

if TYPE_CHECKING:
    from lsr.index.query_side import TermNames
    from lsr.index.storage.segment import Segment

__all__ = ["explain", "snippet"]

SNIPPET = 240  # characters
_LONG = 100_000  # characters of a text that are searched for the best part


def explain(
    segment: Segment,
    row: int,
    terms: npt.NDArray[Any],
    weights: npt.NDArray[np.float32],
    encoder: TermNames | None,
) -> Explanation:
    """The contributions of a query's terms to the score of a document.

    terms [n] rising, weights float32 [n]: the sparse query. The score is summed as the engines sum it (see
    `kernels.exact`), so it equals theirs to the last bit.
    """
    document_terms, codes = segment.document_codes(row)
    if np.any(document_terms[1:] <= document_terms[:-1]):
        raise CorruptIndex(f"the terms of document {row} are out of order; run `lsr check --full`")
    _, in_query, in_document = np.intersect1d(terms, document_terms, assume_unique=True, return_indices=True)
    scale = np.float32(segment.entry.scale)
    products = (weights[in_query] * scale) * codes[in_document].astype(np.float32)
    score = np.float32(0)
    for product in products:
        score += product
    matches = [
        TermMatch(
            token=str(terms[q]) if encoder is None else encoder.token(int(terms[q])),
            query_weight=float(weights[q]),
            document_weight=float(scale * np.float32(codes[d])),
            contribution=float(product),
        )
        for q, d, product in zip(in_query, in_document, products, strict=True)
    ]
    matches.sort(key=lambda match: -match.contribution)
    shown = Snippet("")
    record = segment.texts[row] if segment.texts is not None else None
    if record is not None:
        gains = {int(terms[q]): float(product) for q, product in zip(in_query, products, strict=True)}
        shown = snippet(record.text or record.title, gains, encoder)
    return Explanation(score=float(score), terms=tuple(matches), snippet=shown)


def snippet(text: str, gains: Mapping[int, float], encoder: TermNames | None, width: int = SNIPPET) -> Snippet:
    """The stretch of a text whose matched words contribute most, each term counted once; the earliest such stretch.

    gains: term id -> contribution to the score. Words that the document only implies are not in its text, so the
    contributions of a snippet need not add up to the score.
    """
    text = text[:_LONG]
    spans = [] if encoder is None else [(s, e, t) for t, s, e in encoder.spans(text) if t in gains]
    start, end = _bounds(text, _best_start(spans, gains, width), width)
    marks: list[tuple[int, int]] = []
    for low, high, _ in spans:
        if low >= start and high <= end:
            if marks and marks[-1][1] >= low:  # pieces of one word
                marks[-1] = (marks[-1][0], high)
            else:
                marks.append((low, high))
    shown, places = _one_line(text, start, end)
    before, after = "…" if start > 0 else "", "…" if end < len(text) else ""
    shift = len(before)
    return Snippet(
        before + shown + after,
        tuple((places[low - start] + shift, places[high - start] + shift) for low, high in marks),
    )


def _one_line(text: str, start: int, end: int) -> tuple[str, list[int]]:
    """text[start:end] with every run of white space as one space, and where each of its characters went."""
    kept: list[str] = []
    places = []
    for character in text[start:end]:
        places.append(len(kept))
        if not character.isspace():
            kept.append(character)
        elif kept and kept[-1] != " ":
            kept.append(" ")
    places.append(len(kept))
    return "".join(kept), places


def _best_start(spans: list[tuple[int, int, int]], gains: Mapping[int, float], width: int) -> int:
    """Start of the window with the largest sum of gains of distinct terms, by two pointers over the matches."""
    best, best_start = 0.0, 0
    inside: dict[int, int] = {}
    first = 0
    for low, high, term in spans:
        inside[term] = inside.get(term, 0) + 1
        while first < len(spans) and high - spans[first][0] > width * 3 // 4:
            left = spans[first]
            if left[0] > low:
                break
            inside[left[2]] -= 1
            if not inside[left[2]]:
                del inside[left[2]]
            first += 1
        gain = sum(gains[t] for t in inside)
        if gain > best + 1e-9:
            best, best_start = gain, spans[min(first, len(spans) - 1)][0]
    return best_start


def _bounds(text: str, start: int, width: int) -> tuple[int, int]:
    """Start and end of a snippet at word borders, with a little before the first match."""
    if len(text) <= width:
        return 0, len(text)
    start = max(0, min(start - width // 8, len(text) - width))
    end = start + width
    if start > 0:
        space = text.find(" ", start, start + width // 4)
        start = start if space < 0 else space + 1
    if end < len(text):
        space = text.rfind(" ", end - width // 4, end)
        end = end if space < 0 else space
    return start, end
