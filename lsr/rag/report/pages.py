"""report.json and report.html of a search; the page is made of the JSON, read again, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lsr.errors import InvalidInput
from lsr.eval.report import formats as f
from lsr.eval.report import svg
from lsr.eval.report.elements import paragraph, sentences, table_of, tables
from lsr.eval.report.html import failed, page
from lsr.eval.report.markup import Markup, element, joined
from lsr.eval.report.table import Rich, Strong
from lsr.eval.report.write import json_text, write_files
from lsr.rag.report import tables as t
from lsr.rag.report.plots import BASELINE_STYLE, COSTS, WINNER_STYLE, effects_plot, front_plot, questions_plot
from lsr.rag.report.view import BASELINE, BETTER, SAME, StudyView
from lsr.schema import from_mapping

__all__ = ["PAGES", "read_report", "report_html", "verdict", "write_report"]

PAGES = ("report.json", "report.html")
SCHEMA_VERSION = 1


def write_report(study: StudyView, folder: str | Path) -> list[Path]:
    """Writes report.json and report.html into a folder, made when it is not there; their paths.

    Raises `InvalidInput` for a number that is not finite, and for a winner or baseline that is no pipeline of it;
    `StorageError`.
    """
    for what, name in (("winner", study.winner), ("baseline", study.baseline)):
        if study.pipeline(name) is None:
            raise InvalidInput(f"the {what} {name!r} is not among the {len(study.pipelines)} pipelines of the report")
    text = json_text({"schema_version": SCHEMA_VERSION, **asdict(study)})
    return write_files(dict(zip(PAGES, (text, report_html(_parsed(text, "report.json"))), strict=True)), Path(folder))


def read_report(path: str | Path) -> StudyView:
    """The study of a report.json, or of the folder that has one. Raises `InvalidInput` for what is none."""
    path = Path(path)
    path = path / PAGES[0] if path.is_dir() else path
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise InvalidInput(f"{path}: the report cannot be read ({reason})") from None
    return _parsed(text, str(path))


def _parsed(text: str, where: str) -> StudyView:
    def refused(constant: str) -> Any:
        raise InvalidInput(f"{where}: holds {constant}; numbers of a report must be finite")

    try:
        data = json.loads(text, parse_constant=refused)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{where}:{error.lineno}: not JSON ({error.msg})") from None
    version = data.pop("schema_version", None) if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise InvalidInput(f"{where}: not the report of a search of this version of lsr (schema_version {version!r})")
    study: StudyView = from_mapping(StudyView, data, where)
    return study


def report_html(study: StudyView) -> str:
    """The whole page: one file, without scripts and without anything from the network."""
    sections = [
        ("winner", "Winner and baseline", _winner(study)),
        ("front", "Quality against cost", _fronts(study)),
        ("leaderboard", "Leaderboard", table_of(t.leaderboard(study), t.Roles(study), caption=False)),
        ("families", "What each family contributes", _effects(study)),
        ("interactions", "Interactions", tables(None, t.interactions_table(study), captions=False)),
        ("judged", "By a judge", tables(None, t.judged_table(study), captions=False)),
        ("questions", "Question by question", _questions(study)),
        ("budget", "Budget", tables(None, t.budget_table(study), captions=False)),
        ("pipeline", "The winner as a file", _file(study)),
        ("provenance", "How it was done", tables(None, t.facts_table(study), captions=False)),
    ]
    return page(f"Search for a pipeline on {study.data}", _head(study), sections)


def verdict(study: StudyView) -> list[Rich]:
    """The result in two or three sentences."""
    holdout = study.holdout
    first: list[str] = [Strong(study.winner), f" reaches {study.quality} ", Strong(f.score(holdout.winner))]
    if holdout.winner_interval is not None:
        first.append(f" (95 % interval {f.interval(holdout.winner_interval)})")
    first.append(f" on {f.counted(len(holdout.questions), 'question')} that nothing was chosen by")
    theirs = f"the baseline {study.baseline} ({f.score(holdout.baseline)})"
    told = (
        []
        if holdout.interval is None
        else [f"difference {f.signed(holdout.difference)}, 95 % interval {f.interval(holdout.interval, sign=True)}"]
    )
    how = "; ".join([*told, *([] if holdout.p is None else [f.p_phrase(holdout.p)])])
    compared = f" {theirs}" + (f" ({how})." if how else ".")
    if study.verdict == BASELINE:
        said: list[Rich] = [
            [*first, "."],
            ["It is ", Strong("the baseline"), ": no pipeline that was evaluated beat it on the search questions."],
        ]
    elif study.verdict == SAME:
        said = [[*first, "."], ["That is ", Strong("not distinguishable"), f" from{compared}"]]
    else:
        word = "better than" if study.verdict == BETTER else "worse than"
        said = [[*first, "."], ["That is ", Strong(word), compared]]
    if study.simplest is not None and study.simplest not in (study.winner, study.baseline):
        said.append([f"The simplest pipeline within noise of the best is {study.simplest}."])
    return said


def _resolution(study: StudyView) -> str:
    said = []
    questions = f.counted(len(study.holdout.questions), "holdout question")
    if study.detectable is not None:
        said.append(f"{questions} show differences from about {f.score(study.detectable)} reliably (80 % power).")
        if study.verdict == SAME:
            said.append("A smaller one would not have been found: the two need not be equal.")
    if study.detectable_before is not None:
        said.append(f"Before the search {f.score(study.detectable_before)} was expected.")
    return " ".join(said)


def _head(study: StudyView) -> Markup:
    evaluated = f.counted(len(study.pipelines), "pipeline")
    asked = (
        f"{f.count(len(study.search.questions))} search and {f.count(len(study.holdout.questions))} holdout questions"
    )
    flattering = "Figures on the search questions flatter the winner, which was chosen by them."
    cautions = list(study.notes) if study.winner == study.baseline else [*study.notes, flattering]
    return joined(
        element("p", "Search for a pipeline", class_="eyebrow"),
        element("h1", study.name),
        element("p", sentences(verdict(study)), class_="verdict"),
        paragraph(_resolution(study), "resolution"),
        failed([{"name": name, "error": error} for name, error in study.failed]),
        _figures(study),
        element(
            "p",
            f"{study.data} · {evaluated} · {asked} · {f.day(study.created)} · lsr {study.lsr_version}",
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


def _figures(study: StudyView) -> Markup:
    winner, budget = study.pipeline(study.winner), study.budget
    assert winner is not None
    shown = [(study.quality, f.score(study.holdout.winner), "holdout")]
    if study.holdout.difference is not None:
        within = f"95 %: {f.interval(study.holdout.interval, sign=True)}" if study.holdout.interval else ""
        shown.append(("difference from the baseline", f.signed(study.holdout.difference), within))
    if winner.latency_ms is not None:
        shown.append(("p95 time of a question", f.milliseconds(winner.latency_ms), "winner"))
    legal = "" if study.legal is None else f"of {f.count(study.legal)} legal ones"
    shown.append(("pipelines evaluated", f.count(len(study.pipelines)), legal))
    if budget.hit_rate is not None:
        shown.append(("cache hit rate", f"{100 * budget.hit_rate:.0f} %", f"{f.count(budget.stage_runs)} stage runs"))
    return element(
        "dl",
        joined(
            *(
                element(
                    "div",
                    element("dt", name),
                    element("dd", value, class_="big"),
                    element("dd", detail, class_="small") if detail else "",
                )
                for name, value, detail in shown
            )
        ),
        class_="figures",
    )


def _winner(study: StudyView) -> Markup:
    return tables(t.Roles(study), t.splits_table(study), t.choices_table(study))


def _plots(drawn: Sequence[tuple[str, Markup | None]]) -> Markup:
    figures = [
        element("figure", element("figcaption", title, class_="plot-title"), plot)
        for title, plot in drawn
        if plot is not None
    ]
    return element("div", joined(*figures), class_="plots") if figures else Markup()


def _fronts(study: StudyView) -> Markup:
    drawn = _plots(
        [(f"{study.quality} against {heading}", front_plot(study, cost)) for cost, (heading, *_) in COSTS.items()]
    )
    if not drawn:
        return Markup()
    legend = element(
        "p",
        svg.key(WINNER_STYLE),
        "winner, ",
        svg.key(BASELINE_STYLE),
        "baseline. High and left is good; the line joins what no pipeline beats in both. Rest on a mark to see which it is.",
        class_="note",
    )
    return joined(legend, drawn)


def _effects(study: StudyView) -> Markup:
    ends = [0.0]
    for effect in study.effects:
        if effect.difference is not None:
            ends += [effect.difference, *(effect.interval or ())]
    margin = (max(ends) - min(ends)) * 0.06 or 0.01
    span = min(ends) - margin, max(ends) + margin
    drawn = [
        (f"{family}, beside {effects[0].reference}", effects_plot(effects, span))
        for family, effects in t.by_family(study.effects).items()
    ]
    return joined(_plots(drawn), tables(None, t.effects_table(study)))


def _questions(study: StudyView) -> Markup:
    parts = (("Holdout questions", study.holdout, "holdout"), ("Search questions", study.search, "search"))
    drawn = _plots([(title, questions_plot(study, split, f"questions-{name}")) for title, split, name in parts])
    if not drawn:
        return Markup()
    note = f"{study.quality} of the winner less that of the baseline, best first. Rest on a bar to see the question."
    return joined(element("p", note, class_="note"), drawn, tables(None, t.questions_table(study, study.holdout)))


def _file(study: StudyView) -> Markup:
    run = 'lsr rag run winner.yaml "your question"'
    return joined(
        element("p", f"The file that was scored, as {run} takes it.", class_="note"),
        element("pre", element("code", study.winner_yaml), tabindex="0"),
    )
