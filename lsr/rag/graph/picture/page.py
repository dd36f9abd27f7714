"""A picture of a walk: one HTML page, without scripts and without anything from the network, with the part of the graph that
mattered for one question, drawn and told."""

from __future__ import annotations

from collections.abc import Callable

from lsr.eval.report import formats as f
from lsr.eval.report.elements import table_of
from lsr.eval.report.html import page
from lsr.eval.report.markup import Markup, element, joined
from lsr.eval.report.table import Cell, Column, Table
from lsr.eval.report.texts import line, short
from lsr.rag.graph.explain import LONGEST, Path
from lsr.rag.graph.picture.drawing import STYLE, drawing, legend, times
from lsr.rag.graph.picture.layout import percent
from lsr.rag.graph.picture.neighbourhood import Edge, Found, Neighbourhood, neighbourhood
from lsr.rag.graph.search import GraphResult, GraphSearch

__all__ = ["picture"]

_FIRST = 5  # passages of the first stage that are named among the seeds


def picture(
    search: GraphSearch,
    result: GraphResult,
    name_of: Callable[[int], str] | None = None,
    *,
    passages: int = 5,
    most: int = 40,
) -> str:
    """The page about a result of `search`: the ways of the walk to the first `passages` passages, in a drawing of at most
    `most` nodes, and all that it shows in tables too. name_of: what a passage is called, by its number.

    Raises `InvalidInput` for fewer passages than 1, and fewer nodes than a way may have (6).
    """
    name_of = name_of or _numbered
    title = f"Walk: {short(result.question, 80)}"
    if result.fell_back is not None:
        said = f"There was no walk: {result.fell_back}. The passages are those of the first stage."
        ranked = table_of(_ranked(result, name_of, passages), caption=False)
        return page(title, _asked(result, said), [("passages", "Passages", ranked)])
    shown = neighbourhood(search, result, name_of, passages, most)
    return page(title, _head(search, result, shown), _sections(search, result, shown, name_of))


def _numbered(passage: int) -> str:
    return f"passage {passage}"


def _head(search: GraphSearch, result: GraphResult, shown: Neighbourhood) -> Markup:
    first = len(search.graph.phrases)
    phrases = sum(node < first for node in result.seeds)
    changed = 0 if result.overlay is None else len(result.overlay.edges)
    named = f"{f.count(len(result.anchors))} of them named by the question" if result.anchors else ""
    figures = [
        ("matched facts", f.count(len(result.facts)), ""),
        ("phrases it began at", f.count(phrases), named),
        ("passages of the first stage", f.count(len(result.seeds) - phrases), "seeds too"),
        ("edges of another weight", f.count(changed), "for this question"),
    ]
    boxes = (
        element(
            "div",
            element("dt", name),
            element("dd", value, class_="big"),
            element("dd", detail, class_="small") if detail else "",
        )
        for name, value, detail in figures
    )
    return joined(
        element("style", Markup(STYLE)),
        _asked(result, _verdict(shown, first)),
        element("dl", joined(*boxes), class_="figures"),
    )


def _asked(result: GraphResult, verdict: str) -> Markup:
    return joined(
        element("p", "Walk of a graph for a question", class_="eyebrow"),
        element("h1", line(result.question), dir="auto"),
        element("p", verdict, class_="verdict"),
    )


def _verdict(shown: Neighbourhood, first: int) -> Markup:
    if not shown.found:
        return Markup("The walk came to no passage.")
    best = shown.found[0]
    name = element("strong", line(best.name), dir="auto")
    if not best.ways:
        return joined("The first passage is ", name, ".")
    way, part = best.ways[0]
    whence = f"“{short(way.seed, 60)}”" if way.nodes[0] < first else way.seed
    return joined("The first passage is ", name, f": {percent(part)} of its score came from {whence}.")


def _sections(
    search: GraphSearch, result: GraphResult, shown: Neighbourhood, name_of: Callable[[int], str]
) -> list[tuple[str, str, Markup]]:
    edges = table_of(_edges(shown), caption=False) if shown.edges else Markup()
    return [
        ("walk", "What mattered", _drawn(shown) if shown.nodes else Markup()),
        ("ways", "Ways to the passages", table_of(_ways(shown), caption=False) if shown.found else Markup()),
        (
            "facts",
            "Facts like the question",
            table_of(_facts(search, result, name_of), caption=False) if result.facts else Markup(),
        ),
        ("seeds", "Where the walk began", table_of(_seeds(search, result, name_of), caption=False)),
        ("edges", "Edges of the drawing", edges),
    ]


def _drawn(shown: Neighbourhood) -> Markup:
    said = [
        "The larger a mark, the more of the walk was there; the thicker a line, the more of what leaves goes that way.",
        "Arrows are the strongest ways, pale lines other edges. Rest on one to see what it says.",
    ]
    if shown.left:
        said.append(f"{f.counted(shown.left, 'passage')} had no room: see the table.")
    return joined(
        element("p", " ".join(said), class_="note"),
        element("div", drawing(shown), class_="walk scroll", tabindex="0", role="region", aria_label="Drawing"),
        element("div", legend(), class_="walk"),
    )


