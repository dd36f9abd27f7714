"""Hits: the ranked answer to one query, as every engine and stage gives it."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, overload

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput

__all__ = [
    "Explanation",
    "Hit",
    "HitSource",
    "Hits",
    "Reranker",
    "Snippet",
    "TermMatch",
    "TokenMatch",
    "TokenMatches",
]

_SHOWN = 10  # hits shown by repr
_MARK = ("«", "»")


@dataclass(frozen=True, slots=True)
class TermMatch:
    """One term that query and document share. `contribution` is query weight x document weight."""

    token: str
    query_weight: float
    document_weight: float
    contribution: float


@dataclass(frozen=True, slots=True)
class Snippet:
    """The part of a text that shows best why it was found; `marks` are [start, end) of matched words in `text`."""

    text: str
    marks: tuple[tuple[int, int], ...] = ()

    def pieces(self) -> Iterator[tuple[str, bool]]:
        """The text in order, as (piece, whether it is a match)."""
        at = 0
        for start, end in self.marks:
            if at < start:
                yield self.text[at:start], False
            yield self.text[start:end], True
            at = end
        if at < len(self.text):
            yield self.text[at:], False

    def __str__(self) -> str:
        return "".join(f"{_MARK[0]}{piece}{_MARK[1]}" if matched else piece for piece, matched in self.pieces())

    def _repr_html_(self) -> str:
        return "".join(
            f"<mark>{html.escape(piece)}</mark>" if matched else html.escape(piece) for piece, matched in self.pieces()
        )


@dataclass(frozen=True, slots=True)
class TokenMatch:
    """A token of a query, and the token of the document that is most like it: their texts, the product of their vectors, and
    [start, end) of each in its text; None for one that stands for none of it, as markers do."""

    query: str
    document: str
    similarity: float
    query_span: tuple[int, int] | None
    span: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class TokenMatches:
    """Why a document has its score by token vectors: a match for each token of the query, in its order.

    text: title and text as they were encoded, in which the spans are; stored: the score that the stored vectors give, which
    were compressed with `codec`, NaN where there are none.
    """

    text: str
    matches: tuple[TokenMatch, ...]
    stored: float
    codec: str

    @property
    def score(self) -> float:
        """The similarities, added up: MaxSim of the vectors before they were compressed."""
        return float(sum(match.similarity for match in self.matches))

    def pieces(self) -> Iterator[tuple[str, float]]:
        """The text in order, as (piece, strength): the similarities of all tokens of the query that it matches, as a share of
        the largest such sum, 0 to 1."""
        sums: dict[tuple[int, int], float] = {}
        for match in self.matches:
            if match.span is not None and match.similarity > 0:
                sums[match.span] = sums.get(match.span, 0.0) + match.similarity
        at, most = 0, max(sums.values(), default=1.0)
        for (start, end), strength in sorted(sums.items()):
            start = max(start, at)  # tokens of some models overlap
            if start >= end:
                continue
            if at < start:
                yield self.text[at:start], 0.0
            yield self.text[start:end], strength / most
            at = end
        if at < len(self.text):
            yield self.text[at:], 0.0

    def __str__(self) -> str:
        width = max((len(match.query) for match in self.matches), default=0)
        lines = [f"maxsim {self.score:.4f} ={self._beside()}"]
        lines += [f"  {match.query:<{width}}  {match.similarity:8.4f}  {match.document}" for match in self.matches]
        return "\n".join(lines)

    __repr__ = __str__

    def _beside(self) -> str:
        differs = f"{self.stored:.4f}" not in (f"{self.score:.4f}", "nan")
        return f" ({self.stored:.4f} as stored, in {self.codec})" if differs else ""

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'>{html.escape(match.query)}</td>"
            f"<td style='text-align:left'>{html.escape(match.document)}</td><td>{match.similarity:.4f}</td></tr>"
            for match in self.matches
        )
        text = "".join(
            f"<mark style='background:rgba(255,190,0,{strength:.2f})'>{html.escape(piece)}</mark>"
            if strength
            else html.escape(piece)
            for piece, strength in self.pieces()
        )
        return (
            f"<p>{text}</p><table><thead><tr><th style='text-align:left'>query</th><th style='text-align:left'>document</th>"
            f"<th>similarity</th></tr></thead><tbody>{rows}<tr><td colspan='2' style='text-align:left'><b>maxsim</b>"
            f"{html.escape(self._beside())}</td><td><b>{self.score:.4f}</b></td></tr></tbody></table>"
        )


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a document has its score: the matched terms, largest contribution first, which add up to it.

    matches: of a hit that token vectors ranked (`lsr.rerank.MaxSimReranker`), for each token of the query what it matched;
    score and terms are those of the first stage then.
    """

    score: float
    terms: tuple[TermMatch, ...]
    snippet: Snippet
    matches: TokenMatches | None = None

    def __str__(self) -> str:
        width = max((len(term.token) for term in self.terms), default=0)
        lines = [f"score {self.score:.4f} ="]
        lines += [
            f"  {term.token:<{width}}  {term.query_weight:8.4f} x {term.document_weight:7.4f} = {term.contribution:8.4f}"
            for term in self.terms
        ]
        if self.matches is not None:
            lines.insert(0, str(self.matches))
        if self.snippet.text:
            lines.append(str(self.snippet))
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'>{html.escape(term.token)}</td><td>{term.query_weight:.4f}</td>"
            f"<td>{term.document_weight:.4f}</td><td>{term.contribution:.4f}</td></tr>"
            for term in self.terms
        )
        matches = "" if self.matches is None else self.matches._repr_html_()
        return (
            f"{matches}<table><thead><tr><th style='text-align:left'>term</th><th>query</th><th>document</th><th>product</th>"
            f"</tr></thead><tbody>{rows}<tr><td colspan='3' style='text-align:left'><b>score</b></td>"
            f"<td><b>{self.score:.4f}</b></td></tr></tbody></table><p>{self.snippet._repr_html_()}</p>"
        )


