"""What commands print for people: hits, explanations, facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from lsr.hits import Explanation, Hit, Hits, Snippet, TokenMatches
    from lsr.index import Index

__all__ = ["facts_table", "show_hits", "size"]

_INDENT = (0, 0, 0, 4)
_RECALLS = (0.8, 0.9, 0.95, 0.98, 0.99)
_HEAT = 800  # characters of a text that are shown with its matched tokens
_TERMS = 12  # shown of an explanation; the rest is summed in one line


def size(number: int) -> str:
    """Bytes for people: 12.3 MB."""
    value = float(number)
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{number} bytes" if units[0] == "bytes" else f"{value:.1f} {units[0]}"


def show_hits(
    hits: Hits,
    explain: bool,
    index: Index,
    first: bool = True,
    filtered: bool = False,
    way: Callable[[Hits, int], str] | None = None,
) -> None:
    """Prints the hits of one query. way: explains a hit, by its row, where not its terms found it."""
    console = Console(highlight=False, soft_wrap=False)
    if not first:
        console.print()
    if hits.query is not None:
        console.print(Text(hits.query, style="bold underline"))
    if len(hits) == 0:
        console.print(_nothing(hits, index, filtered))
    for hit in hits:
        # One line at a terminal, cut at its width; all of it in a pipe.
        whole = not console.is_terminal
        console.print(_head(hit), no_wrap=True, overflow="ignore" if whole else "ellipsis", crop=not whole)
        told = way(hits, hit.row) if explain and way is not None else None
        console.print(_body(hit, explain, console.is_terminal, told), end="")


def _nothing(hits: Hits, index: Index, filtered: bool) -> str:
    if len(hits.terms) == 0:
        return "No hits: the query has no word that the encoder knows."
    words = ", ".join(index.query_encoder.token(int(t)) for t in hits.terms) if index.query_encoder else ""
    which = "no document that the filter allows" if filtered else "no document"
    return f"No hits: {which} shares a term with the query ({words})."


def _head(hit: Hit) -> Text:
    head = Text()
    head.append(f"{hit.rank:>3} ", style="dim")
    head.append(f"{hit.score:8.4f}  ", style="cyan")
    head.append(hit.id, style="bold")
    if hit.title and hit.title != hit.id:
        head.append(f"  {' '.join(hit.title.split())}")
    return head


def _body(hit: Hit, explain: bool, colours: bool, way: str | None = None) -> Group:
    parts: list[Any] = []
    if hit.text or explain:
        explanation = hit.explain() if explain else None  # which may ask a network
        matches = None if explanation is None else explanation.matches
        snippet = hit.snippet if explanation is None else explanation.snippet
        if matches is not None and colours:
            parts.append(Padding(_heat(matches), _INDENT, expand=False))
        elif snippet.text:
            parts.append(Padding(_snippet(snippet, colours), _INDENT, expand=False))
        if matches is not None:
            parts.append(Padding(_tokens(matches), _INDENT, expand=False))
        elif explanation is not None and way is None:
            parts.append(Padding(_terms(explanation), _INDENT, expand=False))
        if way is not None:
            parts.append(Padding(Text(way), _INDENT, expand=False))
    return Group(*parts)


def _heat(matches: TokenMatches) -> Text:
    """The text, its tokens on a ground that is the brighter the more of the query they match; cut around these."""
    text = Text()
    for piece, strength in matches.pieces():
        heat = round(80 + 175 * strength)
        text.append(piece, style=f"bold black on rgb({heat},{heat * 3 // 4},0)" if strength else "dim")
    warm = [span.start for span in text.spans if "on" in str(span.style)]
    start = max(0, min(warm, default=0) - _HEAT // 8)
    shown = text[start : start + _HEAT]
    before, after = "…" if start else "", "…" if start + _HEAT < len(text) else ""
    return Text.assemble((before, "dim"), shown, (after, "dim"))


def _tokens(matches: TokenMatches) -> Table:
    """The best matches first; the rest is summed in one line."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("query")
    table.add_column("document")
    table.add_column("similarity", justify="right")
    order = sorted(matches.matches, key=lambda match: -match.similarity)
    for match in order[:_TERMS]:
        table.add_row(Text(match.query), Text(match.document), f"{match.similarity:.4f}")
    if rest := order[_TERMS:]:
        table.add_row(f"{len(rest)} more", "", f"{sum(match.similarity for match in rest):.4f}", style="dim")
    table.add_row("maxsim", "", f"{matches.score:.4f}", style="bold")
    if f"{matches.stored:.4f}" != f"{matches.score:.4f}":
        table.add_row("as stored", Text(matches.codec), f"{matches.stored:.4f}", style="dim")
    return table


def _snippet(snippet: Snippet, colours: bool) -> Text:
    if not colours:
        return Text(str(snippet))
    text = Text()
    for piece, matched in snippet.pieces():
        text.append(piece, style="bold yellow" if matched else "dim")
    return text


def _terms(explanation: Explanation) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("term")
    for name in ("query", "document", "product"):
        table.add_column(name, justify="right")
    for term in explanation.terms[:_TERMS]:
        table.add_row(
            Text(term.token), f"{term.query_weight:.4f}", f"{term.document_weight:.4f}", f"{term.contribution:.4f}"
        )
    rest = explanation.terms[_TERMS:]
    if rest:
        table.add_row(f"{len(rest)} more", "", "", f"{sum(term.contribution for term in rest):.4f}", style="dim")
    table.add_row("score", "", "", f"{explanation.score:.4f}", style="bold")
    return table


def facts_table(facts: Mapping[str, Any]) -> None:
    """Prints nested facts as two columns."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in facts.items():
        if name == "curves":
            continue
        if isinstance(value, Mapping):
            for inner, part in value.items():
                label = inner if name == "fields" else inner.replace("_", " ")  # fields are called what they are
                shown = size(part) if "bytes" in (name, inner) else _plain(part)
                table.add_row(Text(f"{name} {label}"), Text(shown))  # Text: brackets in names are no markup
        else:
            table.add_row(name.replace("_", " "), Text(_plain(value)))
    console = Console(highlight=False)
    console.print(table)
    if facts.get("curves"):
        console.print(_curves_table(facts["curves"]))


def _curves_table(curves: Sequence[Mapping[str, Any]]) -> Table:
    """What a search takes that asks for some recall, in microseconds on one thread of the machine that built the index."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("microseconds for recall")
    for recall in _RECALLS:
        table.add_column(f"{recall:g}", justify="right")
    table.add_column("exact", justify="right")
    for curve in curves:
        reached = [
            next((point["microseconds"] for point in curve["points"] if point["recall"] >= recall), None)
            for recall in _RECALLS
        ]
        cells = ["exact" if time is None else f"{time:,.0f}" for time in reached]
        kind = "short queries" if curve["short"] else "long queries"
        table.add_row(f"{kind}, k = {curve['k']}", *cells, f"{curve['exact_microseconds']:,.0f}")
    return table


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_plain(part)}" for name, part in value.items())
    return "none" if value is None else str(value)
