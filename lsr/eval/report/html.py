"""report.html and summary.html: one file each, without scripts and without anything from the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from lsr.eval.report import costs, curves, facts, overview, plots, quality, words
from lsr.eval.report import formats as f
from lsr.eval.report.cards import loss_cards
from lsr.eval.report.elements import figures, paragraph, sentences, table_of, tables
from lsr.eval.report.markup import Markup, element, joined
from lsr.eval.report.overview import Overview
from lsr.eval.report.texts import command_line
from lsr.eval.report.view import Styled, View

__all__ = ["failed", "origin", "page", "report_html", "summary_html"]

# Nothing may be loaded and nothing may run, whatever an id or a title contains.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def report_html(report: Mapping[str, Any]) -> str:
    """The whole page."""
    view = View(report)
    sections = [
        ("quality", "Quality", _quality(view)),
        ("queries", "Query by query", _queries(view)),
        ("losses", words.worst(view), loss_cards(view)),
        ("speed", "Speed", _speed(view)),
        ("approximation", "Beside exact search", _approximation(view)),
        ("cost", "Cost", tables(view, costs.cost_table(view), costs.bytes_table(view), costs.sparsity_table(view))),
        ("collection", "Collection", tables(view, facts.collection_table(view), captions=False)),
        ("systems", "Systems", tables(view, facts.systems_table(view), captions=False) if view.systems else Markup()),
        ("provenance", "Provenance", origin(report, view)),
    ]
    return page(f"Evaluation on {view.title}", _head(view), sections)


def summary_html(summary: Mapping[str, Any]) -> str:
    """The whole page of a summary."""
    over = Overview(summary)
    legend = joined(_legend(overview.significance(over), "row")) if over.comparisons else Markup()
    datasets = joined(table_of(overview.datasets_table(over, page=".html")), legend) if over.datasets else Markup()
    sections = [
        ("quality", "Quality by collection", datasets),
        ("mean", "Mean over collections", tables(None, overview.macro_table(over), captions=False)),
        ("comparisons", "Wins and losses", tables(None, overview.comparisons_table(over), captions=False)),
        ("provenance", "Provenance", origin(summary, None)),
    ]
    head = joined(
        element("p", "Summary of evaluations", class_="eyebrow"),
        element("h1", over.title),
        element("p", sentences(overview.verdict(over)), class_="verdict"),
        failed(summary["failed"]),
        element("p", f"{f.day(summary['created'])} · lsr {summary['provenance']['lsr_version']}", class_="meta"),
    )
    return page(over.title, head, sections)


def page(title: str, head: Markup, sections: Sequence[tuple[str, str, Markup]]) -> str:
    """A page of sections, each (anchor, heading, body); empty ones are left out."""
    present = [(anchor, heading, body) for anchor, heading, body in sections if body]
    contents = element(
        "nav",
        joined(*(element("a", heading, href=f"#{anchor}") for anchor, heading, _ in present)),
        aria_label="Contents",
    )
    main = element(
        "main",
        element("header", head),
        contents,
        joined(
            *(
                element("section", element("h2", heading, id=anchor), body, aria_labelledby=anchor)
                for anchor, heading, body in present
            )
        ),
    )
    top = joined(
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", _style()),
        by="\n",
    )
    page = element(
        "html", Markup("\n"), element("head", top), Markup("\n"), element("body", main), Markup("\n"), lang="en"
    )
    return f"<!doctype html>\n{page}\n"


@cache
def _style() -> Markup:
    return Markup(resources.files(__package__).joinpath("report.css").read_text(encoding="utf-8"))


def _head(view: View) -> Markup:
    d = view.dataset
    collection = (
        f"{f.counted(d['documents'], 'document')} · {f.counted(d['queries'], 'query', 'queries')} · "
        f"{f.counted(d['judgments'], 'judgment')}"
    )
    cautions = words.cautions(view)
    split = element("span", d["split"], class_="split") if d.get("split") else Markup()
    return joined(
        element("p", "Evaluation report", class_="eyebrow"),
        element("h1", d["name"], Markup(" ") if split else "", split),
        element("p", sentences(words.verdict(view)), class_="verdict"),
        paragraph(words.resolution(view) or "", "resolution"),
        failed(view.report["failed"]),
        figures(view),
        element(
            "p",
            f"{collection} · {f.day(view.report['created'])} · lsr {view.report['provenance']['lsr_version']}",
            class_="meta",
        ),
        element(
            "details",
            element("summary", f"{f.counted(len(cautions), 'thing')} to know before believing a number"),
            element("ul", joined(*(element("li", caution) for caution in cautions))),
            class_="cautions",
        )
        if cautions
        else "",
    )


def failed(several: Sequence[Mapping[str, str]]) -> Markup:
    """What could not be measured and why; nothing when all could."""
    if not several:
        return Markup()
    items = (element("li", element("b", one["name"]), f": {one['error']}") for one in several)
    return element("div", element("p", "Failed"), element("ul", joined(*items)), class_="failed", role="note")


def _quality(view: View) -> Markup:
    if not view.systems:
        return Markup()
    drawn = [
        element("figure", element("figcaption", measure, class_="plot-title"), plots.quality_plot(view, measure))
        for measure in view.plotted_measures()
        if any(view.score(name, measure) is not None for name in view.names)
    ]
    compared = view.baseline is not None and bool(view.comparisons)
    return joined(
        paragraph("Mean and 95 % interval of each system. The dashed line is the baseline.", "note")
        if drawn and compared
        else "",
        element("div", joined(*drawn), class_="plots") if drawn else "",
        table_of(quality.quality_table(view), view),
        _legend(words.significance(view), "column") if compared else "",
        tables(view, quality.comparisons_table(view)),
    )


def _legend(meaning: str, line: str) -> Markup:
    return element(
        "p",
        element("span", "▲", class_="better"),
        " ",
        element("span", "▼", class_="worse"),
        f" {meaning}. ",
        element("b", "Bold"),
        f": the best of a {line}.",
        class_="note",
    )


def _queries(view: View) -> Markup:
    drawn = []
    for name in view.names:
        plot = plots.differences_plot(view, name)
        if plot is not None:
            drawn.append(element("figure", element("figcaption", name, class_="plot-title"), plot))
    if not drawn:
        return Markup()
    queries = len(view.report["per_query"]["query_ids"])
    each = round(queries / plots.MOST_BARS)
    bar = (
        "a bar for each query"
        if queries <= plots.MOST_BARS
        else f"a bar for about {f.counted(each, 'query', 'queries')}"
    )
    difference = f"{view.report['per_query']['measure']} less that of {view.baseline}"
    return joined(
        paragraph(f"{difference}, {bar}, best first. Rest on a bar to see which.", "note"),
        element("div", joined(*drawn), class_="plots"),
    )


def _speed(view: View) -> Markup:
    drawn = [
        element("figure", element("figcaption", title, class_="plot-title"), plot)
        for title, plot in (
            ("Time of a query", curves.latency_plot(view)),
            (f"{view.headline} against time", curves.tradeoff_plot(view)),
        )
        if plot is not None
    ]
    return joined(
        element("div", joined(*drawn), class_="plots") if drawn else "",
        tables(view, costs.latency_table(view), costs.start_table(view)),
    )


def _approximation(view: View) -> Markup:
    plot = curves.recall_plot(view)
    return joined(
        element(
            "div",
            element("figure", element("figcaption", "Time against recall", class_="plot-title"), plot),
            class_="plots",
        )
        if plot
        else "",
        tables(view, costs.approximation_table(view), captions=False),
    )


def origin(document: Mapping[str, Any], view: Styled | None) -> Markup:
    """Where the numbers come from, and the command that gives them."""
    return joined(
        tables(view, facts.provenance_table(document), captions=False),
        element("h3", "Make it again"),
        element("pre", element("code", command_line(document["command"])), tabindex="0"),
    )