class HitSource(Protocol):
    """What hits ask for when someone looks closer: usually the index that found them."""

    def id_of(self, row: int) -> str: ...

    def record_of(self, row: int) -> tuple[str, str, Mapping[str, Any]] | None:
        """(title, text, metadata) of a document, None when texts are not stored."""
        ...

    def explain(self, terms: npt.NDArray[Any], weights: npt.NDArray[np.float32], row: int) -> Explanation: ...


class Hit:
    """One found document. Text and explanation are fetched when asked for."""

    __slots__ = ("_hits", "rank", "row", "score")

    def __init__(self, hits: Hits, rank: int, row: int, score: float) -> None:
        self._hits = hits
        self.rank = rank  # from 1
        self.row = row  # number of the document in the index, from 0
        self.score = score

    @property
    def id(self) -> str:
        return self._hits.source.id_of(self.row)

    @property
    def title(self) -> str | None:
        """The stored title ("" where the document has none), None when the index keeps no texts."""
        record = self._hits.source.record_of(self.row)
        return None if record is None else record[0]

    @property
    def text(self) -> str | None:
        """The stored text, None when the index keeps no texts."""
        record = self._hits.source.record_of(self.row)
        return None if record is None else record[1]

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The other fields of the document, empty when the index keeps no texts."""
        record = self._hits.source.record_of(self.row)
        return {} if record is None else record[2]

    def explain(self) -> Explanation:
        """The matched terms with query weight x document weight, and the part of the text that shows them; after a stage over
        token vectors also which tokens matched, for which query and text are encoded."""
        found, matcher = self._found(), self._hits.matcher
        return found if matcher is None else replace(found, matches=matcher(self.row))

    @property
    def snippet(self) -> Snippet:
        """The part of the text that shows the matched terms."""
        return self._found().snippet

    def _found(self) -> Explanation:
        return self._hits.source.explain(self._hits.terms, self._hits.weights, self.row)

    def __repr__(self) -> str:
        return f"Hit(rank={self.rank}, id={self.id!r}, score={self.score:.4f})"


class Hits(Sequence[Hit]):
    """The hits of one query, best first. Equal scores stand in document order.

    `rows` int64 [n] are document numbers, `scores` float32 [n]; `ids` gives the ids without fetching texts.
    `terms` and `weights` are the sparse query that was asked. `matcher`, where a second stage over token vectors ranked the
    hits, tells what the tokens of the document in a row match.
    """

    def __init__(
        self,
        source: HitSource,
        rows: npt.NDArray[np.int64],
        scores: npt.NDArray[np.float32],
        terms: npt.NDArray[Any],
        weights: npt.NDArray[np.float32],
        query: str | None = None,
        query_id: str | None = None,
        matcher: Callable[[int], TokenMatches | None] | None = None,
    ) -> None:
        self.source = source
        self.rows = rows
        self.scores = scores
        self.terms = terms
        self.weights = weights
        self.query = query
        self.query_id = query_id
        self.matcher = matcher

    @property
    def ids(self) -> list[str]:
        return [self.source.id_of(row) for row in self.rows.tolist()]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, at: int) -> Hit: ...

    @overload
    def __getitem__(self, at: slice) -> Hits: ...

    def __getitem__(self, at: int | slice) -> Hit | Hits:
        if isinstance(at, slice):
            if at.indices(len(self))[0] != 0 or at.step not in (None, 1):
                raise InvalidInput("hits can be cut to their first ones (hits[:n]); other slices would lose the ranks")
            return self._of(self.rows[at], self.scores[at])
        if not -len(self) <= at < len(self):
            raise IndexError(f"hit {at} of {len(self)}")
        at %= len(self)
        return Hit(self, at + 1, int(self.rows[at]), float(self.scores[at]))

    def reordered(
        self,
        order: npt.NDArray[np.int64],
        scores: npt.ArrayLike,
        matcher: Callable[[int], TokenMatches | None] | None = None,
    ) -> Hits:
        """Those in some places, int64 [n], in that order and with other scores [n]: what a second stage makes of them."""
        hits = self._of(self.rows[order], np.asarray(scores, np.float32))
        hits.matcher = matcher
        return hits

    def _of(self, rows: npt.NDArray[np.int64], scores: npt.NDArray[np.float32]) -> Hits:
        """Other hits of the same query."""
        return Hits(self.source, rows, scores, self.terms, self.weights, self.query, self.query_id, self.matcher)

    def __iter__(self) -> Iterator[Hit]:
        pairs = zip(self.rows.tolist(), self.scores.tolist(), strict=True)
        return (Hit(self, rank, row, score) for rank, (row, score) in enumerate(pairs, 1))

    def __repr__(self) -> str:
        asked = "" if self.query is None else f" for {self.query!r}"
        lines = [f"{len(self)} {'hit' if len(self) == 1 else 'hits'}{asked}"]
        lines += [f"{hit.rank:>4}  {hit.score:9.4f}  {hit.id}  {_heading(hit, 90)}".rstrip() for hit in self[:_SHOWN]]
        if len(self) > _SHOWN:
            lines.append(f"  …  {len(self) - _SHOWN} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        asked = "" if self.query is None else f" for <i>{html.escape(self.query)}</i>"
        rows = "".join(
            f"<tr><td>{hit.rank}</td><td>{hit.score:.4f}</td><td style='text-align:left'>{html.escape(hit.id)}</td>"
            f"<td style='text-align:left'>{_html_body(hit)}</td></tr>"
            for hit in self[:_SHOWN]
        )
        more = f"<p>… {len(self) - _SHOWN} more</p>" if len(self) > _SHOWN else ""
        return (
            f"<p>{len(self)} {'hit' if len(self) == 1 else 'hits'}{asked}</p><table><thead><tr><th></th><th>score</th>"
            f"<th style='text-align:left'>id</th><th></th></tr></thead><tbody>{rows}</tbody></table>{more}"
        )


class Reranker(Protocol):
    """A second stage: orders the candidates of the first anew. See `lsr.rerank`."""

    @property
    def candidates(self) -> int:
        """How many hits of the first stage it wants."""
        ...

    def rerank(self, hits: Sequence[Hits], k: int) -> list[Hits]:
        """The k best of each query's hits, in its order, with its scores."""
        ...


def _heading(hit: Hit, width: int) -> str:
    """One line that tells what a document is about."""
    line = " ".join((hit.title or hit.text or "").split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _html_body(hit: Hit) -> str:
    title = f"<b>{html.escape(hit.title)}</b><br>" if hit.title else ""
    return title + (hit.snippet._repr_html_() if hit.text else "")