# -- tables ------------------------------------------------------------------------------------------------------------


def _ranked(result: GraphResult, name_of: Callable[[int], str], passages: int) -> Table:
    ranked = zip(result.passages[:passages].tolist(), result.scores[:passages].tolist(), strict=True)
    rows = [
        [Cell(f"{at}. {line(name_of(passage))}"), Cell(f.decimal(score))]
        for at, (passage, score) in enumerate(ranked, 1)
    ]
    return Table("Passages of the first stage", [Column("passage", False), Column("score")], rows)


def _ways(shown: Neighbourhood) -> Table:
    columns = [Column("passage", False), Column("of the walk"), Column("of its score"), Column("way", False)]
    rows = []
    for one in shown.found:
        head = [Cell(f"{one.rank}. {line(one.name)}"), Cell(percent(one.score))]
        if not one.ways:
            rows.append([*head, Cell(""), Cell(f"no way of {LONGEST} edges or fewer")])
        for at, (way, part) in enumerate(one.ways):
            text, detail = _in_words(one, way)
            rows.append([*(head if at == 0 else (Cell(""), Cell(""))), Cell(percent(part)), Cell(text, detail)])
    notes = [
        "Of the walk: where it is, in all. Of its score: the part that came along this way; the rest came along weaker ones."
    ]
    return Table("Ways to the passages, strongest first", columns, rows, notes)


def _in_words(one: Found, way: Path) -> tuple[str, str]:
    if not way.steps:
        return "the first stage", "the passage was a seed itself"
    nodes = [way.steps[0].source, *(step.target for step in way.steps)]
    steps = [f"{step.kind}: {step.facts[0]}" if step.facts else step.kind for step in way.steps]
    return " → ".join(map(line, nodes)), "; ".join(map(line, steps))


def _facts(search: GraphSearch, result: GraphResult, name_of: Callable[[int], str]) -> Table:
    graph = search.graph
    rows = []
    for matched in result.facts:
        fact = matched.fact
        said = graph.phrases[int(graph.subjects[fact])], graph.predicates[fact], graph.phrases[int(graph.objects[fact])]
        start, end = int(graph.fact_indptr[fact]), int(graph.fact_indptr[fact + 1])
        saying = [line(name_of(passage)) for passage in graph.fact_passages[start:end].tolist()]
        rows.append([Cell(line(" ".join(said))), Cell(f"{matched.likeness:.2f}"), Cell(_listed(saying))])
    columns = [Column("fact", False), Column("likeness"), Column("said by", False)]
    return Table("Facts like the question", columns, rows, ["Likeness is beside that of the likest fact, which has 1."])


def _seeds(search: GraphSearch, result: GraphResult, name_of: Callable[[int], str]) -> Table:
    first, total = len(search.graph.phrases), sum(result.seeds.values())
    heaviest = sorted(result.seeds, key=lambda node: (-result.seeds[node], node))
    rows = []
    for node in (node for node in heaviest if node < first):
        held = f.counted(int(search.graph.mentions[node]), "passage")
        why = "named by the question" if node in result.anchors else "phrase of a matched fact"
        rows.append(
            [Cell(line(search.graph.phrases[node])), Cell(percent(result.seeds[node] / total)), Cell(why, f"in {held}")]
        )
    found = [node for node in heaviest if node >= first]
    for node in found[:_FIRST]:
        rows.append([Cell(line(name_of(node - first))), Cell(percent(result.seeds[node] / total)), Cell("first stage")])
    if rest := found[_FIRST:]:
        part = sum(result.seeds[node] for node in rest) / total
        rows.append(
            [Cell(f"{f.counted(len(rest), 'other passage')}"), Cell(percent(part)), Cell("first stage, together")]
        )
    columns = [Column("seed", False), Column("of all seeds"), Column("why", False)]
    return Table("Where the walk began", columns, rows)


def _edges(shown: Neighbourhood) -> Table:
    names = {node.number: line(node.text) for node in shown.nodes}

    def row(edge: Edge) -> list[Cell]:
        changed = f"{times(edge)} for this question" if edge.weight != edge.stored else ""
        return [
            Cell(names[edge.source], strong=edge.way),
            Cell(names[edge.target]),
            Cell(edge.kind, _listed([line(fact) for fact in edge.facts])),
            Cell(percent(edge.share)),
            Cell(f"{edge.stored:.3g}", changed),
        ]

    columns = [
        Column("from", False),
        Column("to", False),
        Column("kind", False),
        Column("of what leaves"),
        Column("weight"),
    ]
    return Table("Edges of the drawing", columns, [row(edge) for edge in shown.edges], ["Bold: on one of the ways."])


def _listed(texts: list[str]) -> str:
    more = f"; {len(texts) - 3:,} more" if len(texts) > 3 else ""
    return "; ".join(texts[:3]) + more
