"""The worst losses as cards: the query, what should have been found, what was shown instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lsr.eval.report import formats as f
from lsr.eval.report import svg, words
from lsr.eval.report.elements import paragraph
from lsr.eval.report.markup import Markup, element, joined
from lsr.eval.report.texts import short
from lsr.eval.report.view import View

__all__ = ["loss_cards"]


def loss_cards(view: View) -> Markup:
    """All of them, system by system; the first is open. Nothing when there are none."""
    groups = []
    for nth, (system, losses) in enumerate(view.losses()):
        name = view.names.index(system) if system in view.names else None
        groups.append(
            joined(
                element(
                    "h3", svg.key(view.style(name)) if name is not None else "", element("span", system, dir="auto")
                ),
                *(_card(view, loss, opened=nth == 0 and at == 0) for at, loss in enumerate(losses)),
            )
        )
    if not groups:
        return Markup()
    measure = view.report["per_query"]["measure"]
    which = f"largest loss in {measure} against {view.baseline}" if view.baseline is not None else f"lowest {measure}"
    return joined(
        paragraph(f"The queries with the {which}. Open one to see what was shown instead.", "note"),
        *groups,
    )


def _card(view: View, loss: Mapping[str, Any], *, opened: bool) -> Markup:
    query = loss.get("query")
    name = element("span", query or f"query {loss['query_id']}", class_="query", dir="auto")
    ident = element("span", loss["query_id"], class_="id", dir="auto") if query else Markup()
    baseline = loss["baseline"]
    scores = f.score(loss["score"])
    if baseline is not None and loss["baseline_score"] is not None:
        scores = f"{scores} · {short(baseline, 24)} {f.score(loss['baseline_score'])}"
    return element(
        "details",
        element("summary", element("span", name, " ", ident), element("span", scores, class_="scores")),
        element("div", _relevant(view, loss), _shown(loss), class_="found"),
        class_="card",
        open="" if opened else None,
    )


def _relevant(view: View, loss: Mapping[str, Any]) -> Markup:
    depth = view.report["depth"]
    documents = [
        _document(doc, joined(element("b", words.found_at(doc["rank"], depth)), _grade(view, doc["grade"])))
        for doc in loss["relevant"]
    ]
    return _side("Relevant", documents, "No document is relevant.")


def _grade(view: View, grade: int) -> str:
    """Said where it tells something: not in collections with one grade."""
    return f" · grade {grade}" if len(view.dataset["grades"]) > 1 else ""


def _shown(loss: Mapping[str, Any]) -> Markup:
    documents = []
    for hit in loss["hits"]:
        relevant = (hit["grade"] or 0) > 0
        judged = element("span", words.judged_as(hit["grade"]), class_="better" if relevant else "unjudged")
        documents.append(_document(hit, joined(element("b", f"{f.count(hit['rank'])}."), " ", judged)))
    return _side("Shown", documents, "Nothing was found.")


def _side(heading: str, documents: list[Markup], nothing: str) -> Markup:
    body = element("ul", joined(*documents)) if documents else element("p", nothing, class_="note")
    return element("div", element("h4", heading), body)


def _document(document: Mapping[str, Any], about: Markup) -> Markup:
    title, text = document.get("title"), document.get("text")
    return element(
        "li",
        element("div", element("p", about), element("p", document["id"], class_="id", dir="auto"), class_="about"),
        element(
            "div",
            element("p", title, class_="title", dir="auto") if title else "",
            element("p", text, class_="text", dir="auto") if text else "",
        )
        if title or text
        else "",
    )
