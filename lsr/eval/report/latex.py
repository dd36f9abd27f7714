"""report.tex: the table of quality for a paper, in booktabs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lsr.eval.report import formats as f
from lsr.eval.report.quality import shown_order
from lsr.eval.report.texts import line, slug
from lsr.eval.report.view import View

__all__ = ["escape", "report_latex"]

_DAGGERS = {"better": r"$^{\dagger}$", "worse": r"$^{\ddagger}$"}
_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
    "−": "$-$", "–": "--", "—": "---", "…": r"\ldots{}", "‘": "`", "’": "'", "“": "``", "”": "''", "�": "?",
    # Two hyphens or commas would join; a bracket or an asterisk that begins a row would be an option of the \\ before.
    "--": "{-}{-}", ",,": ",{,}", "[": "{[}", "]": "{]}", "*": "{*}",
}  # fmt: skip
_ANY = re.compile("|".join(map(re.escape, _SPECIAL)))


def escape(text: str) -> str:
    """The text, in one line, such that LaTeX sets it as it is."""
    return _ANY.sub(lambda found: _SPECIAL[found[0]], line(text))


def report_latex(report: Mapping[str, Any]) -> str:
    """A table environment: systems x measures, the best of a column bold, daggers for significant differences."""
    view = View(report)
    measures = shown_order(view)
    body = [
        rf"\begin{{tabular}}{{l{'r' * len(measures)}}}",
        r"\toprule",
        _row(["System", *(escape(measure) for measure in measures)]),
        r"\midrule",
        *(_row([escape(name), *(_value(view, name, measure) for measure in measures)]) for name in view.names),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    lines = [
        r"% \usepackage{booktabs,textcomp} and \usepackage[T1]{fontenc} in the preamble; names in other scripts than the",
        r"% Latin one need xelatex or lualatex.",
        r"\begin{table}",
        r"\centering",
        *body,
        rf"\caption{{{_caption(view)}}}",
        rf"\label{{tab:{slug(view.title)[:60]}}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _value(view: View, name: str, measure: str) -> str:
    value = view.score(name, measure)
    text = escape(f.score(value))
    if value is not None and round(value, 4) == view.best(measure):
        text = rf"\textbf{{{text}}}"
    standing = view.standing(name, measure)
    return text + (_DAGGERS[standing] if standing else "")


def _caption(view: View) -> str:
    d = view.dataset
    counts = ", ".join(
        [
            f.counted(d["documents"], "document"),
            f.counted(d["queries"], "query", "queries"),
            f.counted(d["judgments"], "judgment"),
        ]
    )
    said = [f"{escape(f'Quality on {view.title} ({counts}).')}"]
    if len(view.names) > 1:
        said.append("The best of each column is bold.")
    standings = {view.standing(name, measure) for name in view.names for measure in view.measures} - {None}
    if standings:
        test = f"paired permutation test, $p < {view.alpha:g}$"
        if view.corrects:
            test += " after Holm's correction"
        marks = [f"{_DAGGERS[s]} {s}" for s in ("better", "worse") if s in standings]
        said.append(f"{' and '.join(marks)} than {escape(str(view.baseline))} ({test}).")
    elif view.baseline is not None and view.comparisons:
        said.append(f"No difference from {escape(view.baseline)} is significant at {view.alpha:g}.")
    return " ".join(said)
